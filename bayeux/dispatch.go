package bayeux

import (
	"context"
	"errors"
	"net/http"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/gobelin-broker/gobelin/channels"
)

// exchange is how the answers to a frame or request go back. reply and settle
// are called from any goroutine; the rest by the one that dispatches.
type exchange interface {
	// reply answers one message.
	reply(encoded []byte)
	// begin: a publish of n bytes is on its way to the application.
	begin(n int)
	// settle answers what was begun.
	settle(n int, a outcome)
	// refuseConnect answers a connect that is not held; it goes last.
	refuseConnect(encoded []byte)
	// unable: the connect m of s, which is nil if it is not here, cannot be served just now. It
	// shall seem lost, so that its client sends it again as it is, perhaps to another
	// server: a new one would say that it has had the last answer (decided.md 4). What is
	// returned is false if it is to be left unanswered.
	unable(s *Session, m *Message) (answer bool)
	// connect binds the session of a connect that was admitted.
	connect(s *Session, m *Message)
	// pending is how many bytes of replies wait to be written.
	pending() int
	// leaving: a session says goodbye. What that leads to goes back together, when
	// the result is called; gone: it has ended.
	leaving() func(gone bool)
	// overloaded: what is answered is refused by e, because too much goes on here.
	overloaded(e *Error)
	// lone: a connect that asks for no time says that the last answer was lost.
	lone() bool
}

// dispatch carries out one message; its answer goes to x, now or later. peer is
// where it came from, its transport the one in use.
func (v *Server) dispatch(ctx context.Context, x exchange, peer Peer, m *Message) {
	v.stats.received.Add(1)
	m.readTimesync()
	var s *Session
	if m.ClientID != "" && m.kind != kindHandshake {
		s, _ = v.Session(m.ClientID)
	}
	if !v.throttle(ctx, s, peer, m) {
		return
	}
	s.touch(m)
	switch {
	case m.fault != nil:
		v.refuse(x, m, m.fault, refuseMessage)
		return
	case m.Error != "":
		// Extensions refuse so: it is echoed and not carried out.
		v.answerError(x, m, m.Error, v.again("handshake"))
		return
	}
	// Twice, if the session moves while its message is on the way to it.
	for range 2 {
		if s == nil {
			var done bool
			if s, done = v.elsewhere(ctx, x, peer, m); done {
				return
			}
		}
		if !v.act(ctx, x, s, peer, m) {
			return
		}
		s = nil
	}
	v.refuse(x, m, &Error{Code: 503, Text: "Service unavailable"}, refuseHandler)
}

// act carries out a message of s, nil if it names none or none that lives; moved:
// nothing was done or answered, because the session has gone elsewhere.
func (v *Server) act(ctx context.Context, x exchange, s *Session, peer Peer, m *Message) (moved bool) {
	switch m.kind {
	case kindHandshake:
		v.handshake(ctx, x, peer, m)
	case kindConnect:
		v.connect(ctx, x, s, m)
	case kindSubscribe, kindUnsubscribe:
		return v.subscribe(ctx, x, s, m)
	case kindDisconnect:
		return v.disconnect(x, s, m)
	default:
		v.publish(ctx, x, s, peer, m)
	}
	return false
}

// throttle waits until the rates allow the message; false if ctx ended first.
// The connection is read slower, nothing is refused (security.md §3).
func (v *Server) throttle(ctx context.Context, s *Session, peer Peer, m *Message) bool {
	var requests, publishes *rate.Limiter
	if s != nil {
		requests, publishes = s.requests, s.publishes
	} else if a := v.addresses.get(peer.Addr); a != nil {
		r := a.rates.Load()
		requests, publishes = r.requests, r.publishes
	}
	if m.kind != kindPublish {
		publishes = nil
	}
	for _, l := range [...]*rate.Limiter{requests, publishes} {
		if l == nil || l.Allow() {
			continue
		}
		v.stats.throttled.Add(1)
		if l.Wait(ctx) != nil {
			return false
		}
	}
	return true
}

// refuse answers m with e, counted under reason.
func (v *Server) refuse(x exchange, m *Message, e *Error, reason int) {
	v.stats.refuse(reason)
	v.answerError(x, m, e.Error(), v.adviceFor(e))
}

// answerError is the failed reply to m; the advice is for those that have one.
func (v *Server) answerError(x exchange, m *Message, text string, a *Advice) {
	r := reply{m: m, err: text}
	switch m.kind {
	case kindHandshake:
		r.advice, r.types = a, v.options.Transports
	case kindConnect:
		r.advice = a
		x.refuseConnect(r.encode())
		return
	default:
		r.clientID = m.ClientID
	}
	x.reply(r.encode())
}

// failure is what the peer hears of an error of the application: an *Error word
// for word, all else is logged and shown as 500.
func (v *Server) failure(what string, err error) *Error {
	v.stats.refuse(refuseHandler)
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	v.log.Error("bayeux: request failed", zap.String("call", what), zap.Error(err))
	return &Error{Code: 500, Text: "Internal server error"}
}

