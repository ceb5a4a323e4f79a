package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/signed"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// logAnswer is the answer to a command.
type logAnswer struct {
	Message    string
	Status     string
	Code       string
	HandleTime string `json:"handle_time"`
	Data       []map[string]any
}

// ask posts a command as a JSON body and returns the answer, which has status 200
// always.
func (c *call) ask(command string, headers ...string) logAnswer {
	c.t.Helper()
	w := c.do("POST", "/stable/", "", command, append([]string{"Content-Type: application/json"}, headers...)...)
	return c.readLog(w)
}

func (c *call) readLog(w *httptest.ResponseRecorder) logAnswer {
	c.t.Helper()
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	require.Equal(c.t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	var a logAnswer
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &a), w.Body)
	require.Regexp(c.t, `^\d+\.\d{4} seconds$`, a.HandleTime)
	return a
}

const goodQuery = `{"command":"viewer.log","app":"demo","graph":1}`

func TestS1Forms(t *testing.T) {
	multi := func(parts ...string) (body, kind string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, part := range parts {
			name, value, _ := strings.Cut(part, "=")
			require.NoError(t, w.WriteField(name, value))
		}
		require.NoError(t, w.Close())
		return b.String(), w.FormDataContentType()
	}
	good, kind := multi("json=" + goodQuery)
	more, moreKind := multi("other=1", "json="+goodQuery, "empty=")
	twice, twiceKind := multi("json="+goodQuery, "json="+goodQuery)
	none, noneKind := multi("JSON=" + goodQuery)
	encoded := strings.Replace(good, "Content-Disposition", "Content-Transfer-Encoding: quoted-printable\r\nContent-Disposition", 1)
	f := func(body, kind, code, words string) {
		t.Helper()
		c := newCall(t, Options{})
		w := c.do("POST", "/stable/", "", body, "Content-Type: "+kind)
		a := c.readLog(w)
		require.Equal(t, code, a.Code, a.Message)
		require.Contains(t, a.Message, words)
		require.Equal(t, map[bool]string{true: "success", false: "failure"}[code == ""], a.Status)
	}
	f(good, kind, "", "No viewers found")
	f(more, moreKind, "", "No viewers found")
	f(encoded, kind, "", "No viewers found")
	f("json="+url.QueryEscape(goodQuery), "application/x-www-form-urlencoded", "", "")
	f("a=b&json="+url.QueryEscape(goodQuery), "application/x-www-form-urlencoded; charset=UTF-8", "", "")
	f(goodQuery, "application/json; charset=utf-8", "", "")

	f(goodQuery, "application/x-www-form-urlencoded", "0004", "Content-Type: application/json")
	f("json=a&json=b", "application/x-www-form-urlencoded", "0004", "twice")
	f("json=%zz", "application/x-www-form-urlencoded", "0004", "could not be read")
	f(twice, twiceKind, "0004", "twice")
	f(none, noneKind, "0004", "no field json")
	f(good[:len(good)-8], kind, "0004", "could not be read")
	f(good, "multipart/form-data", "0004", "could not be read")
	f(goodQuery, "text/plain", "0004", "multipart or urlencoded")
	f(goodQuery, "", "0004", "multipart or urlencoded")
	f(`{"a":"`+strings.Repeat("x", signed.MaxBody)+`"}`, "application/json", "0004", "larger than 65536 bytes")
	f(`nonsense`, "application/json", "0004", "unexpected error")
}

func TestS1OtherMethods(t *testing.T) {
	c := newCall(t, Options{})
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH"} {
		w := c.do(method, "/stable/", "", "")
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		require.Equal(t, "POST, OPTIONS", w.Header().Get("Allow"))
		require.Contains(t, w.Body.String(), `"status":"failure"`)
	}
	require.Equal(t, http.StatusNotFound, c.do("POST", "/stable/viewers", "", goodQuery).Code)
	// No header is a credential here.
	require.Equal(t, "success", c.ask(goodQuery, "Authorization: nonsense", "Gobelin-Signature: bad").Status)
	require.Empty(t, c.service.signed)
}

