package catchup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// counting counts the calls of a store.
type counting struct {
	store.Store
	mu    sync.Mutex
	calls map[string]int
}

func (c *counting) count(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[call]++
}

func (c *counting) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	c.count("Put")
	return c.Store.Put(ctx, table, key, put)
}

func (c *counting) Get(ctx context.Context, table, key string) (store.Value, error) {
	c.count("Get")
	return c.Store.Get(ctx, table, key)
}

func (c *counting) List(ctx context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	c.count("List")
	return c.Store.List(ctx, table, prefix, after, limit)
}

func (c *counting) Rows(ctx context.Context, g store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	c.count("Rows")
	return c.Store.Rows(ctx, g, series, r, limit)
}

func (c *counting) PutRows(ctx context.Context, g store.Grain, keep time.Duration, rows []store.Point) error {
	c.count("PutRows")
	return c.Store.PutRows(ctx, g, keep, rows)
}

// many are counts of n urls.
func many(n int) []ViewerCount {
	counts := make([]ViewerCount, n)
	for i := range counts {
		counts[i] = ViewerCount{App: 12, URL: fmt.Sprintf("sestore3/username/path/%06d.mp4", i), Object: fmt.Sprintf("12/%016x", i), Viewers: uint32(i%50 + 1), Arrived: uint32(i % 2)}
	}
	return counts
}

// One call of the store for a node and a tick, whatever the objects; a minute is closed
// by a few.
func TestCallsOfATick(t *testing.T) {
	a := newAudience(t)
	a.closed(midday.Add(-2 * time.Minute))
	s := &counting{Store: a.store, calls: map[string]int{}}
	v := NewViewers(s, 12*time.Second, ViewerKeep{})
	a.now = midday
	require.NoError(t, v.PutTick(context.Background(), "a", midday, many(10_000)))
	require.Equal(t, map[string]int{"Put": 1}, s.calls)
	_, err := v.CloseMinute(context.Background(), midday)
	require.NoError(t, err)
	clear(s.calls)
	a.now = midday.Add(time.Minute)
	require.NoError(t, v.PutTick(context.Background(), "a", a.now, many(10_000)))
	_, err = v.CloseMinute(context.Background(), a.now)
	require.NoError(t, err)
	want := map[string]int{"Put": 1, "List": 1, "Rows": 1, "PutRows": 2, "Get": 1}
	require.Equal(t, want, s.calls, "tick; ticks, measured before; rows and measured; which hours have closed")
}

// TestTickInPieces: a tick above the bound of a row is whole or not there.
func TestTickInPieces(t *testing.T) {
	a := newAudience(t)
	counts := many(100_000)
	a.tick("a", midday, counts...)
	items, err := a.store.List(context.Background(), tableTick, "", "", 100)
	require.NoError(t, err)
	require.Greater(t, len(items), 1)
	got, nodes, err := a.Tick(context.Background(), midday)
	require.NoError(t, err)
	require.Equal(t, 1, nodes)
	require.True(t, slices.Equal(counts, got))
	require.NoError(t, a.store.Remove(context.Background(), tableTick, items[0].Key, nil))
	got, nodes, err = a.Tick(context.Background(), midday)
	require.NoError(t, err)
	require.Zero(t, nodes)
	require.Empty(t, got)
	a.tick("a", midday, counts[:1]...)
	got, nodes, err = a.Tick(context.Background(), midday)
	require.NoError(t, err)
	require.Equal(t, 1, nodes)
	require.Equal(t, counts[:1], got, "pieces of the one before do not count")
}

func TestTickRefused(t *testing.T) {
	a := newAudience(t)
	f := func(node string, c ViewerCount) {
		t.Helper()
		require.Error(t, a.PutTick(context.Background(), node, midday, []ViewerCount{watching("u", 1, 0), c}))
		_, nodes, err := a.Tick(context.Background(), midday)
		require.NoError(t, err)
		require.Zero(t, nodes)
	}
	f("", watching("u", 1, 0))
	f(strings.Repeat("n", maxTickNode+1), watching("u", 1, 0))
	f("a", watching("", 1, 0))
	f("a", watching(strings.Repeat("u", maxViewerURL+1), 1, 0))
	f("a", watching("u", 1, 2))
	f("a", ViewerCount{URL: "u", Object: strings.Repeat("o", maxTickObject+1), Viewers: 1})
}

// FuzzTick: what is stored is read as it was written; what was not written is refused.
func FuzzTick(f *testing.F) {
	good, err := encodeTick(12*time.Second, []ViewerCount{watching("u", 3, 1), {App: 1 << 31, URL: "v", Viewers: 1 << 31}})
	require.NoError(f, err)
	f.Add(good[0])
	f.Add([]byte{1, 0, 1, 0, 0, 0, 0})
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, err := decodeTickHead(b)
		if err != nil {
			return
		}
		var counts []ViewerCount
		err = decodeTick(b, func(c rawCount) {
			counts = append(counts, ViewerCount{c.app, string(c.url), string(c.object), c.viewers, c.arrived})
		})
		if err != nil {
			return
		}
		again, err := encodeTick(head.sample, counts)
		require.NoError(t, err)
		var twice []ViewerCount
		require.NoError(t, decodeTick(again[0], func(c rawCount) {
			twice = append(twice, ViewerCount{c.app, string(c.url), string(c.object), c.viewers, c.arrived})
		}))
		require.Equal(t, counts, twice)
	})
}

// FuzzViewed: the same of the index and of rows.
func FuzzViewed(f *testing.F) {
	f.Add(encodeViewed([]viewedURL{{12, "u", []string{"a", "b"}}, {12, "v", nil}}))
	f.Add(ViewerRow{Min: 1, Max: 2, Sum: 3, N: 4, Arrived: 5, Carried: 6, Seconds: 7}.encode())
	f.Add([]byte{1, 'u', 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		if urls, err := decodeViewed(12, b); err == nil {
			again, err := decodeViewed(12, encodeViewed(urls))
			require.NoError(t, err)
			require.Equal(t, urls, again)
		}
		if r, err := decodeViewerRow(12, "u", store.Point{Time: midday, Data: b}); err == nil {
			require.Equal(t, b, r.encode())
		}
	})
}
