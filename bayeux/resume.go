package bayeux

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// Resumer is a Handler that remembers sessions beyond the process (architecture.md
// §3, a node dies).
type Resumer interface {
	// Resume is asked when a message names a session that is not here. s has that
	// id and may be kept; calls on its SessionHandler follow after Resume has
	// returned. ErrNoSession: nobody knows it. An *Error refuses the message in its
	// words; any other error is logged and shown as 500.
	Resume(ctx context.Context, s *Session) (SessionHandler, error)
}

// ErrNoSession is what a Resumer says of a session that it does not remember.
var ErrNoSession = errors.New("bayeux: no such session")

// resuming is one look for a session; whoever asks for the same waits for it.
type resuming struct {
	done    chan struct{}
	session *Session
	err     *Error
}

// resume takes up a session that is not here; nil without an error if nobody knows
// it. What cannot be an id of ours is not asked for.
func (v *Server) resume(ctx context.Context, peer Peer, id string) (*Session, *Error) {
	if v.resumer == nil || !plausible(id) || v.draining.Load() {
		return nil, nil
	}
	v.mu.Lock()
	if s := v.sessions[id]; s != nil {
		v.mu.Unlock()
		return s, nil
	}
	r := v.resumes[id]
	if r != nil {
		v.mu.Unlock()
		select {
		case <-r.done:
			return r.session, r.err
		case <-ctx.Done():
			return nil, &Error{Code: 503, Text: "Service unavailable"}
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
	r.session, r.err = v.takeUp(ctx, peer, id)
	return r.session, r.err
}

func (v *Server) takeUp(ctx context.Context, peer Peer, id string) (*Session, *Error) {
	a := v.addresses.get(peer.Addr)
	if a != nil && !a.enter(v.options.Limits.SessionsPerAddr) {
		v.stats.refuse(refuseSessions)
		return nil, &Error{Code: 429, Text: "Too many sessions"}
	}
	s := v.newSession(peer, a)
	s.id = id
	// It had connected before: its next connect is on another connection.
	s.connected = true
	admitted := false
	defer func() {
		if !admitted && s.void() {
			a.leave()
		}
	}()
	err := s.admit(func() (SessionHandler, error) { return v.resumer.Resume(ctx, s) })
	var refusal *Error
	switch {
	case errors.Is(err, ErrNoSession):
		return nil, nil
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
// it is what it was then.
func (s *Session) Progress() (queued, arrived uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return s.final[0], s.final[1]
	}
	return s.out.progress()
}