func TestS4Order(t *testing.T) {
	c := newCall(t, Options{})
	f := func(command, code, words string) {
		t.Helper()
		a := c.ask(command)
		require.Equal(t, "failure", a.Status)
		require.Equal(t, code, a.Code, a.Message)
		require.Contains(t, a.Message, words)
	}
	for check, code := range map[broker.BodyCheck]string{
		broker.CheckJSON: "0004", broker.CheckKey: "0001", broker.CheckSignature: "0003", broker.CheckTimestamp: "0002",
	} {
		f(fmt.Sprintf(`{"fails":%d,"command":"none"}`, check), code, "it was to fail")
	}
	f(`{"command":"viewer.nothing","graph":9}`, "0000", `there is "viewer.log"`)
	f(`{"graph":9}`, "0000", "unrecognized command")
	f(`{"command":7}`, "0000", "unrecognized command")
	f(`{"command":"viewer.log","graph":9}`, "0006", "missing: app")
	f(`{"command":"viewer.log","starttime":"yesterday"}`, "0006", "missing: app, graph")
	f(`{"command":"viewer.log","app":null,"graph":1}`, "0006", "missing: app")
	f(`{"command":"viewer.log","app":"x","graph":9,"starttime":"yesterday"}`, "2001", "6 hours by minute")
	f(`{"command":"viewer.log","app":"x","graph":1,"starttime":"yesterday"}`, "2002", "YYYY-MM-DD")
	f(`{"command":"viewer.log","app":"x","graph":1,"url":7}`, "2003", "unknown application")
	f(`{"command":"viewer.log","app":"demo","graph":1,"url":7}`, "2004", "url")
	f(`{"command":"viewer.log","app":"demo","graph":1,"extended":1}`, "2004", "extended")
	f(`{"command":"viewer.log","app":"demo","graph":1,"fill":"yes"}`, "2004", "fill")
}

// TestS5Failures: what goes wrong later has the same shape and status.
func TestS5Failures(t *testing.T) {
	c := newCall(t, Options{})
	c.service.fail = &broker.Error{Result: 4013, Text: "more than 200000 rows: ask for less"}
	require.Equal(t, "2005", c.ask(goodQuery).Code)
	c.service.fail = store.ErrUnavailable
	a := c.ask(goodQuery)
	require.Equal(t, "0004", a.Code)
	require.Contains(t, a.Message, "unavailable")
	c.service.fail = fmt.Errorf("secret")
	a = c.ask(goodQuery)
	require.Equal(t, "0004", a.Code)
	require.NotContains(t, a.Message, "secret")
	c.service.fail = nil
	c.service.suspended = &analyst.Apps[0]
	require.Equal(t, "2003", c.ask(goodQuery).Code)
}

func TestS6App(t *testing.T) {
	c := newCall(t, Options{})
	f := func(app string, want ...uint32) {
		t.Helper()
		a := c.ask(`{"command":"viewer.log","graph":1,"app":` + app + `}`)
		if want == nil {
			require.Equal(t, "2003", a.Code, app)
			return
		}
		require.Equal(t, "success", a.Status, a.Message)
		var got []uint32
		for _, app := range c.service.viewed.Apps {
			got = append(got, app.ID)
		}
		require.Equal(t, want, got, app)
	}
	f(`"demo"`, 12)
	f(`12`, 12)
	f(`["demo",13]`, 12, 13)
	f(`["demo",12,"demo"]`, 12)
	f(`"other"`) // there is one, of another account
	f(`14`)
	f(`true`)
	f(`12.0`)
	f(`{}`)
	f(`["demo","other"]`)
	f(`"12"`)
	for _, app := range []string{`[]`, `[` + strings.Repeat(`12,`, 100) + `12]`} {
		require.Equal(t, "2004", c.ask(`{"command":"viewer.log","graph":1,"app":`+app+`}`).Code)
	}
}

