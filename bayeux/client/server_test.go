package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/oklog/ulid/v2"

	"github.com/gobelin-broker/gobelin/bayeux/client"
)

// msg is a message of the fake server, in and out.
type msg struct {
	Channel      string          `json:"channel"`
	ID           string          `json:"id,omitempty"`
	ClientID     string          `json:"clientId,omitempty"`
	Subscription string          `json:"subscription,omitempty"`
	Data         json.RawMessage `json:"data,omitempty"`
	Ext          json.RawMessage `json:"ext,omitempty"`
	Advice       *adviceJSON     `json:"advice,omitempty"`
	Successful   *bool           `json:"successful,omitempty"`
	Error        string          `json:"error,omitempty"`
	Type         string          `json:"connectionType,omitempty"`
}

type adviceJSON struct {
	Reconnect string `json:"reconnect,omitempty"`
	Interval  int64  `json:"interval"`
	Timeout   int64  `json:"timeout"`
}

// fake is a Bayeux server with history and catch-up on an in-memory network.
type fake struct {
	hold time.Duration
	pipe *pipes
	http *http.Server
	wg   sync.WaitGroup

	mu       sync.Mutex
	next     int
	sessions map[string]*session
	history  map[string][]msg
	heard    []msg                   // all that was received, in order
	publish  map[string]bool         // clientId+id of publishes taken
	hook     func(m *msg, r *msg) do // sees each message with its reply
	interval int64
}

// do is what a hook wants done with a reply.
type do int

const (
	answer do = iota
	swallow
	cut // carry out, then break the connection instead of answering
)

type session struct {
	id    string
	subs  map[string]bool
	queue []msg
	wake  chan struct{}
	turn  int // rises with each connect: an older one is answered at once
}

func startFake(t *testing.T) *fake {
	f := newFake()
	f.http = &http.Server{Handler: f}
	f.wg.Go(func() { _ = f.http.Serve(f.pipe) })
	t.Cleanup(f.stop)
	return f
}

func newFake() *fake {
	return &fake{hold: 20 * time.Second, pipe: newPipes(), sessions: map[string]*session{}, history: map[string][]msg{}, publish: map[string]bool{}}
}

func (f *fake) stop() {
	_ = f.http.Close()
	f.breakLinks()
	f.wg.Wait()
}

// breakLinks closes every connection from the server's side.
func (f *fake) breakLinks() { f.pipe.closeAll() }

// forget drops all sessions, as a server that was restarted.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sessions = map[string]*session{}
}

