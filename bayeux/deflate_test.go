package bayeux

import (
	"bufio"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// inflated reads a message as a peer does (RFC 7692 §7.2.2).
func inflated(t testing.TB, payload []byte) string {
	t.Helper()
	text, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	require.NoError(t, err)
	return string(text)
}

// What is put together of parts says what it says without compression, whatever stands
// beside what: small and large, text and noise, deliveries and replies.
func TestDeflatedFrames(t *testing.T) {
	c := &socket{server: NewServer(newApp(), Options{}), deflates: true}
	r := rand.New(rand.NewPCG(7, 7))
	some := func(n int) []byte {
		b := []byte{'"'}
		for len(b) < n {
			b = fmt.Appendf(b, "%x", r.Uint64())
		}
		return append(b, '"')
	}
	datas := [][]byte{[]byte("1"), some(100), some(5000), some(66_000), []byte(`"` + strings.Repeat("word ", 50) + `"`), []byte(`"` + strings.Repeat("x", 70_000) + `"`)}
	reply := []byte(`{"channel":"/meta/subscribe","successful":true}`)
	for i := range 40 {
		var ds []*Delivery
		for range 1 + r.IntN(5) {
			ds = append(ds, NewDelivery(DeliveryFields{Channel: "/a", ID: "1", Data: datas[r.IntN(len(datas))]}))
		}
		var replies, connects [][]byte
		if r.IntN(2) == 0 {
			replies = [][]byte{reply}
		}
		if r.IntN(2) == 0 {
			connects = [][]byte{reply, some(66_000)}
		}
		want := "[" + string(joinAll(nil, ds, replies, connects)) + "]"
		require.Equal(t, want, inflated(t, c.appendDeflated(nil, ds, replies, connects)), i)
		for _, d := range ds {
			if f := d.deflated(&c.server.stats); f != nil {
				require.Equal(t, byte(frameDeflated), f.frame[0])
				require.Less(t, len(f.frame), len(d.wire))
				require.Equal(t, string(d.text()), inflated(t, f.frame[headLen(f.frame):]))
			}
		}
	}
	require.Nil(t, delivery(40).deflated(&c.server.stats), "too small")
	require.Nil(t, NewDelivery(DeliveryFields{Channel: "/a", Data: []byte(`"` + noise(r, 160) + `"`)}).deflated(&c.server.stats), "no smaller")
}

// noise is text of 90 characters that are all as likely.
func noise(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		for b[i] == 0 || b[i] == '"' || b[i] == '\\' {
			b[i] = byte(' ' + r.IntN(95))
		}
	}
	return string(b)
}

// deflating is a dialer that offers compression.
func deflating() *websocket.Dialer { return &websocket.Dialer{EnableCompression: true} }

// Each delivery is compressed once, however many listen, and reads the same for those
// who did not ask.
func TestDeflatedOnceForAll(t *testing.T) {
	v, url := served(t, Options{Compression: true})
	const messages, peers = 40, 6
	conns, sessions := make([]*websocket.Conn, peers), make([]*Session, peers)
	for i := range conns {
		d := deflating()
		d.EnableCompression = i > 0
		conns[i], sessions[i] = dialedBy(t, d, v, url)
		require.NoError(t, conns[i].SetReadDeadline(time.Now().Add(time.Minute)))
	}
	var want strings.Builder
	for i := range messages {
		d := NewDelivery(DeliveryFields{Channel: "/a", Data: fmt.Appendf(nil, `"%d %s"`, i, strings.Repeat("words and words ", 40))})
		want.Write(d.Bytes())
		for _, s := range sessions {
			require.True(t, s.Deliver(d))
		}
	}
	for i, conn := range conns {
		var got strings.Builder
		for got.Len() < want.Len() {
			_, frame, err := conn.ReadMessage()
			require.NoError(t, err, i)
			got.WriteString(strings.ReplaceAll(strings.Trim(string(frame), "[]"), "},{", "}{"))
		}
		require.Equal(t, want.String(), got.String(), i)
	}
	require.EqualValues(t, messages, v.Stats().Deflated)
}

