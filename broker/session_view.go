package broker

import (
	"context"
	"slices"
	"strings"

	"github.com/gobelin-broker/gobelin/channels"
)

// maxSessions bounds a page of sessions.
const maxSessions = 200

// SessionView is a session as the operator sees it.
type SessionView struct {
	// ID is a hash of the clientId, which is a secret.
	ID string `json:"id"`
	// Node is the name of the node where it lives, "" for none just now; Here: it is this
	// one, and only then the fields below Subscriptions are known.
	Node string `json:"node"`
	Here bool   `json:"here"`
	// App, Role and the following are those of the token of its handshake.
	App     string `json:"app"`
	Role    string `json:"role"`
	UserID  string `json:"user_id"`
	UserRef string `json:"user_ref"`
	Name    string `json:"name"`
	// Came is when it was handshaken, in ms of the store's clock.
	Came          int64 `json:"came"`
	Subscriptions int   `json:"subscriptions"`

	Transport string `json:"transport"`
	Address   string `json:"address"`
	Origin    string `json:"origin"`
	// Away: no connection serves it now.
	Away bool `json:"away"`
	// Queued and QueuedBytes wait for it, Unacknowledged were handed to a connection and
	// are not known to have arrived, Lagging channels are read from the store for it.
	Queued         int `json:"queued"`
	QueuedBytes    int `json:"queued_bytes"`
	Unacknowledged int `json:"unacknowledged"`
	Lagging        int `json:"lagging"`
}

// SessionQuery selects a page of sessions.
type SessionQuery struct {
	// Everywhere: those of all nodes, by their records; else those that live here.
	Everywhere bool
	// Search is a part of an address, a transport, a name, a user's id or reference or an
	// application's name, without regard to case, or the beginning of an id; empty: all.
	Search string
	// Slowest: those with the most waiting first, one page of those that live here.
	Slowest bool
	After   string // ids after this one; empty: from the first
	Limit   int    // 1 to 200
}

// SessionPage is a page of sessions, by id.
type SessionPage struct {
	Sessions []SessionView `json:"sessions"`
	// Next is the After of the following page; empty: this is the last.
	Next string `json:"next"`
}

// Subscription is one of a session's, as people know it.
type Subscription struct {
	ChannelName
	// Catchups are the intervals that were asked for, such as "6h".
	Catchups []string `json:"catchups"`
	Live     bool     `json:"live"`
}

// Sessions returns a page of sessions. Those of other nodes are found in their records,
// of which one page goes through 10,000 at most: it can be short, even empty, and still
// have a Next. Errors are the store's.
func (o Operator) Sessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	q.Limit = min(max(q.Limit, 1), maxSessions)
	if q.Everywhere && !q.Slowest {
		return o.b.sessionsEverywhere(ctx, q)
	}
	return o.b.sessionsHere(q), nil
}

// sessionsHere looks at each session of this node once and keeps a page.
func (b *Broker) sessionsHere(q SessionQuery) SessionPage {
	order := func(x, y SessionView) int { return strings.Compare(x.ID, y.ID) }
	if q.Slowest {
		order = byQueue
	}
	page := SessionPage{Sessions: []SessionView{}}
	more := false
	for _, s := range b.allSubscribers() {
		if !q.Slowest && s.key <= q.After {
			continue
		}
		v := b.viewSession(s)
		if !v.matches(q.Search) {
			continue
		}
		at, _ := slices.BinarySearchFunc(page.Sessions, v, order)
		if at == q.Limit {
			more = true
			continue
		}
		page.Sessions = slices.Insert(page.Sessions, at, v)
		if len(page.Sessions) > q.Limit {
			page.Sessions, more = page.Sessions[:q.Limit], true
		}
	}
	if more && !q.Slowest {
		page.Next = page.Sessions[len(page.Sessions)-1].ID
	}
	return page
}

