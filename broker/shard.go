package broker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// shard fans out a share of the topics, with one goroutine.
type shard struct {
	hub *hub

	mu     sync.Mutex
	wake   *sync.Cond
	topics map[store.LogName]*topic
	byFeed map[string]map[*topic]struct{}
	queue  []store.Tail
	due    []*topic // topics to be read from the store, each with missed set
	// queued counts the tasks there ever were: entries, and topics to be read. Those
	// up to done are finished but for the topics in owing, with the number of the
	// task since when: they stay there until a read has succeeded.
	queued, done uint64
	owing        map[*topic]uint64
}

// progress returns how many tasks there ever were and up to which all are finished.
func (s *shard) progress() (queued, done uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done = s.done
	for _, number := range s.owing {
		done = min(done, number-1)
	}
	return s.queued, done
}

// push queues an entry if anybody may want it. since, where not 0, says that what
// came after that time, in ms, may have been missed. A topic whose share of the
// queue is over its bound loses the entry: if it is kept, the shard reads the
// stretch from the store instead; otherwise it is dropped and counted.
func (s *shard) push(e store.Tail, since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[e.Log]
	if t == nil {
		sp := s.hub.lookSpace(e.Log.Feed)
		if sp != nil {
			t = s.born(sp, e.Log)
		}
		if t == nil {
			return
		}
		s.beginAt(t, e.Prev, since)
	}
	if !t.synced {
		s.beginAt(t, e.Prev, since)
	}
	if t.waiting+len(e.Data) > s.hub.b.limits().Backlog && t.waiting > 0 {
		if !e.Kept {
			s.hub.b.metrics.dropped("backlog").Inc()
			return
		}
		s.miss(t)
		return
	}
	t.waiting += len(e.Data)
	s.queue = append(s.queue, e)
	s.queued++
	s.wake.Signal()
}

// missed has a topic read from the store, if it is still there.
func (s *shard) missed(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[t.log] == t && t.limits.Keeps() {
		s.miss(t)
	}
}

// miss notes that t must be read from the store. The caller holds s.mu.
func (s *shard) miss(t *topic) {
	if _, owed := s.owing[t]; !owed {
		s.queued++
		s.owing[t] = s.queued
	}
	if !t.missed {
		t.missed = true
		s.due = append(s.due, t)
	}
	s.wake.Signal()
}

// born makes the topic of a log that only a wildcard can want. The caller holds
// s.mu and begins it.
func (s *shard) born(sp *space, log store.LogName) *topic {
	name, err := channels.Parse(log.Path)
	if err != nil || !sp.tree.Matches(name) {
		return nil
	}
	k := s.hub.b.kindOf(log, name)
	if k == nil {
		return nil
	}
	s.hub.mu.Lock()
	sp.refs++
	s.hub.mu.Unlock()
	return s.makeTopic(log, name, sp, k)
}

// bear makes the topic of a log that spoke at since, in ms, or later, when nobody
// heard it, and has it read from there on, unless it is known.
func (s *shard) bear(sp *space, log store.LogName, since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[log] != nil {
		return
	}
	if t := s.born(sp, log); t != nil && t.limits.Keeps() {
		at, _ := sp.wildSince(t.name)
		s.begin(t, endOf(max(since, at)-1))
		s.miss(t)
	}
}

// again returns a topic that is held and synced, held once more; else nil.
func (s *shard) again(log store.LogName) *topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[log]
	if t == nil || t.refs == 0 || !t.synced {
		return nil
	}
	t.refs++
	return t
}

// take returns the topic of a target, made if need be, held, and whether it is
// synced. The road is let go with the topic's last hold.
func (s *shard) take(t *target, r *road) (tp *topic, synced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tp = s.topics[t.log]
	if tp == nil {
		tp = s.makeTopic(t.log, t.name, s.hub.holdSpace(spaceFeed(t.feed)), t.kind)
	}
	if tp.refs++; tp.road == nil {
		tp.road = r
	} else {
		s.hub.letGo(r, nil)
	}
	return tp, tp.synced
}

