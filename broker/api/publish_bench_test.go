package api

import (
	"bytes"
	"io"
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

// BenchmarkBatch reads a batch of 100 messages.
func BenchmarkBatch(b *testing.B) {
	a := &api{Options: Options{Batch: 100, Depth: 64}}
	message := `{"object_id":"own","channel":"chat","data":{"text":"a message of the usual length, which is about 128 bytes with its envelope"}}`
	body := []byte(`{"messages":[` + message + strings.Repeat(","+message, 99) + `]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if pubs, err := a.batch(body); err != nil || len(pubs) != 100 {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublishing takes a request to publish from its head to the answer, on a store
// in memory: what is the broker's own of it, without net/http's reading and writing.
func BenchmarkPublishing(b *testing.B) {
	s := memory.New(memory.Options{})
	defer func() { require.NoError(b, s.Close()) }()
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(b, err)
	prefix, err := channels.ParsePattern("/open/**")
	require.NoError(b, err)
	made, err := broker.New(broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(),
		Open: []broker.OpenPrefix{{Pattern: prefix, Publish: "anyone", History: time.Minute}},
	})
	require.NoError(b, err)
	handler := New(made.Service(), Options{Logger: zap.NewNop()})
	message := `{"channel":"/open/chat","data":{"text":"a message of the usual length, which is about 128 bytes with its envelope"}}`
	for name, n := range map[string]int{"1 message": 1, "100 messages": 100} {
		b.Run(name, func(b *testing.B) {
			body := strings.NewReader("")
			r := httptest.NewRequest(http.MethodPost, "/v1/publish", nil)
			text := `{"messages":[` + message + strings.Repeat(","+message, n-1) + `]}`
			r.ContentLength = int64(len(text))
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(text)
				r.Body = io.NopCloser(body)
				w := unread{header: http.Header{}}
				handler.ServeHTTP(&w, r)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// unread is an answer that nobody reads.
type unread struct {
	header http.Header
	status int
}

func (w *unread) Header() http.Header         { return w.header }
func (w *unread) Write(p []byte) (int, error) { return len(p), nil }
func (w *unread) WriteHeader(status int)      { w.status = status }
