package disk

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// A snapshot has what was acknowledged before it and nothing of what came after, while
// the store goes on; it is a store of its own.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{})
	log, limits := store.LogName{Feed: "f", Path: "a"}, store.Limits{Age: time.Hour}
	say := func(s *Store, n int) {
		for i := range n {
			_, err := storetest.Append(s, log, limits, store.Record{Data: []byte(strconv.Itoa(i))})
			require.NoError(t, err)
		}
	}
	say(s, 100)
	_, err := s.Put(ctx, "t", "k", store.Put{Data: []byte("v")})
	require.NoError(t, err)
	folder, remove, err := s.Snapshot(ctx)
	require.NoError(t, err)
	say(s, 50)
	_, _, err = s.Snapshot(ctx)
	require.ErrorIs(t, err, store.ErrLocked)

	n, err := Count(ctx, folder)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"channels": 1, "records": 100, "rows": 1, "points": 0, "groups": 0}, n)
	copied := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(copied, os.DirFS(folder)))
	c := openDir(t, copied, Options{})
	total, err := c.Count(ctx, log, store.Range{Limits: limits})
	require.NoError(t, err)
	require.EqualValues(t, 100, total)
	say(c, 1)

	require.NoError(t, remove())
	require.NoDirExists(t, folder)
	total, err = s.Count(ctx, log, store.Range{Limits: limits})
	require.NoError(t, err)
	require.EqualValues(t, 150, total)
	_, again, err := s.Snapshot(ctx)
	require.NoError(t, err)
	require.NoError(t, again())
}

// A crash amid a snapshot leaves nothing behind after the next start.
func TestSnapshotOfACrash(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{})
	folder, _, err := s.Snapshot(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.DirExists(t, folder)
	s = openDir(t, dir, Options{})
	require.NoDirExists(t, folder)
	_, _, err = s.Snapshot(ctx)
	require.NoError(t, err)
}

func TestCountRefuses(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir, Options{})
	_, err := Count(ctx, dir)
	require.ErrorContains(t, err, "disk: count")
	folder, _, err := s.Snapshot(ctx)
	require.NoError(t, err)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = Count(ended, folder)
	require.NoError(t, err, "it is looked at once in a while")
	require.NoError(t, os.Remove(filepath.Join(folder, "marker.manifest.000001.MANIFEST-000001")))
	_, err = Count(ctx, folder)
	require.Error(t, err)
	_, err = Count(ctx, filepath.Join(dir, "absent"))
	require.Error(t, err)
}
