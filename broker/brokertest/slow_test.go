package brokertest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// The load of TestSlowReaders: messages of slowSize bytes, in batches of 100, to one
// channel for each slowCrowd sessions.
const (
	slowSize  = 2048
	slowCrowd = 20
)

// slowReader is one WebSocket session that counts what it gets. A stalling one does
// not read until it is let go.
type slowReader struct {
	channel string
	stalls  bool
	conn    *websocket.Conn
	id      string
	next    int // the number due
	repeats int
	delays  []time.Duration
	has     atomic.Int64 // next, for others
}

type slowMessage struct {
	Channel    string
	ClientID   string `json:"clientId"`
	Successful *bool
	Data       *struct{ N, At int64 }
}

// TestSlowReaders publishes to many sessions of which a quarter does not read: memory
// stays bounded, the others get everything, and so do the slow ones once they read
// again, in order. SLOW_SESSIONS, SLOW_SECONDS, SLOW_RATE (bytes per second) and
// SLOW_STALLED (how many of 100 do not read) make the long form; with none of them
// stalled it is the run to compare the delays with.
func TestSlowReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	sessions, seconds := number(t, "SLOW_SESSIONS", 200), number(t, "SLOW_SECONDS", 5)
	rate, stalled := number(t, "SLOW_RATE", 1<<20), number(t, "SLOW_STALLED", 25)
	node, err := brokertest.NewNode(brokertest.RealBinary(t), t.TempDir(), strings.Fields(os.Getenv("SLOW_ENV"))...)
	require.NoError(t, err)
	defer node.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second+3*time.Minute)
	defer cancel()
	require.NoError(t, node.Start(ctx))

	release := make(chan struct{})
	var said atomic.Int64 // per channel
	var running sync.WaitGroup
	readers := make([]*slowReader, sessions)
	faults := make(chan error, sessions)
	for i := range readers {
		r := &slowReader{channel: fmt.Sprint("/slow/", i/slowCrowd), stalls: (i+1)*stalled/100 > i*stalled/100}
		readers[i] = r
		require.NoError(t, r.join(ctx, node.Address()))
		running.Go(func() {
			if err := r.run(ctx, node.Address(), release, &said); err != nil {
				faults <- fmt.Errorf("%s, stalling %v, at %d: %w", r.channel, r.stalls, r.next, err)
			}
		})
	}
	before, err := node.Memory()
	require.NoError(t, err)
	peak := publishSlowly(ctx, t, node, sessions/slowCrowd, rate, seconds, &said)
	// Who reads has everything while the others still do not.
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(readers, func(r *slowReader) bool { return !r.stalls && r.has.Load() < said.Load() })
	}, time.Minute, 10*time.Millisecond)
	close(release)
	running.Wait()
	close(faults)
	for err := range faults {
		require.NoError(t, err)
	}
	after, err := node.Memory()
	require.NoError(t, err)
	var delays []time.Duration
	repeats := 0
	for _, r := range readers {
		if !r.stalls {
			delays = append(delays, r.delays...)
		}
		repeats += r.repeats
	}
	slices.Sort(delays)
	t.Logf("%d sessions, %d of 100 stalled, %d messages on each of %d channels: memory %d MiB before, %d at most, %d after; delay p50 %v, p99 %v; %d repeats",
		sessions, stalled, said.Load(), sessions/slowCrowd, before>>20, peak>>20, after>>20,
		delays[len(delays)/2], delays[len(delays)*99/100], repeats)
	// What README says: 128 MiB, 64 KiB for each session and, for each channel,
	// twice what may wait for one session.
	bound := int64(128<<20) + int64(sessions)*(64<<10) + int64(sessions/slowCrowd)*(8<<20)
	require.Less(t, peak, bound)
}

