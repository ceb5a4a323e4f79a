package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// Publishers push on the queue; what is above is refused at once.
	maxQueued      = 10_000
	maxQueuedBytes = 64 << 20
	// submitOverhead is roughly what a record costs on the heap beside its data.
	submitOverhead = 64
	// A flight takes at most so many submits and bytes: they share its fate.
	maxFlight      = 256
	maxFlightBytes = 4 << 20
	// maxLook bounds how far behind a busy log the queue is searched for others.
	maxLook = 1024
	// clusterLanes is into how many lanes the partitions of a cluster are laid, so
	// that one primary that hangs does not hold up all.
	clusterLanes = 16
	// expireEvery is how exactly PublishTimeout is kept while a flight is out.
	expireEvery = 50 * time.Millisecond
	// grace is how much longer a flight that is out may answer for itself.
	grace = 100 * time.Millisecond
	// sayEvery is how often at most the log says that submits were refused.
	sayEvery = time.Minute
)

// submit is one call of Submit on its way.
type submit struct {
	log      store.LogName
	limits   store.Limits
	records  []store.Record
	bytes    int
	done     func(store.Appended, error)
	deadline time.Time

	out store.Appended // set by the committer

	settled bool // guarded by lane.mu
}

// gather takes what publishers submit at the same time and writes it together
// (store.md §3.1: one call that carries many records costs a fraction).
type gather struct {
	s     *Store
	lanes []*lane

	// Of all lanes, and unsettled.
	records, bytes atomic.Int64
	refused        atomic.Uint64
}

// lane is one queue with its committer. A log always takes the same.
type lane struct {
	s     *Store
	g     *gather
	short time.Duration // an attempt with less time than that is not worth beginning
	wake  chan struct{} // holds one token while submits may be waiting
	end   chan struct{} // closed when the committer has ended

	said time.Time // owned by the committer: when refusals were last logged

	mu      sync.Mutex
	closed  bool
	waiting []*submit // in the order of the calls of Submit
	flying  []*submit // taken by the committer, not all of them settled
	doubt   bool      // an attempt to write flying is out, or its outcome unknown
}

// newGather returns the gather of a store; start starts its committers.
func newGather(s *Store) *gather {
	g := &gather{s: s}
	n := 1
	if s.cluster {
		n = clusterLanes
	}
	for range n {
		g.lanes = append(g.lanes, &lane{
			s: s, g: g, short: min(grace, s.options.PublishTimeout/20),
			wake: make(chan struct{}, 1), end: make(chan struct{}),
		})
	}
	return g
}

func (g *gather) start() {
	for _, l := range g.lanes {
		go l.commit()
	}
}

// close refuses what is submitted from now on and waits until what was submitted is
// settled, PublishTimeout and a little at most.
func (g *gather) close() {
	for _, l := range g.lanes {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.signal()
	}
	for _, l := range g.lanes {
		<-l.end
	}
}

// push puts u into the queue of its log.
func (g *gather) push(u *submit) error {
	l := g.lanes[partition(u.log.Feed)*len(g.lanes)/partitions]
	if err := g.s.open(); err != nil {
		g.refused.Add(1)
		return err
	}
	u.deadline = time.Now().Add(g.s.options.PublishTimeout)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return store.ErrClosed
	}
	records, bytes := g.records.Load(), g.bytes.Load()
	if records > 0 && (records+int64(len(u.records)) > maxQueued || bytes+u.cost() > maxQueuedBytes) {
		g.refused.Add(1)
		return fmt.Errorf("%d records waiting, %d bytes: %w", records, bytes, store.ErrUnavailable)
	}
	g.records.Add(int64(len(u.records)))
	g.bytes.Add(u.cost())
	l.waiting = append(l.waiting, u)
	l.signal()
	return nil
}

