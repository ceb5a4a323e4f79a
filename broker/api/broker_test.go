package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// TestOnBroker goes the first steps of examples.md A3 and A6 with nothing faked:
// tokens, objects and roots are the broker's, on a store in memory.
func TestOnBroker(t *testing.T) {
	s := memory.New(memory.Options{})
	defer func() { require.NoError(t, s.Close()) }()
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	app := broker.Application{ID: 12, Name: "demo-origin", AppKey: "demo-app-key", TokenSecret: "demo-token-secret"}
	b, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(), Sandbox: true, AutoCreate: true,
		Accounts: []broker.Account{{Apps: []broker.Application{app}}},
	})
	require.NoError(t, err)
	handler := New(b.Service(), Options{Logger: zap.NewNop(), RealtimeURL: "http://live.example/faye"})
	server := "Basic " + base64.StdEncoding.EncodeToString([]byte("demo-origin:demo-app-key"))
	token := func(role, object string) string {
		t.Helper()
		text, err := broker.SignToken(app, map[string]any{"role": role, "channel_id": object, "name": "Ernest"}, time.Hour, time.Now())
		require.NoError(t, err)
		return text
	}
	type answer struct {
		Object  objectView
		Live    []listView
		Comment map[string]any
		ID      string
		Error   string
	}
	call := func(method, target, auth, body string, status int, headers ...string) (a answer) {
		t.Helper()
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		if len(headers) > 0 {
			r.Header.Set("Idempotency-Key", headers[0])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, status, w.Code, "%s %s: %s", method, target, w.Body)
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
		return a
	}

	id := "4580158"
	made := call("POST", "/v1/objects", server, `{"object_id":"4580158","type":"live","name":"Stream name"}`, 201).Object
	require.Regexp(t, "^/[0-9a-f]{40}$", made.RealtimeChannel)
	require.Regexp(t, "^/[0-9a-f]{40}$", made.RealtimeControlChannel)
	require.NotEqual(t, made.RealtimeChannel, made.RealtimeControlChannel)
	call("POST", "/v1/objects", server, `{"object_id":"4580158","type":"live","name":"Stream name"}`, 200)

	listed := call("GET", "/api/live/list?app=demo-origin&live_id="+id, "", "", 200).Live
	require.Len(t, listed, 1)
	require.Equal(t, made.RealtimeChannel, listed[0].RealtimeChannel)
	require.True(t, strings.HasSuffix(listed[0].RealtimeURL, "/faye"))
	require.Empty(t, call("GET", "/api/live/list?app=demo-origin&live_id=invented", "", "", 200).Live)
	call("GET", "/v1/objects/invented", "Bearer "+token("viewer", id), "", 403)

	viewer := "Bearer " + token("viewer", id)
	own := call("GET", "/v1/objects/"+id, viewer, "", 200).Object
	require.Equal(t, made.RealtimeChannel, own.RealtimeChannel)
	require.Empty(t, own.RealtimeControlChannel)

	comment := call("POST", "/v1/objects/"+id+"/comments", viewer, `{"content":"first <b>!","comment_type":"chat"}`, 201).Comment
	require.Equal(t, "first <b>!", comment["content_text"])
	require.Equal(t, "first &lt;b&gt;!", comment["content"])
	require.Equal(t, "Ernest", comment["name"])
	require.Len(t, comment["comment_id"], 26)

	// A retry with the same key is the same message; the key is the body's.
	publish := "/v1/objects/" + id + "/publish"
	one := call("POST", publish, server, `{"channel":"chat","data":{"text":"welcome"}}`, 200, "k1")
	two := call("POST", publish, "demo-origin "+token("broadcaster", id), `{"channel":"chat","data":{"text":"welcome"}}`, 200)
	again := call("POST", publish, server, `{"channel":"chat","data":{"text":"welcome"}}`, 200, "k1")
	require.Equal(t, one.ID, again.ID)
	require.NotEqual(t, one.ID, two.ID)
	call("POST", publish, server, `{"channel":"chat","data":{"text":"another"}}`, 400, "k1")
	call("POST", publish, server, `{"channel":"all_json","data":1}`, 403)
	call("POST", publish, viewer, `{"channel":"chat","data":1}`, 403)

	fresh := call("POST", "/v1/objects/"+id+"/reset-token", server, "", 200).Object
	require.NotEqual(t, made.RealtimeChannel, fresh.RealtimeChannel)
	require.Equal(t, fresh.RealtimeChannel, call("GET", "/v1/objects/"+id, viewer, "", 200).Object.RealtimeChannel)
	call("DELETE", "/v1/objects/"+id, server, "", 200)
	call("GET", "/v1/objects/"+id, server, "", http.StatusNotFound)
}
