package redis

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// measureEach is how often the clock is compared with the primary's.
	measureEach = 10 * time.Second
	// maxHold bounds for how long Now stands still instead of going back.
	maxHold = time.Second
)

// clock is the store's clock: the primary's, by an offset to a local one that no
// setting of the machine's clock moves (store.md §3.10).
type clock struct {
	base  time.Time // read once; local time is base and what has passed since
	times func(context.Context) (earliest, latest time.Time, err error)

	offset atomic.Int64 // ns from local to the primary's
	newest atomic.Int64 // ms of the newest position seen
	last   atomic.Int64 // ns, what Now returned at most
}

// newClock returns a clock that times sets: it asks the primary for its time.
func newClock(times func(context.Context) (earliest, latest time.Time, err error)) *clock {
	return &clock{base: time.Now(), times: times}
}

func (c *clock) local() int64 { return c.base.UnixNano() + int64(time.Since(c.base)) }

// Now returns the store's time, never before the newest position seen. When the
// primary's clock turns out to be behind by less than maxHold it stands still until
// that is made up for; by more, it goes back.
func (c *clock) Now() time.Time {
	now := max(c.local()+c.offset.Load(), c.newest.Load()*int64(time.Millisecond))
	for {
		last := c.last.Load()
		if last > now && last-now < int64(maxHold) {
			return time.Unix(0, last)
		}
		if c.last.CompareAndSwap(last, now) {
			return time.Unix(0, now)
		}
	}
}

// saw tells that a record has the time ms.
func (c *clock) saw(ms int64) {
	for {
		newest := c.newest.Load()
		if ms <= newest || c.newest.CompareAndSwap(newest, ms) {
			return
		}
	}
}

// measure compares with the primary's clock. What it says is of some moment of the round
// trip, so what is known already, at first the machine's own clock, is moved only as far as
// it cannot be right: a trip of seconds, through a network that stalls, says little. It
// returns how far the machine's own is behind.
func (c *clock) measure(ctx context.Context) (skew time.Duration, err error) {
	before := c.local()
	// Of a cluster's primaries the latest: no record may be ahead of Now.
	_, remote, err := c.times(ctx)
	if err != nil {
		return 0, err
	}
	at := remote.UnixNano()
	c.offset.Store(min(max(c.offset.Load(), at-c.local()), at-before))
	return time.Until(remote), nil
}

// run measures until ctx ends. That it cannot is told by Health; only a clock that
// has wandered off is worth a line.
func (c *clock) run(ctx context.Context, log *zap.Logger) {
	each := time.NewTicker(measureEach)
	defer each.Stop()
	warned := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-each.C:
		}
		skew, err := c.measure(ctx)
		if err != nil {
			continue
		}
		far := skew.Abs() > warnSkew
		if far && !warned {
			log.Warn("redis: this machine's clock and that of Redis differ: set both by NTP", zap.Duration("skew", skew))
		}
		warned = far
	}
}
