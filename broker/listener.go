package broker

import (
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// listener is one session in one space by one root: the value in the space's
// tree. A session that uses two roots of an object has two, and hears a message
// under each name.
type listener struct {
	sub    *subscriber
	space  *space
	prefix string       // "/<root>", or "" for open channels
	oid    channels.OID // of the root; zero for open channels
	object *Object      // of the root, as it was then; nil for open channels
	room   string       // its feed; "" for open channels
	acts   bool         // the session\'s token counts on that object
	user   string       // the user_ref whose document it hears; "" for all others

	// flowing is len(flows), read without a lock on the way of every delivery.
	flowing atomic.Int32
	// landed is how its wildcards came here, while that matters.
	landed atomic.Pointer[landed]
	// grade is that of wildcards: only what it may hear is delivered by them.
	grade atomic.Int32

	// guarded by sub.mu; entries of one topic change only under that topic's mu.
	flows map[*topic]*flow
	// owned by the session's handler calls, which never overlap, and read under
	// the topic's mu
	seams    map[*topic]*seam
	patterns map[channels.Pattern]uint64 // wildcards, and their numbers (space.join)
	roads    map[channels.Pattern]*road  // that they hold
	former   []formerWild
	resumed  map[channels.Pattern]store.Position // where those from before a restart began
	raised   [2*RoleServer + 2]uint64            // from which number on wildcards hear a grade
}

// seam is a listener's hold on a topic.
type seam struct {
	catchup.Seam
	exact    bool           // subscribed by its own name
	numbered bool           // and by a replay id: topic.numbered has the listener
	channels map[string]int // catch-up channels and how often each was asked for
}

// hears reports whether a wildcard delivers a kind to this listener.
func (l *listener) hears(k *kind) bool {
	return grade(l.grade.Load()) >= k.hearing()
}

// offer hands the delivery at p over, unless a flow of the topic is to bring it. The
// caller holds the topic's mu.
func (l *listener) offer(t *topic, p store.Position, d *bayeux.Delivery) {
	if l.flowing.Load() != 0 {
		if l.flow(t) != nil && t.limits.Keeps() {
			return
		}
	}
	if l.landed.Load() != nil && l.lands(t, p) {
		return
	}
	if l.sub.session.Deliver(d) {
		return
	}
	// The queue is full: from here on the topic is read at the client's speed.
	l.sub.b.metrics.lagged.Inc()
	f := &flow{listener: l, topic: t, lags: true, cursor: t.last, forked: t.forked, level: true}
	l.addFlow(f)
	f.give()
}

// addFlow registers a flow. The caller holds the topic's mu.
func (l *listener) addFlow(f *flow) {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	if l.flows == nil {
		l.flows = make(map[*topic]*flow)
	}
	l.flows[f.topic] = f
	l.flowing.Store(int32(len(l.flows)))
	l.sub.flows++
	f.topic.flows.Add(1)
}

// removeFlow is the opposite. The caller holds the topic's mu, or is the last to
// touch the listener.
func (l *listener) removeFlow(f *flow) {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	if l.flows[f.topic] == f {
		delete(l.flows, f.topic)
		l.flowing.Store(int32(len(l.flows)))
		l.sub.flows--
		f.topic.flows.Add(-1)
	}
}

// flow returns the listener's flow of a topic; nil if there is none.
func (l *listener) flow(t *topic) *flow {
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	return l.flows[t]
}

// halt locks a topic, and before that the listener's flow of it, for which it calls first:
// nil if there is none. A flow that begins while it waits for the topic, as the queue is
// full, counts: what it is to bring was not handed over, though the topic has moved on. The
// caller calls goOn with it.
func (l *listener) halt(t *topic, first func(*flow)) *flow {
	for {
		f := l.flow(t)
		if f != nil {
			f.mu.Lock()
			first(f)
		}
		t.mu.Lock()
		if l.flow(t) == f {
			return f
		}
		t.goOn(f)
	}
}

// goOn unlocks what halt has locked.
func (t *topic) goOn(f *flow) {
	t.mu.Unlock()
	if f != nil {
		f.mu.Unlock()
	}
}

// flowOf returns the listener's flow of a topic, locked, made if there is none: it
// then lags from the topic's end on if the listener hears the topic live. The
// caller unlocks f.mu.
func (l *listener) flowOf(t *topic, live bool) *flow {
	for {
		f := l.flow(t)
		if f == nil {
			f = &flow{listener: l, topic: t}
			f.mu.Lock()
			t.mu.Lock()
			other := l.flow(t)
			if other == nil {
				f.lags, f.cursor, f.forked = live, t.last, t.forked
				ld, first := l.meets(t)
				if first && live {
					ld.begin(f, l.prefix+t.name.String(), store.Position{})
				}
				f.level = ld != nil && !first
				l.addFlow(f)
			}
			t.mu.Unlock()
			if other == nil {
				return f
			}
			f.mu.Unlock()
			continue
		}
		f.mu.Lock()
		if !f.ended {
			return f
		}
		f.mu.Unlock()
	}
}

// heard is the newest position of a topic that was delivered to the listener or
// is queued for it. The caller holds the topic's mu and, if there is one, the
// flow's.
func (l *listener) heard(t *topic, f *flow) store.Position {
	if f != nil && f.lags {
		return f.cursor
	}
	if stood := l.stood(t); t.last.Before(stood) {
		return stood // where it was before; this node has not come so far yet
	}
	return t.last
}

// seamOf returns the listener's seam of a topic, made if there is none, which
// takes over one hold of the topic (taken is true then). Where wildcards hear the
// topic, live began with the first of them.
func (l *listener) seamOf(t *topic) (s *seam, taken bool) {
	s = l.seams[t]
	if s == nil {
		taken = true
		s = &seam{}
		if l.seams == nil {
			l.seams = make(map[*topic]*seam)
		}
		l.seams[t] = s
		if start, wild := l.heardFrom(t); wild {
			s.Begin(start)
		}
	}
	return s, taken
}

// tidy forgets the seams on which nothing depends, or, with all, every one
// without a subscription.
func (l *listener) tidy(now time.Time, all bool) {
	for t, s := range l.seams {
		if !s.exact && len(s.channels) == 0 && (all || s.Done(now)) {
			l.dropSeam(t)
			l.endIdle(t)
		}
	}
}

// endIdle ends a flow that has nothing to bring, of a topic that has no seam any more: a
// wildcard that begins would take it for one that brings what is live.
func (l *listener) endIdle(t *topic) {
	f := l.flow(t)
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || f.lags || len(f.replays) > 0 || f.prelude != nil || f.past != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f.end()
}

// begin makes a topic live for the listener, by its name, from its seam on. It
// returns the flow that brings what is due before, to be given to the session; nil
// when nothing is. A prelude, where not nil, is due first.
func (l *listener) begin(t *topic, s *seam, pre *prelude, now time.Time) *flow {
	// A flow is needed when something before the topic's end is due first. It is
	// taken before topic.mu, as the lock order wants.
	f := l.flow(t)
	if f != nil || pre != nil || !s.Live() && t.limits.Keeps() && !s.Done(now) {
		f = l.flowOf(t, s.Live() && pre != nil)
		defer f.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	from, again := s.Subscribe(t.last, now)
	if f != nil && !again && !f.lags {
		f.lags, f.cursor, f.forked, f.least = true, from, 0, s.State().Start
		if from.Before(t.last) {
			l.sub.owes(from)
		}
	}
	if f != nil && pre != nil {
		pre.at = f.cursor
		f.prelude = pre
	}
	l.space.tree.Add(t.name.Pattern(), l)
	return f
}

// dropSeam forgets one seam and gives up its hold on the topic.
func (l *listener) dropSeam(t *topic) {
	l.seams[t].plainFor(l, t)
	delete(l.seams, t)
	l.sub.b.hub.shardOf(t.log).release(t)
}
