package brokertest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"time"
)

// socket is the client's end of a WebSocket, as plain as RFC 6455 allows, so that
// nothing between the wire and the history hides a repeat or mends a break.
type socket struct {
	conn   net.Conn
	frames chan []byte // closed when the connection has ended
	done   sync.WaitGroup

	mu sync.Mutex // one frame at a time is written
}

// maxFrame bounds what is read from the broker.
const maxFrame = 32 << 20

// dialSocket opens a WebSocket over the connection that dial makes, at address and
// path. What comes is read, and its pings are answered, from then on; the caller
// drains frames and calls close.
func dialSocket(ctx context.Context, dial func(context.Context) (net.Conn, error), address, path string) (*socket, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("brokertest: socket: %w", err)
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	r := bufio.NewReaderSize(conn, 16<<10)
	if err := upgrade(conn, r, address, path); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("brokertest: socket: upgrade: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	s := &socket{conn: conn, frames: make(chan []byte, 64)}
	s.done.Go(func() {
		defer close(s.frames)
		s.read(r)
	})
	return s, nil
}

func upgrade(conn net.Conn, r *bufio.Reader, address, path string) error {
	var key [16]byte
	_, _ = rand.Read(key[:]) // does not fail since Go 1.24
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		path, address, base64.StdEncoding.EncodeToString(key[:]))
	if err != nil {
		return err
	}
	text := textproto.NewReader(r)
	status, err := text.ReadLine()
	if err != nil {
		return err
	}
	if _, err := text.ReadMIMEHeader(); err != nil {
		return err
	}
	if want := fmt.Sprintf("HTTP/1.1 %d ", http.StatusSwitchingProtocols); len(status) < len(want) || status[:len(want)] != want {
		return errors.New(status)
	}
	return nil
}

// Opcodes of RFC 6455 §5.2.
const (
	opContinue = 0
	opText     = 1
	opClose    = 8
	opPing     = 9
	opPong     = 10
)

// read takes frames until the connection ends. A ping is answered only after what
// came before it has been handed over: the pong says that it has arrived.
func (s *socket) read(r *bufio.Reader) {
	var message []byte
	for {
		final, op, payload, err := readFrame(r)
		if err != nil {
			return
		}
		switch op {
		case opPing:
			if s.write(opPong, payload) != nil {
				return
			}
		case opClose:
			return
		case opText, opContinue:
			message = append(message, payload...)
			if final {
				s.frames <- message
				message = nil
			}
		}
	}
}

func readFrame(r *bufio.Reader) (final bool, op byte, payload []byte, err error) {
	var head [8]byte
	if _, err = io.ReadFull(r, head[:2]); err != nil {
		return false, 0, nil, err
	}
	final, op = head[0]&0x80 != 0, head[0]&15
	size := uint64(head[1])
	switch size {
	case 126:
		_, err = io.ReadFull(r, head[:2])
		size = uint64(binary.BigEndian.Uint16(head[:2]))
	case 127:
		_, err = io.ReadFull(r, head[:8])
		size = binary.BigEndian.Uint64(head[:8])
	}
	if err == nil && size > maxFrame {
		err = errors.New("brokertest: socket: a frame that is masked or too large")
	}
	if err != nil {
		return false, 0, nil, err
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	return final, op, payload, err
}

// send writes one text message.
func (s *socket) send(text []byte) error { return s.write(opText, text) }

// write sends one frame. The mask is zero: it is against caches between, of which
// there are none here.
func (s *socket) write(op byte, payload []byte) error {
	b := make([]byte, 0, len(payload)+14)
	b = append(b, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, 0, 0, 0, 0)
	b = append(b, payload...)
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.conn.Write(b)
	return err
}

// writeTime is how long a write may take before the link counts as broken.
const writeTime = 5 * time.Second

// close cuts the connection. What has come already stays in frames, which is
// closed after it; the caller reads it to the end and then waits.
func (s *socket) close() { _ = s.conn.Close() }

// wait returns when the reader has ended; frames must have been drained.
func (s *socket) wait() { s.done.Wait() }