// refuseFailure answers m with an error of the application.
func (v *Server) refuseFailure(x exchange, m *Message, what string, err error) {
	e := v.failure(what, err)
	v.answerError(x, m, e.Error(), v.adviceFor(e))
}

// offered reports whether a connection type may be used.
func (v *Server) offered(t string) bool {
	for _, o := range v.options.Transports {
		if o == t {
			return true
		}
	}
	return false
}

func (v *Server) handshake(ctx context.Context, x exchange, peer Peer, m *Message) {
	e := v.checkHandshake(m)
	reason := refuseMessage
	var address *address
	if e == nil {
		address, e, reason = v.admit(ctx, peer)
	}
	if e != nil {
		if reason == refuseBusy || reason == refuseQueues {
			x.overloaded(e)
		}
		v.refuse(x, m, e, reason)
		return
	}
	defer v.admission.leave()
	s := v.newSession(peer, address)
	admitted := false
	defer func() { // also when the Handler panics
		if admitted {
			return
		}
		if s.void() {
			address.leave()
		}
		s.settle()
	}()
	err := s.admit(func() (SessionHandler, error) { return v.handler.Handshake(ctx, s, m) })
	if err != nil {
		v.refuseFailure(x, m, "handshake", err)
		return
	}
	admitted = true
	v.stats.handshakes.Add(1)
	s.mu.Lock()
	s.acks.on = m.wantsAck() && !v.options.NoAck
	s.sequence.shake = m.number()
	s.mu.Unlock()
	v.remember(s)
	x.reply(reply{m: m, clientID: s.id, advice: v.usual(), types: v.options.Transports, ext: v.options.HandshakeExt, grants: s.acks.on}.encode())
}

func (v *Server) checkHandshake(m *Message) *Error {
	if m.SupportedConnectionTypes == nil {
		return errMissing("supportedConnectionTypes")
	}
	if m.Version == "" {
		return errMissing("version")
	}
	for _, t := range m.SupportedConnectionTypes {
		if v.offered(t) {
			return nil
		}
	}
	return &Error{Code: 301, Args: m.SupportedConnectionTypes, Text: "Connection types not supported"}
}

// admit applies the limits on handshakes. Without an error the caller has a place,
// which admission.leave gives back.
func (v *Server) admit(ctx context.Context, peer Peer) (*address, *Error, int) {
	if v.draining.Load() {
		return nil, &Error{Code: 503, Text: "Service unavailable"}, refuseStopping
	}
	if v.queuesFull() {
		return nil, &Error{Code: 503, Text: "Too much waits for others", Advice: v.again("retry")}, refuseQueues
	}
	a := v.addresses.get(peer.Addr)
	if a != nil && !a.mayHandshake() {
		return nil, &Error{Code: 429, Text: "Too many handshakes", Advice: v.again("handshake")}, refuseRate
	}
	if v.admission.enter(ctx, handshakes) {
		return nil, v.busy(handshakes), refuseBusy
	}
	if a != nil && !a.enter(v.limits().SessionsPerAddr) {
		v.admission.leave()
		return nil, &Error{Code: 429, Text: "Too many sessions", Advice: v.again("handshake")}, refuseSessions
	}
	return a, nil, 0
}

// connect admits a connect; the exchange holds it.
func (v *Server) connect(ctx context.Context, x exchange, s *Session, m *Message) {
	// Of several causes Faye tells the last one (bayeux-faye.md §4).
	switch {
	case m.ConnectionType == "":
		v.refuse(x, m, errMissing("connectionType"), refuseMessage)
		return
	case !v.offered(m.ConnectionType):
		v.refuse(x, m, &Error{Code: 301, Args: []string{m.ConnectionType}, Text: "Connection types not supported"}, refuseMessage)
		return
	case m.ClientID == "":
		v.refuse(x, m, errMissing("clientId"), refuseMessage)
		return
	}
	if s == nil {
		v.unknown(x, m)
		return
	}
	var err error
	if !s.call(func(h SessionHandler) { err = h.Connect(ctx, m) }) {
		v.unserved(x, s, m)
		return
	}
	if err != nil {
		v.refuseConnect(x, s, m, v.failure("connect", err))
		return
	}
	x.connect(s, m)
}

// passes reports whether the same message may be carried out in a moment: the store is away,
// or did not say what became of a write (decided.md 3).
func (e *Error) passes() bool {
	return e.Code == http.StatusServiceUnavailable || e.Code == http.StatusGatewayTimeout
}

// refuseConnect refuses a connect of s, or of a session that is not here.
func (v *Server) refuseConnect(x exchange, s *Session, m *Message, e *Error) {
	x.overloaded(e)
	if e.passes() && !x.unable(s, m) {
		return
	}
	v.answerError(x, m, e.Error(), v.adviceFor(e))
}

