package bayeux

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// quay is a connection without a network: what the peer says is put into it, and what it
// is told goes to a function, which takes as long as the peer does.
type quay struct {
	net.Conn
	said    chan []byte
	told    func([]byte)
	answers bool   // pings
	left    []byte // of what was said; owned by the reader
	once    sync.Once
	closed  chan struct{}

	mu    sync.Mutex
	timer *time.Timer // of the read deadline
}

func (q *quay) Read(b []byte) (int, error) {
	if len(q.left) == 0 {
		select {
		case q.left = <-q.said:
		case <-q.closed:
			return 0, io.EOF
		}
	}
	n := copy(b, q.left)
	q.left = q.left[n:]
	return n, nil
}

func (q *quay) Write(b []byte) (int, error) {
	select {
	case <-q.closed:
		return 0, net.ErrClosed
	default:
	}
	if b[0] == 'H' {
		q.told(b) // the answer to the upgrade
		return len(b), nil
	}
	for rest := b; len(rest) > 0; {
		frame := rest[:frameLen(rest)]
		rest = rest[len(frame):]
		if frame[0] != framePing {
			q.told(frame)
			continue
		}
		if q.answers {
			pong := append([]byte{framePong, 0x80 | frame[1], 0, 0, 0, 0}, frame[2:]...)
			select {
			case q.said <- pong:
			case <-q.closed:
			}
		}
	}
	return len(b), nil
}

// frameLen returns how long the frame is that b begins with.
func frameLen(b []byte) int {
	switch b[1] {
	case 126:
		return headLen(b) + int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		return headLen(b) + int(binary.BigEndian.Uint64(b[2:]))
	}
	return headLen(b) + int(b[1])
}

func (q *quay) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *quay) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (q *quay) SetDeadline(time.Time) error      { return nil }
func (q *quay) SetWriteDeadline(time.Time) error { return nil }

// SetReadDeadline closes the connection when the time has come.
func (q *quay) SetReadDeadline(at time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.timer != nil {
		q.timer.Stop()
	}
	if q.timer = nil; !at.IsZero() {
		q.timer = time.AfterFunc(time.Until(at), func() { _ = q.Close() })
	}
	return nil
}

// berth hands a request's connection over.
type berth struct {
	http.ResponseWriter
	q *quay
}

func (w berth) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.q, bufio.NewReadWriter(bufio.NewReader(w.q), bufio.NewWriter(w.q)), nil
}

// say has the peer send a text; its mask is zero.
func (q *quay) say(text string) {
	head := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(text)))
	q.said <- append(append(head, 0, 0, 0, 0), text...)
}

// moor connects a session by WebSocket, and returns it. From then on told hears what the
// peer is told, but for pings, which it answers or not.
func moor(t testing.TB, v *Server, answers bool, told func([]byte)) *Session {
	t.Helper()
	hello := make(chan []byte, 4)
	q := &quay{answers: answers, said: make(chan []byte, 64), closed: make(chan struct{})}
	var live atomic.Bool
	q.told = func(b []byte) {
		if live.Load() {
			told(b)
			return
		}
		hello <- bytes.Clone(b)
	}
	r := httptest.NewRequest(http.MethodGet, "/faye", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}}
	v.ServeHTTP(berth{httptest.NewRecorder(), q}, r)
	require.Contains(t, string(<-hello), " 101 ")
	q.say(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}`)
	_, after, found := bytes.Cut(<-hello, []byte(`"clientId":"`))
	require.True(t, found)
	s, found := v.Session(string(after[:32]))
	require.True(t, found)
	live.Store(true)
	q.say(`{"channel":"/meta/connect","connectionType":"websocket","clientId":"` + s.ID() + `"}`)
	for !s.onSocket() {
		runtime.Gosched()
	}
	return s
}

// endless is a Puller of pages of 256, up to so many.
type endless struct {
	page []*Delivery
	left int
}

func (e *endless) Pull(context.Context, int) ([]*Delivery, error) {
	if e.left == 0 {
		return nil, io.EOF
	}
	e.left--
	return e.page, nil
}

func pageOf(n int) []*Delivery {
	page := make([]*Delivery, n)
	for i := range page {
		page[i] = delivery(128)
	}
	return page
}

