package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

const streamToken = "6f46db36dd6543d2b82d91698fcd0896"

// The fake knows one token and refuses everything else in the words of f.fail.
func (f *fake) StreamAccount(token string) *broker.StreamAccount {
	if token != "good" {
		return nil
	}
	return &broker.StreamAccount{}
}

func (f *fake) CreateStream(context.Context, *broker.StreamAccount, broker.StreamSpec) (broker.StreamView, error) {
	return broker.StreamView{}, f.fail
}

func (f *fake) Streams(context.Context, *broker.StreamAccount, int, int) ([]broker.StreamView, int, error) {
	return nil, 0, f.fail
}

func (f *fake) Stream(context.Context, *broker.StreamAccount, string) (broker.StreamView, error) {
	return broker.StreamView{}, f.fail
}

func (f *fake) RenameStream(context.Context, *broker.StreamAccount, string, string) (broker.StreamView, error) {
	return broker.StreamView{}, f.fail
}

func (f *fake) DeleteStream(context.Context, *broker.StreamAccount, string) (broker.StreamView, time.Time, error) {
	return broker.StreamView{}, time.Time{}, f.fail
}

// A stream that is served pokes once and lasts for f.lasts.
func (f *fake) ConnectStream(_ context.Context, _ *broker.StreamAccount, _, _ string, to broker.StreamSink) error {
	if f.lasts == 0 {
		return f.fail
	}
	err := to.Poke(broker.Poke{})
	time.Sleep(f.lasts)
	return err
}

func (f *fake) ReplayStream(context.Context, *broker.StreamAccount, broker.ReplayQuery, string, broker.StreamSink) error {
	return f.fail
}

func (f *fake) PostRecords(context.Context, *broker.Identity, []broker.RecordPost) ([]broker.PostedRecord, error) {
	return nil, f.fail
}

// streamExample sends the example of an operation that a stream_token opens, and bad
// ones.
func (d *described) streamExample(t *testing.T, x *office, method, target, body string, op operation) {
	t.Helper()
	id := x.newStream(`{"name":"one"}`).ID
	target = strings.Replace(target, "631b71415e78120001328462", id, 1) // the broker makes it
	send := func(method, target, body string) *httptest.ResponseRecorder {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		w := httptest.NewRecorder()
		x.handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body)))
		d.answered(t, op, w)
		return w
	}
	require.Equal(t, http.StatusForbidden, send(method, target, body).Code)
	require.Equal(t, http.StatusForbidden, send(method, target+"&token=wrong", body).Code)
	target += "&token=" + streamToken
	if op.RequestBody != nil {
		require.Equal(t, http.StatusBadRequest, send(method, target, `{"a":1,"a"`).Code)
	}
	require.Equal(t, http.StatusMethodNotAllowed, send("TRACE", target, "").Code)
	require.Less(t, send(method, target, body).Code, 300)
}

// newStream makes a stream from a body.
func (x *office) newStream(body string) streamView {
	x.t.Helper()
	w := x.send("POST", "/streams?token="+streamToken, body, "")
	require.Equal(x.t, 201, w.Code, w.Body.String())
	var s streamView
	require.NoError(x.t, json.Unmarshal(w.Body.Bytes(), &s))
	return s
}

// listener is a connection to a stream over HTTP.
type listener struct {
	t    *testing.T
	r    *http.Response
	stop context.CancelFunc

	mu     sync.Mutex
	raw    bytes.Buffer
	frames []string // without pokes
	done   chan struct{}
}

// listen connects to a real server; more are headers "Name: value".
func (x *office) listen(url string, more ...string) *listener {
	x.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	require.NoError(x.t, err)
	for _, h := range more {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	l := &listener{t: x.t, stop: cancel, done: make(chan struct{})}
	l.r, err = http.DefaultClient.Do(r)
	require.NoError(x.t, err)
	require.Equal(x.t, 200, l.r.StatusCode)
	go l.read()
	return l
}

func (l *listener) read() {
	defer close(l.done)
	lines := bufio.NewReader(l.r.Body)
	frame := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		l.mu.Lock()
		l.raw.WriteString(line)
		if frame += line; line == "\n" {
			if !strings.HasPrefix(frame, "event: poke\n") {
				l.frames = append(l.frames, frame)
			}
			frame = ""
		}
		l.mu.Unlock()
	}
}

