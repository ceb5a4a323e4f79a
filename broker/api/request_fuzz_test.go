package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// realApp is an application on a broker of its own.
var realApp = broker.Application{ID: 12, Name: "demo", AppKey: "planted-app-key", TokenSecret: "planted-token-secret"}

// newReal is a handler on a broker in memory, nothing faked.
func newReal(t testing.TB, o Options, apps ...broker.Application) (http.Handler, *broker.Broker) {
	s := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	b, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(), Sandbox: true, AutoCreate: true,
		Accounts: []broker.Account{{CDN: 158, APIKey: "pk_demo", APISecret: "planted-api-secret", StreamToken: "planted-stream-token", Apps: append([]broker.Application{realApp}, apps...)}},
	})
	require.NoError(t, err)
	return New(b.Service(), o), b
}

// tokenFor signs a token of realApp.
func tokenFor(t testing.TB, role, object string) string {
	text, err := broker.SignToken(realApp, map[string]any{"role": role, "channel_id": object, "user_id": "u1"}, time.Hour, time.Now())
	require.NoError(t, err)
	return text
}

// asks are what FuzzRequest begins with: method, target, headers, body.
var asks = [][4]string{
	{"GET", "/v1/objects/own", "", ""},
	{"GET", "/v1/objects/hidden?x=%zz", "", ""},
	{"POST", "/v1/objects", "", `{"object_id":"hidden","type":"live"}`},
	{"PATCH", "/v1/objects/hidden", "", `{"name":"x"}`},
	{"POST", "/v1/objects/own/publish", "Idempotency-Key: a", `{"channel":"chat","data":{"n":9007199254740993}}`},
	{"POST", "/v1/publish", "", `{"messages":[{"object_id":"hidden","channel":"chat","data":1},{"channel":"/open","data":"]"}]}`},
	{"GET", "/v1/objects/own/history?channel=all_json&since=6h&format=ndjson", "Accept: application/x-ndjson;q=0", ""},
	{"GET", "/v1/objects/hidden/history?channel=chat&limit=1000", "", ""},
	{"GET", "/v1/history?channel=/open&after=01M7Y2H8ZT6N4T5K01M7Y2H8ZT", "", ""},
	{"GET", "/v1/objects/own/presence", "", ""},
	{"GET", "/v1/connections?user_ref=a&limit=99999999999999999999", "", ""},
	{"DELETE", "/v1/connections?user_ref=", "", ""},
	{"POST", "/v1/tokens/revoke", "", `{"jti":"x","exp":1e400}`},
	{"POST", "/v1/e/accumulate?id=poll&channel_id=hidden", "", `{"v":[1,{"\ud83d\ude00":null}]}`},
	{"GET", "/v1/e/accumulate?id=poll&start=0&channel_id=hidden", "", ""},
	{"GET", "/v1/e/accumulate?id=poll&start=-0&format=csv", "", ""},
	{"GET", "/v1/e/user_info", "", ""},
	{"POST", "/v1/e/authtoken", "", `{"app_id":"none","channel_id":"hidden","role":"admin","user_id":""}`},
	{"PUT", "/v1/data/room?object_id=own", `If-Match: "0"`, `{"__proto__":{"a":1}}`},
	{"GET", "/v1/data/owner?object_id=hidden&user_ref=u2&session=&conf_num=", "", ""},
	{"DELETE", "/v1/data/user?user_ref=u2&user_ref=u1", "", ""},
	{"POST", "/v1/objects/own/comments", "", `{"content":"<img onerror=x>","name":"\u0000","user_id":"u2"}`},
	{"POST", "/v1/objects/own/comments/01M7Y2H8ZT6N4T5K01M7Y2H8ZT/promote", "", ""},
	{"GET", "/v1/objects/hidden/sessions", "", ""},
	{"POST", "/v1/application/suspend", "", ""},
	{"GET", "/api/live/list?app=demo&p=1&size=100", "", ""},
	{"GET", "/api/photo/list?app=demo&photo_id=hidden", "", ""},
	{"GET", "/api/live/realtime?live_id=hidden", "", ""},
	{"GET", "/api/live/log?live_id=own&start_time=0&end_time=1099511627776&event_types=a+b&concatenate_seconds=1", "", ""},
	{"POST", "/v1/records", "", `[{"type":"x"},{"connection":{}}]`},
	{"POST", "/streams?token=%70lanted", "", `{"name":"one","resource_filter":["a"],"start_date":"2026-11-21T12:00:00.` + strings.Repeat("0", 70) + `Z"}`},
	{"GET", "/replay?token=&date=2026-11-21&resources=a,b,,", "Last-Event-ID: 0", ""},
	{"POST", "/stable/", "Content-Type: application/x-www-form-urlencoded", "json=%7B%22command%22%3A%22viewer.log%22%2C%22api_key%22%3A%22pk_demo%22%2C%22signature%22%3A%22x%22%7D"},
	{"GET", "/stats/0123456789012345678901234567890123456789?graph=4", "", ""},
	{"POST", "/v1/stats/samples", "", `{"samples":[{"url":"a","time":"2026-11-21 00:00:00","count":1}]}`},
	{"GET", "/openapi.json", `If-None-Match: W/"*", *`, ""},
	{"OPTIONS", "/v1/x", "Access-Control-Request-Headers: x\nOrigin: null", ""},
	{"POST", "/v1/objects/own/publish?app=demo", "Gobelin-Signature: kid=pk_demo,t=1,s=" + strings.Repeat("A", 43) + "=", `{}`},
	{"GET", "/v1/objects/%2e%2e%2fhidden", "Authorization: Bearer x\nAuthorization: Basic eA==", ""},
}

