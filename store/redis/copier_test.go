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