func TestS7URL(t *testing.T) {
	c := newCall(t, Options{})
	f := func(pattern, yes, no string) {
		t.Helper()
		require.Equal(t, "success", c.ask(`{"command":"viewer.log","graph":1,"app":12,"url":`+pattern+`}`).Status, pattern)
		require.True(t, c.service.viewed.URLs.Match(yes), "%s %s", pattern, yes)
		require.False(t, c.service.viewed.URLs.Match(no), "%s %s", pattern, no)
	}
	f(`"a\/b.mp4"`, "a/b.mp4", "xa/b.mp4")
	f(`"a*|b"`, "b", "bb")
	f(`["a*","b|c"]`, "c", "d")
	f(`["caf\u00e9"]`, "café", "cafe")
	require.Equal(t, "success", c.ask(`{"command":"viewer.log","graph":1,"app":12,"url":null}`).Status)
	require.True(t, c.service.viewed.URLs.Match("whatever"))
	for _, url := range []string{`[]`, `7`, `[7]`, `{}`, `"` + strings.Repeat("a|", 100) + `"`, `"` + strings.Repeat("a", 1025) + `"`, `"\ud800"`} {
		require.Equal(t, "2004", c.ask(`{"command":"viewer.log","graph":1,"app":12,"url":`+url+`}`).Code, url)
	}
}

func TestS8Graphs(t *testing.T) {
	c := newCall(t, Options{})
	for graph, want := range map[string]broker.ViewerGraph{
		`1`: {Span: 6 * time.Hour, Grain: store.Minute}, `2`: {Span: 24 * time.Hour, Grain: store.Minute},
		`3`: {Span: 7 * 24 * time.Hour, Grain: store.Hour}, `4`: {Span: 30 * 24 * time.Hour, Grain: store.Day},
		`"3"`: {Span: 7 * 24 * time.Hour, Grain: store.Hour},
	} {
		require.Equal(t, "success", c.ask(`{"command":"viewer.log","app":12,"graph":`+graph+`}`).Status, graph)
		require.Equal(t, want, c.service.viewed.Graph)
		require.True(t, c.service.viewed.Start.IsZero())
	}
	for _, graph := range []string{`0`, `5`, `-1`, `1.0`, `"one"`, `[1]`, `true`, `99999999999999999999`} {
		require.Equal(t, "2001", c.ask(`{"command":"viewer.log","app":12,"graph":`+graph+`}`).Code, graph)
	}
}

func TestS9StartTime(t *testing.T) {
	c := newCall(t, Options{})
	for start, want := range map[string]int64{
		`"2014-09-21 15:00:00"`: 1411311600, `"2014-09-21"`: 1411257600, `1411311600`: 1411311600, `"1411311600"`: 1411311600,
		`0`: 0, `"1970-01-01 00:00:00"`: 0, `"2016-02-29"`: 1456704000,
	} {
		require.Equal(t, "success", c.ask(`{"command":"viewer.log","app":12,"graph":1,"starttime":`+start+`}`).Status, start)
		require.Equal(t, want, c.service.viewed.Start.Unix(), start)
		require.False(t, c.service.viewed.Start.IsZero())
	}
	require.Equal(t, "success", c.ask(`{"command":"viewer.log","app":12,"graph":1,"starttime":null}`).Status)
	require.True(t, c.service.viewed.Start.IsZero())
	for _, start := range []string{
		`"yesterday"`, `""`, `"2014-09-31"`, `"2014-9-1"`, `"2014-09-21 1:00:00"`, `"2014-09-21 15:00:00.5"`, `"2014-09-21 15:00"`, `"2014-09-21T15:00:00Z"`,
		`"2014-09-21 15:00:00 "`, `"2014-02-29"`, `1411311600.0`, `-1`, `253402300800`, `true`, `[]`, `"1969-12-31"`, `"10000-01-01"`,
	} {
		require.Equal(t, "2002", c.ask(`{"command":"viewer.log","app":12,"graph":1,"starttime":`+start+`}`).Code, start)
	}
}

