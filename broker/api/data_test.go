package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/signed"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// office is the surfaces over a real broker on a store in memory.
type office struct {
	t       *testing.T
	handler http.Handler
	app     broker.Application
	broker  *broker.Broker
}

func newOffice(t *testing.T) *office {
	t.Helper()
	s := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	x := &office{t: t, app: broker.Application{ID: 12, Name: "demo-origin", AppKey: "demo-app-key", TokenSecret: "demo-token-secret"}}
	b, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(), Sandbox: true, AutoCreate: true,
		Accounts: []broker.Account{{
			CDN: 158, APIKey: officeKey, APISecret: officeSecret, StreamToken: streamToken,
			Apps: []broker.Application{x.app, {ID: 13, Name: "demo-vod", AppKey: "vod-app-key"}},
		}},
		Streams: broker.StreamOptions{Poke: 100 * time.Millisecond, Redelivery: 50 * time.Millisecond},
	})
	require.NoError(t, err)
	x.broker = b
	x.handler = New(b.Service(), Options{Logger: zap.NewNop()})
	require.Equal(t, 201, x.do("POST", "/v1/objects", x.server(), `{"object_id":"room-1","owner_ref":"boss"}`).status)
	return x
}

// The account's key and secret (examples.md A0).
const (
	officeKey    = "APXDEMO000000000000000000000KEY1"
	officeSecret = "9c1185a5c5e9fc54612808977ee8f548b2258d31a1d2c3b4a5968778695a4b3c"
)

// signed is a command of the account with these fields.
func (x *office) signed(fields string) string {
	x.t.Helper()
	text := fmt.Sprintf(`{"command":"viewer.log","api_key":%q,"timestamp":%d,"cdn":158,%s}`, officeKey, time.Now().Unix(), fields)
	sent, err := signed.Sign([]byte(text), []byte(officeSecret))
	require.NoError(x.t, err)
	return string(sent)
}

func (x *office) server() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("demo-origin:demo-app-key"))
}

// token is a header of a role in room-1; user "" has no user_ref.
func (x *office) token(role, user string) string {
	x.t.Helper()
	claims := map[string]any{"role": role, "channel_id": "room-1"}
	if user != "" {
		claims["user_ref"], claims["name"] = user, user
	}
	text, err := broker.SignToken(x.app, claims, time.Hour, time.Now())
	require.NoError(x.t, err)
	return "Bearer " + text
}

// answered is one answer.
type answered struct {
	status int
	text   string
	header http.Header
	result int
	body   struct {
		Result   int
		Data     json.RawMessage
		ConfNum  string `json:"conf_num"`
		Version  *uint64
		Sessions []struct {
			ConfNum string `json:"conf_num"`
			EndedAt *int64 `json:"ended_at"`
			Data    json.RawMessage
		}
	}
}

func (x *office) do(method, target, auth, body string, headers ...string) (a answered) {
	x.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	x.handler.ServeHTTP(w, r)
	a.status, a.text, a.header = w.Code, strings.TrimSpace(w.Body.String()), w.Header()
	require.NoError(x.t, json.Unmarshal(w.Body.Bytes(), &a.body), a.text)
	a.result = a.body.Result
	return a
}

