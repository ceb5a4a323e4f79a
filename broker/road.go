package broker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

const (
	// roadWait is how long who needs a road waits until it can be used.
	roadWait = 2 * time.Second
	// roadLinger is how long a road stays that nobody needs, so that clients that
	// come and go do not make the store begin anew each time.
	roadLinger = 10 * time.Second
	// roadSweep is how often roads are looked through for such ones.
	roadSweep = 2 * time.Second
	// lingering bounds them, against a peer that goes through names: each costs a
	// watch at the store. Beyond it they end at once.
	lingering = 10_000
)

// road is one feed that the node watches: what is announced in it goes to the
// shards. It is passable from its first Ready on (store.md §5.2).
type road struct {
	hub  *hub
	feed string

	// since is, while entries may have been missed that nobody has looked for, a
	// time of the store's clock, in ms, up to which none were; 0: there are none.
	since atomic.Int64

	// guarded by roads.mu
	holders int
	wild    map[*listener]int // those of them that are wildcards
	idle    time.Time         // when the last one let go
	stop    func()            // ends the watch; nil until there is one
	err     error             // there is none
	begun   bool              // Ready was called
	heard   bool              // and Broken was not since
	passed  chan struct{}     // closed while heard, or with err set
	ended   chan struct{}     // made when the road is taken away, closed when it is
	breaks  uint64            // Ready and Broken after the first
	ticket  uint64            // which trouble of all roads it has, 0: none
	mended  []uint64          // how far shards must have come for it to be over,
	next    uint64            // or to be of this ticket, 0: over
}

// roads are those of a node, and what is wrong with them. mu is taken with
// shard.mu held, or with none, and nothing is called under it.
type roads struct {
	mu      sync.Mutex
	byFeed  map[string]*road
	idle    map[*road]struct{} // without holders
	due     map[*road]struct{} // topics have to look for what they missed
	sick    map[*road]struct{} // with a ticket
	tickets uint64             // how many there were
	warned  time.Time          // when a break was last logged
	closed  bool

	mend  chan struct{} // something is due
	sweep chan struct{} // too many linger
}

func newRoads() *roads {
	return &roads{
		byFeed: map[string]*road{}, idle: map[*road]struct{}{}, due: map[*road]struct{}{}, sick: map[*road]struct{}{},
		mend: make(chan struct{}, 1), sweep: make(chan struct{}, 1),
	}
}

// roadFeed returns the feed in which everything is announced that a target hears: an
// object's, that of an open channel, or, for a wildcard over open channels, that of
// its first segment, and of all where that is not fixed (decided.md 16).
func roadFeed(t *target) string {
	switch {
	case t.feed != openFeed:
		return t.feed
	case t.pattern.IsZero():
		return t.log.Feed
	}
	if above := t.pattern.Parent(); !above.IsZero() {
		return openFeedOf(above)
	}
	return openFeed
}

// hold returns the road of a feed, watched and passable, and counts the holder: a
// wildcard of l, or a topic where l is nil. The caller lets it go and holds no lock.
// Errors: 503, when it cannot be used within roadWait.
func (h *hub) hold(ctx context.Context, feed string, l *listener) (*road, error) {
	if r := h.roads.ready(feed, l); r != nil {
		return r, nil // as a rule, and without a trace in a context that lives long
	}
	ctx, cancel := context.WithTimeout(ctx, roadWait)
	defer cancel()
	r, fresh := h.roads.take(ctx, h, feed, l)
	if r == nil {
		return nil, errUnavailable()
	}
	if fresh {
		stop, err := h.b.opt.Store.Watch(r.feed, r)
		if err != nil {
			h.b.log.Warn("cannot watch a feed", zap.Error(err))
		}
		h.roads.opened(r, stop, err)
	}
	if !h.roads.wait(ctx, r) {
		h.letGo(r, l)
		return nil, errUnavailable()
	}
	if fresh {
		h.refresh()
	}
	return r, nil
}

// take counts a holder of a road, which is fresh if the caller has to watch it; nil
// when ctx ends before one that is being taken away is gone.
func (all *roads) take(ctx context.Context, h *hub, feed string, l *listener) (r *road, fresh bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for !all.closed {
		if r = all.find(feed); r == nil {
			r, fresh = &road{hub: h, feed: feed, passed: make(chan struct{}), wild: map[*listener]int{}}, true
			all.byFeed[feed] = r
		}
		if r.ended == nil {
			all.count(r, l)
			return r, fresh
		}
		gone := r.ended
		all.mu.Unlock()
		select {
		case <-gone:
			all.mu.Lock()
		case <-ctx.Done():
			all.mu.Lock()
			return nil, false
		}
	}
	return nil, false
}

// ready counts a holder of a road that is passable now; nil: it is not.
func (all *roads) ready(feed string, l *listener) *road {
	all.mu.Lock()
	defer all.mu.Unlock()
	r := all.find(feed)
	if r == nil || r.ended != nil || r.err != nil || !r.heard || all.closed {
		return nil
	}
	all.count(r, l)
	return r
}

// count counts a holder. The caller holds mu.
func (all *roads) count(r *road, l *listener) {
	r.holders++
	if l != nil {
		r.wild[l]++
	}
	delete(all.idle, r)
}

// find returns the road on which a feed is heard: while there are wildcards over all
// open channels, theirs. The caller holds mu.
func (all *roads) find(feed string) *road {
	if wide := all.byFeed[openFeed]; wide != nil && len(wide.wild) > 0 && wide.ended == nil && strings.HasPrefix(feed, openFeed) {
		return wide
	}
	return all.byFeed[feed]
}

