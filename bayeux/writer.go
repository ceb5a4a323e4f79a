package bayeux

import (
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// batch is what the writer has in hand.
type batch struct {
	ready             []*Session
	replies, connects [][]byte
	empties           int
	farewell          int
	number            uint32
}

// grab takes what is to be written; ok is false when there is nothing, and the
// writer has ended.
func (c *socket) grab(b *batch) (ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The goodbye waits for publishes that have no outcome yet: settle starts the
	// writer again.
	leaving := c.farewell != 0 && c.inflight == 0
	if c.ended || len(c.ready)+len(c.replies)+len(c.connects)+c.empties == 0 && !leaving {
		c.writing = false
		return false
	}
	b.ready = append(b.ready[:0], c.ready...)
	for _, s := range c.ready {
		if _, is := c.bound[s]; is {
			c.bound[s] = false
		}
	}
	clear(c.ready)
	c.ready = c.ready[:0]
	b.replies, b.connects, b.empties, b.farewell = c.replies, c.connects, c.empties, c.farewell
	c.replies, c.connects, c.empties, c.waiting = nil, nil, 0, 0
	c.room.Signal()
	c.pings.batch++
	b.number = c.pings.batch
	return true
}

// write is the writer: it goes on as long as there is something.
func (c *socket) write() {
	defer c.writers.Done()
	defer c.server.guard("writer", c.abort)
	var b batch
	var ds []*Delivery
	for c.grab(&b) {
		var err error
		if ds, err = c.writeBatch(&b, ds[:0]); err != nil {
			c.server.stalled(err)
			c.abort()
			return
		}
		clear(ds)
		for _, s := range b.ready {
			if s.claim(c) {
				c.feed(s)
			}
		}
		if b.farewell != 0 && c.idle() {
			c.part(b.farewell)
			return
		}
	}
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
	return len(c.ready)+len(c.replies)+len(c.connects) == 0 && c.inflight == 0
}

// writeBatch writes one frame: deliveries of all ready sessions, replies, connect
// replies.
func (c *socket) writeBatch(b *batch, ds []*Delivery) ([]*Delivery, error) {
	size, half := 0, false
	for _, s := range b.ready {
		if size >= frameJoin {
			c.wake(s) // in the next frame
			continue
		}
		had := len(ds)
		if s.acking(c) {
			ds = c.answerHeld(b, s, ds)
			for _, d := range ds[had:] {
				size += d.Size()
			}
			continue
		}
		var more, far bool
		ds, more, far = s.take(ds, c, b.number, frameJoin-size)
		for _, d := range ds[had:] {
			size += d.Size()
		}
		half = half || far
		if more {
			c.wake(s)
		}
	}
	var frame []byte
	switch {
	case len(ds) == 1 && len(b.replies)+len(b.connects) == 0:
		frame = ds[0].frame
	case len(ds)+len(b.replies)+len(b.connects) > 0:
		frame = append(joinAll(append(make([]byte, 0, size+256), '['), ds, b.replies, b.connects), ']')
	}
	if err := c.send(frame); err != nil {
		return ds, err
	}
	for range b.empties {
		if err := c.send([]byte("[]")); err != nil {
			return ds, err
		}
	}
	if len(ds) > 0 {
		c.server.stats.wrote(ds)
		return ds, c.ping(b.number, half)
	}
	return ds, nil
}

// answerHeld answers the connect that is held for a session with the ack extension, with
// what there is, which goes no other way.
func (c *socket) answerHeld(b *batch, s *Session, ds []*Delivery) []*Delivery {
	had := len(ds)
	ds, a := s.takeHeld(ds, c)
	if a.held == nil {
		return ds
	}
	if a.unsure && !s.note(c.ctx) {
		ds, a.number = ds[:had], 0
	}
	b.connects = append(b.connects, reply{m: a.held.m, clientID: s.id, advice: a.held.advice, ack: a.number}.encode())
	return ds
}

func (c *socket) send(frame []byte) error {
	if len(frame) == 0 {
		return nil
	}
	now := time.Now()
	c.inWrite(now)
	defer c.inWrite(time.Time{})
	_ = c.conn.SetWriteDeadline(now.Add(c.server.writeTime(len(frame))))
	c.server.stats.deliveredBytes.Add(int64(len(frame)))
	return c.conn.WriteMessage(websocket.TextMessage, frame)
}

// inWrite notes since when the writer is in a write.
func (c *socket) inWrite(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sending = since
}

// say sends a close frame.
func (c *socket) say(code int, text string) {
	_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}
