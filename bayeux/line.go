package bayeux

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
)

// line is the connection beneath a WebSocket. It reads into a buffer that it borrows
// while there are bytes to read: gorilla's own is as small as can be, since an idle
// socket keeps it, and would ask the kernel once for each 256 bytes.
type line struct {
	net.Conn
	raw  syscall.RawConn // nil: the connection is none of the kernel's, such as TLS
	fill func(fd uintptr) bool

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
