package api

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// sandbox is the surface on a real broker, with a store in memory.
type sandbox struct {
	t       *testing.T
	app     broker.Application
	handler http.Handler
}

func newSandbox(t *testing.T, change func(*broker.Options)) *sandbox {
	t.Helper()
	s := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	x := &sandbox{t: t, app: broker.Application{ID: 12, Name: "demo-origin", AppKey: "demo-app-key", TokenSecret: "demo-token-secret"}}
	o := broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(), Sandbox: true, AutoCreate: true,
		Accounts: []broker.Account{{Apps: []broker.Application{x.app}}},
	}
	if change != nil {
		change(&o)
	}
	b, err := broker.New(o)
	require.NoError(t, err)
	x.handler = New(b.Service(), Options{Logger: zap.NewNop()})
	return x
}

// as is an Authorization of somebody with a token.
func (x *sandbox) as(role, channel, opaque, user string) string {
	x.t.Helper()
	claims := map[string]any{"role": role, "channel_id": channel, "opaque_user_id": opaque, "user_id": user}
	text, err := broker.SignToken(x.app, claims, time.Hour, time.Now())
	require.NoError(x.t, err)
	return x.app.Name + " " + text
}

func (x *sandbox) backend() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("demo-origin:demo-app-key"))
}

func (x *sandbox) call(method, target, auth, body string, headers ...string) *httptest.ResponseRecorder {
	x.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	x.handler.ServeHTTP(w, r)
	return w
}

// refused is a call that is refused with a result and, if given, a text.
func (x *sandbox) refused(method, target, auth, body string, result int, text ...string) {
	x.t.Helper()
	w := x.call(method, target, auth, body)
	var e struct {
		Result int
		Error  string
	}
	require.NoError(x.t, json.Unmarshal(w.Body.Bytes(), &e), w.Body)
	require.Equal(x.t, result, e.Result, "%s %s: %s", method, target, w.Body)
	require.Equal(x.t, (&broker.Error{Result: result}).Status(), w.Code)
	if len(text) > 0 {
		require.Equal(x.t, text[0], e.Error)
	}
}

type entryAnswer struct {
	Data []struct {
		Observed     int64
		ChannelID    string `json:"channel_id"`
		OpaqueUserID string `json:"opaque_user_id"`
		UserID       string `json:"user_id"`
		Data         json.RawMessage
	}
	Latest    int64
	Cursor    string
	Truncated bool
}

