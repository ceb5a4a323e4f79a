package bayeux

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// admission bounds how many sessions are made or taken up at once, so that a storm of
// clients neither starves what is delivered meanwhile nor the store (security.md §3,
// §5.3 R13). Who finds no place waits in one of two lines, each served in the order in
// which its clients came; those who resume go first, but not for ever.
type admission struct {
	mu sync.Mutex
	// guarded by mu
	most   int // at once
	line   int // waiting, in each line
	inside int
	lines  [comings]comers
	ahead  int // how many who resume were let in since one who shakes hands was
}

// coming is how a client comes.
type coming int

const (
	resumes coming = iota
	handshakes
	comings
)

// Fixed numbers of admission.
const (
	// mostAhead is how many who resume may pass one who waits to shake hands.
	mostAhead = 3
	// admissionWait is how long one waits for a place: clients give a request up after
	// 10 s.
	admissionWait = 8 * time.Second
)

// comers is one line of them, the first first.
type comers struct {
	waiters []*waiter
	head    int
	left    int // those of them that have given up
}

// waiter is one who waits.
type waiter struct {
	place chan struct{} // closed when it has a place
	since time.Time
	gone  bool // it has given up; guarded by admission.mu
}

// renew takes over the limits.
func (a *admission) renew(l *Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most, a.line = l.Handshakes, l.HandshakesWaiting
	a.advance()
}

// enter waits for a place, which leave gives back. refused is true if there is none:
// too many wait, or it waited too long, or ctx ended.
func (a *admission) enter(ctx context.Context, how coming) (refused bool) {
	a.mu.Lock()
	if a.inside < a.most {
		a.inside++
		a.mu.Unlock()
		return false
	}
	l := &a.lines[how]
	if l.len() >= a.line {
		a.mu.Unlock()
		return true
	}
	w := &waiter{place: make(chan struct{}), since: time.Now()}
	l.waiters = append(l.waiters, w)
	a.mu.Unlock()
	patience := time.NewTimer(admissionWait)
	defer patience.Stop()
	select {
	case <-w.place:
		return false
	case <-patience.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-w.place: // in the same moment
		return false
	default:
	}
	w.gone = true
	l.left++
	return true
}

// leave gives a place back, to who is next.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inside--
	a.advance()
}

// advance lets in as many as there are places for: while anybody waits, none is free.
// The caller holds mu.
func (a *admission) advance() {
	for a.inside < a.most {
		how := resumes
		if a.lines[resumes].len() == 0 || a.ahead >= mostAhead && a.lines[handshakes].len() > 0 {
			how = handshakes
		}
		w := a.lines[how].pop()
		if w == nil {
			return
		}
		if a.ahead++; how == handshakes {
			a.ahead = 0
		}
		a.inside++
		close(w.place)
	}
}

// waiting is how many wait.
func (a *admission) waiting() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(a.lines[resumes].len() + a.lines[handshakes].len())
}

// pause is what one who was refused is told to wait, in ms: as pause, but the longer the
// longer the first one in line has waited, so that a storm spreads over the time that it
// takes.
func (a *admission) pause(how coming) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	span := int64(pauseMost - pauseLeast)
	if first := a.lines[how].first(); first != nil {
		span = max(span, 2*time.Since(first.since).Milliseconds())
	}
	return pauseLeast + rand.Int64N(span)
}

func (l *comers) len() int { return len(l.waiters) - l.head - l.left }

// first returns the first who has not given up, nil if nobody waits.
func (l *comers) first() *waiter {
	for ; l.head < len(l.waiters); l.head++ {
		if w := l.waiters[l.head]; !w.gone {
			return w
		}
		l.waiters[l.head] = nil
		l.left--
	}
	l.waiters, l.head = nil, 0
	return nil
}

// pop takes the first out of the line.
func (l *comers) pop() *waiter {
	w := l.first()
	if w == nil {
		return nil
	}
	l.waiters[l.head] = nil
	if l.head++; l.head > len(l.waiters)/2 {
		n := copy(l.waiters, l.waiters[l.head:])
		clear(l.waiters[n:])
		l.waiters, l.head = l.waiters[:n], 0
	}
	return w
}

// busy is the refusal of one who finds no place.
func (v *Server) busy(how coming) *Error {
	advice := v.again("retry")
	advice.Interval = v.admission.pause(how)
	return &Error{Code: 503, Text: "Too many clients at once", Advice: advice, reason: refuseBusy}
}
