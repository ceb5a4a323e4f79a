package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
)

// frail is a memory store as a shared one is on a bad day: its feeds break, lose
// entries without a word, and its logs lose their tails.
type frail struct {
	*memory.Store

	mu      sync.Mutex
	feeds   map[*frailFeed]struct{}
	logs    map[store.LogName]*frailLog
	down    bool          // feeds are broken
	lossy   int           // of 100 entries so many are not announced
	r       *rand.Rand    // decides which
	slow    time.Duration // until a new watch is Ready
	held    time.Time     // what Announced gives while something was lost in silence
	reads   int
	headers int // calls of Heads
	watches int
	onHeads func() // called by Heads, without mu
	hidden  bool   // Spoke has more than it says
	failing error
	unkept  bool // records of sessions cannot be written
}

type frailLog struct {
	positions []store.Position                  // that are there, rising
	lost      map[store.Position]store.Position // and the newest that was left
}

type frailFeed struct {
	s    *frail
	w    store.Watcher
	feed string
}

// ours reports whether a feed is one of channels.
func ours(feed string) bool {
	return strings.HasPrefix(feed, openFeed) || strings.HasPrefix(feed, objectFeed)
}

// watching returns the feeds of channels that are watched.
func (s *frail) watching() (feeds []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.feeds {
		if ours(f.feed) {
			feeds = append(feeds, f.feed)
		}
	}
	return feeds
}

func newFrail(s *memory.Store) *frail {
	return &frail{Store: s, feeds: map[*frailFeed]struct{}{}, logs: map[store.LogName]*frailLog{}, r: rand.New(rand.NewPCG(1, 2))}
}

func (s *frail) Shared() bool { return true }

// set changes how the store behaves.
func (s *frail) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *frail) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}

func (s *frail) log(name store.LogName) *frailLog {
	l := s.logs[name]
	if l == nil {
		l = &frailLog{lost: map[store.Position]store.Position{}}
		s.logs[name] = l
	}
	return l
}

func (l *frailLog) left(p store.Position) store.Position {
	for {
		common, lost := l.lost[p]
		if !lost {
			return p
		}
		p = common
	}
}

func (s *frail) Submit(name store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	s.Store.Submit(name, limits, records, func(a store.Appended, err error) {
		if limits.Keeps() && err == nil {
			s.mu.Lock()
			for i, p := range a.Positions {
				if !a.Prior[i] {
					s.log(name).positions = append(s.log(name).positions, p)
				}
			}
			s.mu.Unlock()
		}
		done(a, err)
	})
}

func (s *frail) Watch(feed string, w store.Watcher) (func(), error) {
	f := &frailFeed{s: s, w: w, feed: feed}
	s.mu.Lock()
	if ours(feed) {
		s.watches++
	}
	s.feeds[f] = struct{}{}
	down, slow := s.down, s.slow
	s.mu.Unlock()
	stop, err := s.Store.Watch(feed, f)
	if err != nil {
		return nil, err
	}
	var ready *time.Timer
	switch {
	case slow > 0:
		ready = time.AfterFunc(slow, w.Ready)
	case !down:
		w.Ready()
	}
	return func() {
		if ready != nil {
			ready.Stop()
		}
		stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.feeds, f)
	}, nil
}

func (f *frailFeed) Ready()       {}
func (f *frailFeed) Broken(error) {}

func (f *frailFeed) Entries(tails []store.Tail) {
	s := f.s
	s.mu.Lock()
	var told []store.Tail
	for _, e := range tails {
		if s.down {
			continue
		}
		if e.Kept && s.r.IntN(100) < s.lossy {
			if s.held.IsZero() {
				s.held = e.Position.Time().Add(-time.Millisecond)
			}
			continue
		}
		e.Prev = s.log(e.Log).left(e.Prev)
		told = append(told, e)
	}
	s.mu.Unlock()
	f.w.Entries(told)
}

func (s *frail) Announced() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held.IsZero() {
		return s.held
	}
	return s.Store.Announced()
}

// breaks breaks all feeds until mend.
func (s *frail) breaks() {
	s.mu.Lock()
	s.down = true
	feeds := s.all()
	s.mu.Unlock()
	for _, f := range feeds {
		f.w.Broken(errors.New("frail: broken"))
	}
}

// mend makes all feeds Ready, and loses nothing more.
func (s *frail) mend() {
	s.mu.Lock()
	s.down, s.lossy = false, 0
	feeds := s.all()
	s.mu.Unlock()
	for _, f := range feeds {
		f.w.Ready()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = time.Time{}
}

func (s *frail) all() (feeds []*frailFeed) {
	for f := range s.feeds {
		feeds = append(feeds, f)
	}
	return feeds
}

// fork loses the newest n records of a log.
func (s *frail) fork(name store.LogName, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.log(name)
	keep := len(l.positions) - min(n, len(l.positions))
	var common store.Position
	if keep > 0 {
		common = l.positions[keep-1]
	}
	for _, p := range l.positions[keep:] {
		l.lost[p] = common
		_ = s.Store.Redact(context.Background(), name, p)
	}
	l.positions = l.positions[:keep]
}

func (s *frail) Head(ctx context.Context, name store.LogName, limits store.Limits) (store.Head, error) {
	h, err := s.Store.Head(ctx, name, limits)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Last = s.log(name).left(h.Last)
	return h, err
}

func (s *frail) Heads(ctx context.Context, names []store.LogName) ([]store.Position, error) {
	heads, err := s.Store.Heads(ctx, names)
	s.mu.Lock()
	if f := s.onHeads; f != nil {
		s.mu.Unlock()
		f()
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	s.headers++
	for i := range heads {
		heads[i] = s.log(names[i]).left(heads[i])
	}
	if s.failing != nil {
		return nil, s.failing
	}
	return heads, err
}

func (s *frail) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	s.mu.Lock()
	unkept := s.unkept && table == tableSession
	s.mu.Unlock()
	if unkept {
		return 0, store.ErrUnavailable
	}
	return s.Store.Put(ctx, table, key, put)
}

func (s *frail) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	page, err := s.Store.Read(ctx, name, r, limit, maxBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ours(name.Feed) {
		s.reads++
	}
	if _, lost := s.log(name).lost[r.After]; lost {
		page.Forked = true
	}
	return page, err
}

func (s *frail) Spoke(ctx context.Context, feed string, since time.Time, limit int) ([]store.LogName, bool, error) {
	s.mu.Lock()
	hidden := s.hidden
	s.mu.Unlock()
	logs, more, err := s.Store.Spoke(ctx, feed, since, limit)
	return logs, more || hidden, err
}
