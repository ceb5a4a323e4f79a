package broker

import (
	"context"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// hub brings what the store announces to the topics: the committer only queues
// (road.Entries), each shard's goroutine fans out (decided.md 14).
type hub struct {
	b      *Broker
	shards []*shard
	roads  *roads
	seed   maphash.Seed
	shared bool         // the store is: what it has may be gone one day (ring.go)
	marks  atomic.Int64 // that topics hold besides their first (allMarks)
	ringed atomic.Int64 // positions that topics remember (allRinged)
	// announced is the newest time that Announced gave, in ms.
	announced atomic.Int64

	mu     sync.RWMutex
	spaces map[string]*space

	// owned by the round of rememberSessions
	fannedAt int64    // everything committed up to it has been queued for sessions
	asOf     int64    // the same of when the shards are where behind says
	goals    []uint64 // per shard
	ticket   uint64   // and of the roads
}

func newHub(b *Broker) *hub {
	h := &hub{b: b, roads: newRoads(), seed: maphash.MakeSeed(), shared: b.opt.Store.Shared(), spaces: map[string]*space{}}
	for range max(1, runtime.GOMAXPROCS(0)) {
		s := &shard{hub: h, topics: map[store.LogName]*topic{}, byFeed: map[string]map[*topic]struct{}{}, owing: map[*topic]uint64{}}
		s.wake = sync.NewCond(&s.mu)
		h.shards = append(h.shards, s)
	}
	h.refresh()
	return h
}

// refresh asks the store how far it has announced everything, and returns it in ms.
func (h *hub) refresh() int64 {
	at := h.b.opt.Store.Announced().UnixMilli()
	for {
		old := h.announced.Load()
		if at <= old {
			return old
		}
		if h.announced.CompareAndSwap(old, at) {
			return at
		}
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

// run starts the shards and what looks after the roads, and waits until ctx ends and
// they have stopped; then no feed is watched any more.
func (h *hub) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range h.shards {
		wg.Go(func() { s.run(ctx) })
	}
	wg.Go(func() { h.keepRoads(ctx) })
	wg.Go(func() { h.mender(ctx) })
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
	if tp := sh.again(t.log); tp != nil {
		return tp, nil
	}
	// Before the head is looked at: only what is announced from then on is complete.
	r, err := h.hold(ctx, t.log.Feed, nil)
	if err != nil {
		return nil, err
	}
	tp, synced := sh.take(&t, r)
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
//
// What was announced up to that time was in the shards' queues when it was asked
// for, and what was missed was about to be read for a road, with a ticket.
func (h *hub) fanned() (at int64, moved bool) {
	announced := h.refresh() - 1 // in the same ms more may come
	reached := h.goals != nil
	goals, all := make([]uint64, len(h.shards)), make([]uint64, len(h.shards))
	for i, s := range h.shards {
		queued, done := s.progress()
		if reached && done < h.goals[i] {
			reached = false
		}
		goals[i], all[i] = queued, done
	}
	oldest, ticket := h.roads.oldest(all)
	reached = reached && oldest > h.ticket
	if reached {
		moved = h.asOf > h.fannedAt
		h.fannedAt = h.asOf
	}
	if reached || h.goals == nil {
		h.goals, h.ticket, h.asOf = goals, ticket, announced
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
		for _, t := range sh.topics {
			t.mu.Lock()
			h.ringed.Add(int64(t.ring.expire(now)))
			t.mu.Unlock()
		}
		sh.mu.Unlock()
	}
}
