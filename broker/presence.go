package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
)

// Who is there (decided.md 26).
const (
	presencePath = "/presence"
	// presenceEvery is how often a node writes who has come and gone, and says so: joins
	// and leaves are heard within two rounds. One who is back within presenceEvery has
	// not left, so a session that moves or mends its connection is not heard of.
	presenceEvery = 5 * time.Second
	// presenceNamed is how many are named; of more only the number is said.
	presenceNamed = 1000
	// presenceLife is that of a row; it is written again at half of it. A row counts
	// only while its node lives, which is known within seconds.
	presenceLife = 10 * time.Minute
	// presenceNodes bounds the rows read for one object.
	presenceNodes = 1000
)

// tablePresence: "<app>/<topic>/<node>" → presenceRow, for each object that sessions
// of the node listen to.
const tablePresence = "presence"

// Member is a session that listens to an object.
type Member struct {
	// ID is a hash of the clientId, as Connection has it.
	ID string `json:"id"`
	// Role, Name and OpaqueUserID are those of its token on the object; empty without.
	Role         string `json:"role,omitempty"`
	Name         string `json:"name,omitempty"`
	OpaqueUserID string `json:"opaque_user_id,omitempty"`
}

// presenceRow is what one node says.
type presenceRow struct {
	Count   int      `json:"count"`
	Members []Member `json:"members,omitempty"` // nil where they are too many
}

// Presence is who listens to an object, on all nodes.
type Presence struct {
	Count int
	// Members are by id; nil where there are more than are named.
	Members []Member
}

// here is a session in a room of this node.
type here struct {
	Member
	userRef string    // of its token; "" without
	known   bool      // it has a token of the object's application
	round   uint64    // when it was last seen
	gone    time.Time // since when it was not; zero: it is there
}

// room is an object that sessions of this node listen to.
type room struct {
	object  *Object
	here    map[string]*here
	changed bool
	written time.Time
	told    bool // that somebody is there, to the account's streams (visit.go)
}

// presence knows who listens to which object. The rows of all nodes are its truth;
// what a node keeps is who it has itself, and what it has said last.
type presence struct {
	b *Broker

	// owned by run
	rooms  map[string]*room // by feed
	round  uint64
	visits []visit // that streams have not heard of

	// mu guards what follows, and that what is said of a room is heard in order. It is
	// taken before space.mu.
	mu   sync.Mutex
	told map[string]*Presence   // by feed, of those that somebody here asks for
	mine map[string]presenceRow // this node's rows, by feed
}

func newPresence(b *Broker) *presence {
	return &presence{b: b, rooms: map[string]*room{}, told: map[string]*Presence{}, mine: map[string]presenceRow{}}
}

// run goes its rounds until ctx ends. Its rows then count no more, as the node does not
// live, and expire.
func (p *presence) run(ctx context.Context) {
	tick := time.NewTicker(presenceEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		p.look(time.Now())
		p.write(ctx, time.Now())
		p.tellStreams(ctx)
		p.tell(ctx)
	}
}

// look notes who is there now.
func (p *presence) look(now time.Time) {
	p.round++
	for _, s := range p.b.allSubscribers() {
		s.mu.Lock()
		rooms, homes := s.rooms, s.homes
		s.mu.Unlock()
		for i, feed := range rooms {
			p.see(feed, homes[i], s)
		}
	}
	for feed, r := range p.rooms {
		for id, h := range r.here {
			switch {
			case h.round == p.round:
				h.gone = time.Time{}
			case h.gone.IsZero():
				h.gone = now
			case now.Sub(h.gone) >= presenceEvery:
				delete(r.here, id)
				r.changed = true
				p.visit(feed, r.object, h, false)
			}
		}
	}
}

// see notes that a session is in a room.
func (p *presence) see(feed string, o *Object, s *subscriber) {
	r := p.rooms[feed]
	if r == nil {
		r = &room{object: o, here: map[string]*here{}}
		p.rooms[feed] = r
	}
	h := r.here[s.key]
	if h == nil {
		h = &here{Member: Member{ID: s.key}}
		if id := s.identity; id != nil && strings.HasPrefix(feed, roomsOf(id.App.ID)) {
			h.Role, h.Name, h.OpaqueUserID = id.RoleName, id.Name, id.OpaqueUserID
			h.userRef, h.known = id.UserRef, true
		}
		r.here[s.key] = h
		r.changed = true
		p.visit(feed, o, h, true)
	}
	h.round = p.round
}