// wait returns the first n frames that are no pokes.
func (l *listener) wait(n int) []string {
	l.t.Helper()
	var got []string
	require.Eventually(l.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		got = append([]string{}, l.frames...)
		return len(got) >= n
	}, 10*time.Second, 5*time.Millisecond)
	return got
}

func (l *listener) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw.String()
}

// close leaves as a peer does, and waits until the answer has ended.
func (l *listener) close() {
	l.stop()
	<-l.done
	_ = l.r.Body.Close()
}

// serve gives the office a real server, which ends with its connections.
func (x *office) serve() string {
	s := httptest.NewServer(x.handler)
	x.t.Cleanup(func() {
		x.broker.EndStreams()
		s.Close()
	})
	return s.URL
}

func (x *office) record(body string) {
	x.t.Helper()
	w := x.send("POST", "/v1/records", body, x.server())
	require.Equal(x.t, 201, w.Code, w.Body.String())
}

// TestV1V2V3V19OverHTTP: shapes and refusals.
func TestV1V2V3V19OverHTTP(t *testing.T) {
	x := newOffice(t)
	f := func(method, path, body string, status int, want string) {
		t.Helper()
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		w := x.send(method, path+sep+"token="+streamToken, body, "")
		require.Equal(t, status, w.Code, w.Body.String())
		require.JSONEq(t, want, w.Body.String())
		require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	}
	s := x.newStream(`{"name":"warehouse","resource_filter":["summary"],"start_date":"2026-01-31","end_date":"x","more":{}}`)
	want := fmt.Sprintf(`{"id":%q,"name":"warehouse","group":"stream_%s","members":0,"start_date":"2026-01-31","resource_filter":["summary"],"event_type_filter":[],"created_at":%q,"updated_at":%q}`, s.ID, s.ID, s.CreatedAt, s.UpdatedAt)
	f("GET", "/streams/"+s.ID, "", 200, want)
	f("GET", "/streams", "", 200, `{"streams":[`+want+`],"meta":{"offset":0,"limit":50,"total":1,"sort":"-created_at"}}`)
	f("GET", "/streams?offset=1&limit=2", "", 200, `{"streams":[],"meta":{"offset":1,"limit":2,"total":1,"sort":"-created_at"}}`)
	f("GET", "/streams?limit=0", "", 400, `{"errors":["limit must be 1 to 1000"]}`)
	f("POST", "/streams", `{"name":"x"`, 400, `{"errors":["Invalid JSON"]}`)
	f("POST", "/streams", `["x"]`, 400, `{"errors":["Invalid JSON"]}`)
	f("POST", "/streams", `{"name":"x","name":"y"}`, 400, `{"errors":["body: field \"name\" is there twice"]}`)
	f("POST", "/streams", `{}`, 422, `{"errors":{"name":["can't be blank"]}}`)
	f("POST", "/streams", `{"name":7}`, 422, `{"errors":{"name":["must be a string"]}}`)
	f("POST", "/streams", `{"name":"warehouse"}`, 422, `{"errors":{"name":["has already been taken"]}}`)
	f("POST", "/streams", `{"name":"x","resource_filter":"a"}`, 422, `{"errors":{"resource_filter":["must be an array of strings"]}}`)
	f("POST", "/streams", `{"name":"x","resource_filter":[1]}`, 422, `{"errors":{"resource_filter":["must be an array of strings"]}}`)
	f("POST", "/streams", `{"name":"x","event_type_filter":["x"]}`, 422, `{"errors":{"event_type_filter":["can have data and connection"]}}`)
	f("POST", "/streams", `{"name":"x","start_date":"2022-02-29"}`, 422, `{"errors":{"start_date":["must be a day such as 2026-11-21 or a time such as 2026-11-21T12:00:00Z"]}}`)
	f("POST", "/streams", `{"name":"`+strings.Repeat("x", streamBody)+`"}`, 413, `{"errors":["body is larger than 65536 bytes"]}`)
	f("PATCH", "/streams/"+s.ID, `{"resource_filter":[]}`, 422, `{"errors":{"resource_filter":["cannot be changed; make another stream"]}}`)
	f("PUT", "/streams/0", `{"name":"x"}`, 404, `{"errors":["not found"]}`)
	for _, path := range []string{"/streams/0", "/streams/0/connect"} {
		f("GET", path, "", 404, `{"errors":["not found"]}`)
	}
	f("GET", "/streams/0/other", "", 404, `{"errors":["no such endpoint"]}`)
	f("GET", "/replay?date=2022-02-29", "", 400, `{"errors":["Invalid date; a day such as 2026-11-21 or a time such as 2026-11-21T12:00:00Z"]}`)
	f("POST", "/replay", "", 405, `{"errors":["method not allowed; use GET, HEAD, OPTIONS"]}`)
	for i := range 4 {
		x.newStream(fmt.Sprintf(`{"name":"%d"}`, i))
	}
	f("POST", "/streams", `{"name":"sixth"}`, 422, `{"errors":["Maximum number of streams exceeded"]}`)

	w := x.send("DELETE", "/streams/"+s.ID+"?token="+streamToken, "", "")
	require.Equal(t, 200, w.Code)
	require.Regexp(t, `"deleted_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`, w.Body.String())
	f("GET", "/streams/"+s.ID, "", 404, `{"errors":["not found"]}`)

	refused := `{"errors":["Invalid authentication credentials"]}`
	for _, query := range []string{"", "?token=", "?token=wrong", "?token=" + streamToken + "&token=" + streamToken, "?token=%zz", "?Token=" + streamToken} {
		w := x.send("GET", "/streams"+query, "", x.server())
		require.Equal(t, 403, w.Code, query)
		require.JSONEq(t, refused, w.Body.String())
	}
	w = x.send("OPTIONS", "/streams/1/connect", "", "", "Origin: http://page.example")
	require.Equal(t, 204, w.Code)
	require.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), "Last-Event-ID")
	w = x.send("HEAD", "/streams/"+s.ID+"/connect?token="+streamToken, "", "")
	require.Equal(t, 404, w.Code)
	w = x.send("HEAD", "/replay?token="+streamToken, "", "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
}

