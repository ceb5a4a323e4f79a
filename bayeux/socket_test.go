package bayeux

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

func prefixes(t *testing.T, texts ...string) (ps []netip.Prefix) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		require.NoError(t, err)
		ps = append(ps, p)
	}
	return ps
}

func TestBadFrames(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			a>> {
			a< [{"successful":false,"error":"400::Malformed message","id":"$absent"}]
			a>> "x"
			a< [{"error":"400::Malformed message"}]
			a>> ` + "[" + strings.Repeat("{},", 100) + "{}]" + `
			a< [{"error":"413::Too many messages"}]
			# the socket stays
			a> []
			a< []
			a> null
			a< []
			a>> "{\"data\":\"\xff\"}"
			a< closed 1007
		`)
		refused := w.server.Stats().Refused
		require.Equal(t, int64(2), refused["malformed"])
		require.Equal(t, int64(1), refused["batch"])
		require.Equal(t, int64(1), refused["utf8"])
	})
}

func TestAFrameThatIsTooLarge(t *testing.T) {
	in(t, Options{Limits: Limits{Message: 1000}}, func(t *testing.T, w *world) {
		data := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
		w.Run("open a websocket\n" + hello("a") + `
			a> {"channel":"/p","clientId":"${a}","data":` + data(1000) + `}
			a< {"successful":true}
			a> {"channel":"/p","clientId":"${a}","data":` + data(1001) + `}
			a< {"successful":false,"error":"413::Message too large"}
		`)
		w.Keep("big", data(1000+frameSlack))
		w.Run("a>> {\"data\":${big}}\na< closed 1009")
		require.Equal(t, int64(1), w.server.Stats().Refused["too_large"])
	})
}

func TestASocketThatSaysNothing(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\nwait 9999ms\nquiet\nwait 1ms\na< closed 0")
		synctest.Wait()
		require.Zero(t, w.server.Stats().Sockets)
	})
}

func TestASocketIsPingedAndLives(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\na> []\na< []\nwait 1h\nquiet\na> []\na< []")
	})
}

func TestASocketWithoutPongsDies(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("mute a\nopen a websocket\na> []\na< []\nwait 32999ms\nquiet\nwait 1ms\na< closed 0")
	})
}

// A peer whose messages wait for the store is not taken for dead.
func TestAReaderThatWaitsIsNotDead(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Begin("open a websocket\n" + hello("a"))
		for range inflightMessages + 1 {
			w.Begin(`a> {"channel":"/late","clientId":"${a}","data":1}`)
		}
		// The bound: the last one is not read yet.
		w.Run("wait 80s\nquiet")
		require.Len(t, w.app.late, inflightMessages)
		w.Begin("late all")
		require.Len(t, w.Take("a"), inflightMessages)
		require.Len(t, w.app.late, 1)
		w.Begin("late all")
		require.Len(t, w.Take("a"), 1)
	})
}

// dial opens a bare WebSocket, for what a well-behaved client does not do.
func (w *world) dial(t *testing.T) *websocket.Conn {
	d := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return w.Dial(), nil }}
	conn, answer, err := d.Dial("ws://server/faye", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A frame in pieces, with pongs between them, holds its buffer for a bounded time.
func TestAFrameThatDoesNotEnd(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		conn := w.dial(t)
		start := time.Now()
		piece, err := conn.NextWriter(websocket.TextMessage)
		require.NoError(t, err)
		_, err = piece.Write(make([]byte, 8<<10))
		require.NoError(t, err)
		_, _, err = conn.ReadMessage() // and answers pings
		require.Error(t, err)
		require.Equal(t, bodyRead+34*time.Second, time.Since(start))
	})
}

// A pong acknowledges what a ping asked for and nothing else.
func TestForgedPongs(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a long-polling\n" + hello("a") + listen("a", "/x"))
		conn := w.dial(t)
		conn.SetPingHandler(func(string) error { return nil })
		require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"channel":"/meta/connect","clientId":"`+w.Value("a")+`","connectionType":"websocket"}`)))
		synctest.Wait()
		w.app.deliver("/x", "1")
		_, frame, err := conn.ReadMessage()
		require.NoError(t, err)
		require.Contains(t, string(frame), `"data":1`)
		for _, payload := range []string{"", "x", "0", "-1", "1000000", "4294967295", "99999999999"} {
			require.NoError(t, conn.WriteControl(websocket.PongMessage, []byte(payload), time.Time{}))
		}
		synctest.Wait()
		require.NoError(t, conn.Close())
		w.Run(connects("a", "2") + `a< [{"data":1},{"id":"2"}]`)
		require.Equal(t, int64(1), w.server.Stats().Resent)
	})
}

