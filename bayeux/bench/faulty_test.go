package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// faulty is a Bayeux server that does what a test plants: each publish goes to all
// subscribers of its channel as often, and as late, as plan says. Its sessions outlive
// their connections, and it has catch-up and the API to publish.
type faulty struct {
	// plan returns which messages, counted from 0 as they were published, are
	// delivered when the n-th comes; nil: the n-th.
	plan func(n int) []int
	// past is the same for what is replayed.
	past func(n int) []int
	// refuse says which publishes are answered with an error.
	refuse func(n int) bool
	// stray is the channel to which everything goes as well.
	stray string
	// resumed is told the n-th session that comes back, and may change it; false: it is
	// unknown.
	resumed func(n int, s *faultySession) bool
	// deferred is how many of those who come back are told to come again later.
	deferred int
	// storm lets none come back before what is said meanwhile has come, and that wait
	// until all are gone.
	storm bool

	mu sync.Mutex
	// guarded by mu
	sessions  map[string]*faultySession
	published []faultyMessage
	resumes   int
	gone      sync.Cond // signalled when a connection has ended
}

type faultySession struct {
	conn      *websocket.Conn // nil: away, or by polls
	channel   string
	queue     [][]byte
	connected bool
	polls     int
	resumed   int // how often
	wake      chan struct{}
}

type faultyMessage struct {
	Channel      string          `json:"channel"`
	ID           string          `json:"id"`
	ClientID     string          `json:"clientId"`
	Subscription string          `json:"subscription,omitempty"`
	Data         json.RawMessage `json:"data,omitempty"`
	Advice       *struct {
		Timeout int `json:"timeout"`
	} `json:"advice"`
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v1/publish":
		f.serveAPI(w, r)
	case r.Method == http.MethodPost:
		f.servePost(w, r)
	default:
		f.serveSocket(w, r)
	}
}

func (f *faulty) serveSocket(w http.ResponseWriter, r *http.Request) {
	conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		var all []faultyMessage
		if conn.ReadJSON(&all) != nil {
			break
		}
		f.mu.Lock()
		for _, m := range all {
			if answer := f.serve(conn, m); answer != nil {
				_ = conn.WriteMessage(websocket.TextMessage, answer)
			}
		}
		f.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		if s.conn == conn {
			s.conn = nil
		}
	}
	f.gone.Broadcast()
}

func (f *faulty) servePost(w http.ResponseWriter, r *http.Request) {
	var all []faultyMessage
	if json.NewDecoder(r.Body).Decode(&all) != nil {
		return
	}
	var out []string
	for _, m := range all {
		f.mu.Lock()
		answer := f.serve(nil, m)
		s := f.sessions[m.ClientID]
		polls := m.Channel == "/meta/connect" && answer == nil
		if polls {
			s.polls++
		}
		f.mu.Unlock()
		if m.Channel == "/meta/connect" {
			answer = s.poll(r.Context(), f, m, answer)
		}
		if polls {
			f.mu.Lock()
			s.polls--
			f.gone.Broadcast()
			f.mu.Unlock()
		}
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(string(answer), "["), "]"))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(out, ","))
}

// poll waits for something to answer with.
func (s *faultySession) poll(ctx context.Context, f *faulty, m faultyMessage, answer []byte) []byte {
	f.mu.Lock()
	resumed := s.resumed
	f.mu.Unlock()
	for {
		f.mu.Lock()
		if s.resumed != resumed { // this one came by a road that was cut
			s.stir()
			f.mu.Unlock()
			return m.answer(true)
		}
		var queue [][]byte
		// Of those that are cut off at this moment some have polls on their way.
		if !f.storm || m.Advice != nil || len(f.published) <= 1 || len(f.published) > 1+away {
			queue, s.queue = s.queue, nil
		}
		f.mu.Unlock()
		if len(queue) > 0 || answer != nil {
			if answer == nil {
				answer = m.answer(true)
			}
			text := strings.TrimPrefix(string(answer), "[")
			for i := len(queue) - 1; i >= 0; i-- {
				text = string(queue[i]) + "," + text
			}
			return []byte("[" + text)
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return m.answer(true)
		}
	}
}

func (f *faulty) serveAPI(w http.ResponseWriter, r *http.Request) {
	var body struct{ Messages []faultyMessage }
	if json.NewDecoder(r.Body).Decode(&body) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var results []string
	for _, m := range body.Messages {
		switch n := len(f.published); {
		case !f.publish(m):
			results = append(results, `{"result":4003,"error":"403:x:planted"}`)
		case f.plan == nil || len(f.plan(n)) > 0:
			results = append(results, fmt.Sprintf(`{"id":"%d","time":1}`, n))
		}
	}
	fmt.Fprintf(w, `{"result":0,"results":[%s]}`, strings.Join(results, ","))
}

