package bayeux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/channels"
)

// mostForwarded bounds a message on its way to another server, in bytes: as much as
// a frame may have by default (decided.md 2).
const mostForwarded = 1<<20 + frameSlack

// forwardedLimits are those of a message that a server has taken already: its form is
// checked again, of its size only the whole. Carry applies the server's own.
var forwardedLimits = Limits{Message: mostForwarded, Depth: hardDepth, Channel: 255, Segments: 8, SubscriptionList: mostForwarded}

// mostFollowed is how often a message goes after a session that a connect takes away each
// time just before the message would take it up.
const mostFollowed = 3

// errForwarded: the bytes are not what Forwarded writes.
var errForwarded = errors.New("bayeux: not a forwarded message")

// Forwarded returns the message as JSON for ParseForwarded on another server: the
// envelope of a subscribe, an unsubscribe, a disconnect or a connect by eventsource,
// and never the clientId, which is a secret (security.md §4, 1).
func (m *Message) Forwarded() []byte {
	n := 96 + len(m.ChannelText) + len(m.ID) + len(m.ConnectionType) + len(m.rawSubscription) + len(m.rawAdvice) + len(m.Ext)
	b := append(make([]byte, 0, n), `{"channel":`...)
	b = appendText(b, m.ChannelText)
	if m.ConnectionType != "" {
		b = appendText(append(b, `,"connectionType":`...), m.ConnectionType)
	}
	for _, f := range [...]struct {
		name string
		raw  []byte
	}{{"id", m.ID}, {"subscription", m.rawSubscription}, {"advice", m.rawAdvice}, {"ext", m.Ext}} {
		if len(f.raw) > 0 {
			b = append(append(append(b, `,"`...), f.name...), `":`...)
			b = append(b, f.raw...)
		}
	}
	return append(b, '}')
}

// ParseForwarded reads what Forwarded wrote and takes nothing else, so that what one
// server lets through another does not read otherwise. The message shares no memory
// with b, and its ClientID is empty.
func ParseForwarded(b []byte) (*Message, error) {
	if len(b) > mostForwarded || !utf8.Valid(b) {
		return nil, errForwarded
	}
	d := decoder{scanner: scanner{b: b, depth: hardDepth}, limits: &forwardedLimits, usual: new(usual)}
	if d.peek() != '{' {
		return nil, errForwarded
	}
	m, err := d.message(0)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errForwarded, err)
	case m.fault != nil:
		return nil, fmt.Errorf("%w: %w", errForwarded, m.fault)
	case !m.forwards() || !bytes.Equal(m.Forwarded(), b):
		return nil, errForwarded
	}
	return m, nil
}

// forwards reports whether a message is carried out where its session lives. A connect
// by eventsource is, too: it asks only that the session be kept for its stream, which
// may be on another server.
func (m *Message) forwards() bool {
	switch m.kind {
	case kindSubscribe, kindUnsubscribe, kindDisconnect:
		return true
	case kindConnect:
		return m.ConnectionType == "eventsource"
	}
	return false
}

// elsewhere sees to a message whose session is not here (decided.md 17): a connect
// takes it over, what else needs it is carried out where it lives, and a publish does
// not need it. s: the session lives here now. done: the message is answered.
func (v *Server) elsewhere(ctx context.Context, x exchange, peer Peer, m *Message) (s *Session, done bool) {
	if v.resumer == nil || !plausible(m.ClientID) || m.kind != kindConnect && !m.forwards() {
		return nil, false
	}
	var err error
	for range mostFollowed {
		if m.forwards() {
			if here, done := v.carried(ctx, x, peer, m); !here {
				return nil, done
			}
		}
		s, err = v.resume(ctx, peer, m, x.lone())
		if !m.forwards() || !errors.Is(err, ErrLate) {
			break
		}
		// A connect has taken it up meanwhile: it is carried out there.
		err = &Error{Code: 503, Text: "Service unavailable"}
	}
	var e *Error
	switch {
	case errors.Is(err, ErrLate):
		x.refuseConnect(reply{m: m, clientID: m.ClientID, advice: v.usual()}.encode())
		return nil, true
	case errors.As(err, &e):
		reason := refuseHandler
		if e.reason != 0 {
			reason = e.reason
		}
		v.stats.refuse(reason)
		v.refuseConnect(x, nil, m, e)
		return nil, true
	}
	return s, false
}