func (x *sandbox) read(auth, query string) (a entryAnswer) {
	x.t.Helper()
	w := x.call("GET", "/v1/e/accumulate?"+query, auth, "")
	require.Equal(x.t, 200, w.Code, w.Body)
	require.Equal(x.t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	require.NoError(x.t, json.Unmarshal(w.Body.Bytes(), &a), w.Body)
	require.NotNil(x.t, a.Data, "an empty list, not null")
	return a
}

func (x *sandbox) post(auth, query, body string) int64 {
	x.t.Helper()
	w := x.call("POST", "/v1/e/accumulate?"+query, auth, body)
	require.Equal(x.t, 200, w.Code, w.Body)
	var a struct{ Observed int64 }
	require.NoError(x.t, json.Unmarshal(w.Body.Bytes(), &a))
	require.NotZero(x.t, a.Observed)
	return a.Observed
}

const mood = "id=awesomeness_level"

func TestM1M9Accumulate(t *testing.T) {
	x := newSandbox(t, nil)
	viewer, caster := x.as("viewer", "23161357", "A1954218", ""), x.as("broadcaster", "23161357", "", "23161357")
	before := time.Now().UnixMilli()
	observed := x.post(viewer, mood, `{"awesomeness_level":{"great":10,"good":2.50,"poor":"dank","n":12345678901234567890,"l":[]}}`)
	require.GreaterOrEqual(t, observed, before-1)
	w := x.call("GET", "/v1/e/accumulate?"+mood+"&start="+fmt.Sprint(observed), caster, "")
	var a entryAnswer
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	// M9, and M1: what was sent, byte for byte.
	require.Equal(t, fmt.Sprintf(`{"data":[{"observed":%d,"channel_id":"23161357","opaque_user_id":"A1954218","user_id":"",`+
		`"data":{"awesomeness_level":{"great":10,"good":2.50,"poor":"dank","n":12345678901234567890,"l":[]}}}],"latest":%d,"cursor":%q,"truncated":false}`+"\n",
		observed, observed, a.Cursor), w.Body.String())
	for n := range 10 {
		x.post(viewer, mood, fmt.Sprintf(`{"n":%d}`, n))
	}
	a = x.read(caster, mood+"&after="+a.Cursor)
	require.Len(t, a.Data, 10)
	for n, e := range a.Data {
		require.Equal(t, fmt.Sprintf(`{"n":%d}`, n), string(e.Data), "order of receipt")
	}
	require.Empty(t, x.call("HEAD", "/v1/e/accumulate?"+mood+"&start=0", caster, "").Body.String())
}

func TestM3OnlyObjects(t *testing.T) {
	x := newSandbox(t, nil)
	viewer := x.as("viewer", "show", "A1", "")
	for _, bad := range []string{"[1]", `"x"`, "7", "null", "true", "{", "", "{}x", "\xff"} {
		x.refused("POST", "/v1/e/accumulate?"+mood, viewer, bad, 4000, "data must be a JSON object")
	}
	x.refused("POST", "/v1/e/accumulate?"+mood, viewer, `{"a":`+strings.Repeat("[", 33)+strings.Repeat("]", 33)+`}`, 4000)
	x.refused("POST", "/v1/e/accumulate?"+mood, viewer, `{"a":"`+strings.Repeat("x", 65<<10)+`"}`, 4013)
	x.refused("POST", "/v1/e/accumulate?"+mood, viewer, `{"a":"`+strings.Repeat("x", 200<<10)+`"}`, 4013)
	x.refused("POST", "/v1/e/accumulate?id="+url.QueryEscape("a/b"), viewer, `{}`, 4000)
	x.refused("POST", "/v1/e/accumulate?id=catchup", viewer, `{}`, 4000)
	x.refused("POST", "/v1/e/accumulate?id="+strings.Repeat("x", 65), viewer, `{}`, 4000)
	require.Empty(t, x.read(x.backend(), mood+"&start=0").Data, "nothing stored")
}

func TestM4Readers(t *testing.T) {
	x := newSandbox(t, nil)
	for _, channel := range []string{"one", "two"} {
		x.post(x.as("viewer", channel, "A1", ""), mood, `{"of":"`+channel+`"}`)
	}
	target := "/v1/e/accumulate?" + mood + "&start=0"
	for _, role := range []string{"viewer", "moderator"} {
		x.refused("GET", target, x.as(role, "one", "A1", ""), "", 4003)
		x.refused("GET", "/v1/e/accumulate?"+mood, x.as(role, "one", "A1", ""), "", 4003)
		x.refused("DELETE", target, x.as(role, "one", "A1", ""), "", 4003)
	}
	x.refused("GET", target, "", "", 4001)
	x.refused("DELETE", target, "", "", 4001)
	x.refused("POST", target, "", "{}", 4001)
	x.refused("GET", target, x.as("broadcaster", "", "", ""), "", 4003)
	caster := x.as("broadcaster", "one", "", "")
	require.Len(t, x.read(caster, mood+"&start=0").Data, 1)
	require.Len(t, x.read(caster, mood+"&start=0&channel_id=one").Data, 1)
	x.refused("GET", target+"&channel_id=two", caster, "", 4003)
	x.refused("POST", target+"&channel_id=two", caster, "{}", 4003)
	require.Equal(t, entryAnswer{Data: x.read(x.as("broadcaster", "999", "", ""), mood+"&start=0").Data[:0]}, x.read(x.as("broadcaster", "999", "", ""), mood+"&start=0"))
	for _, all := range []string{x.as("admin", "", "", ""), x.as("admin", "one", "", ""), x.backend()} {
		require.Len(t, x.read(all, mood+"&start=0").Data, 2)
		a := x.read(all, mood+"&start=0&channel_id=two")
		require.Len(t, a.Data, 1)
		require.Equal(t, "two", a.Data[0].ChannelID)
	}
	// Without a channel of its own a POST must name one.
	x.refused("POST", "/v1/e/accumulate?"+mood, x.backend(), "{}", 4000)
	x.post(x.backend(), mood+"&channel_id=two", "{}")
	require.Len(t, x.read(x.as("broadcaster", "two", "", ""), mood+"&start=0").Data, 2)
}

func TestM5M6M10Start(t *testing.T) {
	x := newSandbox(t, nil)
	viewer, caster := x.as("viewer", "show", "A1", ""), x.as("broadcaster", "show", "", "")
	observed := x.post(viewer, mood, `{}`)
	for _, bad := range []string{"", "&start=", "&start=-1", "&start=x", "&start=1.5", "&start=1e9", "&start=+1", "&start=NaN", "&start=0x10", "&start=%201", "&after=", "&after=x", "&start=0&after=x", "&start=0&format=xml"} {
		x.refused("GET", "/v1/e/accumulate?"+mood+bad, caster, "", 4000)
	}
	for query, want := range map[string]int{
		"0": 1, fmt.Sprint(observed): 1, fmt.Sprint(observed + 1): 0,
		fmt.Sprint(observed / 1000): 1, fmt.Sprint(observed/1000 + 1): 0, // seconds
		"99999999999": 0, "100000000000": 1, "99999999999999999999999": 0,
	} {
		a := x.read(caster, mood+"&start="+query)
		require.Len(t, a.Data, want, query)
		require.Equal(t, observed, a.Latest)
	}
}

func TestM11UserID(t *testing.T) {
	x := newSandbox(t, nil)
	x.post(x.as("viewer", "show", "A1", ""), mood, `{"user_id":"forged"}`)
	x.post(x.as("viewer", "show", "U7", "7"), mood+"&user_id=9&opaque_user_id=9", `{}`)
	a := x.read(x.as("broadcaster", "show", "", ""), mood+"&start=0")
	require.Equal(t, "A1", a.Data[0].OpaqueUserID)
	require.Empty(t, a.Data[0].UserID)
	require.Equal(t, "U7", a.Data[1].OpaqueUserID)
	require.Equal(t, "7", a.Data[1].UserID)
}

func TestM12DefaultsOfTheKit(t *testing.T) {
	x := newSandbox(t, nil)
	for _, kind := range []string{"application/x-www-form-urlencoded; charset=UTF-8", "text/plain", "multipart/form-data; boundary=x", ""} {
		w := x.call("POST", "/v1/e/accumulate", x.as("viewer", "show", "A1", ""), `{"a":1}`, "Content-Type: "+kind)
		require.Equal(t, 200, w.Code, w.Body)
	}
	require.Len(t, x.read(x.as("broadcaster", "show", "", ""), "id=default&start=0").Data, 4)
}

func TestM13Preflight(t *testing.T) {
	x := newSandbox(t, nil)
	for _, path := range []string{"/v1/e/accumulate?" + mood, "/v1/e/user_info", "/v1/e/authtoken?role=viewer", "/v1/objects/x/publish", "/v1/publish", "/v1/nothing"} {
		w := x.call("OPTIONS", path, "", "", "Origin: https://ext.example", "Access-Control-Request-Headers: authorization")
		require.Equal(t, 204, w.Code, path)
		require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
		for _, name := range []string{"Authorization", "Content-Type", "If-Match", "Last-Event-ID"} {
			require.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), name)
		}
		require.Contains(t, w.Header().Get("Access-Control-Allow-Methods"), "OPTIONS")
		require.Empty(t, w.Body.String())
	}
	require.Equal(t, "*", x.call("GET", "/v1/e/accumulate", "", "", "Origin: https://ext.example").Header().Get("Access-Control-Allow-Origin"), "errors are read, too")
}

