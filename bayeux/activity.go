package bayeux

import "time"

// touch notes that the client said something. A connect is a heartbeat, and no activity
// (bayeux-cometd.md §2.7).
func (s *Session) touch(m *Message) {
	if s == nil || s.server.options.Activity <= 0 || m.kind == kindConnect {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = time.Now()
}

// inactiveAt returns when the session ends because its client says nothing; false if it
// does not. The caller holds mu.
func (s *Session) inactiveAt() (time.Time, bool) {
	d := s.server.options.Activity
	return s.active.Add(d), d > 0
}

// endInactive ends a session whose client has said nothing: it hears that in a message of
// its own, if it can, and at its connect.
func (s *Session) endInactive() {
	s.mu.Lock()
	l := s.link
	s.mu.Unlock()
	never := s.server.never()
	if l != nil {
		m := &Message{ChannelText: "/meta/disconnect", kind: kindDisconnect, AdviceInterval: -1}
		l.tell(reply{m: m, clientID: s.id, advice: never}.encode())
	}
	if s.end(ReasonInactive, never) {
		s.server.spawn(s.settle)
	}
}
