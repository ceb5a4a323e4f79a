package api

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// A credential has one rate, however its header is spelled: else each spelling, of which
// there are thousands, would bring a full bucket.
func TestOneRateForAllSpellings(t *testing.T) {
	_, b := newReal(t, Options{Logger: zap.NewNop()}, broker.Application{ID: 13, Name: "other", AppKey: realApp.AppKey, TokenSecret: "another-secret"})
	basic := func(user string) string {
		return base64.StdEncoding.EncodeToString([]byte(user + ":" + realApp.AppKey.Reveal()))
	}
	viewer, moderator := tokenFor(t, "viewer", "o"), tokenFor(t, "moderator", "o")
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
