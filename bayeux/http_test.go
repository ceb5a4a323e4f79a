package bayeux

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// ask sends one request; headers are "Name: value".
func (w *world) ask(t *testing.T, method, target, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://server"+target, strings.NewReader(body))
	require.NoError(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	client := w.Client()
	answer, err := client.Do(r)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	client.CloseIdleConnections()
	return answer, string(text)
}

const (
	typeJSON = "Content-Type: application/json"
	typeForm = "Content-Type: application/x-www-form-urlencoded"
	openPost = `{"channel":"/open","data":1}`
	openDone = `[{"channel":"/open","successful":true}]`
)

func TestPostedBodies(t *testing.T) {
	in(t, Options{Limits: Limits{Body: 4096}}, func(t *testing.T, w *world) {
		form := url.Values{"message": {openPost}}.Encode()
		check := func(want int, body string, headers ...string) string {
			t.Helper()
			answer, text := w.ask(t, "POST", "/faye", body, headers...)
			require.Equal(t, want, answer.StatusCode, "%v %s", headers, body)
			require.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
			if want == 200 {
				require.Equal(t, "application/json; charset=utf-8", answer.Header.Get("Content-Type"))
				require.Equal(t, "no-cache, no-store", answer.Header.Get("Cache-Control"))
				return text
			}
			require.Equal(t, "text/plain; charset=utf-8", answer.Header.Get("Content-Type"))
			return ""
		}
		require.Equal(t, openDone, check(200, openPost, typeJSON))
		require.Equal(t, openDone, check(200, openPost, "Content-Type: Application/JSON; charset=x"))
		require.Equal(t, openDone, check(200, form, typeForm))
		require.Equal(t, openDone, check(200, form, "Content-Type: text/plain"))
		require.Equal(t, openDone, check(200, form))
		require.Equal(t, `[]`, check(200, `null`, typeJSON))
		for _, kind := range []string{"application/xml", "text/html", "application/json2", "multipart/form-data; boundary=x", "nonsense/"} {
			check(415, openPost, "Content-Type: "+kind)
		}
		check(415, openPost, typeJSON, "Content-Encoding: gzip")
		check(400, openPost, "Content-Type: text/plain") // JSON under another type is not taken
		check(400, "x=y", typeForm)
		check(400, "message=%", typeForm)
		check(400, "", typeJSON)
		check(400, "{", typeJSON)
		check(400, `"x"`, typeJSON)
		check(400, "{\"channel\":\"/open\",\"data\":\"\xff\"}", typeJSON)
		check(400, "message=%7B%22data%22:%22%FF%22%7D", typeForm)
		check(413, strings.Repeat(" ", 4097), typeJSON)
		check(413, "["+strings.Repeat("{},", 100)+"{}]", typeJSON)
		// Chunked: the length is not told.
		r, err := http.NewRequest("POST", "http://server/faye", io.MultiReader(strings.NewReader(strings.Repeat(" ", 5000))))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		answer, err := w.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, 413, answer.StatusCode)
		_ = answer.Body.Close()
		refused := w.server.Stats().Refused
		require.Equal(t, int64(6), refused["content_type"])
		require.Equal(t, int64(2), refused["too_large"])
		require.Equal(t, int64(2), refused["utf8"])
		require.Equal(t, int64(1), refused["batch"])
		require.Equal(t, int64(6), refused["malformed"])
	})
}