// TestV4V5Framing: every byte of an answer.
func TestV4V5Framing(t *testing.T) {
	x := newOffice(t)
	url := x.serve()
	s := x.newStream(`{"name":"s"}`)
	l := x.listen(url + "/streams/" + s.ID + "/connect?token=" + streamToken)
	defer l.close()
	h := l.r.Header
	require.Equal(t, []string{"text/event-stream", "no-cache", "no"}, []string{h.Get("Content-Type"), h.Get("Cache-Control"), h.Get("X-Accel-Buffering")})
	x.record("{\"type\":\"summary\",\r\n\"log_id\":\"\\n\",\"id\":\"1\",\"checksum\":\"c\",\"created_at\":\"t\",\"version\":1.0}")
	x.record(`{"connection":{"type":"create","user":{"uid":"<é>"}}}`)
	got := l.wait(2)
	require.Regexp(t, `^event: data\ndata: \{"type":"summary",  "log_id":"\\n","id":"1","checksum":"c","created_at":"t","version":1\.0\}\nid: [0-9A-Z]{26}\n\n$`, got[0])
	require.Equal(t, "event: connection\ndata: {\"connection\":{\"type\":\"create\",\"user\":{\"uid\":\"<é>\"}}}\n\n", got[1])
	require.Eventually(t, func() bool { return strings.Count(l.text(), "event: poke") > 3 }, 5*time.Second, time.Millisecond)
	require.Regexp(t, `^event: poke\ndata: \{"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","stream":"`+s.ID+`","members":\{"count":1,"max":3\}\}\n\n`, l.text())
	require.Regexp(t, `"members":1[,}]`, x.send("GET", "/streams/"+s.ID+"?token="+streamToken, "", "").Body.String())
}