// callers are who FuzzRequest asks as: the levels up to an object's broadcaster.
var callers = []string{"", "viewer", "moderator", "broadcaster"}

// FuzzRequest: whoever asks whatever, with less than an administrator's rights, gets an
// answer that is well formed and no failure of ours, and reads nothing of an object that
// is not theirs, nor a secret.
func FuzzRequest(f *testing.F) {
	core, logs := observer.New(zap.ErrorLevel)
	handler, _ := newReal(f, Options{Logger: zap.New(core), Audit: zap.NewNop(), RealtimeURL: "http://live.example/faye"})
	ask := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	must := func(method, target, auth, body string) []byte {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Authorization", auth)
		w := ask(r)
		require.Less(f, w.Code, 300, "%s %s: %s", method, target, w.Body)
		return w.Body.Bytes()
	}
	server := "Basic ZGVtbzpwbGFudGVkLWFwcC1rZXk="
	roots := func(id string) (view, control string) {
		var made struct{ Object objectView }
		require.NoError(f, json.Unmarshal(must("POST", "/v1/objects", server, `{"object_id":"`+id+`","type":"live","name":"`+id+`","public":false}`), &made))
		return made.Object.RealtimeChannel[1:], made.Object.RealtimeControlChannel[1:]
	}
	hiddenView, hiddenControl := roots("hidden")
	_, ownControl := roots("own")
	must("POST", "/v1/objects/hidden/publish", server, `{"channel":"chat","data":"planted in its past"}`)
	must("POST", "/v1/e/accumulate?id=poll&channel_id=hidden", server, `{"a":"planted in its poll"}`)
	must("PUT", "/v1/data/room?object_id=hidden", server, `{"a":"planted in its room"}`)
	for i, a := range asks {
		f.Add(byte(i), a[0], a[1], a[2], a[3])
	}
	f.Fuzz(func(t *testing.T, who byte, method, target, headers, body string) {
		role := callers[int(who)%len(callers)]
		r := requestOf(method, target, headers, body)
		if r == nil || strings.Contains(target+headers+body, "planted-") {
			return
		}
		if role != "" {
			r.Header.Set("Authorization", "Bearer "+tokenFor(t, role, "own"))
		}
		w := ask(r)
		require.Empty(t, logs.TakeAll(), "%s %s as %q: %d %s", method, target, role, w.Code, w.Body)
		if w.Code >= 500 {
			require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusInsufficientStorage}, w.Code, "%s", w.Body)
		}
		wellFormed(t, w)
		said := w.Body.String() + headerText(w.Header())
		for _, secret := range []string{hiddenControl, "planted-", "planted in its"} {
			require.NotContains(t, said, secret, "%s %s as %q", method, target, role)
		}
		if role == "" || role == "viewer" {
			require.NotContains(t, said, hiddenView, "%s %s as %q", method, target, role)
			require.NotContains(t, said, ownControl, "%s %s as %q", method, target, role)
		}
	})
}

// requestOf makes a request as a server would read it; nil for what net/http does not
// let through.
func requestOf(method, target, headers, body string) *http.Request {
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") || !strings.Contains(" GET HEAD POST PUT PATCH DELETE OPTIONS TRACE ", " "+method+" ") {
		return nil
	}
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.URL, r.RequestURI = u, target
	for line := range strings.SplitSeq(headers, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		if !plainHeader(name) || name == "" || strings.ContainsAny(value, "\r\n\x00") || len(line) > 16<<10 {
			continue
		}
		r.Header.Add(name, value)
	}
	return r
}

