package bayeux

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
)

// socket is one WebSocket: the exchange of all frames that come on it and the link
// of all sessions that connected on it. One goroutine reads; one writes, and exists
// only while there is something to write.
type socket struct {
	server *Server
	conn   *websocket.Conn
	peer   Peer
	serial uint64
	ctx    context.Context
	cancel context.CancelFunc

	// owned by the reader
	body bytes.Buffer

	mu       sync.Mutex
	room     *sync.Cond // signalled when the reader may go on
	writing  bool       // the writer runs
	ended    bool
	replies  [][]byte
	connects [][]byte // they go last
	waiting  int      // bytes of both
	empties  int      // empty frames to answer
	ready    []*Session
	bound    map[*Session]bool // true: among ready
	served   bool              // a session was bound once
	inflight int               // publishes under way
	flying   int               // their bytes
	farewell int               // close code to send when all is written; 0: none
	pings    pings
	timer    *time.Timer
	writers  sync.WaitGroup
}

// pings are the batches of decided.md 4: a pong tells that all that was written
// before its ping has arrived.
type pings struct {
	batch    uint32    // of what is written now
	unpinged bool      // something of batch was written
	awaited  bool      // a pong is due
	last     time.Time // of the last ping
	heard    time.Time // when anything came from the peer
}

func (v *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if v.draining.Load() || !v.offered("websocket") {
		v.stats.refuse(refuseStopping)
		plain(w, http.StatusServiceUnavailable)
		return
	}
	if !v.originAllowed(r) {
		v.foreign(w)
		return
	}
	peer := v.peer(r, "websocket")
	conn, err := v.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	c := &socket{server: v, conn: conn, peer: peer, serial: v.serials.Add(1), bound: map[*Session]bool{}}
	c.room = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancel(v.ctx)
	v.mu.Lock()
	if v.stopped {
		v.mu.Unlock()
		_ = conn.Close()
		return
	}
	v.sockets[c] = struct{}{}
	v.mu.Unlock()
	v.stats.sockets.Add(1)
	defer c.close()
	defer v.guard("socket", c.abort)
	c.read()
}

// close is the reader's last act: what was on its way waits for the next
// connection.
func (c *socket) close() {
	c.abort()
	c.writers.Wait()
	v := c.server
	v.mu.Lock()
	delete(v.sockets, c)
	v.mu.Unlock()
	v.stats.sockets.Add(-1)
	c.mu.Lock()
	bound := make([]*Session, 0, len(c.bound))
	for s := range c.bound {
		bound = append(bound, s)
	}
	clear(c.bound)
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	for _, s := range bound {
		s.detach(c)
	}
}

// abort cuts the connection; the reader then closes up.
func (c *socket) abort() {
	c.mu.Lock()
	c.ended = true
	c.room.Broadcast()
	c.mu.Unlock()
	c.cancel()
	_ = c.conn.Close()
}

// read takes frames until the connection ends.
func (c *socket) read() {
	v := c.server
	limit := int64(v.options.Limits.Message + frameSlack)
	c.conn.SetReadLimit(limit)
	_ = c.conn.SetReadDeadline(time.Now().Add(firstMessage))
	c.conn.SetPongHandler(func(payload string) error {
		c.pong(payload)
		return nil
	})
	c.mu.Lock()
	c.pings.heard = time.Now()
	c.timer = time.AfterFunc(v.options.Ping, c.tick)
	c.mu.Unlock()
	for {
		kind, frame, err := c.frame()
		if err != nil {
			if errors.Is(err, websocket.ErrReadLimit) {
				v.stats.refuse(refuseLarge) // gorilla has sent 1009
			}
			return
		}
		if kind != websocket.TextMessage && kind != websocket.BinaryMessage {
			continue
		}
		c.heard()
		v.stats.receivedBytes.Add(int64(len(frame)))
		ok := c.carryOut(frame)
		c.rest()
		if !ok {
			return
		}
	}
}

// frame reads one frame into a pooled buffer, which rest gives back.
func (c *socket) frame() (int, []byte, error) {
	kind, r, err := c.conn.NextReader()
	if err != nil {
		return 0, nil, err
	}
	if _, err := c.body.ReadFrom(r); err != nil {
		return 0, nil, err
	}
	return kind, c.body.Bytes(), nil
}

// rest lets go of a large buffer, so that an idle socket holds little.
func (c *socket) rest() {
	if c.body.Cap() > 4<<10 {
		c.body = bytes.Buffer{}
		return
	}
	c.body.Reset()
}

