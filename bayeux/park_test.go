package bayeux

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux/bayeuxtest"
)

// poller is a peer that polls over one connection.
type poller struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	id   string
}

// lot is a server whose polls are parked.
type lot struct {
	t       *testing.T
	server  *Server
	network *bayeuxtest.Network
	front   *http.Server
}

func inLot(t *testing.T, f func(t *testing.T, l *lot)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lot{t: t, server: NewServer(newApp(), Options{}), network: bayeuxtest.NewNetwork()}
		l.front = &http.Server{Handler: l.server, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 75 * time.Second}
		ended := make(chan error)
		go func() { ended <- l.front.Serve(l.network) }()
		f(t, l)
		require.NoError(t, l.server.Shutdown(t.Context()))
		require.NoError(t, l.front.Close())
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
}

func (l *lot) dial() *poller {
	conn, err := l.network.Dial(l.t.Context())
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = conn.Close() })
	return &poller{t: l.t, conn: conn, in: bufio.NewReader(conn)}
}

// join opens a session.
func (l *lot) join() (*poller, *Session) {
	p := l.dial()
	p.ask(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]`)
	_, body := p.answer()
	_, err := fmt.Sscanf(body[len(`[{"clientId":"`):], "%32s", &p.id)
	require.NoError(l.t, err, body)
	s, there := l.server.Session(p.id)
	require.True(l.t, there)
	return p, s
}

func (p *poller) ask(body string) {
	_, err := fmt.Fprintf(p.conn, "POST /faye HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	require.NoError(p.t, err)
}

func (p *poller) connect(id int) {
	p.ask(fmt.Sprintf(`[{"channel":"/meta/connect","connectionType":"long-polling","clientId":%q,"id":"%d"}]`, p.id, id))
	synctest.Wait()
}

func (p *poller) answer() (*http.Response, string) {
	r, err := http.ReadResponse(p.in, nil)
	require.NoError(p.t, err)
	body, err := io.ReadAll(r.Body)
	require.NoError(p.t, err)
	return r, string(body)
}

// A poll that rests is answered as one that does not, on the same connection, which then
// takes the next request, soon or late.
func TestParked(t *testing.T) {
	inLot(t, func(t *testing.T, l *lot) {
		p, s := l.join()
		p.connect(1)
		require.True(t, s.Deliver(delivery(8)))
		busy, _ := p.answer()
		require.Zero(t, l.server.Stats().Parked)
		for n, pause := range []time.Duration{0, time.Second, time.Minute} {
			time.Sleep(pause)
			p.connect(2 + n)
			require.EqualValues(t, 1, l.server.Stats().Held)
			time.Sleep(parkAfter + time.Second)
			require.EqualValues(t, 1, l.server.Stats().Parked)
			require.EqualValues(t, 1, l.server.Stats().Held)
			require.True(t, s.Deliver(delivery(8)))
			rested, body := p.answer()
			require.Contains(t, body, `"xxxxxx"`)
			require.Contains(t, body, fmt.Sprintf(`"id":"%d"`, 2+n))
			require.NotEqual(t, busy.Header.Get("Date"), rested.Header.Get("Date"))
			rested.Header.Set("Date", busy.Header.Get("Date"))
			require.Equal(t, busy.Header, rested.Header)
			require.Zero(t, l.server.Stats().Parked)
			require.Zero(t, l.server.Stats().Held)
		}
		p.connect(9)
		time.Sleep(46 * time.Second)
		_, body := p.answer()
		require.Contains(t, body, `"successful":true`, "its time is up")
		time.Sleep(76 * time.Second)
		_, err := p.in.ReadByte()
		require.ErrorIs(t, err, io.EOF, "who asks for nothing is hung up on as by net/http")
	})
}

// What was on its way to a peer that went while its poll was parked waits for the next.
func TestParkedPeerGoes(t *testing.T) {
	inLot(t, func(t *testing.T, l *lot) {
		p, s := l.join()
		p.connect(1)
		time.Sleep(parkAfter + time.Second)
		require.EqualValues(t, 1, l.server.Stats().Parked)
		require.NoError(t, p.conn.Close())
		synctest.Wait()
		require.Zero(t, l.server.Stats().Parked)
		require.True(t, s.Deliver(delivery(8)))
		q := l.dial()
		q.id = p.id
		q.connect(2)
		_, body := q.answer()
		require.Contains(t, body, `"xxxxxx"`)
		require.Empty(t, l.server.parked, "the lot holds what is there")
	})
}

// A peer may send its next requests before it has an answer, before and after its poll is
// parked.
func TestParkedPeerSendsOn(t *testing.T) {
	inLot(t, func(t *testing.T, l *lot) {
		for _, early := range []bool{true, false} {
			p, s := l.join()
			p.connect(1)
			if !early {
				time.Sleep(parkAfter + time.Second)
				require.EqualValues(t, 1, l.server.Stats().Parked)
			}
			p.ask(`[{"channel":"/p","data":1,"id":"7","clientId":"` + p.id + `"},{"channel":"/p","data":1,"id":"8","clientId":"` + p.id + `"}]`)
			time.Sleep(parkAfter + time.Second)
			require.EqualValues(t, 1, l.server.Stats().Parked)
			require.True(t, s.Deliver(delivery(8)))
			_, body := p.answer()
			require.Contains(t, body, `"xxxxxx"`)
			_, body = p.answer()
			require.Contains(t, body, `"id":"7"`)
			require.Contains(t, body, `"id":"8"`)
		}
	})
}

// Whoever cannot be answered past the handler is held by it.
func TestNotParked(t *testing.T) {
	inLot(t, func(t *testing.T, l *lot) {
		f := func(version, headers string) {
			t.Helper()
			p, s := l.join()
			q := l.dial()
			body := fmt.Sprintf(`[{"channel":"/meta/connect","connectionType":"long-polling","clientId":%q,"id":"1"}]`, p.id)
			_, err := fmt.Fprintf(q.conn, "POST /faye %s\r\nHost: x\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", version, headers, len(body), body)
			require.NoError(t, err)
			time.Sleep(parkAfter + time.Second)
			require.Zero(t, l.server.Stats().Parked)
			require.EqualValues(t, 1, l.server.Stats().Held)
			require.True(t, s.Deliver(delivery(8)))
			_, got := q.answer()
			require.Contains(t, got, `"xxxxxx"`)
		}
		f("HTTP/1.1", "Connection: close\r\n")
		f("HTTP/1.0", "Connection: keep-alive\r\n")
	})
}

// A server that stops answers the polls that are parked, and waits for nobody.
func TestParkedShutdown(t *testing.T) {
	inLot(t, func(t *testing.T, l *lot) {
		held, _ := l.join()
		held.connect(1)
		time.Sleep(parkAfter + time.Second)
		idle, s := l.join()
		idle.connect(1)
		time.Sleep(parkAfter + time.Second)
		require.EqualValues(t, 2, l.server.Stats().Parked)
		require.True(t, s.Deliver(delivery(8)))
		_, _ = idle.answer()
		third, _ := l.join()
		third.connect(1)
		time.Sleep(parkAfter + time.Second)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, l.server.Shutdown(ctx))
		require.Less(t, time.Since(start), 5*time.Second)
		_, body := held.answer()
		require.Contains(t, body, `"reconnect":"retry"`)
		for _, p := range []*poller{held, idle} {
			_, err := p.in.ReadByte()
			require.ErrorIs(t, err, io.EOF)
		}
	})
}

// An http.Server that stops hangs up on those who have their answer, and the others get
// theirs first.
func TestParkedFrontStops(t *testing.T) {
	inLot(t, func(t *testing.T, l *lot) {
		idle, s := l.join()
		idle.connect(1)
		time.Sleep(parkAfter + time.Second)
		require.True(t, s.Deliver(delivery(8)))
		first, _ := idle.answer()
		require.False(t, first.Close)
		held, h := l.join()
		held.connect(1)
		time.Sleep(parkAfter + time.Second)
		require.NoError(t, l.front.Shutdown(t.Context()))
		_, err := idle.in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		require.True(t, h.Deliver(delivery(8)))
		last, body := held.answer()
		require.True(t, last.Close)
		require.Contains(t, body, `"xxxxxx"`)
		_, err = held.in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
	})
}
