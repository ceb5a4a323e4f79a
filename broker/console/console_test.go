package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const secret = "b7Yx+0/mark_of_a_token_that_no_log_may_hold"

const authorized = "Authorization: Bearer " + secret

// bench is a console of a real broker; what it carries requests through to is noted.
type bench struct {
	*Console
	broker *broker.Broker
	app    *broker.Application

	mu      sync.Mutex
	carried []*http.Request
	who     []*broker.Identity
	drained int
}

// newBench starts one; change, when not nil, changes the options before.
func newBench(t testing.TB, change func(*Options)) *bench {
	t.Helper()
	s := memory.New(memory.Options{})
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	all, err := channels.ParsePattern("/open/**")
	require.NoError(t, err)
	b, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(), AutoCreate: true, NodeName: "one", Version: "v1.2.3",
		Accounts: []broker.Account{{Apps: []broker.Application{{ID: 12, Name: "demo", TokenSecret: "demo-token-secret-0123456789abcdef"}}}},
		Open:     []broker.OpenPrefix{{Pattern: all, Publish: "anyone", History: time.Hour}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, s.Close())
	})
	x := &bench{broker: b, app: b.Service().Application("demo")}
	o := Options{
		Gate: NewGate(secret, zap.NewNop()), Version: "v1.2.3", Broker: b.Operator(), Mount: "/faye", Client: []byte("// client"), Logger: zap.NewNop(),
		Store: func(context.Context) Store { return Store{Kind: "memory"} },
		API: func(w http.ResponseWriter, r *http.Request, who *broker.Identity) {
			x.note(r, who)
			fmt.Fprint(w, "api")
		},
		Bayeux: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x.note(r, nil)
			fmt.Fprint(w, "bayeux")
		}),
		ExplainRoot: func(text string) (string, bool) { return "genuine: a root", len(text) == 40 },
		Drain:       func() { x.mu.Lock(); x.drained++; x.mu.Unlock() },
	}
	if change != nil {
		change(&o)
	}
	x.Console = New(o)
	return x
}

func (x *bench) note(r *http.Request, who *broker.Identity) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.carried, x.who = append(x.carried, r), append(x.who, who)
}

// say publishes to an open channel.
func (x *bench) say(t testing.TB, channel, data string) {
	t.Helper()
	out := x.broker.PublishAll(t.Context(), nil, []broker.Publication{{Channel: channel, Data: []byte(data)}})
	require.NoError(t, out[0].Err)
}

// get asks a handler; header lines are "Name: value".
func get(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	return post(h, method, target, "", headers...)
}

