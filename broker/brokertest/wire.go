package brokertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// message is one Bayeux message as a client sees it (bayeux-faye.md §2).
type message struct {
	Channel    string          `json:"channel"`
	ID         string          `json:"id"`
	ClientID   string          `json:"clientId"`
	Successful *bool           `json:"successful"`
	Error      string          `json:"error"`
	Data       json.RawMessage `json:"data"`
	Ext        struct {
		History struct {
			ID     string `json:"id"`
			Replay bool   `json:"replay"`
		} `json:"history"`
		Catchup *struct {
			Messages int `json:"messages"`
		} `json:"catchup"`
	} `json:"ext"`
}

// failed reports whether m is an answer that says no.
func (m *message) failed() bool { return m.Successful != nil && !*m.Successful }

// unknown reports whether m says that the session is not known (decided.md 3).
func (m *message) unknown() bool { return m.failed() && strings.HasPrefix(m.Error, "401") }

func parseMessages(b []byte) ([]message, error) {
	var ms []message
	if err := json.Unmarshal(b, &ms); err != nil {
		return nil, fmt.Errorf("brokertest: wire: %w", err)
	}
	return ms, nil
}

// poster sends arrays of messages by HTTP POST, each to the next node.
type poster struct {
	client *http.Client
	fleet  *fleet
	turn   *atomic.Uint64 // the client's requests and sockets, counted
	token  string

	mu       sync.Mutex
	unserved []unserved // since noted; guarded by mu
}

// newPoster makes the poster of the n-th client of a fleet.
func newPoster(f *fleet, n int) *poster {
	byAddress := map[string]int{}
	for d := range f.doors {
		byAddress[f.doors[d].address] = d
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: 4,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return f.dial(ctx, byAddress[address])
		},
	}
	p := &poster{client: &http.Client{Transport: transport}, fleet: f, turn: new(atomic.Uint64)}
	p.turn.Store(uint64(n))
	return p
}

// post sends body to path of the next node and returns the answer, whole or not at
// all, and which node gave it. One that refuses, or answers 503, is passed over as
// a load balancer does.
func (p *poster) post(ctx context.Context, path, key string, body []byte, patience time.Duration) (answer []byte, node int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = statusError(http.StatusServiceUnavailable)
	p.fleet.walk(p.turn.Add(1), func(d int) bool {
		node = d
		begun := time.Now()
		answer, err = p.once(ctx, "http://"+p.fleet.doors[d].address+path, key, body)
		if err == statusError(http.StatusServiceUnavailable) {
			p.note(d, begun)
		}
		return !p.fleet.many() || !errors.Is(err, errRefused) && err != statusError(http.StatusServiceUnavailable)
	})
	return answer, node, err
}

// unserved is a node that was asked and could not serve: it may have had the session for
// all that, and been lost with it.
type unserved struct {
	node int
	at   time.Time
}

func (p *poster) note(node int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unserved = append(p.unserved, unserved{node, at})
}

// noted returns what was noted since the last call, as it came.
func (p *poster) noted() []unserved {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.unserved
	p.unserved = nil
	return all
}

func (p *poster) once(ctx context.Context, url, key string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxFrame))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = statusError(answer.StatusCode)
	}
	return b, err
}

// statusError is an HTTP answer other than 200.
type statusError int

func (e statusError) Error() string { return "brokertest: wire: HTTP " + strconv.Itoa(int(e)) }

// exchange posts Bayeux messages and returns the answers and which node gave them.
func (p *poster) exchange(ctx context.Context, body []byte, patience time.Duration) ([]message, int, error) {
	b, node, err := p.post(ctx, mount, "", body, patience)
	if err != nil {
		return nil, node, err
	}
	ms, err := parseMessages(b)
	return ms, node, err
}

// socket opens a WebSocket to the next node.
func (p *poster) socket(ctx context.Context) (s *socket, node int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err = errRefused
	p.fleet.walk(p.turn.Add(1), func(d int) bool {
		node = d
		s, err = dialSocket(ctx, func(ctx context.Context) (net.Conn, error) { return p.fleet.dial(ctx, d) }, p.fleet.doors[d].address, mount)
		return !p.fleet.many() || err == nil || ctx.Err() != nil
	})
	return s, node, err
}

func (p *poster) close() { p.client.CloseIdleConnections() }

