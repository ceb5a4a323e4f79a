package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/trace"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
)

// A request and what it asks of the store are one trace, its caller's, and say nothing
// that the log may not show.
func TestTraces(t *testing.T) {
	bodies := make(chan string, 8)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + string(body)
	}))
	defer collector.Close()
	tracer := trace.New(trace.Options{Endpoint: collector.URL, Node: "one", Version: "1", Logger: zap.NewNop()})
	s := memory.New(memory.Options{})
	defer func() { require.NoError(t, s.Close()) }()
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	b, err := broker.New(broker.Options{
		Store: trace.Store(s), Keyring: ring, Logger: zap.NewNop(), Sandbox: true, AutoCreate: true,
		Accounts: []broker.Account{{Apps: []broker.Application{{ID: 12, Name: "demo", AppKey: "planted-app-key", TokenSecret: "planted-secret"}}}},
	})
	require.NoError(t, err)
	handler := New(b.Service(), Options{Logger: zap.NewNop(), Trace: tracer})
	call := func(method, target, parent string) {
		r := httptest.NewRequest(method, target, strings.NewReader(`{"channel":"planted-channel","data":"planted-data"}`))
		r.SetBasicAuth("demo", "planted-app-key")
		r.Header.Set("Traceparent", parent)
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	const sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	call("POST", "/v1/objects/planted-object/publish", sampled)
	call("PLANTED", "/v1/objects/planted-object/publish", sampled)
	call("POST", "/v1/objects/planted-object/publish", "")
	ended, end := context.WithCancel(t.Context())
	end()
	tracer.Run(ended)

	body, ok := strings.CutPrefix(<-bodies, "/v1/traces")
	require.True(t, ok)
	require.NotContains(t, strings.ToLower(body), "planted")
	require.NotRegexp(t, `"/[0-9a-f]{40}`, body)
	var all struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct{ TraceID, SpanID, ParentSpanID, Name string }
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &all))
	spans := all.ResourceSpans[0].ScopeSpans[0].Spans
	var ours string
	names := map[string]int{}
	for _, s := range spans {
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", s.TraceID)
		names[s.Name]++
		if s.Name == "/v1/objects/{id}/publish" && ours == "" {
			ours = s.SpanID
			require.Equal(t, "b7ad6b7169203331", s.ParentSpanID)
		}
	}
	require.Equal(t, 2, names["/v1/objects/{id}/publish"], "the third was not asked for")
	require.Equal(t, 1, names["store append"])
	require.Positive(t, names["store get"])
	for _, s := range spans {
		if s.Name == "store append" {
			require.Equal(t, ours, s.ParentSpanID)
		}
	}
}