// Every right of every role in every scope (security.md §2.4; product.md E3, E4, E5, E7).
func TestDataRightsE3E4E5E7(t *testing.T) {
	x := newOffice(t)
	const none, own = "", "?user_ref=ann"
	roles := []struct{ name, auth, params string }{
		{"nobody", "", ""},
		{"viewer", x.token("viewer", "ann"), ""},
		{"moderator", x.token("moderator", "ann"), ""},
		{"broadcaster", x.token("broadcaster", "ann"), ""},
		{"admin", x.token("admin", "ann"), "object_id=room-1"},
		{"server", x.server(), "object_id=room-1"},
	}
	for _, row := range []struct {
		scope, query string
		read, write  [6]int
	}{
		{"app", none, [6]int{4001, 0, 0, 0, 0, 0}, [6]int{4001, 4003, 4003, 4003, 4003, 0}},
		{"owner", none, [6]int{4001, 0, 0, 0, 0, 0}, [6]int{4001, 4003, 4003, 4003, 4003, 0}},
		{"room", none, [6]int{4001, 0, 0, 0, 0, 0}, [6]int{4001, 0, 0, 0, 0, 0}},
		{"session", none, [6]int{4001, 0, 0, 0, 0, 0}, [6]int{4001, 0, 0, 0, 0, 0}},
		{"user", own, [6]int{4001, 0, 0, 0, 0, 0}, [6]int{4001, 0, 0, 0, 0, 0}},
		{"user", "?user_ref=bob", [6]int{4001, 0, 0, 0, 0, 0}, [6]int{4001, 4003, 4003, 4003, 0, 0}},
		{"weather", none, [6]int{4001, 4022, 4022, 4022, 4022, 4022}, [6]int{4001, 4022, 4022, 4022, 4022, 4022}},
	} {
		for i, who := range roles {
			target := "/v1/data/" + row.scope + row.query
			if who.params != "" {
				target += map[bool]string{true: "?", false: "&"}[row.query == ""] + who.params
			}
			require.Equal(t, row.read[i], x.do("GET", target, who.auth, "").result, "GET %s as %s", target, who.name)
			for _, method := range []string{"POST", "PUT", "DELETE"} {
				require.Equal(t, row.write[i], x.do(method, target, who.auth, `{"x":1}`).result, "%s %s as %s", method, target, who.name)
			}
		}
	}
	require.JSONEq(t, `{"result":4003,"error":"scope app is read-only"}`, x.do("POST", "/v1/data/app", roles[1].auth, `{}`).text)

	// A token acts on its own room, whatever it names.
	x.do("PUT", "/v1/data/room?object_id=room-2", x.server(), `{"other":1}`)
	require.NotContains(t, x.do("GET", "/v1/data/room?object_id=room-2", roles[1].auth, "").text, "other")
	for _, scope := range []string{"room", "session", "owner"} {
		require.Equal(t, 4000, x.do("GET", "/v1/data/"+scope, x.server(), "").result, "a backend names the room")
	}
	require.Equal(t, 4004, x.do("GET", "/v1/data/owner?object_id=loner", x.server(), "").result, "a room without owner_ref")
	require.Equal(t, 4022, x.do("PUT", "/v1/data/user", x.server(), "{}").result, "a backend names the user")
	require.Equal(t, 4000, x.do("POST", "/v1/data/user", x.token("viewer", ""), "{}").result, "E7: no user_ref in the token")
	require.Equal(t, 405, x.do("PATCH", "/v1/data/room", roles[1].auth, "{}").status)
}

// Qualifiers (E2, E9, E13, E14): what does not fit is 4022, what is not there 4004.
func TestDataQualifiersE2E9E13E14(t *testing.T) {
	x := newOffice(t)
	ann := x.token("participant", "ann")
	f := func(method, target string, result int) {
		t.Helper()
		require.Equal(t, result, x.do(method, "/v1/data/"+target, ann, `{"x":1}`).result, "%s %s", method, target)
	}
	const unknown = "01KAHVBV3VBWX93GG00000001A"
	f("GET", "session?session=last", 4004) // E13: none has ended
	f("GET", "session?conf_num="+unknown, 4004)
	f("GET", "session?session=first", 4022)
	f("GET", "session?session=last&conf_num="+unknown, 4022)
	f("GET", "session?conf_num=1", 4022)
	f("GET", "session?conf_num=../../12/a", 4022)
	f("GET", "session?session=all&session=last", 4022)
	for _, scope := range []string{"app", "owner", "room", "user"} {
		f("GET", scope+"?session=last&user_ref=ann", 4022)
		f("GET", scope+"?conf_num="+unknown, 4022)
	}
	f("GET", "room?user_ref=ann", 4022)
	f("GET", "user", 4022) // E9
	f("GET", "user?user_ref="+strings.Repeat("x", 201), 4022)
	f("GET", "user?user_ref=a%00b", 4022)
	f("POST", "session?session=last", 4022)
	f("POST", "session?conf_num="+unknown, 4022)
	f("POST", "session?user_ref=ann", 4022)
	require.Equal(t, 400, x.do("GET", "/v1/data/weather", ann, "").status)
	require.JSONEq(t, `{"result":0,"clientId":"","name":"","user_ref":"nobody","role":"participant","data":{}}`,
		x.do("GET", "/v1/data/user?user_ref=nobody", ann, "").text, "E9: an unknown user has none")
}

