package feeds

import (
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// Feeds is the set of watches of one store.
type Feeds struct {
	mu     sync.RWMutex
	byFeed map[string][]*watch // never changed in place: Announce reads old slices
	closed bool
}

type watch struct {
	feed string
	w    store.Watcher

	mu      sync.Mutex
	stopped bool
}

// New returns an empty set.
func New() *Feeds { return &Feeds{byFeed: make(map[string][]*watch)} }

// Watch adds w to a feed and calls its Ready before it returns; see store.Feed.
// After Close it returns store.ErrClosed.
func (f *Feeds) Watch(feed string, w store.Watcher) (func(), error) {
	a := &watch{feed: feed, w: w}
	a.mu.Lock() // Entries wait behind Ready
	defer a.mu.Unlock()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, store.ErrClosed
	}
	old := f.byFeed[feed]
	f.byFeed[feed] = append(old[:len(old):len(old)], a)
	f.mu.Unlock()
	w.Ready()
	return func() { f.stop(a) }, nil
}

// stop takes a out and waits for a call of it under way.
func (f *Feeds) stop(a *watch) {
	f.mu.Lock()
	var left []*watch
	for _, b := range f.byFeed[a.feed] {
		if b != a {
			left = append(left, b)
		}
	}
	if left == nil {
		delete(f.byFeed, a.feed)
	} else {
		f.byFeed[a.feed] = left
	}
	f.mu.Unlock()
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
}

// Announce hands committed entries, in commit order, to whoever watches them.
// The slice is not used after it returns, unless a watcher keeps it.
func (f *Feeds) Announce(tails []store.Tail) {
	if len(tails) == 0 {
		return
	}
	f.mu.RLock()
	all, some := f.byFeed[store.AllFeeds], len(f.byFeed)
	f.mu.RUnlock()
	if len(all) > 0 {
		some--
	}
	for _, a := range all {
		a.entries(tails)
	}
	if some == 0 {
		return
	}
	for len(tails) > 0 { // runs of one feed, as they were committed
		feed, n := tails[0].Log.Feed, 1
		for n < len(tails) && tails[n].Log.Feed == feed {
			n++
		}
		if feed != store.AllFeeds {
			f.mu.RLock()
			ws := f.byFeed[feed]
			f.mu.RUnlock()
			for _, a := range ws {
				a.entries(tails[:n:n])
			}
		}
		tails = tails[n:]
	}
}

func (a *watch) entries(tails []store.Tail) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		a.w.Entries(tails)
	}
}

// Close tells every watcher that it is over and takes no more of them.
func (f *Feeds) Close() {
	f.mu.Lock()
	watches := f.byFeed
	f.byFeed, f.closed = make(map[string][]*watch), true
	f.mu.Unlock()
	for _, ws := range watches {
		for _, a := range ws {
			a.mu.Lock()
			if !a.stopped {
				a.w.Broken(store.ErrClosed)
			}
			a.stopped = true
			a.mu.Unlock()
		}
	}
}
