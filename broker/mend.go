package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// spokenTopics bounds the channels that are looked through for one wildcard of a
// session that is taken up: a publisher who makes names without end costs the others
// no more than a handshake.
const spokenTopics = 10_000

// errNotKnown: what a wildcard missed cannot be told.
var errNotKnown = fmt.Errorf("%w: what its wildcards missed is not known", errNotAsBefore)

// restorePattern brings a wildcard back: every channel that it matches and that said
// something since the session was last here is mended.
func (s *subscriber) restorePattern(ctx context.Context, r patternRecord, since time.Time) error {
	t, _, err := s.regain(ctx, r.Pattern, r.Level)
	if err != nil {
		return err
	}
	if began := time.UnixMilli(r.Since); since.Before(began) {
		since = began
	}
	if since.Before(s.b.opt.Store.Now().Add(-store.SpokeFor)) {
		return errNotKnown
	}
	l := s.listener(&t)
	s.notePattern(r.Pattern, r.Since)
	// Twice: what speaks first between the first look and the tree is found by the
	// second. What the first has found is held until the wildcard hears it.
	mended := make(map[store.LogName]*topic)
	defer func() {
		for log, tp := range mended {
			s.b.hub.shardOf(log).release(tp)
		}
	}()
	if err := s.mendSpoken(ctx, l, &t, since, mended); err != nil {
		return err
	}
	l.rejoin(t.pattern, r.Since)
	return s.mendSpoken(ctx, l, &t, since, mended)
}

// mendSpoken mends every channel of a wildcard that may have said something since
// the session was last here, but for those in mended, and adds them to it, held.
func (s *subscriber) mendSpoken(ctx context.Context, l *listener, t *target, since time.Time, mended map[store.LogName]*topic) error {
	logs, more, err := s.b.opt.Store.Spoke(ctx, roadFeed(t), since, spokenTopics)
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
		k := s.b.kindOf(log, name)
		if k == nil || !l.hears(k) || !k.limits.Keeps() {
			continue
		}
		tp, err := s.b.hub.holdTopic(ctx, target{feed: t.feed, name: name, log: log, kind: k})
		if err != nil {
			return storeRefusal(err, s.b, "resume")
		}
		mended[log] = tp
		s.mend(l, tp, store.Position{}, since, nil)
	}
	return nil
}
