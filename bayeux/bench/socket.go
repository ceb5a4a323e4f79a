package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// socket is a road over one WebSocket.
type socket struct {
	conn   *websocket.Conn
	pieces *sync.Pool // of *scanner

	mu sync.Mutex // held while writing: gorilla allows one writer
	// guarded by mu
	out []byte
}

// writeBuffers are shared by all sockets, so that idle ones hold none.
var writeBuffers sync.Pool

func (t *target) openSocket(ctx context.Context) (road, error) {
	u := *t.url
	u.Scheme = "ws" // dial sees to TLS
	d := websocket.Dialer{
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) },
		// A frame of this size is one read; larger ones are read past it.
		ReadBufferSize: 4096, WriteBufferSize: 1024, WriteBufferPool: &writeBuffers,
	}
	conn, answer, err := d.DialContext(ctx, u.String(), nil)
	if err != nil {
		if answer != nil {
			return nil, fmt.Errorf("bench: %s: %w: %w", t.url, err, newStatusError(answer))
		}
		return nil, fmt.Errorf("bench: %s: %w", t.url, err)
	}
	anchor := t.anchor
	return &socket{conn: conn, pieces: pool(anchor)}, nil
}

// scanners are shared by all who wait, so that idle ones hold none.
var scanners sync.Map // anchor to *sync.Pool

func pool(anchor string) *sync.Pool {
	if p, ok := scanners.Load(anchor); ok {
		return p.(*sync.Pool)
	}
	p, _ := scanners.LoadOrStore(anchor, &sync.Pool{New: func() any { return newScanner(anchor) }})
	return p.(*sync.Pool)
}

func (s *socket) write(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	return s.conn.WriteMessage(websocket.TextMessage, frame)
}

func (s *socket) exchange(ctx context.Context, id string, message []byte, sink sink) (*reply, error) {
	defer context.AfterFunc(ctx, s.close)()
	if err := s.write(array(message)); err != nil {
		return nil, err
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(answered))
	for {
		_, r, err := s.conn.NextReader()
		if err != nil {
			return nil, err
		}
		var frame bytes.Buffer
		if _, err := frame.ReadFrom(io.LimitReader(r, maxSetup)); err != nil {
			return nil, err
		}
		if sink != nil {
			if _, err := s.frame(bytes.NewReader(frame.Bytes()), sink); err != nil {
				return nil, err
			}
		}
		if a, err := answers(frame.Bytes(), id); a != nil || err != nil {
			return a, err
		}
	}
}

func (s *socket) listen(next func() []byte, sink sink) error {
	_ = s.conn.SetReadDeadline(time.Time{})
	for connect := true; ; {
		if connect {
			if err := s.write(array(next())); err != nil {
				return err
			}
		}
		_, r, err := s.conn.NextReader()
		if err != nil {
			return err
		}
		if connect, err = s.frame(r, sink); err != nil {
			return err
		}
	}
}

// frame scans one frame; connect says that it held the answer to a connect.
func (s *socket) frame(r io.Reader, sink sink) (connect bool, err error) {
	scan := s.pieces.Get().(*scanner)
	defer s.pieces.Put(scan)
	scan.begin()
	refused := false
	for {
		n, err := r.Read(scan.room())
		if n > 0 {
			found := scan.scan(n)
			connect = connect || found.connect
			found.refused, refused = found.refused && !refused, found.refused || refused // once a frame
			sink(found)
		}
		if errors.Is(err, io.EOF) {
			return connect, nil
		}
		if err != nil {
			return connect, err
		}
	}
}

func (s *socket) send(messages [][]byte, _ sink) error {
	for _, m := range messages {
		if err := s.one(m); err != nil {
			return err
		}
	}
	return nil
}

// one writes a message as a frame of its own: publishers that know nothing of each
// other do not share frames.
func (s *socket) one(m []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(append(append(s.out[:0], '['), m...), ']')
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime))
	return s.conn.WriteMessage(websocket.TextMessage, s.out)
}

func (s *socket) close() { _ = s.conn.Close() }

// array writes messages as a JSON array.
func array(messages ...[]byte) []byte {
	return append(append([]byte{'['}, bytes.Join(messages, []byte{','})...), ']')
}
