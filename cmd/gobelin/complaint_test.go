package main

import (
	stdlog "log"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestThreat20LogIsSparing: whoever makes net/http complain does not fill the log.
func TestThreat20LogIsSparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		panics := 0
		l := stdlog.New(newComplaints(zap.New(core), func() { panics++ }), "", 0)
		for range 1000 {
			l.Printf("http: Accept error: accept tcp 127.0.0.1:8000: accept4: too many open files; retrying in %v", time.Second)
			l.Printf("http: TLS handshake error from 192.0.2.1:1: %s", strings.Repeat("x", 1000))
			time.Sleep(10 * time.Millisecond)
		}
		all := logs.TakeAll()
		require.Len(t, all, 2*10, "one a second of each kind")
		for _, e := range all {
			require.Equal(t, "net/http", e.Message)
			require.LessOrEqual(t, len(e.ContextMap()["said"].(string)), 110)
		}
		require.EqualValues(t, 99, all[2].ContextMap()["left_out"])
		for range 3 {
			l.Print("http: panic serving 192.0.2.1:1: boom\ngoroutine 1 [running]:\nmain.main()")
		}
		require.Equal(t, 3, logs.Len(), "each panic with its stack")
		require.Equal(t, 3, panics, "and counted")
		require.Contains(t, logs.All()[0].ContextMap()["said"], "main.main")
	})
}
