package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestT3Listings: who sees which objects, with what permission_level.
func TestT3Listings(t *testing.T) {
	c := newCall(t, Options{})
	list := func(who, level, more string, want ...string) {
		t.Helper()
		var answer struct {
			Status, Cached  string
			PermissionLevel string `json:"permission_level"`
			TotalCount      string `json:"total_count"`
			Live            []map[string]string
		}
		w := c.want("GET", "/api/live/list?app=demo"+more, who, "", 200)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		ids := []string{}
		for _, o := range answer.Live {
			require.Len(t, o, 4)
			require.Equal(t, "/view-"+o["live_id"], o["realtime_channel"])
			ids = append(ids, o["live_id"])
		}
		require.ElementsMatch(t, want, ids)
		require.Equal(t, []string{"ok", level, "0", fmt.Sprint(len(want))}, []string{answer.Status, answer.PermissionLevel, answer.Cached, answer.TotalCount})
		require.NotContains(t, w.Body.String(), "control")
	}
	list("", "anonymous", "", "own", "else")
	list("viewer", "anonymous", "", "own", "else")
	list("moderator", "read", "", "own", "else", "hidden")
	list("broadcaster", "read", "", "own", "else", "hidden")
	list("admin", "write", "", "own", "else", "hidden")
	list("server", "admin", "", "own", "else", "hidden")
	list("", "anonymous", "&live_id=hidden")
	list("viewer", "anonymous", "&live_id=hidden")
	list("broadcaster", "read", "&live_id=hidden", "hidden")
	list("server", "admin", "&live_id=hidden", "hidden")
	list("", "anonymous", "&live_id=film")
	// The token of a private object sees it.
	c.service.objects[key(demo, "own")] = &broker.Object{App: demo, ID: "own", Type: "live"}
	list("", "anonymous", "", "else")
	list("", "anonymous", "&live_id=own")
	list("viewer", "anonymous", "&live_id=own", "own")
	c.want("GET", "/api/photo/list?app=demo", "", "", 200)
	require.Contains(t, c.do("GET", "/api/photo/list?app=demo", "", "").Body.String(), `"photos":[{"photo_id":"film"`)
	w := c.want("GET", "/api/live/list?app=nobody", "", "", 404)
	require.Contains(t, w.Body.String(), `"status":"error"`)
}

func TestT11Realtime(t *testing.T) {
	c := newCall(t, Options{RealtimeURL: "wss://live.example/faye"})
	const where = "/api/live/realtime?live_id=own"
	c.want("GET", where, "admin", "", 200, `{"status":"ok","permission_level":"write","cached":"0","live_id":"own","realtime_url":"wss://live.example/faye","realtime_channel":"/control-own"}`)
	c.want("GET", where, "server", "", 200)
	refused := `{"status":"error","permission_level":"anonymous","code":"permission_denied","message":"forbidden: the credential does not allow this here","cached":"0"}`
	for _, who := range []string{"viewer", "moderator", "broadcaster", "stray"} {
		c.want("GET", where, who, "", 403, refused)
	}
	c.want("GET", where, "", "", 401)
	c.want("GET", "/api/live/realtime", "admin", "", 400)
	c.want("GET", "/api/live/realtime?live_id=none", "admin", "", 404)
	c.want("GET", "/api/live/realtime?live_id=film", "admin", "", 404, `{"status":"error","permission_level":"anonymous","code":"not_found","message":"no such object","cached":"0"}`)
	c.want("GET", "/api/live/realtime?live_id=theirs", "admin", "", 404)
	c.want("POST", where, "admin", "", 405)
}

