package bayeux

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// request is the exchange of one HTTP request: its answer is one array, with
// deliveries first, then replies, then what answers a connect
// (bayeux-cometd.md §0.1).
type request struct {
	server *Server
	peer   Peer
	alone  bool // one message only

	mu       sync.Mutex
	replies  [][]byte
	connects [][]byte
	open     int           // publishes under way
	settled  chan struct{} // closed at the last one, once somebody waits

	// owned by the request's goroutine
	polls []*poll
	// after is not 0 if a session could not be made or taken up just now: how many
	// seconds later to try again.
	after int64
}

// poll is the link of one connect that came by HTTP. It serves its session until
// the request is answered.
type poll struct {
	session *Session
	request *request
	m       *Message
	woken   chan struct{}
	answer  chan *Advice // nil: there is nobody to answer
	held    bool
	took    []*Delivery // for the answer
	// bounded: it repeats a connect that was answered, and so is answered as that was,
	// with rest more of what was sent then.
	bounded bool
	rest    int
	severed bool                   // no answer goes there any more; guarded by the session's mu
	advice  *Advice                // of the answer
	parked  atomic.Pointer[parked] // nil: the request's goroutine waits
}

func (p *poll) wake(*Session) {
	select {
	case p.woken <- struct{}{}:
	default:
	}
	p.rouse()
}

func (p *poll) release(_ *Session, _ *Message, a *Advice) {
	select {
	case p.answer <- a:
	default:
	}
	p.rouse()
}

// rouse tells who waits for p without a handler to look.
func (p *poll) rouse() {
	if k := p.parked.Load(); k != nil {
		k.rouse()
	}
}

func (p *poll) tell(encoded []byte) { p.request.reply(encoded) }

func (p *poll) join(*Session) {}

func (p *poll) leave(*Session) {}

func (x *request) reply(encoded []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.replies = append(x.replies, encoded)
}

func (x *request) pending() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.replies {
		n += len(r)
	}
	return n
}

func (x *request) begin(int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open++
}

func (x *request) settle(_ int, a outcome) {
	encoded := a.append(make([]byte, 0, a.size()))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.replies = append(x.replies, encoded)
	if x.open--; x.open == 0 && x.settled != nil {
		close(x.settled)
		x.settled = nil
	}
}

func (x *request) refuseConnect(encoded []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.connects = append(x.connects, encoded)
}

// unable: overloaded has seen to that.
func (x *request) unable(*Session, *Message) bool { return true }

func (x *request) leaving() func(bool) { return func(bool) {} }

func (x *request) overloaded(e *Error) {
	if e.Code != http.StatusServiceUnavailable {
		return
	}
	x.after = 1
	if e.Advice != nil {
		x.after = max(1, (e.Advice.Interval+999)/1000)
	}
}

func (x *request) lone() bool { return x.alone }

func (x *request) connect(s *Session, m *Message) {
	a := arrival{m: m, peer: x.peer, transport: x.peer.Transport, alone: x.alone}
	if m.ConnectionType == "eventsource" {
		a.transport = m.ConnectionType
		if !s.keep(a) {
			x.server.unserved(x, s, m)
			return
		}
		x.refuseConnect(reply{m: m, clientID: s.id, advice: x.server.streaming()}.encode())
		return
	}
	p := &poll{session: s, request: x, m: m, woken: make(chan struct{}, 1), answer: make(chan *Advice, 1)}
	a.link = p
	if x.alone && !x.server.draining.Load() {
		a.hold = x.server.holdFor(m)
	}
	now, ok := s.attach(a)
	if !ok {
		x.server.unserved(x, s, m)
		return
	}
	p.held = !now
	x.polls = append(x.polls, p)
}

// holdFor is how long a connect may be held: what the client asks for, at most the
// server's own time (security.md §3).
func (v *Server) holdFor(m *Message) time.Duration {
	if m.AdviceTimeout >= 0 {
		return min(ms(m.AdviceTimeout), v.options.Timeout)
	}
	return v.options.Timeout
}

