package clock

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// maxLead bounds how far new epochs may push the store's ms ahead of the wall
// clock. Every new epoch takes a ms of its own, so without a bound whoever makes
// 5,000 logs a second would push the clock ahead by 4 s each second, and every
// interval ("the last hour") would stretch by it.
const maxLead = 1000

// Clock is the ms of one store.
type Clock struct {
	now func() time.Time

	// last is the newest ms drawn; written by whoever draws.
	last atomic.Int64
	// told is the greatest ms that Settled has returned: nothing is drawn below it.
	told atomic.Int64

	// owned by whoever draws

	// floor is at least the ms of every record of a log that the store knows
	// nothing of any more (swept, deleted, fallen out of memory).
	floor int64
	// wall is the greatest ms that the wall clock has shown.
	wall int64

	mu sync.Mutex // makes Begin and Settled see each other whole
	// begun is a ms below which nothing is drawn until Settle, 0 while all that was
	// drawn is settled; written under mu.
	begun atomic.Int64
}

// New returns a clock that reads now and draws nothing at or below mark, in ms.
func New(now func() time.Time, mark int64) *Clock {
	c := &Clock{now: now, floor: mark, wall: mark}
	c.last.Store(mark)
	return c
}

// Now returns the store's clock: the wall clock, but not before the newest
// record. Times are measured in it so that a wall clock that was set back does
// not make what is just being published invisible.
func (c *Clock) Now() time.Time {
	now := c.now()
	if least := max(c.last.Load(), c.told.Load()); now.UnixMilli() < least {
		return time.UnixMilli(least)
	}
	return now
}

// Begin says that what is drawn from now on is not settled until Settle. Doing it
// again before changes nothing. Called by whoever draws, before.
func (c *Clock) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun.Load() == 0 {
		c.begun.Store(c.Now().UnixMilli())
	}
}

// Settle says that all that was drawn has been announced. Called by whoever draws.
func (c *Clock) Settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun.Store(0)
}

// Settled returns a time up to which everything is settled: what is settled later
// has this ms or a greater one. It does not go back, and stands still between Begin
// and Settle.
func (c *Clock) Settled() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ms := c.Now().UnixMilli()
	if begun := c.begun.Load(); begun != 0 {
		ms = begun
	}
	c.told.Store(ms) // Now and begun are not below what was told before
	return time.UnixMilli(ms)
}

// Last returns the newest ms drawn.
func (c *Clock) Last() int64 { return c.last.Load() }

// Next draws the ms of a record: the wall clock, never backwards.
func (c *Clock) Next() int64 {
	ms := max(c.look(), c.last.Load())
	c.last.Store(ms)
	return ms
}

// look reads the wall clock, but not below what is promised to Settled's callers.
func (c *Clock) look() int64 {
	ms := c.now().UnixMilli()
	c.wall = max(c.wall, ms)
	return max(ms, c.told.Load(), c.begun.Load())
}

// After draws a ms greater than that of p.
func (c *Clock) After(p store.Position) int64 {
	ms := max(c.look(), c.last.Load(), p.MS()+1)
	c.last.Store(ms)
	return ms
}

// Epoch draws the ms of a new epoch: greater than any ms drawn before. When new
// epochs come faster than one a ms and have used up maxLead, it is only greater than prev, the log's own newest
// position (zero if unknown), and than every position of a log that was
// forgotten; so no position of one log can ever be issued twice or out of order.
func (c *Clock) Epoch(prev store.Position) int64 {
	now, last := c.look(), c.last.Load()
	ms := max(now, last+1)
	if ms-c.wall > maxLead {
		ms = max(now, last, c.floor+1, prev.MS()+1)
	}
	c.last.Store(ms)
	return ms
}

// Forget says that the newest ms of some log is about to be forgotten.
func (c *Clock) Forget(ms int64) { c.floor = max(c.floor, min(ms, c.last.Load())) }