// write brings this node's rows up to date, where other nodes may read them.
func (p *presence) write(ctx context.Context, now time.Time) {
	slots := make(chan struct{}, rememberAtOnce)
	var wg sync.WaitGroup
	for feed, r := range p.rooms {
		if !r.changed && now.Sub(r.written) < presenceLife/2 {
			continue
		}
		row := r.row()
		p.mu.Lock()
		if row.Count == 0 {
			delete(p.mine, feed)
		} else {
			p.mine[feed] = row
		}
		p.mu.Unlock()
		r.changed, r.written = false, now
		if !p.b.opt.Store.Shared() {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := p.put(ctx, feed, row); err != nil {
				r.changed = true // owned by this goroutine until Wait
				p.b.log.Debug("who is there could not be written; it is tried again", zap.Error(err))
			}
		})
	}
	wg.Wait()
	for feed, r := range p.rooms {
		if len(r.here) == 0 && !r.changed && !r.told {
			delete(p.rooms, feed)
		}
	}
}

// row says who is in the room.
func (r *room) row() presenceRow {
	row := presenceRow{Count: len(r.here)}
	if row.Count <= presenceNamed {
		for _, h := range r.here {
			row.Members = append(row.Members, h.Member)
		}
	}
	return row
}

// put writes a row of this node; one that nobody is in goes.
func (p *presence) put(ctx context.Context, feed string, row presenceRow) error {
	if row.Count == 0 {
		return p.b.opt.Store.Remove(ctx, tablePresence, p.key(feed), nil)
	}
	data, err := json.Marshal(row)
	if err == nil {
		_, err = p.b.opt.Store.Put(ctx, tablePresence, p.key(feed), store.Put{Data: data, TTL: presenceLife})
	}
	return err
}

func (p *presence) key(feed string) string {
	return strings.TrimPrefix(feed, objectFeed) + "/" + p.b.nodes.id
}