// carryOut handles one frame; false closes the connection.
func (c *socket) carryOut(frame []byte) bool {
	v := c.server
	messages, err := decode(frame, &v.options.Limits)
	switch {
	case errors.Is(err, errUTF8):
		v.stats.refuse(refuseUTF8)
		c.say(websocket.CloseInvalidFramePayloadData, "not UTF-8")
		return false
	case errors.Is(err, errBatch):
		v.stats.refuse(refuseBatch)
		c.reply(refusedWhole(413, "Too many messages"))
		return true
	case err != nil:
		v.stats.refuse(refuseMalformed)
		c.reply(refusedWhole(400, "Malformed message"))
		return true
	}
	if len(messages) == 0 {
		c.enqueue(func() { c.empties++ })
		return true
	}
	for _, m := range messages {
		if !c.await() {
			return false
		}
		v.dispatch(c.ctx, c, c.peer, m)
	}
	return true
}

// await blocks the reader while too much is under way.
func (c *socket) await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ended && (c.inflight >= inflightMessages || c.waiting >= pendingReplies || c.flying > c.server.options.Limits.Body) {
		c.room.Wait()
	}
	return !c.ended
}

// enqueue changes what is to be written and sees to it that it is.
func (c *socket) enqueue(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	change()
	c.start()
}

// start runs the writer unless it runs. The caller holds mu.
func (c *socket) start() {
	if c.writing || c.ended {
		return
	}
	c.writing = true
	c.writers.Add(1)
	go c.write()
}

func (c *socket) reply(encoded []byte) {
	c.enqueue(func() { c.replies, c.waiting = append(c.replies, encoded), c.waiting+len(encoded) })
}

func (c *socket) refuseConnect(encoded []byte) {
	c.enqueue(func() { c.connects, c.waiting = append(c.connects, encoded), c.waiting+len(encoded) })
}

func (c *socket) begin(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight++
	c.flying += n
}

func (c *socket) settle(n int, encoded []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight--
	c.flying -= n
	c.room.Signal()
	if c.ended {
		return
	}
	c.replies, c.waiting = append(c.replies, encoded), c.waiting+len(encoded)
	c.start()
}

func (c *socket) connect(s *Session, m *Message) {
	v := c.server
	c.mu.Lock()
	if _, is := c.bound[s]; !is && len(c.bound) >= socketSessions {
		c.mu.Unlock()
		v.refuse(c, m, &Error{Code: 403, Text: "Too many sessions on one connection"}, refuseSocket)
		return
	}
	if _, is := c.bound[s]; !is {
		c.bound[s] = false
	}
	c.served = true
	c.mu.Unlock()
	if m.ConnectionType == "eventsource" {
		// It asks for nothing but to be kept.
		if s.keep(arrival{m: m, link: c, peer: c.peer, transport: m.ConnectionType, socket: c.serial}) {
			c.refuseConnect(reply{m: m, clientID: s.id, advice: v.streaming()}.encode())
			return
		}
		v.unknown(c, m)
		return
	}
	now, ok := s.attach(arrival{m: m, link: c, peer: c.peer, transport: "websocket", hold: v.holdFor(m), socket: c.serial})
	switch {
	case !ok:
		c.leave(s)
		v.unknown(c, m)
	case now:
		c.release(s, m, v.usual())
	}
}

// disconnected closes the connection once the goodbye is written, unless it serves
// other sessions.
func (c *socket) disconnected(*Session) {
	c.enqueue(func() {
		if c.served && len(c.bound) == 0 {
			c.farewell = websocket.CloseNormalClosure
		}
	})
}

func (c *socket) wake(s *Session) {
	c.enqueue(func() {
		if queued, is := c.bound[s]; is && !queued {
			c.bound[s] = true
			c.ready = append(c.ready, s)
		}
	})
}

func (c *socket) release(s *Session, m *Message, a *Advice) {
	c.refuseConnect(reply{m: m, clientID: s.id, advice: a}.encode())
}

func (c *socket) leave(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.bound, s)
}

// goodbye answers held connects with the advice to come back later, and closes.
func (c *socket) goodbye() {
	c.mu.Lock()
	bound := make([]*Session, 0, len(c.bound))
	for s := range c.bound {
		bound = append(bound, s)
	}
	c.mu.Unlock()
	for _, s := range bound {
		s.releaseHeld(c.server.again("retry"))
	}
	c.enqueue(func() { c.farewell = websocket.CloseGoingAway })
}