// makeTopic adds a topic, which takes over one hold of its space. The caller
// holds s.mu.
func (s *shard) makeTopic(log store.LogName, name channels.Name, sp *space, k *kind) *topic {
	t := &topic{shard: s, log: log, name: name, space: sp, kind: k, lazy: s.hub.b.isLazy(name), limits: k.limits, touched: time.Now().Unix()}
	t.synced = !k.limits.Keeps() // nothing to read: it begins with what comes
	s.topics[log] = t
	if s.byFeed[log.Feed] == nil {
		s.byFeed[log.Feed] = make(map[*topic]struct{}, 1)
	}
	s.byFeed[log.Feed][t] = struct{}{}
	return t
}

// under returns the topics of a feed, as in store.Feed. The caller holds s.mu.
func (s *shard) under(feed string) (all []*topic) {
	if feed != openFeed {
		for t := range s.byFeed[feed] {
			all = append(all, t)
		}
		return all
	}
	for name, topics := range s.byFeed {
		if strings.HasPrefix(name, openFeed) {
			for t := range topics {
				all = append(all, t)
			}
		}
	}
	return all
}

// keptUnder returns those that can be read. One of which it is not yet known where
// it begins is read as soon as it is.
func (s *shard) keptUnder(feed string) (kept []*topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.under(feed) {
		switch {
		case !t.limits.Keeps():
		case t.synced:
			kept = append(kept, t)
		default:
			t.missing = true
		}
	}
	return kept
}

// drop forgets a topic. The caller holds s.mu.
func (s *shard) drop(t *topic) {
	if s.topics[t.log] == t {
		delete(s.topics, t.log)
		delete(s.owing, t)
		if delete(s.byFeed[t.log.Feed], t); len(s.byFeed[t.log.Feed]) == 0 {
			delete(s.byFeed, t.log.Feed)
		}
		t.mu.Lock()
		t.gone = true
		s.hub.ringed.Add(-int64(t.ring.clear()))
		s.hub.marks.Add(-int64(max(0, len(t.marks.list)-1)))
		t.marks.list = t.marks.list[:min(1, len(t.marks.list))]
		t.mu.Unlock()
		s.hub.releaseSpace(t.space)
	}
}

// release gives up one hold of a topic; the last one forgets it, unless a
// wildcard still hears it.
func (s *shard) release(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.refs--; t.refs > 0 {
		return
	}
	s.hub.letGo(t.road, nil)
	t.road = nil
	if !t.synced || !t.space.tree.Matches(t.name) {
		s.drop(t)
	}
}

// sync sets where a new topic begins, unless an entry that was announced meanwhile
// has. Of two that sync at once the first is as good as the second.
func (s *shard) sync(t *topic, last store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.synced {
		since := int64(0)
		if t.road != nil {
			since = t.road.since.Load()
		}
		s.beginAt(t, last, since)
	}
}

// await gives the newest entry of a topic time to be announced.
func (s *shard) await(ctx context.Context, t *topic) {
	tick := time.NewTicker(awaited / 10)
	defer tick.Stop()
	for range 10 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		synced := t.synced
		s.mu.Unlock()
		if synced {
			return
		}
	}
}

// begin sets where a new topic begins: nothing after last was announced before, so
// wildcards have heard everything after it. The caller holds s.mu.
func (s *shard) begin(t *topic, last store.Position) {
	count, forgot := t.space.counts()
	t.mu.Lock()
	t.last, t.marks = last, newMarks(count, last, forgot)
	t.mu.Unlock()
	t.synced = true
}

// beginAt is begin, but if what a wildcard should have heard may lie before last, the
// topic begins there and is read: after since, in ms, where the road says so, else
// since everything was known to be announced, as a lost entry of an unknown channel
// is missed by nobody. The caller holds s.mu.
func (s *shard) beginAt(t *topic, last store.Position, since int64) {
	if since == 0 && s.hub.shared {
		since = s.hub.announced.Load()
	}
	if since != 0 && last.MS() >= since && t.limits.Keeps() {
		if at, wild := t.space.wildSince(t.name); wild && last.MS() >= at {
			last, t.missing = endOf(max(since, at)-1), true
		}
	}
	s.begin(t, last)
	if t.missing {
		t.missing = false
		s.miss(t)
	}
}

// endOf returns the position after all of a ms: it is no record's.
func endOf(ms int64) store.Position { return store.NewPosition(ms, 1<<32-1, 1<<48-1) }

// made reports whether p is endOf's.
func made(p store.Position) bool { return p.N() == 1<<48-1 }

