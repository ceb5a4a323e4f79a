package api

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// BenchmarkIdle opens 1,000 connections that rest, to streams and to a handler that
// does nothing but wait, and says what one of them costs in this process.
func BenchmarkIdle(b *testing.B) {
	const connections = 1000
	waiting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for name, open := range map[string]func(b *testing.B) (http.Handler, string, func()){
		"waiting": func(*testing.B) (http.Handler, string, func()) { return waiting, "/", func() {} },
		"streams": idleStreams,
	} {
		b.Run(name, func(b *testing.B) {
			handler, target, end := open(b)
			server := httptest.NewServer(handler)
			defer server.Close()
			defer end()
			before := inUse()
			var all []net.Conn
			for range connections {
				c, err := net.Dial("tcp", server.Listener.Addr().String())
				require.NoError(b, err)
				all = append(all, c)
				_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", target)
				require.NoError(b, err)
				_, err = c.Read(make([]byte, 12))
				require.NoError(b, err)
			}
			for b.Loop() {
				time.Sleep(10 * time.Millisecond)
			}
			b.ReportMetric(float64(inUse()-before)/connections, "B/connection")
			for _, c := range all {
				require.NoError(b, c.Close())
			}
		})
	}
}

// inUse is what heap and stacks take.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// idleStreams is a broker with one stream that any number of connections may share.
func idleStreams(b *testing.B) (http.Handler, string, func()) {
	b.Helper()
	s := memory.New(memory.Options{})
	ring, err := channels.NewKeyring([]byte(strings.Repeat("i", 32)), []channels.RootKey{{Secret: []byte(strings.Repeat("r", 32)), Sign: true}}, nil)
	require.NoError(b, err)
	broke, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(),
		Accounts: []broker.Account{{CDN: 1, StreamToken: streamToken, Apps: []broker.Application{{ID: 1, Name: "a", AppKey: "k", TokenSecret: broker.Secret(strings.Repeat("t", 32))}}}},
		Streams:  broker.StreamOptions{MaxConnections: 2000},
	})
	require.NoError(b, err)
	h := New(broke.Service(), Options{Logger: zap.NewNop()})
	made, err := broke.CreateStream(b.Context(), broke.StreamAccount(streamToken), broker.StreamSpec{Name: "s"})
	require.NoError(b, err)
	return h, "/streams/" + made.ID + "/connect?token=" + streamToken, func() {
		broke.EndStreams()
		require.NoError(b, s.Close())
	}
}
