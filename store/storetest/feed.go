package storetest

import (
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// watcher writes down what it hears.
type watcher struct {
	mu     sync.Mutex
	ready  int
	broken int
	early  bool
	tails  []store.Tail
}

func (w *watcher) Ready() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready++
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
	all, one, other := &watcher{}, &watcher{}, &watcher{}
	for feed, w := range map[string]*watcher{store.AllFeeds: all, "feed 1": one, "none": other} {
		_, err := u.s.Watch(feed, w)
		require.NoError(u, err)
		require.Equal(u, 1, w.ready, "ready before Watch returns")
	}
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
				data := fmt.Sprint(w, i)
				a, err := Append(u.s, log, limits, store.Record{Data: []byte(data)})
				if err != nil {
					u.Error(err)
					return
				}
				found := false
				for _, t := range all.heard() {
					found = found || t.Log == log && t.Position == a.Positions[0] && string(t.Data) == data && t.Kept == limits.Keeps()
				}
				if !found {
					u.Errorf("watchers come before done: %v", a.Positions)
				}
			}
		})
	}
	wg.Wait()
	tails := all.heard()
	require.Len(u, tails, writers*each)
	require.Empty(u, other.heard())
	require.False(u, all.early)
	u.chained(tails)
	var want []store.Tail
	for _, t := range tails {
		if t.Log.Feed == "feed 1" {
			want = append(want, t)
		}
	}
	require.Equal(u, want, one.heard())
	require.NoError(u, u.s.Close())
	require.Equal(u, 1, all.broken)
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
				w := &watcher{}
				stop, err := u.s.Watch(log.Feed, w)
				if err != nil {
					u.Error(err)
					return
				}
				if _, err := Append(u.s, log, keep, store.Record{Data: []byte("own")}); err != nil {
					u.Error(err)
				}
				stop()
				n := len(w.heard())
				if n == 0 {
					u.Error("what was committed after Ready was not announced")
				}
				if _, err := Append(u.s, log, keep, store.Record{Data: []byte("late")}); err != nil {
					u.Error(err)
				}
				stop()
				if len(w.heard()) != n {
					u.Error("called after stop")
				}
				for i, t := range w.heard() {
					if i > 0 && t.Prev != w.heard()[i-1].Position {
						u.Error("not chained")
					}
				}
			}
		})
	}
	watching.Wait()
	close(end)
	wg.Wait()
}

func (u *suite) nothingKept() {
	log := name("nothing")
	w := &watcher{}
	_, err := u.s.Watch(log.Feed, w)
	require.NoError(u, err)
	for i := range 5 {
		u.add(log, store.Limits{}, fmt.Sprint(i))
	}
	for _, limits := range []store.Limits{{}, keep} {
		require.Empty(u, u.page(log, store.Range{Limits: limits}).Entries)
		require.Zero(u, u.head(log, limits))
	}
	u.chained(w.heard())
	require.Len(u, w.heard(), 5)
	for i, t := range w.heard() {
		require.False(u, t.Kept)
		require.Equal(u, w.tails[0].Position.N()+uint64(i), t.Position.N())
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