func TestM14AuthToken(t *testing.T) {
	x := newSandbox(t, nil)
	token := func(body string) string {
		t.Helper()
		w := x.call("POST", "/v1/e/authtoken?role=viewer", "", body)
		require.Equal(t, 200, w.Code, w.Body)
		var a struct{ Token string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		return "demo-origin " + a.Token
	}
	viewer := token(`{"app_id":"demo-origin","channel_id":"show","role":"viewer","user_id":"12345678"}`)
	caster := token(`{"extension_id":"demo-origin","channel_id":"show","role":"broadcaster","user_id":"1","more":[1]}`)
	x.post(viewer, mood, `{}`)
	x.refused("GET", "/v1/e/accumulate?"+mood+"&start=0", viewer, "", 4003)
	a := x.read(caster, mood+"&start=0")
	require.Equal(t, "12345678", a.Data[0].UserID)
	require.Equal(t, "U12345678", a.Data[0].OpaqueUserID)
	x.post(token(`{"app_id":"demo-origin","channel_id":"show"}`), mood, `{}`)
	for body, want := range map[string]int{
		`{"app_id":"nobody","channel_id":"show","role":"viewer"}`:      4004,
		`{"app_id":"demo-origin","channel_id":"show","role":"server"}`: 4000,
		`{"app_id":"demo-origin","extension_id":"x","role":"viewer"}`:  4000,
		`{"app_id":1}`: 4000, `[]`: 4000, ``: 4000,
		`{"app_id":"demo-origin","role":"viewer","user_id":"` + strings.Repeat("x", 300) + `"}`: 4000,
	} {
		x.refused("POST", "/v1/e/authtoken", "", body, want)
	}
	closed := newSandbox(t, func(o *broker.Options) {
		o.Sandbox = false
		o.Accounts[0].Apps[0].TokenSecret = "a-secret-of-32-bytes-and-a-few-more"
	})
	closed.refused("POST", "/v1/e/authtoken?role=viewer", "", `{"app_id":"demo-origin","channel_id":"show","role":"viewer"}`, 4004, "no such endpoint")
}

func TestM15UserInfo(t *testing.T) {
	x := newSandbox(t, nil)
	x.refused("GET", "/v1/e/user_info", "", "", 4001)
	info := func(auth string) (m map[string]any) {
		t.Helper()
		w := x.call("GET", "/v1/e/user_info", auth, "")
		require.Equal(t, 200, w.Code)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &m))
		require.Len(t, m, 4)
		return m
	}
	m := info(x.as("viewer", "show", "A1", ""))
	require.Equal(t, "192.0.2.1", m["ip_address"])
	require.Equal(t, false, m["registered"])
	require.InDelta(t, float64(time.Now().UnixMilli()), m["server_time"], 60_000)
	require.Regexp(t, "^[0-9a-f]{20}$", m["visualization_id"])
	require.Equal(t, m["visualization_id"], info(x.as("viewer", "other", "A1", ""))["visualization_id"], "one user, one name")
	require.NotEqual(t, m["visualization_id"], info(x.as("viewer", "show", "A2", ""))["visualization_id"])
	require.Equal(t, true, info(x.as("viewer", "show", "", "7"))["registered"])
	require.Empty(t, info(x.backend())["visualization_id"])
}

