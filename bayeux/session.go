package bayeux

import (
	"crypto/rand"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Session is the server's side of one clientId. It outlives its connections:
// they attach, drain its outbox, and leave (architecture.md §2). At most one
// connection serves it at a time.
type Session struct {
	id        string
	server    *Server
	address   *address      // nil without limits by address
	requests  *rate.Limiter // nil: off
	publishes *rate.Limiter // nil: off
	handler   SessionHandler
	began     int64 // in ms since 1970; here, if it lived elsewhere before

	// turn is held while handler is called, so that calls never overlap. It is
	// taken before mu and never while mu is held.
	turn     sync.Mutex
	released bool // handler.Close was called; guarded by turn

	// mu is held for moments only: no callback, no network and no other lock
	// inside it. What follows is guarded by it.
	mu      sync.Mutex
	peer    Peer
	ended   bool
	reason  string        // why it ended
	still   bool          // it has ended, and the outbox is kept until settle is over
	gone    chan struct{} // of a session that moved: closed when settle is over
	out     outbox
	final   [2]uint64 // the outbox's progress when it was let go
	link    link      // nil: away
	awake   bool      // link was told that there is something to send
	held    *held
	replays replays
	yielded chan struct{} // not nil: closed when turn is unlocked
	timer   *time.Timer
	expires time.Time

	connected bool   // a connect was seen
	socket    uint64 // serial of the last socket that carried a connect
	last      uint64 // mark of the last connect, if it came by HTTP; else 0
	replied   bool   // that was answered
	wasTaken  bool   // see abandon
	sequence  sequence
	counts    bool // see Counts
	resends   int
	lone      bool      // the message that resumed it came without company, or by socket
	active    time.Time // when the client last said something but a connect
	resumed   bool      // it was known elsewhere, or before a restart
	acks      acks
}

// link is a connection that serves a session. Its methods are called from any
// goroutine and do not block.
type link interface {
	// wake: the session has something to send. Called without locks.
	wake(s *Session)
	// tell: a message of the server's own goes to the client, before what release
	// answers. Called without locks.
	tell(encoded []byte)
	// release: connect m, held by this link, is to be answered now. Called
	// without locks.
	release(s *Session, m *Message, a *Advice)
	// join and leave: the session is served by this link from now on; it is served
	// elsewhere, or has ended. Called with Session.mu held, so that a session that
	// goes to and fro between two links leaves and joins them in that order.
	join(s *Session)
	leave(s *Session)
}

// held is a connect that waits for its answer.
type held struct {
	m      *Message
	link   link
	until  time.Time
	prompt bool // its link answers it as soon as it is woken; no time is waited for
	advice *Advice
}

const idAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// newID returns 32 letters and digits, 165 bits of crypto/rand: a clientId is a
// bearer secret (security.md §4, 1).
func newID() string {
	id := make([]byte, 0, 32)
	var b [64]byte
	for {
		// Does not fail since Go 1.24.
		_, _ = rand.Read(b[:])
		for _, c := range b {
			// 252 is the largest multiple of 36: no letter is favoured.
			if c < 252 {
				if id = append(id, idAlphabet[c%36]); len(id) == cap(id) {
					return string(id)
				}
			}
		}
	}
}

// ID returns the clientId. It is a secret: it belongs in no log.
func (s *Session) ID() string { return s.id }

// Peer returns from where the last connect came, or the handshake.
func (s *Session) Peer() Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer
}

// SessionState is a session as an operator sees it.
type SessionState struct {
	Peer Peer
	// Away: no connection serves it now.
	Away bool
	// Queued and QueuedBytes wait in its outbox, Unacknowledged were handed to a
	// connection and are not known to have arrived.
	Queued, QueuedBytes, Unacknowledged int
	// Replays are the pullers that it reads from or waits for.
	Replays int
}

// State returns how the session stands now.
func (s *Session) State() SessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SessionState{
		Peer: s.peer, Away: s.link == nil, Queued: s.out.queue.len(), QueuedBytes: s.out.bytes,
		Unacknowledged: len(s.out.sent), Replays: len(s.replays.list),
	}
}

