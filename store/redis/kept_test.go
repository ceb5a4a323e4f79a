package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// What cannot be read any more takes up little room.
func TestLengthIsTrimmed(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	limits := store.Limits{Age: store.Forever, Length: 100}
	for i := range 300 {
		_, err := storetest.Append(s, anyLog, limits, text(0, i), text(0, i), text(0, i), text(0, i), text(0, i))
		require.NoError(t, err)
	}
	p, log := partition(anyLog.Feed), logText(anyLog)
	n, err := own.XLen(ctx, s.keys.stream(p, log)).Result()
	require.NoError(t, err)
	require.Less(t, n, int64(100+64+200))
	page, err := s.Read(ctx, anyLog, store.Range{Limits: limits}, 1000, 1<<20)
	require.NoError(t, err)
	require.Len(t, page.Entries, 100)
	require.True(t, page.Trimmed)
	require.Equal(t, "0/299", string(page.Entries[99].Data))
	for _, key := range []string{s.keys.meta(p, log), s.keys.stream(p, log)} {
		left, err := own.PTTL(ctx, key).Result()
		require.NoError(t, err)
		require.Negative(t, left, "for ever")
	}
}

// A length below the one that was appended with is found by searching, however far
// back it lies.
func TestShorterLength(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	for i := range 1500 {
		_, err := storetest.Append(s, anyLog, keep, text(0, i))
		require.NoError(t, err)
	}
	all := readAll(t, s, anyLog)
	for _, length := range []int{1, 2, 31, 700, 1468, 1499, 1500, 1501} {
		limits := store.Limits{Age: keep.Age, Length: length}
		h, err := s.Head(ctx, anyLog, limits)
		require.NoError(t, err)
		require.Equal(t, store.Head{Last: all[1499].Position, Oldest: all[max(0, 1500-length)].Position}, h)
		page, err := s.Read(ctx, anyLog, store.Range{Limits: limits}, 2000, 1<<20)
		require.NoError(t, err)
		require.Len(t, page.Entries, min(length, 1500))
		n, err := s.Count(ctx, anyLog, store.Range{Limits: limits})
		require.NoError(t, err)
		require.EqualValues(t, min(length, 1500), n)
	}
}

// Keys go by themselves when nothing of them can be read, and not before.
func TestKeysExpire(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	f := func(limits store.Limits, stream, meta time.Duration) {
		t.Helper()
		name := store.LogName{Feed: "f", Path: fmt.Sprint(limits)}
		p, log := partition(name.Feed), logText(name)
		a, err := storetest.Append(s, name, limits, text(0, 0), text(0, 1))
		require.NoError(t, err)
		_, err = storetest.Append(s, name, limits, text(0, 2))
		require.NoError(t, err)
		require.NoError(t, s.Redact(ctx, name, a.Positions[1]))
		check := func(key string, least time.Duration) {
			t.Helper()
			left, err := own.PTTL(ctx, key).Result()
			require.NoError(t, err)
			if least == 0 {
				require.Negative(t, left)
				return
			}
			require.LessOrEqual(t, left, least+least/8+time.Minute)
			require.Greater(t, left, least-time.Minute)
		}
		check(s.keys.stream(p, log), stream)
		check(s.keys.redacted(p, log), stream)
		check(s.keys.meta(p, log), meta)
	}
	const day = 24 * time.Hour
	f(store.Limits{Age: time.Hour}, time.Hour, day+time.Hour)
	f(store.Limits{Age: 48 * time.Hour, Length: 5}, 2*day, 3*day)
	f(store.Limits{Age: store.Forever}, 0, 0)
	f(store.Limits{Age: store.Forever, Idle: day}, day, 2*day)
	f(store.Limits{Age: 2 * day, Idle: time.Hour}, time.Hour, 3*day)
	f(store.Limits{Age: time.Hour, Idle: 2 * day}, time.Hour, 3*day)
}