func (u *submit) cost() int64 { return int64(u.bytes + submitOverhead*len(u.records)) }

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// commit is the committer: the next flight goes when the one before is settled.
func (l *lane) commit() {
	defer close(l.end)
	for {
		l.expire(time.Now().Add(l.short)) // too late to send
		calls := l.take()
		if len(calls) == 0 {
			l.mu.Lock()
			over := l.closed && len(l.waiting) == 0
			l.mu.Unlock()
			if over {
				return
			}
			<-l.wake
			continue
		}
		stop := l.expiring()
		l.fly(calls)
		stop()
		l.say()
	}
}

// take takes the next flight from the queue: at most one call for each log, so that
// its order is kept whichever calls have to be sent again.
func (l *lane) take() []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.flying)
	l.flying = l.flying[:0]
	var calls []*call
	byLog := make(map[store.LogName]*call, min(len(l.waiting), maxFlight))
	left, bytes, seen := l.waiting[:0], 0, 0
	for _, u := range l.waiting {
		if len(l.flying) == maxFlight || seen == maxLook || bytes > 0 && bytes+u.bytes > maxFlightBytes {
			break
		}
		seen++
		c, there := byLog[u.log]
		if there && (c == nil || !c.joins(u)) {
			byLog[u.log] = nil // nor what follows in this log
			left = append(left, u)
			continue
		}
		if !there {
			c = &call{log: u.log, limits: u.limits}
			byLog[u.log] = c
			calls = append(calls, c)
		}
		c.join(u)
		bytes += u.bytes
		l.flying = append(l.flying, u)
	}
	left = append(left, l.waiting[seen:]...)
	clear(l.waiting[len(left):])
	l.waiting = left
	l.doubt = false
	return calls
}