// read adds up the rows of all nodes that live.
func (p *presence) read(ctx context.Context, feed string) (*Presence, error) {
	p.mu.Lock()
	rows := []presenceRow{p.mine[feed]}
	p.mu.Unlock()
	if p.b.opt.Store.Shared() {
		others, err := p.others(ctx, feed)
		if err != nil {
			return nil, fmt.Errorf("broker: presence: %w", err)
		}
		rows = append(rows, others...)
	}
	members, total, named := map[string]Member{}, 0, true
	for _, row := range rows {
		total += row.Count
		named = named && len(row.Members) == row.Count
		for _, m := range row.Members {
			members[m.ID] = m // one that moves may be on two nodes
		}
	}
	if !named || len(members) > presenceNamed {
		return &Presence{Count: max(total, len(members))}, nil
	}
	seen := &Presence{Count: len(members), Members: make([]Member, 0, len(members))}
	for _, m := range members {
		seen.Members = append(seen.Members, m)
	}
	slices.SortFunc(seen.Members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return seen, nil
}

// others returns the rows of the other nodes that live.
func (p *presence) others(ctx context.Context, feed string) (rows []presenceRow, err error) {
	prefix := strings.TrimPrefix(feed, objectFeed) + "/"
	items, err := p.b.opt.Store.List(ctx, tablePresence, prefix, "", presenceNodes)
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		alive, err := p.b.nodes.alive(ctx, item.Key[len(prefix):]) // this node is none of them
		if err != nil {
			return nil, err
		}
		if !alive {
			continue
		}
		var row presenceRow
		if err := json.Unmarshal(item.Data, &row); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// tell says what has changed to those who listen here.
func (p *presence) tell(ctx context.Context) {
	p.mu.Lock()
	feeds := make([]string, 0, len(p.told))
	for feed := range p.told {
		feeds = append(feeds, feed)
	}
	p.mu.Unlock()
	for _, feed := range feeds {
		sp := p.b.hub.lookSpace(feed)
		if sp == nil || !sp.tree.Matches(presenceName) {
			p.mu.Lock()
			delete(p.told, feed)
			p.mu.Unlock()
			continue
		}
		now, err := p.read(ctx, feed)
		if err != nil {
			p.b.log.Debug("who is there could not be read; it is tried again", zap.Error(err))
			continue
		}
		p.mu.Lock()
		before := p.told[feed]
		if data := now.since(before); data != nil && before != nil {
			p.deliver(sp, data)
		}
		p.told[feed] = now
		p.mu.Unlock()
	}
}

// presenceChange is a message on a presence channel.
type presenceChange struct {
	Op      string   `json:"op"` // snapshot, change or count
	Count   int      `json:"count"`
	Members []Member `json:"members,omitempty"`
	Joined  []Member `json:"joined,omitempty"`
	Left    []string `json:"left,omitempty"` // ids
}

// snapshot is the message that says all of it.
func (p *Presence) snapshot() []byte {
	return encodePresence(presenceChange{Op: "snapshot", Count: p.Count, Members: p.Members})
}

// since is the message that says what is new since before; nil for nothing.
func (p *Presence) since(before *Presence) []byte {
	switch {
	case before == nil:
		return nil
	case p.Members == nil && before.Count == p.Count && before.Members == nil:
		return nil
	case p.Members == nil:
		return encodePresence(presenceChange{Op: "count", Count: p.Count})
	case before.Members == nil:
		return p.snapshot() // they are named again
	}
	change := presenceChange{Op: "change", Count: p.Count}
	was := map[string]bool{}
	for _, m := range before.Members {
		was[m.ID] = true
	}
	for _, m := range p.Members {
		if !was[m.ID] {
			change.Joined = append(change.Joined, m)
		}
		delete(was, m.ID)
	}
	for _, m := range before.Members {
		if was[m.ID] {
			change.Left = append(change.Left, m.ID)
		}
	}
	if len(change.Joined)+len(change.Left) == 0 {
		return nil
	}
	return encodePresence(change)
}

func encodePresence(c presenceChange) []byte {
	data, err := encodeText(c)
	if err != nil {
		return nil // strings and numbers only: it cannot fail
	}
	return data
}

var presenceName = func() channels.Name {
	n, err := channels.Parse(presencePath)
	if err != nil {
		panic(err)
	}
	return n
}()

// deliver hands a message to all in a space who may hear it. The caller holds mu.
func (p *presence) deliver(sp *space, data []byte) {
	k := p.b.kinds.reserved[presenceKind]
	byPrefix := map[string]*bayeux.Delivery{}
	sp.mu.RLock()
	defer sp.mu.RUnlock()
	sp.tree.Match(presenceName, func(l *listener, exact bool) {
		if !exact && !l.hears(k) {
			return
		}
		d := byPrefix[l.prefix]
		if d == nil {
			d = p.message(l.prefix, data)
			byPrefix[l.prefix] = d
		}
		l.sub.session.Deliver(d)
	})
}

// message is a delivery of the broker's own: nothing of it is kept.
func (p *presence) message(prefix string, data []byte) *bayeux.Delivery {
	id := ulid.MustNew(ulid.Timestamp(p.b.opt.Store.Now()), p.b.entropy)
	return bayeux.NewDelivery(bayeux.DeliveryFields{Channel: prefix + presencePath, ID: id.String(), Data: data})
}

// greet tells a session that has just subscribed who is there; what it hears after
// that follows on it.
func (p *presence) greet(ctx context.Context, l *listener) error {
	feed := l.space.feed
	p.mu.Lock()
	known := p.told[feed] != nil
	p.mu.Unlock()
	var read *Presence
	if !known {
		var err error
		if read, err = p.read(ctx, feed); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[feed] == nil {
		if read == nil {
			read = &Presence{Members: []Member{}} // it was dropped meanwhile: the next round says all
		}
		p.told[feed] = read
	}
	l.sub.session.Deliver(p.message(l.prefix, p.told[feed].snapshot()))
	return nil
}

// Presence returns who listens to an object, on all nodes, as of the last few seconds.
// who must be allowed to subscribe to /presence. Errors: *Error with result 4003,
// ErrNoObject, the store's.
func (b *Broker) Presence(ctx context.Context, who *Identity, objectID string) (*Presence, error) {
	if who.LevelFor(who.App.ID, objectID) < b.kinds.reserved[presenceKind].subscribe {
		return nil, &Error{Result: 4003, Text: "forbidden: the credential does not allow to see who is there"}
	}
	o, err := b.objects.get(ctx, who.App, objectID)
	if err != nil {
		return nil, err
	}
	return b.presence.read(ctx, feedOf(o))
}
