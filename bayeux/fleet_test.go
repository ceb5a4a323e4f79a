package bayeux

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux/bayeuxtest"
	"github.com/gobelin-broker/gobelin/channels"
)

// fleet is an application on two servers: it keeps a log, and where each session
// lives, so that what a client hears twice or never shows.
type fleet struct {
	mu      sync.Mutex
	nodes   [2]*node
	log     []*Delivery
	homes   map[string]*resident // where each session lives
	records map[string]*resident // the last of those that live nowhere
	noted   map[string]*resident // what Batch has written of those that live
	pages   map[string]Puller    // by channel
	closed  []string
	unseen  int           // how often Forward does not see where a session lives
	gate    chan struct{} // a subscribe to /slow waits for it
	inside  chan struct{} // and says here that it does
}

// node is the Handler of one server.
type node struct {
	fleet  *fleet
	server *Server
}

// resident is a session on one of the servers.
type resident struct {
	node    *node
	session *Session
	subs    map[string]bool
	pullers []Puller
	from    int // in the log: what comes from there on it has not been given
	left    Left
	died    bool // its server was lost
	reason  string
}

func newFleet(o Options) *fleet {
	f := &fleet{
		homes: map[string]*resident{}, records: map[string]*resident{}, noted: map[string]*resident{}, pages: map[string]Puller{},
		gate: make(chan struct{}), inside: make(chan struct{}, 1),
	}
	for i, mount := range [...]string{"/one", "/two"} {
		n := &node{fleet: f}
		o.Mount = mount
		n.server = NewServer(n, o)
		f.nodes[i] = n
	}
	return f
}

func (f *fleet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := f.nodes[0]
	if strings.HasPrefix(r.URL.Path, "/two") {
		n = f.nodes[1]
	}
	n.server.ServeHTTP(w, r)
}

// deliver sends data to all who listen to channel.
func (f *fleet) deliver(channel, data string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, NewDelivery(DeliveryFields{Channel: channel, ID: fmt.Sprintf("m%d", len(f.log)), Data: []byte(data), Kept: true}))
	for _, r := range f.homes {
		r.follow()
	}
}

// follow gives the session what it has not been given. The caller holds fleet.mu.
func (r *resident) follow() {
	for _, d := range r.node.fleet.log[r.from:] {
		if r.subs[d.Channel()] && !r.session.Deliver(d) {
			return // full: it is tried again at the next delivery
		}
		r.from++
	}
}

func (f *fleet) home(id string) *resident {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.homes[id]
}

func (n *node) Handshake(_ context.Context, s *Session, _ *Message) (SessionHandler, error) {
	f := n.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &resident{node: n, session: s, subs: map[string]bool{}, from: len(f.log)}
	f.homes[s.ID()] = r
	return r, nil
}

// Publish takes what names a session that lives on the other server.
func (n *node) Publish(_ context.Context, _ Peer, m *Message, done func(Ack, error)) {
	if n.fleet.home(m.ClientID) == nil {
		done(Ack{}, errUnknownClient(m.ClientID))
		return
	}
	n.fleet.deliver(m.ChannelText, string(m.Data))
	done(Ack{}, nil)
}

