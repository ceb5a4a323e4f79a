package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// patience is how long a test waits for what must come some time: longer than the
// 20 s in which a silent loss shows.
const patience = time.Minute

// watcher writes down what it hears.
type watcher struct {
	mu     sync.Mutex
	ready  int
	broken int
	early  bool
	from   int // how many tails were there at the newest Ready
	tails  []store.Tail
}

func (w *watcher) Ready() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready++
	w.from = len(w.tails)
}

func (w *watcher) Entries(tails []store.Tail) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.early = w.early || w.ready == 0
	w.tails = append(w.tails, tails...)
}

func (w *watcher) Broken(error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken++
}

func (w *watcher) heard() []store.Tail {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]store.Tail(nil), w.tails...)
}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tails)
}

func (w *watcher) readies() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ready
}

func (w *watcher) breaks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// has reports whether it heard of p.
func (w *watcher) has(log store.LogName, p store.Position) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.tails, func(t store.Tail) bool { return t.Log == log && t.Position == p })
}

// watch watches a feed and waits until the watcher is ready.
func (u *suite) watch(feed string) (*watcher, func()) {
	u.Helper()
	w := &watcher{}
	stop, err := u.s.Watch(feed, w)
	require.NoError(u, err)
	if !u.s.Shared() {
		require.Equal(u, 1, w.readies(), "ready before Watch returns")
	}
	require.Eventually(u, func() bool { return w.readies() > 0 }, patience, time.Millisecond)
	return w, stop
}

// waitFor waits until w has heard of n entries.
func (u *suite) waitFor(w *watcher, n int) {
	u.Helper()
	if !u.s.Shared() {
		require.GreaterOrEqual(u, w.count(), n, "watchers come before done")
	}
	if !until(patience, func() bool { return w.count() >= n }) {
		require.Len(u, w.heard(), n, "not all was heard")
	}
}

// chained checks that the entries of a log follow each other.
func (u *suite) chained(tails []store.Tail) {
	u.Helper()
	last := map[store.LogName]store.Position{}
	for _, t := range tails {
		require.Equal(u, last[t.Log], t.Prev, "%v", t.Log)
		require.True(u, t.Prev.Before(t.Position))
		last[t.Log] = t.Position
	}
}

func (u *suite) watchOrder() {
	all, _ := u.watch(store.AllFeeds)
	one, _ := u.watch("feed 1")
	other, _ := u.watch("none")
	const writers, each = 8, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				log := store.LogName{Feed: fmt.Sprint("feed ", i%3), Path: fmt.Sprint(i % 2)}
				limits := keep
				if i%3 == 2 {
					limits = store.Limits{}
				}
				a, err := Append(u.s, log, limits, store.Record{Data: []byte(fmt.Sprint(w, i))})
				if err != nil {
					u.Error(err)
					return
				}
				if !u.s.Shared() && !all.has(log, a.Positions[0]) {
					u.Errorf("watchers come before done: %v", a.Positions)
				}
			}
		})
	}
	wg.Wait()
	u.waitFor(all, writers*each)
	tails := all.heard()
	require.Len(u, tails, writers*each)
	require.Empty(u, other.heard())
	require.False(u, all.early)
	u.chained(tails)
	data := map[string]bool{}
	var want []store.Tail
	for _, t := range tails {
		data[string(t.Data)] = true
		require.Equal(u, t.Log.Feed != "feed 2", t.Kept)
		if t.Log.Feed == "feed 1" {
			want = append(want, t)
		}
	}
	require.Len(u, data, writers*each)
	u.waitFor(one, len(want))
	if got := one.heard(); u.s.Shared() { // an order between logs is not promised
		require.ElementsMatch(u, want, got)
		u.chained(got)
	} else {
		require.Equal(u, want, got)
	}
	require.NoError(u, u.s.Close())
	require.Eventually(u, func() bool { return all.breaks() == 1 }, patience, time.Millisecond, "the end is told")
}

// hears reports whether a watch of one feed hears of another; see store.Feed.
func hears(feed, of string) bool {
	if feed == store.AllFeeds || strings.HasSuffix(feed, "/") {
		return strings.HasPrefix(of, feed)
	}
	return feed == of
}

