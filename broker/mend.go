package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// spokenTopics bounds the channels that are looked through for one wildcard of a
// session that is taken up: a publisher who makes names without end costs the others
// no more than a handshake.
const spokenTopics = 10_000

// errNotKnown: what a wildcard missed cannot be told.
var errNotKnown = fmt.Errorf("%w: what its wildcards missed is not known", errNotAsBefore)

// restorePattern brings a wildcard back: every channel that it matches and that said
// something since the session was last here is mended.
func (s *subscriber) restorePattern(ctx context.Context, r patternRecord, land landing) error {
	t, _, err := s.regain(ctx, r.Pattern, r.Grade, "")
	if err != nil {
		return err
	}
	for i := range t.shared {
		if err := s.restoreWild(ctx, r, &t.shared[i], land); err != nil {
			return err
		}
	}
	return s.restoreWild(ctx, r, &t, land)
}

// restoreWild does it in one space.
func (s *subscriber) restoreWild(ctx context.Context, r patternRecord, t *target, land landing) error {
	if began := time.UnixMilli(r.Since); land.since.Before(began) {
		land.since = began
	}
	land.began = endOf(r.Since - 1)
	if land.since.Before(s.b.opt.Store.Now().Add(-store.SpokeFor)) {
		return errNotKnown
	}
	l := s.listener(t)
	way, err := s.b.hub.hold(ctx, roadFeed(t), l)
	if err != nil {
		return err
	}
	l.landAt(t.pattern, land)
	s.notePattern(r.Pattern, r.Since)
	// Twice: what speaks first between the first look and the tree is found by the
	// second. What the first has found is held until the wildcard hears it.
	mended := make(map[store.LogName]*topic)
	defer func() {
		for log, tp := range mended {
			s.b.hub.shardOf(log).release(tp)
		}
	}()
	if err := s.mendSpoken(ctx, l, t, &land, mended); err != nil {
		s.b.hub.letGo(way, l)
		return err
	}
	// Before the tree: else what is said meanwhile overtakes what is under way.
	if err := s.placedUnder(ctx, l, t, &land, mended); err != nil {
		s.b.hub.letGo(way, l)
		return err
	}
	l.rejoin(t.pattern, way, r.Since)
	return s.mendSpoken(ctx, l, t, &land, mended)
}

// mendSpoken mends every channel of a wildcard that may have said something since
// the session was last here, but for those in mended, and adds them to it, held.
func (s *subscriber) mendSpoken(ctx context.Context, l *listener, t *target, land *landing, mended map[store.LogName]*topic) error {
	logs, more, err := s.b.opt.Store.Spoke(ctx, roadFeed(t), land.since, spokenTopics)
	if err != nil {
		return storeRefusal(err, s.b, "resume")
	}
	if more {
		return errNotKnown
	}
	for _, log := range logs {
		name, err := channels.Parse(log.Path)
		if err != nil || mended[log] != nil || spaceFeed(log.Feed) != t.feed || !t.pattern.Matches(name) {
			continue
		}
		if err := s.mendLog(ctx, l, t, log, land, mended); err != nil {
			return err
		}
	}
	return nil
}

// mendLog mends one channel of a wildcard and adds it to mended, held.
func (s *subscriber) mendLog(ctx context.Context, l *listener, t *target, log store.LogName, land *landing, mended map[store.LogName]*topic) error {
	name, err := channels.Parse(log.Path)
	if err != nil {
		return errNotAsBefore
	}
	k := s.b.kindOf(log, name)
	if k == nil || !l.hears(k) || !k.limits.Keeps() {
		return nil
	}
	tp, err := s.b.hub.holdTopic(ctx, target{feed: t.feed, name: name, log: log, kind: k})
	if err != nil {
		return storeRefusal(err, s.b, "resume")
	}
	mended[log] = tp
	s.mendWild(l, tp, land)
	return nil
}

const (
	// headsAtOnce is how many logs the store is asked about in one call.
	headsAtOnce = 500
	// missedTopics bounds the channels that are looked through for the wildcards of
	// one feed after a break.
	missedTopics = 1000
	// mendAgain is the pause before the store is asked again that did not answer.
	mendAgain = time.Second
)

// mending is a road whose topics look for what they missed.
type mending struct {
	road   *road
	breaks uint64 // as of when that began
	ticket uint64 // of what is missed from then on
	asOf   int64  // what was announced then
	since  time.Time
	wild   []*listener
}

// mender has the topics of roads that are Ready again look for what they missed,
// until ctx ends: those that the node knows if their heads have moved, and those
// that it does not know if a wildcard wants them.
func (h *hub) mender(ctx context.Context) {
	for {
		select {
		case <-h.roads.mend:
		case <-ctx.Done():
			return
		}
		due := h.roads.takeDue()
		if err := h.mendRoads(ctx, due); err != nil && ctx.Err() == nil {
			h.b.log.Warn("cannot look for what a break of the feed has hidden; it is tried again", zap.Int("feeds", len(due)), zap.Error(err))
			h.roads.putBack(due)
			pause := time.NewTimer(mendAgain)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
			poke(h.roads.mend)
		}
	}
}

