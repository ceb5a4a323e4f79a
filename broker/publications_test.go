package broker

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
)

// countedStore counts what is submitted: how many calls, with how many records.
type countedStore struct {
	store.Store
	calls, most int
}

func (s *countedStore) Submit(log store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	s.calls++
	s.most = max(s.most, len(records))
	s.Store.Submit(log, limits, records, done)
}

// What a request has for one channel goes to the store together and in order; one that
// is refused leaves the others.
func TestPublicationsTogether(t *testing.T) {
	counted := &countedStore{}
	x := newBench(t, func(o *Options, _ *bayeux.Options) {
		counted.Store = o.Store
		o.Store = counted
		o.Limits.Message = 1 << 20
	})
	x.root("gala", 0)
	who := x.backend()
	names := []string{"/open/a", "chat", "/chat", "nothing/of/that/name/at/all"}
	pubs := make([]Publication, 1000)
	for i := range pubs {
		n := i % len(names)
		pubs[i] = Publication{Channel: names[n], Data: fmt.Append(nil, i)}
		if n > 0 {
			pubs[i].ObjectID = "gala"
		}
	}
	before := counted.calls
	out := x.b.PublishAll(t.Context(), who, pubs)
	require.Equal(t, 3+5, counted.calls-before, "250 and 500 messages, 100 at most in a call")
	require.Equal(t, mostTogether, counted.most)
	newest := map[string]string{}
	for i, o := range out {
		name := names[i%len(names)]
		if i%len(names) == 3 {
			require.Error(t, o.Err)
			continue
		}
		if name == "/chat" {
			name = "chat" // the same channel
		}
		require.NoError(t, o.Err)
		require.Less(t, newest[name], o.ID, "in the order of the request")
		newest[name] = o.ID
	}
	// Two large ones are as much as goes together.
	large := make([]Publication, 3)
	for i := range large {
		large[i] = Publication{Channel: "/open/b", Data: fmt.Appendf(nil, "%*d", 400<<10, i)}
	}
	before = counted.calls
	for _, o := range x.b.PublishAll(t.Context(), who, large) {
		require.NoError(t, o.Err)
	}
	require.Equal(t, 2, counted.calls-before)
}

// BenchmarkPublishAll takes 100 messages for one channel of an object to the store.
func BenchmarkPublishAll(b *testing.B) {
	x := newBench(b, nil)
	x.root("gala", 0)
	who := x.backend()
	pubs := make([]Publication, 100)
	for i := range pubs {
		pubs[i] = Publication{ObjectID: "gala", Channel: "chat", Data: []byte(`{"text":"a message of the usual length, which is about 128 bytes with its envelope"}`)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if out := x.b.PublishAll(context.Background(), who, pubs); out[99].Err != nil {
			b.Fatal(out[99].Err)
		}
	}
}
