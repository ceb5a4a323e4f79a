package bayeux

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"go.uber.org/zap"
)

// replays are the Pullers of a session, in order: the first activeReplays are
// read in turn, the others wait. It is guarded by the session's mu.
type replays struct {
	list    []*replay
	turn    int
	pulling bool               // a goroutine reads one
	stop    context.CancelFunc // of that
	idle    chan struct{}      // not nil: closed when that is over
	paused  int                // nothing is read while so many look at it
	claimed link               // is about to read one
	handing *turn              // of what was read and is not written yet; nil: none
	slow    bool               // that took long the last time
}

type replay struct {
	puller Puller
	rest   time.Time // not to be read before
}

func (r *replays) empty() bool { return len(r.list) == 0 }

// untilIdle returns what is closed when the read under way is over; nil if none is.
func (r *replays) untilIdle() <-chan struct{} {
	if r.pulling && r.idle == nil {
		r.idle = make(chan struct{})
	}
	return r.idle
}

// next returns the replay whose turn it is; nil if all rest.
func (r *replays) next(now time.Time) *replay {
	active := min(activeReplays, len(r.list))
	for range active {
		r.turn++
		if p := r.list[r.turn%active]; !now.Before(p.rest) {
			return p
		}
	}
	return nil
}

func (r *replays) remove(p *replay) {
	for i, q := range r.list {
		if q == p {
			r.list = append(r.list[:i:i], r.list[i+1:]...)
			return
		}
	}
}

// Replay adds a source that is read whenever the queue has room and a connection
// serves the session (decided.md 13, 14). What it yields is queued in order. At
// most two are read in turn, the others wait for one to end. It never blocks.
// False: too many wait, and p will not be read; the session cannot be served any
// more without a loss, so the caller closes it.
func (s *Session) Replay(p Puller) bool {
	s.mu.Lock()
	if s.ended || len(s.replays.list) == waitingReplays {
		full := !s.ended
		s.mu.Unlock()
		if full {
			s.server.stats.dropped[dropReplay].Add(1)
			s.server.log.Warn("bayeux: replay refused, too many are waiting", zap.Int("most", waitingReplays))
		}
		return !full
	}
	s.replays.list = append(s.replays.list, &replay{puller: p})
	l := s.rouse()
	s.mu.Unlock()
	if l != nil {
		l.wake(s)
	}
	return true
}

// wanting reports whether l should pull now.
func (s *Session) wanting(l link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wants(l)
}

// wants is wanting for those who hold mu.
func (s *Session) wants(l link) bool {
	if s.ended || s.link != l || s.replays.pulling || s.replays.paused > 0 || s.replays.empty() {
		return false
	}
	_, room := s.out.room(s.server.limits())
	return room
}

// claim is wanting for a link that has written and pulls later: true once, until it does.
func (s *Session) claim(l link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handedOn()
	if s.replays.claimed == l || !s.wants(l) {
		return false
	}
	s.replays.claimed = l
	return true
}

// pull reads one page of one replay into the queue, for l, if there is room. It
// blocks on the store and is called without locks. It reports whether l should
// look at the queue again.
func (s *Session) pull(ctx context.Context, l link) bool {
	if ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	if s.replays.claimed == l {
		s.replays.claimed = nil
	}
	limit, room := s.out.room(s.server.limits())
	if s.ended || s.link != l || s.replays.pulling || s.replays.paused > 0 || !room {
		s.mu.Unlock()
		return false
	}
	p := s.replays.next(time.Now())
	if p == nil {
		s.mu.Unlock()
		return false
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	s.replays.pulling, s.replays.stop = true, stop
	s.replays.endTurn() // who holds one waits for none
	slow := s.replays.slow
	s.mu.Unlock()

	var ds []*Delivery
	var t *turn
	err := errors.New("bayeux: replay: interrupted")
	defer func() { s.pulled(ctx, p, ds, t, err) }() // also when the Puller panics
	if ds, err = s.server.readPage(reading, p.puller, limit); len(ds) > 0 {
		t = s.server.turns.take(reading, slow)
		// Pages follow each other from goroutine to goroutine on this core's own queue, which
		// the scheduler serves before the queue of all, where those are whose peers have sent
		// something: with a thousand late joiners who publishes waited for 300 ms. So each page
		// goes behind those.
		runtime.Gosched()
	}
	// With l gone there is no more to do for it: it would come back at once.
	return ctx.Err() == nil
}

// readPage reads a page, of which only so many are read at once.
func (v *Server) readPage(ctx context.Context, p Puller, limit int) ([]*Delivery, error) {
	select {
	case v.pulls <- struct{}{}:
		defer func() { <-v.pulls }()
		return p.Pull(ctx, limit)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// pulled queues what a pull brought, to be handed on in its turn.
func (s *Session) pulled(ctx context.Context, p *replay, ds []*Delivery, t *turn, err error) {
	s.mu.Lock()
	s.replays.pulling, s.replays.stop, s.replays.handing = false, nil, t
	if s.replays.idle != nil {
		close(s.replays.idle)
		s.replays.idle = nil
	}
	if !s.ended || s.still {
		for _, d := range ds {
			s.out.push(d)
		}
		s.handedOn() // if its peer has to say first what it has
	}
	if s.ended {
		s.replays.endTurn()
		s.mu.Unlock()
		s.settle()
		return
	}
	rests := false
	switch {
	case errors.Is(err, io.EOF):
		s.replays.remove(p)
		err = nil
	case ctx.Err() != nil:
		err = nil // the connection went, not the source
	case err != nil || len(ds) == 0:
		p.rest = time.Now().Add(pullAgain)
		rests = true
	}
	// Another link may have come meanwhile, and waits.
	l := s.rouse()
	s.mu.Unlock()
	if l != nil {
		l.wake(s)
	}
	if err != nil {
		s.server.log.Warn("bayeux: replay: will be tried again", zap.Error(err))
	}
	if rests {
		time.AfterFunc(pullAgain, s.nudge)
	}
}

// nudge makes the link look at the replays again.
func (s *Session) nudge() {
	s.mu.Lock()
	var l link
	if !s.replays.empty() {
		l = s.rouse()
	}
	s.mu.Unlock()
	if l != nil {
		l.wake(s)
	}
}