// Deliver queues d for the client; it never blocks and may be called with locks
// of the application held. False: the queue is full and d is kept, so nothing
// was queued, and the caller comes back with a Puller (decided.md 13). One that
// is not kept displaces the oldest that are not kept, which is counted. After the
// end it is dropped, and true; but see Left.
func (s *Session) Deliver(d *Delivery) bool {
	s.mu.Lock()
	if s.ended && !s.still {
		s.mu.Unlock()
		return true
	}
	if !s.out.fits(d, s.server.limits()) {
		if d.kept {
			s.mu.Unlock()
			s.server.stats.lagged.Add(1)
			return false
		}
		dropped := s.out.evict(d, s.server.limits())
		full := !s.out.fits(d, s.server.limits())
		if full {
			dropped++
		}
		s.server.stats.dropped[dropQueue].Add(int64(dropped))
		if full {
			s.mu.Unlock()
			return true
		}
	}
	s.out.push(d)
	var l link
	if s.due() {
		l = s.rouse()
	} else {
		s.linger()
	}
	s.mu.Unlock()
	if l != nil {
		l.wake(s)
	}
	return true
}

// rouse returns the link if it has to be woken. The caller holds mu.
func (s *Session) rouse() link {
	if s.link == nil || s.awake || s.held == nil && s.acksOn(s.link) {
		return nil
	}
	s.awake = true
	return s.link
}

// Close ends the session: a held connect is answered with the advice to
// handshake, and the handler's Close follows on another goroutine, so that Close
// may be called from everywhere. reason is counted; ReasonKicked is the usual one.
// With ReasonMoved, when another server was found to have the session, the advice
// is to connect again.
func (s *Session) Close(reason string) {
	a := s.server.again("handshake")
	if reason == ReasonMoved {
		a = s.server.usual()
	}
	if s.end(reason, a) {
		s.server.spawn(s.settle)
	}
}

// end marks the session as gone and lets go of its connections; the caller sees
// to it that settle follows. It reports whether this call did it.
func (s *Session) end(reason string, a *Advice) bool {
	return s.endFor(Ordinal{}, reason, a) == nil
}

// endFor is end because of a connect elsewhere. ErrLate: a newer one has come here, and
// the session lives on; ErrNoSession: it has ended.
func (s *Session) endFor(o Ordinal, reason string, a *Advice) error {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return ErrNoSession
	}
	if s.overtaken(o) {
		s.mu.Unlock()
		return ErrLate
	}
	if p, polls := s.link.(*poll); polls && o.Mark != 0 && o.Mark == s.last {
		p.severed, a = true, nil // as attach does
	}
	s.ended, s.reason = true, reason
	h, l, stop := s.held, s.link, s.replays.stop
	s.replied = s.replied || h != nil && a != nil && h.m.repeats(s.last) // in a moment
	s.held, s.link, s.replays.list = nil, nil, nil
	s.replays.endTurn()
	if reason == ReasonMoved || reason == ReasonShutdown {
		s.still = true
		s.takeBack()
	} else {
		s.letGo()
	}
	if reason == ReasonMoved {
		s.gone = make(chan struct{})
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	if l != nil {
		l.leave(s)
	}
	transport := s.peer.Transport
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.server.forget(s, transport, reason)
	if h != nil {
		h.link.release(s, h.m, a)
	}
	return nil
}

// letGo frees the outbox of a session that has ended. The caller holds mu.
func (s *Session) letGo() {
	s.final[0], s.final[1] = s.out.progress()
	s.out, s.still = outbox{}, false
}

// void ends a session that was not admitted; false if it has ended already.
func (s *Session) void() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.ended
	s.ended = true
	return first
}

// admit asks the application about a new session. No other call is made meanwhile,
// and Close follows a Close of the session only after it.
func (s *Session) admit(f func() (SessionHandler, error)) (err error) {
	s.turn.Lock()
	defer s.yield()
	s.released = true // until there is a handler; also when f panics
	if s.handler, err = f(); err == nil {
		s.released = false
	}
	return err
}

// settle tells the handler that the session is gone, unless a call on it or a pull
// is under way: then whoever makes that comes by here afterwards.
func (s *Session) settle() {
	s.mu.Lock()
	due := s.ended && !s.replays.pulling
	s.mu.Unlock()
	if !due || !s.turn.TryLock() {
		return
	}
	defer s.yield()
	s.conclude()
}

