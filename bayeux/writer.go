package bayeux

import (
	"bytes"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// batch is what the writer has in hand.
type batch struct {
	ready        []*Session
	connects     [][]byte
	replies      *bytes.Buffer // nil: none
	joined       [1][]byte     // their bytes
	empties      int
	farewell     int
	pings, pongs bool
	pong         string // the payload
	number       uint32

	// made by compose
	ds     []*Delivery
	frames []byte // to be written: in scratch, or those of a Delivery
	// scratch is used again for each batch.
	scratch []byte
}

// batches lends them, with their scratch, to who writes.
var batches = sync.Pool{New: func() any { return &batch{} }}

// mostScratch is the largest scratch that is kept for the next batch.
const mostScratch = 2 * frameJoin

// clear lets go what is not used again.
func (b *batch) clear() {
	clear(b.ready)
	clear(b.ds)
	b.ready, b.ds = b.ready[:0], b.ds[:0]
	b.connects, b.frames = nil, nil
	if b.replies != nil {
		giveBody(b.replies)
		b.replies, b.joined[0] = nil, nil
	}
	if cap(b.scratch) > mostScratch {
		b.scratch = nil
	}
}

// grab takes what is to be written; ok is false when there is nothing, and the
// writer has ended.
func (c *socket) grab(b *batch) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stay() {
		return false
	}
	b.ds, b.frames = b.ds[:0], nil
	b.ready = append(b.ready[:0], c.ready...)
	for _, s := range c.ready {
		c.bound.taken(s)
	}
	clear(c.ready)
	c.ready = c.ready[:0]
	b.replies, b.connects, b.empties, b.farewell = c.replies, c.connects, c.empties, c.farewell
	c.replies, c.connects, c.empties, c.waiting = nil, nil, 0, 0
	b.pings, b.pongs, b.pong = c.pingDue, c.pongDue, c.pong
	c.pingDue, c.pongDue, c.pong = false, false, ""
	c.room.Signal()
	c.pings.batch++
	b.number, c.inHand = c.pings.batch, true
	return true
}

// stay reports whether there is something to write. If not, the writer has ended. The
// caller holds mu.
func (c *socket) stay() bool {
	c.inHand = false
	// The goodbye waits for publishes that have no outcome yet: settle starts the
	// writer again.
	leaving := c.farewell != 0 && c.inflight == 0
	c.writing = !c.ended && (c.some() || leaving)
	return c.writing
}

// some reports whether there is anything to write but a goodbye. The caller holds mu.
func (c *socket) some() bool { return c.waits() || c.empties > 0 || c.pingDue || c.pongDue }

// waits reports whether deliveries or replies are to be written. The caller holds mu.
func (c *socket) waits() bool { return len(c.ready)+len(c.connects) > 0 || c.replies != nil }

// more is stay for the writer that has written a batch.
func (c *socket) more() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stay()
}

// write is the writer where a write may wait: it goes on as long as there is something.
// b is nil, or a batch that a scribe has begun, with the rest of its frames.
func (c *socket) write(b *batch, rest []byte) {
	defer c.writers.Done()
	defer c.server.guard("writer", c.abort)
	begun := b != nil
	if !begun {
		b = batches.Get().(*batch)
	}
	defer func() {
		b.clear()
		batches.Put(b)
	}()
	for begun || c.grab(b) {
		begun = false
		var err error
		if len(rest) > 0 {
			err = c.line.finish(rest, c.server.writeTime(len(rest)))
			rest = nil
		} else if c.compose(b); len(b.frames) > 0 {
			err = c.line.writeFrames(b.frames, c.server.writeTime(len(b.frames)))
		}
		if err != nil {
			c.broke(err)
			return
		}
		c.wrote(b)
		if b.farewell != 0 && c.idle() {
			c.part(b.farewell)
			return
		}
	}
}

// broke ends a connection that cannot be written to.
func (c *socket) broke(err error) {
	c.server.stalled(err)
	c.abort()
}

// wrote does what follows a batch that is written.
func (c *socket) wrote(b *batch) {
	c.server.stats.deliveredBytes.Add(int64(len(b.frames)))
	c.server.stats.wrote(b.ds)
	for _, s := range b.ready {
		if s.claim(c) {
			c.feed(s)
		}
	}
	b.clear()
}

// feed lets a page of s be read beside the writer, so that a slow store delays only
// those who read from it.
func (c *socket) feed(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.hungry = append(c.hungry, s)
	if !c.pulling {
		c.pulling = true
		c.writers.Add(1)
		go c.pull()
	}
}

