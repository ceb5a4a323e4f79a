package bayeux

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// read takes frames until the connection ends. It has a deadline for the first frame
// and for each that has begun; of silence between frames tick takes care. It waits
// with as few calls on the stack as can be: with some 200 bytes more, the runtime
// would leave each idle reader a stack of 8 KiB instead of 4.
func (c *socket) read() {
	defer c.finish()
	v := c.server
	_ = c.conn.SetReadDeadline(time.Now().Add(firstMessage))
	c.conn.SetPongHandler(func(payload string) error {
		c.ponged(payload)
		return nil
	})
	c.conn.SetPingHandler(func(payload string) error {
		c.enqueue(func() { c.pongDue, c.pong = true, payload })
		return nil
	})
	c.mu.Lock()
	c.pings.heard = time.Now()
	c.timer = time.AfterFunc(v.options.Ping, c.tick)
	c.mu.Unlock()
	for {
		c.conn.SetReadLimit(c.frameLimit()) // Reload may have changed it
		var frame []byte
		_, r, err := c.conn.NextReader()
		if err == nil {
			frame, err = c.frame(r)
		}
		if err != nil {
			c.unreadable(err)
			return
		}
		v.stats.receivedBytes.Add(int64(len(frame)))
		c.heard(true)
		ok := c.carryOut(frame)
		c.rest()
		c.heard(false)
		if !ok {
			return
		}
	}
}

// unreadable tells the peer why its frame is not taken, where that is its fault.
func (c *socket) unreadable(err error) {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, websocket.ErrReadLimit): // gorilla has sent 1009
		c.server.stats.refuse(refuseLarge)
	case errors.Is(err, errInflated):
		c.server.stats.refuse(refuseInflated)
		c.say(websocket.CloseMessageTooBig, "too large when inflated")
	case errors.As(err, &corrupt):
		c.server.stats.refuse(refuseMalformed)
		c.say(websocket.CloseInvalidFramePayloadData, "not deflate")
	default:
		return
	}
	c.linger()
}

// errInflated: what a frame holds is larger than a frame may be. Gorilla's limit is on
// the bytes that come (security.md §6).
var errInflated = errors.New("bayeux: frame too large when inflated")

// frameLimit is how many bytes a frame may have (decided.md 2).
func (c *socket) frameLimit() int64 { return int64(c.server.limits().Message + frameSlack) }

// frame reads one frame, text or binary alike, into a buffer that is good until rest.
func (c *socket) frame(r io.Reader) ([]byte, error) {
	c.body = bodies.Get().(*bytes.Buffer)
	// In pieces of a byte a minute it would hold its buffer for ever.
	c.readBy(time.Now().Add(bodyRead + time.Duration(c.frameLimit())*time.Second/slowest))
	if c.deflates {
		r = io.LimitReader(r, c.frameLimit()+1)
	}
	if _, err := c.body.ReadFrom(r); err != nil {
		return nil, err
	}
	if c.deflates && int64(c.body.Len()) > c.frameLimit() {
		return nil, errInflated
	}
	c.readBy(time.Time{})
	return c.body.Bytes(), nil
}

// readBy sets the read deadline, unless the goodbye has been said: then it stays.
func (c *socket) readBy(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		_ = c.conn.SetReadDeadline(deadline)
	}
}

// linger lets a peer that is still sending read the close frame: a connection that
// is closed with bytes unread is reset, and what was sent last is lost.
func (c *socket) linger() {
	raw := c.conn.NetConn()
	_ = raw.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.CopyN(io.Discard, raw, 4*c.frameLimit())
}

// bodies lends the buffers of frames and replies, so that an idle socket holds none.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// mostPooled is the largest buffer that is lent again.
const mostPooled = 64 << 10

// rest gives the frame's buffer back.
func (c *socket) rest() {
	giveBody(c.body)
	c.body = nil
}

// giveBody gives a buffer of bodies back.
func giveBody(b *bytes.Buffer) {
	if b.Cap() <= mostPooled {
		b.Reset()
		bodies.Put(b)
	}
}