func TestT12Log(t *testing.T) {
	c := newCall(t, Options{})
	c.service.spans = []catchup.Span{{Event: "broadcasting", Start: 1414659998, End: 1414660067}, {Event: "x", Start: 7, Open: true}}
	log := `"onelog":[{"live_id":"own","event":"broadcasting","start_time":"1414659998","end_time":"1414660067"},` +
		`{"live_id":"own","event":"x","start_time":"7","end_time":""}],"total_count":"2","truncated_p":"0","cached":"0","status":"ok","permission_level":`
	c.want("GET", "/api/live/log?live_id=own", "broadcaster", "", 200, `{`+log+`"read","realtime_channel":"/control-own/events"}`)
	c.want("GET", "/api/live/log?live_id=own", "server", "", 200, `{`+log+`"admin","realtime_channel":"/control-own/events"}`)
	// A moderator reads, but the control root would make more of her.
	c.want("GET", "/api/live/log?live_id=own", "moderator", "", 200, `{`+log+`"read","realtime_channel":""}`)
	c.service.spans = []catchup.Span{{Event: "x", Start: 7, End: 7, Old: true}, {}, {}}
	w := c.want("GET", "/api/live/log?live_id=own", "broadcaster", "", 200)
	require.Contains(t, w.Body.String(), `{"live_id":"own","event":"x","start_time":"","end_time":"7"}`)
	require.Contains(t, w.Body.String(), `"truncated_p":"1"`)
	c.service.spans = nil
	require.Contains(t, c.want("GET", "/api/live/log?live_id=own", "broadcaster", "", 200).Body.String(), `"onelog":[]`)

	c.want("GET", "/api/live/log?live_id=own", "viewer", "", 403)
	c.want("GET", "/api/live/log?live_id=else", "broadcaster", "", 403)
	c.want("GET", "/api/live/log?live_id=own", "", "", 401)
	c.want("GET", "/api/live/log", "broadcaster", "", 400)

	c.want("GET", "/api/live/log?live_id=own&start_time=10&end_time=20&event_types=a+b%20c&concatenate_seconds=30", "broadcaster", "", 200)
	require.Equal(t, catchup.Window{From: time.Unix(10, 0), Until: time.Unix(20, 0), Events: []string{"a", "b", "c"}, Join: 30 * time.Second}, c.service.window)
	c.want("GET", "/api/live/log?live_id=own&start_time=", "broadcaster", "", 200)
	require.Equal(t, catchup.Window{Events: []string{}}, c.service.window)
	for _, bad := range []string{
		"start_time=x", "start_time=-1", "end_time=1.5", "end_time=1e3", "start_time=20&end_time=10", "concatenate_seconds=-1",
		"concatenate_seconds=99999999", "start_time=9999999999999", "event_types=" + strings.Repeat("a+", 101),
	} {
		w := c.want("GET", "/api/live/log?live_id=own&"+bad, "broadcaster", "", 400)
		require.Contains(t, w.Body.String(), `"code":"invalid_parameters"`, bad)
	}
}

func TestCommentsModeratedT9T16(t *testing.T) {
	c := newCall(t, Options{})
	promote, withdraw := "/v1/objects/own/comments/c9/promote", "/v1/objects/own/comments/c9"
	for _, who := range []string{"moderator", "broadcaster", "admin", "server"} {
		c.want("POST", promote, who, "", 200, `{"result":0,"comment":{"comment_id":"c9","object_id":"own","promoted_p":1}}`)
		c.want("DELETE", withdraw, who, "", 200, `{"result":0}`)
	}
	for _, who := range []string{"viewer", "stray"} {
		c.want("POST", promote, who, "", 403)
		c.want("DELETE", withdraw, who, "", 403)
	}
	c.want("POST", "/v1/objects/else/comments/c9/promote", "moderator", "", 403)
	c.want("POST", promote, "", "", 401)
	c.want("GET", promote, "admin", "", 405)
	c.service.fail = &broker.Error{Result: 4004, Text: "no such comment"}
	c.want("POST", promote, "admin", "", 404, `{"result":4004,"error":"no such comment"}`)
	c.want("DELETE", withdraw, "admin", "", 404, `{"result":4004,"error":"no such comment"}`)
}

func TestConnectionRequests(t *testing.T) {
	c := newCall(t, Options{})
	c.want("GET", "/v1/connections?user_ref=u&object_id=own&limit=2&cursor=c0", "admin", "", 200, `{"result":0,"connections":[
		{"id":"c1","node":"n1","role":"","user_ref":"","user_id":"u1","opaque_user_id":"","name":"Ernest","objects":["own"],"channels":2},
		{"id":"c2","node":"","role":"","user_ref":"","user_id":"","opaque_user_id":"","name":"","objects":[],"channels":0}],"cursor":"c2"}`)
	require.Equal(t, broker.ConnectionQuery{UserRef: "u", ObjectID: "own", After: "c0", Limit: 2}, c.service.connections)
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "cursor=" + strings.Repeat("x", 256)} {
		c.want("GET", "/v1/connections?"+bad, "admin", "", 400)
	}
	c.want("DELETE", "/v1/connections/c1", "admin", "", 200, `{"result":0}`)
	c.want("DELETE", "/v1/connections/c2", "admin", "", 404)
	c.want("DELETE", "/v1/connections?user_ref=u", "admin", "", 200, `{"result":0,"ended":3}`)
	c.want("DELETE", "/v1/connections", "admin", "", 400)
	c.want("POST", "/v1/tokens/revoke", "admin", `{"jti":"j1","exp":1700}`, 200, `{"result":0}`)
	c.want("POST", "/v1/tokens/revoke", "admin", `{"jti":"j2"}`, 200)
	require.Equal(t, []string{"j1 1700", fmt.Sprint("j2 ", time.Time{}.Unix())}, c.service.revoked)
	for _, bad := range []string{``, `{}`, `[]`, `{"jti":1}`, `{"jti":"x","exp":"1"}`, `{"jti":"x","exp":-1}`, `{"jti":"x","exp":1.5}`, `{"jti":"x","jti":"y"}`, `{"jti":"x","more":1}`} {
		c.want("POST", "/v1/tokens/revoke", "admin", bad, 400)
	}
	require.Len(t, c.service.revoked, 2)
	c.want("GET", "/v1/objects/own/presence", "broadcaster", "", 200, `{"result":0,"count":1,"members":[{"id":"c1","role":"viewer"}]}`)
}