// A client may send compressed, too; what it sends is bounded as it is inflated
// (security.md §4, 14).
func TestDeflateBomb(t *testing.T) {
	v, url := served(t, Options{Compression: true, Limits: Limits{Message: 1 << 20}})
	conn, s := dialedBy(t, deflating(), v, url)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	publish := func(n int) {
		t.Helper()
		require.NoError(t, conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"channel":"/a","clientId":%q,"data":"%s"}`, s.ID(), strings.Repeat("x", n))))
	}
	publish(1<<20 - 2)
	_, answer, err := conn.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(answer), `"successful":true`)
	publish(3 << 20) // 3 KiB on the wire
	_, _, err = conn.ReadMessage()
	var closed *websocket.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, websocket.CloseMessageTooBig, closed.Code)
	require.EqualValues(t, 1, v.Stats().Refused["inflated"])
	require.Less(t, v.Stats().ReceivedBytes, int64(2<<20), "no more was inflated")
}

// What is not deflate ends the connection with words.
func TestNotDeflate(t *testing.T) {
	v, url := served(t, Options{Compression: true})
	conn, _ := dialedBy(t, deflating(), v, url)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := conn.NetConn().Write([]byte{frameDeflated, 0x80 | 4, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff})
	require.NoError(t, err)
	_, _, err = conn.ReadMessage()
	var closed *websocket.CloseError
	require.ErrorAs(t, err, &closed)
	require.Equal(t, websocket.CloseInvalidFramePayloadData, closed.Code)
	require.EqualValues(t, 1, v.Stats().Refused["malformed"])
}

func TestDeflateOffers(t *testing.T) {
	f := func(offer string, want bool) {
		t.Helper()
		require.Equal(t, want, offersDeflate(http.Header{extensionsHeader: {"foo; bar=1", offer}}))
	}
	f("permessage-deflate", true)
	f("permessage-deflate; client_max_window_bits", true) // browsers
	f("permessage-deflate; client_max_window_bits=15; server_no_context_takeover; client_no_context_takeover", true)
	f("permessage-deflate; server_max_window_bits=10, permessage-deflate", true)
	f("permessage-deflate; server_max_window_bits=10", false)
	f("permessage-deflate; other", false)
	f("x-webkit-deflate-frame", false)
	f("", false)
	answered := func(o Options, offer string) string {
		_, url := served(t, o)
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET /faye HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: %s\r\n\r\n", offer)
		require.NoError(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		return answer.Header.Get(extensionsHeader)
	}
	require.Empty(t, answered(Options{}, "permessage-deflate"), "off by default")
	require.Equal(t, "permessage-deflate; server_no_context_takeover; client_no_context_takeover", answered(Options{Compression: true}, "permessage-deflate"))
	require.Empty(t, answered(Options{Compression: true}, "permessage-deflate; server_max_window_bits=9"))
}

// One delivery of 1 KiB for the frames of 1,000 sockets.
func BenchmarkFrames1000(b *testing.B) {
	words := []byte(`"` + strings.Repeat("some words of a message, and a number 17 ", 25) + `"`)
	for _, deflates := range []bool{false, true} {
		b.Run(fmt.Sprintf("deflates=%t", deflates), func(b *testing.B) {
			c := &socket{server: NewServer(newApp(), Options{}), deflates: deflates, timer: time.NewTimer(time.Hour)}
			var to batch
			var n int
			b.ReportAllocs()
			for b.Loop() {
				to.ds = append(to.ds[:0], NewDelivery(DeliveryFields{Channel: "/a", ID: "1", Data: words}))
				for range 1000 {
					c.compose(&to)
					n = len(to.frames)
				}
			}
			b.ReportMetric(float64(n), "B/frame")
		})
	}
}