func TestASocketThatDoesNotRead(t *testing.T) {
	in(t, Options{Limits: Limits{Stall: 20 * time.Second}}, func(t *testing.T, w *world) {
		w.Run("open a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + "deaf a\ndeliver /x 0\na< [{\"data\":0}]")
		big := `"` + strings.Repeat("x", 400<<10) + `"`
		w.app.deliver("/x", big)
		// 20 s, and 400 KiB at 32 KiB/s
		time.Sleep(32 * time.Second)
		synctest.Wait()
		require.Zero(t, w.server.Stats().Stalled)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, int64(1), w.server.Stats().Stalled)
		require.Zero(t, w.server.Stats().Sockets)
		require.Equal(t, 2, w.queued(t, "a"), "nothing is lost")
		w.Run("open b websocket\n" + strings.ReplaceAll(connects("b", "2"), "${b}", "${a}") + `
			b< [{"data":0},{"id":"2"}]
			b< [{"channel":"/x"}]`)
	})
}

func TestSessionsOfASocketAreBounded(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\na> []\na< []")
		connect := func() string {
			w.Begin(`a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}`)
			id, _ := w.Take("a")[0]["clientId"].(string)
			w.Keep("id", id)
			w.Begin(`a> {"channel":"/meta/connect","clientId":"${id}","connectionType":"websocket"}`)
			return id
		}
		for range socketSessions {
			connect()
		}
		w.Run("quiet")
		connect()
		w.Run(`a< {"error":"403::Too many sessions on one connection"}`)
		require.Equal(t, int64(1), w.server.Stats().Refused["sessions_per_socket"])
	})
}

// Many sessions with much to say do not make one enormous frame.
func TestFramesAreBounded(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\na> []\na< []")
		for range 8 {
			w.Begin(`a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}`)
			id, _ := w.Take("a")[0]["clientId"].(string)
			w.Keep("id", id)
			w.Begin(`a> [{"channel":"/meta/subscribe","clientId":"${id}","subscription":"/x"},{"channel":"/meta/connect","clientId":"${id}","connectionType":"websocket"}]`)
			w.Take("a")
		}
		w.server.mu.Lock()
		var c *socket
		for c = range w.server.sockets {
		}
		w.server.mu.Unlock()
		c.gather(true) // all eight are ready when the writer begins
		w.app.deliver("/x", `"`+strings.Repeat("x", 50<<10)+`"`)
		c.gather(false)
		for range 4 {
			w.Begin(`a< [{"channel":"/x"},{"channel":"/x"}]`)
		}
		w.Run("quiet")
	})
}