func (m faultyMessage) answer(ok bool) []byte {
	return fmt.Appendf(nil, `[{"channel":%q,"id":%q,"clientId":%q,"successful":%t,"error":"403:x:planted"}]`, m.Channel, m.ID, m.ClientID, ok)
}

// serve carries out one message and returns its answer; nil: it is held.
func (f *faulty) serve(conn *websocket.Conn, m faultyMessage) []byte {
	s := f.sessions[m.ClientID]
	switch m.Channel {
	case "/meta/handshake":
		m.ClientID = fmt.Sprintf("c%d", len(f.sessions))
		f.sessions[m.ClientID] = &faultySession{wake: make(chan struct{}, 1)}
	case "/meta/connect":
		return f.connect(conn, s, m)
	case "/meta/subscribe":
		return f.subscribe(s, m)
	case "/meta/disconnect":
	default:
		return m.answer(f.publish(m))
	}
	return m.answer(true)
}

func (f *faulty) connect(conn *websocket.Conn, s *faultySession, m faultyMessage) []byte {
	if s.connected && m.Advice != nil { // it comes back
		late := !f.storm || len(f.published) > away
		if late {
			f.resumes++
		}
		if !late || f.resumes <= f.deferred {
			return fmt.Appendf(nil, `[{"channel":"/meta/connect","id":%q,"successful":false,"error":"503::later","advice":{"reconnect":"retry","interval":5}}]`, m.ID)
		}
		if f.resumed != nil && !f.resumed(f.resumes-f.deferred-1, s) {
			return fmt.Appendf(nil, `[{"channel":"/meta/connect","id":%q,"successful":false,"error":"401::who","advice":{"reconnect":"handshake","interval":5}}]`, m.ID)
		}
	}
	if m.Advice != nil {
		s.resumed++
	}
	s.connected = true
	if s.conn = conn; conn != nil {
		for _, d := range s.queue {
			_ = conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "[%s]", d))
		}
		s.queue = nil
	}
	if m.Advice != nil {
		return m.answer(true)
	}
	return nil
}

func (f *faulty) subscribe(s *faultySession, m faultyMessage) []byte {
	channel, _, past := strings.Cut(m.Subscription, "/catchup/")
	if !past {
		s.channel = m.Subscription
		return m.answer(true)
	}
	if f.past == nil {
		return m.answer(true)
	}
	for n, p := range f.published {
		if p.Channel == channel {
			for _, i := range f.past(n) {
				s.deliver(m.Subscription, f.published[i].Data)
			}
		}
	}
	return fmt.Appendf(nil, `[{"channel":%q,"id":%q,"successful":true,"ext":{"catchup":{"messages":1}}}]`, m.Channel, m.ID)
}

// listeners is how many connections of subscribers there are.
func (f *faulty) listeners() (n int) {
	for _, s := range f.sessions {
		if s.channel != "" && (s.conn != nil || s.polls > 0) {
			n++
		}
	}
	return n
}

// publish reports whether it was taken.
func (f *faulty) publish(m faultyMessage) bool {
	n := len(f.published)
	for f.storm && n == 1 && f.listeners() > 0 {
		f.gone.Wait()
	}
	f.published = append(f.published, m)
	which := []int{n}
	if f.plan != nil {
		which = f.plan(n)
	}
	for _, s := range f.sessions {
		for _, i := range which {
			if p := f.published[i]; s.channel == p.Channel || f.stray != "" && s.channel != "" && strings.HasSuffix(s.channel, f.stray) {
				s.deliver(s.channel, p.Data)
			}
		}
	}
	return f.refuse == nil || !f.refuse(n)
}

func (s *faultySession) deliver(channel string, data []byte) {
	d := fmt.Appendf(nil, `{"channel":%q,"data":%s}`, channel, data)
	if s.conn != nil {
		_ = s.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "[%s]", d))
		return
	}
	s.queue = append(s.queue, d)
	s.stir()
}

// stir wakes a poll.
func (s *faultySession) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// serving starts the server and completes the options.
func (f *faulty) serving(t *testing.T, o Options) Options {
	t.Helper()
	f.sessions = map[string]*faultySession{}
	f.gone.L = &f.mu
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	o.URL, o.Channel, o.Size, o.Since = server.URL, "/bench", 100, "1h"
	if o.Transport == "" {
		o.Transport = WebSocket
	}
	if o.Duration == 0 {
		o.Duration = time.Minute
	}
	return o
}

// measure runs a scenario against a faulty server until its publisher has sent at
// least enough messages.
func measure(t *testing.T, f *faulty, o Options, enough int) *Report {
	t.Helper()
	o = f.serving(t, o)
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

// whole runs a scenario to its end.
func whole(t *testing.T, f *faulty, o Options) *Report {
	t.Helper()
	r, err := Run(t.Context(), f.serving(t, o))
	require.NoError(t, err)
	require.False(t, r.Interrupted)
	require.Equal(t, r.Faults == Faults{} && r.Refused == 0 && r.Broken == 0, r.Err() == nil)
	return r
}