// onSocket reports whether a WebSocket serves the session.
func (s *Session) onSocket() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.link.(*socket)
	return is
}

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
	if c.ended || len(c.ready)+len(c.replies)+len(c.connects)+c.empties+c.farewell == 0 {
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
			c.stalled(err)
			c.abort()
			return
		}
		clear(ds)
		for _, s := range b.ready {
			if s.wanting(c) && s.pull(c.ctx, c) && s.wanting(c) {
				c.wake(s)
			}
		}
		if b.farewell != 0 && c.idle() {
			c.say(b.farewell, "")
			c.abort()
			return
		}
	}
}

func (c *socket) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.ready)+len(c.replies)+len(c.connects) == 0 && c.inflight == 0
}

func (c *socket) stalled(err error) {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.server.stats.stall.Add(1)
		c.server.log.Debug("bayeux: connection does not read", zap.Error(err))
	}
}

// writeBatch writes one frame: deliveries of all ready sessions, replies, connect
// replies.
func (c *socket) writeBatch(b *batch, ds []*Delivery) ([]*Delivery, error) {
	size, half := 0, false
	for _, s := range b.ready {
		had := len(ds)
		var more, far bool
		ds, more, far = s.take(ds, c, b.number, max(1, frameJoin-size))
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
		c.server.stats.delivered.Add(int64(len(ds)))
		return ds, c.ping(half)
	}
	return ds, nil
}

func (c *socket) send(frame []byte) error {
	if len(frame) == 0 {
		return nil
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.server.writeTime(len(frame))))
	c.server.stats.deliveredBytes.Add(int64(len(frame)))
	return c.conn.WriteMessage(websocket.TextMessage, frame)
}

// say sends a close frame.
func (c *socket) say(code int, text string) {
	_ = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(time.Second))
}

// ping follows deliveries with a ping that carries their batch's number, at most
// one in AckPing, or at once when half of what may be under way is (decided.md 4).
func (c *socket) ping(half bool) error {
	o := &c.server.options
	now := time.Now()
	c.mu.Lock()
	p := &c.pings
	p.unpinged = true
	due := now.Sub(p.last) >= o.AckPing || half && !p.awaited
	if !due {
		c.timer.Reset(p.last.Add(o.AckPing).Sub(now))
		c.mu.Unlock()
		return nil
	}
	payload := c.nextBatch(now)
	c.mu.Unlock()
	return c.conn.WriteControl(websocket.PingMessage, payload, now.Add(o.Limits.Stall))
}

// nextBatch closes the batch and returns its ping. The caller holds mu.
func (c *socket) nextBatch(now time.Time) []byte {
	p := &c.pings
	payload := strconv.AppendUint(nil, uint64(p.batch), 10)
	p.batch++
	p.last, p.awaited, p.unpinged = now, true, false
	return payload
}

// pong: the peer has all up to the ping it answers.
func (c *socket) pong(payload string) {
	c.heard()
	n, err := strconv.ParseUint(payload, 10, 32)
	if err != nil {
		return
	}
	c.mu.Lock()
	if int32(c.pings.batch-uint32(n)) <= 0 {
		c.mu.Unlock()
		return // not of ours
	}
	if uint32(n) == c.pings.batch-1 {
		c.pings.awaited = false
	}
	bound := make([]*Session, 0, len(c.bound))
	for s := range c.bound {
		bound = append(bound, s)
	}
	c.mu.Unlock()
	for _, s := range bound {
		s.arrived(c, uint32(n))
	}
}

// heard gives a peer that spoke its time anew.
func (c *socket) heard() {
	now := time.Now()
	o := &c.server.options
	_ = c.conn.SetReadDeadline(now.Add(o.Ping + o.PongWait))
	c.mu.Lock()
	c.pings.heard = now
	c.mu.Unlock()
}

// tick is the socket's timer: it pings what was delivered and not yet asked for,
// and a peer that has been silent.
func (c *socket) tick() {
	o := &c.server.options
	now := time.Now()
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	p := &c.pings
	silent := now.Sub(p.heard) >= o.Ping
	if !silent && !(p.unpinged && now.Sub(p.last) >= o.AckPing) {
		c.timer.Reset(c.nextTick(now))
		c.mu.Unlock()
		return
	}
	payload := c.nextBatch(now)
	c.timer.Reset(o.Ping)
	c.mu.Unlock()
	if err := c.conn.WriteControl(websocket.PingMessage, payload, now.Add(o.PongWait)); err != nil {
		c.abort()
	}
}

// nextTick is when there is something to ping. The caller holds mu.
func (c *socket) nextTick(now time.Time) time.Duration {
	o := &c.server.options
	next := c.pings.heard.Add(o.Ping)
	if c.pings.unpinged {
		if due := c.pings.last.Add(o.AckPing); due.Before(next) {
			next = due
		}
	}
	return max(time.Millisecond, next.Sub(now))
}
