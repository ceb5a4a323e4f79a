package disk

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

var ctx = context.Background()

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store { return open(t, now) },
		storetest.Options{Reopen: reopen, Sweep: sweep, FillUp: fillUp})
}

// fillUp does what the watchdog does; with the floor below zero it does not look.
func fillUp(_ testing.TB, s store.Store) (free func()) {
	left := &s.(*Store).left
	left.Store(int32(noRoom))
	return func() { left.Store(int32(allRoom)) }
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, open) }

func open(t testing.TB, now func() time.Time) store.Store {
	return openDir(t, t.TempDir(), Options{Now: now, Floor: -1, Small: true})
}

func openDir(t testing.TB, dir string, o Options) *Store {
	s, err := Open(ctx, dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func reopen(t testing.TB, s store.Store, now func() time.Time) store.Store {
	require.NoError(t, s.Close())
	return openDir(t, s.(*Store).dir, Options{Now: now, Floor: -1, Small: true})
}

func sweep(t testing.TB, s store.Store) { require.NoError(t, s.(*Store).sweep(ctx)) }
