package bayeux

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// socket is one WebSocket: the exchange of all frames that come on it and the link
// of all sessions that connected on it. One goroutine reads; one writes and one pulls,
// and each of these exists only while there is something to do.
type socket struct {
	server *Server
	conn   *websocket.Conn
	line   *line // beneath conn
	peer   Peer
	serial uint64
	// deflates: frames may be compressed, either way.
	deflates bool
	ctx      context.Context
	cancel   context.CancelFunc

	// owned by the reader; body is nil while no frame is in hand
	body  *bytes.Buffer
	usual usual

	mu       sync.Mutex
	room     *sync.Cond // signalled when the reader may go on
	writing  bool       // the writer runs
	gathers  bool       // the reader is about to add to what the writer takes
	ended    bool
	replies  *bytes.Buffer // with commas between; nil: none
	connects [][]byte      // they go last
	waiting  int           // bytes of both
	empties  int           // empty frames to answer
	ready    []*Session
	hungry   []*Session // have room for a page of a replay, in turn
	pulling  bool       // the puller runs
	bound    bindings
	served   bool // a session was bound once
	inflight int  // publishes under way
	flying   int  // their bytes
	farewell int  // close code to send when all is written; 0: none
	pings    pings
	pingDue  bool // a ping is to be written, for what was asked last
	pongDue  bool // and an answer to a ping of the peer, with pong
	pong     string
	busy     bool // the reader carries out a frame, and hears no pong
	inHand   bool // the writer has a batch that is not written whole
	timer    *time.Timer
	writers  sync.WaitGroup // and pullers
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
	deflates := v.upgrader.EnableCompression && offersDeflate(r.Header)
	r.Header.Del(extensionsHeader) // gorilla would take any form of the offer
	if deflates {
		r.Header.Set(extensionsHeader, deflateOffer)
	}
	conn, err := v.upgrader.Upgrade(wiring{w}, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	c := &socket{server: v, conn: conn, line: conn.NetConn().(*line), peer: peer, serial: v.serials.Add(1), deflates: deflates}
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
	// The reader has a goroutine of its own: the one of the request holds buffers and
	// a stack that an idle socket has no use for.
	if !v.enter() {
		c.close()
		return
	}
	go c.read()
}

// finish is the end of the reader's goroutine, also after a panic.
func (c *socket) finish() {
	defer c.server.running.Done()
	defer c.close()
	if p := recover(); p != nil {
		c.server.panicked("socket", p)
	}
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
	bound := c.sessions()
	c.mu.Lock()
	c.bound = bindings{}
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

// carryOut handles one frame; false closes the connection.
func (c *socket) carryOut(frame []byte) bool {
	v := c.server
	messages, err := c.usual.decode(frame, v.limits())
	switch {
	case errors.Is(err, errUTF8):
		v.stats.refuse(refuseUTF8)
		c.say(websocket.CloseInvalidFramePayloadData, "not UTF-8")
		c.linger()
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
	for !c.ended && (c.inflight >= inflightMessages || c.waiting >= pendingReplies || c.flying > c.server.limits().Body) {
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
	if c.writing || c.ended || c.gathers {
		return
	}
	c.writing = true
	c.writers.Add(1)
	if c.line.raw != nil {
		c.server.scribes[c.serial%uint64(len(c.server.scribes))].add(c)
		return
	}
	go c.write(nil, nil)
}

func (c *socket) reply(encoded []byte) {
	c.enqueue(func() { c.answer(encoded) })
}

// answer puts a reply to those that wait. The caller holds mu.
func (c *socket) answer(encoded []byte) {
	c.waiting += len(encoded)
	c.joining(len(encoded)).Write(encoded)
}

// joining returns the buffer to which a reply of about n bytes is added. The caller
// holds mu.
func (c *socket) joining(n int) *bytes.Buffer {
	if c.replies == nil {
		c.replies = bodies.Get().(*bytes.Buffer)
	} else {
		c.replies.WriteByte(',')
	}
	c.replies.Grow(n)
	return c.replies
}

func (c *socket) refuseConnect(encoded []byte) {
	c.enqueue(func() { c.connects, c.waiting = append(c.connects, encoded), c.waiting+len(encoded) })
}

// unable ends the connection, unless it serves other sessions. A client with the ack
// extension says by itself what it has had.
func (c *socket) unable(s *Session, m *Message) bool {
	c.mu.Lock()
	others := c.bound.len() > 1 || c.bound.len() == 1 && !c.bound.has(s)
	c.mu.Unlock()
	if _, says := m.acked(); says || others {
		return true
	}
	c.enqueue(func() { c.farewell = websocket.CloseTryAgainLater })
	return false
}

func (c *socket) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

func (c *socket) begin(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight++
	c.flying += n
}

func (c *socket) settle(n int, a outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight--
	c.flying -= n
	c.room.Signal()
	if c.ended {
		return
	}
	replies := c.joining(a.size())
	had := replies.Len()
	replies.Write(a.append(replies.AvailableBuffer()))
	c.waiting += replies.Len() - had
	c.start()
}

func (c *socket) connect(s *Session, m *Message) {
	v := c.server
	c.mu.Lock()
	// Only the reader, which is here, adds sessions.
	full := !c.bound.has(s) && c.bound.len() >= socketSessions
	c.served = c.served || !full
	c.mu.Unlock()
	if full {
		v.refuse(c, m, &Error{Code: 403, Text: "Too many sessions on one connection"}, refuseSocket)
		return
	}
	if m.ConnectionType == "eventsource" {
		// It asks for nothing but to be kept.
		if s.keep(arrival{m: m, link: c, peer: c.peer, transport: m.ConnectionType, socket: c.serial}) {
			c.refuseConnect(reply{m: m, clientID: s.id, advice: v.streaming()}.encode())
			return
		}
		v.unserved(c, s, m)
		return
	}
	a := arrival{m: m, link: c, peer: c.peer, transport: "websocket", hold: v.holdFor(m), socket: c.serial, advice: v.usual()}
	if v.draining.Load() {
		a.hold, a.advice = 0, v.again("retry")
	}
	// What waited for the session and the answer to the connect go in one frame.
	c.gather(true)
	defer c.gather(false)
	switch now, ok := s.attach(a); {
	case !ok:
		v.unserved(c, s, m)
	case now:
		c.release(s, m, a.advice)
	}
}

// gather keeps the writer from starting for a moment.
func (c *socket) gather(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gathers = on
	if c.some() || c.farewell > 0 {
		c.start()
	}
}

func (c *socket) overloaded(*Error) {}

// leaving closes the connection once the goodbye is written, unless it serves other
// sessions.
func (c *socket) leaving() func(gone bool) {
	c.gather(true)
	return func(gone bool) {
		c.mu.Lock()
		if gone && c.served && c.bound.len() == 0 {
			c.farewell = websocket.CloseNormalClosure
		}
		c.mu.Unlock()
		c.gather(false)
	}
}

func (c *socket) wake(s *Session) {
	c.enqueue(func() {
		if c.bound.queue(s) {
			c.ready = append(c.ready, s)
		}
	})
}

func (c *socket) release(s *Session, m *Message, a *Advice) {
	c.refuseConnect(reply{m: m, clientID: s.id, advice: a, ack: s.emptyNumber(c)}.encode())
}

func (c *socket) tell(encoded []byte) { c.reply(encoded) }

func (c *socket) join(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound.add(s)
}

func (c *socket) leave(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bound.remove(s)
}

// lone: on a socket no connect has company.
func (c *socket) lone() bool { return true }

// goodbye answers held connects with the advice to come back later, and closes.
func (c *socket) goodbye() {
	for _, s := range c.sessions() {
		s.releaseHeld(c.server.again("retry"))
	}
	c.goAway()
}

// sessions returns those that are served.
func (c *socket) sessions() []*Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bound.all()
}

// goAway closes the connection once all is written.
func (c *socket) goAway() {
	c.enqueue(func() { c.farewell = websocket.CloseGoingAway })
}

// onSocket reports whether a WebSocket serves the session.
func (s *Session) onSocket() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, is := s.link.(*socket)
	return is
}