// wait returns when every publish of the request has its outcome, or the peer has
// gone.
func (x *request) wait(ctx context.Context) {
	x.mu.Lock()
	if x.open == 0 {
		x.mu.Unlock()
		return
	}
	settled := make(chan struct{})
	x.settled = settled
	x.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// carryOut dispatches the messages of a request, as far as nothing is held; gone is true
// when the peer went before that.
func (v *Server) carryOut(ctx context.Context, x *request, messages []*Message) (gone bool) {
	for _, m := range messages {
		v.dispatch(ctx, x, x.peer, m)
	}
	x.wait(ctx)
	return ctx.Err() != nil && x.unsettled()
}

// collect waits for what held connects are answered with, and returns the answer; gone is
// true when the peer went before there was one. there ends when the peer goes, ctx also
// when the server has stopped.
func (v *Server) collect(ctx, there context.Context, x *request) (answer []byte, gone bool) {
	for _, p := range x.polls {
		a, gone := v.await(ctx, there, p)
		if gone {
			return nil, true
		}
		p.advice = a
	}
	return v.conclude(ctx, x)
}

// conclude returns the answer of a request of which every connect has its advice.
func (v *Server) conclude(ctx context.Context, x *request) (answer []byte, gone bool) {
	var ds []*Delivery
	for _, p := range x.polls {
		r := p.session.answers(p)
		if r.severed {
			return nil, true
		}
		if r.unsure && !p.session.note(ctx) {
			r.carries, r.number = false, 0
		}
		if r.carries {
			ds = append(ds, p.took...)
		}
		x.refuseConnect(reply{m: p.m, clientID: p.session.id, advice: p.advice, ack: r.number}.encode())
	}
	v.stats.wrote(ds)
	return x.encode(ds), false
}

// answers: the answer of p is about to be written. carries tells whether with what p
// took: that may have gone to another connection meanwhile, or elsewhere with the
// session. From now on a connect may say that it has arrived.
func (s *Session) answers(p *poll) (r polled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.severed:
		return polled{severed: true}
	case s.out.sentBy == p:
		s.out.answered, s.replied, r.carries = true, true, true
		r.unsure = s.unsure(p.took)
	default:
		s.replied = s.replied || p.m.repeats(s.last)
		r.carries = s.ended && s.reason != ReasonMoved && s.reason != ReasonShutdown
	}
	r.number = s.number(p)
	return r
}

// polled is what the answer to a poll brings.
type polled struct {
	carries bool   // what the poll took
	severed bool   // nobody is there to be answered
	number  uint64 // of the ack extension; 0: none
	unsure  bool   // the handler has to be told first
}

// unsettled reports whether a publish has no outcome yet.
func (x *request) unsettled() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.open > 0
}

// abandon: the answer did not go out.
func (x *request) abandon() {
	for _, p := range x.polls {
		p.session.detach(p)
	}
}

func (x *request) encode(ds []*Delivery) []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	size := 2
	for _, d := range ds {
		size += d.Size()
	}
	for _, list := range [...][][]byte{x.replies, x.connects} {
		for _, r := range list {
			size += len(r) + 1
		}
	}
	b := append(make([]byte, 0, size), '[')
	b = joinAll(b, ds, x.replies, x.connects)
	x.server.stats.deliveredBytes.Add(int64(len(b)))
	return append(b, ']')
}

// joinAll appends deliveries, replies and connect replies with commas between.
func joinAll(b []byte, ds []*Delivery, replies, connects [][]byte) []byte {
	first := len(b)
	sep := func() {
		if len(b) > first {
			b = append(b, ',')
		}
	}
	for _, d := range ds {
		sep()
		b = append(b, d.Bytes()...)
	}
	for _, r := range replies {
		sep()
		b = append(b, r...)
	}
	for _, r := range connects {
		sep()
		b = append(b, r...)
	}
	return b
}

// await collects what a connect's answer carries. A held one waits until there is
// something, its time is up, it is released, or the peer goes. That the server stops
// is no reason by itself: Shutdown ends all sessions, which releases it.
func (v *Server) await(ctx, there context.Context, p *poll) (a *Advice, gone bool) {
	a = v.usual()
	if v.draining.Load() {
		a = v.again("retry")
	}
	if !p.held {
		v.fill(ctx, p)
		return a, there.Err() != nil
	}
	v.stats.polls.Add(1)
	defer v.stats.polls.Add(-1)
	for {
		if p.session.isDue() {
			v.fill(ctx, p)
		}
		if len(p.took) > 0 {
			p.session.unhold(p)
			return a, false
		}
		select {
		case <-p.woken:
		case a = <-p.answer:
			if a == nil {
				return nil, true
			}
			// What came in the same moment goes along.
			v.fill(ctx, p)
			return a, false
		case <-there.Done():
			return a, true
		}
	}
}

// fill takes what is queued, and reads replays, until the answer is full or there
// is nothing more.
func (v *Server) fill(ctx context.Context, p *poll) {
	size := 0
	for size < v.limits().Response {
		had := len(p.took)
		p.took, _, _ = p.session.take(p.took, p, 0, v.limits().Response-size)
		for _, d := range p.took[had:] {
			size += d.Size()
		}
		if !p.bounded && p.session.wanting(p) && p.session.pull(ctx, p) {
			continue
		}
		if len(p.took) == had {
			break
		}
	}
}

// unhold: the connect is being answered.
func (s *Session) unhold(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil && s.held.link == l {
		s.held = nil
	}
}

// finish: the answer went out; whether it arrived shows the next connect.
func (s *Session) finish(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replays.endTurn()
	if s.link == l {
		s.link, s.awake = nil, false
	}
}