// watchPrefix watches feeds of look-alike names, alone and by what they begin with,
// some twice.
func (u *suite) watchPrefix() {
	logs := []string{"a", "a/", "a/b", "a/b/", "a/b/c", "a/bc", "ab", "ab/", "A/b", "/", "/a", "", "é/x", "a//", strings.Repeat("a/", store.MaxName/2)}
	feeds := append([]string{"none", "none/", "é/", "a/b/c/", "a/", "a/b"}, logs...)
	var watchers []*watcher
	for _, feed := range feeds {
		w, stop := u.watch(feed)
		u.Cleanup(stop)
		watchers = append(watchers, w)
	}
	const rounds = 3
	for range rounds {
		for _, feed := range logs {
			u.add(store.LogName{Feed: feed, Path: "p"}, keep, feed)
			u.add(store.LogName{Feed: feed, Path: strings.Repeat("q", store.MaxName)}, store.Limits{}, feed)
		}
	}
	for i, feed := range feeds {
		want := 0
		for _, of := range logs {
			if hears(feed, of) {
				want += 2 * rounds
			}
		}
		u.waitFor(watchers[i], want)
		tails := watchers[i].heard()
		require.Len(u, tails, want, "%q", feed)
		u.chained(tails)
		for _, t := range tails {
			require.True(u, hears(feed, t.Log.Feed), "%q hears %q", feed, t.Log.Feed)
			require.Equal(u, t.Log.Feed, string(t.Data))
		}
	}
}

func (u *suite) unwatchRace() {
	log := name("race")
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			if _, err := Append(u.s, log, keep, store.Record{Data: []byte("r")}); err != nil {
				u.Error(err)
				return
			}
		}
	})
	var watching sync.WaitGroup
	for range 4 {
		watching.Go(func() {
			for range 50 {
				if !u.watchOnce(log) {
					return
				}
			}
		})
	}
	watching.Wait()
	close(end)
	wg.Wait()
}

// watchOnce watches for a moment and reports whether all went well.
func (u *suite) watchOnce(log store.LogName) bool {
	w := &watcher{}
	stop, err := u.s.Watch(log.Feed, w)
	if err != nil {
		u.Error(err)
		return false
	}
	defer stop()
	if !until(patience, func() bool { return w.readies() > 0 }) {
		u.Error("never ready")
		return false
	}
	a, err := Append(u.s, log, keep, store.Record{Data: []byte("own")})
	if err != nil {
		u.Error(err)
		return false
	}
	if !u.s.Shared() && !w.has(log, a.Positions[0]) || !until(patience, func() bool { return w.has(log, a.Positions[0]) }) {
		u.Error("what was committed after Ready was not announced")
		return false
	}
	stop()
	n := w.count()
	if _, err := Append(u.s, log, keep, store.Record{Data: []byte("late")}); err != nil {
		u.Error(err)
		return false
	}
	stop()
	if w.count() != n {
		u.Error("called after stop")
		return false
	}
	w.mu.Lock()
	from := w.from
	w.mu.Unlock()
	tails := w.heard()[from:]
	for i, t := range tails {
		if i > 0 && t.Prev != tails[i-1].Position {
			u.Error("not chained")
			return false
		}
	}
	return true
}

func (u *suite) nothingKept() {
	log := name("nothing")
	w, _ := u.watch(log.Feed)
	for i := range 5 {
		u.add(log, store.Limits{}, fmt.Sprint(i))
	}
	for _, limits := range []store.Limits{{}, keep} {
		require.Empty(u, u.page(log, store.Range{Limits: limits}).Entries)
		require.Zero(u, u.head(log, limits))
	}
	u.waitFor(w, 5)
	u.chained(w.heard())
	require.Len(u, w.heard(), 5)
	for i, t := range w.heard() {
		require.False(u, t.Kept)
		require.Equal(u, w.heard()[0].Position.N()+uint64(i), t.Position.N())
	}
	// Kept and unkept records of one log never share or disorder a position.
	var last store.Position
	for i := range 30 {
		limits := keep
		if i%3 != 0 {
			limits = store.Limits{}
		}
		p := u.add(log, limits, fmt.Sprint(i)).Position
		require.True(u, last.Before(p))
		last = p
	}
	require.Len(u, u.page(log, store.Range{Limits: keep}).Entries, 10)
}