// opened notes what came of watching a road.
func (all *roads) opened(r *road, stop func(), err error) {
	all.mu.Lock()
	if err != nil {
		r.err = err
		delete(all.byFeed, r.feed)
		close(r.passed)
	}
	r.stop = stop
	late := all.closed && err == nil
	if late {
		r.stop = nil
	}
	all.mu.Unlock()
	if late {
		stop() // the node ended meanwhile
	}
}

// wait returns true as soon as the road is passable.
func (all *roads) wait(ctx context.Context, r *road) bool {
	for {
		all.mu.Lock()
		heard, failed, passed := r.heard, r.err != nil || all.closed, r.passed
		all.mu.Unlock()
		switch {
		case failed:
			return false
		case heard:
			return true
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return false
		}
	}
}

// letGo is the opposite of hold.
func (h *hub) letGo(r *road, l *listener) {
	all := h.roads
	all.mu.Lock()
	defer all.mu.Unlock()
	if r.holders--; r.holders == 0 && r.err == nil {
		r.idle = time.Now()
		all.idle[r] = struct{}{}
		if len(all.idle) > lingering {
			poke(all.sweep)
		}
	}
	if l == nil {
		return
	}
	if r.wild[l]--; r.wild[l] == 0 {
		delete(r.wild, l)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ready is part of store.Watcher. After a break the topics look for what they
// missed; the mender's goroutine sees to it.
func (r *road) Ready() {
	all := r.hub.roads
	all.mu.Lock()
	defer all.mu.Unlock()
	if !r.heard {
		r.heard = true
		close(r.passed)
	}
	if !r.begun {
		r.begun = true
		return
	}
	r.breaks++
	all.fail(r)
	all.due[r] = struct{}{}
	poke(all.mend)
}

// Broken is part of store.Watcher.
func (r *road) Broken(err error) {
	all := r.hub.roads
	all.mu.Lock()
	if r.heard {
		r.heard, r.passed = false, make(chan struct{})
	}
	if r.begun {
		r.breaks++
		all.fail(r)
	}
	now, most := time.Now(), len(all.sick)
	tell := now.Sub(all.warned) > time.Minute && !all.closed
	if tell {
		all.warned = now
	}
	all.mu.Unlock()
	r.hub.b.metrics.feedBreaks.Inc()
	if tell {
		r.hub.b.log.Warn("store feed broken", zap.Int("feeds", most), zap.Error(err))
	}
}

// fail notes that entries of a road may have been missed. The caller holds mu.
func (all *roads) fail(r *road) {
	if r.since.Load() == 0 {
		r.since.Store(r.hub.announced.Load())
	}
	switch {
	case r.ticket == 0:
		all.tickets++
		r.ticket = all.tickets
		all.sick[r] = struct{}{}
	case r.mended != nil && r.next == 0:
		all.tickets++
		r.next = all.tickets
	}
}

// Entries is part of store.Watcher: it queues what was committed and does no more
// than that, since it is called by the store's committer.
func (r *road) Entries(batch []store.Tail) {
	since := r.since.Load()
	for i := range batch {
		r.hub.shardOf(batch[i].Log).push(batch[i], since)
	}
}

// oldest returns the lowest ticket of the roads whose trouble is not over, where the
// shards have come as far as done says, and how many tickets there were.
func (all *roads) oldest(done []uint64) (ticket, tickets uint64) {
	all.mu.Lock()
	defer all.mu.Unlock()
	ticket = ^uint64(0)
	for r := range all.sick {
		over := r.mended != nil
		for i, goal := range r.mended {
			over = over && done[i] >= goal
		}
		if over {
			r.ticket, r.mended, r.next = r.next, nil, 0
		}
		if r.ticket == 0 {
			delete(all.sick, r)
			continue
		}
		ticket = min(ticket, r.ticket)
	}
	return ticket, all.tickets
}

// keepRoads ends roads that nobody needs, until ctx ends, and then all.
func (h *hub) keepRoads(ctx context.Context) {
	tick := time.NewTicker(roadSweep)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-h.roads.sweep:
		case <-ctx.Done():
			continue
		}
		h.sweepRoads(time.Now())
	}
	all := h.roads
	all.mu.Lock()
	all.closed = true
	var stops []func()
	for _, r := range all.byFeed {
		if r.stop != nil {
			stops = append(stops, r.stop)
			r.stop = nil
		}
		if !r.heard {
			close(r.passed)
			r.heard = true
		}
	}
	all.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
}

// sweepRoads ends those that have lingered. Topics that are remembered only because
// they were announced there go with them, before anybody can watch the feed again.
func (h *hub) sweepRoads(now time.Time) {
	all := h.roads
	all.mu.Lock()
	over := len(all.idle) - lingering
	var out []*road
	for r := range all.idle {
		if r.stop == nil || now.Sub(r.idle) < roadLinger && over <= 0 {
			continue
		}
		over--
		r.ended = make(chan struct{})
		delete(all.idle, r)
		out = append(out, r)
	}
	all.mu.Unlock()
	for _, r := range out {
		r.stop()
		h.forget(r)
		all.mu.Lock()
		delete(all.byFeed, r.feed)
		delete(all.due, r)
		delete(all.sick, r)
		close(r.ended)
		all.mu.Unlock()
	}
}

// forget drops the topics of a road that nobody holds and that no other road brings.
func (h *hub) forget(r *road) {
	for _, s := range h.shards {
		s.mu.Lock()
		for _, t := range s.under(r.feed) {
			if t.refs == 0 && !h.roads.brings(t.log.Feed) {
				s.drop(t)
			}
		}
		s.mu.Unlock()
	}
}

// brings reports whether a road stays on which a feed is announced.
func (all *roads) brings(feed string) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, name := range []string{feed, spaceFeed(feed)} {
		if r := all.byFeed[name]; r != nil && r.ended == nil && r.heard {
			return true
		}
	}
	return false
}