// after returns the range of what comes after p in a topic, which may be endOf's, but
// not what is older than since.
func (t *topic) after(p store.Position, since time.Time) store.Range {
	if !made(p) {
		return store.Range{After: p, Since: since, Limits: t.limits}
	}
	if from := time.UnixMilli(p.MS() + 1); since.Before(from) {
		since = from
	}
	return store.Range{Since: since, Limits: t.limits}
}

func (s *shard) run(ctx context.Context) {
	var batch []store.Tail
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && len(s.due) == 0 && ctx.Err() == nil {
			s.wake.Wait()
		}
		if ctx.Err() != nil {
			s.mu.Unlock()
			return
		}
		batch, s.queue = s.queue, batch[:0]
		due, until := s.due, s.queued
		s.due = nil
		for _, t := range due {
			t.missed = false
		}
		due = slices.DeleteFunc(due, func(t *topic) bool { return s.topics[t.log] != t })
		s.mu.Unlock()
		for i := range batch {
			s.apply(ctx, &batch[i])
		}
		for _, t := range due {
			if s.repair(ctx, t, store.Position{}) {
				s.repaired(t)
			} else {
				s.later(ctx, t)
			}
		}
		s.mu.Lock()
		s.done = until
		s.mu.Unlock()
		clear(batch)
	}
}

// apply hands one entry to its topic, after what came before it.
func (s *shard) apply(ctx context.Context, e *store.Tail) {
	s.mu.Lock()
	t := s.topics[e.Log]
	if t == nil {
		s.mu.Unlock()
		return
	}
	t.waiting -= min(t.waiting, len(e.Data))
	t.touched = time.Now().Unix()
	s.mu.Unlock()

	// Only this goroutine moves last once a topic is synced.
	t.mu.Lock()
	last, repeat := t.last, t.repeats(e)
	t.mu.Unlock()
	if repeat {
		return // the feed overlaps what was read
	}
	if e.Kept && e.Prev != last && (s.hub.shared || last.Before(e.Prev)) {
		s.hub.b.metrics.gaps.Inc()
		upTo := e.Prev
		if !last.Before(upTo) {
			upTo = store.Position{} // last is not there any more, or another epoch began
		}
		if !s.repair(ctx, t, upTo) {
			s.later(ctx, t)
			return // e is read again with the rest
		}
	}
	t.hand(e.Entry, e.Kept)
}

// repeats reports whether an entry was handed out already. The caller holds t.mu.
func (t *topic) repeats(e *store.Tail) bool {
	if t.last.Before(e.Position) {
		return false
	}
	return !e.Kept || !t.shard.hub.shared || !t.ring.lacks(e.Position)
}

// repair hands over what the store has after the topic's last entry, up to upTo
// (zero: all there is). On an error it returns false; nothing is skipped, since last
// does not move.
func (s *shard) repair(ctx context.Context, t *topic, upTo store.Position) bool {
	for {
		span := t.after(t.last, time.Time{})
		span.UpTo = upTo
		page, err := s.hub.b.opt.Store.Read(ctx, t.log, span, pageMessages, pageBytes)
		if err == nil && page.Forked && t.mayFork(t.last) {
			if err = s.turnBack(ctx, t); err == nil {
				upTo = store.Position{}
				continue
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				s.hub.b.log.Warn("cannot read what a topic missed", zap.Error(err))
			}
			return false
		}
		for _, e := range page.Entries {
			if !t.hand(e, true) {
				return true
			}
		}
		if !page.More {
			t.mu.Lock()
			t.looked++
			t.mu.Unlock()
			return true
		}
	}
}

// repaired notes that a topic owes nothing any more, unless something of it was
// missed again meanwhile.
func (s *shard) repaired(t *topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.missed {
		delete(s.owing, t)
	}
}

// later repeats a repair that failed, after a pause, off the shard's goroutine. What
// is queued counts as unfinished until then.
func (s *shard) later(ctx context.Context, t *topic) {
	s.mu.Lock()
	if _, owed := s.owing[t]; !owed {
		s.owing[t] = s.done + 1
	}
	again := !t.retried
	t.retried = true
	s.mu.Unlock()
	if !again {
		return // a pause is under way
	}
	time.AfterFunc(time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		t.retried = false
		if ctx.Err() == nil && s.topics[t.log] == t {
			s.miss(t)
		}
	})
}

// A page of what is read for a topic or a lagging listener (decided.md 8).
const (
	pageMessages = 1000
	pageBytes    = 1 << 20
)
