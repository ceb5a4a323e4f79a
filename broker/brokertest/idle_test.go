package brokertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/api"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// idleConnections is how many of a kind rest, idleStreams how many streams an account
// has, each with one of them.
const (
	idleConnections = 1000
	idleStreams     = 5
)

// BenchmarkIdle opens 1,000 connections of each kind that rest, and says what one of
// them costs in this process, the peer's socket included, and what of that are stacks.
// A connection to a stream is to cost no more than any other that waits: a handler of
// net/http that does nothing else, a held long poll.
func BenchmarkIdle(b *testing.B) {
	for _, kind := range []struct {
		name    string
		records int // of an account's log
		open    func(r *idlers, i int) net.Conn
	}{
		{"handler that waits", 0, (*idlers).wait},
		{"websocket", 0, (*idlers).socket},
		{"long poll", 0, (*idlers).poll},
		{"stream", 0, (*idlers).stream},
		{"stream after records", 500, (*idlers).stream},
	} {
		b.Run(kind.name, func(b *testing.B) {
			r := newIdlers(b, kind.records)
			all := make([]net.Conn, idleConnections)
			heap, stacks := inUse()
			for i := range all {
				all[i] = kind.open(r, i)
			}
			r.settle()
			h, s := inUse()
			for b.Loop() {
				runtime.Gosched()
			}
			b.ReportMetric(float64(h+s-heap-stacks)/idleConnections, "B/connection")
			b.ReportMetric(float64(s-stacks)/idleConnections, "stack-B/connection")
			for _, c := range all {
				require.NoError(b, c.Close())
			}
		})
	}
}

// inUse is what heap and stacks take when what rests has the stack that it needs: each
// collection halves one that is too large.
func inUse() (heap, stacks int64) {
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}

// idlers is a server with all that connections can rest at.
type idlers struct {
	b       *testing.B
	store   *memory.Store
	wire    *bayeux.Server
	address string
	paths   []string            // of streams
	groups  []func() (held int) // what of a stream is out
	records int                 // of a stream
}

func newIdlers(b *testing.B, records int) *idlers {
	b.Helper()
	r := &idlers{b: b, store: memory.New(memory.Options{}), records: records}
	ring, err := channels.NewKeyring([]byte(strings.Repeat("i", 32)), []channels.RootKey{{Secret: []byte(strings.Repeat("r", 32)), Sign: true}}, nil)
	require.NoError(b, err)
	open, err := channels.ParsePattern("/open/**")
	require.NoError(b, err)
	o := broker.Options{
		Store: r.store, Keyring: ring, Logger: zap.NewNop(), AutoCreate: true,
		Open: []broker.OpenPrefix{{Pattern: open, Publish: "anyone"}},
		// So that what was read is soon settled.
		Streams: broker.StreamOptions{Redelivery: time.Millisecond, Poke: time.Second},
	}
	for i := range idleConnections / idleStreams {
		o.Accounts = append(o.Accounts, broker.Account{
			CDN: i + 1, StreamToken: broker.Secret(idleToken(i)),
			Apps: []broker.Application{{ID: uint32(i + 1), Name: fmt.Sprint("a", i), AppKey: broker.Secret(fmt.Sprint("key ", i)), TokenSecret: broker.Secret(strings.Repeat("t", 32))}},
		})
	}
	broke, err := broker.New(o)
	require.NoError(b, err)
	wire := bayeux.NewServer(broke, bayeux.Options{Logger: zap.NewNop()})
	r.wire = wire
	mux := http.NewServeMux()
	mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.Handle("/faye", wire)
	mux.Handle("/", api.New(broke.Service(), api.Options{Logger: zap.NewNop()}))
	server := httptest.NewServer(mux)
	r.address = server.Listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- broke.Run(ctx) }()
	b.Cleanup(func() {
		broke.EndStreams()
		require.NoError(b, wire.Shutdown(ctx))
		server.Close()
		cancel()
		require.NoError(b, <-ended)
		require.NoError(b, r.store.Close())
	})
	for i := range o.Accounts {
		r.account(broke, i)
	}
	return r
}