// expiring settles what its publisher has waited for long enough while a flight is
// out, until stop is called, which waits for what is under way.
func (l *lane) expiring() (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	over := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(expireEvery, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			l.expire(time.Now())
			timer.Reset(expireEvery)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}

// expire settles what waits since PublishTimeout. What was never sent was not
// written; of what was, nobody knows.
func (l *lane) expire(now time.Time) {
	var unsent, unknown []*submit
	l.mu.Lock()
	n := 0
	for n < len(l.waiting) && !now.Before(l.waiting[n].deadline) {
		n++
	}
	if n > 0 {
		unsent = append(unsent, l.waiting[:n]...)
		l.waiting = append(l.waiting[:0:0], l.waiting[n:]...)
	}
	for _, u := range l.flying {
		if !u.settled && !now.Before(u.deadline.Add(grace)) {
			u.settled = true // by what is known now: it does not go with the next attempt
			unknown = append(unknown, u)
		}
	}
	if !l.doubt {
		unsent, unknown = append(unsent, unknown...), nil
	}
	for _, u := range unsent {
		u.settled = true
	}
	l.mu.Unlock()
	for _, u := range unsent {
		l.finish(u, fmt.Errorf("redis: append: not sent in time: %w", store.ErrUnavailable))
	}
	for _, u := range unknown {
		l.finish(u, fmt.Errorf("redis: append: not answered in time: %w", store.ErrUncertain))
	}
}

// settle calls done, once.
func (l *lane) settle(u *submit, err error) {
	l.mu.Lock()
	first := !u.settled
	u.settled = true
	l.mu.Unlock()
	if first {
		l.finish(u, err)
	}
}

// finish calls done for who has set settled.
func (l *lane) finish(u *submit, err error) {
	l.g.records.Add(-int64(len(u.records)))
	l.g.bytes.Add(-u.cost())
	if err != nil {
		u.done(store.Appended{}, err)
		return
	}
	u.done(u.out, nil)
}

func (l *lane) settleCall(c *call, err error) {
	for _, u := range c.submits {
		l.settle(u, err)
	}
}

// open returns the calls somebody still waits for, and the last time anybody does.
func (l *lane) open(calls []*call) (open []*call, last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range calls {
		waits := false
		for _, u := range c.submits {
			if !u.settled {
				waits = true
				last = latest(last, u.deadline)
			}
		}
		if waits {
			open = append(open, c)
		}
	}
	return open, last
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// board returns the calls of an attempt that is about to be made. Who was told meanwhile
// that his submit was not written is taken from a call that certainly has not been done.
func (l *lane) board(calls []*call) (all []*call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range calls {
		if !c.doubt {
			c.leave(func(u *submit) bool { return u.settled })
		}
		if len(c.submits) > 0 {
			all = append(all, c)
		}
	}
	l.doubt = true
	return all
}

// setDoubt says whether an attempt is out, or the outcome of one unknown.
func (l *lane) setDoubt(doubt bool) {
	l.mu.Lock()
	l.doubt = doubt
	l.mu.Unlock()
}

// say logs refusals, seldom.
func (l *lane) say() {
	if l.g.refused.Load() == 0 || time.Since(l.said) < sayEvery {
		return
	}
	if n := l.g.refused.Swap(0); n > 0 {
		l.said = time.Now()
		l.s.log.Warn("redis: publishes refused: too many were waiting, or the server did not answer", zap.Uint64("refused", n))
	}
}

// fly writes the calls and settles them, sending again what may be sent again.
func (l *lane) fly(calls []*call) {
	for attempt := 0; ; attempt++ {
		var last time.Time
		if calls, last = l.open(calls); len(calls) == 0 {
			return
		}
		if !time.Now().Add(l.short).Before(last) {
			l.late(calls)
			return
		}
		pause(attempt, last)
		if err := l.s.open(); err != nil {
			l.setDoubt(l.refuse(calls, err))
			continue
		}
		if calls = l.board(calls); len(calls) == 0 {
			l.setDoubt(false)
			return
		}
		ctx, cancel := context.WithDeadline(context.Background(), last.Add(l.short))
		now := l.s.clock.Now().UnixMilli()
		outcomes := l.s.send(ctx, calls, attempt > 0)
		doubt := false
		for i, c := range calls {
			if c.first == 0 {
				c.first = now
			}
			l.land(c, outcomes[i])
			doubt = doubt || c.doubt
		}
		l.setDoubt(doubt)
		cancel()
	}
}

// refuse settles the calls that were certainly not written, while the breaker is
// open. Those in doubt wait for the server, or their time; it reports whether there
// are any.
func (l *lane) refuse(calls []*call, err error) (doubt bool) {
	for _, c := range calls {
		if !c.doubt {
			l.settleCall(c, fmt.Errorf("redis: append: %w", err))
		}
		doubt = doubt || c.doubt
	}
	return doubt
}

// late settles what nobody waits for any more.
func (l *lane) late(calls []*call) {
	for _, c := range calls {
		kind := store.ErrUnavailable
		if c.doubt {
			kind = store.ErrUncertain
		}
		err := fmt.Errorf("redis: append: %w", kind)
		if c.err != nil {
			err = fmt.Errorf("redis: append: %w: %w", kind, c.err)
		}
		l.settleCall(c, err)
	}
}

// land settles a call by the outcome of an attempt, or leaves it to the next one.
func (l *lane) land(c *call, o outcome) {
	err := o.err
	if err == nil {
		if err = c.spread(o.answer); err == nil {
			l.s.clock.saw(c.newest)
			err = o.short
		}
		if err != nil {
			err = fmt.Errorf("redis: append: %w", err)
		}
		l.settleCall(c, err)
		return
	}
	c.err = err
	switch {
	case doubtful(err):
		c.doubt = true
		if c.limits.Keeps() {
			return
		}
		err = fmt.Errorf("%w: %w", store.ErrUncertain, err)
	case passing(err):
		return
	case c.doubt && refusal(err) != "OOM":
		// OOM comes after the search for what an earlier attempt has written.
		err = fmt.Errorf("%w: %w", store.ErrUncertain, err)
	default:
		err = storeError(err)
	}
	l.settleCall(c, fmt.Errorf("redis: append: %w", err))
}

// pause waits a little before an attempt, longer from one to the next; the first two
// go at once.
func pause(attempt int, last time.Time) {
	d := min(time.Duration(attempt-1)*25*time.Millisecond, 100*time.Millisecond, time.Until(last)+time.Millisecond)
	if d > 0 {
		<-time.After(d)
	}
}