// E15, E16, E23: the three ways of writing, versions, and what is refused; a refusal
// stores nothing.
func TestDataWritesE15E16E23(t *testing.T) {
	x := newOffice(t)
	ann := x.token("participant", "ann")
	f := func(method, body string, status int, data string, version uint64, headers ...string) {
		t.Helper()
		a := x.do(method, "/v1/data/room", ann, body, headers...)
		require.Equal(t, status, a.status, a.text)
		if status == 200 {
			require.Equal(t, data, string(a.body.Data))
			require.Equal(t, version, *a.body.Version)
			require.Equal(t, fmt.Sprintf(`"%d"`, version), a.header.Get("ETag"))
		}
		if status == 412 {
			require.Equal(t, 4012, a.result)
			require.Equal(t, version, *a.body.Version)
		}
		read := x.do("GET", "/v1/data/room", ann, "")
		require.Equal(t, data, string(read.body.Data))
		require.Equal(t, version, *read.body.Version)
	}
	f("POST", `{}`, 412, `{}`, 0, "If-Match", `"3"`)
	f("POST", `{"a":{"b":1.0,"c":[]}}`, 200, `{"a":{"b":1.0,"c":[]}}`, 1, "If-Match", "0")
	f("POST", ` {"a":{"b":null},"n":12345678901234567890,"t":"<\/é>"}`, 200, `{"a":{"c":[]},"n":12345678901234567890,"t":"<\/é>"}`, 2, "If-Match", `"1"`)
	f("PUT", `{"only":null}`, 412, `{"a":{"c":[]},"n":12345678901234567890,"t":"<\/é>"}`, 2, "If-Match", "1")
	f("PUT", `{"only":null}`, 200, `{"only":null}`, 3, "If-Match", "2")
	for _, bad := range []string{``, `[]`, `"x"`, `7`, `null`, `true`, `{`, `{"a":1}x`, "{\"a\":\"\xff\"}", strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33)} {
		f("POST", bad, 400, `{"only":null}`, 3)
		f("PUT", bad, 400, `{"only":null}`, 3)
	}
	for _, bad := range []string{"", "x", "-1", "01", `"`, "*", `W/"3"`} {
		f("POST", `{"a":1}`, 400, `{"only":null}`, 3, "If-Match", bad)
	}
	f("POST", `{"a":1}`, 400, `{"only":null}`, 3, "If-Match", "3", "If-Match", "3")
	large := x.do("PUT", "/v1/data/room", ann, `{"a":"`+strings.Repeat("x", catchup.MaxDocument)+`"}`)
	require.Equal(t, 413, large.status)
	require.Equal(t, 4013, large.result)
	f("PUT", `{"a":"`+strings.Repeat(" ", 100)+`"}`, 200, `{"a":"`+strings.Repeat(" ", 100)+`"}`, 4)
	f("PUT", `{"a":`+strings.Repeat(" ", catchup.MaxDocument)+`1}`, 200, `{"a":1}`, 5)
	f("DELETE", ``, 200, `{}`, 6)
	f("DELETE", ``, 200, `{}`, 6)
}