func TestM17Clear(t *testing.T) {
	x := newSandbox(t, nil)
	viewer, caster := x.as("viewer", "show", "A1", ""), x.as("broadcaster", "show", "", "")
	x.post(viewer, mood, `{}`)
	x.post(viewer, "id=other", `{}`)
	for range 2 {
		w := x.call("DELETE", "/v1/e/accumulate?"+mood, caster, "")
		require.Equal(t, 200, w.Code, w.Body)
		require.JSONEq(t, `{"result":0}`, w.Body.String())
	}
	a := x.read(caster, mood+"&start=0")
	require.Equal(t, entryAnswer{Data: a.Data[:0]}, a)
	require.Len(t, x.read(caster, "id=other&start=0").Data, 1)
	x.refused("DELETE", "/v1/e/accumulate?"+mood, x.backend(), "", 4000)
	require.Equal(t, 200, x.call("DELETE", "/v1/e/accumulate?id=other&channel_id=show", x.backend(), "").Code)
	require.Empty(t, x.read(caster, "id=other&start=0").Data)
}

func TestAccumulatePaging(t *testing.T) {
	x := newSandbox(t, func(o *broker.Options) { o.Accumulate = broker.AccumulateOptions{Page: 3, Max: 8} })
	viewer, caster := x.as("viewer", "show", "A1", ""), x.as("broadcaster", "show", "", "")
	for n := range 8 {
		x.post(viewer, mood, fmt.Sprintf(`{"n":%d}`, n))
	}
	x.refused("POST", "/v1/e/accumulate?"+mood, viewer, "{}", 5007, "store full")
	query, got := "&start=0", ""
	for _, want := range []int{3, 3, 2} {
		a := x.read(caster, mood+query)
		require.Len(t, a.Data, want)
		require.Equal(t, want == 3, a.Truncated)
		for _, e := range a.Data {
			got += string(e.Data)
		}
		query = "&after=" + a.Cursor
	}
	require.Equal(t, `{"n":0}{"n":1}{"n":2}{"n":3}{"n":4}{"n":5}{"n":6}{"n":7}`, got)
	require.Empty(t, x.read(caster, mood+query).Data)
	x.refused("GET", "/v1/e/accumulate?id=other"+query, caster, "", 4000)
	// Exports have no pages.
	w := x.call("GET", "/v1/e/accumulate?"+mood+"&start=0&format=ndjson", caster, "")
	require.Equal(t, "application/x-ndjson; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, 8, strings.Count(w.Body.String(), "\n"))
	for _, format := range []string{"ndjson", "csv"} {
		x.refused("GET", "/v1/e/accumulate?"+mood+"&start=0&format="+format, viewer, "", 4003)
		x.refused("GET", "/v1/e/accumulate?"+mood+"&format="+format, caster, "", 4000)
	}
}

func TestAccumulateIdempotencyKey(t *testing.T) {
	x := newSandbox(t, nil)
	post := func(auth, body string) (int, string) {
		w := x.call("POST", "/v1/e/accumulate?"+mood, auth, body, "Idempotency-Key: k1")
		return w.Code, w.Body.String()
	}
	one := x.as("viewer", "show", "A1", "")
	code, first := post(one, `{}`)
	require.Equal(t, 200, code)
	code, again := post(one, `{}`)
	require.Equal(t, 200, code)
	require.Equal(t, first, again)
	code, _ = post(one, `{"other":1}`)
	require.Equal(t, 400, code)
	code, _ = post(x.as("viewer", "show", "A2", ""), `{"mine":1}`)
	require.Equal(t, 200, code, "another viewer's key is another key")
	require.Len(t, x.read(x.as("broadcaster", "show", "", ""), mood+"&start=0").Data, 2)
}

// What people write never is a formula, a new row or another cell.
func TestAccumulateCSV(t *testing.T) {
	x := newSandbox(t, nil)
	caster := x.as("broadcaster", "=show", "", "")
	ids := []string{"=HYPERLINK(1)", "+1", "-1", "@x", `q"uo,te`, "plain", "é😀"}
	for _, id := range ids {
		x.post(x.as("viewer", "=show", id, id), mood, "{\"a\": \"x,\\\"y\\\"\",\r\n \"b\":1}")
	}
	w := x.call("GET", "/v1/e/accumulate?"+mood+"&start=0&format=csv", caster, "")
	require.Equal(t, 200, w.Code)
	require.Equal(t, "text/csv; charset=utf-8; header=present", w.Header().Get("Content-Type"))
	require.Equal(t, `attachment; filename="awesomeness_level.csv"`, w.Header().Get("Content-Disposition"))
	rows, err := csv.NewReader(w.Body).ReadAll()
	require.NoError(t, err)
	require.Equal(t, []string{"observed", "channel_id", "opaque_user_id", "user_id", "data"}, rows[0])
	require.Len(t, rows, 1+len(ids))
	for i, row := range rows[1:] {
		want := ids[i]
		if strings.ContainsAny(want[:1], "=+-@") {
			want = "'" + want
		}
		require.Equal(t, []string{"'=show", want, want}, row[1:4])
		var data map[string]any
		require.NoError(t, json.Unmarshal([]byte(row[4]), &data), "still JSON")
		require.NotContains(t, row[4], "\n")
	}
	w = x.call("GET", "/v1/e/accumulate?id=none&start=0&format=csv", caster, "")
	require.Equal(t, "observed,channel_id,opaque_user_id,user_id,data\r\n", w.Body.String())
}

func FuzzCSVCell(f *testing.F) {
	f.Add("=1+1")
	f.Add("a\"b\r\nc")
	f.Fuzz(func(t *testing.T, cell string) {
		got, err := csv.NewReader(bytes.NewReader(append(appendCell(nil, cell), '\n'))).Read()
		require.NoError(t, err, "%q", cell)
		require.Len(t, got, 1)
		want := cell
		if want != "" && strings.ContainsAny(want[:1], "=+-@\t\r\n") {
			want = "'" + want
		}
		// The reader makes one character of a line's end, and drops a last one's half.
		same := func(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }
		require.Equal(t, same(want), same(got[0]))
		if got[0] != "" {
			require.NotContains(t, "=+-@\t\r\n", got[0][:1])
		}
	})
}

// An answer of which a part was sent is cut off when the store fails, and not ended.
func TestAccumulatedIsCutOff(t *testing.T) {
	for _, format := range []string{"json", "ndjson", "csv"} {
		c := newCall(t, Options{})
		data, err := catchup.EncodeEntry(catchup.Giver{ChannelID: "own"}, []byte(`{}`), 0)
		require.NoError(t, err)
		e, err := catchup.DecodeEntry(store.Entry{Position: store.NewPosition(1700, 1, 1), Data: data})
		require.NoError(t, err)
		c.service.fail = store.ErrUnavailable
		w := c.do("GET", "/v1/e/accumulate?start=0&format="+format, "broadcaster", "")
		require.Equal(t, 503, w.Code, "before anything was sent it is a refusal")
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		require.Empty(t, w.Header().Get("Content-Disposition"))
		c.service.parts = [][]catchup.Entry{{e}, {e}}
		require.PanicsWithError(t, http.ErrAbortHandler.Error(), func() { c.do("GET", "/v1/e/accumulate?start=0&format="+format, "broadcaster", "") })
	}
}