func post(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://broker.example/", strings.NewReader(body))
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

func TestAnswers(t *testing.T) {
	h := newBench(t, nil)
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
	f("GET", "/console/client.js", 200, script)
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
	f("GET", "/console/drain", 405, answer, authorized)
	require.Zero(t, h.drained)
	for _, target := range []string{
		"/", "/consolex", "/console/x", "/console/index.html", "/console/page/index.html", "/console/console.go",
		"/console/doc.go", "/console//", "//console/", "/console/./", "/console/../console/", "/console/overview/",
		"/console/%2e%2e/go.mod", "/console/..%2f..%2fgo.mod", "/console/%6fverview", "/console/console.mjs/",
		"/console/console.mjs%00", "/console/Console.mjs", `/console/..\console.go`, "/console/console.css/../overview",
		"/console/bayeux/", "/console/bayeux/client.js", "/console/as", "/overview", "/console/session/",
	} {
		f("GET", target, 404, answer, authorized)
	}
}

func TestRedirectKeepsTheFragment(t *testing.T) {
	// A Location without a fragment of its own inherits that of the request.
	require.Equal(t, "/console/", get(newBench(t, nil), "GET", "/console").Header().Get("Location"))
}

func TestHeadHasNoBody(t *testing.T) {
	s := httptest.NewServer(newBench(t, nil))
	defer s.Close()
	answer, err := s.Client().Head(s.URL + "/console/")
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Empty(t, body)
	require.Positive(t, answer.ContentLength)
}

// Whatever is asked for but the page itself needs the token, and does nothing without it.
func TestEveryRouteNeedsTheToken(t *testing.T) {
	x := newBench(t, nil)
	type door struct{ method, path string }
	doors := []door{{"POST", bayeuxPath}, {"GET", bayeuxPath}, {"GET", asPath + "demo/v1/objects"}, {"DELETE", asPath + "demo/v1/objects/x"}}
	for path, rt := range routes {
		doors = append(doors, door{rt.method, root + path})
	}
	for _, d := range doors {
		f := func(headers ...string) {
			t.Helper()
			x.opt.Gate = NewGate(secret, zap.NewNop()) // so that no address runs out of tries
			w := post(x, d.method, d.path, `{}`, headers...)
			require.Equal(t, 401, w.Code, "%v", d)
			require.Equal(t, `Bearer realm="gobelin console"`, w.Header().Get("WWW-Authenticate"))
			require.JSONEq(t, `{"error":"the console's token is needed"}`, w.Body.String())
		}
		f()
		f("Authorization: ")
		f("Authorization: " + secret)
		f("Authorization: Basic " + secret)
		f("Authorization: Bearer")
		f("Authorization: Bearer ")
		f("Authorization: Bearer  " + secret)
		f("Authorization: Bearer " + secret + " ")
		f("Authorization: Bearer " + secret[:len(secret)-1])
		f("Authorization: Bearer " + secret + "x")
		f("Authorization: Bearer " + strings.ToUpper(secret))
		f("Authorization: Bearer " + strings.Repeat("x", maxToken+1))
		f(authorized, authorized)
		f("Cookie: token=" + secret)
		require.Equal(t, 401, get(x, d.method, d.path+"?token="+secret).Code)
	}
	require.Empty(t, x.carried)
	require.Zero(t, x.drained)
}

func TestWithoutATokenNobodyComesIn(t *testing.T) {
	h := newBench(t, func(o *Options) { o.Gate = NewGate("", zap.NewNop()) })
	require.Equal(t, 401, get(h, "GET", "/console/overview").Code)
	require.Equal(t, 401, get(h, "GET", "/console/overview", "Authorization: Bearer ").Code)
	require.Equal(t, 401, get(h, "GET", "/console/overview", "Authorization: Bearer").Code)
}

func TestSlowsGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen, logs := observer.New(zapcore.DebugLevel)
		h := newBench(t, func(o *Options) { o.Gate = NewGate(secret, zap.New(seen)) })
		guess := "Authorization: Bearer guess_" + secret
		for range 50 { // no token is no guess
			require.Equal(t, 401, get(h, "GET", "/console/overview").Code)
		}
		for i := range tries { // whichever route it is tried on
			require.Equal(t, 401, get(h, "GET", []string{"/console/overview", bayeuxPath, asPath + "demo/v1/objects"}[i%3], guess).Code)
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
	release, inside := make(chan struct{}), make(chan struct{})
	h := newBench(t, func(o *Options) {
		o.ExplainRoot = func(string) (string, bool) {
			inside <- struct{}{}
			<-release
			return "", false
		}
	})
	var wg sync.WaitGroup
	for range maxAsked {
		wg.Go(func() {
			if code := post(h, "POST", "/console/root/check", `{"root":"x"}`, authorized).Code; code != 200 {
				t.Errorf("answer %d", code)
			}
		})
		<-inside
	}
	w := get(h, "GET", "/console/overview", authorized)
	require.Equal(t, 503, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	require.Equal(t, 200, get(h, "GET", "/console/").Code, "the page is always there")
	require.Equal(t, 200, get(h, "POST", bayeuxPath, authorized).Code, "held polls take no room")
	close(release)
	wg.Wait()
	var got report
	require.NoError(t, json.Unmarshal(get(h, "GET", "/console/overview", authorized).Body.Bytes(), &got))
	require.Equal(t, tally{Busy: 1}, got.Console)
}

func TestAPanicLeavesTheRoom(t *testing.T) {
	h := newBench(t, func(o *Options) { o.ExplainRoot = func(string) (string, bool) { panic("planted") } })
	for range 2 * maxAsked {
		require.PanicsWithValue(t, "planted", func() { post(h, "POST", "/console/root/check", `{"root":"x"}`, authorized) })
	}
}

// The operator's requests reach the broker's own surfaces without the token, at the path
// that is theirs, in the operator's name, and no others.
func TestPassages(t *testing.T) {
	x := newBench(t, nil)
	f := func(target string, want int, path, escaped string) {
		t.Helper()
		x.carried = nil
		w := post(x, "POST", target, `{"a":1}`, authorized, "Origin: http://elsewhere.example", "If-Match: \"3\"")
		require.Equal(t, want, w.Code, target)
		if want != 200 {
			require.Empty(t, x.carried)
			return
		}
		r := x.carried[0]
		require.Equal(t, path, r.URL.Path)
		require.Equal(t, escaped, r.URL.EscapedPath())
		require.Empty(t, r.Header.Values("Authorization"))
		require.Equal(t, `"3"`, r.Header.Get("If-Match"))
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, `{"a":1}`, string(body))
	}
	f("/console/bayeux", 200, "/faye", "/faye")
	require.Empty(t, x.carried[0].Header.Get("Origin"))
	f("/console/as/demo/v1/objects/a%2Fb/roots?class=view", 200, "/v1/objects/a/b/roots", "/v1/objects/a%2Fb/roots")
	require.Equal(t, "class=view", x.carried[0].URL.RawQuery)
	who := x.who[len(x.who)-1]
	require.Equal(t, broker.RoleServer, who.Role)
	require.Equal(t, broker.OperatorRole, who.RoleName)
	require.Equal(t, "demo", who.App.Name)
	for _, target := range []string{
		"/console/as/none/v1/objects", "/console/as/demo/stable/", "/console/as/demo/api/live/list", "/console/as/demo", "/console/as//v1/objects",
		"/console/as/demo/streams", "/console/as/demo%2Fv1/v1x", "/console/as/demo/metrics",
	} {
		f(target, 404, "", "")
	}
}

// What is changed here is written down, without what it was changed with.
func TestAudit(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	x := newBench(t, func(o *Options) { o.Audit = zap.New(seen) })
	f := func(path, body string, status int, message, action string) {
		t.Helper()
		logs.TakeAll()
		w := post(x, "POST", root+path, body, authorized)
		require.Equal(t, status, w.Code, w.Body.String())
		if action == "" {
			require.Zero(t, logs.Len())
			return
		}
		require.Equal(t, 1, logs.Len())
		e := logs.All()[0]
		require.Equal(t, message, e.Message)
		require.Equal(t, action, e.ContextMap()["action"])
		require.Equal(t, broker.OperatorRole, e.ContextMap()["role"])
		require.Equal(t, int64(status), e.ContextMap()["status"])
		require.NotContains(t, fmt.Sprint(e.ContextMap()), "mark")
	}
	f("token", `{"app":"demo","role":"viewer","channel_id":"mark","seconds":60}`, 200, "done", "token.make")
	f("token", `{"app":"demo","role":"viewer","seconds":60}`, 400, "refused", "token.make")
	f("token", `{"app":"none","role":"admin","seconds":60}`, 404, "refused", "token.make")
	f("session/end", `{"id":"mark"}`, 404, "refused", "session.end")
	f("drain", `{}`, 200, "done", "node.drain")
	require.Equal(t, 1, x.drained)
	f("token/check", `{"token":"mark"}`, 200, "", "")
	f("root/check", `{"root":"mark"}`, 200, "", "")
}

func TestBodiesAreExact(t *testing.T) {
	x := newBench(t, nil)
	for _, body := range []string{``, `{`, `[]`, `{"id":"x"}{}`, `{"id":"x","more":1}`, `{"id":1}`, `{"id":"` + strings.Repeat("x", maxBody) + `"}`} {
		require.Equal(t, 400, post(x, "POST", root+"session/end", body, authorized).Code, "%.40s", body)
	}
	for _, query := range []string{"since=-1", "since=x", "x=1", "since=1&since=2", "since=%zz", "since=" + strings.Repeat("1", maxText+1)} {
		require.Equal(t, 400, get(x, "GET", root+"overview?"+query, authorized).Code, query)
	}
}

// hostile is a text that runs in a page that takes it for markup.
const hostile = `<img src=x onerror="document.title='owned'">`

func TestRoutes(t *testing.T) {
	x := newBench(t, nil)
	ask := func(method, path, body string, v any) {
		t.Helper()
		w := post(x, method, root+path, body, authorized)
		require.Equal(t, 200, w.Code, "%s: %s", path, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), v))
	}
	text, err := json.Marshal(hostile)
	require.NoError(t, err)
	x.say(t, "/open/a", string(text))
	var page broker.ChannelPage
	ask("GET", "channels?search=A", "", &page)
	require.Len(t, page.Channels, 1)
	require.Equal(t, "/open/a", page.Channels[0].Channel)
	require.Equal(t, string(text), page.Channels[0].Last)

	var one struct {
		broker.ChannelView
		Now int64
	}
	ask("GET", "channel?channel=/open/a", "", &one)
	require.Equal(t, int64(1), one.Count)
	require.GreaterOrEqual(t, one.Now, one.Newest)
	var d struct{ Counts []int64 }
	ask("GET", fmt.Sprintf("density?channel=/open/a&from=%d&to=%d&parts=2", one.Newest-1, one.Newest+1), "", &d)
	require.Equal(t, []int64{0, 1}, d.Counts)

	var sessions broker.SessionPage
	ask("GET", "sessions?everywhere=1", "", &sessions)
	require.Empty(t, sessions.Sessions)
	var all struct{ Streams []broker.StreamState }
	ask("GET", "streams", "", &all)
	require.NotNil(t, all.Streams)
	_, err = x.broker.Object(t.Context(), x.app, "gala")
	require.NoError(t, err)
	var names struct{ Accumulations []string }
	ask("GET", "accumulations?app=demo&object=gala", "", &names)
	require.NotNil(t, names.Accumulations)
	var chart struct{ From, To, Step int64 }
	ask("GET", "viewers?app=demo&object=gala&graph=4", "", &chart)
	require.Equal(t, (24 * time.Hour).Milliseconds(), chart.Step)

	var made struct{ Token string }
	ask("POST", "token", `{"app":"demo","role":"viewer","channel_id":"gala","name":"Anna","seconds":60}`, &made)
	var said verdictView
	ask("POST", "token/check", `{"token":" `+made.Token+`\n"}`, &said)
	require.True(t, said.Good, said.Text)
	ask("POST", "token/check", `{"token":"`+made.Token+`x"}`, &said)
	require.False(t, said.Good)
	require.NotEmpty(t, said.Check)
	o, err := x.broker.Object(t.Context(), x.app, "gala")
	require.NoError(t, err)
	_, control := x.broker.Service().Roots(o)
	ask("POST", "root/check", `{"root":"`+control+`/chat"}`, &said)
	require.Equal(t, "gala", said.ObjectID)
	ask("POST", "root/check", `{"root":"`+strings.Repeat("0", 40)+`"}`, &said)
	require.False(t, said.Good, "genuine in form alone")

	for _, bad := range []string{"channel?channel=x", "density?channel=/open/a&from=2&to=1", "density?channel=/open/a&from=1&to=2&parts=241", "sessions?limit=201", "viewers?graph=5&app=demo&object=gala"} {
		require.Equal(t, 400, get(x, "GET", root+bad, authorized).Code, bad)
	}
	for _, none := range []string{"session?id=x", "viewers?app=demo&object=nobody", "accumulations?app=none&object=gala", "channel?app=demo&object=nobody&channel=chat"} {
		require.Equal(t, 404, get(x, "GET", root+none, authorized).Code, none)
	}
}