func (h *hub) mendRoads(ctx context.Context, due []mending) error {
	var topics []*topic
	for _, m := range due {
		for _, s := range h.shards {
			topics = append(topics, s.keptUnder(m.road.feed)...)
		}
	}
	for batch := range slices.Chunk(topics, headsAtOnce) {
		if err := h.compareHeads(ctx, batch); err != nil {
			return err
		}
	}
	for _, m := range due {
		if len(m.wild) > 0 {
			if err := h.findSpoken(ctx, m); err != nil {
				return err
			}
		}
	}
	goals := make([]uint64, len(h.shards))
	for i, s := range h.shards {
		goals[i], _ = s.progress()
	}
	h.roads.mendedAt(due, goals)
	return nil
}

// levelUnder returns when the topics of a feed that a pattern matches, at most
// standingMost, are where their logs end: what was acknowledged before a wildcard was
// asked for does not come by it, though this node may not have handed it out yet.
func (h *hub) levelUnder(ctx context.Context, feed string, p channels.Pattern) error {
	var topics []*topic
	for _, s := range h.shards {
		for _, t := range s.keptUnder(feed) {
			if p.Matches(t.name) && len(topics) < standingMost {
				topics = append(topics, t)
			}
		}
	}
	for batch := range slices.Chunk(topics, headsAtOnce) {
		logs := make([]store.LogName, len(batch))
		for i, t := range batch {
			logs[i] = t.log
		}
		heads, err := h.b.opt.Store.Heads(ctx, logs)
		if err != nil {
			return fmt.Errorf("broker: level: heads: %w", err)
		}
		for i, t := range batch {
			if err := t.reach(ctx, heads[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareHeads has those topics read from the store that are not where their logs
// end.
func (h *hub) compareHeads(ctx context.Context, topics []*topic) error {
	logs := make([]store.LogName, len(topics))
	for i, t := range topics {
		logs[i] = t.log
	}
	heads, err := h.b.opt.Store.Heads(ctx, logs)
	if err != nil {
		return fmt.Errorf("broker: mend: heads: %w", err)
	}
	for i, t := range topics {
		t.mu.Lock()
		behind := t.last != heads[i]
		t.mu.Unlock()
		if behind {
			h.shardOf(t.log).missed(t)
		}
	}
	return nil
}

// findSpoken makes the topics that spoke while a road was broken and that only its
// wildcards want. They begin where the road was last known to be whole.
func (h *hub) findSpoken(ctx context.Context, m mending) error {
	logs, more, err := h.b.opt.Store.Spoke(ctx, m.road.feed, m.since, missedTopics)
	if err != nil {
		return fmt.Errorf("broker: mend: spoke: %w", err)
	}
	if more {
		h.giveUp(m.wild)
		return nil
	}
	for _, log := range logs {
		if sp := h.lookSpace(log.Feed); sp != nil {
			h.shardOf(log).bear(sp, log, m.since.UnixMilli())
		}
	}
	return nil
}

// giveUp ends the sessions of wildcards of which it cannot be told what they missed:
// their clients begin anew.
func (h *hub) giveUp(wild []*listener) {
	h.b.metrics.lostWildcards.Add(float64(len(wild)))
	h.b.log.Warn("more channels spoke during a break of the feed than wildcards are mended for; their sessions end", zap.Int("sessions", len(wild)), zap.Int("most", missedTopics))
	for _, l := range wild {
		l.sub.session.Close(bayeux.ReasonKicked)
	}
}

// takeDue returns what has to be mended, and is due no more.
func (all *roads) takeDue() []mending {
	all.mu.Lock()
	defer all.mu.Unlock()
	due := make([]mending, 0, len(all.due))
	all.tickets++
	for r := range all.due {
		m := mending{road: r, breaks: r.breaks, ticket: all.tickets, asOf: r.hub.announced.Load(), since: time.UnixMilli(r.since.Load())}
		for l := range r.wild {
			m.wild = append(m.wild, l)
		}
		due = append(due, m)
	}
	clear(all.due)
	return due
}

// putBack makes roads due again that are still there.
func (all *roads) putBack(due []mending) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, m := range due {
		if all.byFeed[m.road.feed] == m.road {
			all.due[m.road] = struct{}{}
		}
	}
}

// mendedAt notes that the repairs of roads are queued, the last of them at goals. One
// that broke again meanwhile is to be mended again, but only from when this began: where
// feeds break all the time, what was missed is over in the end all the same.
func (all *roads) mendedAt(due []mending, goals []uint64) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, m := range due {
		r := m.road
		switch {
		case r.breaks == m.breaks:
			r.since.Store(0)
			r.mended, r.next = goals, 0
		case r.mended == nil:
			r.since.Store(max(r.since.Load(), m.asOf))
			r.mended, r.next = goals, m.ticket
		}
	}
}