// Limits may change: the stream then lives as long as the new ones say.
func TestLimitsChange(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	stream := s.keys.stream(partition(anyLog.Feed), logText(anyLog))
	for _, age := range []time.Duration{time.Hour, 100 * time.Hour, time.Hour, store.Forever, 2 * time.Hour} {
		_, err := storetest.Append(s, anyLog, store.Limits{Age: age}, text(0, 0))
		require.NoError(t, err)
		left, err := own.PTTL(ctx, stream).Result()
		require.NoError(t, err)
		if age == store.Forever {
			require.Negative(t, left)
			continue
		}
		require.Greater(t, left, age-time.Minute)
		require.Less(t, left, 2*age)
	}
}

// An idle log goes whole, on reading and on appending, before its keys do.
func TestIdleOfOwnClock(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	limits := store.Limits{Age: store.Forever, Idle: 300 * time.Millisecond}
	var last store.Position
	for i := range 3 {
		a, err := storetest.Append(s, anyLog, limits, text(0, i))
		require.NoError(t, err)
		last = a.Positions[0]
	}
	require.Eventually(t, func() bool {
		h, err := s.Head(ctx, anyLog, limits)
		require.NoError(t, err)
		return h == store.Head{}
	}, 10*time.Second, time.Millisecond)
	require.GreaterOrEqual(t, s.Now().Sub(last.Time()), limits.Idle)
	a, err := storetest.Append(s, anyLog, limits, text(0, 9))
	require.NoError(t, err)
	p := a.Positions[0]
	require.True(t, last.Before(p))
	require.NotEqual(t, last.Epoch(), p.Epoch())
	require.EqualValues(t, p.MS(), p.N())
	page, err := s.Read(ctx, anyLog, store.Range{Limits: store.Limits{Age: store.Forever}}, 10, 100)
	require.NoError(t, err)
	require.Len(t, page.Entries, 1, "what was there before is gone")
}

// Where memory was short and keys were evicted, a log without its meta goes on, and
// one without its records is a fork.
func TestEvicted(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	p, log := partition(anyLog.Feed), logText(anyLog)
	var all []store.Position
	put := func() {
		t.Helper()
		a, err := storetest.Append(s, anyLog, keep, text(0, len(all)))
		require.NoError(t, err)
		all = append(all, a.Positions[0])
	}
	put()
	put()
	require.NoError(t, own.Del(ctx, s.keys.meta(p, log)).Err())
	h, err := s.Head(ctx, anyLog, keep)
	require.NoError(t, err)
	require.Equal(t, store.Head{Last: all[1], Oldest: all[0]}, h)
	put()
	require.Equal(t, all[0].N()+2, all[2].N())
	require.Equal(t, all[0].Epoch(), all[2].Epoch())
	require.Len(t, readAll(t, s, anyLog), 3)

	require.NoError(t, own.Del(ctx, s.keys.stream(p, log)).Err())
	page, err := s.Read(ctx, anyLog, store.Range{After: all[1], Limits: keep}, 10, 100)
	require.NoError(t, err)
	require.True(t, page.Forked)
	put()
	require.Equal(t, all[0].N()+3, all[3].N(), "no position is issued twice")
	require.Len(t, readAll(t, s, anyLog), 1)

	require.NoError(t, own.FlushAll(ctx).Err())
	page, err = s.Read(ctx, anyLog, store.Range{After: all[3], Limits: keep}, 10, 100)
	require.NoError(t, err)
	require.True(t, page.Forked)
	require.Eventually(t, func() bool { return s.Now().UnixMilli() > all[3].MS()+1 }, time.Second, time.Millisecond)
	put()
	require.True(t, all[3].Before(all[4]))
	require.NotEqual(t, all[3].Epoch(), all[4].Epoch())
}

