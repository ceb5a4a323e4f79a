package bayeux

import (
	"context"
	"encoding/json"
)

// Left is what the outbox of a session held when it ended here.
type Left struct {
	// Wire is the state of the protocol, for TakeUp on another server: JSON, at most
	// 1 KiB.
	Wire []byte
	// Numbered: the client says by number what of Sent has arrived (the ack extension),
	// whichever of its connects comes next.
	Numbered bool
	// Sent was handed to a connection and is not known to have arrived, in order.
	Sent []*Delivery
	// Queued was waiting, in order; all of it comes after Sent.
	Queued []*Delivery
}

// wire is the form of Left.Wire.
type wire struct {
	Last    uint64 `json:"last,omitempty"`    // mark of the last connect by HTTP
	Replied bool   `json:"replied,omitempty"` // that was answered
	Newest  uint64 `json:"newest,omitempty"`  // the sequence of connects
	Rising  bool   `json:"rising,omitempty"`  // likewise
	Late    int    `json:"late,omitempty"`    // likewise
	Back    uint64 `json:"back,omitempty"`    // likewise
	Polled  bool   `json:"polled,omitempty"`  // Sent is the answer of a poll
	Resends int    `json:"resends,omitempty"` // how often such an answer was repeated in a row
	// Ack is the newest number of the ack extension, Batch that of the answer that was Sent.
	Ack   *uint64 `json:"ack,omitempty"`
	Batch uint64  `json:"batch,omitempty"`
}

// Left returns what the outbox holds of a session that has ended with ReasonMoved or
// ReasonShutdown, from then until its handler's Close has returned; at other times
// nothing. Between, nothing is handed to a connection any more and no Puller is
// pulled, but Deliver goes on queueing as it does for a client that is away. So a
// Close that first ends its subscriptions, or stops their channels, and then asks for
// Left, misses no delivery between: each that Deliver has returned true for has
// arrived, or is in Left, or was dropped because nothing keeps it.
func (s *Session) Left() Left {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left()
}

// left is Left for those who hold mu.
func (s *Session) left() (l Left) {
	if !s.still && !s.acks.on {
		return Left{}
	}
	for _, d := range s.out.sent {
		l.Sent = append(l.Sent, d.d)
	}
	l.Queued = append(l.Queued, s.out.queue.live()...)
	q := s.sequence
	w := wire{Last: s.last, Replied: s.replied, Newest: q.newest, Rising: q.rising, Late: q.late, Back: q.back, Resends: s.resends}
	_, w.Polled = s.out.sentBy.(*poll)
	if k := &s.acks; k.on {
		w.Ack, w.Batch, l.Numbered = &k.last, k.batch, true
	}
	l.Wire, _ = json.Marshal(w) // numbers and booleans: it does not fail
	return l
}

// Release ends the session here because another server takes it for a connect, or for
// something that is none (the zero Ordinal): a connect that is held is answered as at its
// timeout, or cut off if it is the same one, a WebSocket loses the session and nothing
// else, an EventSource ends. It waits, within ctx, for a call on the SessionHandler that is
// under way, so it must not be called from one. Then it lets nothing more be handed to
// a connection (what was handed before counts as sent, even if a peer that does not
// read has not got it yet), cancels a Pull that is under way and waits for it, and
// calls the handler's Close with ReasonMoved.
//
// It returns what Left did at the end of that Close. What a cancelled Pull returned is
// at the end of Queued, so a Puller has read beyond what the client has by Sent and
// Queued and by nothing else. The error is ErrLate if a newer connect than o has come
// here, or ctx's if that ended first: then it goes on living here; ErrNoSession if the
// session had ended.
func (s *Session) Release(ctx context.Context, o Ordinal) (Left, error) {
	if !s.takeTurn(ctx) {
		return Left{}, ctx.Err()
	}
	defer s.settle() // if another ended it while its settle could not have the turn
	defer s.yield()
	if err := s.endFor(o, ReasonMoved, s.server.usual()); err != nil {
		return Left{}, err
	}
	s.mu.Lock()
	idle := s.replays.untilIdle()
	s.mu.Unlock()
	if idle != nil {
		<-idle // it was cancelled
	}
	return s.conclude(), nil
}