func TestS11Answer(t *testing.T) {
	c := newCall(t, Options{})
	at := time.Date(2014, 9, 21, 15, 0, 0, 0, time.UTC)
	c.service.viewers = []broker.ViewerLogRow{{
		App: &analyst.Apps[0], ViewerRow: catchup.ViewerRow{URL: `a/<b>&"c"`, Time: at, Min: 10, Max: 30, Sum: 100, N: 5, Arrived: 30, Carried: 10, Seconds: 1232}, Partial: true,
	}, {
		App: &analyst.Apps[1], ViewerRow: catchup.ViewerRow{URL: "big", Time: at, Min: 1, Max: math.MaxUint32, Sum: 1<<53 + 1, N: 1 << 22, Seconds: math.MaxUint64},
	}}
	w := c.do("POST", "/stable/", "", goodQuery, "Content-Type: application/json")
	a := c.readLog(w)
	require.Regexp(t, `^\{"message":"Found viewers","status":"success","data":\[`+
		`\{"app":"demo","video_url":"a/<b>&\\"c\\"","viewer_count_avg":20,"viewer_count_min":10,"viewer_count_max":30,"viewer_count_sum":100,"time":"2014-09-21 15:00:00"\},`+
		`\{"app":"vod",.*"viewer_count_sum":9007199254740993,.*\}\],"handle_time":"`, w.Body.String())
	require.Len(t, a.Data[0], 7)

	c.service.viewers = nil
	require.Contains(t, c.do("POST", "/stable/", "", goodQuery, "Content-Type: application/json").Body.String(), `{"message":"No viewers found","status":"success","data":[],"handle_time":"`)

	// Many rows come in parts and are one answer.
	for i := range 2*rowsAPart + 1 {
		c.service.viewers = append(c.service.viewers, broker.ViewerLogRow{App: &analyst.Apps[0], ViewerRow: catchup.ViewerRow{URL: fmt.Sprint(i), N: 1, Time: at}})
	}
	a = c.ask(goodQuery)
	require.Len(t, a.Data, 2*rowsAPart+1)
	require.Equal(t, fmt.Sprint(2*rowsAPart), a.Data[2*rowsAPart]["video_url"])
}

func TestS13Extended(t *testing.T) {
	c := newCall(t, Options{})
	row := catchup.ViewerRow{URL: "a", Time: time.Unix(0, 0), Min: 10, Max: 30, Sum: 100, N: 5, Arrived: 30, Carried: 10, Seconds: 1232}
	c.service.viewers = []broker.ViewerLogRow{{App: &analyst.Apps[0], ViewerRow: row, Partial: true}}
	a := c.ask(`{"command":"viewer.log","app":12,"graph":1,"extended":true,"fill":false}`)
	require.True(t, c.service.viewed.Extended)
	require.False(t, c.service.viewed.Fill)
	require.Len(t, a.Data[0], 11)
	require.InDelta(t, 5, a.Data[0]["samples"], 0)
	require.InDelta(t, 40, a.Data[0]["unique_sessions"], 0)
	require.InDelta(t, 20.53, a.Data[0]["viewer_minutes"], 0)
	require.Equal(t, true, a.Data[0]["partial"])
	c.ask(`{"command":"viewer.log","app":12,"graph":1,"fill":true}`)
	require.True(t, c.service.viewed.Fill)
}

// TestStableRate: an account is charged wherever it asks from, an address before its
// body is looked at; and an account has so many queries at once and no more.
func TestStableRate(t *testing.T) {
	c := newCall(t, Options{RequestRate: 0.001, Burst: 100})
	for range 100 {
		require.Equal(t, "success", c.ask(goodQuery).Status)
	}
	a := c.ask(goodQuery)
	require.Equal(t, "failure", a.Status)
	require.Equal(t, "too many requests", a.Message)

	c = newCall(t, Options{})
	c.service.reading = make(chan struct{})
	var open sync.WaitGroup
	var mu sync.Mutex
	var said []string
	refused := make(chan struct{}, maxQueries+1)
	for range maxQueries + 1 {
		open.Go(func() {
			w := c.do("POST", "/stable/", "", goodQuery, "Content-Type: application/json")
			mu.Lock()
			defer mu.Unlock()
			if said = append(said, w.Body.String()); strings.Contains(w.Body.String(), "at once") {
				refused <- struct{}{}
			}
		})
	}
	<-refused
	close(c.service.reading)
	open.Wait()
	require.Len(t, slices.DeleteFunc(said, func(s string) bool { return strings.Contains(s, "at once") }), maxQueries)
	require.Equal(t, "success", c.ask(goodQuery).Status)
}

