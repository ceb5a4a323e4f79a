package bayeux

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux/bayeuxtest"
)

// A page that is slow to come delays nothing else on its socket.
func TestASlowPullDelaysNothingElse(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		p := &pages{channel: "/r", end: 1, failAt: -1, cancel: true}
		w.app.pullers["/r"] = func() Puller { return p }
		w.Run("open a websocket\n" + hello("a") + listen("a", "/x") + listen("a", "/r") + connects("a", "1") + `
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
			a< {"successful":true,"clientId":"$=b"}
			a> [{"channel":"/meta/subscribe","clientId":"${b}","subscription":"/x"},{"channel":"/meta/connect","clientId":"${b}","connectionType":"websocket","id":"2"}]
			a< {"channel":"/meta/subscribe","successful":true}
			deliver /x 1
			a< *
		`)
		p.mu.Lock()
		require.True(t, p.busy)
		require.Equal(t, 1, p.asked)
		p.mu.Unlock()
		require.Equal(t, int64(2), w.server.Stats().Delivered, "to both sessions")
		w.Run("a> {\"channel\":\"/p\",\"clientId\":\"${b}\",\"data\":1,\"id\":\"3\"}\na< {\"id\":\"3\",\"successful\":true}\nbreak a\na< closed 0")
		p.mu.Lock()
		defer p.mu.Unlock()
		require.False(t, p.busy, "it ends with the socket")
	})
}

func TestAPullThatPanicsEndsItsSocket(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		p := &pages{channel: "/r", end: 2, failAt: -1, panics: true}
		w.app.pullers["/r"] = func() Puller { return p }
		w.Run("open a websocket\n" + hello("a") + listen("a", "/r") + connects("a", "1") + `
			a< closed 0
			wait 1s
			open b websocket
			` + whose("b", "a", "2") + `
			b< [{"id":"2","successful":true}]
			b< [{"data":0},{"data":1}]
		`)
		require.Equal(t, int64(1), w.server.Stats().Panics)
	})
}

// past is a Puller of n deliveries that cost nothing to read.
type past struct {
	page []*Delivery
	n    int
}

func (p *past) Pull(_ context.Context, limit int) ([]*Delivery, error) {
	if p.n == 0 {
		return nil, io.EOF
	}
	k := min(limit, p.n, len(p.page))
	p.n -= k
	return p.page[:k], nil
}

// 100,000 messages of the past over a socket, whose peer reads and answers pings.
func BenchmarkSocketReplay(b *testing.B) {
	const all = 100_000
	v := NewServer(newApp(), Options{})
	network := bayeuxtest.NewNetwork()
	front := &http.Server{Handler: v}
	go func() { _ = front.Serve(network) }()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return network.Dial(ctx) }}
	conn, answer, err := d.Dial("ws://server/faye", nil)
	require.NoError(b, err)
	require.NoError(b, answer.Body.Close())
	require.NoError(b, conn.WriteMessage(websocket.TextMessage, []byte(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}`)))
	_, frame, err := conn.ReadMessage()
	require.NoError(b, err)
	var hello []struct {
		ClientID string `json:"clientId"`
	}
	require.NoError(b, json.Unmarshal(frame, &hello))
	require.NoError(b, conn.WriteMessage(websocket.TextMessage, []byte(`{"channel":"/meta/connect","connectionType":"websocket","clientId":"`+hello[0].ClientID+`"}`)))
	s, ok := v.Session(hello[0].ClientID)
	require.True(b, ok)
	page := make([]*Delivery, pageMessages)
	for i := range page {
		page[i] = delivery(128)
	}
	b.SetBytes(all * int64(page[0].Size()))
	b.ReportAllocs()
	for b.Loop() {
		s.Replay(&past{page: page, n: all})
		for heard := 0; heard < all; {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				b.Fatal(err)
			}
			heard += bytes.Count(frame, []byte(`"/objects/chat"`))
		}
	}
	b.StopTimer()
	require.NoError(b, conn.Close())
	require.NoError(b, v.Shutdown(context.Background()))
	require.NoError(b, front.Close())
	require.NoError(b, network.Close())
}
