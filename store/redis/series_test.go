package redis

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// manyPoints makes a row of a minute for each of n series.
func manyPoints(n int, at time.Time) (points []store.Point, names []string) {
	for i := range n {
		name := fmt.Sprint("series/", i)
		names = append(names, name)
		points = append(points, store.Point{Series: name, Time: store.Minute.Time(store.Minute.Slot(at)), Data: []byte(name)})
	}
	return points, names
}

// pipelines counts how often a client goes to the server with rows, and with how many
// commands. What the store does meanwhile for itself, as renewing its leases, is not counted.
type pipelines struct{ trips, commands atomic.Int64 }

var writesRows = []string{"hset", "pexpireat"}

func (p *pipelines) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (p *pipelines) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, c goredis.Cmder) error {
		if slices.Contains(writesRows, c.Name()) {
			p.trips.Add(1)
		}
		return next(ctx, c)
	}
}

func (p *pipelines) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cs []goredis.Cmder) error {
		if slices.ContainsFunc(cs, func(c goredis.Cmder) bool { return slices.Contains(writesRows, c.Name()) }) {
			p.trips.Add(1)
			p.commands.Add(int64(len(cs)))
		}
		return next(ctx, cs)
	}
}

// The rows of 10,000 series are one pipeline.
func TestPutRowsIsOnePipeline(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	points, names := manyPoints(10_000, s.Now())
	count := &pipelines{}
	s.client.AddHook(count)
	require.NoError(t, s.PutRows(ctx, store.Minute, time.Hour, points))
	require.EqualValues(t, 20_000, count.commands.Load())
	require.EqualValues(t, 1, count.trips.Load())
	rows, more, err := s.Rows(ctx, store.Minute, names, store.SeriesRange{From: points[0].Time, To: s.Now().Add(time.Minute), Keep: time.Hour}, 20_000)
	require.NoError(t, err)
	require.False(t, more)
	for i := range rows {
		require.Equal(t, points[i:i+1], rows[i])
	}
}

// A reply that is lost makes no difference: what is written over may be written again.
func TestPutRowsAfterLostReply(t *testing.T) {
	r := storetest.StartRedis(t)
	between, err := storetest.NewDropper(r.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, between.Close()) })
	s := openStore(t, "redis://"+between.Addr)
	points, names := manyPoints(500, s.Now())
	for _, command := range []string{"HSET", "PEXPIREAT"} {
		between.LoseReply(command)
		require.NoError(t, s.PutRows(ctx, store.Minute, time.Hour, points), command)
	}
	between.LoseReply("HMGET")
	rows, _, err := s.Rows(ctx, store.Minute, names, store.SeriesRange{From: points[0].Time, To: points[0].Time.Add(time.Minute), Keep: time.Hour}, 1000)
	require.NoError(t, err)
	for i := range rows {
		require.Equal(t, points[i:i+1], rows[i])
	}
	// Lost twice nobody knows, and says so; again it is as if nothing had been.
	between.LoseReply("HSET")
	between.LoseReply("HSET")
	require.ErrorIs(t, s.PutRows(ctx, store.Minute, time.Hour, points), store.ErrUncertain)
	require.NoError(t, s.PutRows(ctx, store.Minute, time.Hour, points))
}

// A frozen server is not waited for for long.
func TestSeriesOfFrozenServer(t *testing.T) {
	r := storetest.StartRedis(t)
	between, err := storetest.NewDropper(r.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, between.Close()) })
	s := openStore(t, "redis://"+between.Addr)
	points, names := manyPoints(100, s.Now())
	between.Freeze(true)
	defer between.Freeze(false)
	err = s.PutRows(ctx, store.Minute, time.Hour, points)
	require.Error(t, err)
	_, _, err = s.Rows(ctx, store.Minute, names, store.SeriesRange{From: points[0].Time, To: s.Now(), Keep: time.Hour}, 1000)
	require.ErrorIs(t, err, store.ErrUnavailable)
}

// What is kept no longer expires by itself, hash by hash; what is kept for ever stays.
func TestSeriesExpire(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	c := direct(t, r)
	f := func(g store.Grain, keep time.Duration) time.Duration {
		t.Helper()
		name := fmt.Sprint(g, keep)
		at := g.Time(g.Slot(s.Now()))
		require.NoError(t, s.PutRows(ctx, g, keep, []store.Point{{Series: name, Time: at}}))
		slot := g.Slot(at)
		lives, err := c.PTTL(ctx, s.keys.points(bucket{g, slot / bucketSlots[g], name})).Result()
		require.NoError(t, err)
		return lives
	}
	for _, g := range []store.Grain{store.Second, store.Minute, store.Hour, store.Day} {
		lives := f(g, 360*time.Hour)
		most := 360*time.Hour + time.Duration(bucketSlots[g])*g.Width() + pointSlack
		require.Greater(t, lives, 360*time.Hour)
		require.LessOrEqual(t, lives, most)
		require.Negative(t, f(g, store.Forever))
	}
	// Kept for ever after all.
	at := store.Hour.Time(store.Hour.Slot(s.Now()))
	for _, keep := range []time.Duration{time.Hour, store.Forever} {
		require.NoError(t, s.PutRows(ctx, store.Hour, keep, []store.Point{{Series: "x", Time: at}}))
	}
	lives, err := c.PTTL(ctx, s.keys.points(bucket{store.Hour, store.Hour.Slot(at) / bucketSlots[store.Hour], "x"})).Result()
	require.NoError(t, err)
	require.Negative(t, lives)
}

// The hash of an hour of minutes stays compact: that is what makes a row cost 60 bytes.
func TestSeriesAreCompact(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	hour := store.Hour.Time(store.Hour.Slot(s.Now()))
	var points []store.Point
	for i := range 60 {
		points = append(points, store.Point{Series: "x", Time: hour.Add(time.Duration(i) * time.Minute), Data: make([]byte, 36)})
	}
	require.NoError(t, s.PutRows(ctx, store.Minute, time.Hour, points))
	key := s.keys.points(bucket{store.Minute, store.Minute.Slot(hour) / 60, "x"})
	c := direct(t, r)
	encoding, err := c.ObjectEncoding(ctx, key).Result()
	require.NoError(t, err)
	require.Equal(t, "listpack", encoding)
	size, err := c.MemoryUsage(ctx, key).Result()
	require.NoError(t, err)
	require.Less(t, size, int64(60*60))
}
