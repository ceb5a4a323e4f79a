package broker

import (
	"context"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// formerWild is a wildcard that has ended while another of the same listener stood:
// what both matched has been heard without a break since the first began.
type formerWild struct {
	pattern     channels.Pattern
	from, until uint64 // its number; the space's count when it ended
}

// maxFormer bounds them for one listener, against a peer that goes on exchanging
// its wildcards. Beyond it the oldest is forgotten, and a catch-up may repeat what
// came by it.
const maxFormer = 32

// wild reports whether any of the listener's wildcards hears the topic.
func (l *listener) wild(t *topic) bool {
	if !l.hears(t.kind) {
		return false
	}
	for p := range l.patterns {
		if p.Matches(t.name) {
			return true
		}
	}
	return false
}

// heardSince returns the number from which on wildcards have heard the topic
// without a break; false if none hears it now.
func (l *listener) heardSince(t *topic) (uint64, bool) {
	if !l.wild(t) {
		return 0, false
	}
	since := ^uint64(0)
	for p, number := range l.patterns {
		if p.Matches(t.name) {
			since = min(since, number)
		}
	}
	for more := true; more; {
		more = false
		for _, f := range l.former {
			if f.from < since && since <= f.until && f.pattern.Matches(t.name) {
				since, more = f.from, true
			}
		}
	}
	return max(since, l.raised[t.kind.hearing()]), true
}

// raise lets the listener's wildcards hear what needs a grade.
func (l *listener) raise(to grade) {
	before := grade(l.grade.Load())
	if to <= before {
		return
	}
	if len(l.patterns) == 0 {
		l.grade.Store(int32(to))
		return
	}
	number := l.space.raise(l, to)
	for g := before + 1; g <= to; g++ {
		l.raised[g] = number
	}
}

// join subscribes the listener by a wildcard. For topics with a seam that is not
// live it is as if they were subscribed by name: what was published since their
// catch-up comes first (store.md §5.3, second row). It takes over a hold of the road.
func (l *listener) join(p channels.Pattern, r *road, now time.Time) {
	var named []*topic
	var flows []*flow
	for t, s := range l.seams {
		if s.Live() || !p.Matches(t.name) || !l.hears(t.kind) {
			continue
		}
		// By name until the wildcard stands, so that nothing comes between.
		flows = append(flows, l.begin(t, s, nil, now))
		named = append(named, t)
	}
	l.number(p, r)
	for _, t := range named {
		l.space.tree.Remove(t.name.Pattern(), l)
	}
	for _, f := range flows {
		if f != nil {
			f.mu.Lock()
			f.give()
			f.mu.Unlock()
		}
	}
}

// number adds a wildcard under its number.
func (l *listener) number(p channels.Pattern, r *road) {
	if l.patterns == nil {
		l.patterns, l.roads = make(map[channels.Pattern]uint64), make(map[channels.Pattern]*road)
	}
	l.roads[p] = r
	l.patterns[p] = l.space.join(p, l, l.sub.b.opt.Store.Now().UnixMilli())
}

// rejoin subscribes a listener of a session that was resumed by a wildcard that it
// has had since a time of the store's clock, in ms. From the next ms on everything
// has been heard by it, or comes again now. It takes over a hold of the road.
func (l *listener) rejoin(p channels.Pattern, r *road, since int64) {
	l.number(p, r)
	if l.resumed == nil {
		l.resumed = make(map[channels.Pattern]store.Position)
	}
	l.resumed[p] = endOf(since)
}

// heardFrom returns the position after which wildcards have brought all of a topic;
// false if none hears it.
func (l *listener) heardFrom(t *topic) (store.Position, bool) {
	number, wild := l.heardSince(t)
	if !wild {
		return store.Position{}, false
	}
	t.mu.Lock()
	start, exact := t.marks.at(number, t.last)
	t.mu.Unlock()
	for p, began := range l.resumed {
		if p.Matches(t.name) && number <= l.patterns[p] && began.Before(start) {
			start, exact = began, true
		}
	}
	if !exact {
		l.sub.b.metrics.forgottenSeams.Inc()
	}
	return start, true
}

// leave ends a wildcard. Topics with a seam that nothing else hears go on by name
// until they are stopped one by one, each while it stands still, so that their seams
// know what came.
func (l *listener) leave(ctx context.Context, p channels.Pattern) {
	number, there := l.patterns[p]
	if !there {
		return
	}
	delete(l.patterns, p)
	delete(l.resumed, p)
	delete(l.sub.patternSince, l.prefix+p.String())
	defer l.depart(p)
	var stopped []*topic
	for t, s := range l.seams {
		if !s.exact && s.Live() && !l.wild(t) {
			l.space.tree.Add(t.name.Pattern(), l)
			stopped = append(stopped, t)
		}
	}
	until := l.space.leave(p, l, number)
	for _, t := range stopped {
		l.sub.stopLive(ctx, l, t, l.seams[t], func() { l.space.tree.Remove(t.name.Pattern(), l) })
	}
	l.stopLagging()
	l.sub.b.hub.letGo(l.roads[p], l)
	delete(l.roads, p)
	l.former = append(l.former, formerWild{pattern: p, from: number, until: until})
	l.tidyFormer()
}

// stopLagging ends what flows still bring of topics that nothing hears any more.
func (l *listener) stopLagging() {
	l.sub.mu.Lock()
	var rest []*flow
	for t, f := range l.flows {
		if l.seams[t] == nil && !l.wild(t) {
			rest = append(rest, f)
		}
	}
	l.sub.mu.Unlock()
	for _, f := range rest {
		f.mu.Lock()
		f.lags = false
		f.mu.Unlock()
	}
}

// tidyFormer forgets the wildcards that ended before any other that counts began.
func (l *listener) tidyFormer() {
	first := ^uint64(0)
	for _, number := range l.patterns {
		first = min(first, number)
	}
	// The newest first: each that stays may make older ones count.
	kept := make([]formerWild, 0, len(l.former))
	for _, f := range slices.Backward(l.former) {
		if len(l.patterns) == 0 || f.until < first || len(kept) == maxFormer {
			l.space.drop(f.from)
			continue
		}
		kept = append(kept, f)
		first = min(first, f.from)
	}
	slices.Reverse(kept)
	l.former = kept
}

// quit takes every wildcard of a listener whose session ends.
func (l *listener) quit() {
	for p, number := range l.patterns {
		l.space.leave(p, l, number)
		l.space.drop(number)
		l.sub.b.hub.letGo(l.roads[p], l)
	}
	l.dropNumbers()
}

// dropNumbers gives up what the listener held besides its wildcards' own numbers.
func (l *listener) dropNumbers() {
	for _, f := range l.former {
		l.space.drop(f.from)
	}
	for _, number := range l.raised {
		l.space.drop(number)
	}
	l.former = nil
}
