package feeds

import (
	"slices"
	"strings"
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// Feeds is the set of watches of one store.
type Feeds struct {
	mu sync.RWMutex
	// The slices are never changed in place: Announce reads old ones.
	byFeed   map[string][]*watch // watches of one feed
	byPrefix map[string][]*watch // of all that begin with it; the key ends in "/" or is empty
	lengths  []length            // of the keys of byPrefix, rising
	closed   bool

	calls []call // owned by who calls Announce
}

// length is how many keys of byPrefix have so many bytes: so a feed's name costs
// one look-up for each length in use, whatever it is made of.
type length struct{ bytes, keys int }

// call is a stretch of a batch on its way to a watch.
type call struct {
	a     *watch
	tails []store.Tail
}

type watch struct {
	feed string
	w    store.Watcher

	mu      sync.Mutex
	stopped bool
}

// New returns an empty set.
func New() *Feeds {
	return &Feeds{byFeed: make(map[string][]*watch), byPrefix: make(map[string][]*watch)}
}

// Wide reports whether a feed, as named to Watch or Spoke, stands for all that begin
// with it; see store.Feed.
func Wide(feed string) bool { return feed == store.AllFeeds || strings.HasSuffix(feed, "/") }

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
	set := f.set(feed)
	old := set[feed]
	set[feed] = append(old[:len(old):len(old)], a)
	if len(old) == 0 && Wide(feed) {
		f.count(len(feed), 1)
	}
	f.mu.Unlock()
	w.Ready()
	return func() { f.stop(a) }, nil
}

// set returns the map that a watch of feed is in; mu is held.
func (f *Feeds) set(feed string) map[string][]*watch {
	if Wide(feed) {
		return f.byPrefix
	}
	return f.byFeed
}

// count notes that a key of byPrefix came or went; mu is held.
func (f *Feeds) count(bytes, by int) {
	i, found := slices.BinarySearchFunc(f.lengths, bytes, func(l length, n int) int { return l.bytes - n })
	if !found {
		f.lengths = slices.Insert(f.lengths, i, length{bytes: bytes})
	}
	if f.lengths[i].keys += by; f.lengths[i].keys == 0 {
		f.lengths = slices.Delete(f.lengths, i, i+1)
	}
}

// stop takes a out and waits for a call of it under way.
func (f *Feeds) stop(a *watch) {
	f.mu.Lock()
	set := f.set(a.feed)
	var left []*watch
	for _, b := range set[a.feed] {
		if b != a {
			left = append(left, b)
		}
	}
	switch {
	case left != nil:
		set[a.feed] = left
	case set[a.feed] != nil:
		delete(set, a.feed)
		if Wide(a.feed) {
			f.count(len(a.feed), -1)
		}
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
	f.calls = f.calls[:0]
	f.mu.RLock()
	for _, a := range f.byPrefix[store.AllFeeds] {
		f.calls = append(f.calls, call{a, tails})
	}
	if len(f.byFeed) > 0 || len(f.lengths) > 1 || len(f.lengths) == 1 && f.lengths[0].bytes > 0 {
		f.gather(tails)
	}
	f.mu.RUnlock()
	for _, c := range f.calls {
		c.a.entries(c.tails)
	}
	clear(f.calls)
}

// gather adds the calls of watches that do not watch everything; mu is held.
func (f *Feeds) gather(tails []store.Tail) {
	for len(tails) > 0 { // runs of one feed, as they were committed
		feed, n := tails[0].Log.Feed, 1
		for n < len(tails) && tails[n].Log.Feed == feed {
			n++
		}
		for _, a := range f.byFeed[feed] {
			f.calls = append(f.calls, call{a, tails[:n:n]})
		}
		for _, l := range f.lengths {
			if l.bytes > len(feed) {
				break
			}
			if l.bytes == 0 || feed[l.bytes-1] != '/' {
				continue
			}
			for _, a := range f.byPrefix[feed[:l.bytes]] {
				f.calls = append(f.calls, call{a, tails[:n:n]})
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
	sets := []map[string][]*watch{f.byFeed, f.byPrefix}
	f.byFeed, f.byPrefix, f.lengths, f.closed = make(map[string][]*watch), make(map[string][]*watch), nil, true
	f.mu.Unlock()
	for _, set := range sets {
		for _, ws := range set {
			for _, a := range ws {
				a.end()
			}
		}
	}
}

// end tells the watcher that it is over.
func (a *watch) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		a.w.Broken(store.ErrClosed)
	}
	a.stopped = true
}
