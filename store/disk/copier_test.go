package disk

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// Copies to and from a folder, and what was copied after the folder was opened anew.
func TestCopy(t *testing.T) {
	open := func(t *testing.T, dir string) *Store {
		s, err := Open(t.Context(), dir, Options{Floor: -1})
		require.NoError(t, err)
		return s
	}
	fresh := func(t *testing.T) *Store {
		s := open(t, t.TempDir())
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	inMemory := func(t *testing.T) *memory.Store {
		s := memory.New(memory.Options{})
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	t.Run("DiskToDisk", func(t *testing.T) { storetest.RunCopy(t, fresh(t), fresh(t)) })
	t.Run("MemoryToDisk", func(t *testing.T) { storetest.RunCopy(t, inMemory(t), fresh(t)) })
	t.Run("DiskToMemory", func(t *testing.T) { storetest.RunCopy(t, fresh(t), inMemory(t)) })
	t.Run("Reopen", func(t *testing.T) {
		dir := t.TempDir()
		to := &again{Store: open(t, dir), t: t, dir: dir, open: open}
		defer func() { require.NoError(t, to.Close()) }()
		storetest.RunCopy(t, fresh(t), to)
	})
}

// again is a store that is closed and opened after each import of rows, which comes
// last in a copy.
type again struct {
	*Store
	t    *testing.T
	dir  string
	open func(*testing.T, string) *Store
	done int
}

func (a *again) ImportRows(ctx context.Context, rows []store.Row) error {
	if err := a.Store.ImportRows(ctx, rows); err != nil || a.done == 2 {
		return err
	}
	a.done++
	require.NoError(a.t, a.Store.Close())
	a.Store = a.open(a.t, a.dir)
	return nil
}