func TestPathsAndMethods(t *testing.T) {
	in(t, Options{Script: []byte("client"), Scripts: map[string][]byte{"history.js": []byte("history")}}, func(t *testing.T, w *world) {
		post := func(path string, want int) {
			t.Helper()
			answer, _ := w.ask(t, "POST", path, openPost, typeJSON)
			require.Equal(t, want, answer.StatusCode, path)
		}
		for _, path := range []string{"/faye", "/faye/", "/faye/connect", "/faye/a/b", "/faye.json", "/faye?x=y"} {
			post(path, 200)
		}
		for _, path := range []string{"/fayex", "/", "/Faye", "/faye.a/b", "/x/faye"} {
			post(path, 404)
		}
		for _, method := range []string{"PUT", "DELETE", "PATCH", "HEAD", "TRACE"} {
			answer, _ := w.ask(t, method, "/faye", "")
			require.Equal(t, 405, answer.StatusCode, method)
			require.Equal(t, "GET, POST, OPTIONS", answer.Header.Get("Allow"))
		}
		for path, want := range map[string]string{
			"/faye/client.js": "client", "/faye.js": "client", "/faye.js?x": "client", "/faye-browser-min.js": "client", "/faye/history.js": "history",
		} {
			answer, text := w.ask(t, "GET", path, "")
			require.Equal(t, 200, answer.StatusCode, path)
			require.Equal(t, want, text)
			require.Equal(t, "*", answer.Header.Get("Access-Control-Allow-Origin"))
			answer, text = w.ask(t, "GET", path, "", "If-None-Match: "+answer.Header.Get("ETag"))
			require.Equal(t, 304, answer.StatusCode)
			require.Empty(t, text)
		}
		for codings, packed := range map[string]bool{"gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "identity": false, "x-gzip": false} {
			answer, text := w.ask(t, "GET", "/faye/client.js", "", "Accept-Encoding: "+codings)
			require.Equal(t, "Accept-Encoding", answer.Header.Get("Vary"))
			require.Equal(t, packed, answer.Header.Get("Content-Encoding") == "gzip", codings)
			require.EqualValues(t, len(text), answer.ContentLength)
			if packed {
				r, err := gzip.NewReader(strings.NewReader(text))
				require.NoError(t, err)
				plain, err := io.ReadAll(r)
				require.NoError(t, err)
				text = string(plain)
			}
			require.Equal(t, "client", text)
		}
		for _, path := range []string{"/faye/none.js", "/faye/client.js.map"} {
			answer, text := w.ask(t, "GET", path, "")
			require.Equal(t, 404, answer.StatusCode, path)
			require.Empty(t, text)
		}
		answer, _ := w.ask(t, "POST", "/faye/client.js", "")
		require.Equal(t, 405, answer.StatusCode)
	})
}

func TestCallbacks(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		get := func(query url.Values, headers ...string) (*http.Response, string) {
			return w.ask(t, "GET", "/faye?"+query.Encode(), "", headers...)
		}
		answer, text := get(url.Values{"message": {`{"channel":"/open","data":1,"id":"` + "\u2028\u2029" + `"}`}, "jsonp": {"a.$b1"}})
		require.Equal(t, 200, answer.StatusCode)
		require.Equal(t, `/**/a.$b1([{"id":"\u2028\u2029","channel":"/open","successful":true}]);`, text)
		require.Equal(t, "text/javascript; charset=utf-8", answer.Header.Get("Content-Type"))
		require.Equal(t, "attachment; filename=f.txt", answer.Header.Get("Content-Disposition"))
		require.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
		_, text = get(url.Values{"message": {openPost}, "jsonp": {""}})
		require.Equal(t, "/**/jsonpcallback("+openDone+");", text)
		// What could end the script element is escaped in all that is echoed as text.
		_, text = get(url.Values{"message": {`{"channel":"/open</script>","data":1}`}})
		require.NotContains(t, text, "<")
		for _, name := range []string{"42", "a-b", "a[0]", "alert(1)", "a..b", "a.", ".a", "a b", "é", strings.Repeat("a", 129), "a\n"} {
			answer, text = get(url.Values{"message": {openPost}, "jsonp": {name}})
			require.Equal(t, 400, answer.StatusCode, name)
			require.Equal(t, "Bad request", text)
		}
		answer, _ = get(url.Values{})
		require.Equal(t, 400, answer.StatusCode)
		require.Equal(t, int64(11), w.server.Stats().Refused["callback"])
	})
}

