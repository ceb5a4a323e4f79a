package bayeux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux/bayeuxtest"
	"github.com/gobelin-broker/gobelin/channels"
)

// app is an application in memory: it routes by exact name, and some channels
// misbehave.
type app struct {
	mu       sync.Mutex
	subs     map[string]map[*Session]bool
	sessions map[string]*Session
	closed   []string // reasons, in order
	late     []func(Ack, error)
	next     int
	lagging  int // Deliver returned false
	refuse   error
	pullers  map[string]func() Puller // by pattern subscribed to
	inside   map[*Session]int         // calls under way: never above one
	overlap  bool
	fenced   bool // Batch finds that the session lives elsewhere
}

func newApp() *app {
	return &app{
		subs:     map[string]map[*Session]bool{},
		sessions: map[string]*Session{},
		pullers:  map[string]func() Puller{},
		inside:   map[*Session]int{},
	}
}

func (a *app) Handshake(_ context.Context, s *Session, m *Message) (SessionHandler, error) {
	switch what, _ := m.ExtString("do"); what {
	case "panic":
		panic("handshake")
	case "fail":
		return nil, errors.New("secret detail")
	case "refuse":
		return nil, &Error{Code: 403, Args: []string{"a b"}, Text: "Go away"}
	case "none":
		return nil, &Error{Code: 403, Text: "Go away", Advice: &Advice{Reconnect: "none"}}
	case "close":
		s.Close(ReasonKicked)
	case "close and fail":
		s.Close(ReasonKicked)
		return nil, errors.New("closed")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refuse != nil {
		return nil, a.refuse
	}
	a.sessions[s.ID()] = s
	return &user{app: a, session: s}, nil
}

func (a *app) Publish(_ context.Context, _ Peer, m *Message, done func(Ack, error)) {
	if strings.HasPrefix(m.ChannelText, "/open") {
		a.deliver(m.ChannelText, string(m.Data))
		done(Ack{}, nil)
		return
	}
	if m.ClientID == "" {
		done(Ack{}, &Error{Code: 402, Args: []string{"clientId"}, Text: "Missing required parameter"})
		return
	}
	done(Ack{}, &Error{Code: 401, Args: []string{m.ClientID}, Text: "Unknown client"})
}

// deliver sends data to all subscribers of channel; a channel below /kept is kept.
func (a *app) deliver(channel, data string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	d := NewDelivery(DeliveryFields{
		Channel: channel, ID: fmt.Sprintf("m%d", a.next), Data: []byte(data), Kept: strings.HasPrefix(channel, "/kept"), Lazy: strings.HasPrefix(channel, "/lazy"),
	})
	for s := range a.subs[channel] {
		if !s.Deliver(d) {
			a.lagging++
		}
	}
}

// user is the application's side of a session.
type user struct {
	app     *app
	session *Session
}

func (u *user) enter() func() {
	a := u.app
	a.mu.Lock()
	defer a.mu.Unlock()
	a.inside[u.session]++
	a.overlap = a.overlap || a.inside[u.session] > 1
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.inside[u.session]--
	}
}

