package broker

import (
	"context"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// hub brings what the store announces to the topics: the committer only queues
// (Entries), each shard's goroutine fans out (decided.md 14).
type hub struct {
	b      *Broker
	shards []*shard
	seed   maphash.Seed
	marks  atomic.Int64 // that topics hold besides their first (allMarks)

	mu     sync.RWMutex
	spaces map[string]*space

	// owned by the round of rememberSessions
	fannedAt int64    // everything committed up to it has been queued for sessions
	asOf     int64    // the same of when the shards are where behind says
	goals    []uint64 // per shard
}

func newHub(b *Broker) *hub {
	h := &hub{b: b, seed: maphash.MakeSeed(), spaces: map[string]*space{}}
	for range max(1, runtime.GOMAXPROCS(0)) {
		s := &shard{hub: h, topics: map[store.LogName]*topic{}}
		s.wake = sync.NewCond(&s.mu)
		h.shards = append(h.shards, s)
	}
	return h
}

// Ready is part of store.Watcher. After a break every topic reads what it missed.
func (h *hub) Ready() {
	for _, s := range h.shards {
		s.resync()
	}
}

// Broken is part of store.Watcher.
func (h *hub) Broken(err error) { h.b.log.Warn("store feed broken", zap.Error(err)) }

// Entries queues what was committed; it is called by the store's committer and
// does no more than that.
func (h *hub) Entries(batch []store.Tail) {
	for i := range batch {
		h.shardOf(batch[i].Log).push(batch[i])
	}
}

func (h *hub) shardOf(log store.LogName) *shard {
	var x maphash.Hash
	x.SetSeed(h.seed)
	x.WriteString(log.Feed)
	x.WriteByte(0)
	x.WriteString(log.Path)
	return h.shards[x.Sum64()%uint64(len(h.shards))]
}

// run starts the shards and waits until ctx ends and they have stopped.
func (h *hub) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range h.shards {
		wg.Go(func() { s.run(ctx) })
	}
	stop := context.AfterFunc(ctx, func() {
		for _, s := range h.shards {
			s.mu.Lock()
			s.wake.Broadcast()
			s.mu.Unlock()
		}
	})
	defer stop()
	wg.Wait()
}

// spaceFeed returns the space a log belongs to: all open channels are one.
func spaceFeed(feed string) string {
	if len(feed) >= len(openFeed) && feed[:len(openFeed)] == openFeed {
		return openFeed
	}
	return feed
}

// holdSpace returns the space of a feed, made if need be, and counts the holder.
func (h *hub) holdSpace(feed string) *space {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.spaces[feed]
	if s == nil {
		s = &space{feed: feed}
		h.spaces[feed] = s
	}
	s.refs++
	return s
}

func (h *hub) releaseSpace(s *space) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.refs--; s.refs == 0 {
		delete(h.spaces, s.feed)
	}
}

// lookSpace returns the space of a log's feed if anybody listens in it.
func (h *hub) lookSpace(feed string) *space {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.spaces[spaceFeed(feed)]
}

// holdTopic returns the topic of a log, synced: its last position is that of the
// log, and everything after it will be handed to its listeners (store.md §5.2).
// The caller releases it.
func (h *hub) holdTopic(ctx context.Context, t target) (*topic, error) {
	sh := h.shardOf(t.log)
	sh.mu.Lock()
	tp := sh.topics[t.log]
	if tp == nil {
		tp = sh.makeTopic(t.log, t.name, h.holdSpace(spaceFeed(t.feed)), t.kind)
	}
	tp.refs++
	synced := tp.synced
	sh.mu.Unlock()
	if synced {
		return tp, nil
	}
	// The first entry announced from now on says as well where the topic begins.
	head, err := h.b.opt.Store.Head(ctx, t.log, tp.limits)
	if err != nil {
		sh.release(tp)
		return nil, err
	}
	// An entry that can be read is announced a moment later. If it is older than
	// the topic, no wildcard waits for it; else the topic begins before it.
	if h.b.opt.Store.Now().Sub(head.Last.Time()) < announced && tp.space.tree.Matches(tp.name) {
		sh.await(ctx, tp)
	}
	sh.sync(tp, head.Last)
	return tp, nil
}

// announced is the age at which a committed entry has been announced for certain;
// awaited is how long a younger one is waited for, where a wildcard may want it.
const (
	announced = time.Second
	awaited   = 50 * time.Millisecond
)

// fanned returns a time of the store's clock, in ms, up to which everything that was
// announced has been handed to listeners, and whether it moved since the last call.
func (h *hub) fanned() (at int64, moved bool) {
	reached := h.goals != nil
	goals := make([]uint64, len(h.shards))
	now := h.b.opt.Store.Now().UnixMilli()
	for i, s := range h.shards {
		queued, done := s.progress()
		if reached && done < h.goals[i] {
			reached = false
		}
		goals[i] = queued
	}
	if reached {
		moved = h.asOf > h.fannedAt
		h.fannedAt = h.asOf
	}
	if reached || h.goals == nil {
		h.goals, h.asOf = goals, now
	}
	return h.fannedAt, moved
}

// topicSweep is how often topics are looked through for ones nobody holds;
// topicIdle is how long such a one, known only by a wildcard, is remembered at
// least, and its retention at most. Where a publisher makes names without end the
// node remembers topicsKept of them, about 0.5 KiB each.
const (
	topicSweep = 30 * time.Second
	topicIdle  = 10 * time.Minute
	topicsKept = 20_000
)

// sweep drops topics that only a wildcard knew and that have been silent.
func (h *hub) sweep(now time.Time) {
	for _, sh := range h.shards {
		sh.mu.Lock()
		over := len(sh.topics) - topicsKept/len(h.shards)
		for _, t := range sh.topics {
			idle := time.Duration(now.Unix()-t.touched) * time.Second
			if t.refs != 0 || t.waiting != 0 || t.flows.Load() != 0 || idle <= topicIdle {
				continue
			}
			// While something of it is kept, a wildcard may ask what it has heard.
			if idle <= t.limits.Age && t.space.tree.Matches(t.name) {
				if over <= 0 {
					continue
				}
				t.space.forget()
			}
			over--
			sh.drop(t)
		}
		sh.mu.Unlock()
	}
}
