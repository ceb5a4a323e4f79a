package bayeux

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// dialed is a client of a server on a real network, with a session that is connected.
func dialed(t testing.TB, v *Server, url string) (*websocket.Conn, *Session) {
	return dialedBy(t, websocket.DefaultDialer, v, url)
}

func dialedBy(t testing.TB, d *websocket.Dialer, v *Server, url string) (*websocket.Conn, *Session) {
	conn, _, err := d.Dial("ws"+strings.TrimPrefix(url, "http")+"/faye", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	var answers []struct{ ClientID string }
	require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}`)))
	require.NoError(t, conn.ReadJSON(&answers))
	s, ok := v.Session(answers[0].ClientID)
	require.True(t, ok)
	// The answer to the second connect says that the first is held.
	require.NoError(t, conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"websocket","advice":{"timeout":0}},{"channel":"/meta/connect","clientId":%q,"connectionType":"websocket"}]`, s.ID(), s.ID())))
	require.NoError(t, conn.ReadJSON(&answers))
	return conn, s
}

func served(t testing.TB, o Options) (*Server, string) {
	v := NewServer(newApp(), o)
	h := httptest.NewServer(v)
	t.Cleanup(h.Close)
	t.Cleanup(func() { _ = v.Shutdown(context.Background()) })
	return v, h.URL
}

// A peer that does not read holds nobody up who shares its scribe, and has all in order
// when it reads again.
func TestSlowPeerAmongOthers(t *testing.T) {
	v, url := served(t, Options{Limits: Limits{Queue: 64 << 20, QueueMessages: 1 << 12}})
	slow, slowly := dialed(t, v, url)
	const n = 2000
	filler := strings.Repeat("x", 32<<10)
	fast := make([]*websocket.Conn, 4*len(v.scribes))
	sessions := make([]*Session, len(fast))
	for i := range fast {
		fast[i], sessions[i] = dialed(t, v, url)
	}
	said := func(i int) []byte { return fmt.Appendf(nil, `"%d %s"`, i, filler) }
	for i := range n {
		require.True(t, slowly.Deliver(NewDelivery(DeliveryFields{Channel: "/a", Data: said(i)})))
		if i%100 != 0 {
			continue
		}
		d := NewDelivery(DeliveryFields{Channel: "/a", Data: fmt.Appendf(nil, "%d", i)})
		for j, s := range sessions {
			s.Deliver(d)
			_, got, err := fast[j].ReadMessage()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf(`[{"channel":"/a","data":%d}]`, i), string(got))
		}
	}
	for next := 0; next < n; {
		_, frame, err := slow.ReadMessage()
		require.NoError(t, err)
		for _, part := range strings.SplitAfter(string(frame), "},") {
			var i int
			_, err := fmt.Sscanf(strings.TrimPrefix(part, "["), `{"channel":"/a","data":"%d `, &i)
			require.NoError(t, err)
			require.Equal(t, next, i)
			next++
		}
	}
}

// Pings that a peer sends are answered between the frames, and what is said is whole.
func TestPeerPings(t *testing.T) {
	v, url := served(t, Options{})
	conn, s := dialed(t, v, url)
	pongs := make(chan string, 8)
	conn.SetPongHandler(func(text string) error {
		pongs <- text
		return nil
	})
	require.NoError(t, conn.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Minute)))
	go func() {
		for range 2 {
			s.Deliver(delivery(128))
		}
	}()
	heard := make(chan int)
	go func() {
		for n := 0; n < 2; {
			_, got, err := conn.ReadMessage()
			if err != nil {
				return
			}
			n += strings.Count(string(got), `"channel"`)
			heard <- n
		}
	}()
	for n := 0; n < 2; {
		n = <-heard
	}
	// The pong came before the second delivery, or is the next thing to be read.
	go func() { _, _, _ = conn.ReadMessage() }()
	require.Equal(t, "are you there", <-pongs)
}

// One delivery to 100 sockets on a real network, until all clients have read it.
func BenchmarkDeliverToSockets(b *testing.B) {
	v, url := served(b, Options{})
	var round sync.WaitGroup
	sessions := make([]*Session, 100)
	for i := range sessions {
		var conn *websocket.Conn
		conn, sessions[i] = dialed(b, v, url)
		go func() {
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					return
				}
				round.Done()
			}
		}()
	}
	d := delivery(128)
	b.ReportAllocs()
	for b.Loop() {
		round.Add(len(sessions))
		for _, s := range sessions {
			s.Deliver(d)
		}
		round.Wait()
	}
}
