package bayeux

import (
	"time"

	"go.uber.org/zap"
)

// arrival is a connect on its way to its session.
type arrival struct {
	m         *Message
	link      link
	peer      Peer
	transport string
	hold      time.Duration // 0: answered at once
	socket    uint64        // serial of the socket; 0: HTTP
	alone     bool          // no other message in the request
	advice    *Advice       // of a socket's answer
}

// attach lets the link of a connect serve the session from now on, unless a newer
// connect has come. What another link held is answered, what another link had on its way
// is sent again. now is true if the connect is to be answered at once; ok is false if the
// session is gone.
func (s *Session) attach(a arrival) (now, ok bool) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false, false
	}
	if s.overtaken(a.m.Ordinal()) {
		s.mu.Unlock()
		return true, true
	}
	start := time.Now()
	s.expires = start.Add(s.server.lifetime())
	previous, old := s.held, s.link
	s.held = nil
	usual := s.server.usual()
	waiting := s.out.waiting()
	repeated, answered := s.recover(a)
	if p, is := old.(*poll); is && repeated {
		// Whoever repeats a connect has given its first connection up. Were that
		// answered, too, a client that reads only there would go on, and seem to
		// have what the second one brought.
		p.severed, usual = true, nil
	}
	if p, is := a.link.(*poll); is && answered {
		// If it is a late copy, of which the answer arrived, then that is what the next
		// connect tells of.
		p.bounded, p.rest = true, s.out.queue.len()-waiting
		a.hold = 0
	}
	if a.socket != 0 {
		// So that the client hears something on its new connection
		// (bayeux-faye.md §14).
		if s.connected && s.socket != a.socket {
			a.hold = 0
		}
		s.socket = a.socket
	}
	s.connected = true
	s.move(a.peer, a.transport)
	first := old != nil && old != a.link && s.abandon(old)
	s.link, s.awake = a.link, false
	a.link.join(s)
	prompt := a.hold <= 0 && a.socket != 0 && s.acks.on
	if a.hold > 0 || prompt {
		s.held = &held{m: a.m, link: a.link, until: start.Add(a.hold), prompt: prompt, advice: a.advice}
	}
	s.arm(start)
	var wake link
	if prompt || s.due() {
		wake = s.rouse()
	}
	s.mu.Unlock()
	s.tellTaken(first, a.transport)
	if previous != nil {
		previous.link.release(s, previous.m, usual)
	}
	if wake != nil {
		wake.wake(s)
	}
	return a.hold <= 0 && !prompt, true
}

// abandon lets a link go that served the session until now, for another. Where it is a
// WebSocket, and so still open, that is counted: its client's network has changed unnoticed,
// or somebody else has its clientId (security.md §4, 5). first: it is the first time. The
// caller holds mu.
func (s *Session) abandon(old link) (first bool) {
	old.leave(s)
	if _, is := old.(*socket); !is {
		return false
	}
	s.server.stats.taken.Add(1)
	first, s.wasTaken = !s.wasTaken, true
	return first
}

// tellTaken logs what abandon has found, of each session once, without its clientId.
func (s *Session) tellTaken(first bool, transport string) {
	if first {
		s.server.log.Info("bayeux: a session went on over another connection while its WebSocket was open",
			zap.String("transport", transport))
	}
}

// recover decides what becomes of deliveries that are on their way when a
// connect arrives (decided.md 4), and reports whether it is one that came before, and
// then whether that was answered and the answer, empty or not, is due again. The caller
// holds mu.
func (s *Session) recover(a arrival) (repeated, answered bool) {
	// Faye repeats a connect whose poll broke on the socket it goes to, too.
	repeated = s.connected && a.m.repeats(s.last)
	replied := repeated && s.replied
	failed := a.m.failed(a.socket != 0 || a.alone)
	s.last, s.replied = 0, false
	if a.socket == 0 {
		s.last = a.m.mark()
	}
	if o := a.m.Ordinal(); o != (Ordinal{}) {
		s.sequence.add(o)
	}
	if s.acknowledges(a.m) {
		return repeated, false
	}
	_, polled := s.out.sentBy.(*poll)
	s.out.takeBack()
	sent := len(s.out.sent)
	switch {
	case sent > 0 && !polled:
		if s.out.sentBy != a.link {
			s.server.stats.resent.Add(int64(s.out.putBack()))
		}
	case sent == 0 && !replied:
		s.resends = 0
	case repeated && s.counting(), (repeated || failed) && s.resends < mostResends:
		s.resends++
		s.server.stats.resent.Add(int64(s.out.putBack()))
		return repeated, replied
	default:
		s.resends = 0
		s.out.acknowledge()
	}
	return repeated, false
}

// overtaken reports whether a connect is older than the newest, and counts it. The
// caller holds mu.
func (s *Session) overtaken(o Ordinal) bool {
	if !s.sequence.overtaken(o) {
		return false
	}
	s.server.stats.late.Add(1)
	return true
}

// failed reports whether a connect says that the last answer was not received. Who
// goes to a socket after a poll broke says so too; Faye never puts the timeout there,
// but does in company.
func (m *Message) failed(lone bool) bool { return lone && m.AdviceTimeout == 0 }

// move notes from where and how the session is used. The caller holds mu.
func (s *Session) move(p Peer, transport string) {
	if transport != s.peer.Transport {
		s.server.stats.transport(s.peer.Transport).Add(-1)
		s.server.stats.transport(transport).Add(1)
	}
	p.Transport = transport
	s.peer = p
}

// keep is attach for a connect by eventsource: it prolongs the session, and the
// stream goes on serving it.
func (s *Session) keep(a arrival) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	now := time.Now()
	s.expires = now.Add(s.server.lifetime())
	previous, old := s.held, s.link
	s.held = nil
	if _, streams := old.(*stream); streams {
		old = nil
	} else {
		s.recover(a)
		s.link = nil
	}
	first := old != nil && s.abandon(old)
	s.connected = true
	s.move(a.peer, a.transport)
	s.arm(now)
	s.mu.Unlock()
	s.tellTaken(first, a.transport)
	if previous != nil {
		previous.link.release(s, previous.m, s.server.usual())
	}
	return true
}

// serve lets an EventSource stream serve the session; false if it is gone.
func (s *Session) serve(st *stream) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return false
	}
	previous, old := s.held, s.link
	s.held = nil
	s.takeBack()
	s.acks.went = false
	if _, polled := s.out.sentBy.(*poll); polled {
		s.out.acknowledge()
	} else {
		s.server.stats.resent.Add(int64(s.out.putBack()))
	}
	first := old != nil && s.abandon(old)
	s.link, s.awake = st, true
	s.mu.Unlock()
	s.tellTaken(first, "eventsource")
	if previous != nil {
		previous.link.release(s, previous.m, s.server.usual())
	}
	return true
}

// detach: a link is gone; what it had on its way waits for the next one.
func (s *Session) detach(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.out.sentBy != l:
	case s.acks.on:
		s.takeBack()
	default:
		s.server.stats.resent.Add(int64(s.out.putBack()))
		s.replied = false
	}
	if s.held != nil && s.held.link == l {
		s.held = nil
	}
	s.replays.endTurn()
	if s.link == l {
		s.link = nil
	}
}
