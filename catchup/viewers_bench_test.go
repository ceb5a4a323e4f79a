package catchup

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/gobelin-broker/gobelin/store/redis"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// onStores runs a benchmark on each kind of store.
func onStores(b *testing.B, do func(*testing.B, store.Store)) {
	b.Run("memory", func(b *testing.B) {
		s := memory.New(memory.Options{MaxBytes: 8 << 30})
		defer func() { require.NoError(b, s.Close()) }()
		do(b, s)
	})
	b.Run("disk", func(b *testing.B) {
		s, err := disk.Open(context.Background(), b.TempDir(), disk.Options{Floor: -1})
		require.NoError(b, err)
		defer func() { require.NoError(b, s.Close()) }()
		do(b, s)
	})
	b.Run("redis", func(b *testing.B) {
		s, err := redis.Open(context.Background(), storetest.StartRedis(b).URL, redis.Options{})
		require.NoError(b, err)
		defer func() { require.NoError(b, s.Close()) }()
		do(b, s)
	})
}

// BenchmarkPutTick is what a node writes at each sample for 10,000 objects.
func BenchmarkPutTick(b *testing.B) {
	onStores(b, func(b *testing.B, s store.Store) {
		v, counts := NewViewers(s, 12*time.Second, ViewerKeep{}), many(10_000)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			require.NoError(b, v.PutTick(context.Background(), "node", s.Now().Truncate(12*time.Second), counts))
		}
	})
}

// BenchmarkCloseMinute closes a minute in which three nodes counted 10,000 objects five
// times each. The index knows them; no hour closes.
func BenchmarkCloseMinute(b *testing.B) {
	onStores(b, func(b *testing.B, s store.Store) {
		v, counts := NewViewers(s, 12*time.Second, ViewerKeep{}), many(10_000)
		minute := s.Now().Truncate(time.Hour).Add(30 * time.Minute)
		for i := range 5 {
			for _, node := range []string{"a", "b", "c"} {
				require.NoError(b, v.PutTick(context.Background(), node, minute.Add(time.Duration(i)*12*time.Second), counts))
			}
		}
		_, err := v.CloseMinute(context.Background(), minute)
		require.NoError(b, err)
		b.ReportAllocs()
		for b.Loop() {
			c, err := v.CloseMinute(context.Background(), minute)
			require.NoError(b, err)
			require.Len(b, c.Rows, 10_000)
		}
	})
}

// fillMinutes writes minutes rows of each of urls, up to now.
func fillMinutes(b *testing.B, v *Viewers, urls []string, minutes int) (now time.Time) {
	now = v.store.Now().UTC().Truncate(time.Minute)
	for from := 0; from < minutes; from += 60 {
		var rows []ViewerRow
		for _, url := range urls {
			for i := from; i < min(from+60, minutes); i++ {
				rows = append(rows, ViewerRow{App: 12, URL: url, Time: now.Add(-time.Duration(i) * time.Minute), Min: 1, Max: 1000, Sum: uint64(2000 + i), N: 5, Seconds: 24000})
			}
		}
		require.NoError(b, v.put(context.Background(), countedSeries, store.Minute, rows))
	}
	return now
}

func urlsOf(n int) (urls []string) {
	for i := range n {
		urls = append(urls, fmt.Sprintf("sestore3/username/path/%06d.mp4", i))
	}
	return urls
}

// BenchmarkHour folds an hour of 10,000 objects: what the last minute of an hour costs
// beside its rows.
func BenchmarkHour(b *testing.B) {
	onStores(b, func(b *testing.B, s store.Store) {
		v, urls := NewViewers(s, 12*time.Second, ViewerKeep{}), urlsOf(10_000)
		now := fillMinutes(b, v, urls, 120)
		hour := now.Truncate(time.Hour).Add(-time.Hour)
		b.ReportAllocs()
		for b.Loop() {
			hours, _, err := v.foldApp(context.Background(), 12, urls, stretch{hour, hour.Add(time.Hour)})
			require.NoError(b, err)
			require.Len(b, hours[9_999], 1)
		}
	})
}

// BenchmarkViewerRows asks for all minutes there are, of 15 days, of 100 objects out of
// 1,000: the answer is found by range reads, whatever else is kept.
func BenchmarkViewerRows(b *testing.B) {
	onStores(b, func(b *testing.B, s store.Store) {
		v, urls := NewViewers(s, 12*time.Second, ViewerKeep{}), urlsOf(1000)
		const minutes = 15 * 24 * 60
		now := fillMinutes(b, v, urls[:100], minutes)
		fillMinutes(b, v, urls[100:], 6*60)
		for _, hours := range []int{6, 24, 30 * 24} {
			b.Run(fmt.Sprintf("%dh", hours), func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					rows, more, err := v.Rows(context.Background(), 12, urls[:100], store.Minute, now.Add(-time.Duration(hours)*time.Hour), now, 100*minutes)
					require.NoError(b, err)
					require.False(b, more)
					n = len(rows)
					require.GreaterOrEqual(b, n, 100*min(hours*60, minutes-2))
				}
				b.ReportMetric(float64(n), "rows")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
			})
		}
	})
}