const (
	mount = "/faye"
	// catchupWord stands between a channel and an interval (product.md §4).
	catchupWord = "/catchup/"
)

// handshakeBody asks for a session.
func handshakeBody(id string) []byte {
	return fmt.Appendf(nil, `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"],"id":%q}]`, id)
}

// errNoSession: the handshake was refused.
var errNoSession = errors.New("brokertest: wire: handshake refused")

// handshaken returns the clientId of a handshake's answer.
func handshaken(ms []message) (string, error) {
	for i := range ms {
		if m := &ms[i]; m.Channel == "/meta/handshake" && !m.failed() && m.ClientID != "" {
			return m.ClientID, nil
		}
	}
	return "", errNoSession
}

// payload is what publishers send: who, the how-manieth, and ballast.
type payload struct {
	Publisher int    `json:"p"`
	K         int    `json:"k"`
	Ballast   string `json:"x"`
}

const ballast = "0123456789 äöü \\\"<&> abcdefghijklmnopqrstuvwxyz"

// newPayload makes the data of one message: mostly short, now and then 4 kB.
func newPayload(rng *rand.Rand, publisher, k int) []byte {
	n := rng.IntN(len(ballast))
	text := strings.ToValidUTF8(ballast[:n], "?")
	if rng.IntN(50) == 0 {
		text = strings.Repeat(ballast, 4<<10/len(ballast))
	}
	b, err := json.Marshal(payload{publisher, k, text})
	if err != nil {
		panic(err) // two numbers and a text can be encoded
	}
	return b
}

// sum stands for the bytes of data.
func sum(data []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(data)
	return h.Sum64()
}

// kept reads a delivery's id, operation and data.
func (m *message) kept() (Kept, error) {
	id, err := store.ParsePosition(m.ID)
	if err == nil && m.Ext.History.ID != m.ID {
		err = fmt.Errorf("brokertest: wire: id %s, but ext.history.id %s", m.ID, m.Ext.History.ID)
	}
	if err != nil {
		return Kept{}, err
	}
	var p payload
	if err := json.Unmarshal(m.Data, &p); err != nil {
		return Kept{}, fmt.Errorf("brokertest: wire: data: %w", err)
	}
	return Kept{ID: id, Publisher: p.Publisher, K: p.K, Sum: sum(m.Data)}, nil
}

// splitTake takes a delivery's channel apart into base and interval.
func splitTake(name string) (base string, interval time.Duration) {
	base, text, past := strings.Cut(name, catchupWord)
	if past {
		interval, _ = time.ParseDuration(text) // h, m and s as we asked for them
	}
	return base, interval
}

// readBack asks for the whole history of a channel, in one session at address.
func readBack(ctx context.Context, address, name, interval string) ([]Kept, error) {
	p := newPoster(straight(address), 0)
	defer p.close()
	ms, _, err := p.exchange(ctx, handshakeBody("h"), answerTime)
	if err != nil {
		return nil, err
	}
	id, err := handshaken(ms)
	if err != nil {
		return nil, err
	}
	take := fmt.Appendf(nil, `[{"channel":"/meta/subscribe","clientId":%q,"subscription":%q,"id":"s"}]`, id, name+catchupWord+interval)
	if ms, _, err = p.exchange(ctx, take, answerTime); err != nil {
		return nil, err
	}
	if len(ms) != 1 || ms[0].failed() || ms[0].Ext.Catchup == nil {
		return nil, fmt.Errorf("brokertest: wire: %s: history refused: %+v", name, ms)
	}
	due := ms[0].Ext.Catchup.Messages
	all := make([]Kept, 0, due)
	for k := 0; len(all) < due; k++ {
		connect := fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"long-polling","id":"c%d"}]`, id, k)
		if ms, _, err = p.exchange(ctx, connect, 2*answerTime); err != nil {
			return nil, err
		}
		before := len(all)
		for i := range ms {
			if ms[i].Data == nil {
				continue
			}
			one, err := ms[i].kept()
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		if len(all) == before {
			return all, fmt.Errorf("brokertest: wire: %s: %d messages announced, %d came", name, due, len(all))
		}
	}
	if len(all) > due {
		return all, fmt.Errorf("brokertest: wire: %s: %d messages announced, %d came", name, due, len(all))
	}
	return all, nil
}

// answerTime is how long a client waits for an answer that is not held.
const answerTime = 4 * time.Second
