package bayeux

import (
	"context"
	"math"
	"strconv"
)

// acks is the ack extension of one session (bayeux-cometd.md §2.1): what is delivered
// leaves with the answers to connects only, each of which has a number, and the next
// connect says the number of the newest that arrived. What an answer brought is the
// outbox's sent; until it is known to have arrived it goes again, as it was and under
// its number, and nothing else goes. So a number says exactly what a client has. It is
// guarded by the session's mu.
type acks struct {
	on    bool
	last  uint64 // the newest number
	batch uint64 // of the answer that brings what was sent
	// went: that answer was made, and the client may have it. What was taken for one
	// that was not goes back into the queue.
	went  bool
	noted bool // the handler knows of it
}

// mostBatch bounds what a client may claim to have had: above it JavaScript does not
// count by one any more.
const mostBatch = 1 << 52

// unsaid is how many numbers are passed over where a server was lost. A late copy of a
// connect says an older number than the client has had by then; were the next one given to
// an answer for that copy, which nobody reads, the client would seem to have it.
const unsaid = 1 << 20

// BatchHandler is a SessionHandler that remembers what is on its way to a client with
// the ack extension, so that it is exact over the loss of the server, too.
type BatchHandler interface {
	// Batch is called before an answer goes out that brings deliveries which are kept, and
	// before the client hears that its subscriptions changed: Session.Left says what is on
	// its way. Nothing else is handed out and no Puller is
	// pulled until it returns. If the session has ended then, the answer brings nothing.
	Batch(ctx context.Context)
}

// wantsAck reports whether a handshake asks for the ack extension.
func (m *Message) wantsAck() bool { return string(m.ExtValue("ack")) == "true" }

// acked returns the number of the newest answer that a connect says arrived; false if
// it says none.
func (m *Message) acked() (uint64, bool) {
	raw := m.ExtValue("ack")
	if len(raw) == 0 || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, false
	}
	return uint64(min(max(n, 0), mostBatch)), true
}

// acknowledges is recover for a session with the ack extension; false if this is none.
// The caller holds mu.
func (s *Session) acknowledges(m *Message) bool {
	n, said := m.acked()
	k := &s.acks
	if !k.on && !(said && s.resumed) {
		return false
	}
	k.last = max(k.last, n)
	if !k.on {
		// Only who was granted the extension says a number. A session whose server was
		// lost before it wrote anything down is known by that.
		k.on = true
		k.last += unsaid
	}
	s.takeBack()
	if said && n >= k.batch {
		s.out.acknowledge()
	}
	return true
}

// takeBack returns what was taken for an answer that is not written any more. The
// caller holds mu.
func (s *Session) takeBack() {
	switch {
	case !s.acks.on:
		s.out.takeBack()
	case s.acks.went:
		s.out.sentBy = nil // it goes again
	default:
		s.out.putBack()
	}
}

// takeBatch is take for the answer to a connect. The caller holds mu.
func (s *Session) takeBatch(ds []*Delivery, l link, most int) []*Delivery {
	k, o := &s.acks, &s.out
	if len(o.sent) > 0 && k.went {
		if o.sentBy == l {
			return ds
		}
		for _, d := range o.sent {
			ds = append(ds, d.d)
		}
		s.server.stats.resent.Add(int64(len(o.sent)))
		o.sentBy = l
		return ds
	}
	if o.queue.len() > 0 && len(o.sent) == 0 {
		k.last++
		k.batch, k.went, k.noted = k.last, false, false
	}
	return o.take(ds, l, 0, most, math.MaxInt, s.server.limits())
}

// number returns the number of an answer of l that is made now; 0: it has none, so
// that it says nothing. An answer that brings nothing may have one only if nothing is
// on its way: the client would seem to have that. The caller holds mu.
func (s *Session) number(l link) uint64 {
	k := &s.acks
	switch {
	case !k.on || s.ended || s.link != l:
		return 0
	case len(s.out.sent) == 0:
		k.last++
		return k.last
	case s.out.sentBy == l:
		k.went = true
		return k.batch
	}
	return 0
}

// emptyNumber is number for an answer of l that brings nothing. One that is made because
// another connect has come has none: it may overtake, or be overtaken.
func (s *Session) emptyNumber(l link) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out.sent) > 0 || s.held != nil {
		return 0
	}
	return s.number(l)
}

// answer is what goes back for a connect that a socket holds, in ack mode.
type answer struct {
	held   *held
	number uint64
	unsure bool // the handler has to be told of it first
}

// acking reports whether what is delivered leaves with answers to connects of l only.
func (s *Session) acking(l link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acksOn(l)
}

// acksOn is acking for those who hold mu. A stream has no connects to answer.
func (s *Session) acksOn(l link) bool {
	_, streams := l.(*stream)
	return s.acks.on && !streams
}

// takeHeld takes the connect that l holds, if there is something to answer it with, and
// that, appended to ds.
func (s *Session) takeHeld(ds []*Delivery, l link) (_ []*Delivery, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awake = false
	h := s.held
	if h == nil || h.link != l || s.link != l {
		return ds, answer{}
	}
	batch := s.takeBatch(nil, l, s.server.limits().Response)
	if len(batch) == 0 && !h.prompt {
		return ds, answer{}
	}
	s.held = nil
	a = answer{held: h, number: s.number(l), unsure: s.unsure(batch)}
	return append(ds, batch...), a
}

// unsure reports whether the handler has to be told of deliveries before they go. The
// caller holds mu.
func (s *Session) unsure(ds []*Delivery) bool {
	if !s.acks.on || s.acks.noted {
		return false
	}
	for _, d := range ds {
		if d.kept {
			return true
		}
	}
	return false
}

// note tells the handler what is about to go out, and reports whether it may: the
// session may turn out to live elsewhere. Two may do so at once, for an answer and for a
// subscribe; only what the handler has seen counts as noted.
func (s *Session) note(ctx context.Context) bool {
	s.mu.Lock()
	s.replays.paused++
	idle := s.replays.untilIdle()
	s.mu.Unlock()
	if idle != nil {
		<-idle
	}
	var seen acks
	s.call(func(h SessionHandler) {
		s.mu.Lock()
		seen = s.acks
		s.mu.Unlock()
		if b, is := h.(BatchHandler); is {
			b.Batch(ctx)
		}
	})
	s.mu.Lock()
	s.replays.paused--
	if k := &s.acks; seen.went && seen.batch == k.batch {
		k.noted = true
	}
	ended := s.ended
	var l link
	if !ended && s.replays.paused == 0 && !s.replays.empty() {
		l = s.rouse()
	}
	s.mu.Unlock()
	if l != nil {
		l.wake(s)
	}
	return !ended
}
