package bayeux

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// Resumer is a Handler that knows sessions beyond this server, and beyond the process
// (architecture.md §3, a node dies; decided.md 17).
type Resumer interface {
	// Resume is asked when a connect names a session that is not here: it lives here
	// from now on. m is that connect; or, after ErrHere, the message that was to be
	// forwarded; or a connect by eventsource that the server made for a stream. s has
	// the id and may be kept; calls on its SessionHandler follow after Resume has
	// returned. Of an id that was here and moved, it is asked only when the Close of
	// the SessionHandler before has returned. ErrNoSession: nobody knows it. ErrLate: where
	// it lives, a newer connect than m has come; or m is none and the session, which lived
	// nowhere, lives somewhere again. An *Error refuses the message in its
	// words; any other error is logged and shown as 500.
	Resume(ctx context.Context, s *Session, m *Message) (SessionHandler, error)
	// Forward carries out a subscribe, an unsubscribe, a disconnect or a connect by
	// eventsource of a session that is not here, wherever it lives (Message.Forwarded,
	// Session.Carry). What it returns rides in the reply's ext. ErrHere: it lives
	// nowhere now, so the server resumes it here and carries m out itself.
	// ErrNoSession: nobody knows it. Other errors as of Resume.
	Forward(ctx context.Context, peer Peer, m *Message) (ext []byte, err error)
}

// ErrNoSession is what a Resumer says of a session that nobody remembers, and Carry of
// one that is gone.
var ErrNoSession = errors.New("bayeux: no such session")

// ErrHere is what a Resumer says of a session that lives nowhere and may live here.
var ErrHere = errors.New("bayeux: session lives nowhere")

// resuming is one look for a session; whoever asks for the same waits for it.
type resuming struct {
	done    chan struct{}
	session *Session
	err     error // ErrLate, or an *Error
}

// resume takes up the session of m, which is not here; nil without an error if nobody
// knows it. What cannot be an id of ours is not asked for. lone: m came without
// company, or by socket. The error is ErrLate, or an *Error for the peer.
func (v *Server) resume(ctx context.Context, peer Peer, m *Message, lone bool) (*Session, error) {
	switch {
	case v.resumer == nil || !plausible(m.ClientID):
		return nil, nil
	case v.draining.Load():
		return nil, &Error{Code: 503, Text: "Service unavailable"}
	}
	for {
		s, err, ours := v.resumeOnce(ctx, peer, m, lone)
		if ours || !errors.Is(err, ErrLate) {
			return s, err
		}
		// That was another connect, which m may have overtaken.
	}
}

// resumeOnce does it, or waits for who does; ours: it was m that the Resumer was asked
// for.
func (v *Server) resumeOnce(ctx context.Context, peer Peer, m *Message, lone bool) (_ *Session, err error, ours bool) {
	id := m.ClientID
	v.mu.Lock()
	for old := v.closing[id]; old != nil; old = v.closing[id] {
		v.mu.Unlock()
		select {
		case <-old.gone:
		case <-ctx.Done():
			return nil, &Error{Code: 503, Text: "Service unavailable"}, false
		}
		v.mu.Lock()
	}
	if s := v.sessions[id]; s != nil {
		v.mu.Unlock()
		return s, nil, false
	}
	r := v.resumes[id]
	if r != nil {
		v.mu.Unlock()
		select {
		case <-r.done:
			return r.session, r.err, false
		case <-ctx.Done():
			return nil, &Error{Code: 503, Text: "Service unavailable"}, false
		}
	}
	r = &resuming{done: make(chan struct{}), err: &Error{Code: 500, Text: "Internal server error"}}
	v.resumes[id] = r
	v.mu.Unlock()
	defer func() { // also when the Handler panics
		v.mu.Lock()
		delete(v.resumes, id)
		v.mu.Unlock()
		close(r.done)
	}()
	r.session, r.err = v.takeUp(ctx, peer, m, lone)
	return r.session, r.err, true
}

func (v *Server) takeUp(ctx context.Context, peer Peer, m *Message, lone bool) (*Session, error) {
	if v.admission.enter(ctx, resumes) {
		return nil, v.busy(resumes)
	}
	defer v.admission.leave()
	a := v.addresses.get(peer.Addr)
	if a != nil && !a.enter(v.limits().SessionsPerAddr) {
		return nil, &Error{Code: 429, Text: "Too many sessions", reason: refuseSessions}
	}
	s := v.newSession(peer, a)
	s.id, s.lone = m.ClientID, lone
	// It had connected before: its next connect is on another connection.
	s.connected, s.resumed = true, true
	admitted := false
	defer func() {
		if admitted {
			return
		}
		if s.void() {
			a.leave()
		}
		s.settle()
	}()
	err := s.admit(func() (SessionHandler, error) { return v.resumer.Resume(ctx, s, m) })
	var refusal *Error
	switch {
	case errors.Is(err, ErrNoSession):
		return nil, nil
	case errors.Is(err, ErrLate):
		if !m.forwards() {
			v.stats.late.Add(1)
		}
		return nil, ErrLate
	case errors.As(err, &refusal):
		return nil, refusal
	case err != nil:
		v.log.Error("bayeux: resume failed", zap.Error(err))
		return nil, &Error{Code: 500, Text: "Internal server error"}
	}
	admitted = true
	v.stats.resumed.Add(1)
	v.remember(s)
	return s, nil
}

// plausible reports whether a text can be an id of newID's.
func plausible(id string) bool {
	if len(id) != 32 {
		return false
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// Progress returns how many deliveries were ever queued for the session, and how
// many of them, in order, are known to have arrived or were dropped. After the end
// it is what it was then, but for what Left tells of.
func (s *Session) Progress() (queued, arrived uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended && !s.still {
		return s.final[0], s.final[1]
	}
	return s.out.progress()
}