// The overview remembers an hour, whoever asks, and gives only what is new to who says
// what it has.
func TestHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBench(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go x.Run(ctx)
		overview := func(since int64) (r report) {
			t.Helper()
			w := get(x, "GET", fmt.Sprintf("/console/overview?since=%d", since), authorized)
			require.Equal(t, 200, w.Code)
			require.NotContains(t, strings.ReplaceAll(w.Body.String(), `"rates":null`, ""), "null")
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &r))
			return r
		}
		synctest.Wait()
		first := overview(0)
		require.Empty(t, first.Samples)
		require.Equal(t, "one", first.Nodes[0].Name)
		require.Equal(t, "v1.2.3", first.Nodes[0].Version)
		for range 25 {
			x.say(t, "/open/a", "1")
			time.Sleep(time.Second)
		}
		r := overview(0)
		require.Len(t, r.Samples, 2)
		at := map[string]float64{}
		for i, c := range r.Columns {
			at[c] = r.Samples[0][i]
		}
		require.InDelta(t, 1, at["published"], 0.11)
		require.InDelta(t, 0, at["delivered"], 0)
		require.InDelta(t, -1, at["written_p99"], 0, "nothing was written")
		require.GreaterOrEqual(t, at["stored_p50"], 0.0)
		require.InDelta(t, 1, r.Nodes[0].Rates.Published, 0.15)
		require.Empty(t, overview(int64(r.Samples[1][0])).Samples)
		require.Len(t, overview(int64(r.Samples[0][0])).Samples, 1)
		cancel()
		synctest.Wait()
	})
}