// takeTurn locks turn; false if ctx ended first.
func (s *Session) takeTurn(ctx context.Context) bool {
	for !s.turn.TryLock() {
		s.mu.Lock()
		if s.yielded == nil {
			s.yielded = make(chan struct{})
		}
		yielded := s.yielded
		s.mu.Unlock()
		if s.turn.TryLock() {
			return true // it was yielded before the look at yielded
		}
		select {
		case <-yielded:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// yield unlocks turn.
func (s *Session) yield() {
	s.turn.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.yielded != nil {
		close(s.yielded)
		s.yielded = nil
	}
}

// TakeUp gives a session that is being resumed the state of the protocol that it left
// elsewhere, Left.Wire, and reports whether what was Sent there is known to have
// arrived, now that m is here (decided.md 4): an answer to a poll has, unless m says
// otherwise; over a socket nothing has. known is false while that cannot be told, as m is
// no connect or a late one, or where m asks for it again: what was Sent is given to
// Underway then. It is called at most once, inside Resume, with its m. A nil wire, or one
// that cannot be read: it has not arrived. died: its server was lost since it wrote that,
// and has perhaps given numbers since to answers that brought nothing (bayeux-cometd.md
// §2.1).
func (s *Session) TakeUp(left []byte, died bool, m *Message) (arrived, known bool) {
	var w wire
	if left == nil || json.Unmarshal(left, &w) != nil {
		return false, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.replied, s.resends, s.sequence = w.Last, w.Replied, w.Resends, w.sequence()
	old := s.sequence
	if w.Ack != nil {
		// What is given to Underway is the answer of that number.
		s.acks = acks{on: true, last: max(*w.Ack, w.Batch), batch: w.Batch, went: true, noted: true}
		if died {
			s.acks.last += unsaid
		}
		n, said := m.acked()
		arrived = m.kind == kindConnect && said && n >= w.Batch
		return arrived, arrived // the next connect may say so yet
	}
	switch {
	case !w.Polled:
		return false, true
	case m.kind != kindConnect, old.overtaken(m.Ordinal()):
		return false, false
	}
	repeats := m.repeats(w.Last)
	again := repeats && s.counting() || (repeats || m.failed(s.lone)) && w.Resends < mostResends
	return !again, !again
}

// Underway gives a session that is being resumed what was Sent elsewhere, in order, where
// TakeUp could not tell whether it has arrived: the next connect tells, as if it had been
// sent from here. It is called at most once, inside Resume.
func (s *Session) Underway(ds []*Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		s.out.sent = append(s.out.sent, sent{d: d})
		s.out.sentBytes += d.Size()
	}
	s.out.queued += uint64(len(ds))
	if len(ds) > 0 {
		s.out.sentBy, s.out.answered = &poll{session: s}, true
	}
}

// Overtaken reports whether a connect is older than the newest that a session had seen
// which left wire behind (Left.Wire), and returns that with the connect counted, to be
// kept instead.
func Overtaken(left []byte, o Ordinal) (counted []byte, late bool) {
	var w wire
	if left == nil || json.Unmarshal(left, &w) != nil {
		return left, false
	}
	q := w.sequence()
	if !q.overtaken(o) {
		return left, false
	}
	w.Late, w.Back = q.late, q.back
	counted, _ = json.Marshal(w) // numbers and booleans: it does not fail
	return counted, true
}

// sequence is what w says of the order of connects.
func (w *wire) sequence() sequence {
	return sequence{newest: w.Newest, rising: w.Rising, late: min(max(w.Late, 0), mostLate), back: w.Back}
}

// ending returns why the session ended; "" if it lives.
func (s *Session) ending() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		return ""
	}
	return s.reason
}

// HandOff lets all clients go elsewhere: every session that is here when it is called
// ends with ReasonMoved. Held polls are answered with the advice to come back after a
// jittered pause, sockets closed one after the other over three quarters of the time
// that ctx leaves. The server goes on serving what comes. It returns when the
// handler's Close has returned for all of them, or is left to a call under way.
func (v *Server) HandOff(ctx context.Context) {
	all := v.allSessions()
	// At once, since who comes back meanwhile waits for it.
	closing, done := v.crew(len(all), (*Session).settle)
	defer done()
	leave := func(s *Session) {
		if s.end(ReasonMoved, v.again("retry")) {
			closing <- s
		}
	}
	for _, s := range all {
		if !s.onSocket() {
			leave(s)
		}
	}
	v.closeSockets(ctx, func(c *socket) {
		for _, s := range c.sessions() {
			leave(s)
		}
		c.goAway()
	})
	for _, s := range all {
		leave(s) // those that left a socket meanwhile
	}
}

// asked reports whether a connect asks again for the last answer: it is the last one that the
// session had, or says that the answer was not received.
func (s *Session) asked(m *Message, lone bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m.repeats(s.last) || m.failed(lone) && !s.acks.on && m.ConnectionType != "eventsource"
}

// Counts reports whether the client is known to number its connects, so that one which
// comes again is the same, however often. It may be called at any time.
func (s *Session) Counts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counting()
}

// Counted says so of a session that is being resumed. It is called inside Resume, before
// TakeUp.
func (s *Session) Counted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = true
}

// counting is Counts for those who hold mu.
func (s *Session) counting() bool {
	s.counts = s.counts || s.sequence.rising
	return s.counts
}
