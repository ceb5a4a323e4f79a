package bayeux

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

func BenchmarkDecodePublish(b *testing.B) {
	for name, n := range map[string]int{"128B": 128, "2KiB": 2 << 10} {
		b.Run(name, func(b *testing.B) {
			body := []byte(`{"channel":"/objects/chat","clientId":"abcdefghijklmnopqrstuvwxyz012345","id":"1x","data":{"text":"` + strings.Repeat("x", n-11) + `"}}`)
			l, u := testLimits(), &usual{} // as a socket does
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				ms, err := u.decode(body, l)
				if err != nil || ms[0].fault != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func delivery(n int) *Delivery {
	return NewDelivery(DeliveryFields{Channel: "/objects/chat", ID: "01JD0000000000000000000000", Data: []byte(`"` + strings.Repeat("x", n-2) + `"`)})
}

func BenchmarkNewDelivery(b *testing.B) {
	data := []byte(`"` + strings.Repeat("x", 126) + `"`)
	b.ReportAllocs()
	for b.Loop() {
		_ = NewDelivery(DeliveryFields{Channel: "/objects/chat", ID: "01JD0000000000000000000000", Data: data})
	}
}

// sink is a link that takes at once what it is woken for.
type sink struct{ ds []*Delivery }

func (*sink) tell([]byte) {}
func (k *sink) wake(s *Session) {
	k.ds, _, _ = s.take(k.ds[:0], k, 1, frameJoin)
	s.arrived(k, 1)
}
func (*sink) release(*Session, *Message, *Advice) {}
func (*sink) join(*Session)                       {}
func (*sink) leave(*Session)                      {}

// One delivery to 1,000 sessions, each taken by its link.
func BenchmarkDeliverTo1000(b *testing.B) {
	v := NewServer(newApp(), Options{})
	sessions := make([]*Session, 1000)
	for i := range sessions {
		s := v.newSession(Peer{Transport: "websocket"}, nil)
		s.handler = &user{app: newApp(), session: s}
		v.remember(s)
		_, ok := s.attach(arrival{m: &Message{}, link: &sink{}, transport: "websocket", hold: time.Hour, socket: 1})
		require.True(b, ok)
		sessions[i] = s
	}
	d := delivery(128)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range sessions {
			s.Deliver(d)
		}
	}
	b.StopTimer()
	require.NoError(b, v.Shutdown(context.Background()))
}

func BenchmarkPollAnswerOf100(b *testing.B) {
	v := NewServer(newApp(), Options{})
	x := &request{server: v, connects: [][]byte{[]byte(`{"channel":"/meta/connect","successful":true}`)}}
	ds := make([]*Delivery, 100)
	for i := range ds {
		ds[i] = delivery(128)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = x.encode(ds)
	}
}

// discard is a connection whose peer reads everything and says nothing.
type discard struct{ closed chan struct{} }

func (c *discard) Read([]byte) (int, error)         { <-c.closed; return 0, io.EOF }
func (c *discard) Write(p []byte) (int, error)      { return len(p), nil }
func (c *discard) Close() error                     { return nil }
func (c *discard) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *discard) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *discard) SetDeadline(time.Time) error      { return nil }
func (c *discard) SetReadDeadline(time.Time) error  { return nil }
func (c *discard) SetWriteDeadline(time.Time) error { return nil }

// gorilla returns the server's side of a WebSocket on conn.
func gorilla(b *testing.B, conn net.Conn) *websocket.Conn {
	r, err := http.NewRequest(http.MethodGet, "http://server/", nil)
	require.NoError(b, err)
	r.Header = http.Header{
		"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	v := NewServer(newApp(), Options{})
	ws, err := v.upgrader.Upgrade(wiring{&hijacked{conn: conn}}, r, nil)
	require.NoError(b, err)
	return ws
}

// hijacked is the answer to an upgrade.
type hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacked) Header() http.Header { return http.Header{} }

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// One frame of the writer: a delivery grabbed, taken, written and noted.
func BenchmarkSocketFrame(b *testing.B) {
	v := NewServer(newApp(), Options{AckPing: time.Nanosecond}) // a ping with each
	conn := &discard{closed: make(chan struct{})}
	defer close(conn.closed)
	c := &socket{server: v, conn: gorilla(b, conn), writing: true}
	c.line = c.conn.NetConn().(*line)
	c.room = sync.NewCond(&c.mu)
	c.ctx, c.cancel = context.WithCancel(b.Context())
	c.timer = time.AfterFunc(time.Hour, c.tick)
	defer c.timer.Stop()
	s := v.newSession(Peer{Transport: "websocket"}, nil)
	s.handler = &user{app: newApp(), session: s}
	v.remember(s)
	_, ok := s.attach(arrival{m: &Message{}, link: c, transport: "websocket", hold: time.Hour, socket: 1})
	require.True(b, ok)
	d := delivery(128)
	var batch batch
	b.SetBytes(int64(d.Size()))
	b.ReportAllocs()
	for b.Loop() {
		s.Deliver(d) // wakes: c is written by this loop alone
		if !c.grab(&batch) {
			b.Fatal("nothing to write")
		}
		c.compose(&batch)
		if err := c.line.writeFrames(batch.frames, time.Second); err != nil {
			b.Fatal(err)
		}
		c.wrote(&batch)
		s.arrived(c, batch.number)
	}
}
