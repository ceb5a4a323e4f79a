package catchup

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"

	"github.com/stretchr/testify/require"
)

// Nodes that list urls at the same time lose none, and none is listed twice.
func TestListTogether(t *testing.T) {
	a := newAudience(t)
	const nodes, each = 6, 300
	var listing sync.WaitGroup
	for n := range nodes {
		v := NewViewers(a.store, 12*time.Second, ViewerKeep{})
		listing.Go(func() {
			for from := 0; from < each; from += 50 {
				var urls []viewedURL
				for i := from; i < from+50; i++ {
					urls = append(urls, viewedURL{12, fmt.Sprint("u", i), []string{fmt.Sprint("o", n)}})
				}
				for {
					unlisted, err := v.list(context.Background(), dayOf(midday), urls)
					if err == nil {
						require.Zero(t, unlisted)
						break
					}
				}
			}
		})
	}
	listing.Wait()
	urls, err := a.listed(context.Background(), viewedPrefix(dayOf(midday), 12))
	require.NoError(t, err)
	require.Len(t, urls, each)
	for _, u := range urls {
		require.Len(t, u.objects, nodes)
	}
}

// The index is bounded: what finds no room is counted, not forgotten in silence.
func TestListIsFull(t *testing.T) {
	a := newAudience(t)
	var urls []viewedURL
	for i := 0; len(urls) < maxViewedURLs+3; i++ {
		if url := fmt.Sprint("u", i); viewedShard(url) == 0 {
			urls = append(urls, viewedURL{app: 12, url: url})
		}
	}
	for range 2 {
		unlisted, err := a.list(context.Background(), 0, urls)
		require.NoError(t, err)
		require.Equal(t, 3, unlisted)
	}
	unlisted, err := a.list(context.Background(), 0, urls[:maxViewedURLs])
	require.NoError(t, err)
	require.Zero(t, unlisted)

	objects := viewedURL{app: 13, url: "u"}
	for i := range 2 * maxViewedObjects {
		objects.objects = append(objects.objects, fmt.Sprint(i))
	}
	_, err = a.list(context.Background(), 0, []viewedURL{objects})
	require.NoError(t, err)
	got, err := a.listed(context.Background(), viewedPrefix(0, 13))
	require.NoError(t, err)
	require.Len(t, got[0].objects, maxViewedObjects)
}

// At the close of a day every url of the day has its row, also one that nobody viewed in
// its last hour.
func TestDayCloses(t *testing.T) {
	a := newAudience(t)
	for _, h := range []int{3, 11} {
		at := midday.Add(time.Duration(h)*time.Hour + 59*time.Minute)
		a.tick("a", at, watching(fmt.Sprint("u", h), 5, 0))
		c := a.closed(at)
		require.Len(t, c.Hours, 1)
		require.Len(t, c.Days, map[int]int{3: 1, 11: 2}[h])
	}
	a.now = midday.Add(40 * time.Hour)
	v := NewViewers(a.store, 12*time.Second, ViewerKeep{})
	c, err := v.CloseMinute(context.Background(), a.now.Add(-time.Minute))
	require.NoError(t, err)
	require.Empty(t, c.Days, "a day on which nobody viewed anything")
}

// FuzzKeys: no key of a row breaks who reads it.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"t/1700000000/0/node", "t/-1/ffff/", "d/0000000c/x", "///", "t/9223372036854775808/0/n", "d/100000000/", "", "t/+1/0/n"} {
		f.Add(s, []byte(s))
	}
	f.Add("", ViewerRow{Min: 1, Max: 2, Sum: 3, N: 4}.encode())
	f.Fuzz(func(t *testing.T, key string, row []byte) {
		if at, piece, node, err := parseTickKey(key); err == nil {
			again, p, n, err := parseTickKey(fmt.Sprintf("t/%d/%x/%s", at, piece, node))
			require.NoError(t, err)
			require.Equal(t, []any{at, piece, node}, []any{again, p, n})
		}
		if app, err := parseViewedKey(key); err == nil {
			again, err := parseViewedKey(fmt.Sprintf("d/%x/", app))
			require.NoError(t, err)
			require.Equal(t, app, again)
		}
		if r, err := decodeViewerRow(12, "u", store.Point{Data: row}); err == nil {
			require.Equal(t, row, r.encode())
			_ = r.Avg()
		}
	})
}
