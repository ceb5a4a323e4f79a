package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// landing is how a session comes to this node.
type landing struct {
	// since is a time of the store's clock: what is younger, of channels without a
	// place, is due.
	since time.Time
	// began: a wildcard began after it.
	began    store.Position
	places   map[string]placeRecord
	catchups []placeRecord // of the record's, in its order; nil: nothing is known
	arrived  bool          // what was sent has arrived
	// undecided: that cannot be told. It is neither lost nor brought again, but taken
	// along as it is (underway.go).
	undecided bool
	lost      bool // nobody says where it stood
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

// landed is a landing of which a listener's wildcards have not met every topic yet: each is
// brought to where the session stood when it first says something here, as this node may
// be behind or ahead of that, or not know the topic. But for met it does not change.
type landed struct {
	landing
	until    time.Time
	patterns []channels.Pattern
	// met are the names of those that have been, guarded by the subscriber's mu.
	met map[string]struct{}
}

// landedFor is for how long: by then this node has handed out what was there when the
// session came, and a topic that says something for the first time says something new.
const landedFor = standingFor

// landAt prepares a wildcard of a listener for topics that it meets from now on. The
// oldest landing counts, where a session has several.
func (l *listener) landAt(p channels.Pattern, land landing) {
	ld := &landed{landing: land, until: time.Now().Add(landedFor), met: map[string]struct{}{}}
	if old := l.landed.Load(); old != nil {
		if old.since.Before(ld.since) {
			ld.landing = old.landing
		}
		if old.began.Before(land.began) {
			land.began = old.began
		}
		ld.began = land.began
		ld.patterns, ld.met = slices.Clone(old.patterns), old.met
	}
	ld.patterns = append(ld.patterns, p)
	l.landed.Store(ld)
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	l.sub.landed = append(l.sub.landed, l)
}

// depart takes a wildcard from what has landed.
func (l *listener) depart(p channels.Pattern) {
	if ld := l.landed.Load(); ld != nil {
		less := *ld
		less.patterns = slices.DeleteFunc(slices.Clone(ld.patterns), func(q channels.Pattern) bool { return q == p })
		l.landed.Store(&less)
	}
}

// settleLandings forgets what landed long ago. The caller holds s.mu.
func (s *subscriber) settleLandings() {
	s.landed = slices.DeleteFunc(s.landed, func(l *listener) bool {
		ld := l.landed.Load()
		over := ld == nil || time.Now().After(ld.until)
		if over {
			l.landed.Store(nil)
		}
		return over
	})
}

// meets reports whether a wildcard of the listener meets a topic for the first time since
// its session landed, and how it did. The caller holds the topic's mu.
func (l *listener) meets(t *topic) (*landed, bool) {
	ld := l.landed.Load()
	if ld == nil || !ld.hears(l, t) {
		return nil, false
	}
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	_, again := ld.met[t.name.String()]
	ld.met[t.name.String()] = struct{}{}
	return ld, !again
}

func (ld *landed) hears(l *listener, t *topic) bool {
	return t.limits.Keeps() && l.hears(t.kind) && ld.matches(t.name)
}

func (ld *landed) matches(name channels.Name) bool {
	return slices.ContainsFunc(ld.patterns, func(p channels.Pattern) bool { return p.Matches(name) })
}

// lands sees to the entry at p, after t.last, of a topic that a wildcard has not met yet,
// and reports whether there is nothing more to do: the session has had it, or it comes with
// what is due before. The caller holds the topic's mu.
func (l *listener) lands(t *topic, p store.Position) bool {
	ld := l.landed.Load()
	if ld == nil || !ld.hears(l, t) {
		return false
	}
	name := t.name.String()
	l.sub.mu.Lock()
	_, met := ld.met[name]
	l.sub.mu.Unlock()
	if met {
		return false
	}
	f := &flow{listener: l, topic: t}
	ld.begin(f, l.prefix+name, store.Position{})
	had := f.cursor
	if before := endOf(f.since.UnixMilli() - 1); !f.since.IsZero() && had.Before(before) {
		had = before
	}
	switch {
	case f.from.IsZero() && !had.Before(p):
		return true
	case f.from.IsZero() && !had.Before(t.last):
		l.meets(t)
		return false // it is just there
	}
	l.meets(t)
	l.addFlow(f)
	f.give()
	return true
}

// stood returns where the session stood on a topic that a wildcard has not met yet; zero
// where that is not so or not known.
func (l *listener) stood(t *topic) store.Position {
	ld := l.landed.Load()
	if ld == nil || !ld.hears(l, t) {
		return store.Position{}
	}
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	if _, met := ld.met[t.name.String()]; met {
		return store.Position{}
	}
	p, _ := ld.place(l.prefix + t.name.String())
	return p.After
}

// unheard returns the places, at most most, of channels that no wildcard has met here: they
// are taken along, as this node may have missed what they said since and know nothing of
// it.
func (l *listener) unheard(most int) (places []placeRecord) {
	ld := l.landed.Load()
	if ld == nil {
		return nil
	}
	l.sub.mu.Lock()
	defer l.sub.mu.Unlock()
	for channel, p := range ld.places {
		text, ours := strings.CutPrefix(channel, l.prefix)
		if _, met := ld.met[text]; met || !ours || p.After.IsZero() || len(places) >= most {
			continue
		}
		name, err := channels.Parse(text)
		if err == nil && (l.prefix == "" || l.sub.b.holds(l.space.feed, name)) && ld.matches(name) {
			places = append(places, placeRecord{Channel: channel, After: p.After})
		}
	}
	return places
}

// begin sets a flow to where the session stands on a channel: at its place, or where that
// is not known from the landing's time on, but not before after, where it subscribed. The
// caller holds f.mu and the topic's mu, or nobody else knows f yet.
func (l *landing) begin(f *flow, channel string, after store.Position) {
	p, named := l.place(channel)
	f.lags, f.cursor, f.since, f.from, f.forked = true, after, l.since, store.Position{}, 0
	if f.least = after; f.least.IsZero() {
		f.least = l.began
	}
	if !named {
		return
	}
	from, under := p.first(l.arrived)
	f.cursor, f.since = p.After, time.Time{}
	switch {
	case under:
		f.cursor, f.since, f.from = store.Position{}, from.Time(), from
	case p.Since != 0:
		f.since = time.UnixMilli(p.Since)
	case p.After.IsZero():
		f.since = l.since // there was nothing yet
	}
}

// mend lets a listener hear a topic by its name from where its session stood, and then
// what is live. add puts it into the tree, while the topic stands still.
func (s *subscriber) mend(l *listener, tp *topic, after store.Position, land *landing, add func()) {
	f := l.flowOf(tp, true)
	defer f.mu.Unlock()
	tp.mu.Lock()
	l.meets(tp)
	if f.level { // a wildcard has brought what there was since
		f.least = after
	} else {
		land.begin(f, l.prefix+tp.name.String(), after)
	}
	add()
	tp.mu.Unlock()
	f.give()
}

// mendWild does it for a topic that wildcards hear, unless they have met it.
func (s *subscriber) mendWild(l *listener, tp *topic, land *landing) {
	f := l.flowOf(tp, true)
	defer f.mu.Unlock()
	tp.mu.Lock()
	if _, first := l.meets(tp); first {
		land.begin(f, l.prefix+tp.name.String(), store.Position{})
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
