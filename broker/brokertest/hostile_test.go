package brokertest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestHostileLoad: security.md §5.3, R17. While nodes are killed under load, strangers try
// what security.md §4 lists: the history stays clean, none of it succeeds, and nothing
// answers 500.
func TestHostileLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	seconds := number(t, "TORTURE_SECONDS", 8)
	h := &hostile{t: t, seed: uint64(number(t, "TORTURE_SEED", int(rand.Uint32())))}
	t.Logf("strangers with TORTURE_SEED=%d", h.seed)
	torture(t, brokertest.Config{
		Length:       time.Duration(seconds) * time.Second,
		Kills:        number(t, "TORTURE_KILLS", 2),
		Channels:     2,
		Publishers:   3,
		Rate:         number(t, "TORTURE_RATE", 30),
		Joiners:      number(t, "TORTURE_JOINERS", 9),
		RetryPublish: true, Durable: true,
		Beside: h.run,
	})
	t.Logf("%d attempts, %d of them answered", h.tried.Load(), h.answered.Load())
	require.NotZero(t, h.answered.Load())
}

// hostile is strangers who try one thing after the other.
type hostile struct {
	t               *testing.T
	seed            uint64
	tried, answered atomic.Int64
}

// strangers is how many there are at once.
const strangers = 6

func (h *hostile) run(ctx context.Context, doors []string) {
	var all sync.WaitGroup
	for n := range strangers {
		rng := rand.New(rand.NewPCG(h.seed, uint64(n)))
		all.Go(func() {
			for ctx.Err() == nil {
				h.tried.Add(1)
				door := doors[rng.IntN(len(doors))]
				switch rng.IntN(4) {
				case 0:
					h.silent(ctx, door, rng)
				case 1:
					h.frame(ctx, door, rng)
				default:
					h.post(ctx, door, rng)
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(rng.IntN(40)) * time.Millisecond):
				}
			}
		})
	}
	all.Wait()
}

// channel is one of those whose history is checked: what a stranger gets into it is found.
const channel = "/torture/c0"

// messages are whole bodies none of which may have an answer that says yes.
func messages(rng *rand.Rand) string {
	id := fmt.Sprintf("%040x", rng.Uint64())
	all := []string{
		`[`, `{}`, `[[]]`, `null`, `"x"`, `[1e999]`, "[{\"channel\":\"\xff\"}]",
		strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		`[{"channel":"` + channel + `","clientId":"` + id + `","data":{"a":` + strings.Repeat(`{"a":`, 3000) + `1` + strings.Repeat("}", 3001) + `}]`,
		`[{"channel":"` + channel + `","channel":"/x","clientId":"` + id + `","data":1}]`,
		`[{"channel":"/torture/*","data":1}]`, `[{"channel":"/torture/c0/catchup/1h","data":1}]`,
		`[{"channel":"/meta/connect","clientId":"` + id + `","connectionType":"long-polling","advice":{"timeout":99999999}}]`,
		`[{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"` + channel + `/catchup/999999999h"}]`,
		`[{"channel":"/meta/subscribe/x","clientId":"` + id + `","subscription":"/**"}]`,
		`[{"channel":"/meta/disconnect","clientId":"` + id + `"}]`,
		`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":[]}]`,
		`[` + strings.Repeat(`{"channel":"`+channel+`","clientId":"`+id+`","data":1},`, 200) + `{}]`,
		`[{"channel":"/` + strings.Repeat("a", 70_000) + `","data":1}]`,
		strings.Repeat("x", 5<<20),
	}
	return all[rng.IntN(len(all))]
}

// post sends one body by HTTP. A connection that breaks, or nobody there, is the load's
// affair.
func (h *hostile) post(ctx context.Context, door string, rng *rand.Rand) {
	body := messages(rng)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+door+"/faye", strings.NewReader(body))
	if !assert.NoError(h.t, err) {
		return
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return
	}
	h.answered.Add(1)
	assert.NotEqual(h.t, http.StatusInternalServerError, answer.StatusCode, "%.200s", body)
	h.no(said, body)
}

// no sees to it that none of the answers says yes.
func (h *hostile) no(said []byte, body string) {
	var list []struct{ Successful bool }
	if json.Unmarshal(bytes.TrimSpace(said), &list) != nil {
		return // not even a list
	}
	for _, one := range list {
		assert.False(h.t, one.Successful, "%.200s: %s", body, said)
	}
}

// frame sends one body on a WebSocket, or what is no frame at all, and goes.
func (h *hostile) frame(ctx context.Context, door string, rng *rand.Rand) {
	conn := h.dial(ctx, door)
	if conn == nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET /faye HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	in := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			return
		}
	}
	body := messages(rng)
	frames := [][]byte{
		[]byte("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), // 2^63 bytes
		[]byte("\xf1\x81\x00\x00\x00\x00x"),                                // reserved bits
		[]byte("\x81\x01x"),                                                // unmasked
		[]byte("\x89\xfe\x01\x00\x00\x00\x00\x00"),                         // a ping that is too long
		append([]byte("\x81\xff\x00\x00\x00\x00\x00"+string([]byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))})+"\x00\x00\x00\x00"), body...),
	}
	if _, err := conn.Write(frames[rng.IntN(len(frames))]); err != nil {
		return
	}
	if rng.IntN(2) == 0 {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset
		}
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := in.ReadByte(); err == nil {
		h.answered.Add(1)
	}
}

// silent begins a request and does not go on.
func (h *hostile) silent(ctx context.Context, door string, rng *rand.Rand) {
	conn := h.dial(ctx, door)
	if conn == nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /faye HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"[:rng.IntN(50)])
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rng.IntN(500)) * time.Millisecond):
	}
}

func (h *hostile) dial(ctx context.Context, door string) net.Conn {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", door)
	if err != nil {
		return nil
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}