func (u *user) Subscribe(_ context.Context, m *Message, patterns []channels.Pattern) ([]byte, error) {
	defer u.enter()()
	a := u.app
	for _, p := range patterns {
		switch p.String() {
		case "/panic":
			panic("subscribe")
		case "/fail":
			return nil, errors.New("secret detail")
		case "/forbidden":
			return nil, ErrForbidden(p.String())
		case "/kick":
			u.session.Close(ReasonKicked)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range patterns {
		if source := a.pullers[p.String()]; source != nil {
			u.session.Replay(source())
			continue
		}
		if a.subs[p.String()] == nil {
			a.subs[p.String()] = map[*Session]bool{}
		}
		a.subs[p.String()][u.session] = true
	}
	if v := m.ExtValue("echo"); v != nil {
		return []byte(`{"echo":` + string(v) + `}`), nil
	}
	return nil, nil
}

func (u *user) Unsubscribe(_ context.Context, _ *Message, patterns []channels.Pattern) error {
	defer u.enter()()
	u.app.mu.Lock()
	defer u.app.mu.Unlock()
	for _, p := range patterns {
		delete(u.app.subs[p.String()], u.session)
	}
	return nil
}

func (u *user) Publish(_ context.Context, m *Message, done func(Ack, error)) {
	defer u.enter()()
	a := u.app
	switch m.ChannelText {
	case "/panic":
		panic("publish")
	case "/fail":
		done(Ack{}, errors.New("secret detail"))
	case "/late":
		a.mu.Lock()
		defer a.mu.Unlock()
		a.late = append(a.late, done)
	case "/never":
	case "/service/echo":
		done(Ack{Data: m.Data, Ext: m.ExtValue("ack")}, nil)
	case "/service/much":
		done(Ack{Data: []byte(`"` + strings.Repeat("x", 600<<10) + `"`)}, nil)
	case "/service/refuse":
		done(Ack{}, &Error{Code: 404, Args: []string{m.ChannelText}, Text: "No such thing"})
	default:
		a.deliver(m.ChannelText, string(m.Data))
		done(Ack{Ext: m.ExtValue("ack")}, nil)
	}
}

func (u *user) Connect(_ context.Context, m *Message) error {
	defer u.enter()()
	if what, _ := m.ExtString("do"); what == "refuse" {
		return &Error{Code: 403, Text: "Token expired", Advice: &Advice{Reconnect: "handshake", Interval: 7}}
	} else if what == "fail" {
		return &Error{Code: 503, Text: "Service unavailable"}
	} else if what == "doubt" {
		return &Error{Code: 504, Text: "Outcome unknown"}
	} else if what == "move" {
		u.session.Close(ReasonMoved)
	}
	return nil
}

func (u *user) Batch(context.Context) {
	defer u.enter()()
	if u.app.fenced {
		u.session.Close(ReasonMoved)
	}
}

func (u *user) Close(reason string) {
	defer u.enter()()
	a := u.app
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = append(a.closed, reason)
	delete(a.sessions, u.session.ID())
	for _, s := range a.subs {
		delete(s, u.session)
	}
}

// pages is a Puller of numbered messages, which fails once at failAt.
type pages struct {
	channel string
	next    int
	end     int
	failAt  int // -1: never
	mu      sync.Mutex
	asked   int
	busy    bool
	twice   bool // two pulls at once
	cancel  bool // block until ctx ends
	panics  bool
}

func (p *pages) Pull(ctx context.Context, limit int) ([]*Delivery, error) {
	p.mu.Lock()
	p.asked++
	p.twice = p.twice || p.busy
	p.busy = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.busy = false
	}()
	if p.panics {
		p.panics = false
		panic("pull")
	}
	if p.cancel {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var ds []*Delivery
	for len(ds) < limit && p.next < p.end {
		if p.next == p.failAt {
			p.failAt = -1
			return ds, errors.New("the store is away")
		}
		ds = append(ds, NewDelivery(DeliveryFields{Channel: p.channel, ID: fmt.Sprintf("p%d", p.next), Data: fmt.Appendf(nil, "%d", p.next), Kept: true}))
		p.next++
	}
	if p.next == p.end {
		return ds, io.EOF
	}
	return ds, nil
}

// world is a server, its application and a conversation with it.
type world struct {
	*bayeuxtest.Conversation
	app    *app
	server *Server
	down   bool
}

// in runs f in a bubble, with a server that is shut down afterwards: the bubble
// proves that nothing is left running.
func in(t *testing.T, o Options, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		w := &world{app: a, server: NewServer(a, o)}
		t.Cleanup(func() {
			if w.down {
				return
			}
			require.NoError(t, w.server.Shutdown(context.Background()))
		})
		w.Conversation = bayeuxtest.New(t, w.server)
		w.Do("deliver", func(rest string) {
			channel, data, _ := strings.Cut(rest, " ")
			a.deliver(channel, data)
		})
		w.Do("late", func(rest string) { w.settle(t, rest) })
		w.Do("kick", func(rest string) {
			s, ok := w.server.Session(rest)
			require.True(t, ok)
			s.Close(ReasonKicked)
		})
		f(t, w)
		a.mu.Lock()
		defer a.mu.Unlock()
		require.False(t, a.overlap, "two calls on one SessionHandler at once")
	})
}

// settle lets one or all late publishes have their outcome: "last", "first" or "all".
func (w *world) settle(t *testing.T, which string) {
	a := w.app
	a.mu.Lock()
	late := a.late
	require.NotEmpty(t, late)
	switch which {
	case "first":
		late, a.late = late[:1], late[1:]
	case "last":
		late, a.late = late[len(late)-1:], late[:len(late)-1]
	default:
		a.late = nil
	}
	a.mu.Unlock()
	for _, done := range late {
		done(Ack{}, nil)
	}
}

func (w *world) reasons() []string {
	w.app.mu.Lock()
	defer w.app.mu.Unlock()
	return append([]string{}, w.app.closed...)
}

// hello is a script that gives name a session over its open connection.
func hello(name string) string {
	return strings.ReplaceAll(`
		NAME> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket","long-polling","eventsource","callback-polling"],"id":"h"}
		NAME< {"channel":"/meta/handshake","id":"h","successful":true,"version":"1.0","clientId":"$=NAME","advice":{"reconnect":"retry","interval":0,"timeout":45000}}
	`, "NAME", name)
}

// listen subscribes name's session to a channel.
func listen(name, channel string) string {
	return strings.NewReplacer("NAME", name, "CHANNEL", channel).Replace(`
		NAME> {"channel":"/meta/subscribe","clientId":"${NAME}","subscription":"CHANNEL","id":"s"}
		NAME< {"channel":"/meta/subscribe","id":"s","successful":true,"clientId":"${NAME}","subscription":"CHANNEL"}
	`)
}

// connects sends a connect with an id.
func connects(name, id string) string {
	return strings.NewReplacer("NAME", name, "ID", id).Replace(`
		NAME> {"channel":"/meta/connect","clientId":"${NAME}","connectionType":"websocket","id":"ID"}
	`)
}
