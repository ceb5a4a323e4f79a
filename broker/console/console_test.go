package console

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const secret = "b7Yx+0/mark_of_a_token_that_no_log_may_hold"

// sample is an overview with something in every field, and with texts that would
// run if a page took them for markup.
func sample() Overview {
	return Overview{
		Sessions: map[string]int64{"websocket": 1200, "long-polling": 34, "eventsource": 0}, Sockets: 1198, Held: 31, Viewers: 1100,
		Received: 90_001, ReceivedBytes: 12 << 20, Published: 60_002, Delivered: 5_000_003, DeliveredBytes: 7 << 30,
		Resent: 4, Replays: 505, Replayed: 60_606, Lagging: 7, Handshakes: 8_008, Throttled: 9, Stalled: 10, Panics: 0,
		Dropped: map[string]int64{"queue_full": 11, "replays_full": 0},
		Refused: map[string]int64{"malformed": 12, hostile: 1},
		Ended:   map[string]int64{"disconnect": 13, "expired": 14},
		Store:   Store{Kind: "disk", Fault: hostile},
		Open:    []string{"anyone may publish to /**, kept 24h", hostile},
	}
}

// hostile is a text that runs in a page that takes it for markup.
const hostile = `<img src=x onerror="document.title='owned'">`

func options() Options {
	return Options{Gate: NewGate(secret, zap.NewNop()), Version: "v1.2.3", Started: time.Now().Add(-90 * time.Minute), Overview: sample, Logger: zap.NewNop()}
}

// get asks a handler; header lines are "Name: value".
func get(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://broker.example/", nil)
	r.RequestURI = target
	u, err := url.ParseRequestURI(target)
	if err != nil {
		panic(err)
	}
	r.URL = u
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const authorized = "Authorization: Bearer " + secret

func TestAnswers(t *testing.T) {
	h := New(options())
	f := func(method, target string, want int, kind string, headers ...string) {
		t.Helper()
		w := get(h, method, target, headers...)
		require.Equal(t, want, w.Code, "%s %s", method, target)
		require.Equal(t, kind, w.Header().Get("Content-Type"), "%s %s", method, target)
		require.Equal(t, policy, w.Header().Get("Content-Security-Policy"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.NotContains(t, w.Body.String(), secret)
	}
	const (
		page   = "text/html; charset=utf-8"
		script = "text/javascript; charset=utf-8"
		answer = "application/json"
	)
	f("GET", "/console", 302, page)
	f("GET", "/console/", 200, page)
	f("HEAD", "/console/", 200, page)
	f("GET", "/console/?x=1", 200, page)
	f("GET", "/console/console.mjs", 200, script)
	f("GET", "/console/console.css", 200, "text/css; charset=utf-8")
	f("GET", "/console/icon.svg", 200, "image/svg+xml")
	f("GET", "/console/overview", 200, answer, authorized)
	f("GET", "/console/overview", 200, answer, "Authorization: bearer "+secret)
	f("HEAD", "/console/overview", 200, answer, authorized)
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"} {
		for _, target := range []string{"/console", "/console/", "/console/console.mjs", "/console/overview"} {
			f(method, target, 405, answer, authorized)
			require.Equal(t, "GET, HEAD", get(h, method, target).Header().Get("Allow"))
		}
	}
	for _, target := range []string{
		"/", "/consolex", "/console/x", "/console/index.html", "/console/page/index.html", "/console/console.go",
		"/console/doc.go", "/console//", "//console/", "/console/./", "/console/../console/", "/console/overview/",
		"/console/%2e%2e/go.mod", "/console/..%2f..%2fgo.mod", "/console/%6fverview", "/console/console.mjs/",
		"/console/console.mjs%00", "/console/Console.mjs", `/console/..\console.go`, "/console/console.css/../overview",
	} {
		f("GET", target, 404, answer, authorized)
	}
}

func TestRedirectKeepsTheFragment(t *testing.T) {
	// A Location without a fragment of its own inherits that of the request.
	require.Equal(t, "/console/", get(New(options()), "GET", "/console").Header().Get("Location"))
}

func TestHeadHasNoBody(t *testing.T) {
	s := httptest.NewServer(New(options()))
	defer s.Close()
	answer, err := s.Client().Head(s.URL + "/console/")
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Empty(t, body)
	require.Positive(t, answer.ContentLength)
}

func TestRefusesWithoutTheToken(t *testing.T) {
	f := func(want int, headers ...string) {
		t.Helper()
		w := get(New(options()), "GET", "/console/overview", headers...)
		require.Equal(t, want, w.Code)
		require.Equal(t, `Bearer realm="gobelin console"`, w.Header().Get("WWW-Authenticate"))
		require.JSONEq(t, `{"error":"the console's token is needed"}`, w.Body.String())
	}
	f(401)
	f(401, "Authorization: ")
	f(401, "Authorization: "+secret)
	f(401, "Authorization: Basic "+secret)
	f(401, "Authorization: Bearer")
	f(401, "Authorization: Bearer ")
	f(401, "Authorization: Bearer  "+secret)
	f(401, "Authorization: Bearer "+secret+" ")
	f(401, "Authorization: Bearer "+secret[:len(secret)-1])
	f(401, "Authorization: Bearer "+secret+"x")
	f(401, "Authorization: Bearer "+strings.ToUpper(secret))
	f(401, "Authorization: Bearer "+strings.Repeat("x", maxToken+1))
	f(401, authorized, authorized)
	f(401, "Cookie: token="+secret)
	require.Equal(t, 401, get(New(options()), "GET", "/console/overview?token="+secret).Code)
}

func TestWithoutATokenNobodyComesIn(t *testing.T) {
	o := options()
	o.Gate = NewGate("", zap.NewNop())
	h := New(o)
	require.Equal(t, 401, get(h, "GET", "/console/overview").Code)
	require.Equal(t, 401, get(h, "GET", "/console/overview", "Authorization: Bearer ").Code)
	require.Equal(t, 401, get(h, "GET", "/console/overview", "Authorization: Bearer").Code)
}

func TestSlowsGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen, logs := observer.New(zapcore.DebugLevel)
		o := options()
		o.Gate = NewGate(secret, zap.New(seen))
		h := New(o)
		guess := "Authorization: Bearer guess_" + secret
		for range 50 { // no token is no guess
			require.Equal(t, 401, get(h, "GET", "/console/overview").Code)
		}
		for range tries {
			require.Equal(t, 401, get(h, "GET", "/console/overview", guess).Code)
		}
		for range 100 {
			require.Equal(t, 429, get(h, "GET", "/console/overview", guess).Code)
		}
		w := get(h, "GET", "/console/overview", authorized)
		require.Equal(t, 429, w.Code, "the right token must wait too, or guessing would not be slowed")
		require.Equal(t, "10", w.Header().Get("Retry-After"))
		require.Equal(t, 200, get(h, "GET", "/console/", authorized).Code)

		require.Equal(t, tries, logs.Len(), "one line a try, none for what was not looked at")
		for _, e := range logs.All() {
			require.NotContains(t, fmt.Sprint(e.Message, e.ContextMap()), secret)
		}

		time.Sleep(tryEvery)
		require.Equal(t, 200, get(h, "GET", "/console/overview", authorized).Code, "the right token costs no try")
		require.Equal(t, 401, get(h, "GET", "/console/overview", guess).Code)
		require.Equal(t, 429, get(h, "GET", "/console/overview", guess).Code)
		time.Sleep(tryEvery)
		var got report
		require.NoError(t, json.Unmarshal(get(h, "GET", "/console/overview", authorized).Body.Bytes(), &got))
		require.Equal(t, tally{WrongTokens: tries + 1, Throttled: 102}, got.Console)
	})
}

