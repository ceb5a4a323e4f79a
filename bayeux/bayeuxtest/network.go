package bayeuxtest

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is how many bytes one direction of a connection holds before writes block.
const window = 64 << 10

// Network is a net.Listener in memory, and the way to dial it.
type Network struct {
	accept chan net.Conn
	done   chan struct{}
	once   sync.Once
}

// NewNetwork returns a network that nobody has dialled yet.
func NewNetwork() *Network {
	return &Network{accept: make(chan net.Conn), done: make(chan struct{})}
}

// Accept returns the server's side of the next connection.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial; connections stay.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.done) })
	return nil
}

// Addr returns an address without meaning.
func (n *Network) Addr() net.Addr { return address("server") }

// Dial returns the client's side of a new connection.
func (n *Network) Dial(ctx context.Context) (*Conn, error) {
	client, server := Pipe()
	select {
	case n.accept <- server:
		return client, nil
	case <-n.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type address string

func (address) Network() string  { return "memory" }
func (a address) String() string { return string(a) }

// Conn is one end of a connection in memory. Unlike net.Pipe's it has a buffer of
// 64 KiB in each direction, so that a write returns before it was read.
type Conn struct {
	wire *wire
	peer *Conn
	name address

	// guarded by wire.mu
	in         []byte
	closed     bool
	readUntil  limit
	writeUntil limit
}

// wire is what both ends of a connection share.
type wire struct {
	mu     sync.Mutex
	change *sync.Cond
	frozen bool
}

// limit is a deadline, with the timer that wakes who waits for it.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) over() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func (l *limit) set(at time.Time, wake func()) {
	l.stop()
	l.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		l.timer = time.AfterFunc(wait, wake)
	}
}

func (l *limit) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// Pipe returns the two ends of a new connection, the client's first.
func Pipe() (client, server *Conn) {
	w := &wire{}
	w.change = sync.NewCond(&w.mu)
	// The server keeps books by address, and expects one with a port.
	client = &Conn{wire: w, name: "192.0.2.1:1024"}
	server = &Conn{wire: w, name: "192.0.2.2:80", peer: client}
	client.peer = server
	return client, server
}

// Read returns what has come, io.EOF when the other end is closed, and
// os.ErrDeadlineExceeded after the deadline.
func (c *Conn) Read(p []byte) (int, error) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case c.readUntil.over():
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			n := copy(p, c.in)
			c.in = c.in[n:]
			c.wire.change.Broadcast()
			return n, nil
		case c.peer.closed && !c.wire.frozen:
			return 0, io.EOF
		}
		c.wire.change.Wait()
	}
}

// Write blocks while the other end has a whole window unread. On a frozen connection
// the bytes fill the window and arrive nowhere.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	for {
		switch room := window - len(c.peer.in); {
		case c.closed:
			return n, net.ErrClosed
		case c.writeUntil.over():
			return n, os.ErrDeadlineExceeded
		case c.peer.closed && !c.wire.frozen:
			return n, io.ErrClosedPipe
		case len(p) == 0:
			return n, nil
		case c.wire.frozen:
			return n + len(p), nil
		case room > 0:
			room = min(room, len(p))
			c.peer.in = append(c.peer.in, p[:room]...)
			p, n = p[room:], n+room
			c.wire.change.Broadcast()
			continue
		}
		c.wire.change.Wait()
	}
}

// Close closes this end; the other one reads what is on the way, and then io.EOF.
func (c *Conn) Close() error {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.closed = true
	c.readUntil.stop()
	c.writeUntil.stop()
	c.wire.change.Broadcast()
	return nil
}

// Freeze lets all bytes vanish from now on, and the close of either end, too: a
// phone in a tunnel.
func (c *Conn) Freeze() {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	c.wire.frozen = true
	c.in, c.peer.in = nil, nil
	c.wire.change.Broadcast()
}

// LocalAddr and RemoteAddr are addresses for documentation.
func (c *Conn) LocalAddr() net.Addr { return c.name }

// RemoteAddr is the other end's LocalAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.peer.name }

// SetDeadline sets both deadlines; the zero time sets none.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline wakes a Read that waits, too.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.limit(&c.readUntil, t) }

// SetWriteDeadline wakes a Write that waits, too.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.limit(&c.writeUntil, t) }

func (c *Conn) limit(l *limit, t time.Time) error {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	l.set(t, func() {
		c.wire.mu.Lock()
		defer c.wire.mu.Unlock()
		c.wire.change.Broadcast()
	})
	c.wire.change.Broadcast()
	return nil
}