// No more than an hour is remembered, and of looks no more than rates need.
func TestHourIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHour(func(context.Context) ([]broker.Node, error) { return []broker.Node{{ID: "a"}}, errors.New("away") },
			func(context.Context) Store { return Store{} }, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		go h.run(ctx)
		for range 3 * 3600 {
			time.Sleep(time.Second)
			h.refresh(ctx)
		}
		require.Len(t, h.samples, hourLong)
		require.LessOrEqual(t, len(h.looks), int(looksFor/freshFor)+2)
		now, before, all, _ := h.newest(0)
		require.Len(t, all, hourLong)
		require.NotEmpty(t, now.fault)
		require.GreaterOrEqual(t, now.at.Sub(before.at), rateOver)
		require.LessOrEqual(t, now.at.Sub(before.at), rateOver+2*time.Second)
		cancel()
		synctest.Wait()
	})
}

// What is looked at is looked at once, however many ask.
func TestManyPagesLookOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, facts := 0, 0
		x := newBench(t, func(o *Options) {
			o.Store = func(context.Context) Store { facts++; return Store{Kind: "memory", Fault: hostile} }
		})
		nodes := x.hour.nodes
		x.hour.nodes = func(ctx context.Context) ([]broker.Node, error) { looks++; return nodes(ctx) }
		for range 100 {
			require.Contains(t, get(x, "GET", "/console/overview", authorized).Body.String(), `img src=x`)
		}
		require.Equal(t, 1, looks)
		require.Equal(t, 1, facts)
		time.Sleep(time.Second)
		get(x, "GET", "/console/overview", authorized)
		require.Equal(t, 2, looks)
		require.Equal(t, 2, facts, "a store in trouble is asked again")
	})
}

