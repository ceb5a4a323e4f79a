//go:build unix

package broker

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// crowded is a bench whose node has three viewers at each of n objects, one of them new.
func crowded(b *testing.B, n int, s func(store.Store) store.Store) *bench {
	b.Helper()
	x := newBench(b, nil)
	x.options.Store = s(x.options.Store)
	x.stop()
	x.run()
	for i := range n {
		url := fmt.Sprintf("https://media.example.com/stage/%05d/index.m3u8", i)
		o, _, err := x.b.objects.create(b.Context(), x.app, ObjectSpec{ID: fmt.Sprint("object-", i), URL: url})
		require.NoError(b, err)
		for v := range 3 {
			x.b.views.enter(feedOf(o), o, &subscriber{}, v == 0)
		}
	}
	return x
}

// processor returns what this process has used of processors.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSample is one count of a node with 10,000 objects that have viewers, until it is
// in the store: one call.
func BenchmarkSample(b *testing.B) {
	var c *counting
	x := crowded(b, 10_000, func(s store.Store) store.Store {
		c = &counting{Store: s, calls: map[string]int{}}
		return c
	})
	s := newSampler(x.b)
	s.grace = time.Hour // one moment, again and again, so that the store does not fill
	at := time.Now().Truncate(time.Second)
	c.taken()
	b.ReportAllocs()
	rounds, before := 0, processor(b)
	for b.Loop() {
		s.sample(b.Context(), at)
		rounds++
	}
	b.ReportMetric(float64((processor(b)-before).Microseconds())/1000/float64(rounds), "cpu-ms/op")
	b.ReportMetric(float64(c.taken()["Put viewer ticks"])/float64(rounds), "calls/op")
	require.Zero(b, total(x.b.metrics.lostSamples))
}

// BenchmarkTell is what the node that adds up does with such a sample of three nodes:
// it reads them and says 10,000 numbers.
func BenchmarkTell(b *testing.B) {
	x := crowded(b, 10_000, func(s store.Store) store.Store { return s })
	counts, _ := x.b.views.sample(x.b.objects.newest)
	t := newTally(x.b)
	b.ReportAllocs()
	rounds, used := 0, time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		at := x.b.opt.Store.Now().Truncate(time.Millisecond)
		for n := range 3 {
			require.NoError(b, x.b.stats.PutTick(b.Context(), fmt.Sprint("node", n), at, counts))
		}
		b.StartTimer()
		before := processor(b)
		all, nodes, err := x.b.stats.Tick(b.Context(), at)
		require.NoError(b, err)
		require.Equal(b, 3, nodes)
		require.NoError(b, t.tellSample(b.Context(), at, all))
		used += processor(b) - before
		rounds++
	}
	b.ReportMetric(float64(used.Microseconds())/1000/float64(rounds), "cpu-ms/op")
}
