package broker

import (
	"context"
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
	// Lags: there was more in the log already, which a flow was to bring.
	Lags bool `json:"l,omitempty"`
	// Sent and Queued are the first that are not known to have arrived: of those that
	// were handed to a connection, and of those that waited; nil: none.
	Sent   *store.Position `json:"s,omitempty"`
	Queued *store.Position `json:"q,omitempty"`
}

// standing returns where the session stands, once it has ended here, and a time of
// the store's clock, in ms, up to which everything of channels that are not named was
// handed over. What is handed on while it looks is in its queue, so the channels are
// looked at first and the queue after them. The caller is the handler's Close.
func (s *subscriber) standing() (left bayeux.Left, places []placeRecord, at int64) {
	at = s.b.fanned.Load()
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
				add(s.place(l, t))
			}
		}
		for _, t := range s.b.hub.heardBy(l) {
			add(s.place(l, t))
		}
	}
	for _, p := range s.replaysUnderWay() {
		add(p)
	}
	left = s.session.Left()
	for i, ds := range [][]*bayeux.Delivery{left.Sent, left.Queued} {
		for _, d := range ds {
			n, there := index[d.Channel()]
			if !there || !d.Kept() {
				continue
			}
			first := &places[n].Sent
			if i == 1 {
				first = &places[n].Queued
			}
			if p, err := store.ParsePosition(d.ID()); err == nil && *first == nil {
				*first = &p
			}
		}
	}
	return left, places, at
}

// place is where the session stands on one live channel.
func (s *subscriber) place(l *listener, t *topic) placeRecord {
	s.mu.Lock()
	f := l.flows[t]
	s.mu.Unlock()
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := placeRecord{Channel: l.prefix + t.name.String(), After: l.heard(t, f)}
	p.Lags = p.After != t.last
	if p.Lags && f.cursor.IsZero() && !f.from.IsZero() {
		p.Queued = &f.from // not begun yet
	}
	return p
}

// replaysUnderWay says how far each catch-up has been read. Of one channel asked for
// twice it cannot be told which has what: both begin again.
func (s *subscriber) replaysUnderWay() []placeRecord {
	read := map[string]store.Position{}
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
				read[r.channel] = r.replay.Position()
			}
			f.mu.Unlock()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	count := map[string]int{}
	for _, u := range s.memory.unread {
		count[u.Channel]++
	}
	var places []placeRecord
	for _, u := range s.memory.unread {
		if count[u.Channel] > 1 {
			continue
		}
		p := placeRecord{Channel: u.Channel, After: u.UpTo}
		if at, reading := read[u.Channel]; reading {
			p.After, p.Lags = at, true
		}
		places = append(places, p)
	}
	return places
}

// heardBy returns the kept channels that only wildcards of a listener hear and that
// spoke lately.
func (h *hub) heardBy(l *listener) (heard []*topic) {
	if len(l.patterns) == 0 {
		return nil
	}
	least := time.Now().Add(-standingFor).Unix()
	for _, sh := range h.shards {
		sh.mu.Lock()
		for _, t := range sh.topics {
			if t.space == l.space && t.synced && t.touched >= least && t.limits.Keeps() && len(heard) < standingMost && l.wild(t) {
				heard = append(heard, t)
			}
		}
		sh.mu.Unlock()
	}
	return heard
}

// landing is how a session comes to this node.
type landing struct {
	// since is a time of the store's clock: what is younger, of channels without a
	// place, is due.
	since   time.Time
	places  map[string]placeRecord
	arrived bool // what was sent has arrived
}

func (l *landing) place(channel string) (placeRecord, bool) {
	p, named := l.places[channel]
	return p, named
}

func placesByName(places []placeRecord) map[string]placeRecord {
	by := make(map[string]placeRecord, len(places))
	for _, p := range places {
		by[p.Channel] = p
	}
	return by
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

// mendAt lets a listener hear a topic from a place on, and then what is live. add, if
// there is one, puts it into the tree while the topic stands still.
func (s *subscriber) mendAt(l *listener, tp *topic, p placeRecord, land *landing, add func()) {
	from, under := p.first(land.arrived)
	f := l.flowOf(tp, true)
	defer f.mu.Unlock()
	tp.mu.Lock()
	f.lags, f.cursor, f.since, f.from, f.forked = true, p.After, time.Time{}, store.Position{}, 0
	switch {
	case under:
		f.cursor, f.since, f.from = store.Position{}, from.Time(), from
	case p.After.IsZero():
		f.since = land.since // there was nothing yet
	}
	if add != nil {
		add()
	}
	tp.mu.Unlock()
	f.give()
}

// placedUnder mends the channels of a wildcard that were named because something of
// them was under way, but for those in mended, and adds them to it, held.
func (s *subscriber) placedUnder(ctx context.Context, l *listener, t *target, land *landing, mended map[store.LogName]*topic) error {
	for channel, p := range land.places {
		if _, under := p.first(land.arrived); !under && !p.Lags {
			continue
		}
		name, err := channels.Parse(channel)
		if err != nil {
			return errNotAsBefore
		}
		if _, _, is, err := catchup.Split(name); is || err != nil {
			continue
		}
		prefix, sub := "", name
		if channels.IsRoot(name.First()) {
			prefix, sub = "/"+name.First(), name.Tail()
		}
		if prefix != l.prefix || !t.pattern.Matches(sub) || prefix != "" && !s.b.holds(t.feed, sub) {
			continue
		}
		log := store.LogName{Feed: t.feed, Path: sub.String()}
		if t.feed == openFeed {
			open, err := s.b.openTarget(sub)
			if err != nil {
				continue
			}
			log = open.log
		}
		if mended[log] == nil {
			if err := s.mendLog(ctx, l, t, log, land, mended); err != nil {
				return err
			}
		}
	}
	return nil
}