// carried has a message carried out where its session lives, and answers it. here: it lives
// nowhere, so that it may live here; done: the message is answered.
func (v *Server) carried(ctx context.Context, x exchange, peer Peer, m *Message) (here, done bool) {
	ext, err := v.forward(ctx, peer, m)
	switch {
	case errors.Is(err, ErrHere):
		return true, false
	case errors.Is(err, ErrNoSession):
		return false, false
	case err != nil:
		v.refuseFailure(x, m, "forward", err)
	case m.kind == kindConnect:
		x.refuseConnect(reply{m: m, clientID: m.ClientID, advice: v.streaming()}.encode())
	default:
		x.reply(reply{m: m, clientID: m.ClientID, ext: ext}.encode())
	}
	return false, true
}

// forward gives a message to where its session lives, if it is good.
func (v *Server) forward(ctx context.Context, peer Peer, m *Message) (ext []byte, err error) {
	switch m.kind {
	case kindConnect:
		if !v.offered(m.ConnectionType) {
			return nil, ErrNoSession // refused as any connect of a type that is not offered
		}
	case kindSubscribe, kindUnsubscribe:
		if _, e := v.subscription(m); e != nil {
			return nil, e
		}
	}
	if len(m.Ext)+len(m.rawSubscription)+len(m.rawAdvice) > mostForwarded-frameSlack/2 {
		return nil, &Error{Code: 413, Text: "Message too large"}
	}
	v.stats.forwarded.Add(1)
	return v.resumer.Forward(ctx, peer, m)
}

// Carry carries out a subscribe, an unsubscribe, a disconnect or a connect by
// eventsource that came to another server, as if it had come here, and returns the
// reply's ext. After a disconnect the session has ended. The error is ErrNoSession if
// the session is gone from here, perhaps to another server; else an *Error, as the
// peer is to hear it. It waits for a call on the session's SessionHandler that is
// under way, so it must not be called from one.
func (s *Session) Carry(ctx context.Context, m *Message) (ext []byte, err error) {
	v := s.server
	v.stats.carried.Add(1)
	s.touch(m)
	defer func() { // the caller is no connection that could be closed
		if p := recover(); p != nil {
			v.panicked("carry", p)
			ext, err = nil, &Error{Code: 500, Text: "Internal server error"}
		}
	}()
	ok := true
	switch {
	case m.kind == kindSubscribe, m.kind == kindUnsubscribe:
		patterns, e := v.subscription(m)
		if e != nil {
			return nil, e
		}
		ext, ok, err = s.subscribe(ctx, m, patterns)
	case m.kind == kindDisconnect:
		if ok = s.end(ReasonDisconnect, v.never()); ok {
			s.settle()
		}
	case m.forwards():
		ok = s.call(func(h SessionHandler) { err = h.Connect(ctx, m) })
		if ok && err == nil {
			peer := s.Peer()
			ok = s.keep(arrival{m: m, peer: peer, transport: peer.Transport})
		}
	default:
		err = ErrForbidden(m.ChannelText)
	}
	switch {
	case !ok:
		return nil, ErrNoSession
	case err != nil:
		return nil, v.failure("carry", err)
	}
	return ext, nil
}

// subscribe lets the handler carry out a subscribe or unsubscribe; ok is false if the
// session is gone.
func (s *Session) subscribe(ctx context.Context, m *Message, patterns []channels.Pattern) (ext []byte, ok bool, err error) {
	ok = s.call(func(h SessionHandler) {
		if m.kind == kindSubscribe {
			ext, err = h.Subscribe(ctx, m, patterns)
		} else {
			err = h.Unsubscribe(ctx, m, patterns)
		}
	})
	if ok && err == nil && s.acking(nil) {
		ok = s.note(ctx)
	}
	return ext, ok, err
}
