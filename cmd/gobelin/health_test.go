package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/stretchr/testify/require"
)

// While a node hands its clients over it says at its admin listener that it is not ready,
// and why; its process is healthy all the while.
func TestReadyzWhileDraining(t *testing.T) {
	n := startNode(t, func(c *config) { c.AdminListen, c.DrainTime = "127.0.0.1:0", 2*time.Second })
	status, text := fetch(t, n.url("admin")+"/readyz")
	require.Equal(t, http.StatusOK, status, text)

	// Two sockets, so that the second is held for three eighths of drain.time.
	for range 2 {
		c, err := client.New(client.Options{URL: n.url("public") + "/faye", Transport: client.WebSocket})
		require.NoError(t, err)
		require.NoError(t, c.Connect(t.Context()))
		defer func() {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = c.Close(ended)
		}()
	}
	require.Eventually(t, func() bool { return n.clients() == 2 }, patience, time.Millisecond)
	n.end()
	require.Eventually(t, func() bool { return n.phase.Load() == int32(phaseStopping) }, patience, time.Millisecond)
	status, text = fetch(t, n.url("admin")+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "not ready: stopping: clients are handed over\n", text)
	status, _ = fetch(t, n.url("admin")+"/healthz")
	require.Equal(t, http.StatusOK, status)
}