// Rates of all nodes add up; one that began meanwhile counts from its beginning, one that
// is not known or does not serve not at all.
func TestSampleOfManyNodes(t *testing.T) {
	bounds := []float64{1, 10}
	figures := func(published int64, counts ...int64) *broker.Figures {
		return &broker.Figures{Published: published, Memory: 100, Written: broker.Spread{Counts: counts, Bounds: bounds}}
	}
	at := time.UnixMilli(100_000)
	before := look{at: at, nodes: []broker.Node{
		{ID: "a", State: broker.NodeServes, At: 100_000, Figures: figures(50, 5, 0, 0)},
		{ID: "b", State: broker.NodeServes, At: 98_000, Figures: figures(1000, 0, 0, 0)},
	}}
	now := look{at: at.Add(10 * time.Second), nodes: []broker.Node{
		{ID: "a", State: broker.NodeServes, At: 110_000, Figures: figures(150, 5, 10, 0)},
		{ID: "b", State: broker.NodeServes, At: 98_000, Figures: figures(1000, 0, 0, 0)},
		{ID: "c", State: broker.NodeServes, Started: 105_000, At: 110_000, Figures: figures(100, 10, 0, 0)},
		{ID: "d", State: broker.NodeSilent, At: 110_000, Figures: figures(9999, 0, 0, 9)},
		{ID: "e", State: broker.NodeServes},
	}}
	got := map[string]float64{}
	for i, v := range sampleOf(before, now) {
		got[columns[i]] = v
	}
	require.Equal(t, 3.0, got["nodes"])
	require.Equal(t, 300.0, got["memory"])
	require.Equal(t, 30.0, got["published"])
	require.Equal(t, 1.0, got["written_p50"])
	require.InDelta(t, 9.82, got["written_p99"], 0.01)
	require.Nil(t, rates(before, &now.nodes[1]), "its figures are those of before")
	require.Equal(t, 20.0, rates(before, &now.nodes[2]).Published)
}

func TestEveryEmbeddedFileIsServed(t *testing.T) {
	h := newBench(t, nil)
	entries, err := fs.ReadDir(pages, "page")
	require.NoError(t, err)
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), "index.html")
		w := get(h, "GET", root+name)
		require.Equal(t, 200, w.Code, name)
		require.NotEmpty(t, w.Header().Get("Content-Type"), name)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	require.Panics(t, func() { New(Options{Logger: zap.NewNop()}) })
}

// doc.go describes every route.
func TestRoutesAreDescribed(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for path, rt := range routes {
		require.Regexp(t, `(?m)^//\t`+rt.method+` +`+path+`( |\?|\[|$)`, string(text), path)
		for _, p := range rt.params {
			require.Contains(t, string(text), p+"=", path)
		}
	}
}

func BenchmarkOverview(b *testing.B) {
	h := newBench(b, nil)
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