func (f *fake) setHook(h func(m, r *msg) do) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// of returns what was received on a channel.
func (f *fake) of(channel string) []msg {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []msg
	for _, m := range f.heard {
		if m.Channel == channel {
			all = append(all, m)
		}
	}
	return all
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		f.serveSocket(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	var in []msg
	if err != nil || json.Unmarshal(body, &in) != nil {
		http.Error(w, "Bad request", http.StatusBadRequest)
		return
	}
	out := []msg{}
	for i := range in {
		reply, held, d := f.handle(&in[i])
		if held != nil {
			out = append(out, f.wait(r.Context(), held, in[i])...)
			out = append(out, f.connectReply(&in[i]))
			continue
		}
		if d == cut {
			panic(http.ErrAbortHandler)
		}
		if d == answer {
			out = append(out, *reply)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

func (f *fake) serveSocket(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var write sync.Mutex
	send := func(all ...msg) {
		write.Lock()
		defer write.Unlock()
		_ = conn.WriteJSON(all)
	}
	defer func() { cancel(); _ = conn.Close(); wg.Wait() }()
	bound := false
	for {
		_, frame, err := conn.ReadMessage()
		var in []msg
		if err != nil || json.Unmarshal(frame, &in) != nil {
			return
		}
		for i := range in {
			reply, held, d := f.handle(&in[i])
			if d == cut {
				return
			}
			if d == answer && held == nil {
				send(*reply)
			}
			if held == nil {
				continue
			}
			m := in[i]
			if !bound {
				bound = true
				wg.Go(func() { f.push(ctx, held, send) })
			}
			wg.Go(func() {
				hold := f.hold
				if m.Advice != nil {
					hold = time.Duration(m.Advice.Timeout) * time.Millisecond
				}
				select {
				case <-time.After(hold):
				case <-ctx.Done():
				}
				send(f.connectReply(&m))
			})
		}
	}
}

// push writes what is queued for a session as it comes.
func (f *fake) push(ctx context.Context, s *session, send func(...msg)) {
	for {
		f.mu.Lock()
		q := s.queue
		s.queue = nil
		f.mu.Unlock()
		if len(q) > 0 {
			send(q...)
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// wait holds a poll until there is something for the session.
func (f *fake) wait(ctx context.Context, s *session, m msg) []msg {
	f.mu.Lock()
	s.turn++
	turn := s.turn
	f.mu.Unlock()
	timer := time.NewTimer(f.hold)
	defer timer.Stop()
	for {
		f.mu.Lock()
		q := s.queue
		if turn == s.turn {
			s.queue = nil
		}
		over := turn != s.turn || len(q) > 0 || m.Advice != nil && m.Advice.Timeout == 0
		f.mu.Unlock()
		if over {
			return q
		}
		select {
		case <-s.wake:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fake) advice() *adviceJSON {
	return &adviceJSON{Reconnect: "retry", Interval: f.interval, Timeout: f.hold.Milliseconds()}
}

func (f *fake) connectReply(m *msg) msg {
	yes := true
	return msg{Channel: m.Channel, ID: m.ID, ClientID: m.ClientID, Successful: &yes, Advice: f.advice()}
}

// handle carries a message out. held is the session of a connect to be held.
func (f *fake) handle(m *msg) (reply *msg, held *session, d do) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, *m)
	yes, no := true, false
	r := &msg{Channel: m.Channel, ID: m.ID, ClientID: m.ClientID, Subscription: m.Subscription, Successful: &yes}
	s := f.sessions[m.ClientID]
	switch {
	case m.Channel == "/meta/handshake":
		f.next++
		s = &session{id: fmt.Sprintf("session%d", f.next), subs: map[string]bool{}, wake: make(chan struct{}, 1)}
		r.ClientID, r.Advice = s.id, f.advice()
		f.sessions[s.id] = s
	case s == nil:
		r.Successful, r.Error = &no, "401:"+m.ClientID+":Unknown client"
		if m.Channel == "/meta/connect" {
			r.Advice = &adviceJSON{Reconnect: "handshake", Interval: f.interval}
		}
	case m.Channel == "/meta/connect":
		held = s
	case m.Channel == "/meta/subscribe":
		f.subscribe(s, m, r)
	case m.Channel == "/meta/unsubscribe":
		delete(s.subs, m.Subscription)
	case m.Channel == "/meta/disconnect":
		delete(f.sessions, s.id)
	case strings.HasPrefix(m.Channel, "/forbidden"):
		r.Successful, r.Error = &no, "403:"+m.Channel+":Forbidden channel"
	default:
		if key := m.ClientID + " " + m.ID; !f.publish[key] {
			f.publish[key] = true
			f.deliverLocked(m.Channel, m.Data)
		}
	}
	if f.hook != nil {
		d = f.hook(m, r)
	}
	if !*r.Successful || d != answer {
		held = nil
	}
	return r, held, d
}

func (f *fake) subscribe(s *session, m, r *msg) {
	if strings.HasPrefix(m.Subscription, "/forbidden") {
		no := false
		r.Successful, r.Error = &no, "403:"+m.Subscription+":Forbidden channel"
		return
	}
	base, interval, ok := strings.Cut(m.Subscription, "/catchup/")
	if !ok {
		s.subs[m.Subscription] = true
		f.replay(s, m, r)
		return
	}
	past := f.history[base]
	r.Ext = json.RawMessage(fmt.Sprintf(`{"catchup":{"messages":%d,"truncated":%v}}`, len(past), interval == "999h"))
	for _, old := range past {
		old.Channel = m.Subscription
		s.queue = append(s.queue, old)
	}
	wake(s)
}

// replay queues what a subscribe by replay id asks for of messages that say theirs.
func (f *fake) replay(s *session, m, r *msg) {
	var ext struct{ Replay map[string]int64 }
	if len(m.Ext) == 0 || json.Unmarshal(m.Ext, &ext) != nil {
		return
	}
	id, asked := ext.Replay[m.Subscription]
	if !asked || id == client.ReplayNew {
		return
	}
	if id == 404 {
		no := false
		r.Successful, r.Error = &no, "400::The replayId {404} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to replay only new events."
		return
	}
	for _, old := range f.history[m.Subscription] {
		var data struct{ Event struct{ ReplayID int64 } }
		if json.Unmarshal(old.Data, &data) == nil && data.Event.ReplayID > id {
			s.queue = append(s.queue, old)
		}
	}
	wake(s)
}

// deliver publishes from the server's side and returns the id.
func (f *fake) deliver(channel, data string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deliverLocked(channel, json.RawMessage(data))
}

func (f *fake) deliverLocked(channel string, data json.RawMessage) string {
	m := msg{Channel: channel, ID: positionID(7, uint64(len(f.history[channel]))), Data: data}
	m.Ext = json.RawMessage(`{"history":{"id":"` + m.ID + `","ts":1700000000123}}`)
	f.history[channel] = append(f.history[channel], m)
	f.sendLocked(m)
	return m.ID
}

// sendLocked queues a message for the sessions subscribed to its channel.
func (f *fake) sendLocked(m msg) {
	parent := m.Channel[:strings.LastIndexByte(m.Channel, '/')]
	for _, s := range f.sessions {
		if s.subs[m.Channel] || s.subs[parent+"/*"] || s.subs["/**"] {
			s.queue = append(s.queue, m)
			wake(s)
		}
	}
}

func wake(s *session) {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// positionID is a message id as Gobelin's store gives it.
func positionID(epoch uint32, n uint64) string {
	u := ulid.ULID{0, 1, 2, 3, 4, 5, byte(epoch >> 24), byte(epoch >> 16), byte(epoch >> 8), byte(epoch)}
	for i := range 6 {
		u[15-i] = byte(n >> (8 * i))
	}
	return u.String()
}

// pipes is a network in memory.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	open   []net.Conn
	refuse bool
	dials  int
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})} }

var errNoNetwork = errors.New("no network")

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	p.dials++
	refuse := p.refuse
	a, b := net.Pipe()
	if !refuse {
		p.open = append(p.open, b)
	}
	p.mu.Unlock()
	if refuse {
		return nil, errNoNetwork
	}
	select {
	case p.accept <- b:
		return a, nil
	case <-p.closed:
		return nil, errNoNetwork
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) setRefuse(v bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = v
}

func (p *pipes) dialed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

func (p *pipes) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// options are those of a client of this server.
func (f *fake) options(transport string) client.Options {
	return client.Options{URL: "http://fake/faye", Transport: transport, Dial: f.pipe.dial}
}

// newExampleServer is the fake on a real port, with one message in its history.
func newExampleServer() *httptest.Server {
	f := newFake()
	f.deliver("/chat/room", `{"text":"earlier"}`)
	return httptest.NewServer(f)
}