func idleToken(account int) string { return fmt.Sprintf("%032x", account+1) }

// account makes the streams of an account and its log.
func (r *idlers) account(broke *broker.Broker, n int) {
	r.b.Helper()
	token := idleToken(n)
	for i := range idleStreams {
		made, err := broke.CreateStream(r.b.Context(), broke.StreamAccount(token), broker.StreamSpec{Name: fmt.Sprint(i)})
		require.NoError(r.b, err)
		r.paths = append(r.paths, "/streams/"+made.ID+"/connect?token="+token)
		group := (&catchup.Stream{ID: made.ID}).Group(fmt.Sprint(n + 1))
		r.groups = append(r.groups, func() int {
			state, err := r.store.State(r.b.Context(), group)
			require.NoError(r.b, err)
			held := state.Returned
			for _, n := range state.Held {
				held += n
			}
			return held
		})
	}
	if r.records == 0 {
		return
	}
	pubs := make([]broker.Publication, r.records)
	for i := range pubs {
		pubs[i] = broker.Publication{ObjectID: "show", Channel: "chat", Data: []byte(`{"text":"a message of the usual length, as people write them to each other"}`)}
	}
	who := &broker.Identity{App: broke.Service().Application(fmt.Sprint("a", n)), Role: broker.RoleServer}
	for _, p := range broke.PublishAll(r.b.Context(), who, pubs) {
		require.NoError(r.b, p.Err)
	}
}

// settle waits until all streams have settled what they read, and polls rest.
func (r *idlers) settle() {
	r.b.Helper()
	require.Eventually(r.b, func() bool {
		for _, held := range r.groups {
			if held() > 0 {
				return false
			}
		}
		stats := r.wire.Stats()
		return stats.Parked == stats.Held
	}, time.Minute, 100*time.Millisecond)
}

func (r *idlers) dial() net.Conn {
	c, err := net.Dial("tcp", r.address)
	require.NoError(r.b, err)
	return c
}

// get asks for what does not end, and returns when so much of it has come.
func (r *idlers) get(path, last string, times int) net.Conn {
	c := r.dial()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	require.NoError(r.b, err)
	for in := bufio.NewReader(c); times > 0; {
		line, err := in.ReadString('\n')
		require.NoError(r.b, err)
		if strings.HasPrefix(line, last) {
			times--
		}
	}
	return c
}

func (r *idlers) wait(int) net.Conn { return r.get("/wait", "HTTP/1.1 200", 1) }

func (r *idlers) stream(i int) net.Conn {
	return r.get(r.paths[i], "event: ", 1+r.records)
}

// poll opens a session by HTTP and leaves its connect held.
func (r *idlers) poll(int) net.Conn {
	c := r.dial()
	in := bufio.NewReader(c)
	send := func(body string) {
		_, err := fmt.Fprintf(c, "POST /faye HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		require.NoError(r.b, err)
	}
	r.session("long-polling", send, func() []byte {
		answer, err := http.ReadResponse(in, nil)
		require.NoError(r.b, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(r.b, err)
		return body
	})
	return c
}

// socket is the same on a WebSocket.
func (r *idlers) socket(int) net.Conn {
	c := r.dial()
	in := bufio.NewReader(c)
	require.NoError(r.b, upgrade(c, in, r.address, "/faye"))
	s := &socket{conn: c}
	r.session("websocket", func(body string) { require.NoError(r.b, s.write(opText, []byte(body))) }, func() []byte {
		_, _, payload, err := readFrame(in)
		require.NoError(r.b, err)
		return payload
	})
	return c
}

// session shakes hands, subscribes and connects, which is not answered.
func (r *idlers) session(transport string, send func(string), receive func() []byte) {
	send(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["` + transport + `"]}]`)
	all, err := parseMessages(receive())
	require.NoError(r.b, err)
	id := all[0].ClientID
	send(`[{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"/open/a"}]`)
	all, err = parseMessages(receive())
	require.NoError(r.b, err)
	require.False(r.b, all[0].failed(), all[0].Error)
	send(`[{"channel":"/meta/connect","clientId":"` + id + `","connectionType":"` + transport + `"}]`)
}