// pull is the puller: it reads one page after the other. What a page brings wakes the
// writer, which comes back when there is room for the next.
func (c *socket) pull() {
	defer c.writers.Done()
	defer c.server.guard("puller", c.abort)
	for {
		c.mu.Lock()
		if c.ended || len(c.hungry) == 0 {
			c.pulling, c.hungry = false, nil
			c.mu.Unlock()
			return
		}
		s := c.hungry[0]
		c.hungry = slices.Delete(c.hungry, 0, 1)
		c.mu.Unlock()
		if s.pull(c.ctx, c) && s.wanting(c) {
			c.wake(s)
		}
	}
}

// part says goodbye and leaves the peer a moment to say it, too: the reader ends
// then. Nothing else is written or carried out.
func (c *socket) part(code int) {
	c.mu.Lock()
	c.ended = true
	c.room.Broadcast()
	_ = c.conn.SetReadDeadline(time.Now().Add(lingering))
	c.mu.Unlock()
	c.say(code, "")
}

func (c *socket) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.waits() && c.inflight == 0
}

// compose puts the frames of a batch together: one with deliveries of all ready
// sessions, replies and connect replies, then empty answers, then what asks whether it
// has arrived.
func (c *socket) compose(b *batch) {
	half := c.gatherUp(b)
	own := b.scratch[:0]
	var replies [][]byte
	if b.replies != nil {
		b.joined[0] = b.replies.Bytes()
		replies = b.joined[:]
	}
	switch {
	case len(b.ds) == 1 && len(replies)+len(b.connects) == 0:
		b.frames = b.ds[0].wire
		if c.smaller(b.ds) {
			b.frames = b.ds[0].deflated(&c.server.stats).frame
		}
	case c.smaller(b.ds):
		own = append(own, make([]byte, mostHead)...)
		own = c.appendDeflated(own, b.ds, replies, b.connects)
		b.scratch = own
		own = framed(own, mostHead, frameDeflated)
		b.frames = own
	case len(b.ds)+len(replies)+len(b.connects) > 0:
		own = append(own, make([]byte, mostHead)...)
		own = append(joinAll(append(own, '['), b.ds, replies, b.connects), ']')
		b.scratch = own
		own = framed(own, mostHead, frameText)
		b.frames = own
	}
	asks, payload := c.asks(b, half)
	if b.empties == 0 && !asks && !b.pongs {
		return
	}
	if len(own) == 0 {
		own = append(own, b.frames...)
		defer func() { b.scratch = own }()
	}
	for range b.empties {
		own = append(own, frameText, 2, '[', ']')
	}
	if b.pongs {
		own = appendControl(own, framePong, b.pong)
	}
	if asks {
		own = appendControl(own, framePing, strconv.FormatUint(uint64(payload), 10))
	}
	b.frames = own
}

// gatherUp takes the deliveries of the ready sessions, as many as one frame may have.
// half: half of what may be under way to one of them is.
func (c *socket) gatherUp(b *batch) (half bool) {
	size := 0
	for _, s := range b.ready {
		if size >= frameJoin {
			c.wake(s) // in the next frame
			continue
		}
		had := len(b.ds)
		if s.acking(c) {
			c.answerHeld(b, s)
		} else {
			var more, far bool
			b.ds, more, far = s.take(b.ds, c, b.number, frameJoin-size)
			half = half || far
			if more {
				c.wake(s)
			}
		}
		for _, d := range b.ds[had:] {
			size += d.Size()
		}
	}
	return half
}

// takesTime reports whether a batch needs more than to be written: a record, where a session
// has the ack extension, or time for a goodbye.
func (c *socket) takesTime(b *batch) bool {
	return b.farewell != 0 || slices.ContainsFunc(b.ready, func(s *Session) bool { return s.acking(c) })
}

// answerHeld answers the connect that is held for a session with the ack extension, with
// what there is, which goes no other way.
func (c *socket) answerHeld(b *batch, s *Session) {
	had := len(b.ds)
	ds, a := s.takeHeld(b.ds, c)
	b.ds = ds
	if a.held == nil {
		return
	}
	if a.unsure && !s.note(c.ctx) {
		b.ds, a.number = ds[:had], 0
	}
	b.connects = append(b.connects, reply{m: a.held.m, clientID: s.id, advice: a.held.advice, ack: a.number}.encode())
}

// say sends a close frame.
func (c *socket) say(code int, text string) {
	_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}
