package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// TestRights is the table of security.md §2.4 for these endpoints: what each role
// gets for its own object ("own"), another, and the application as a whole.
func TestRights(t *testing.T) {
	roles := []string{"", "nonsense", "viewer", "moderator", "broadcaster", "stray", "admin", "server"}
	table := []struct {
		method, target, body string
		want                 [8]int
	}{
		{"POST", "/v1/objects", `{"object_id":"new"}`, [8]int{401, 401, 403, 403, 403, 403, 201, 201}},
		{"GET", "/v1/objects", "", [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"GET", "/v1/objects/own", "", [8]int{401, 401, 200, 200, 200, 403, 200, 200}},
		{"GET", "/v1/objects/else", "", [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"GET", "/v1/objects/nobody", "", [8]int{401, 401, 403, 403, 403, 403, 404, 404}},
		{"PATCH", "/v1/objects/own", `{"name":"x"}`, [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"DELETE", "/v1/objects/own", "", [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"POST", "/v1/objects/own/reset-token", "", [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"POST", "/v1/objects/own/publish", `{"channel":"chat","data":1}`, [8]int{401, 401, 403, 403, 200, 403, 200, 200}},
		{"POST", "/v1/objects/else/publish", `{"channel":"chat","data":1}`, [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"POST", "/v1/publish", `{"messages":[{"object_id":"own","channel":"chat","data":1}]}`, [8]int{401, 401, 200, 200, 200, 200, 200, 200}},
		{"POST", "/v1/publish", `{"messages":[{"channel":"/open","data":1}]}`, [8]int{200, 401, 200, 200, 200, 200, 200, 200}},
		{"POST", "/v1/objects/own/comments", `{"content":"x"}`, [8]int{401, 401, 201, 201, 201, 403, 201, 201}},
		{"POST", "/v1/objects/else/comments", `{"content":"x"}`, [8]int{401, 401, 403, 403, 403, 403, 201, 201}},
		{"GET", "/v1/objects/own/history?channel=chat", "", [8]int{401, 401, 200, 200, 200, 403, 200, 200}},
		{"GET", "/v1/objects/else/history?channel=chat", "", [8]int{401, 401, 403, 403, 403, 403, 200, 200}},
		{"GET", "/v1/history?channel=/open", "", [8]int{200, 401, 200, 200, 200, 200, 200, 200}},
		{"GET", "/api/live/list?app=demo", "", [8]int{200, 401, 200, 200, 200, 200, 200, 200}},
		{"GET", "/api/photo/list?app=demo", "", [8]int{200, 401, 200, 200, 200, 200, 200, 200}},
	}
	for _, row := range table {
		for i, who := range roles {
			newCall(t, Options{}).want(row.method, row.target, who, row.body, row.want[i])
		}
	}
}

func TestObjects(t *testing.T) {
	c := newCall(t, Options{RealtimeURL: "wss://live.example/faye"})
	c.want("POST", "/v1/objects", "server", `{"object_id":"a","type":"video","name":"A","owner_ref":"boss","url":"u","public":false}`, 201,
		`{"result":0,"object":{"object_id":"a","object_type":"video","name":"A","owner_ref":"boss","url":"u","public":false,
		"realtime_url":"wss://live.example/faye","realtime_channel":"/view-a","realtime_control_channel":"/control-a"}}`)
	c.want("POST", "/v1/objects", "admin", `{"object_id":"a","object_type":"video","name":"A"}`, 200)
	c.want("POST", "/v1/objects", "admin", `{"object_id":"a","name":"B"}`, 409, `{"result":4009,"error":"the object exists"}`)
	c.want("POST", "/v1/objects", "server", `{}`, 201)
	// A viewer sees the view root only.
	c.want("GET", "/v1/objects/own", "viewer", "", 200,
		`{"result":0,"object":{"object_id":"own","object_type":"live","name":"Own","owner_ref":"","url":"","public":true,
		"realtime_url":"wss://live.example/faye","realtime_channel":"/view-own"}}`)
	require.NotContains(t, c.do("GET", "/v1/objects/own", "broadcaster", "").Body.String(), "control")
	// A merge patch: null is the value of a new object.
	c.want("PATCH", "/v1/objects/a", "server", `{"name":null,"url":"v","public":null}`, 200,
		`{"result":0,"object":{"object_id":"a","object_type":"video","name":"","owner_ref":"boss","url":"v","public":true,
		"realtime_url":"wss://live.example/faye","realtime_channel":"/view-a","realtime_control_channel":"/control-a"}}`)
	c.want("POST", "/v1/objects/a/reset-token", "server", `{"grace_minutes":5}`, 200)
	require.Equal(t, 5*time.Minute, c.service.grace)
	c.want("POST", "/v1/objects/a/reset-token", "server", ``, 200)
	require.Zero(t, c.service.grace)
	c.want("POST", "/v1/objects/nobody/reset-token", "server", ``, 404, `{"result":4004,"error":"no such object"}`)
	c.want("DELETE", "/v1/objects/a", "server", "", 200, `{"result":0}`)
	c.want("DELETE", "/v1/objects/a", "server", "", 404)
	c.want("GET", "/v1/objects/a", "server", "", 404)
	// Another application's key does not reach it, whatever the id.
	c.want("GET", "/v1/objects/own", "foreign", "", 404)
	// Ids are any text.
	c.service.objects[key(demo, "a/b ü")] = &broker.Object{App: demo, ID: "a/b ü"}
	c.want("GET", "/v1/objects/a%2Fb%20%C3%BC", "server", "", 200)
}

func TestObjectRequestsRefused(t *testing.T) {
	c := newCall(t, Options{})
	post := func(body, text string) {
		t.Helper()
		w := c.want("POST", "/v1/objects", "server", body, 400)
		require.Contains(t, w.Body.String(), text, body)
		require.Contains(t, w.Body.String(), `"result":4000`)
	}
	post(``, "valid JSON")
	post(`[]`, "JSON object")
	post(`{"object_id":"a","object_id":"b"}`, `\"object_id\" is there twice`)
	post(`{"object_id":"a","object\u005fid":"b"}`, `is there twice`)
	post(`{"Object_ID":"a"}`, `unknown field \"Object_ID\"`)
	post(`{"object_id":7}`, "object_id must be a string")
	post(`{"object_id":""}`, "must not be empty")
	post(`{"object_id":null}`, "must be a string")
	post("{\"object_id\":\"\xff\"}", "UTF-8")
	post(`{"object_id":"\ud800"}`, "UTF-8")
	post(`{"public":1}`, "true or false")
	post(`{"type":"live","object_type":"video"}`, "differ")
	post(`{"name":`+strings.Repeat("[", 200)+strings.Repeat("]", 200)+`}`, "deeper than 128")
	post(`{"object_id":"a"} x`, "valid JSON")
	for _, body := range []string{`{"grace_minutes":"5"}`, `{"grace_minutes":-1}`, `{"grace_minutes":1.5}`, `{"grace":5}`, `{"grace_minutes":99999999999}`} {
		c.want("POST", "/v1/objects/own/reset-token", "server", body, 400)
	}
	for _, body := range []string{`{"object_id":"b"}`, `{"name":5}`, `{"public":"no"}`, ``} {
		c.want("PATCH", "/v1/objects/own", "server", body, 400)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "type=radio", "cursor=!"} {
		c.want("GET", "/v1/objects?"+query, "server", "", 400)
	}
}

func TestListObjects(t *testing.T) {
	c := newCall(t, Options{})
	var ids []string
	for cursor, pages := "", 0; pages < 10; pages++ {
		w := c.want("GET", "/v1/objects?limit=2&cursor="+cursor, "admin", "", 200)
		var answer struct {
			Objects []struct {
				ObjectID               string `json:"object_id"`
				RealtimeControlChannel string `json:"realtime_control_channel"`
			}
			Cursor string
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		for _, o := range answer.Objects {
			require.Equal(t, "/control-"+o.ObjectID, o.RealtimeControlChannel)
			ids = append(ids, o.ObjectID)
		}
		if cursor = answer.Cursor; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{"else", "film", "hidden", "own"}, ids)
}

func TestPublish(t *testing.T) {
	c := newCall(t, Options{})
	c.want("POST", "/v1/objects/own/publish", "broadcaster", `{"channel":"chat","data": {"n":12345678901234567890, "n":1.10} }`, 200,
		`{"result":0,"id":"id1","time":1700}`)
	require.Equal(t, `{"n":12345678901234567890, "n":1.10}`, string(c.service.published[0].Data), "byte for byte")
	require.Equal(t, "own", c.service.published[0].ObjectID)
	// An object in the body does not widen a token.
	c.want("POST", "/v1/objects/own/publish", "broadcaster", `{"object_id":"else","channel":"chat","data":1}`, 200)
	require.Equal(t, "own", c.service.published[1].ObjectID)

	c.service.each = func(p broker.Publication) error {
		switch p.Channel {
		case "all_json":
			return &broker.Error{Result: 4003, Text: "nobody may publish here"}
		case "crash":
			return errors.New("secret detail")
		}
		return nil
	}
	c.want("POST", "/v1/publish", "broadcaster", `{"messages":[
		{"object_id":"own","channel":"chat","data":null},
		{"object_id":"else","channel":"chat","data":1},
		{"object_id":"own","channel":"all_json","data":1},
		{"object_id":"own","channel":"crash","data":1},
		{"channel":"/open/x","data":"s"}]}`, 200,
		`{"result":0,"results":[{"id":"id3","time":1700},
		{"result":4003,"error":"forbidden: the credential does not allow this here"},
		{"result":4003,"error":"nobody may publish here"},
		{"result":5000,"error":"internal server error"},
		{"id":"id4","time":1700}]}`)
	require.Equal(t, 1, c.logs.FilterMessage("request failed").Len())
	require.Equal(t, "/open/x", c.service.published[3].Channel)
	require.Empty(t, c.service.published[3].ObjectID)
}

func TestPublishRefused(t *testing.T) {
	c := newCall(t, Options{MaxBody: 1000, Batch: 3})
	one := func(body string, status int, text string) {
		t.Helper()
		require.Contains(t, c.want("POST", "/v1/objects/own/publish", "server", body, status).Body.String(), text)
	}
	one(`{"data":1}`, 400, "channel is required")
	one(`{"channel":"chat"}`, 400, "data is required")
	one(`{"channel":"","data":1}`, 400, "channel is required")
	one(`{"channel":["chat"],"data":1}`, 400, "channel must be a string")
	one(`{"channel":"chat","data":1,"ext":{}}`, 400, `unknown field \"ext\"`)
	one(`{"channel":"chat","data":1,"data":2}`, 400, "there twice")
	one("{\"channel\":\"chat\",\"data\":\"\xc3\x28\"}", 400, "UTF-8")
	one(`{"channel":"chat","data":"`+strings.Repeat("x", 1000)+`"}`, 413, "larger than 1000 bytes")
	one(`{"channel":"chat","data":01}`, 400, "valid JSON")
	batch := func(body string, status int, text string) {
		t.Helper()
		require.Contains(t, c.want("POST", "/v1/publish", "server", body, status).Body.String(), text)
	}
	batch(`{}`, 400, "messages is required")
	batch(`{"messages":[]}`, 400, "must not be empty")
	batch(`{"messages":{}}`, 400, "must be an array")
	batch(`{"messages":[1]}`, 400, "messages[0] must be a JSON object")
	batch(`{"messages":[{"channel":"/x","data":1},{"channel":"chat","data":1}]}`, 400, "messages[1]: object_id is required")
	batch(`{"messages":[{"channel":"/x","data":1,"data":1}]}`, 400, `messages[0]: field \"data\" is there twice`)
	batch(`{"messages":[{"channel":"/x","data":1,"x":1}]}`, 400, `messages[0]: unknown field`)
	batch(`{"messages":[0,0,0,0]}`, 413, "more messages")
	require.Empty(t, c.service.published)
}

func TestIdempotencyKey(t *testing.T) {
	c := newCall(t, Options{})
	body := `{"messages":[{"object_id":"own","channel":"a","data":1},{"object_id":"own","channel":"b","data":1}]}`
	send := func(target, who, body, header string, status int) {
		t.Helper()
		w := c.do("POST", target, who, body, "Idempotency-Key: "+header)
		require.Equal(t, status, w.Code, w.Body)
	}
	send("/v1/publish", "server", body, "k1", 200)
	send("/v1/publish", "server", body, "k1", 200)
	p := c.service.published
	require.Len(t, p, 4)
	require.Equal(t, broker.PublicationNonce(12, "k1", 0), p[0].Nonce)
	require.Equal(t, broker.PublicationNonce(12, "k1", 1), p[1].Nonce)
	require.Equal(t, p[0].Nonce, p[2].Nonce)
	require.Equal(t, p[1].Nonce, p[3].Nonce)
	send("/v1/publish", "server", strings.Replace(body, `"data":1`, `"data":2`, 1), "k1", 400)
	// The same words to another path are another request.
	one := `{"channel":"a","data":1}`
	send("/v1/objects/own/publish", "server", one, "k2", 200)
	send("/v1/objects/else/publish", "server", one, "k2", 400)
	// A broadcaster's keys are its own: they spoil nobody else's.
	send("/v1/objects/own/publish", "broadcaster", one, "k1", 200)
	send("/v1/publish", "server", body, "k1", 200)
	send("/v1/publish", "server", body, "a b", 400)
	send("/v1/publish", "server", body, strings.Repeat("k", 256), 400)
	send("/v1/publish", "", `{"messages":[{"channel":"/x","data":1}]}`, "k", 401)
	w := c.do("POST", "/v1/publish", "server", body, "Idempotency-Key: k8", "Idempotency-Key: k9")
	require.Equal(t, 400, w.Code)
	c.want("POST", "/v1/objects/own/publish", "server", one, 200)
	require.Zero(t, c.service.published[len(c.service.published)-1].Nonce)
}

func TestComments(t *testing.T) {
	c := newCall(t, Options{})
	c.want("POST", "/v1/objects/own/comments", "viewer", `{"content":"a <b>","user_id":"forged","object_id":"else"}`, 201,
		`{"result":0,"comment":{"comment_id":"c1","object_id":"own","content":"a <b>","name":"","user_id":"u1"}}`)
	c.want("POST", "/v1/objects/own/comments", "viewer", `{"content":""}`, 400)
	c.want("POST", "/v1/objects/own/comments", "viewer", `{"content":5}`, 400)
	c.want("POST", "/v1/objects/own/comments", "viewer", `{"content":"x","promoted_p":1}`, 400)
	c.want("POST", "/v1/objects/own/comments", "viewer", `{"content":"x","Content":"y"}`, 400)
}

func TestListings(t *testing.T) {
	c := newCall(t, Options{})
	c.want("GET", "http://live.example/api/live/list?app=demo&live_id=own", "", "", 200,
		`{"status":"ok","permission_level":"anonymous","cached":"0","p":"1","size":"20","total_count":"1",
		"live":[{"live_id":"own","name":"Own","realtime_url":"http://live.example/faye","realtime_channel":"/view-own"}]}`)
	c.want("GET", "http://live.example/api/photo/list?app=demo", "admin", "", 200,
		`{"status":"ok","permission_level":"write","cached":"0","p":"1","size":"20","total_count":"1",
		"photos":[{"photo_id":"film","name":"Film","realtime_url":"http://live.example/faye","realtime_channel":"/view-film"}]}`)
	none := `{"status":"ok","permission_level":"anonymous","cached":"0","p":"1","size":"20","total_count":"0","live":[]}`
	for _, id := range []string{"nobody", "hidden", "film", "theirs"} {
		c.want("GET", "/api/live/list?app=demo&live_id="+id, "", "", 200, none)
	}
	ids := func(target, who, total string, want ...string) {
		t.Helper()
		w := c.want("GET", target, who, "", 200)
		var answer struct {
			Live []struct {
				LiveID string `json:"live_id"`
			}
			TotalCount string `json:"total_count"`
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		var got []string
		for _, o := range answer.Live {
			got = append(got, o.LiveID)
		}
		require.Equal(t, want, got)
		require.Equal(t, total, answer.TotalCount)
		require.NotContains(t, w.Body.String(), "control")
	}
	ids("/api/live/list?app=demo", "", "2", "else", "own")
	ids("/api/live/list", "viewer", "2", "else", "own")
	ids("/api/live/list?app=demo", "server", "3", "else", "hidden", "own")
	ids("/api/live/list?app=demo&size=1&p=2", "", "2", "own")
	ids("/api/live/list?app=demo&size=1&p=3", "", "2")
	ids("/api/live/list?app=demo&live_id=hidden", "admin", "1", "hidden")
	credentials["inside"] = &broker.Identity{App: demo, Role: broker.RoleViewer, ChannelID: "hidden"}
	defer delete(credentials, "inside")
	ids("/api/live/list?app=demo", "inside", "3", "else", "hidden", "own")

	c.want("GET", "/api/live/list", "", "", 400,
		`{"status":"error","permission_level":"anonymous","code":"invalid_parameters","message":"the parameter app is required","cached":"0"}`)
	c.want("GET", "/api/live/list?app=nobody", "", "", 404)
	c.want("GET", "/api/live/list?app=other", "server", "", 403)
	c.want("GET", "/api/live/list?app=demo&size=101", "", "", 400)
	c.want("GET", "/api/live/list?app=demo&p=0", "", "", 400)
	c.want("GET", "/api/elsewhere", "", "", 404)
}

func TestStoreErrors(t *testing.T) {
	check := func(err error, status, result int) {
		t.Helper()
		c := newCall(t, Options{})
		c.service.fail = fmt.Errorf("broker: doing: %w", err)
		for _, target := range []string{"/v1/objects/own/publish", "/v1/objects"} {
			w := c.want("POST", target, "server", map[bool]string{true: `{}`, false: `{"channel":"a","data":1}`}[target == "/v1/objects"], status)
			require.Contains(t, w.Body.String(), fmt.Sprint(`"result":`, result))
			require.Equal(t, status == 503, w.Header().Get("Retry-After") == "1")
			require.NotContains(t, w.Body.String(), "secret")
		}
	}
	check(store.ErrUnavailable, 503, 5003)
	check(store.ErrUncertain, 504, 5004)
	check(store.ErrFull, 507, 5007)
	check(store.ErrTooLarge, 413, 4013)
	check(errors.New("secret detail"), 500, 5000)
}

func TestMethodsAndPaths(t *testing.T) {
	c := newCall(t, Options{})
	w := c.want("PUT", "/v1/objects", "server", "", 405, `{"result":4005,"error":"method not allowed; use GET, HEAD, POST, OPTIONS"}`)
	require.Equal(t, "GET, HEAD, POST, OPTIONS", w.Header().Get("Allow"))
	c.want("TRACE", "/v1/objects", "server", "", 405)
	c.want("GET", "/v1/nothing", "", "", 404, `{"result":4004,"error":"no such endpoint"}`)
	c.want("HEAD", "/v1/objects/own", "server", "", 200)
	w = c.want("GET", "/v1/objects/own", "", "", 401)
	require.Equal(t, `Bearer realm="gobelin"`, w.Header().Get("WWW-Authenticate"))
	w = c.do("GET", "/v1/objects/own", "server", "", "Authorization: viewer")
	require.Equal(t, 400, w.Code)
	w = c.do("POST", "/v1/objects", "server", "{}", "Content-Encoding: gzip")
	require.Equal(t, 400, w.Code)
	for _, h := range []string{"X-Content-Type-Options", "Cache-Control", "Referrer-Policy"} {
		require.NotEmpty(t, w.Header().Get(h))
	}
}

func TestOrigins(t *testing.T) {
	c := newCall(t, Options{})
	w := c.do("OPTIONS", "/v1/objects/own", "", "", "Origin: https://a.example", "Access-Control-Request-Method: PATCH")
	require.Equal(t, 204, w.Code)
	require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	require.Contains(t, w.Header().Get("Access-Control-Allow-Methods"), "PATCH")
	require.Contains(t, w.Header().Get("Access-Control-Allow-Headers"), "Authorization")
	require.Empty(t, w.Header().Get("Access-Control-Allow-Credentials"))
	w = c.do("GET", "/v1/objects/own", "", "", "Origin: null")
	require.Equal(t, 401, w.Code)
	require.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"), "a page can read the refusal")

	c = newCall(t, Options{Origins: []string{"https://a.example"}})
	for origin, want := range map[string]string{"https://a.example": "https://a.example", "https://b.example": "", "null": "", "https://a.example.evil": ""} {
		for _, method := range []string{"GET", "OPTIONS"} {
			w = c.do(method, "/v1/objects/own", "viewer", "", "Origin: "+origin)
			require.Equal(t, want, w.Header().Get("Access-Control-Allow-Origin"))
			require.Equal(t, "Origin", w.Header().Get("Vary"))
			require.Equal(t, want == "" || method == "GET", w.Header().Get("Access-Control-Allow-Methods") == "")
		}
	}
}

func TestPanic(t *testing.T) {
	var seen []int
	panics := 0
	c := newCall(t, Options{Observe: func(route string, status int, _ time.Duration) {
		require.Equal(t, "/v1/objects/{id}", route)
		seen = append(seen, status)
	}, Panicked: func() { panics++ }})
	c.service.panics = true
	c.want("GET", "/v1/objects/own", "viewer", "", 500, `{"result":5000,"error":"internal server error"}`)
	require.Equal(t, 1, c.logs.FilterMessage("panic in a request").Len())
	c.service.panics = false
	c.want("GET", "/v1/objects/own", "viewer", "", 200)
	require.Equal(t, []int{500, 200}, seen)
	require.Equal(t, 1, panics)
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t, Options{RequestRate: 10, PublishRate: 2, Burst: 20, Batch: 5})
		for range 20 {
			c.want("GET", "/v1/objects/own", "viewer", "", 200)
		}
		w := c.want("GET", "/v1/objects/own", "viewer", "", 429, `{"result":4029,"error":"too many requests"}`)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		c.want("GET", "/v1/objects/own", "moderator", "", 200) // others have their own
		time.Sleep(100 * time.Millisecond)
		c.want("GET", "/v1/objects/own", "viewer", "", 200)
		c.want("GET", "/v1/objects/own", "viewer", "", 429)

		// Guesses are charged to the address, whatever they are; who holds a key
		// there still gets in.
		for i := range 20 {
			c.want("GET", "/v1/objects/own", fmt.Sprint("guess", i), "", 401)
		}
		c.want("GET", "/v1/objects/own", "guess", "", 429)
		c.want("GET", "/v1/objects/own", "", "", 429)
		c.want("GET", "/v1/objects/own", "server", "", 200)

		// Messages count one by one.
		five := `{"messages":[` + strings.Repeat(`{"channel":"/x","data":1},`, 4) + `{"channel":"/x","data":1}]}`
		for range 4 {
			c.want("POST", "/v1/publish", "admin", five, 200)
		}
		w = c.want("POST", "/v1/publish", "admin", five, 429)
		require.Equal(t, "3", w.Header().Get("Retry-After"))
		time.Sleep(2500 * time.Millisecond)
		c.want("POST", "/v1/publish", "admin", five, 200)
		c.want("POST", "/v1/objects/own/comments", "admin", `{"content":"x"}`, 429)
		require.Len(t, c.service.published, 25)
	})
	require.Nil(t, newLimiter(0, 0, 0, 1))
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(1, 0, 0, 1)
	for i := range maxBuckets + 10 {
		require.NoError(t, l.request(addressKey(fmt.Sprint(i))))
	}
	require.Len(t, l.byKey, maxBuckets)
	require.Equal(t, maxBuckets, l.order.Len())
	for range 1000 {
		require.NoError(t, l.publish(addressKey("x"), 1), "no bound")
	}
	// A network of IPv6 is one caller; addresses of IPv4 are each their own.
	require.Equal(t, addressKey("2001:db8::1"), addressKey("2001:db8::ffff:1"))
	require.NotEqual(t, addressKey("2001:db8::1"), addressKey("2001:db8:0:1::1"))
	require.NotEqual(t, addressKey("192.0.2.1"), addressKey("192.0.2.2"))
}

// TestNothingLeaks sends planted marks and looks for them in all output.
func TestNothingLeaks(t *testing.T) {
	c := newCall(t, Options{})
	c.service.fail = errors.New("boom")
	c.service.panics = false
	mark := "planted-mark-1234567890"
	for _, target := range []string{"/v1/objects/own/publish?token=" + mark, "/v1/objects?cursor=" + mark} {
		c.do("POST", target, "server", `{"channel":"a","data":"`+mark+`"}`)
		c.do("POST", target, mark, `{"channel":"a","data":"`+mark+`"}`)
	}
	for _, e := range c.logs.All() {
		require.NotContains(t, fmt.Sprint(e.Message, e.ContextMap()), mark)
	}
	require.NotZero(t, c.logs.Len())
}

// pipes is a listener whose connections are in memory, so that it can be used in a
// bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// TestBodyTime runs over a connection: a body that does not come ends its request;
// one that came leaves the request all the time it needs.
func TestBodyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t, Options{})
		listener := make(pipes)
		server := &http.Server{Handler: c.handler}
		served := make(chan error)
		go func() { served <- server.Serve(listener) }()
		send := func(text string) *http.Response {
			t.Helper()
			peer, conn := net.Pipe()
			t.Cleanup(func() { _ = peer.Close() })
			listener <- conn
			_, err := peer.Write([]byte(text))
			require.NoError(t, err)
			res, err := http.ReadResponse(bufio.NewReader(peer), nil)
			require.NoError(t, err)
			return res
		}
		start := time.Now()
		res := send("POST /v1/objects HTTP/1.1\r\nHost: h\r\nAuthorization: server\r\nContent-Length: 100\r\n\r\n{\"object_id\":")
		answer, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.JSONEq(t, `{"result":4000,"error":"body did not arrive in 15s"}`, string(answer))
		require.Equal(t, 15*time.Second, time.Since(start))

		c.service.slow = time.Minute
		for _, text := range []string{
			"POST /v1/objects/own/publish HTTP/1.1\r\nHost: h\r\nAuthorization: server\r\nContent-Length: 24\r\n\r\n{\"channel\":\"c\",\"data\":1}",
			"POST /v1/objects/own/publish HTTP/1.1\r\nHost: h\r\nAuthorization: server\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n{\"channel\":\"c\",\"data\":1}\r\n0\r\n\r\n",
			"GET /v1/objects/own HTTP/1.1\r\nHost: h\r\nAuthorization: server\r\n\r\n",
		} {
			require.Equal(t, 200, send(text).StatusCode)
		}
		close(listener)
		require.ErrorIs(t, <-served, net.ErrClosed)
		require.NoError(t, server.Close())
	})
}

func FuzzBatch(f *testing.F) {
	for _, seed := range []string{
		`{"messages":[{"object_id":"o","channel":"c","data":{"n":12345678901234567890}}]}`,
		`{"messages":[{"channel":"/c","data":[1, 2 ]},{"channel":"/d","data":"]"}]}`,
		`{"messages":[{}],"messages":[]}`, `{"messages": 1}`, `{"messages":[{"channel":"/\ud800","data":1}]}`,
	} {
		f.Add([]byte(seed))
	}
	a := &api{Options: Options{}.withDefaults()}
	f.Fuzz(func(t *testing.T, body []byte) {
		pubs, err := a.batch(body)
		if err != nil {
			var refusal *broker.Error
			require.ErrorAs(t, err, &refusal)
			require.Contains(t, []int{4000, 4013}, refusal.Result)
			return
		}
		require.NotEmpty(t, pubs)
		for _, p := range pubs {
			require.True(t, json.Valid(p.Data))
			require.True(t, bytes.Contains(body, p.Data), "as it was sent")
			require.NotEmpty(t, p.Channel)
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	c := newCall(&testing.T{}, Options{RequestRate: 1e9, PublishRate: 1e9})
	c.service.each = func(broker.Publication) error { return broker.ErrNoObject } // keeps nothing
	body := `{"channel":"chat","data":{"text":"hello","n":12345678901234567890}}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/v1/objects/own/publish", strings.NewReader(body))
		r.Header.Set("Authorization", "server")
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, r)
		if w.Code != 404 {
			b.Fatal(w.Code)
		}
	}
}
