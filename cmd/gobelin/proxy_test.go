package main

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClientAddress(t *testing.T) {
	tell := clientAddress([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")})
	f := func(remote, want string, forwarded ...string) {
		t.Helper()
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": forwarded}}
		require.Equal(t, want, tell(r))
	}
	f("192.0.2.1:99", "192.0.2.1")
	f("192.0.2.1:99", "192.0.2.1", "198.51.100.7")                  // no proxy of ours: not believed
	f("10.0.0.1:99", "10.0.0.1")                                    // a proxy that tells nothing
	f("10.0.0.1:99", "198.51.100.7", "198.51.100.7")                // one hop
	f("10.0.0.1:99", "198.51.100.7", "203.0.113.9, 198.51.100.7")   // what came before is the caller's own text
	f("10.0.0.1:99", "198.51.100.7", "198.51.100.7", "10.2.3.4")    // two proxies, two headers
	f("[::1]:99", "2001:db8::1", "2001:db8::1")                     // IPv6
	f("[::ffff:10.0.0.1]:99", "198.51.100.7", "198.51.100.7")       // mapped
	f("10.0.0.1:99", "10.0.0.1", "not an address")                  // nonsense
	f("10.0.0.1:99", "10.9.9.9", "198.51.100.7, nonsense,10.9.9.9") // nonsense stops
}

// A further mount is the same endpoint, and nothing that only begins like it.
func TestRoutes(t *testing.T) {
	say := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(name + " " + r.URL.Path)) })
	}
	public := &routes{bayeux: say("bayeux"), api: say("api"), mount: "/faye", mounts: []string{"/cometd"}}
	f := func(path, want string) {
		t.Helper()
		w := httptest.NewRecorder()
		public.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		require.Equal(t, want, w.Body.String())
	}
	f("/faye", "bayeux /faye")
	f("/cometd", "bayeux /faye")
	f("/cometd/handshake", "bayeux /faye/handshake")
	f("/cometd.js", "bayeux /faye.js")
	f("/cometdx", "bayeux /cometdx")
	f("/v1/objects", "api /v1/objects")
	f("/api/live/list", "api /api/live/list")
	f("/openapi.json", "api /openapi.json")
	f("/stable/", "api /stable/")
	f("/stats/abc", "api /stats/abc")
	f("/v1", "bayeux /v1")
	f("/try/", "bayeux /try/")
	f("/metrics", "bayeux /metrics")
	f("/a/../v1/objects", "bayeux /a/../v1/objects")
	public.try, public.admin = tryPage(), say("admin")
	f("/metrics", "admin /metrics")
	f("/try/", "Method not allowed\n")
	w := httptest.NewRecorder()
	public.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/try/", nil))
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
	w = httptest.NewRecorder()
	public.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, "/try/", w.Header().Get("Location"))
}
