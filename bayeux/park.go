package bayeux

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// parkAfter is how long a poll is held by its request's handler. One that rests for
// longer is parked: what net/http keeps for a request, its buffers, headers, contexts and
// two stacks, is some 30 KiB, and a client that hears nothing for seconds has no use for
// it. A busy poll is answered before, and never pays for coming back.
const parkAfter = 2 * time.Second

// parked is a held poll without a handler: a goroutine of its own reads from the
// connection, which tells when the peer goes, and writes the answer. When the peer's next
// request comes, the connection goes back to the http.Server that it came from (ramp).
type parked struct {
	server *Server
	ramp   *ramp
	conn   net.Conn
	x      *request
	poll   *poll
	head   []byte // of the answer: status and headers but date and length
	early  []byte // what the peer has sent of its next request

	mu      sync.Mutex
	holding bool // there is no answer yet
	ending  bool // the connection is not read any more once the answer is out
}

// parks reports whether the answer to a request may be written past its handler: it is
// one poll that is held, over a plain connection of HTTP/1.1 that goes on.
func (x *request) parks(r *http.Request) (*http.Server, bool) {
	home, is := r.Context().Value(http.ServerContextKey).(*http.Server)
	plain := r.ProtoMajor == 1 && r.ProtoAtLeast(1, 1) && r.TLS == nil && !r.Close
	return home, is && plain && len(x.polls) == 1 && x.polls[0].held
}

// park waits while the poll of a request may be answered at once, and then takes it from
// its handler; true means that it has, and that nothing more is to be done for the request.
func (v *Server) park(w http.ResponseWriter, r *http.Request, x *request) bool {
	home, may := x.parks(r)
	if !may || !x.polls[0].rests(r.Context()) {
		return false
	}
	ramp := v.rampTo(home)
	if ramp == nil || !v.enter() {
		return false
	}
	k := &parked{server: v, ramp: ramp, x: x, poll: x.polls[0], holding: true}
	answerHead(w.Header(), "")
	k.head = renderHead(w.Header())
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		v.running.Done()
		return false
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		next, _ := buffered.Reader.Peek(n) // they are there
		k.early = append(k.early, next...)
	}
	k.conn = conn
	if again, is := conn.(*returned); is && len(again.first) == 0 {
		k.conn = again.Conn
	}
	v.mu.Lock()
	v.parked[k], k.ending = struct{}{}, v.stopped || ramp.isClosed()
	v.mu.Unlock()
	k.poll.parked.Store(k)
	go k.serve()
	return true
}

// rests reports whether a held poll has nothing to say for parkAfter.
func (p *poll) rests(there context.Context) bool {
	if p.session.isDue() || p.session.wanting(p) {
		return false
	}
	held := &p.session.server.stats.polls
	held.Add(1)
	defer held.Add(-1)
	long := time.NewTimer(parkAfter)
	defer long.Stop()
	select {
	case <-long.C:
		return true
	case <-p.woken:
		p.wake(p.session) // for await
	case a := <-p.answer:
		p.release(p.session, p.m, a)
	case <-there.Done():
	}
	return false
}

// renderHead returns the head of an answer, to which date and length are added.
func renderHead(h http.Header) []byte {
	var b headBuffer = make([]byte, 0, 256)
	b = append(b, "HTTP/1.1 200 OK\r\n"...)
	_ = h.Write(&b) // into memory
	return append(make([]byte, 0, len(b)), b...)
}

type headBuffer []byte

func (b *headBuffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

// serve is the goroutine of a parked poll.
func (k *parked) serve() {
	v := k.server
	defer v.running.Done()
	back := false
	defer func() {
		v.mu.Lock()
		delete(v.parked, k)
		v.mu.Unlock()
		if !back {
			_ = k.conn.Close()
		}
	}()
	defer v.guard("parked poll", k.x.abandon)
	if !k.answer() {
		k.x.abandon()
		return
	}
	k.poll.session.finish(k.poll)
	k.poll, k.x = nil, nil // the wait may be long
	if k.next() {
		back = k.ramp.give(&returned{k.conn, k.early})
	}
}

// answer waits for what there is to say and writes it; false if the peer is gone.
func (k *parked) answer() bool {
	v := k.server
	a, gone := k.hold()
	if gone {
		return false
	}
	k.poll.advice = a
	out, gone := v.conclude(v.ctx, k.x)
	return !gone && k.write(out) == nil
}

// hold is await for a parked poll.
func (k *parked) hold() (a *Advice, gone bool) {
	v, p := k.server, k.poll
	v.stats.polls.Add(1)
	defer v.stats.polls.Add(-1)
	v.stats.parked.Add(1)
	defer v.stats.parked.Add(-1)
	for len(k.early) == 0 {
		// In this order: who wakes leaves word first and then ends the read.
		_ = k.conn.SetReadDeadline(time.Time{})
		select {
		case a = <-p.answer:
			if a == nil {
				return nil, true
			}
			v.fill(v.ctx, p)
			return a, false
		case <-p.woken:
		default:
			if !k.read() {
				return nil, true
			}
			continue
		}
		if p.session.isDue() {
			v.fill(v.ctx, p)
		}
		if len(p.took) > 0 {
			p.session.unhold(p)
			return v.usual(), false
		}
	}
	// The peer sends on without its answer, and so cannot be heard going.
	return v.await(v.ctx, context.Background(), p)
}

// read reads the first byte of the next request, if it comes; false if the peer is gone.
func (k *parked) read() bool {
	var first [1]byte
	n, err := k.conn.Read(first[:])
	k.early = append(k.early, first[:n]...)
	return n > 0 || errors.Is(err, os.ErrDeadlineExceeded)
}

// rouse ends a read that is under way, and the next, while there is no answer.
func (k *parked) rouse() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holding {
		k.interrupt()
	}
}