func TestADisconnectWaitsForItsPublishes(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\n" + hello("a") + connects("a", "1") + `
			a> {"channel":"/late","clientId":"${a}","data":1,"id":"2"}
			a> {"channel":"/meta/disconnect","clientId":"${a}","id":"3"}
			a< {"id":"3","successful":true}
			a< {"id":"1","advice":{"reconnect":"none"}}
			wait 1s
			quiet
			late all
			a< [{"id":"2","successful":true}]
			a< closed 1000
		`)
	})
}

func TestShutdown(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		for _, name := range []string{"p", "q"} {
			w.Run("open " + name + " long-polling\n" + hello(name) + listen(name, "/x") + connects(name, "1"))
		}
		for i := range 4 {
			name := fmt.Sprintf("s%d", i)
			w.Run("open " + name + " websocket\n" + hello(name) + connects(name, "1"))
		}
		w.Run("open e long-polling\n" + hello("e") + "open f eventsource ${e}")
		w.down = true
		done := make(chan error)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		go func() { done <- w.server.Shutdown(ctx) }()
		w.Begin(`
			# polls at once, with jitter, and streams
			p< [{"id":"1","successful":true,"advice":{"reconnect":"retry","interval":"$time:500..5000","timeout":45000}}]
			q< [{"id":"1","successful":true,"advice":{"reconnect":"retry","interval":"$time:500..5000"}}]
			f< closed 0
			# nobody comes in
			open n long-polling
			n> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}
			n< {"error":"503::Service unavailable","advice":{"reconnect":"retry","interval":"$time:500..5000"}}
			open m websocket
			m< status 503
			# who connects again is not held
			` + connects("p", "2") + `
			p< [{"id":"2","successful":true,"advice":{"reconnect":"retry","interval":"$time:500..5000"}}]
			wait 15s
		`)
		// Sockets one after the other.
		require.NoError(t, <-done)
		for i := range 4 {
			w.Begin(fmt.Sprintf("s%d< [{\"id\":\"1\",\"successful\":true,\"advice\":{\"reconnect\":\"retry\",\"interval\":\"$time:500..5000\"}}]\ns%d< closed 1001", i, i))
		}
		w.Run("p> []\np< status 503")
		reasons := w.reasons()
		require.Len(t, reasons, 7)
		for _, r := range reasons {
			require.Equal(t, ReasonShutdown, r)
		}
		st := w.server.Stats()
		require.Zero(t, w.server.Sessions())
		require.Zero(t, st.Sockets)
		require.Zero(t, st.Held)
		require.Equal(t, int64(7), st.Ended[ReasonShutdown])
		require.Equal(t, int64(7), st.HandshakesCompleted)
		for transport, n := range st.Sessions {
			require.Zero(t, n, transport)
		}
	})
}

// Neither a peer that does not read nor a publish without outcome, a slow body or a
// socket that does not close holds the end up for longer than it was given.
func TestShutdownIsBounded(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Begin("open a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + "deaf a\ndeliver /x 0\na< [{\"data\":0}]\n" +
			"open b websocket\n" + hello("b") + "b> {\"channel\":\"/never\",\"clientId\":\"${b}\",\"data\":1}\n" +
			"open c long-polling\n" + hello("c") + "c> {\"channel\":\"/never\",\"clientId\":\"${c}\",\"data\":1}\n" +
			"open d websocket\n" + hello("d") + "freeze d\n")
		conn := w.Dial()
		_, err := conn.Write([]byte("POST /faye HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n["))
		require.NoError(t, err)
		w.app.deliver("/x", `"`+strings.Repeat("x", 900<<10)+`"`)
		synctest.Wait()
		w.down = true
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		require.ErrorIs(t, w.server.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(start))
		require.Len(t, w.reasons(), 4)
		require.NoError(t, conn.Close())
	})
}

func TestStatsAddUp(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			open b long-polling
			` + hello("b") + listen("b", "/x") + connects("b", "1") + `
			open c long-polling
			c> [{"channel":"/x","clientId":"${b}","data":1},{"channel":"/x","clientId":"${b}","data":2}]
			a< {"data":1}
			a< {"data":2}
			b< {"data":1}
			b< *
			c< [{"successful":true},{"successful":true}]
		`)
		st := w.server.Stats()
		require.Equal(t, int64(8), st.Received)
		require.Equal(t, int64(2), st.Published)
		require.GreaterOrEqual(t, st.Delivered, int64(3))
		require.Equal(t, int64(2), st.HandshakesCompleted)
		require.Equal(t, int64(1), st.Sessions["websocket"])
		require.Equal(t, int64(1), st.Sessions["long-polling"])
		require.Equal(t, int64(1), st.Sockets)
		require.Positive(t, st.ReceivedBytes)
		require.Positive(t, st.DeliveredBytes)
		for reason, n := range st.Refused {
			require.Zero(t, n, reason)
		}
	})
}

// What a ping asks for while the reader gathers an answer goes out when it has: nothing
// else might wake the writer.
func TestPongWhileTheReaderGathers(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a websocket\n" + hello("a") + connects("a", "1"))
		var c *socket
		w.server.mu.Lock()
		for s := range w.server.sockets {
			c = s
		}
		w.server.mu.Unlock()
		due := func() bool {
			synctest.Wait()
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.pongDue
		}
		c.gather(true)
		c.enqueue(func() { c.pongDue, c.pong = true, "1" })
		require.True(t, due(), "it waits for the answer")
		c.gather(false)
		require.False(t, due(), "it is written")
	})
}
