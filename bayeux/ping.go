package bayeux

import (
	"strconv"
	"time"
)

// pings are the batches of decided.md 4. What the writer takes at once is a batch;
// a ping carries the number of the last one that was written whole, so that its
// pong says of all up to it, and of nothing more, that they have arrived.
type pings struct {
	batch   uint32    // in the writer's hand, or the last that was
	written uint32    // the last that was written
	pinged  uint32    // the last that a ping asked for
	ponged  uint32    // the last that a pong has answered
	last    time.Time // of the last ping that asked for a batch
	heard   time.Time // when anything came from the peer
	probe   time.Time // when a silent peer was pinged; zero: it was not
}

// asks reports whether a ping follows a batch that is about to be written, and for what
// it asks: after deliveries at most one goes in AckPing, or at once when half of what may
// be under way is (decided.md 4).
func (c *socket) asks(b *batch, half bool) (asks bool, number uint32) {
	if len(b.ds) == 0 && !b.pings {
		return false, 0
	}
	o := &c.server.options
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.pings
	asks = b.pings
	if len(b.ds) > 0 {
		now := time.Now()
		wait, first := o.AckPing-now.Sub(p.last), p.written == p.pinged
		p.written = b.number
		switch {
		case wait <= 0 || half && p.ponged == p.pinged:
			p.ask(now)
			asks = true
		case first: // of what is written after it, the same tick asks
			c.timer.Reset(wait)
		}
	}
	return asks, p.pinged
}

// ask notes a ping for all that was written. The caller holds the socket's mu.
func (p *pings) ask(now time.Time) { p.pinged, p.last = p.written, now }

// ponged: the peer has all up to the ping it answers.
func (c *socket) ponged(payload string) {
	n, err := strconv.ParseUint(payload, 10, 32)
	c.mu.Lock()
	p := &c.pings
	p.heard, p.probe = time.Now(), time.Time{}
	// One that was not asked for, or is told again, tells nothing.
	if err != nil || int32(p.pinged-uint32(n)) < 0 || int32(uint32(n)-p.ponged) <= 0 {
		c.mu.Unlock()
		return
	}
	p.ponged = uint32(n)
	c.mu.Unlock()
	for _, s := range c.sessions() {
		s.arrived(c, uint32(n))
	}
}

// heard gives a peer that spoke its time anew; busy: the reader turns away.
func (c *socket) heard(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
	c.pings.heard, c.pings.probe = time.Now(), time.Time{}
}

// tick is the socket's timer: it pings what was delivered and not yet asked for, and
// a peer that has been silent, and cuts one that stays silent. Who is being read
// from or written to is not judged: that has its own deadlines.
func (c *socket) tick() {
	o := &c.server.options
	now := time.Now()
	c.mu.Lock()
	p := &c.pings
	silent := now.Sub(p.heard) >= o.Ping && !c.busy
	asks := p.pinged != p.written && now.Sub(p.last) >= o.AckPing
	dead := silent && !p.probe.IsZero() && now.Sub(p.probe) >= o.PongWait
	switch {
	case c.ended:
		c.mu.Unlock()
		return
	case c.inHand:
		// A ping would wait for the write.
		if !p.probe.IsZero() {
			p.probe = now
		}
		c.timer.Reset(time.Second)
		c.mu.Unlock()
		return
	case dead:
		c.mu.Unlock()
		c.server.log.Debug("bayeux: connection is silent")
		c.abort()
		return
	case !asks && (!silent || !p.probe.IsZero()):
		c.timer.Reset(c.nextTick(now))
		c.mu.Unlock()
		return
	}
	p.ask(now)
	if silent && p.probe.IsZero() {
		p.probe = now
	}
	c.timer.Reset(c.nextTick(now))
	c.pingDue = true
	c.start()
	c.mu.Unlock()
}

// nextTick is when there is something to ping or to judge. The caller holds mu.
func (c *socket) nextTick(now time.Time) time.Duration {
	o := &c.server.options
	p := &c.pings
	next := p.heard.Add(o.Ping)
	if !p.probe.IsZero() {
		next = p.probe.Add(o.PongWait)
	}
	if c.busy {
		next = now.Add(o.Ping)
	}
	if p.pinged != p.written {
		if due := p.last.Add(o.AckPing); due.Before(next) {
			next = due
		}
	}
	return max(time.Millisecond, next.Sub(now))
}
