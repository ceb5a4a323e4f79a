package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// faulty is a Bayeux server over WebSockets that does what a test plants: each
// publish goes to all subscribers of its channel as often, and as late, as plan says.
type faulty struct {
	// plan returns which messages, counted from 0 as they were published, are
	// delivered when the n-th comes; nil: the n-th.
	plan func(n int) []int
	// refuse says which publishes are answered with an error.
	refuse func(n int) bool

	mu sync.Mutex
	// guarded by mu
	subscribers map[*websocket.Conn]string
	published   []json.RawMessage
}

type faultyMessage struct {
	Channel      string          `json:"channel"`
	ID           string          `json:"id"`
	Subscription string          `json:"subscription,omitempty"`
	Data         json.RawMessage `json:"data,omitempty"`
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		var all []faultyMessage
		if conn.ReadJSON(&all) != nil {
			f.mu.Lock()
			delete(f.subscribers, conn)
			f.mu.Unlock()
			return
		}
		f.mu.Lock()
		for _, m := range all {
			f.serve(conn, m)
		}
		f.mu.Unlock()
	}
}

func (f *faulty) serve(conn *websocket.Conn, m faultyMessage) {
	ok := true
	switch m.Channel {
	case "/meta/connect":
		return // held for ever
	case "/meta/subscribe":
		f.subscribers[conn] = m.Subscription
	case "/meta/handshake", "/meta/disconnect":
	default:
		n := len(f.published)
		f.published = append(f.published, m.Data)
		ok = f.refuse == nil || !f.refuse(n)
		which := []int{n}
		if f.plan != nil {
			which = f.plan(n)
		}
		for to, channel := range f.subscribers {
			if channel == m.Channel {
				for _, i := range which {
					_ = to.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `[{"channel":%q,"data":%s}]`, channel, f.published[i]))
				}
			}
		}
	}
	_ = conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `[{"channel":%q,"id":%q,"clientId":"c","successful":%t,"error":"403:x:planted"}]`, m.Channel, m.ID, ok))
}

// measure runs a scenario against a faulty server until its publisher has sent at
// least enough messages.
func measure(t *testing.T, f *faulty, o Options, enough int) *Report {
	t.Helper()
	f.subscribers = map[*websocket.Conn]string{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	o.URL, o.Transport, o.Channel, o.Size = server.URL, WebSocket, "/bench", 100
	o.Duration = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		beat := time.NewTicker(time.Millisecond)
		defer beat.Stop()
		for {
			f.mu.Lock()
			n := len(f.published)
			f.mu.Unlock()
			if n >= enough {
				cancel()
			}
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
			}
		}
	})
	r, err := Run(ctx, o)
	require.NoError(t, err)
	require.True(t, r.Interrupted)
	require.GreaterOrEqual(t, r.Published, int64(enough))
	return r
}

func TestFanoutCountsPlantedFaults(t *testing.T) {
	f := func(plan func(int) []int, want Faults) {
		t.Helper()
		r := measure(t, &faulty{plan: plan}, Options{Scenario: Fanout, Subs: 2, Rate: 500}, 40)
		require.Equal(t, want, r.Faults)
		require.Zero(t, r.Refused)
		require.Zero(t, r.Broken)
		require.Equal(t, want == Faults{}, r.Err() == nil)
		require.Positive(t, r.Latency.Count)
		require.LessOrEqual(t, r.Latency.P50, r.Latency.Max)
	}
	f(nil, Faults{})
	f(func(n int) []int {
		if n == 10 {
			return []int{10, 10, 3}
		}
		return []int{n}
	}, Faults{Duplicate: 4})
	f(func(n int) []int {
		switch n {
		case 10:
			return nil
		case 11:
			return []int{11, 10}
		}
		return []int{n}
	}, Faults{Reordered: 2})
}

// A lost message is waited for, in bounded time, and then told.
func TestFanoutCountsLoss(t *testing.T) {
	r := measure(t, &faulty{plan: func(n int) []int {
		if n == 10 || n == 20 {
			return nil
		}
		return []int{n}
	}}, Options{Scenario: Fanout, Subs: 3, Rate: 500}, 40)
	require.Equal(t, Faults{Lost: 6}, r.Faults)
	require.ErrorContains(t, r.Err(), "6 lost")
	require.Contains(t, r.Notes[0], "6 messages did not come")
}

func TestPublishCountsRefusals(t *testing.T) {
	r := measure(t, &faulty{refuse: func(n int) bool { return n == 7 }}, Options{Scenario: Publish, Conns: 2, InFlight: 4}, 100)
	require.Zero(t, r.Faults)
	require.Equal(t, int64(1), r.Refused)
	require.ErrorContains(t, r.Err(), "1 refused")
	require.Contains(t, r.Notes[0], "403:x:planted")
}

func TestCatchUpTellsAServerWithout(t *testing.T) {
	server := httptest.NewServer(&faulty{subscribers: map[*websocket.Conn]string{}})
	defer server.Close()
	_, err := Run(t.Context(), Options{
		Scenario: CatchUp, URL: server.URL, Transport: WebSocket, Channel: "/bench", Size: 100, Conns: 1, Messages: 1, Since: "1h",
	})
	require.ErrorIs(t, err, ErrNoCatchUp)
}

func TestOptionsAreChecked(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{Scenario: Fanout, URL: "http://127.0.0.1:1/", Transport: WebSocket, Channel: "/bench", Size: 128, Subs: 1, Window: 1, Duration: time.Second}
		change(&o)
		_, err := Run(t.Context(), o)
		require.ErrorIs(t, err, ErrOptions)
		require.ErrorContains(t, err, want)
	}
	f(func(o *Options) { o.Scenario = "x" }, `no scenario "x"`)
	f(func(o *Options) { o.Transport = "x" }, "transport must be")
	f(func(o *Options) { o.Channel = "x" }, "channel: ")
	f(func(o *Options) { o.Size = MinSize - 1 }, "size must be")
	f(func(o *Options) { o.Subs = 0 }, "subs must be")
	f(func(o *Options) { o.Rate = 1 }, "one of window and rate")
	f(func(o *Options) { o.Window = 0 }, "one of window and rate")
	f(func(o *Options) { o.Window, o.Rate = 0, 1e7 }, "rate must be")
	f(func(o *Options) { o.Duration = 0 }, "duration must be")
	f(func(o *Options) { o.URL = "ftp://x" }, "not http")
	f(func(o *Options) { o.URL = "http:///x" }, "no host")
	f(func(o *Options) { o.Scenario = Publish }, "conns must be")
	f(func(o *Options) { o.Scenario = CatchUp }, "since must be")
}

// What waited is charged: the latency of a message is from when it was due.
func TestLatencyIsFromTheIntendedTime(t *testing.T) {
	c := newClock()
	c.zero = time.Now().Add(-time.Second)
	c.measureFrom(100 * time.Millisecond)
	c.observe(0, []mark{{sent: 50 * time.Millisecond}, {sent: 100 * time.Millisecond}})
	l := c.latency()
	require.Equal(t, int64(1), l.Count, "what was sent while warming up does not count")
	require.GreaterOrEqual(t, l.P50, int64(890_000))
}
