package catchup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

func TestReplayNewest(t *testing.T) {
	ctx := context.Background()
	now := noon
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zaptest.NewLogger(t)})
	defer func() { require.NoError(t, s.Close()) }()
	limits := store.Limits{Age: 24 * time.Hour, Length: 10}
	tick := func() { now = now.Add(time.Minute) }
	f := func(count int, upTo store.Position, since time.Time, want Extent, data ...string) {
		t.Helper()
		r, x, err := NewReplayNewest(ctx, s, chat, limits, since, upTo, count)
		require.NoError(t, err)
		require.Equal(t, want, x)
		require.Equal(t, data, read(t, r, 3))
	}
	long := now.Add(-time.Hour)

	f(5, store.Position{}, long, Extent{})
	ps := appendN(t, s, limits, 1, 8, tick)
	f(1, ps[7], long, Extent{Messages: 1}, "8")
	f(3, ps[7], long, Extent{Messages: 3}, "6", "7", "8")
	f(3, ps[4], long, Extent{Messages: 3}, "3", "4", "5")
	f(8, ps[7], long, Extent{Messages: 8}, "1", "2", "3", "4", "5", "6", "7", "8")
	f(50, ps[1], long, Extent{Messages: 2}, "1", "2")
	// A count is bounded by age, too, which is no truncation.
	f(5, ps[7], ps[5].Time(), Extent{Messages: 3}, "6", "7", "8")
	// What a wildcard began with is no record's position.
	f(2, predecessor(store.NewPosition(ps[5].MS(), 0, 0)), long, Extent{Messages: 2}, "4", "5")

	ps = append(ps, appendN(t, s, limits, 9, 5, tick)...)
	f(10, ps[12], long, Extent{Messages: 10}, "4", "5", "6", "7", "8", "9", "10", "11", "12", "13")
	// Only what is missing because of the length limit makes it truncated.
	f(11, ps[12], long, Extent{Messages: 10, Truncated: true}, "4", "5", "6", "7", "8", "9", "10", "11", "12", "13")

	// What is published meanwhile does not push out what was counted.
	r, x, err := NewReplayNewest(ctx, s, chat, limits, long, ps[12], 2)
	require.NoError(t, err)
	require.Equal(t, Extent{Messages: 2}, x)
	appendN(t, s, limits, 14, 9, tick)
	require.Equal(t, []string{"12", "13"}, read(t, r, 1))
}

// Redacted messages do not count, wherever and however many they are, and it takes few
// looks to see past them.
func TestReplayNewestRedacted(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 9))
		now := noon
		s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zaptest.NewLogger(t)})
		limits := store.Limits{Age: 24 * time.Hour, Length: 1000}
		total := 1 + r.IntN(300)
		ps := appendN(t, s, limits, 0, total, func() { now = now.Add(time.Duration(r.IntN(3)) * time.Millisecond) })
		upTo := r.IntN(total)
		var stands []string
		gone := r.IntN(4)
		for i, p := range ps {
			hidden := r.IntN(4) < gone || i/40%2 == 1 && gone > 0
			if hidden {
				require.NoError(t, s.Redact(ctx, chat, p))
			} else if i <= upTo {
				stands = append(stands, fmt.Sprint(i))
			}
		}
		for range 5 {
			count := 1 + r.IntN(total+5)
			c := &counted{Store: s}
			walk, x, err := NewReplayNewest(ctx, c, chat, limits, noon, ps[upTo], count)
			require.NoError(t, err)
			want := stands[max(0, len(stands)-count):]
			require.Equal(t, int64(len(want)), x.Messages, "seed %d, %d of %d", seed, count, len(stands))
			require.False(t, x.Truncated)
			require.Less(t, c.calls, 60, "seed %d", seed)
			require.Equal(t, append([]string(nil), want...), read(t, walk, 7), "seed %d", seed)
		}
		require.NoError(t, s.Close())
	}
}

// counted counts the looks into a log.
type counted struct {
	store.Store
	calls  int
	meddle func() // before each look
}

func (c *counted) Read(ctx context.Context, l store.LogName, r store.Range, limit, size int) (store.Page, error) {
	c.look()
	return c.Store.Read(ctx, l, r, limit, size)
}

func (c *counted) Count(ctx context.Context, l store.LogName, r store.Range) (int64, error) {
	c.look()
	return c.Store.Count(ctx, l, r)
}

func (c *counted) Head(ctx context.Context, l store.LogName, limits store.Limits) (store.Head, error) {
	c.look()
	return c.Store.Head(ctx, l, limits)
}

func (c *counted) look() {
	c.calls++
	if c.meddle != nil {
		c.meddle()
	}
}

// A walk over the newest is found while others publish.
func TestReplayNewestMeanwhile(t *testing.T) {
	ctx := context.Background()
	now := noon
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zaptest.NewLogger(t)})
	defer s.Close()
	limits := store.Limits{Age: 24 * time.Hour, Length: 100}
	tick := func() { now = now.Add(time.Millisecond) }
	ps := appendN(t, s, limits, 0, 60, tick)
	said := 60
	c := &counted{Store: s, meddle: func() { appendN(t, s, limits, said, 2, tick); said += 2 }}
	r, x, err := NewReplayNewest(ctx, c, chat, limits, noon, ps[59], 20)
	require.NoError(t, err)
	require.Equal(t, int64(20), x.Messages)
	got := read(t, r, 100)
	require.Equal(t, "40", got[0])
	require.Equal(t, "59", got[19])
}

// BenchmarkReplayNewest finds the last 50 of 10,000.
func BenchmarkReplayNewest(b *testing.B) {
	ctx := context.Background()
	s := memory.New(memory.Options{Log: zaptest.NewLogger(b)})
	defer s.Close()
	limits := store.Limits{Age: 24 * time.Hour, Length: 100_000}
	ps := appendN(b, s, limits, 1, 10_000, func() {})
	c := &counted{Store: s}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		_, x, err := NewReplayNewest(ctx, c, chat, limits, ps[0].Time(), ps[len(ps)-1], 50)
		require.NoError(b, err)
		require.Equal(b, int64(50), x.Messages)
		n++
	}
	b.ReportMetric(float64(c.calls)/float64(n), "looks/op")
}