// E6, E8, E10 to E13, E22: the reads of session data, by the shapes of examples.md A2.
func TestSessionDataE6E8E10E11E12E13(t *testing.T) {
	x := newOffice(t)
	ann, bob := x.token("participant", "ann"), x.token("participant", "bob")
	caster := x.token("broadcaster", "cid")
	first := x.do("POST", "/v1/data/session", ann, `{"poll":{"options":[{"response":0}]}}`)
	require.Len(t, first.body.ConfNum, 26)
	x.do("POST", "/v1/data/session", bob, `{"lower_third":"Hello"}`)
	got := x.do("GET", "/v1/data/session", bob, "")
	require.JSONEq(t, `{"result":0,"clientId":"","name":"bob","user_ref":"bob","role":"participant","version":2,"conf_num":"`+first.body.ConfNum+`",
		"data":{"poll":{"options":[{"response":0}]},"lower_third":"Hello"}}`, got.text)
	require.Equal(t, `{"lower_third":"Hello"}`, string(x.do("GET", "/v1/data/session?user_ref=bob", ann, "").body.Data)) // E10

	for _, auth := range []string{ann, ""} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			require.Contains(t, []int{401, 403}, x.do(method, "/v1/objects/room-1/sessions", auth, "").status)
		}
	}
	require.Equal(t, 200, x.do("POST", "/v1/objects/room-1/sessions", caster, "").status, "one is open")
	ended := x.do("DELETE", "/v1/objects/room-1/sessions", caster, "")
	require.Equal(t, 200, ended.status, ended.text)
	require.Equal(t, 404, x.do("DELETE", "/v1/objects/room-1/sessions", caster, "").status)
	require.Equal(t, 201, x.do("POST", "/v1/objects/room-1/sessions", caster, "").status)
	got = x.do("GET", "/v1/data/session", ann, "")
	require.NotEqual(t, first.body.ConfNum, got.body.ConfNum)
	require.Equal(t, "{}", string(got.body.Data))
	for _, q := range []string{"session=last", "conf_num=" + first.body.ConfNum} {
		last := x.do("GET", "/v1/data/session?"+q, ann, "")
		require.Equal(t, first.body.ConfNum, last.body.ConfNum)
		require.JSONEq(t, `{"poll":{"options":[{"response":0}]},"lower_third":"Hello"}`, string(last.body.Data))
	}
	all := x.do("GET", "/v1/data/session?session=all", ann, "").body.Sessions // E12
	require.Len(t, all, 2)
	require.Nil(t, all[0].EndedAt)
	require.NotNil(t, all[1].EndedAt)
	require.Equal(t, []string{got.body.ConfNum, first.body.ConfNum}, []string{all[0].ConfNum, all[1].ConfNum})
	require.Equal(t, "{}", string(all[0].Data))
	list := x.do("GET", "/v1/objects/room-1/sessions", x.server(), "").body.Sessions
	require.Len(t, list, 2)
	require.Nil(t, list[0].Data)
}

// E21 over HTTP: everything is refused, but for taking it back.
func TestSuspendedE21(t *testing.T) {
	x := newOffice(t)
	ann := x.token("viewer", "ann")
	x.do("POST", "/v1/data/room", ann, `{"a":1}`)
	for _, path := range []string{"suspend", "resume"} {
		for _, auth := range []string{ann, x.token("admin", "a")} {
			require.Equal(t, 4003, x.do("POST", "/v1/application/"+path, auth, "").result)
		}
		require.Equal(t, 4001, x.do("POST", "/v1/application/"+path, "", "").result)
	}
	require.Contains(t, x.do("POST", "/v1/application/suspend", x.server(), "").text, `"suspended":true`)
	for _, target := range []string{"GET /v1/data/room", "GET /v1/objects/room-1", "POST /v1/publish", "GET /v1/nowhere", "GET /v1/objects/room-1/history?channel=chat"} {
		method, path, _ := strings.Cut(target, " ")
		for _, auth := range []string{ann, x.server()} {
			a := x.do(method, path, auth, "{}")
			require.JSONEq(t, `{"result":4003,"error":"application suspended"}`, a.text, target)
			require.Equal(t, 403, a.status)
		}
	}
	require.Equal(t, 403, x.do("GET", "/api/live/list?app=demo-origin", "", "").status)
	require.Equal(t, 200, x.do("POST", "/v1/application/resume", x.server(), "").status)
	require.Equal(t, `{"a":1}`, string(x.do("GET", "/v1/data/room", ann, "").body.Data))
	require.Equal(t, 200, x.do("GET", "/api/live/list?app=demo-origin", "", "").status)
}

// Pages of other origins may send a version and read one.
func TestDataCORS(t *testing.T) {
	c := newCall(t, Options{})
	w := c.do("OPTIONS", "/v1/data/room", "", "", "Origin: https://page.example")
	require.Equal(t, 204, w.Code)
	require.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), "If-Match")
	require.Equal(t, "DELETE, GET, HEAD, POST, PUT, OPTIONS", w.Header().Get("Access-Control-Allow-Methods"))
	c.service.data = broker.Data{Object: []byte(`{}`), Version: 7}
	w = c.do("GET", "/v1/data/room", "viewer", "", "Origin: https://page.example")
	require.Equal(t, `"7"`, w.Header().Get("ETag"))
	require.Contains(t, w.Header().Get("Access-Control-Expose-Headers"), "ETag")
}
