package bayeux

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// turns bounds how many sessions hand on what a replay has brought at the same time,
// over all connections: with a thousand late joiners each of them would have a writer
// that is ready to run, and what is live would wait behind all of those. So there are
// as many as keep the cores busy, in the order in which they asked, a page each.
type turns chan struct{}

// turnTime is how long a turn lasts. Whoever has not written his page by then is waiting
// for his peer: he lets the next one go, and holds no turn for the next page.
const turnTime = 20 * time.Millisecond

func newTurns() turns { return make(turns, 2*runtime.GOMAXPROCS(0)) }

// turn is one page that is being handed on.
type turn struct {
	began time.Time

	mu    sync.Mutex
	of    turns       // nil: it is given back
	timer *time.Timer // that gives it back
}

// take waits for a turn. With slow it is given back at once. nil: ctx ended before.
func (ts turns) take(ctx context.Context, slow bool) *turn {
	select {
	case ts <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	t := &turn{began: time.Now(), of: ts}
	if slow {
		t.giveBack()
		return t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(turnTime, t.giveBack)
	return t
}

func (t *turn) giveBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != nil {
		<-t.of
		t.of = nil
	}
}

// end is called when the page has been written, or will not be; slow says that it took
// long. A nil turn has ended.
func (t *turn) end() (slow bool) {
	if t == nil {
		return false
	}
	t.mu.Lock()
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	t.giveBack()
	return time.Since(t.began) >= turnTime
}

// handedOn is called when what there was has been queued, or written: the turn ends, unless there is
// more that may be written now. What waits until the peer says that it has the rest needs
// no turn. The caller holds mu.
func (s *Session) handedOn() {
	if s.replays.handing == nil {
		return
	}
	if s.out.queue.len() == 0 || s.out.shut(s.out.queue.at(0).Size(), s.server.limits()) {
		s.replays.endTurn()
	}
}

// endTurn ends the turn that there is, if there is one. The caller holds the session's mu.
func (r *replays) endTurn() {
	if r.handing != nil {
		r.slow = r.handing.end()
		r.handing = nil
	}
}
