package api

import (
	"bytes"
	"encoding/base64"
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

// A credential has one rate, however its header is spelled: else each spelling, of which
// there are thousands, would bring a full bucket.
func TestOneRateForAllSpellings(t *testing.T) {
	s := memory.New(memory.Options{})
	defer func() { require.NoError(t, s.Close()) }()
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	apps := []broker.Application{
		{ID: 12, Name: "demo", AppKey: "demo-key", TokenSecret: "a-secret-of-the-demo"},
		{ID: 13, Name: "other", AppKey: "demo-key", TokenSecret: "a-secret-of-the-other"},
	}
	b, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(), Sandbox: true, AutoCreate: true, Accounts: []broker.Account{{Apps: apps}},
	})
	require.NoError(t, err)
	token := func(role string) string {
		text, err := broker.SignToken(apps[0], map[string]any{"role": role, "channel_id": "o"}, time.Hour, time.Now())
		require.NoError(t, err)
		return text
	}
	basic := func(user string) string { return base64.StdEncoding.EncodeToString([]byte(user + ":demo-key")) }
	viewer, moderator := token("viewer"), token("moderator")
	f := func(o Options, one []string, others ...string) {
		t.Helper()
		o.Logger, o.Burst, o.Batch = zap.NewNop(), 3, 1
		h := New(b.Service(), o)
		ask := func(header string) int {
			r := httptest.NewRequest("POST", "/v1/objects/o/comments", strings.NewReader(`{"content":"x"}`))
			r.Header.Set("Authorization", header)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Code
		}
		for i := range 3 {
			require.Equal(t, 201, ask(one[i%len(one)]), one[i%len(one)])
		}
		for _, header := range one {
			require.Equal(t, 429, ask(header), header)
		}
		for _, header := range others {
			require.Equal(t, 201, ask(header), "another credential: %s", header)
		}
	}
	for _, o := range []Options{{RequestRate: 0.001}, {PublishRate: 0.001}} {
		f(o, []string{"Bearer " + viewer, "bEaReR " + viewer, "Bearer    " + viewer, "demo " + viewer}, "Bearer "+moderator, "Basic "+basic("demo"))
		f(o, []string{"Basic " + basic("demo"), "basic " + basic("demo"), "Basic   " + basic("demo")}, "Basic "+basic("other"), "Bearer "+viewer)
	}

	// Whom somebody else vouches for is charged to nobody.
	h := New(b.Service(), Options{Logger: zap.NewNop(), RequestRate: 0.001, PublishRate: 0.001, Burst: 1, Batch: 1})
	for range 3 {
		r := httptest.NewRequest("POST", "/v1/objects/o/comments", strings.NewReader(`{"content":"x"}`))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, WithCaller(r, &broker.Identity{App: b.Service().Application("demo"), Role: broker.RoleServer, RoleName: broker.OperatorRole}))
		require.Equal(t, http.StatusCreated, w.Code, w.Body.String())
	}
}