func TestS14Samples(t *testing.T) {
	c := newCall(t, Options{})
	w := c.want("POST", "/v1/stats/samples", "server", `{"samples":[{"url":"a","time":"2014-09-21 15:00:12","count":10},{"url":"b","time":1411311600,"count":4294967295},{"count":0,"time":"2014-09-21","url":"c"}]}`, 200)
	require.JSONEq(t, `{"result":0,"samples":3}`, w.Body.String())
	require.Equal(t, []catchup.ViewerSample{
		{URL: "a", Time: time.Unix(1411311612, 0).UTC(), Count: 10},
		{URL: "b", Time: time.Unix(1411311600, 0).UTC(), Count: math.MaxUint32},
		{URL: "c", Time: time.Unix(1411257600, 0).UTC()},
	}, c.service.samples)
	c.service.samples = nil
	f := func(body, words string) {
		t.Helper()
		w := c.want("POST", "/v1/stats/samples", "server", body, 400)
		require.Contains(t, w.Body.String(), words, body)
		require.Empty(t, c.service.samples)
	}
	one := func(sample string) string { return `{"samples":[{"url":"a","time":1,"count":1},` + sample + `]}` }
	f(``, "valid JSON")
	f(`[]`, "JSON object")
	f(`{}`, "array of 1 to")
	f(`{"samples":[]}`, "array of 1 to")
	f(`{"samples":7}`, "array of 1 to")
	f(`{"samples":[`+strings.Repeat(`{"url":"a","time":1,"count":1},`, catchup.MaxSamples)+`{"url":"a","time":1,"count":1}]}`, "array of 1 to")
	f(`{"sample":[]}`, "unknown field")
	f(one(`7`), "samples[1] must be a JSON object")
	f(one(`{"url":"a","time":1}`), "samples[1]: count")
	f(one(`{"url":"a","count":1}`), "samples[1]: time")
	f(one(`{"time":1,"count":1}`), "samples[1]: url")
	f(one(`{"url":"","time":1,"count":1}`), "samples[1]: url")
	f(one(`{"url":"`+strings.Repeat("u", 1025)+`","time":1,"count":1}`), "samples[1]: url")
	f(one(`{"url":"a","time":"noon","count":1}`), "samples[1]: time")
	f(one(`{"url":"a","time":1,"count":-1}`), "samples[1]: count")
	f(one(`{"url":"a","time":1,"count":1.5}`), "samples[1]: count")
	f(one(`{"url":"a","time":1,"count":"1"}`), "samples[1]: count")
	f(one(`{"url":"a","time":1,"count":4294967296}`), "samples[1]: count")
	f(one(`{"url":"a","time":1,"count":1,"app":13}`), "unknown field")
	f(one(`{"url":"a","time":1,"count":1,"count":2}`), "twice")
	for _, who := range []string{"admin", "broadcaster", "viewer"} {
		c.want("POST", "/v1/stats/samples", who, one(`{"url":"a","time":1,"count":1}`), 403)
	}
	c.want("POST", "/v1/stats/samples", "", one(`{"url":"a","time":1,"count":1}`), 401)
	require.Empty(t, c.service.samples)
}

// FuzzCommand: whatever is posted is answered with status 200 and JSON that is one of the
// two envelopes.
func FuzzCommand(f *testing.F) {
	f.Add(goodQuery, "application/json")
	f.Add("json="+url.QueryEscape(goodQuery), "application/x-www-form-urlencoded")
	f.Add("--x\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n"+goodQuery+"\r\n--x--\r\n", "multipart/form-data; boundary=x")
	f.Add(`{"command":"viewer.log","app":[12,"demo"],"graph":"2","url":["a|*",""],"starttime":"2014-09-21 15:00:00","extended":true,"fill":false}`, "application/json")
	f.Fuzz(func(t *testing.T, body, kind string) {
		c := newCall(t, Options{})
		r := httptest.NewRequest(http.MethodPost, "/stable/", strings.NewReader(body))
		r.Header["Content-Type"] = []string{kind}
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		a := c.readLog(w)
		require.Contains(t, []string{"success", "failure"}, a.Status)
		require.Equal(t, a.Status == "failure", a.Code != "" && a.Message != "")
	})
}
