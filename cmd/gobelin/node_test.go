package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// testConfig returns the configuration of dev in memory, on free ports.
func testConfig(t *testing.T) *config {
	t.Helper()
	c, _, fs := load(source{dev: true})
	require.NoError(t, fs.err())
	c.Listen, c.Store = "127.0.0.1:0", "memory:"
	return c
}

// What the configuration calls a kind the broker knows, and the reverse of a
// wrong one it says.
func TestKindsAreTheBrokers(t *testing.T) {
	c := testConfig(t)
	require.NoError(t, c.completeKeys(true))
	ages := map[string]kindAge{}
	for _, kind := range channelKinds {
		ages[kind] = kindAge{Age: time.Hour}
	}
	c.Channels.Retention, c.Channels.CatchupMax = ages, map[string]kindAge{}
	for _, kind := range kindsOf("channels.catchup.max") {
		c.Channels.CatchupMax[kind] = kindAge{Age: time.Hour}
	}
	s := memory.New(memory.Options{})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	metrics, err := broker.NewExposition()
	require.NoError(t, err)
	o, err := brokerOptions(c, s, metrics, zap.NewNop())
	require.NoError(t, err)
	_, err = broker.New(o)
	require.NoError(t, err)
	ages["nothing"] = kindAge{Age: time.Hour}
	o.Kinds = c.kinds()
	_, err = broker.New(o)
	require.Error(t, err)
}

// A node says why it is not ready, and is gone when its context ends.
func TestReadiness(t *testing.T) {
	c := testConfig(t)
	n, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.NoError(t, err)
	require.ErrorIs(t, n.ready(t.Context()), errStarting)
	ctx, cancel := context.WithCancel(t.Context())
	serving := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- n.run(ctx, func() { close(serving) }, nil) }()
	<-serving
	require.NoError(t, n.ready(t.Context()))
	status, body := fetch(t, n.url("public")+"/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ready\n", body)
	cancel()
	require.NoError(t, <-ended)
	require.ErrorIs(t, n.ready(t.Context()), errStopping)
	_, err = http.Get(n.url("public") + "/readyz")
	require.Error(t, err, "nothing listens any more")
	require.Error(t, n.store.Health(t.Context()), "the store is closed last")
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r.StatusCode, string(body)
}

// What cannot be opened leaves nothing behind.
func TestOpenFails(t *testing.T) {
	c := testConfig(t)
	c.Bayeux.ClientJS = t.TempDir() + "/absent.js"
	_, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.ErrorContains(t, err, "bayeux.client_js")

	c = testConfig(t)
	n, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.NoError(t, err)
	taken := testConfig(t)
	taken.Listen = strings.TrimPrefix(n.url("public"), "http://")
	_, err = openNode(t.Context(), taken, zap.NewNop(), false)
	require.ErrorContains(t, err, "is in use by another program")
	require.NoError(t, n.release())
}

// The keys made at first start are those of the next, and private.
func TestKeysAreKept(t *testing.T) {
	first, second := testConfig(t), testConfig(t)
	first.Store = location(t.TempDir())
	second.Store = first.Store
	require.ErrorContains(t, second.completeKeys(false), "makes it at its first start")
	require.NoError(t, first.completeKeys(true))
	made, err := first.completeDevAccount(true)
	require.NoError(t, err)
	require.True(t, made)
	require.NoError(t, second.completeKeys(true))
	_, err = second.completeDevAccount(true)
	require.NoError(t, err)
	require.Equal(t, first.Keys.IdentitySecret.Reveal(), second.Keys.IdentitySecret.Reveal())
	require.Equal(t, first.Keys.Roots[0].Secret.Reveal(), second.Keys.Roots[0].Secret.Reveal())
	require.Equal(t, first.apps()[0].AppKey.Reveal(), second.apps()[0].AppKey.Reveal())
	require.Equal(t, "dev", second.apps()[0].Name)

	third := testConfig(t)
	require.ErrorContains(t, third.completeKeys(false), "memory: keeps none")
}