// TestSignedRequests: what is signed, what for, and that a second use is known again.
func TestSignedRequests(t *testing.T) {
	c := newCall(t, Options{MaxBody: 1000})
	signed := func(method, target, body, header string, status int, more ...string) {
		t.Helper()
		w := c.do(method, target, "", body, append(more, "Gobelin-Signature: "+header)...)
		require.Equal(t, status, w.Code, w.Body)
	}
	body := `{"channel":"chat","data":1}`
	signed("POST", "/v1/objects/own/publish?app=demo", body, "n=0123456789abcdef", 200)
	require.Equal(t, broker.SignedRequest{Header: "n=0123456789abcdef", Method: "POST", Target: "/v1/objects/own/publish?app=demo", Body: []byte(body), App: "demo"}, c.service.signed[0])
	signed("POST", "/v1/objects/own/publish?app=demo", body, "n=0123456789abcdef", 200)
	require.Len(t, c.service.published, 2)
	require.Equal(t, c.service.published[0].Nonce, c.service.published[1].Nonce, "the store knows it again")
	require.NotZero(t, c.service.published[0].Nonce)
	signed("POST", "/v1/publish", `{"messages":[{"object_id":"own","channel":"chat","data":1}]}`, "n=0123456789abcdef", 400) // another request
	signed("POST", "/v1/publish", `{"messages":[{"object_id":"own","channel":"chat","data":1}]}`, "n=0123456789abcdeg", 200)
	require.NotEqual(t, c.service.published[0].Nonce, c.service.published[2].Nonce)
	signed("POST", "/v1/publish", `{"messages":[{"object_id":"own","channel":"chat","data":1}]}`, "", 400) // a write has n
	signed("POST", "/v1/objects/own/publish", body, "n=0123456789abcdeh", 400, "Idempotency-Key: k")
	signed("POST", "/v1/objects/own/publish", body, "bad", 401)
	signed("POST", "/v1/objects/own/publish", strings.Repeat(" ", 1001), "n=0123456789abcdei", 413)
	signed("POST", "/v1/objects/own/publish", body, "n=0123456789abcdei", 400, "Authorization: server")
	signed("GET", "/v1/objects/own", "", "", 200)
	signed("POST", "/v1/objects", `{"type":"live"}`, "n=0123456789abcdej", 401)
	signed("DELETE", "/v1/objects/own", "", "n=0123456789abcdek", 401)
	w := c.do("GET", "/v1/objects/own", "", "", "Gobelin-Signature: a", "Gobelin-Signature: b")
	require.Equal(t, 400, w.Code)
	require.Len(t, c.service.published, 3)
	// A nonce and an Idempotency-Key of the same text are two keys, whoever has them.
	c.want("POST", "/v1/objects/own/publish", "server", body, 200)
	before := len(c.service.bodies)
	c.service.objects[key(demo, "signed")] = &broker.Object{App: demo, ID: "signed", Type: "live"}
	c.do("POST", "/v1/objects/own/publish", "server", body, "Idempotency-Key: 0123456789abcdef")
	require.Len(t, c.service.bodies, before+1)
	// The store being away is no reason to let a signature pass.
	c.service.fail = &broker.Error{Result: 5003, Text: "away"}
	signed("POST", "/v1/objects/own/publish", body, "n=0123456789abcdel", 503)
}

func TestRateOfSignatures(t *testing.T) {
	c := newCall(t, Options{RequestRate: 1, Burst: 3})
	for range 100 { // Burst is at least Batch
		require.Equal(t, 401, c.do("GET", "/v1/objects", "", "", "Gobelin-Signature: bad").Code)
	}
	require.Equal(t, http.StatusTooManyRequests, c.do("GET", "/v1/objects", "", "", "Gobelin-Signature: bad").Code)
}