// conclude is the last call on the handler, and lets the outbox go; it returns what
// that held. The caller holds turn, no Puller is pulled, and the session has ended.
func (s *Session) conclude() (left Left) {
	s.mu.Lock()
	reason := s.reason
	s.mu.Unlock()
	if !s.released {
		s.released = true
		func() {
			defer s.server.guard("handler", func() {})
			s.handler.Close(reason)
		}()
		s.logEnd(reason)
	}
	s.mu.Lock()
	if s.still {
		left = s.left()
		s.letGo()
	}
	s.mu.Unlock()
	if reason == ReasonMoved {
		s.server.settled(s)
	}
	return left
}

// call runs f as one of the handler's calls; false if the session is gone.
func (s *Session) call(f func(h SessionHandler)) bool {
	defer s.settle() // also when f panics
	return s.exclusively(f)
}

func (s *Session) exclusively(f func(h SessionHandler)) bool {
	s.turn.Lock()
	defer s.yield()
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended || s.released {
		return false
	}
	f(s.handler)
	return true
}

// begin starts the clock of a session that was handshaken; false if it has ended.
func (s *Session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.active = time.Now()
	s.expires = s.active.Add(s.server.lifetime())
	s.timer = time.AfterFunc(s.server.lifetime(), s.tick)
	s.arm(s.active)
	return true
}

// tick is the session's only timer: it ends a held connect's time, or the session.
func (s *Session) tick() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	now := time.Now()
	if !now.Before(s.expires) {
		s.mu.Unlock()
		if s.end(ReasonExpired, s.server.again("handshake")) {
			s.server.spawn(s.settle)
		}
		return
	}
	if at, ends := s.inactiveAt(); ends && !now.Before(at) {
		s.mu.Unlock()
		s.endInactive()
		return
	}
	var h *held
	if s.held != nil && !s.held.prompt && !now.Before(s.held.until) {
		h, s.held = s.held, nil
	}
	l := s.endLinger(now)
	s.arm(now)
	s.mu.Unlock()
	if l != nil {
		l.wake(s)
	}
	if h != nil {
		h.link.release(s, h.m, s.server.usual())
	}
}

// arm sets the timer to what comes first. The caller holds mu.
func (s *Session) arm(now time.Time) {
	next := s.expires
	if s.held != nil && !s.held.prompt && s.held.until.Before(next) {
		next = s.held.until
	}
	if at, ends := s.inactiveAt(); ends && at.Before(next) {
		next = at
	}
	if lazy := s.out.lazy.until; !lazy.IsZero() && lazy.Before(next) {
		next = lazy
	}
	s.timer.Reset(next.Sub(now))
}

// take hands deliveries of at most about most bytes to l, appended to ds. more:
// there is more to take. half: half of what may be under way is.
func (s *Session) take(ds []*Delivery, l link, batch uint32, most int) (_ []*Delivery, more, half bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return ds, false, false
	}
	if _, polls := l.(*poll); polls && len(ds) > 0 && s.out.queue.len() > 0 && s.out.queue.at(0).Size() > most {
		s.awake = false
		return ds, false, false // with the next answer
	}
	if s.acksOn(l) {
		s.awake = false
		return s.takeBatch(ds, l, most), false, false
	}
	limits := s.server.limits()
	count, had := math.MaxInt, len(ds)
	p, polls := l.(*poll)
	if polls && p.bounded {
		count = p.rest
		defer func() { p.rest -= len(ds) - had }()
	}
	ds = s.out.take(ds, l, batch, most, count, limits)
	// With the window shut there is no use in waking l: arrived does.
	s.awake = s.out.queue.len() > 0
	more = s.awake && !s.out.shut(s.out.queue.at(0).Size(), limits)
	return ds, more, s.out.halfway(limits)
}

// arrived: the peer of l has what was sent up to the ping batch.
func (s *Session) arrived(l link, batch uint32) {
	s.mu.Lock()
	if s.out.sentBy == l && !s.acks.on {
		s.out.arrived(batch)
	}
	var wake link
	if s.link == l && !s.acks.on && s.due() {
		s.awake, wake = true, l
	}
	s.mu.Unlock()
	if wake != nil {
		wake.wake(s)
	}
}

// releaseHeld answers a held connect with a, whatever link holds it.
func (s *Session) releaseHeld(a *Advice) {
	s.mu.Lock()
	h := s.held
	s.held = nil
	s.mu.Unlock()
	if h != nil {
		h.link.release(s, h.m, a)
	}
}