func TestCORS(t *testing.T) {
	check := func(o Options, origin, method string, status int, allowed bool) {
		t.Helper()
		in(t, o, func(t *testing.T, w *world) {
			headers := []string{typeJSON}
			if origin != "" {
				headers = append(headers, "Origin: "+origin)
			}
			answer, _ := w.ask(t, method, "/faye", openPost, headers...)
			require.Equal(t, status, answer.StatusCode, origin)
			want, credentials := "", ""
			if allowed {
				want, credentials = origin, "true"
			}
			require.Equal(t, want, answer.Header.Get("Access-Control-Allow-Origin"), origin)
			require.Equal(t, credentials, answer.Header.Get("Access-Control-Allow-Credentials"))
			if status == 200 {
				require.Contains(t, answer.Header.Values("Vary"), "Origin")
			}
			if method == "OPTIONS" {
				require.Equal(t, "POST, GET", answer.Header.Get("Access-Control-Allow-Methods"))
				require.Contains(t, answer.Header.Get("Access-Control-Allow-Headers"), "Content-Type")
			}
		})
	}
	listed := Options{Origins: []string{"https://a.example"}}
	for _, method := range []string{"POST", "OPTIONS"} {
		check(Options{}, "https://a.example", method, 200, true)
		check(Options{}, "http://[::1]:80", method, 200, true)
		for _, origin := range []string{"", "null", "file://", "https://", "https://a/b", "https://a b", "chrome-extension://x", "https://" + strings.Repeat("a", 255)} {
			check(Options{}, origin, method, 200, false)
		}
		check(listed, "https://a.example", method, 200, true)
	}
	for _, origin := range []string{"null", "https://b.example", "http://a.example", "https://a.example.b", "HTTPS://a.example"} {
		check(listed, origin, "POST", 403, false)
		check(listed, origin, "OPTIONS", 200, false)
	}
	check(listed, "", "POST", 200, false)
}

func TestOriginsOfSocketsStreamsAndScripts(t *testing.T) {
	in(t, Options{Origins: []string{"https://a.example"}}, func(t *testing.T, w *world) {
		w.Header = http.Header{"Origin": {"https://b.example"}}
		w.Run(`
			open a websocket
			a< status 403
			open s eventsource x
			s< status 403
			open c callback-polling
			c> []
			c< status 403
		`)
		w.Header = http.Header{"Origin": {"https://a.example"}}
		w.Run("open a websocket\na> []\na< []\nopen c callback-polling\nc> []\nc< []")
		for header, want := range map[string]int{
			"Referer: https://a.example/page": 200, "Referer: http://server/page": 200, "Referer: https://b.example/": 403, "Referer: :": 403,
			"Sec-Fetch-Site: cross-site": 403, "Sec-Fetch-Site: same-origin": 200, "X: y": 200,
		} {
			answer, _ := w.ask(t, "GET", "/faye?message=[]", "", header)
			require.Equal(t, want, answer.StatusCode, header)
		}
	})
}

func TestTransportsThatAreNotOffered(t *testing.T) {
	in(t, Options{Transports: []string{"long-polling"}}, func(t *testing.T, w *world) {
		w.Run(`
			open s websocket
			s< status 503
			open c callback-polling
			c> []
			c< status 405
			open a
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
			a< {"error":"301:websocket:Connection types not supported","supportedConnectionTypes":["long-polling"]}
			` + hello("a") + `
			a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket"}
			a< {"error":"301:websocket:Connection types not supported"}
			open e eventsource ${a}
			e< status 404
		`)
	})
}

func TestASlowBody(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		conn := w.Dial()
		start := time.Now()
		_, err := io.WriteString(conn, "POST /faye HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n[")
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(answer), "400 Bad Request")
		require.Equal(t, bodyRead+2*time.Second, time.Since(start))
		require.NoError(t, conn.Close())
	})
}

// Nor does a body that nobody wants hold up its refusal.
func TestASlowBodyOfARefusedRequest(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		conn := w.Dial()
		start := time.Now()
		_, err := io.WriteString(conn, "POST /faye HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nContent-Length: 65536\r\n\r\n[")
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(answer), "415 ")
		require.Equal(t, bodyRead, time.Since(start))
		require.NoError(t, conn.Close())
	})
}