// TestV8V9Records: what is posted, and what is refused with nothing stored.
func TestV8V9Records(t *testing.T) {
	x := newOffice(t)
	f := func(body string, status int, text string) {
		t.Helper()
		w := x.send("POST", "/v1/records", body, x.server())
		require.Equal(t, status, w.Code, w.Body.String())
		require.Contains(t, w.Body.String(), text)
	}
	f(`{"type":"a","log_id":"1"}`, 201, `{"result":0,"id":"`)
	f(`{"type":"a","id":"mine","v":9007199254740993}`, 201, `{"result":0,"id":"mine","time":`)
	f(`[{"type":"b"},{"connection":{"type":"delete"}}]`, 201, `{"result":0,"records":[{"id":"`)
	f(``, 400, "a record must be a JSON object")
	f(`7`, 400, "a record must be a JSON object")
	f(`{"type":"a","type":"b"}`, 400, "without duplicate members")
	f(`{}`, 400, "type is required")
	f(`{"type":7}`, 400, "type must be a string")
	f(`{"type":"`+strings.Repeat("x", 201)+`"}`, 400, "type must be a string")
	f(`{"type":"a","id":7}`, 400, "id must be a string")
	f(`{"type":"a","id":""}`, 400, "id must not be empty")
	f(`{"connection":{}}`, 400, `connection.type must be`)
	f(`{"connection":{"type":"update"}}`, 400, `connection.type must be`)
	f(`{"connection":7}`, 400, `connection must be a JSON object`)
	f(`{"connection":{"type":"create"},"type":"a"}`, 400, "no members beside")
	f(`[]`, 400, "1 to 100 records")
	f(`[`+strings.Repeat(`{"type":"a"},`, 100)+`{"type":"a"}]`, 400, "1 to 100 records")
	f(`[{"type":"a"},{"type":7}]`, 400, "record 1: type must be")
	f(`[{"type":"a"}`, 400, "body must be valid JSON")
	f(`{"type":"a","data":"`+strings.Repeat("x", 1<<20)+`"}`, 413, "at most 1048576 bytes")
	f(`{"type":"a","data":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`, 400, "a record must be")
	require.Equal(t, 401, x.send("POST", "/v1/records", `{"type":"a"}`, "").Code)
	require.Equal(t, 403, x.send("POST", "/v1/records", `{"type":"a"}`, x.token("admin", "")).Code)

	// A retry is no second record.
	for range 2 {
		w := x.send("POST", "/v1/records", `{"type":"c","log_id":"once"}`, x.server(), "Idempotency-Key: k")
		require.Equal(t, 201, w.Code)
	}
	l := x.listen(x.serve() + "/replay?token=" + streamToken)
	defer l.close()
	x.record(`{"type":"end"}`)
	got := l.wait(5)
	require.Len(t, got, 5)
	require.Contains(t, got[1], `"v":9007199254740993`)
	require.Contains(t, got[3], `"log_id":"once"`)
	require.Contains(t, got[4], `"type":"end"`)
}

// TestV9Versions: an update keeps the id and changes the checksum; the same content keeps
// both, though it is written otherwise.
func TestV9Versions(t *testing.T) {
	x := newOffice(t)
	l := x.listen(x.serve() + "/replay?token=" + streamToken)
	defer l.close()
	for _, r := range []string{
		`{"type":"summary","log_id":"d","source":{"type":"fitbit"},"user":{"uid":"u"},"value":1}`,
		`{"type":"summary","log_id":"d","source":{"type":"fitbit"},"user":{"uid":"u"},"value":2}`,
		`{"user":{"uid":"\u0075"}, "value":2, "source":{"type":"fitbit"},"log_id":"d","type":"summary"}`,
		`{"type":"summary","log_id":"d","source":{"type":"fitbit"},"user":{"uid":"other"},"value":2}`,
	} {
		x.record(r)
	}
	var all []struct{ ID, Checksum string }
	for _, frame := range l.wait(4) {
		var r struct{ ID, Checksum string }
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(strings.Split(frame, "\n")[1], "data: ")), &r))
		all = append(all, r)
	}
	require.Equal(t, all[0].ID, all[1].ID)
	require.NotEqual(t, all[0].Checksum, all[1].Checksum)
	require.Equal(t, all[1], all[2])
	require.NotEqual(t, all[0].ID, all[3].ID)
}

