package bayeux

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// line is the connection beneath a WebSocket. It reads into a buffer that it borrows
// while there are bytes to read: gorilla's own is as small as can be, since an idle
// socket keeps it, and would ask the kernel once for each 256 bytes. It writes frames
// whole, ours, which the writer has put together, and those that gorilla says goodbye
// with.
type line struct {
	net.Conn
	raw  syscall.RawConn // nil: the connection is none of the kernel's, such as TLS
	fill func(fd uintptr) bool

	// framing is held while a frame is written, by whoever writes the end of it; stuck:
	// it waits for the peer.
	framing sync.Mutex
	stuck   atomic.Bool

	// owned by the reader
	lent   *[lineRoom]byte // nil while nothing is unread
	unread []byte          // of lent
	err    error           // what fill met
}

// lineRoom is how much is read at once: some 50 publishes that came together.
const lineRoom = 16 << 10

var lineRooms = sync.Pool{New: func() any { return new([lineRoom]byte) }}

func newLine(conn net.Conn) *line {
	l := &line{Conn: conn}
	if s, ok := conn.(syscall.Conn); ok && directIO {
		if raw, err := s.SyscallConn(); err == nil {
			l.raw, l.fill = raw, l.tryFill
		}
	}
	return l
}

// Read is net.Conn's; one goroutine reads.
func (l *line) Read(p []byte) (int, error) {
	if len(l.unread) == 0 {
		if l.raw == nil || len(p) >= lineRoom {
			return l.Conn.Read(p)
		}
		if err := l.raw.Read(l.fill); err != nil {
			return 0, err
		}
		if l.err != nil {
			return 0, l.err
		}
	}
	n := copy(p, l.unread)
	if l.unread = l.unread[n:]; len(l.unread) == 0 {
		l.giveBack()
	}
	return n, nil
}

// tryFill reads what is there; false: nothing, and no buffer is held while that lasts.
func (l *line) tryFill(fd uintptr) bool {
	l.lent = lineRooms.Get().(*[lineRoom]byte)
	n, err := readNow(fd, l.lent[:])
	if n > 0 {
		l.unread = l.lent[:n]
		return true
	}
	l.giveBack()
	if errors.Is(err, errNotNow) {
		return false
	}
	if l.err = err; err == nil {
		l.err = io.EOF
	}
	return true
}

func (l *line) giveBack() {
	lineRooms.Put(l.lent)
	l.lent, l.unread = nil, nil
}

// errStuck: a frame is half written.
var errStuck = errors.New("bayeux: the peer does not read")

// Write is for gorilla: the answer to the upgrade, and close frames, which go only where
// no frame is half written.
func (l *line) Write(p []byte) (int, error) {
	if l.stuck.Load() {
		return 0, errStuck
	}
	l.framing.Lock()
	return len(p), l.finish(p, time.Second)
}

// SetWriteDeadline is for gorilla, too: each write here has its own.
func (*line) SetWriteDeadline(time.Time) error { return nil }

// writeFrames writes whole frames, within a time.
func (l *line) writeFrames(p []byte, within time.Duration) error {
	l.framing.Lock()
	return l.finish(p, within)
}

// finish writes the rest of a frame, within a time. It lets framing go, which is held.
func (l *line) finish(p []byte, within time.Duration) error {
	defer l.framing.Unlock()
	l.stuck.Store(true)
	defer l.stuck.Store(false)
	_ = l.Conn.SetWriteDeadline(time.Now().Add(within))
	_, err := l.Conn.Write(p)
	_ = l.Conn.SetWriteDeadline(time.Time{}) // the next may be an attempt, which has none
	return err
}

// attempt is a write that does not wait. It is made once and used for many lines, by one
// goroutine.
type attempt struct {
	frame []byte
	n     int
	err   error
	do    func(fd uintptr) bool
}

func newAttempt() *attempt {
	a := &attempt{}
	a.do = func(fd uintptr) bool {
		a.n, a.err = writeNow(fd, a.frame)
		return true
	}
	return a
}

// write writes whole frames, as far as the kernel takes them, and returns the rest: then
// framing stays held until finish has written that.
func (a *attempt) write(l *line, frames []byte) (rest []byte, err error) {
	l.framing.Lock()
	a.frame, a.n, a.err = frames, 0, nil
	if err = l.raw.Write(a.do); err == nil {
		err = a.err
	}
	a.frame = nil
	if rest = frames[a.n:]; err != nil || len(rest) == 0 {
		l.framing.Unlock()
		return nil, err
	}
	l.stuck.Store(true)
	return rest, nil
}

// wiring lets an upgrade have a line for the connection.
type wiring struct{ http.ResponseWriter }

// Hijack is http.Hijacker's.
func (w wiring) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return newLine(conn), rw, nil
}