// A poll's answer that nobody reads: the connection is cut, the deliveries stay.
func TestAnAnswerThatIsNotRead(t *testing.T) {
	in(t, Options{Limits: Limits{Stall: 20 * time.Second}}, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + listen("a", "/x"))
		big := `"` + strings.Repeat("x", 200<<10) + `"`
		w.app.deliver("/x", big)
		conn := w.Dial()
		body := `{"channel":"/meta/connect","clientId":"` + w.Value("a") + `","connectionType":"long-polling","id":"1"}`
		_, err := io.WriteString(conn, "POST /faye HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
		require.NoError(t, err)
		time.Sleep(28 * time.Second) // 20 s, and 200 KiB at 32 KiB/s
		synctest.Wait()
		require.Equal(t, int64(1), w.server.Stats().Stalled)
		require.NoError(t, conn.Close())
		w.Run(connects("a", "2") + `a< [{"channel":"/x"},{"id":"2"}]`)
		require.Equal(t, int64(1), w.server.Stats().Resent)
	})
}

func itoa(n int) string { return string(appendInt(nil, n)) }

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

func TestLimitsByAddress(t *testing.T) {
	o := Options{Limits: Limits{SessionsPerAddr: 2, HandshakesPerAddr: 1, HandshakeBurst: 3}}
	const shake = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}`
	in(t, o, func(t *testing.T, w *world) {
		w.Run("open a\n" + hello("a") + "open b\n" + hello("b") + `
			a> ` + shake + `
			a< {"error":"429::Too many sessions","advice":{"reconnect":"handshake","interval":"$time:500..5000","timeout":45000}}
			a> ` + shake + `
			a< {"error":"429::Too many handshakes","advice":{"reconnect":"handshake","interval":"$time:500..5000"}}
			a> {"channel":"/meta/disconnect","clientId":"${a}"}
			a< {"successful":true}
			wait 1s
			` + hello("a"))
		require.Equal(t, int64(1), w.server.Stats().Refused["handshake_rate"])
		require.Equal(t, int64(1), w.server.Stats().Refused["sessions_per_address"])
	})
}

func TestRatesSlowTheReading(t *testing.T) {
	o := Options{Limits: Limits{PublishPerSession: 1, PublishBurst: 2}}
	in(t, o, func(t *testing.T, w *world) {
		const publish = `a> {"channel":"/p","clientId":"${a}","data":1}` + "\n"
		w.Run("open a websocket\n" + hello("a") + strings.Repeat(publish, 4) + `
			a< {"successful":true}
			a< {"successful":true}
			quiet
			wait 1s
			a< {"successful":true}
			wait 1s
			a< {"successful":true}
		`)
		require.Equal(t, int64(2), w.server.Stats().Throttled)
	})
}

func TestClientAddresses(t *testing.T) {
	v := NewServer(newApp(), Options{TrustedProxies: prefixes(t, "10.0.0.0/8", "::1/128")})
	check := func(remote, forwarded, want string) {
		t.Helper()
		r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
		if forwarded != "" {
			r.Header.Add("X-Forwarded-For", forwarded)
		}
		require.Equal(t, want, v.clientAddr(r))
	}
	check("192.0.2.1:99", "", "192.0.2.1")
	check("192.0.2.1:99", "1.1.1.1", "192.0.2.1") // nobody's proxy
	check("10.0.0.1:99", "1.1.1.1", "1.1.1.1")
	check("10.0.0.1:99", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1") // the first is made up
	check("10.0.0.1:99", "nonsense", "10.0.0.1")
	check("10.0.0.1:99", "1.1.1.1, nonsense, 10.0.0.2", "10.0.0.2")
	check("[::1]:99", "2001:db8::1%eth0", "2001:db8::1")
	check("[::ffff:192.0.2.1]:99", "", "192.0.2.1")
	check("@", "", "@")
}