func (n *node) Resume(ctx context.Context, s *Session, m *Message) (SessionHandler, error) {
	f := n.fleet
	if old := f.home(s.ID()); old != nil {
		if m.Errand != "" {
			return nil, ErrLate
		}
		left, err := old.session.Release(ctx, m.Ordinal())
		if errors.Is(err, ErrLate) {
			return nil, err
		}
		if err == nil && (len(left.Sent) != len(old.left.Sent) || len(left.Queued) != len(old.left.Queued)) {
			return nil, fmt.Errorf("Release returned %v, Close saw %v", left, old.left)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.records[s.ID()]
	if old == nil {
		return nil, ErrNoSession
	}
	delete(f.records, s.ID())
	r := &resident{node: n, session: s, subs: old.subs, from: old.from, pullers: old.pullers}
	switch arrived, known := s.TakeUp(old.left.Wire, old.died, m); {
	case !known:
		s.Underway(old.left.Sent)
	case !arrived:
		for _, d := range old.left.Sent {
			s.Deliver(d)
		}
	}
	for _, d := range old.left.Queued {
		s.Deliver(d)
	}
	for _, p := range r.pullers {
		s.Replay(p)
	}
	r.follow()
	f.homes[s.ID()] = r
	return r, nil
}

func (n *node) Forward(ctx context.Context, _ Peer, m *Message) ([]byte, error) {
	m.Errand = "one"
	r := n.fleet.home(m.ClientID)
	if n.fleet.unseen > 0 {
		n.fleet.unseen--
		return nil, ErrHere
	}
	if r == nil {
		n.fleet.mu.Lock()
		defer n.fleet.mu.Unlock()
		if n.fleet.records[m.ClientID] != nil {
			return nil, ErrHere
		}
		return nil, ErrNoSession
	}
	there, err := ParseForwarded(m.Forwarded())
	if err != nil {
		return nil, err
	}
	return r.session.Carry(ctx, there)
}

func (r *resident) Subscribe(ctx context.Context, m *Message, patterns []channels.Pattern) ([]byte, error) {
	f := r.node.fleet
	for _, p := range patterns {
		switch p.String() {
		case "/slow":
			f.inside <- struct{}{}
			select {
			case <-f.gate:
			case <-ctx.Done():
			}
		case "/forbidden":
			return nil, ErrForbidden("/forbidden")
		case "/panic":
			panic("subscribe")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range patterns {
		r.subs[p.String()] = true
		if puller := f.pages[p.String()]; puller != nil {
			r.pullers = append(r.pullers, puller)
			r.session.Replay(puller)
		}
	}
	return m.ExtValue("echo"), nil
}

func (r *resident) Unsubscribe(_ context.Context, _ *Message, patterns []channels.Pattern) error {
	r.node.fleet.mu.Lock()
	defer r.node.fleet.mu.Unlock()
	for _, p := range patterns {
		delete(r.subs, p.String())
	}
	return nil
}

func (r *resident) Publish(_ context.Context, m *Message, done func(Ack, error)) {
	r.node.fleet.deliver(m.ChannelText, string(m.Data))
	done(Ack{}, nil)
}

func (r *resident) Connect(context.Context, *Message) error { return nil }

func (r *resident) Close(reason string) {
	f := r.node.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, reason)
	r.reason = reason
	if f.homes[r.session.ID()] == r {
		delete(f.homes, r.session.ID())
	}
	if reason == ReasonMoved || reason == ReasonShutdown {
		r.left = r.session.Left() // after this, nothing is delivered to it any more
		f.records[r.session.ID()] = r
	}
}

// Batch writes down what is about to go to a client with the ack extension.
func (r *resident) Batch(context.Context) {
	f := r.node.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noted[r.session.ID()] = &resident{subs: maps.Clone(r.subs), from: r.from, left: r.session.Left()}
}

// crash takes a session away as the loss of its server does: of it there is what Batch
// has written.
func (f *fleet) crash(id string) {
	f.mu.Lock()
	r, n := f.homes[id], f.noted[id]
	if n == nil {
		n = &resident{subs: r.subs, from: len(f.log)}
	}
	n.died = true
	delete(f.homes, id)
	f.records[id] = n
	f.mu.Unlock()
	r.session.Close(ReasonKicked)
}

// talk is a conversation with a fleet.
type talk struct {
	*bayeuxtest.Conversation
	*fleet
	one, two *Server
}

// across runs f in a bubble with two servers.
func across(t *testing.T, o Options, f func(t *testing.T, w *talk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(o)
		w := &talk{fleet: fl, one: fl.nodes[0].server, two: fl.nodes[1].server}
		t.Cleanup(func() {
			require.NoError(t, w.one.Shutdown(context.Background()))
			require.NoError(t, w.two.Shutdown(context.Background()))
		})
		w.Conversation = bayeuxtest.New(t, fl)
		w.Mount = "/one"
		w.Do("at", func(rest string) { w.Mount = "/" + rest })
		w.Do("deliver", func(rest string) {
			channel, data, _ := strings.Cut(rest, " ")
			w.deliver(channel, data)
		})
		f(t, w)
	})
}

// whose is connects of one name over the connection of another.
func whose(over, name, id string) string {
	return strings.ReplaceAll(connects(over, id), "${"+over+"}", "${"+name+"}")
}
