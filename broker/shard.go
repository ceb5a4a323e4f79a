package broker

import (
	"context"
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
	queue  []store.Tail
	missed []*topic // topics with missed set
	// queued counts the tasks there ever were (entries, and topics to be read), done
	// those that are finished, owed the topics whose reading failed and will be tried
	// again.
	queued, done, owed uint64
}

// progress returns how many tasks there ever were and how many are finished.
func (s *shard) progress() (queued, done uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued, s.done - min(s.done, s.owed)
}

// push queues an entry if anybody may want it. A topic whose share of the queue
// is over its bound loses the entry: if it is kept, the shard reads the stretch
// from the store instead; otherwise it is dropped and counted.
func (s *shard) push(e store.Tail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[e.Log]
	if t == nil {
		sp := s.hub.lookSpace(e.Log.Feed)
		if sp != nil {
			t = s.born(sp, e)
		}
		if t == nil {
			return
		}
	}
	if !t.synced {
		s.begin(t, e.Prev)
	}
	if t.waiting+len(e.Data) > s.hub.b.limits.Backlog && t.waiting > 0 {
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

// miss notes that t must be read from the store. The caller holds s.mu.
func (s *shard) miss(t *topic) {
	if !t.missed {
		t.missed = true
		s.missed = append(s.missed, t)
		s.queued++
	}
	s.wake.Signal()
}

// born makes the topic of an entry that only a wildcard can want. The caller
// holds s.mu.
func (s *shard) born(sp *space, e store.Tail) *topic {
	name, err := channels.Parse(e.Log.Path)
	if err != nil || !sp.tree.Matches(name) {
		return nil
	}
	k := s.hub.b.kindOf(e.Log, name)
	if k == nil {
		return nil
	}
	s.hub.mu.Lock()
	sp.refs++
	s.hub.mu.Unlock()
	t := s.makeTopic(e.Log, name, sp, k)
	s.begin(t, e.Prev)
	return t
}

// makeTopic adds a topic, which takes over one hold of its space. The caller
// holds s.mu.
func (s *shard) makeTopic(log store.LogName, name channels.Name, sp *space, k *kind) *topic {
	t := &topic{log: log, name: name, space: sp, kind: k, limits: k.limits, touched: time.Now().Unix()}
	t.synced = !k.limits.Keeps() // nothing to read: it begins with what comes
	s.topics[log] = t
	return t
}

// drop forgets a topic. The caller holds s.mu.
func (s *shard) drop(t *topic) {
	if s.topics[t.log] == t {
		delete(s.topics, t.log)
		t.mu.Lock()
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
	if t.refs--; t.refs == 0 && (!t.synced || !t.space.tree.Matches(t.name)) {
		s.drop(t)
	}
}

// sync sets where a new topic begins, unless an entry that was announced meanwhile
// has. Of two that sync at once the first is as good as the second.
func (s *shard) sync(t *topic, last store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.synced {
		s.begin(t, last)
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

// resync has every kept topic look into the store for what it missed.
func (s *shard) resync() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		if t.synced && t.limits.Keeps() {
			s.miss(t)
		}
	}
}

func (s *shard) run(ctx context.Context) {
	var batch []store.Tail
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && len(s.missed) == 0 && ctx.Err() == nil {
			s.wake.Wait()
		}
		if ctx.Err() != nil {
			s.mu.Unlock()
			return
		}
		batch, s.queue = s.queue, batch[:0]
		missed := s.missed
		s.missed = nil
		for _, t := range missed {
			t.missed = false
		}
		s.mu.Unlock()
		for i := range batch {
			s.apply(ctx, &batch[i])
		}
		for _, t := range missed {
			s.repair(ctx, t, store.Position{})
		}
		s.mu.Lock()
		s.done += uint64(len(batch) + len(missed))
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
	last := t.last
	t.mu.Unlock()
	if !last.Before(e.Position) {
		return // a repeat: the feed overlaps what was read
	}
	if e.Kept && !e.Prev.IsZero() && e.Prev != last && last.Before(e.Prev) {
		s.hub.b.metrics.gaps.Inc()
		if !s.repair(ctx, t, e.Prev) {
			return // e is read again with the rest
		}
	}
	t.mu.Lock()
	t.deliver(s.hub.b, e.Entry, e.Kept)
	t.advance(e.Position)
	t.mu.Unlock()
}

// repair hands over what the store has after the topic's last entry, up to upTo
// (zero: all there is). On an error it returns false and tries again a little
// later; nothing is skipped, since last does not move.
func (s *shard) repair(ctx context.Context, t *topic, upTo store.Position) bool {
	for {
		page, err := s.hub.b.opt.Store.Read(ctx, t.log, store.Range{After: t.last, UpTo: upTo, Limits: t.limits}, pageMessages, pageBytes)
		if err != nil {
			if ctx.Err() == nil {
				s.hub.b.log.Warn("cannot read what a topic missed", zap.Error(err))
				s.later(ctx, t)
			}
			return false
		}
		for _, e := range page.Entries {
			t.mu.Lock()
			t.deliver(s.hub.b, e, true)
			t.advance(e.Position)
			t.mu.Unlock()
		}
		if !page.More {
			return true
		}
	}
}

// later repeats a repair that failed, after a pause, off the shard's goroutine.
func (s *shard) later(ctx context.Context, t *topic) {
	s.mu.Lock()
	s.owed++
	s.mu.Unlock()
	time.AfterFunc(time.Second, func() {
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.owed--
		s.miss(t)
	})
}

// A page of what is read for a topic or a lagging listener (decided.md 8).
const (
	pageMessages = 1000
	pageBytes    = 1 << 20
)
