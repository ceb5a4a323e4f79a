package memory

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store { return open(t, now) }, storetest.Options{
		Sweep:  func(_ testing.TB, s store.Store) { s.(*Store).sweep() },
		FillUp: fillUp,
	})
}

// fillUp lowers the bound to what is in use.
func fillUp(_ testing.TB, s store.Store) (free func()) {
	m := s.(*Store)
	set := func(n int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.maxBytes = n
	}
	was := m.maxBytes
	m.mu.Lock()
	m.maxBytes = m.bytes
	m.mu.Unlock()
	return func() { set(was) }
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, open) }

func open(t testing.TB, now func() time.Time) store.Store {
	s := New(Options{Now: now})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
