package broker

import (
	"context"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// A session that goes from one node to another in order takes along where it stands,
// so that its client gets nothing twice and misses nothing.
const (
	// standingFor is how long ago a channel may have spoken that only a wildcard
	// hears, to be named; an older one had all of it handed over by Left.At.
	standingFor = 30 * time.Second
	// standingMost bounds the channels that are named because of wildcards; of those
	// beyond it something may come twice.
	standingMost = 1000
)

// placeRecord is where a session stands on one channel, by the name that its client
// uses: a live one, or a catch-up.
type placeRecord struct {
	Channel string `json:"c"`
	// After: everything up to it was handed to the session's queue.
	After store.Position `json:"a"`
	// Since is a time of the store's clock, in ms: nothing older is due, though it is
	// after After; 0: no bound.
	Since int64 `json:"t,omitempty"`
	// Lags: there was more in the log already, which a flow was to bring.
	Lags bool `json:"l,omitempty"`
	// Sent and Queued are the first that are not known to have arrived: of those that
	// were handed to a connection, and of those that waited; nil: none.
	Sent   *store.Position `json:"s,omitempty"`
	Queued *store.Position `json:"q,omitempty"`
	// Live is of a catch-up: the last live message of its channel that was sent before Sent.
	Live store.Position `json:"v,omitzero"`
}

// standing returns where the session stands, once it has ended here, and a time of
// the store's clock, in ms, up to which everything of channels that are not named was
// handed over. What is handed on while it looks is in its queue, so the channels are
// looked at first and the queue after them. The caller is the handler's Close; goesOn: it
// is its Batch, and channels that only a wildcard hears are named by that (ack.go).
func (s *subscriber) standing(ctx context.Context, goesOn bool) (left bayeux.Left, places []placeRecord, at int64) {
	at = max(s.b.fanned.Load(), s.landedAt)
	wild := 0 // of them because of wildcards
	index := map[string]int{}
	add := func(p placeRecord) {
		if _, there := index[p.Channel]; !there {
			index[p.Channel] = len(places)
			places = append(places, p)
		}
	}
	for _, l := range s.listeners {
		for t := range l.seams {
			if t.limits.Keeps() && (l.seams[t].exact || l.wild(t)) {
				add(l.place(t))
			}
		}
		for _, t := range s.flowing(l) {
			if t.limits.Keeps() && l.wild(t) {
				add(l.place(t))
			}
		}
		if goesOn {
			continue
		}
		heard := s.b.hub.heardBy(l, at, standingMost-wild)
		wild += len(heard)
		for _, t := range heard {
			add(l.place(t))
		}
		for _, p := range l.unheard(standingMost - wild) {
			wild++
			add(p)
		}
	}
	left = s.session.Left()
	stray := map[string]*placeRecord{} // by channels that have no place
	for i, ds := range [][]*bayeux.Delivery{left.Sent, left.Queued} {
		for _, d := range ds {
			p, err := store.ParsePosition(d.ID())
			if err != nil || !d.Kept() {
				continue
			}
			if _, there := index[d.Channel()]; !there && s.wildlyHears(d.Channel()) {
				// It spoke too long ago to be named for that.
				add(placeRecord{Channel: d.Channel()})
			}
			var place *placeRecord
			if n, there := index[d.Channel()]; there {
				place = &places[n]
			} else if place = stray[d.Channel()]; place == nil {
				place = &placeRecord{Channel: d.Channel()}
				stray[d.Channel()] = place
			}
			place.under(p, i == 1)
		}
	}
	places = append(places, s.covers(ctx, stray)...)
	return left, places, at
}

// under notes that the message at p is under way: queued, or handed to a connection. All
// of a channel that is queued comes after what was handed on, in order.
func (r *placeRecord) under(p store.Position, queued bool) {
	switch {
	case r.Queued != nil && queued:
		// A flow had not come to what Queued says yet; what waits goes before it.
		if p.Before(*r.Queued) {
			r.Queued = &p
		}
	case r.Queued == nil && !r.After.IsZero() && r.After.Before(p):
		// It is after what the place says: its client went back behind it, or it
		// was handed over since. It comes again from there.
		r.Lags = true
	case queued:
		r.Queued = &p
	case r.Sent == nil:
		r.Sent = &p
	}
}

// flowing returns the topics of which flows have something for a listener.
func (s *subscriber) flowing(l *listener) (all []*topic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range l.flows {
		all = append(all, t)
	}
	return all
}

// wildlyHears reports whether a wildcard brings a channel, by the name that the client
// uses.
func (s *subscriber) wildlyHears(channel string) bool {
	name, err := channels.Parse(channel)
	if err != nil {
		return false
	}
	if _, _, past, err := catchup.Split(name); past || err != nil {
		return false
	}
	prefix, sub := "", name
	if channels.IsRoot(name.First()) {
		prefix, sub = "/"+name.First(), name.Tail()
	}
	for _, l := range s.listeners {
		for p := range l.patterns {
			if l.prefix == prefix && p.Matches(sub) {
				return true
			}
		}
	}
	return false
}

// reached returns a time of the store's clock, in ms, up to which everything live has
// reached the client of a session that left at places, where at is that of standing. A
// session that goes from node to node is on none for long enough to learn it otherwise
// (subscriber.look), and would get all since its beginning again when one is lost.
func reached(places []placeRecord, at int64) int64 {
	for _, p := range places {
		for _, first := range []*store.Position{p.Sent, p.Queued} {
			if first != nil {
				at = min(at, first.MS()-1)
			}
		}
		if p.Lags {
			at = min(at, max(p.After.MS(), p.Since)-1)
		}
	}
	return at
}

// covers returns what was under way of channels that are not live any more. It is not
// taken along, so a live subscription that comes back has to begin before it: Sent and
// Queued are the positions before the first of each.
func (s *subscriber) covers(ctx context.Context, stray map[string]*placeRecord) (places []placeRecord) {
	for _, l := range s.listeners {
		for t, sm := range l.seams {
			p := stray[l.prefix+t.name.String()]
			if p == nil || sm.Live() {
				continue
			}
			for _, first := range []*store.Position{p.Sent, p.Queued} {
				if first != nil {
					*first = s.b.before(ctx, t, *first)
				}
			}
			places = append(places, *p)
		}
	}
	return places
}

// before returns the position before p in a log, or a made one that leaves nothing
// between. If the store does not say, what else was in p's ms comes again.
func (b *Broker) before(ctx context.Context, t *topic, p store.Position) store.Position {
	last := store.NewPosition(p.MS()-1, 1<<32-1, 1<<48-1)
	page, err := b.opt.Store.Read(ctx, t.log, store.Range{Since: p.Time(), UpTo: p, Limits: t.limits}, pageMessages, pageBytes)
	if err != nil {
		return last
	}
	for _, e := range page.Entries {
		if e.Position.Before(p) {
			last = e.Position
		}
	}
	return last
}

// place is where the session stands on one live channel.
func (l *listener) place(t *topic) placeRecord {
	f := l.halt(t, func(*flow) {})
	defer t.goOn(f)
	p := placeRecord{Channel: l.prefix + t.name.String(), After: l.heard(t, f)}
	p.Lags = p.After != t.last
	if p.Lags && f != nil && f.lags && !f.since.IsZero() {
		p.Since = f.since.UnixMilli()
	}
	if f != nil && f.lags && f.cursor.Before(f.from) {
		from := f.from // it has not come so far yet
		p.Lags, p.Queued = true, &from
	}
	return p
}

// catchups notes how far each catch-up of the record has been read, and what of it is
// under way. One channel may have been asked for more than once: its
// catch-ups come one after the other, and positions begin anew with each. What it returns
// is noted together with left: a record between the two would say of one what is true of
// the other.
func (s *subscriber) catchups(left bayeux.Left) map[*unread]*placeRecord {
	s.mu.Lock()
	all := slices.Clone(s.memory.unread)
	s.mu.Unlock()
	read := s.replaysRead()
	places := make([]placeRecord, len(all))
	begun := map[string][]int{} // by channel, those of which something was queued
	for i, u := range all {
		places[i] = placeRecord{Channel: u.Channel, After: u.UpTo}
		if u.byID() {
			continue // how far that is says the place of its channel
		}
		r, reading := read[u]
		if reading {
			places[i].After, places[i].Lags = r.replay.Position(), true
		}
		if !reading || r.replay.Position() != r.began {
			begun[u.Channel] = append(begun[u.Channel], i)
		}
	}
	under := catchupsUnder(left)
	for channel, which := range begun {
		assign(under[channel], which, all, places)
	}
	of := make(map[*unread]*placeRecord, len(all))
	for i, u := range all {
		of[u] = &places[i]
	}
	return of
}

// stand notes where the session and its catch-ups stand. The caller holds s.mu.
func (s *subscriber) stand(left *leftRecord, catchups map[*unread]*placeRecord) {
	for u, p := range catchups {
		u.place = p
	}
	s.memory.record.Left = left
}

// oneUnder is a message of a catch-up that is under way: queued, or sent after live, the last
// live one of its channel.
type oneUnder struct {
	at, live store.Position
	queued   bool
}

// catchupsUnder returns what is under way of catch-ups, by their channels, in order.
func catchupsUnder(left bayeux.Left) map[string][]oneUnder {
	under := map[string][]oneUnder{}
	live := map[string]store.Position{}
	for i, ds := range [][]*bayeux.Delivery{left.Sent, left.Queued} {
		for _, d := range ds {
			p, err := store.ParsePosition(d.ID())
			if err != nil {
				continue
			}
			if base, past := liveOf(d.Channel()); past {
				under[d.Channel()] = append(under[d.Channel()], oneUnder{at: p, live: live[base], queued: i == 1})
			} else {
				live[base] = p
			}
		}
	}
	return under
}

// assign notes the first that is sent and the first that is queued of each catch-up of one
// channel: which are those that have begun, as places in all, one after the other. The last of
// what is under way is the last one's; the one before has what stands before that begins anew,
// or before anything that it may have.
func assign(under []oneUnder, which []int, all []*unread, places []placeRecord) {
	k := len(which) - 1
	for i := len(under) - 1; i >= 0; i-- {
		one := &under[i]
		if i+1 < len(under) && !one.at.Before(under[i+1].at) {
			k--
		}
		for j := k; j >= 0; j-- {
			if all[which[j]].has(one.at) {
				k = j
				break
			}
		}
		if k < 0 {
			return
		}
		place := &places[which[k]]
		if one.queued {
			place.Queued = &one.at
		} else {
			place.Sent, place.Live = &one.at, one.live
		}
	}
}

// has reports whether a message may be of a catch-up.
func (r *unreadRecord) has(p store.Position) bool {
	return p.MS() >= r.Since.UnixMilli() && r.After.Before(p) && !r.UpTo.Before(p)
}

// replaysRead returns the catch-ups that flows still read.
func (s *subscriber) replaysRead() map[*unread]replaying {
	read := map[*unread]replaying{}
	for _, l := range s.listeners {
		s.mu.Lock()
		flows := make([]*flow, 0, len(l.flows))
		for _, f := range l.flows {
			flows = append(flows, f)
		}
		s.mu.Unlock()
		for _, f := range flows {
			f.mu.Lock()
			for _, r := range f.replays {
				read[r.unread] = r
			}
			f.mu.Unlock()
		}
	}
	return read
}

// heardBy returns the kept channels, at most most, that only wildcards of a listener
// hear and that spoke lately, or since at, in ms of the store's clock.
func (h *hub) heardBy(l *listener, at int64, most int) (heard []*topic) {
	if len(l.patterns) == 0 {
		return nil
	}
	late := max(0, h.b.opt.Store.Now().Sub(time.UnixMilli(at)))
	least := time.Now().Add(-standingFor - late).Unix()
	for _, sh := range h.shards {
		sh.mu.Lock()
		for _, t := range sh.under(l.space.feed) {
			if t.synced && t.touched >= least && t.limits.Keeps() && len(heard) < most && l.wild(t) {
				heard = append(heard, t)
			}
		}
		sh.mu.Unlock()
	}
	return heard
}

// first returns the first position that is due; false when nothing was under way, so
// that what follows After is.
func (p *placeRecord) first(arrived bool) (store.Position, bool) {
	switch {
	case p.Sent != nil && !arrived:
		return *p.Sent, true
	case p.Queued != nil:
		return *p.Queued, true
	}
	return store.Position{}, false
}