// TestV16OverHTTP: the fourth connection is refused; one that leaves makes room.
func TestV16OverHTTP(t *testing.T) {
	x := newOffice(t)
	url := x.serve() + "/streams/" + x.newStream(`{"name":"s"}`).ID + "/connect?token=" + streamToken
	var all []*listener
	for range 3 {
		all = append(all, x.listen(url))
	}
	r, err := http.Get(url)
	require.NoError(t, err)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.NoError(t, r.Body.Close())
	require.Equal(t, 422, r.StatusCode)
	require.JSONEq(t, `{"errors":["Maximum number of client connections exceeded"]}`, string(body))
	for _, l := range all {
		l.close()
	}
	require.Eventually(t, func() bool {
		r, err := http.Get(url)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		return r.StatusCode == 200
	}, 5*time.Second, 10*time.Millisecond)
}

// TestV12EndOverHTTP: the answer ends as one that is whole, with no event that says so.
func TestV12EndOverHTTP(t *testing.T) {
	x := newOffice(t)
	l := x.listen(x.serve() + "/streams/" + x.newStream(`{"name":"s"}`).ID + "/connect?token=" + streamToken)
	x.broker.EndStreams()
	<-l.done
	require.NotContains(t, l.text(), "error")
	require.Empty(t, l.wait(0))
	l.close()
}

// TestStreamTokenIsSecret: no token is logged, whatever goes wrong.
func TestStreamTokenIsSecret(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	f := newFake()
	h := New(f, Options{Logger: zap.New(core)})
	for _, fail := range []error{nil, store.ErrUnavailable, fmt.Errorf("strange"), &broker.StreamError{Status: 422, Text: "x"}} {
		f.fail = fail
		for _, target := range []string{"/streams?token=good", "/streams/1/connect?token=good", "/replay?token=good", "/streams?token=secretwrong"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
			require.NotContains(t, w.Body.String(), "token")
		}
	}
	for _, e := range logs.All() {
		text := fmt.Sprint(e.Message, e.ContextMap())
		require.NotContains(t, text, "good")
		require.NotContains(t, text, "secretwrong")
	}
	require.NotZero(t, logs.Len(), "what is strange is logged")
}

// BenchmarkFrames: records as they are written to a peer, on one core.
func BenchmarkFrames(b *testing.B) {
	head := catchup.RecordHead{Type: "message", LogID: "chat", ObjectID: "show-7", Organization: "12", UID: "zoe", UserID: "A9"}
	data := append(make([]byte, 16), head.Encode([]byte(`{"text":"a message of some length, as people write them","n":17}`))...)
	page := make([]catchup.Record, 256)
	for i := range page {
		var err error
		page[i], err = catchup.DecodeRecord(store.Entry{Position: store.NewPosition(1763683200123, 1, uint64(i)), Data: data})
		require.NoError(b, err)
	}
	s := sink{&writer{ResponseWriter: nowhere{}, form: streamForm}}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Records(page); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "records/s")
}

// nowhere is an answer to nobody.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

// What is told of an answer is how long it took to begin: a stream lasts for hours.
func TestObservedIsTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		c := newCall(t, Options{Observe: func(route string, status int, d time.Duration) {
			require.Equal(t, "/streams/{stream}/connect", route)
			require.Equal(t, http.StatusOK, status)
			took = append(took, d)
		}})
		c.service.lasts = time.Hour
		begun := time.Now()
		require.Equal(t, http.StatusOK, c.do("GET", "/streams/abc/connect?token=good", "", "").Code)
		require.Equal(t, time.Hour, time.Since(begun))
		require.Equal(t, []time.Duration{0}, took)
	})
}