// unknown refuses a message whose session is not here.
func (v *Server) unknown(x exchange, m *Message) {
	v.refuse(x, m, errUnknownClient(m.ClientID), refuseUnknown)
}

// unserved answers a connect whose session has ended since it was looked up. If its
// client may go on elsewhere, it is as if it had been held and let go. One that asks again
// for an answer that was lost is refused, so that it comes again where the session is now:
// after any answer the next connect would say that the lost one arrived.
func (v *Server) unserved(x exchange, s *Session, m *Message) {
	reason, again := s.ending(), s.asked(m, x.lone())
	if again && (reason == ReasonMoved || reason == ReasonShutdown) {
		v.refuseConnect(x, s, m, &Error{Code: 503, Text: "Service unavailable"})
		return
	}
	switch reason {
	case ReasonMoved:
		x.refuseConnect(reply{m: m, clientID: s.id, advice: v.usual()}.encode())
	case ReasonShutdown:
		x.refuseConnect(reply{m: m, clientID: s.id, advice: v.again("retry")}.encode())
	default:
		v.unknown(x, m)
	}
}

func (v *Server) subscribe(ctx context.Context, x exchange, s *Session, m *Message) (moved bool) {
	switch {
	case m.ClientID == "":
		v.refuse(x, m, errMissing("clientId"), refuseMessage)
		return false
	case s == nil:
		v.unknown(x, m)
		return false
	}
	patterns, e := v.subscription(m)
	if e != nil {
		v.refuse(x, m, e, refuseMessage)
		return false
	}
	ext, ok, err := s.subscribe(ctx, m, patterns)
	switch {
	case !ok && s.ending() == ReasonMoved:
		return true
	case !ok:
		v.unknown(x, m)
	case err != nil:
		v.refuseFailure(x, m, m.ChannelText[len("/meta/"):], err)
	default:
		x.reply(reply{m: m, clientID: s.id, ext: ext}.encode())
	}
	return false
}

// subscription checks what a subscribe or unsubscribe names.
func (v *Server) subscription(m *Message) ([]channels.Pattern, *Error) {
	if m.Subscription == nil {
		return nil, errMissing("subscription")
	}
	if len(m.Subscription) > v.limits().SubscriptionList {
		return nil, &Error{Code: 400, Args: []string{"subscription"}, Text: "Malformed message"} // as decode
	}
	return v.patterns(m.Subscription)
}

// patterns checks a list of names; the first bad one refuses the whole list.
func (v *Server) patterns(names []string) ([]channels.Pattern, *Error) {
	patterns := make([]channels.Pattern, 0, len(names))
	for _, name := range names {
		p, err := channels.ParsePattern(name)
		if err != nil || !v.limits().allow(name) {
			return nil, ErrInvalidChannel(name)
		}
		if reserved(name, "/meta") || reserved(name, "/service") {
			return nil, ErrForbidden(name)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

func (v *Server) disconnect(x exchange, s *Session, m *Message) (moved bool) {
	if m.ClientID == "" {
		v.refuse(x, m, errMissing("clientId"), refuseMessage)
		return false
	}
	gone := false
	together := x.leaving()
	defer func() { together(gone) }()
	switch {
	case s != nil && s.end(ReasonDisconnect, v.never()):
	case s != nil && s.ending() == ReasonMoved:
		return true
	default:
		v.unknown(x, m)
		return false
	}
	s.settle()
	x.reply(reply{m: m, clientID: s.id}.encode())
	gone = true
	return false
}

// publish hands a message to the application, in order, and lets the reply
// follow when the outcome is known. /service channels are between a client and the
// server: what the application answers goes back with the reply.
func (v *Server) publish(ctx context.Context, x exchange, s *Session, peer Peer, m *Message) {
	switch {
	case m.kind == kindMeta:
		v.refuse(x, m, ErrForbidden(m.ChannelText), refuseMessage)
		return
	case m.Data == nil:
		v.refuse(x, m, errMissing("data"), refuseMessage)
		return
	case m.Channel.IsZero():
		v.refuse(x, m, ErrInvalidChannel(m.ChannelText), refuseMessage)
		return
	case reserved(m.ChannelText, "/service") && x.pending() > mostAnswers:
		v.refuse(x, m, &Error{Code: 429, Args: []string{m.ChannelText}, Text: "Too much is asked at once"}, refuseRate)
		return
	}
	n := m.size
	x.begin(n)
	done := func(ack Ack, err error) {
		a := outcome{reply: reply{m: m, clientID: m.ClientID, ext: ack.Ext}}
		switch {
		case err != nil:
			a.ext, a.err = nil, v.failure("publish", err).Error()
		case reserved(m.ChannelText, "/service"):
			a.data = ack.Data
		default:
			v.stats.published.Add(1)
		}
		x.settle(n, a)
	}
	if s != nil && s.call(func(h SessionHandler) { h.Publish(ctx, m, done) }) {
		return
	}
	v.handler.Publish(ctx, peer, m, done)
}
