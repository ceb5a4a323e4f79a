package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store/redis"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// of returns the verdicts on one thing, each with what was found.
func (d *doctor) of(what string) string {
	var all []string
	for _, f := range d.findings {
		if f.What == what {
			all = append(all, string(f.Verdict)+": "+f.Found)
			if f.Verdict == wrongly && f.Advice == "" {
				all = append(all, "without advice")
			}
		}
	}
	return strings.Join(all, "; ")
}

// startNode runs a node of dev until the test ends.
func startNode(t *testing.T, change func(*config)) *node {
	t.Helper()
	c := testConfig(t)
	change(c)
	n, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	serving, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- n.run(ctx, func() { close(serving) }, nil) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	<-serving
	return n
}

// What proxies do to clients is found out: those that collect answers, refuse upgrades,
// or cut held polls.
func TestDoctorOnProxies(t *testing.T) {
	n := startNode(t, func(c *config) { c.Bayeux.Timeout = 300 * time.Millisecond })
	target, err := url.Parse(n.url("public"))
	require.NoError(t, err)
	examine := func(change func(h http.Handler) http.Handler) *doctor {
		proxy := httptest.NewServer(change(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}))
		t.Cleanup(proxy.CloseClientConnections)
		d := &doctor{conf: n.config, url: proxy.URL + "/faye", hold: true, errs: io.Discard}
		d.proxies(t.Context())
		return d
	}
	good := examine(func(h http.Handler) http.Handler { return h })
	require.Zero(t, good.count(wrongly), "%v", good.findings)
	require.Equal(t, 4, good.count(fine))

	collects := examine(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Accept"), "event-stream") {
				h.ServeHTTP(w, r)
				return
			}
			all := httptest.NewRecorder()
			h.ServeHTTP(all, r) // until the client goes
		})
	})
	require.Contains(t, collects.of("buffering"), "wrong: the beginning of a stream does not arrive")
	require.Contains(t, collects.of("websocket"), "ok")

	plain := examine(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Upgrade")
			h.ServeHTTP(w, r)
		})
	})
	require.Contains(t, plain.of("websocket"), "wrong")
	require.Contains(t, plain.of("buffering"), "ok")

	cuts := examine(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
			defer cancel()
			h.ServeHTTP(w, r.WithContext(ctx))
		})
	})
	require.Contains(t, cuts.of("held polls"), "wrong: cut after")

	other := examine(func(http.Handler) http.Handler { return http.NotFoundHandler() })
	require.Contains(t, other.of("endpoint"), "answered 404 and no Bayeux")
	away := &doctor{conf: n.config, url: "http://127.0.0.1:1/faye", errs: io.Discard}
	away.proxies(t.Context())
	require.Contains(t, away.of("endpoint"), "wrong")
}

func TestDoctorOnTheMachine(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t)
	c.Store, c.DiskFloor = location(filepath.Join(dir, "not", "there")), 0
	d := &doctor{conf: c, errs: io.Discard}
	d.store(t.Context())
	require.Contains(t, d.of("store"), "ok")
	require.Contains(t, d.of("disk speed"), "fsync takes")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is left behind")
	c.DiskFloor = 1 << 60
	d.space(dir)
	require.Contains(t, d.of("disk space"), "wrong")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	c.Store = location(file)
	d = &doctor{conf: c, errs: io.Discard}
	d.store(t.Context())
	require.Contains(t, d.of("store"), "wrong")

	// A port that somebody has, and one that a node has.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c.Listen = l.Addr().String()
	d = &doctor{conf: c, errs: io.Discard}
	d.ports(t.Context())
	require.Contains(t, d.of("listen"), "wrong: listen: "+c.Listen+" is in use")
	n := startNode(t, func(c *config) { c.AdminListen = "127.0.0.1:0" })
	c.Listen, c.AdminListen = strings.TrimPrefix(n.url("public"), "http://"), strings.TrimPrefix(n.url("admin"), "http://")
	d = &doctor{conf: c, errs: io.Discard}
	d.ports(t.Context())
	require.Contains(t, d.of("listen"), "taken by the node that runs")
	require.Contains(t, d.of("admin.listen"), "taken by the node that runs")

	writePair(t, dir, 1) // for an hour
	c.TLSCert, c.TLSKey = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	require.NoError(t, os.Chmod(c.TLSKey, 0o644))
	d.certificates()
	require.Contains(t, d.of("certificate"), "doubtful: for  until")
	require.Contains(t, d.of("certificate"), "can be read by everybody")
	require.NoError(t, os.WriteFile(c.TLSKey, []byte("x"), 0o600))
	d = &doctor{conf: c}
	d.certificates()
	require.Contains(t, d.of("certificate"), "wrong")
}

func TestDoctorOnRedis(t *testing.T) {
	f := func(facts redis.Facts, what, want string) {
		t.Helper()
		d := &doctor{}
		d.redisFacts(facts)
		require.Contains(t, d.of(what), want)
	}
	good := redis.Facts{Version: "7.0.15", Kind: "standalone", Policy: "noeviction", Persistence: "aof everysec", Primaries: 1, Replicas: 1, UsedMemory: 1, MaxMemory: 1 << 30}
	d := &doctor{}
	d.redisFacts(good)
	require.Equal(t, len(d.findings), d.count(fine), "%v", d.findings)
	with := func(change func(*redis.Facts)) redis.Facts {
		bad := good
		change(&bad)
		return bad
	}
	f(with(func(f *redis.Facts) { f.Persistence = "none" }), "persistence", "wrong")
	f(with(func(f *redis.Facts) { f.Persistence = "snapshots" }), "persistence", "doubtful")
	f(with(func(f *redis.Facts) { f.Policy = "allkeys-lru" }), "eviction", "doubtful")
	f(with(func(f *redis.Facts) { f.Replicas = 0 }), "replicas", "doubtful")
	f(with(func(f *redis.Facts) { f.MaxMemory = 0 }), "memory", "doubtful")
	f(with(func(f *redis.Facts) { f.UsedMemory = 1 << 30 }), "memory", "wrong")
	f(with(func(f *redis.Facts) { f.Skew = -2 * time.Second }), "clock", "doubtful: Redis's clock is -2s off")
	c := testConfig(t)
	c.Store = "redis://127.0.0.1:1"
	d = &doctor{conf: c, errs: io.Discard}
	d.store(t.Context())
	require.Contains(t, d.of("redis"), "wrong")
}
