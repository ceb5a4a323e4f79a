package bayeux

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// fuzzServer is a server of its own for one request.
func fuzzServer(t testing.TB) *Server {
	v := NewServer(newApp(), Options{Logger: zap.NewNop(), Limits: Limits{Batch: 20, Message: 4096}})
	t.Cleanup(func() { require.NoError(t, v.Shutdown(context.Background())) })
	return v
}

// bayeuxReplies returns the messages of an answer, which must be an array of objects,
// each with a channel or a refusal.
func bayeuxReplies(t testing.TB, body string) []map[string]json.RawMessage {
	t.Helper()
	require.True(t, utf8.ValidString(body), "%q", body)
	var all []map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(body), &all), "%q", body)
	for _, m := range all {
		require.True(t, m["channel"] != nil || m["error"] != nil, "%q", body)
		require.True(t, m["channel"] != nil || string(m["successful"]) == "false", "%q", body)
	}
	return all
}

// FuzzPost: whatever is posted is answered at once, with the status that its form earns,
// and nobody gets a session who did not shake hands in so many letters.
func FuzzPost(f *testing.F) {
	const hello = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"id":"1"}`
	for _, seed := range [][2]string{
		{"application/json", "[" + hello + "]"},
		{"application/json", hello},
		{"", "message=" + url.QueryEscape("["+hello+"]")},
		{"text/plain", "message=%5B%5D&jsonp=x"},
		{"application/x-www-form-urlencoded; charset=\"", "message=null&message=7"},
		{"application/json;charset=utf-8", `[{"channel":"/open/x","data":{"__proto__":1}},{"Channel":"/meta/handshake"},null]`},
		{"application/json", `[{"channel":"/meta/handshake","channel":"/open/x"},{"\u0063hannel":"/meta/handshake","version":"1.0"}]`},
		{"application/json", `{"channel":"/meta/connect","clientId":"x","connectionType":"long-polling","advice":{"timeout":-1e999}}`},
		{"application/json", `{"channel":"/open/` + strings.Repeat("a", 300) + `","data":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`},
		{"application/json", "[{\"channel\":\"/open/\xff\",\"data\":1}]"},
		{"application/json", `[{"channel":"/meta/subscribe","clientId":"\ud800","subscription":["/a","/a/**/b"]}]`},
		{"application/json", `[{"channel":"/open/x","id":1e400,"data":9007199254740993},{"channel":"</script>","data":1}]`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		v := fuzzServer(t)
		r := httptest.NewRequest(http.MethodPost, "/faye", strings.NewReader(body))
		r.Header["Content-Type"] = []string{kind}
		w := httptest.NewRecorder()
		v.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			require.Empty(t, v.allSessions())
			return
		}
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
		made := 0
		for _, m := range bayeuxReplies(t, w.Body.String()) {
			if string(m["channel"]) == `"/meta/handshake"` && string(m["successful"]) == "true" {
				require.Regexp(t, `^"[0-9a-z]{20,}"$`, string(m["clientId"]))
				made++
			}
		}
		require.Len(t, v.allSessions(), made)
		if made == 0 {
			return
		}
		text := []byte(body)
		if form, _ := formPost(r); form {
			fields, err := url.ParseQuery(body)
			require.NoError(t, err)
			text = []byte(fields.Get("message"))
		}
		asked := 0
		for _, m := range reference(t, text) {
			var channel string
			if json.Unmarshal(m["channel"], &channel) == nil && channel == "/meta/handshake" {
				asked++
			}
		}
		require.LessOrEqual(t, made, asked)
	})
}

// FuzzCallback: an answer in a script is one call of the function that was asked for, of
// JSON, with nothing before or behind.
func FuzzCallback(f *testing.F) {
	f.Add("jsonp=cb&message=%5B%7B%22channel%22%3A%22%2Fopen%2Fx%22%2C%22data%22%3A1%7D%5D")
	f.Add("message=%5B%5D&jsonp=a.b%24._c&jsonp=alert(1)//")
	f.Add("jsonp=&message=null")
	f.Add("jsonp=%E2%80%A8x&message=%5B%5D")
	f.Add(`message=[{"channel":"/open/x","id":"` + "\u2028</script>" + `","data":1}]`)
	f.Fuzz(func(t *testing.T, query string) {
		v := fuzzServer(t)
		r := httptest.NewRequest(http.MethodGet, "/faye", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		v.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, w.Code)
			return
		}
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "text/javascript; charset=utf-8", w.Header().Get("Content-Type"))
		require.NotEmpty(t, w.Header().Get("Content-Disposition"))
		text, commented := strings.CutPrefix(w.Body.String(), "/**/")
		require.True(t, commented)
		name, rest, called := strings.Cut(text, "(")
		require.True(t, called)
		require.Regexp(t, `^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$`, name)
		inner, closed := strings.CutSuffix(rest, ");")
		require.True(t, closed, rest)
		require.NotContains(t, inner, "\u2028")
		require.NotContains(t, inner, "\u2029")
		bayeuxReplies(t, inner)
	})
}

// FuzzExtValue compares with encoding/json: of a member that is there once, in whatever
// spelling, the bytes are those.
func FuzzExtValue(f *testing.F) {
	for _, s := range []string{`{"ack":true}`, `{"\u0061ck":-1}`, `{"ACK":1,"ack":2}`, `{"a":{"ack":1}}`, `{}`, `{"ack":1,"ack":2}`, `{"replay":{"ack":[]},"ack" : 1e3 }`, `{"\ud800":1}`} {
		f.Add(s, "ack")
	}
	f.Add(`{"�":1}`, "\ufffd")
	l := testLimits()
	f.Fuzz(func(t *testing.T, ext, key string) {
		ms, err := decode([]byte(`{"channel":"/a","data":1,"ext":`+ext+`}`), l)
		if err != nil || ms[0].fault != nil || len(ms[0].Ext) == 0 || !utf8.ValidString(key) {
			return
		}
		m := ms[0]
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(m.Ext, &want))
		got := m.ExtValue(key)
		require.Equal(t, want[key] == nil, got == nil)
		if got == nil {
			return
		}
		require.True(t, json.Valid(got))
		require.Contains(t, string(m.Ext), string(got))
		if n, said := m.acked(); key == "ack" && said {
			var number float64
			require.NoError(t, json.Unmarshal(got, &number))
			require.LessOrEqual(t, n, uint64(mostBatch))
			require.Equal(t, uint64(min(max(number, 0), mostBatch)), n)
		}
	})
}

// FuzzEvents: an EventSource reads back exactly the message of an event, whatever line
// ends a publisher's JSON has.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"{\"a\":\r\n1}", "[1,\n\n2]", "[\r3\r\r]", `"\n\r"`, "\"\u2028\u0085\"", "{\n\"event\":\"x\"\r,\r\n\"id\":1}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if !json.Valid([]byte(data)) || !utf8.ValidString(data) {
			return
		}
		d := NewDelivery(DeliveryFields{Channel: "/a", ID: "1", Data: []byte(data)})
		text := string(events([]*Delivery{d, d}))
		// The lines as a browser has them: CR LF, LF and CR end one each.
		lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
		var got []string
		event := ""
		for _, line := range lines {
			if line == "" {
				if event != "" {
					got = append(got, event)
				}
				event = ""
				continue
			}
			value, is := strings.CutPrefix(line, "data: ")
			require.True(t, is, "a field that nobody wrote: %q", line)
			event += value + "\n"
		}
		require.Len(t, got, 2)
		for _, text := range got {
			var all []struct{ Data json.RawMessage }
			require.NoError(t, json.Unmarshal([]byte(text), &all))
			require.Len(t, all, 1)
			require.Equal(t, compact(t, []byte(data)), compact(t, all[0].Data))
		}
	})
}

// compact is JSON without the blanks between its tokens.
func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Compact(&b, text))
	return b.String()
}
