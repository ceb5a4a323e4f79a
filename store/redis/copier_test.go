package redis

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// Copies to and from a real server, and from a folder and back.
func TestCopy(t *testing.T) {
	server := storetest.StartRedis(t)
	open := func(t *testing.T, prefix string) *Store {
		s, err := Open(t.Context(), server.URL, Options{Prefix: prefix})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	folder := func(t *testing.T) *disk.Store {
		s, err := disk.Open(t.Context(), t.TempDir(), disk.Options{Floor: -1})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}
	// Prefixes of which one begins like the other, and one that is a pattern.
	t.Run("DiskToRedis", func(t *testing.T) { storetest.RunCopy(t, folder(t), open(t, "a")) })
	t.Run("RedisToDisk", func(t *testing.T) { storetest.RunCopy(t, open(t, "ab"), folder(t)) })
	t.Run("RedisToRedis", func(t *testing.T) { storetest.RunCopy(t, open(t, "a*"), open(t, "b")) })
}

func TestCopyToCluster(t *testing.T) {
	s, err := Open(t.Context(), storetest.StartCluster(t).URL, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	var from store.Copier
	from, err = disk.Open(t.Context(), t.TempDir(), disk.Options{Floor: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, from.Close()) })
	storetest.RunCopy(t, from, s)
}

// Copies that wait for a pump arrive in the other store, once however often they are
// brought over; those that a pump died over do not come twice.
func TestCopyOfWhatWaits(t *testing.T) {
	server := storetest.StartRedis(t)
	s, p := still(t, server.URL, "waits")
	to, err := disk.Open(t.Context(), t.TempDir(), disk.Options{Floor: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, to.Close()) })
	require.True(t, p.lease(ctx))
	publishCopies(t, s, anyLog, 0, 2)
	require.Equal(t, "r", p.reads(t).sends(t))
	require.Equal(t, "p", p.reads(t).sends(t)) // and is not cleared
	publishCopies(t, s, anyLog, 2, 1500)
	waits := 0
	for range 2 {
		waits = 0
		require.NoError(t, s.EachWaiting(ctx, func(w store.Waiting) error {
			waits++
			require.Equal(t, account, w.To)
			_, err := storetest.Append(to, w.To, w.Limits, w.Record)
			return err
		}))
	}
	require.Equal(t, 1498, waits)
	got := readAll(t, to, account)
	require.Len(t, got, 1498)
	for i, e := range got {
		_, data, err := store.Origin(e.Data)
		require.NoError(t, err)
		_, n := split(t, data)
		require.Equal(t, i+2, n)
	}
}