func TestBoundsWhatIsAskedAtOnce(t *testing.T) {
	o := options()
	release, inside := make(chan struct{}), make(chan struct{})
	o.Overview = func() Overview {
		inside <- struct{}{}
		<-release
		return sample()
	}
	h := New(o)
	var wg sync.WaitGroup
	for range maxAsked {
		wg.Go(func() {
			if code := get(h, "GET", "/console/overview", authorized).Code; code != 200 {
				t.Errorf("answer %d", code)
			}
		})
		<-inside
	}
	w := get(h, "GET", "/console/overview", authorized)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Equal(t, 200, get(h, "GET", "/console/").Code, "the page is always there")
	close(release)
	wg.Wait()
	go func() { <-inside }()
	var got report
	require.NoError(t, json.Unmarshal(get(h, "GET", "/console/overview", authorized).Body.Bytes(), &got))
	require.Equal(t, tally{Busy: 1}, got.Console)
}

func TestAPanicLeavesTheRoom(t *testing.T) {
	o := options()
	o.Overview = func() Overview { panic("planted") }
	h := New(o)
	for range 2 * maxAsked {
		require.PanicsWithValue(t, "planted", func() { get(h, "GET", "/console/overview", authorized) })
	}
}

// The shape is what the page and scripts of others read: a change of it is meant.
func TestReportGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(options())
		var got map[string]any
		require.NoError(t, json.Unmarshal(get(h, "GET", "/console/overview", authorized).Body.Bytes(), &got))
		p := got["process"].(map[string]any)
		for _, name := range []string{"goroutines", "heap_bytes"} {
			require.Positive(t, p[name], name)
			p[name] = 0 // differs from run to run
		}
		text, err := json.Marshal(got)
		require.NoError(t, err)
		want, err := os.ReadFile("testdata/overview.json")
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(text))
	})
}

func TestEmptyOverviewHasNoNull(t *testing.T) {
	o := options()
	o.Overview = func() Overview { return Overview{} }
	require.NotContains(t, get(New(o), "GET", "/console/overview", authorized).Body.String(), "null")
}

func TestEveryEmbeddedFileIsServed(t *testing.T) {
	names := map[string]bool{}
	for _, s := range served {
		names[s[1]] = true
	}
	entries, err := fs.ReadDir(pages, "page")
	require.NoError(t, err)
	for _, e := range entries {
		require.True(t, names[e.Name()], e.Name())
	}
	require.Len(t, entries, len(served))
}

func TestNewNeedsItsParts(t *testing.T) {
	require.Panics(t, func() { New(Options{Logger: zap.NewNop()}) })
	require.Panics(t, func() { New(Options{Overview: sample}) })
}

func BenchmarkOverview(b *testing.B) {
	h := New(options())
	r := httptest.NewRequest("GET", "/console/overview", nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