// Tombstones end with what they hide.
func TestTombstonesAreTrimmed(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	limits := store.Limits{Age: store.Forever, Length: 10}
	for i := range 2000 {
		a, err := storetest.Append(s, anyLog, limits, text(0, i))
		require.NoError(t, err)
		if i%2 == 0 {
			require.NoError(t, s.Redact(ctx, anyLog, a.Positions[0]))
		}
	}
	n, err := own.ZCard(ctx, s.keys.redacted(partition(anyLog.Feed), logText(anyLog))).Result()
	require.NoError(t, err)
	require.Less(t, n, int64(300))
	count, err := s.Count(ctx, anyLog, store.Range{Limits: limits})
	require.NoError(t, err)
	require.EqualValues(t, 5, count)
}

// A nonce is remembered as long as its record asks for.
func TestNonceIsForgotten(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	record := store.Record{Data: []byte("x"), Nonce: store.Nonce{1}, Remember: time.Hour}
	_, err := storetest.Append(s, anyLog, keep, record, store.Record{Data: []byte("y"), Nonce: store.Nonce{2}})
	require.NoError(t, err)
	p := partition(anyLog.Feed)
	for n, want := range map[store.Nonce]time.Duration{{1}: time.Hour, {2}: store.NonceLife} {
		left, err := own.PTTL(ctx, s.keys.nonce(p, logText(anyLog), n)).Result()
		require.NoError(t, err)
		require.LessOrEqual(t, left, want)
		require.Greater(t, left, want-time.Minute)
	}
}

// The index says which logs spoke, and forgets.
func TestIndex(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	p := partition(anyLog.Feed)
	a, err := storetest.Append(s, anyLog, keep, text(0, 0))
	require.NoError(t, err)
	at, err := own.ZScore(ctx, s.keys.index(p), logText(anyLog)).Result()
	require.NoError(t, err)
	require.EqualValues(t, a.Positions[0].MS(), at)
	old := a.Positions[0].MS() - store.SpokeFor.Milliseconds()
	require.NoError(t, own.Do(ctx, "ZADD", s.keys.index(p), old, "4:youngx", old-3000, "3:oldx").Err())
	_, err = storetest.Append(s, store.LogName{Feed: anyLog.Feed, Path: "another"}, keep, text(0, 0))
	require.NoError(t, err)
	members, err := own.ZRange(ctx, s.keys.index(p), 0, -1).Result()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{logText(anyLog), "4:youngx", logText(store.LogName{Feed: anyLog.Feed, Path: "another"})}, members)
}

// Rows that expired leave the order of their table; rows that are renewed stay.
func TestExpiredRowsLeave(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	put := func(key string, ttl time.Duration) {
		t.Helper()
		_, err := s.Put(ctx, "t", key, store.Put{Data: []byte(key), TTL: ttl})
		require.NoError(t, err)
	}
	size := func() (n int64) {
		t.Helper()
		for p := range partitions {
			for _, key := range []string{s.keys.order(p, "t"), s.keys.expiries(p, "t")} {
				m, err := own.ZCard(ctx, key).Result()
				require.NoError(t, err)
				n += m
			}
		}
		return n
	}
	for i := range 200 {
		put(fmt.Sprint("short/", i), 50*time.Millisecond)
	}
	put("renewed", 50*time.Millisecond)
	put("renewed", time.Hour)
	put("kept", 50*time.Millisecond)
	put("kept", 0)
	require.Eventually(t, func() bool {
		items, err := s.List(ctx, "t", "", "", 1000)
		require.NoError(t, err)
		return len(items) == 2 && items[0].Key == "kept" && items[1].Key == "renewed"
	}, 10*time.Second, 5*time.Millisecond)
	for i := range 2000 {
		put(fmt.Sprint("new/", i%400), time.Hour)
	}
	require.EqualValues(t, 2*400+3, size(), "renewed has an expiry, kept has none")
	items, err := s.List(ctx, "t", "", "", 1000)
	require.NoError(t, err)
	require.Len(t, items, 402)
}