func (k *parked) interrupt() { _ = k.conn.SetReadDeadline(time.Unix(1, 0)) }

// write writes the answer.
func (k *parked) write(body []byte) error {
	v := k.server
	b := make([]byte, 0, len(k.head)+128+len(body))
	b = append(b, k.head...)
	k.mu.Lock()
	if k.ending {
		b = append(b, "Connection: close\r\n"...)
	}
	k.mu.Unlock()
	b = append(time.Now().UTC().AppendFormat(append(b, "Date: "...), http.TimeFormat), "\r\nContent-Length: "...)
	b = append(append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...), body...)
	_ = k.conn.SetWriteDeadline(time.Now().Add(v.writeTime(len(b))))
	writing := slow{k.conn, true}
	v.patience.begin(writing)
	defer v.patience.end(writing)
	_, err := k.conn.Write(b)
	v.stalled(err)
	return err
}

// next waits for the peer's next request as long as the http.Server would; false if none
// comes, or the server stops.
func (k *parked) next() bool {
	var deadline time.Time
	if patience := k.ramp.home.IdleTimeout; patience > 0 {
		deadline = time.Now().Add(patience)
	}
	k.mu.Lock()
	ending := k.ending
	k.holding = false
	if !ending {
		_ = k.conn.SetReadDeadline(deadline)
	}
	k.mu.Unlock()
	return !ending && (len(k.early) > 0 || k.read() && len(k.early) > 0)
}

// dismiss closes the connection as soon as nothing is to be said on it.
func (k *parked) dismiss() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ending = true
	k.interrupt()
}

// dismissParked closes the way back to an http.Server that takes no requests any more, and
// the connections that would go it, as soon as what is held there is answered.
func (v *Server) dismissParked(r *ramp) {
	_ = r.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	for k := range v.parked {
		if k.ramp == r {
			k.dismiss()
		}
	}
}

// ramp is the way back to an http.Server: a listener on which connections arrive that
// were parked.
type ramp struct {
	home   *http.Server
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// rampTo returns the ramp to a server, made if there is none; nil when v stops.
func (v *Server) rampTo(home *http.Server) *ramp {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.ramps[home]
	if r == nil && !v.stopped {
		r = &ramp{home: home, conns: make(chan net.Conn), closed: make(chan struct{})}
		v.ramps[home] = r
		v.running.Add(1)
		go func() {
			defer v.running.Done()
			_ = home.Serve(r) // ends with either of the two
			v.dismissParked(r)
		}()
	}
	return r
}

func (v *Server) allRamps() []*ramp {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Collect(maps.Values(v.ramps))
}

// give hands a connection back; false if the server has stopped.
func (r *ramp) give(c net.Conn) bool {
	_ = c.SetDeadline(time.Time{})
	select {
	case r.conns <- c:
		return true
	case <-r.closed:
		return false
	}
}

func (r *ramp) isClosed() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

// Accept is part of net.Listener.
func (r *ramp) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

// Close is part of net.Listener.
func (r *ramp) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// Addr is part of net.Listener.
func (r *ramp) Addr() net.Addr { return rampAddr{} }

type rampAddr struct{}

func (rampAddr) Network() string { return "parked" }
func (rampAddr) String() string  { return "parked polls" }

// returned is a connection of which the beginning of a request has been read.
type returned struct {
	net.Conn
	first []byte // owned by the reader
}

// Read is part of net.Conn.
func (c *returned) Read(b []byte) (int, error) {
	if len(c.first) > 0 && len(b) > 0 {
		n := copy(b, c.first)
		if c.first = c.first[n:]; len(c.first) == 0 {
			c.first = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}