// publishSlowly publishes to all channels in turn and returns the peak of memory.
func publishSlowly(ctx context.Context, t *testing.T, node *brokertest.Node, channels, rate, seconds int, said *atomic.Int64) (peak int64) {
	pad := strings.Repeat("x", slowSize)
	total := seconds * rate / slowSize / channels
	every := time.NewTicker(time.Second * time.Duration(channels*slowSize) / time.Duration(rate))
	defer every.Stop()
	for n := range total {
		for first := 0; first < channels; first += 100 {
			var b bytes.Buffer
			for c := first; c < min(channels, first+100); c++ {
				fmt.Fprintf(&b, `,{"channel":"/slow/%d","data":{"N":%d,"At":%d,"pad":"%s"}}`, c, n, time.Now().UnixNano(), pad)
			}
			b.WriteByte(']')
			body := b.Bytes()
			body[0] = '['
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+node.Address()+"/faye", bytes.NewReader(body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			var replies []slowMessage
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&replies))
			require.NoError(t, resp.Body.Close())
			for _, r := range replies {
				require.True(t, *r.Successful)
			}
		}
		said.Store(int64(n + 1))
		memory, err := node.Memory()
		require.NoError(t, err)
		peak = max(peak, memory)
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	return peak
}

// join makes the session and its subscription; or, when there is one, goes on with it.
func (r *slowReader) join(ctx context.Context, address string) error {
	dialer := websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if tcp, ok := c.(*net.TCPConn); ok && r.stalls {
			_ = tcp.SetReadBuffer(8 << 10) // so that the broker feels it
		}
		return c, err
	}}
	var err error
	if r.conn, _, err = dialer.DialContext(ctx, "ws://"+address+"/faye", nil); err != nil {
		return err
	}
	if r.id == "" {
		m, err := r.ask(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}`)
		if err != nil {
			return err
		}
		r.id = m.ClientID
		if _, err := r.ask(`{"channel":"/meta/subscribe","clientId":"` + r.id + `","subscription":"` + r.channel + `"}`); err != nil {
			return err
		}
	}
	return r.connect()
}

func (r *slowReader) connect() error {
	return r.conn.WriteMessage(websocket.TextMessage, []byte(`[{"channel":"/meta/connect","clientId":"`+r.id+`","connectionType":"websocket"}]`))
}

func (r *slowReader) ask(message string) (slowMessage, error) {
	if err := r.conn.WriteMessage(websocket.TextMessage, []byte("["+message+"]")); err != nil {
		return slowMessage{}, err
	}
	var list []slowMessage
	if err := r.conn.ReadJSON(&list); err != nil {
		return slowMessage{}, err
	}
	if len(list) != 1 || list[0].Successful == nil || !*list[0].Successful {
		return slowMessage{}, fmt.Errorf("refused: %+v", list)
	}
	return list[0], nil
}

// run reads until it has everything. A connection that broke is made again.
func (r *slowReader) run(ctx context.Context, address string, release chan struct{}, said *atomic.Int64) error {
	if r.stalls {
		select {
		case <-release:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { _ = r.conn.Close() }()
	for {
		select {
		case <-release:
			if int64(r.next) == said.Load() {
				return nil
			}
		default:
		}
		_ = r.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		var list []slowMessage
		if err := r.conn.ReadJSON(&list); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_ = r.conn.Close()
			if err := r.join(ctx, address); err != nil {
				return err
			}
			continue
		}
		if err := r.take(list); err != nil {
			return err
		}
	}
}

func (r *slowReader) take(list []slowMessage) error {
	for _, m := range list {
		switch {
		case m.Channel == "/meta/connect":
			if m.Successful == nil || !*m.Successful {
				return fmt.Errorf("connect refused")
			}
			if err := r.connect(); err != nil {
				return nil // the next read says so
			}
		case m.Data == nil:
		case m.Data.N == int64(r.next):
			r.next++
			r.has.Store(int64(r.next))
			r.delays = append(r.delays, time.Duration(time.Now().UnixNano()-m.Data.At))
		case m.Data.N < int64(r.next):
			r.repeats++ // what was on its way when a link broke
		default:
			return fmt.Errorf("message %d came, %d was due", m.Data.N, r.next)
		}
	}
	return nil
}
