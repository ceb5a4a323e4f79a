package redis

import (
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// More logs of a partition than one command reads, many of them at the same ms.
func TestSpokePages(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	c := direct(t, r)
	const logs = 3*spokeBatch + 7
	p, now := partition("a"), s.Now()
	var members []goredis.Z
	var want []store.LogName
	for i := range logs {
		name := store.LogName{Feed: "a", Path: fmt.Sprint(i)}
		ms := now.UnixMilli()
		if i > 2*spokeBatch {
			ms += int64(i)
		}
		members = append(members, goredis.Z{Score: float64(ms), Member: logText(name)})
		want = append(want, name)
	}
	members = append(members, goredis.Z{Score: float64(now.UnixMilli()), Member: logText(store.LogName{Feed: "b", Path: "x"})})
	members = append(members, goredis.Z{Score: float64(now.UnixMilli()), Member: "not ours"})
	members = append(members, goredis.Z{Score: float64(now.UnixMilli() - 5000), Member: logText(store.LogName{Feed: "a", Path: "old"})})
	require.NoError(t, c.ZAdd(ctx, s.keys.index(p), members...).Err())
	f := func(feed string, since time.Time, limit int, n int, more bool) []store.LogName {
		t.Helper()
		got, more2, err := s.Spoke(ctx, feed, since, limit)
		require.NoError(t, err)
		require.Equal(t, more, more2)
		require.Len(t, got, n)
		return got
	}
	require.ElementsMatch(t, want, f("a", now, logs, logs, false))
	f("a", now, logs-1, logs-1, true)
	f("a", now.Add(-5*time.Second), 2*logs, logs+1, false)
	f(store.AllFeeds, now, 2*logs, logs+1, false)
	f("a/", now, 10, 0, false)
	f("c", now, 10, 0, false)
	f("a", now, 0, 0, true)
	// What was noted up to a second before may have spoken since.
	f("a", now.Add(indexEvery), logs, logs, false)
}
