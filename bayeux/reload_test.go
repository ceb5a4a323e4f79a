package bayeux

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// What Reload takes over holds for who is there already.
func TestReload(t *testing.T) {
	o := Options{Limits: Limits{Message: 1 << 10, SessionsPerAddr: 2}, Origins: []string{"https://a.example"}}
	in(t, o, func(t *testing.T, w *world) {
		const shake = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}`
		w.Run("open a\n" + hello("a") + "open b\n" + hello("b") + `
			a> ` + shake + `
			a< {"error":"429::Too many sessions"}
		`)
		from := func(origin string) string {
			answer, _ := w.ask(t, "POST", "/faye", openPost, typeJSON, "Origin: "+origin)
			return answer.Header.Get("Access-Control-Allow-Origin")
		}
		require.Equal(t, "https://a.example", from("https://a.example"))
		require.Empty(t, from("https://b.example"))
		size := func(n int) int {
			answer, body := w.ask(t, "POST", "/faye", `{"channel":"/open","data":"`+strings.Repeat("x", n)+`"}`, typeJSON)
			require.Equal(t, 200, answer.StatusCode)
			return strings.Count(body, `"successful":true`)
		}
		require.Zero(t, size(2<<10))

		// Two sessions are there: one more than before may come, and no fourth.
		o.Limits.SessionsPerAddr, o.Limits.HandshakesPerAddr, o.Limits.HandshakeBurst, o.Limits.Message = 3, 1, 2, 4<<10
		o.Origins = []string{"https://b.example"}
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		w.server.Reload(o)
		w.Run("open c\n" + hello("c") + `
			a> ` + shake + `
			a< {"error":"429::Too many sessions"}
			a> ` + shake + `
			a< {"error":"429::Too many handshakes"}
		`)
		require.Empty(t, from("https://a.example"))
		require.Equal(t, "https://b.example", from("https://b.example"))
		require.Equal(t, 1, size(2<<10))

		// What was off goes on, and what was on goes off.
		w.server.Reload(Options{})
		require.Equal(t, "https://a.example", from("https://a.example"))
		w.Run("open d\n" + hello("d"))
	})
}

// A socket takes larger frames without a new connection.
func TestReloadOfASocket(t *testing.T) {
	o := Options{Limits: Limits{Message: 1 << 10}}
	in(t, o, func(t *testing.T, w *world) {
		c := w.dial(t)
		defer c.Close()
		say := func(n int) string {
			require.NoError(t, c.WriteMessage(websocket.TextMessage, []byte(`{"channel":"/open","data":"`+strings.Repeat("x", n)+`"}`)))
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
			_, text, err := c.ReadMessage()
			require.NoError(t, err)
			return string(text)
		}
		large := frameSlack + 2<<10
		require.Contains(t, say(1), `"successful":true`)
		o.Limits.Message = large
		w.server.Reload(o)
		require.Contains(t, say(1), `"successful":true`)
		require.Contains(t, say(large-2), `"successful":true`)
	})
}