// plainHeader reports whether a name is of letters and dashes.
func plainHeader(name string) bool {
	return strings.Trim(name, "-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == ""
}

func headerText(h http.Header) string {
	var b strings.Builder
	for name, all := range h {
		b.WriteString(name + ": " + strings.Join(all, ",") + "\n")
	}
	return b.String()
}

// wellFormed requires of an answer what every answer has.
func wellFormed(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	for name, all := range w.Header() {
		for _, value := range all {
			require.NotContains(t, value, "\n", name)
			require.NotContains(t, value, "\r", name)
		}
	}
	if w.Body.Len() == 0 || w.Code == http.StatusTemporaryRedirect || w.Code == http.StatusMovedPermanently {
		return // to the same path without its dots, by net/http
	}
	require.True(t, utf8.Valid(w.Body.Bytes()), "%q", w.Body)
	switch kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";"); kind {
	case "application/json":
		require.True(t, json.Valid(w.Body.Bytes()), "%s", w.Body)
	case "application/x-ndjson":
		for line := range strings.Lines(w.Body.String()) {
			require.True(t, json.Valid([]byte(line)), "%q", line)
		}
	case "text/html", "image/svg+xml":
		require.NotEmpty(t, w.Header().Get("Content-Security-Policy"))
	case "text/csv", "text/event-stream", "text/plain":
	default:
		t.Fatalf("an answer of type %q: %s", kind, w.Body)
	}
	if w.Code < 300 {
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	}
}

// FuzzViewerTime: a time that is taken has one spelling, and is that of encoding/json and
// package time.
func FuzzViewerTime(f *testing.F) {
	for _, s := range []string{`1700000000`, `"1700000000"`, `"2014-09-21 15:00:00"`, `"2014-09-21"`, `-1`, `1e9`, `"2014-02-30"`, `"2014-09-21 15:00:00.5"`, `"+5"`, `253402300800`, `"\u0032014-09-21"`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if !json.Valid(value) || !utf8.Valid(value) || len(bytes.TrimSpace(value)) != len(value) {
			return
		}
		at, ok := readViewerTime(value)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, at.Unix(), int64(0))
		require.Less(t, at.Unix(), int64(maxViewerTime))
		require.Zero(t, at.Nanosecond())
		var got any
		require.NoError(t, json.Unmarshal(value, &got))
		if text, is := got.(string); is && strings.Contains(text, "-") {
			require.Contains(t, []string{at.Format(time.DateTime), at.Format(time.DateOnly)}, text)
		}
	})
}

// FuzzStart: a start of an accumulation is read as the number that it is, in ms or
// seconds.
func FuzzStart(f *testing.F) {
	for _, s := range []string{"0", "1", "99999999999", "100000000000", "+1", "-0", "1e3", "18446744073709551616", "٣", " 1", "0x10", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseStart(text)
		if err != nil {
			require.Equal(t, 4000, broker.AsError(err).Result)
			return
		}
		require.Equal(t, "", strings.Trim(text, "0123456789"))
		require.NotEmpty(t, text)
		require.False(t, at.Before(time.Unix(0, 0)))
		require.LessOrEqual(t, at.UnixMilli(), int64(maxStart))
	})
}

// FuzzRecordBodies: what is taken apart are the values of an array, or it is the one.
func FuzzRecordBodies(f *testing.F) {
	for _, s := range []string{`{"type":"x"}`, ` [ {"type":"x"} , {"connection":{}} ] `, `[]`, `[[[]]]`, `[1,]`, "", "[\"\\ud800\"]"} {
		f.Add([]byte(s))
	}
	a := &api{Options: Options{}.withDefaults()}
	f.Fuzz(func(t *testing.T, body []byte) {
		all, several, err := a.recordBodies(body)
		if err != nil {
			require.Equal(t, 4000, broker.AsError(err).Result)
			return
		}
		var want []json.RawMessage
		if !several {
			require.Len(t, all, 1)
			return
		}
		require.NoError(t, json.Unmarshal(body, &want))
		require.Len(t, all, len(want))
		for i := range want {
			require.Equal(t, string(want[i]), string(all[i]))
		}
	})
}

// FuzzIfMatch: the version of a header is one number in one spelling.
func FuzzIfMatch(f *testing.F) {
	for _, s := range []string{"7", `"7"`, `W/"7"`, "07", "*", `""`, `"`, "-1", "18446744073709551615", "18446744073709551616"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		version, err := ifMatch(&http.Request{Header: http.Header{"If-Match": {text}}})
		if err != nil {
			require.Equal(t, 4000, broker.AsError(err).Result)
			return
		}
		plain, _ := json.Marshal(*version)
		require.Contains(t, []string{string(plain), `"` + string(plain) + `"`}, text)
	})
}