// A caller who was found out before needs no credential, and none of a header counts; what
// the operator changes is written down, also where nobody else's would be.
func TestVouchedCaller(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	c := newCall(t, Options{Audit: zap.New(core).Named("audit"), RequestRate: 1, Burst: 100})
	who := &broker.Identity{App: demo, Role: broker.RoleServer, RoleName: broker.OperatorRole}
	do := func(method, target, body string) int {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer nonsense")
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, WithCaller(r, who))
		return w.Code
	}
	for range 300 { // it is charged to nobody
		require.Equal(t, http.StatusOK, do("GET", "/v1/objects", ""))
	}
	require.Zero(t, logs.Len())
	require.Equal(t, http.StatusOK, do("POST", "/v1/publish", `{"messages":[{"object_id":"gala","channel":"chat","data":"mark"}]}`))
	require.Equal(t, http.StatusBadRequest, do("POST", "/v1/publish", `{"mark`))
	all := logs.TakeAll()
	require.Len(t, all, 2)
	for i, message := range []string{"done", "refused"} {
		require.Equal(t, message, all[i].Message)
		require.Equal(t, "POST /v1/publish", all[i].ContextMap()["action"])
		require.Equal(t, "operator", all[i].ContextMap()["role"])
		require.NotContains(t, fmt.Sprint(all[i].ContextMap()), "mark")
	}
	require.Equal(t, http.StatusForbidden, do("GET", "/streams", ""), "streams know their own credential only")
}

// TestAuditLog: one line for each administrative call, without a secret in it.
func TestAuditLog(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	c := newCall(t, Options{Audit: zap.New(core).Named("audit")})
	credentials["audited"] = &broker.Identity{App: demo, Role: broker.RoleAdmin, RoleName: "admin", UserID: "u7", UserRef: "ref7", JTI: "jti-0123456789"}
	defer delete(credentials, "audited")
	line := func(method, target, who, body, message, action string, status int, fields map[string]any) {
		t.Helper()
		c.do(method, target, who, body)
		all := logs.TakeAll()
		require.Len(t, all, 1, "%s %s", method, target)
		e := all[0]
		got := e.ContextMap()
		require.Equal(t, "audit", e.LoggerName)
		require.Equal(t, message, e.Message)
		require.Equal(t, action, got["action"])
		require.EqualValues(t, status, got["status"])
		for name, want := range fields {
			require.Equal(t, want, got[name], name)
		}
		text := fmt.Sprint(got)
		for _, secret := range []string{"jti-0123456789", "0123456789abcdef0123", "/view-", "/control-"} {
			require.NotContains(t, text, secret)
		}
	}
	admin := map[string]any{"app": "demo", "role": "admin", "user_id": "u7", "user_ref": "ref7", "jti": "jti-0123"}
	with := func(more ...any) map[string]any {
		m := map[string]any{}
		for k, v := range admin {
			m[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	connection := strings.Repeat("0123456789abcdef", 2) + "01234567"
	line("POST", "/v1/objects", "audited", `{"object_id":"new"}`, "done", "object.create", 201, admin)
	line("PATCH", "/v1/objects/new", "audited", `{"name":"x"}`, "done", "object.change", 200, with("object", "new"))
	line("POST", "/v1/objects/new/reset-token", "audited", ``, "done", "object.reset", 200, with("object", "new"))
	line("GET", "/v1/objects/new/roots", "audited", ``, "done", "object.roots", 200, with("object", "new"))
	line("DELETE", "/v1/objects/new", "audited", ``, "done", "object.delete", 200, with("object", "new"))
	line("DELETE", "/v1/objects/new", "audited", ``, "refused", "object.delete", 404, with("object", "new"))
	line("POST", "/v1/objects/own/comments/01HZX3J8Q4V5W6X7Y8Z9ABCDEF/promote", "moderator", ``, "done", "comment.promote", 200, map[string]any{"object": "own", "comment": "01HZX3J8"})
	line("DELETE", "/v1/objects/own/comments/01HZX3J8Q4V5W6X7Y8Z9ABCDEF", "moderator", ``, "done", "comment.withdraw", 200, nil)
	line("DELETE", "/v1/objects/own", "viewer", ``, "refused", "object.delete", 403, map[string]any{"object": "own"})
	line("DELETE", "/v1/objects/own", "", ``, "refused", "object.delete", 401, map[string]any{"role": "none", "address": "192.0.2.1"})
	line("GET", "/v1/connections", "audited", ``, "done", "connection.list", 200, admin)
	line("DELETE", "/v1/connections/"+connection, "audited", ``, "refused", "connection.end", 404, with("connection", "01234567"))
	line("DELETE", "/v1/connections?user_ref=u", "audited", ``, "done", "connection.end_user", 200, admin)
	line("POST", "/v1/tokens/revoke", "audited", `{"jti":"jti-0123456789"}`, "done", "token.revoke", 200, admin)
	// Ordinary traffic is not in it.
	for _, target := range []string{"/v1/objects/own", "/v1/objects", "/api/live/list?app=demo", "/v1/objects/own/history?channel=chat"} {
		c.do("GET", target, "audited", "")
	}
	c.do("POST", "/v1/objects/own/publish", "audited", `{"channel":"chat","data":1}`)
	require.Zero(t, logs.Len())
}