func (b *Broker) sessionsEverywhere(ctx context.Context, q SessionQuery) (SessionPage, error) {
	page := SessionPage{Sessions: []SessionView{}}
	next, err := b.eachSession(ctx, q.After, connectionScan, func(key string, r *sessionRecord) (bool, error) {
		v, err := b.viewRecord(ctx, key, r)
		if err != nil {
			return false, err
		}
		if v.matches(q.Search) {
			page.Sessions = append(page.Sessions, v)
		}
		return len(page.Sessions) < q.Limit, nil
	})
	page.Next = next
	return page, err
}

// viewSession shows a session that lives here.
func (b *Broker) viewSession(s *subscriber) SessionView {
	state := s.session.State()
	s.mu.Lock()
	v := SessionView{
		ID: s.key, Node: b.nodes.label(), Here: true, Came: s.memory.record.Came, Subscriptions: s.memory.record.subscriptions(), Lagging: s.flows,
	}
	s.mu.Unlock()
	v.Transport, v.Address, v.Origin = state.Peer.Transport, state.Peer.Addr, state.Peer.Origin
	v.Away, v.Queued, v.QueuedBytes, v.Unacknowledged = state.Away, state.Queued, state.QueuedBytes, state.Unacknowledged
	v.introduce(s.identity)
	return v
}

// viewRecord shows a session by its record, and as it is if it lives here.
func (b *Broker) viewRecord(ctx context.Context, key string, r *sessionRecord) (SessionView, error) {
	b.mu.Lock()
	here := b.subscribers[key]
	b.mu.Unlock()
	if here != nil {
		return b.viewSession(here), nil
	}
	v := SessionView{ID: key, Came: r.Came, Subscriptions: r.subscriptions(), Away: true}
	var err error
	if v.Node, err = b.nodeName(ctx, r.Owner); err != nil {
		return v, err
	}
	v.Away = v.Node == ""
	if r.Identity != nil {
		v.introduce(r.Identity.identity(b.tokens))
	}
	return v, nil
}

func (v *SessionView) introduce(id *Identity) {
	if id != nil {
		v.App, v.Role, v.UserID, v.UserRef, v.Name = id.App.Name, id.RoleName, id.UserID, id.UserRef, id.Name
	}
}

func (v *SessionView) matches(search string) bool {
	search = strings.ToLower(search)
	if search == "" || strings.HasPrefix(v.ID, search) {
		return true
	}
	return slices.ContainsFunc([]string{v.Address, v.Transport, v.Name, v.UserID, v.UserRef, v.App}, func(text string) bool {
		return strings.Contains(strings.ToLower(text), search)
	})
}

// Session returns one session and what it is subscribed to, by name. Errors: *Error with
// 4004 where there is none, the store's.
func (o Operator) Session(ctx context.Context, id string) (SessionView, []Subscription, error) {
	r, err := o.b.sessionAt(ctx, id)
	if err != nil {
		return SessionView{}, nil, err
	}
	v, err := o.b.viewRecord(ctx, id, r)
	if err != nil {
		return v, nil, err
	}
	subscriptions := []Subscription{}
	for _, p := range r.Patterns {
		subscriptions = append(subscriptions, Subscription{ChannelName: o.b.inWords(ctx, p.Pattern), Catchups: []string{}, Live: true})
	}
	for _, t := range r.Topics {
		if !t.Exact && len(t.Catchups) == 0 {
			continue // what a wildcard hears, or heard lately
		}
		s := Subscription{ChannelName: o.b.inWords(ctx, t.Channel), Catchups: []string{}, Live: t.Exact}
		for name := range t.Catchups {
			if n, err := channels.Parse(name); err == nil {
				s.Catchups = append(s.Catchups, n.Last())
			}
		}
		slices.Sort(s.Catchups)
		subscriptions = append(subscriptions, s)
	}
	slices.SortFunc(subscriptions, func(x, y Subscription) int { return strings.Compare(x.String(), y.String()) })
	return v, subscriptions, nil
}

// EndSession ends a session for good, on every node within a second: its client
// handshakes again. Errors: *Error with 4004 where there is none, the store's.
func (o Operator) EndSession(ctx context.Context, id string) error {
	if _, err := o.b.sessionAt(ctx, id); err != nil {
		return err
	}
	return o.b.endConnection(ctx, id)
}