// Of many late joiners each gets a page in turn, and those that do not read hold the
// others up no longer than a turn each, once.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const joiners, pages, stuck = 100, 40, 10
		v := NewServer(newApp(), Options{})
		page := pageOf(256)
		var mu sync.Mutex
		bytesOf, atOnce, most := make([]int, joiners), 0, 0
		var spread int
		start := time.Now()
		var done sync.WaitGroup
		done.Add(joiners)
		whole := pages * 256 * len(page[0].Bytes())
		sessions := make([]*Session, joiners)
		for i := range joiners {
			sessions[i] = moor(t, v, true, func(b []byte) {
				mu.Lock()
				atOnce++
				most = max(most, atOnce)
				before := bytesOf[i]
				bytesOf[i] += len(b)
				if bytesOf[i] > whole && before <= whole {
					done.Done()
				}
				spread = max(spread, slices.Max(bytesOf)-slices.Min(bytesOf))
				mu.Unlock()
				time.Sleep(time.Millisecond)
				mu.Lock()
				atOnce--
				mu.Unlock()
			})
		}
		for range stuck {
			s := moor(t, v, true, func([]byte) { time.Sleep(time.Second) })
			s.Replay(&endless{page: page, left: pages})
		}
		mu.Lock()
		most = 0
		mu.Unlock()
		for _, s := range sessions {
			s.Replay(&endless{page: page, left: pages + 1})
		}
		done.Wait()
		mu.Lock()
		require.LessOrEqual(t, most, cap(v.turns)+1, "as many write as have a turn, and one that is late")
		require.Less(t, spread, whole/4, "all come on alike")
		mu.Unlock()
		// Two or three writes of 1 ms for each page, shared by the turns, and at most a turn
		// for each of those that are stuck.
		require.Less(t, time.Since(start), joiners*pages*4*time.Millisecond/time.Duration(cap(v.turns))+stuck*turnTime+2*time.Second)
		require.NoError(t, v.Shutdown(t.Context()))
		require.Empty(t, v.turns, "all turns were given back")
	})
}

// A turn ends when its session does, and with its connection.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := NewServer(newApp(), Options{})
		page := pageOf(256)
		for range 4 * cap(v.turns) {
			s := moor(t, v, true, func([]byte) { time.Sleep(time.Hour) })
			s.Replay(&endless{page: page, left: 10})
			synctest.Wait()
			s.Close(ReasonKicked)
		}
		// They never say what they have, so that after some pages nothing more is due.
		var got atomic.Int64
		s := moor(t, v, false, func(b []byte) { got.Add(int64(len(b))) })
		s.Replay(&endless{page: page, left: 100})
		synctest.Wait()
		require.Greater(t, got.Load(), int64(2*256*len(page[0].Bytes())))
		require.Nil(t, s.replays.handing, "who waits for its peer holds no turn")
		time.Sleep(2 * time.Second)
		require.Empty(t, v.turns)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, v.Shutdown(ctx), "some peers do not read")
		time.Sleep(2 * time.Hour)
	})
}

// BenchmarkLiveUnderHerd tells how many writes of 300 replaying sessions a live message
// waits for: all of them share the cores with the one that writes it.
func BenchmarkLiveUnderHerd(b *testing.B) {
	v := NewServer(newApp(), Options{})
	page := pageOf(256)
	var writes atomic.Int64
	var herd []*Session
	for range 300 {
		scratch := make([]byte, 0, 128<<10)
		herd = append(herd, moor(b, v, true, func(frame []byte) {
			scratch = append(scratch[:0], frame...) // as the kernel copies it
			writes.Add(1)
		}))
	}
	heard := make(chan struct{})
	live := moor(b, v, true, func([]byte) { heard <- struct{}{} })
	for _, s := range herd {
		s.Replay(&endless{page: page, left: 1 << 30})
	}
	d := delivery(128)
	var waited []int64
	b.ReportAllocs()
	for b.Loop() {
		before := writes.Load()
		live.Deliver(d)
		<-heard
		waited = append(waited, writes.Load()-before)
	}
	slices.Sort(waited)
	b.ReportMetric(float64(waited[len(waited)/2]), "writes/p50")
	b.ReportMetric(float64(waited[len(waited)*99/100]), "writes/p99")
	go func() {
		for range heard {
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = v.Shutdown(ctx) // the replays have no end
	close(heard)
}
