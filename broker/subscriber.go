package broker

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
)

// subscriber is the broker's side of one session: who it is, what it listens to.
// The bayeux.Server sees to it that its SessionHandler methods never overlap.
type subscriber struct {
	b        *Broker
	session  *bayeux.Session
	key      string    // of its record
	identity *Identity // from the handshake; nil without a token
	// resumedAt is zero for a session that was handshaken here; resumedFrom is how far
	// its node had come when it was resumed, in ms of the store's clock.
	resumedAt   time.Time
	resumedFrom int64
	// landedAt is up to when everything of channels without a place had been handed to
	// it elsewhere, likewise.
	landedAt int64
	sure     atomic.Uint64 // as of which of the node's doubts it is known to live here

	// owned by the handler calls
	listeners []*listener // one for each space and root
	// patternSince is when each wildcard was taken, by the store's clock, in ms.
	patternSince map[string]int64
	brought      brought
	attending    []string // feeds of objects that it is subscribed to
	viewing      []string // feeds of those it is a viewer of
	due          []*flow  // of the subscribe that is carried out, see giveDue

	// mu guards oids, and the flows of all its listeners.
	mu      sync.Mutex
	oids    []channels.OID // roots in use, one for each listener that has one
	rooms   []string       // feeds of their objects, each once; replaced, never changed
	homes   []*Object      // those objects, likewise
	acting  []string       // feeds of objects that it is subscribed to and on which its token counts
	tap     uint32         // the application whose every message it hears; 0: none
	ends    time.Time      // when the first token ends that its rights come from; zero: never
	kids    uint16         // a bit for each key that signed one of them
	flows   int            // how many there are, over all listeners
	landed  []*listener    // whose wildcards may not have met all topics since the session came here
	closed  bool
	memory  remembered
	repeats repeats
}

var _ bayeux.SessionHandler = (*subscriber)(nil)

// listener returns the session's listener for a target, made if there is none.
func (s *subscriber) listener(t *target) *listener {
	var l *listener
	for _, old := range s.listeners {
		if old.prefix == t.prefix && old.space.feed == t.feed {
			l = old
			break
		}
	}
	if l == nil {
		l = &listener{sub: s, space: s.b.hub.holdSpace(t.feed), prefix: t.prefix, oid: t.oid, user: t.user}
		if t.object != nil {
			l.object, l.room = t.object, feedOf(t.object)
			l.acts = s.identity.LevelFor(t.object.App.ID, t.object.ID) > RoleNone
		}
		s.listeners = append(s.listeners, l)
		s.noteRoots()
	}
	l.raise(t.grade())
	return l
}

// room reports whether n more subscriptions fit; covers that are only remembered
// make way.
func (s *subscriber) room(n int) bool {
	s.mu.Lock()
	unread := len(s.memory.unread) // one catch-up asked for again and again is many
	s.mu.Unlock()
	if unread+n > max(mostUnread, s.b.limits().Subscriptions) {
		return false
	}
	if s.count()+n <= s.b.limits().Subscriptions {
		return true
	}
	for _, l := range s.listeners {
		l.tidy(time.Now(), true)
	}
	return s.count()+n <= s.b.limits().Subscriptions
}

func (s *subscriber) count() int {
	n := 0
	for _, l := range s.listeners {
		if !l.besides() {
			n += len(l.patterns)
		}
		for _, sm := range l.seams {
			n += max(1, len(sm.channels)+boolInt(sm.exact))
		}
	}
	return n
}

// tidy drops what nothing depends on.
func (s *subscriber) tidy() {
	now := time.Now()
	s.listeners = slices.DeleteFunc(s.listeners, func(l *listener) bool {
		l.tidy(now, false)
		idle := len(l.seams) == 0 && len(l.patterns) == 0
		if idle {
			l.dropNumbers()
			s.b.hub.releaseSpace(l.space)
		}
		return idle
	})
	s.noteRoots()
}

// noteRoots writes down the roots in use.
func (s *subscriber) noteRoots() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oids, s.rooms, s.homes, s.kids = s.oids[:0], nil, nil, 0
	for _, l := range s.listeners {
		if l.oid != (channels.OID{}) {
			s.oids = append(s.oids, l.oid)
			if !slices.Contains(s.rooms, l.room) {
				s.rooms, s.homes = append(s.rooms, l.room), append(s.homes, l.object)
			}
			if kid, err := strconv.ParseUint(l.prefix[1:2], 16, 8); err == nil {
				s.kids |= 1 << kid
			}
		}
	}
}

// uses reports whether the session listens by a root of that oid. Unlike the
// handler's methods it may be called at any time.
func (s *subscriber) uses(oid channels.OID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.oids, oid)
}

// usesKey reports whether the session listens by a root of that key, likewise.
func (s *subscriber) usesKey(kid uint8) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kids&(1<<kid) != 0
}

// Publish is part of bayeux.SessionHandler.
func (s *subscriber) Publish(ctx context.Context, m *bayeux.Message, done func(bayeux.Ack, error)) {
	a, err := s.asker(m)
	if err != nil {
		done(bayeux.Ack{}, err)
		return
	}
	if _, calls := service(m.ChannelText); calls {
		done(s.b.call(ctx, m, a))
		return
	}
	if len(m.ID) == 0 {
		s.b.publishMessage(ctx, m, a, true, known{}, done)
		return
	}
	mark := markOf(s.session.ID(), m)
	again, first := s.repeated(mark.tag(), done)
	if again {
		return
	}
	k := known{tag: mark.tag(), change: mark.tag(), maybe: a.now.Sub(s.resumedAt) < repeatAge}
	switch {
	case s.b.opt.Store.Shared():
		k.tag, k.nonce = 0, mark.nonce()
	case k.maybe:
		// It may have been taken before the restart, or since, but before the session
		// was resumed.
		if s.b.answerBefore(ctx, m, a, s.resumedFrom, mark.tag(), first) {
			return
		}
		k.nonce = mark.nonce()
	}
	s.b.publishMessage(ctx, m, a, true, k, first)
}

// Connect is part of bayeux.SessionHandler.
func (s *subscriber) Connect(ctx context.Context, _ *bayeux.Message) error {
	return s.b.stillHere(ctx, s)
}

// Close is part of bayeux.SessionHandler: everything the session held is given up.
func (s *subscriber) Close(reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	goesOn := reason == bayeux.ReasonShutdown || reason == bayeux.ReasonMoved
	if goesOn {
		s.leave(ctx)
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if !goesOn {
		s.erase(ctx)
	}
	s.drop()
	s.b.forget(s)
}

// drop gives up everything the session holds on this node.
func (s *subscriber) drop() {
	for _, room := range s.attending {
		s.b.attendance.leave(room)
	}
	s.attending = nil
	s.lookAway()
	s.quitTap()
	for _, l := range s.listeners {
		l.quit()
		for t, sm := range l.seams {
			if sm.exact {
				t.mu.Lock()
				l.space.tree.Remove(t.name.Pattern(), l)
				t.mu.Unlock()
			}
			l.dropSeam(t)
		}
		s.mu.Lock()
		for t := range l.flows {
			t.flows.Add(-1)
			s.flows--
		}
		clear(l.flows)
		s.mu.Unlock()
		s.b.hub.releaseSpace(l.space)
	}
}

// closeWait bounds the last write about a session.
const closeWait = 5 * time.Second

// asker is the session's identity and the message's own, if it brings a token.
func (s *subscriber) asker(m *bayeux.Message) (asker, error) {
	a := asker{session: s.identity, now: s.b.opt.Now()}
	id, err := s.b.messageIdentity(m)
	a.message = id
	return a, err
}
