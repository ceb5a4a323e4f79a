package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// errNotAsBefore: the session cannot be made what it was, so its client begins anew.
var errNotAsBefore = errors.New("broker: session cannot be resumed")

// Resume is part of bayeux.Resumer: the session takes its subscriptions up where it
// was, and what its client may not have had comes again.
func (b *Broker) Resume(ctx context.Context, session *bayeux.Session, m *bayeux.Message) (bayeux.SessionHandler, error) {
	key := sessionKey(session.ID())
	done, err := b.take(ctx, key, m)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := b.claim(ctx, key, m)
	switch {
	case errors.Is(err, bayeux.ErrLate):
		return nil, err
	case errors.Is(err, store.ErrNotFound):
		return nil, bayeux.ErrNoSession
	case err != nil:
		return nil, storeRefusal(err, b, "resume")
	}
	s := b.newSubscriber(session, nil)
	if err := s.takeUp(ctx, m, c); err != nil {
		s.drop()
		var refusal *bayeux.Error
		if errors.As(err, &refusal) && refusal.Code >= 500 {
			b.putBack(key, c.before, c.from, c.version) // it may go better next time
			return nil, refusal
		}
		b.log.Debug("session not resumed", zap.Error(err))
		s.erase(ctx)
		return nil, bayeux.ErrNoSession
	}
	b.remember(s)
	b.metrics.resumed.Inc()
	return s, nil
}

// takeUp makes the session what its record says, which is ours.
func (s *subscriber) takeUp(ctx context.Context, m *bayeux.Message, c *claimed) error {
	s.memory.version, s.memory.written = c.version, c.Seq
	if c.Identity != nil {
		if s.identity = c.Identity.identity(s.b.tokens); s.identity == nil {
			return errNotAsBefore
		}
		if s.b.denied(s.identity) {
			return errNotAsBefore // that was while it lived nowhere
		}
	}
	s.memory.record, s.memory.safe, s.memory.saved = c.sessionRecord, c.from, time.Now()
	if c.Ends != 0 {
		s.ends = time.UnixMilli(c.Ends)
	}
	if c.Counts {
		s.session.Counted()
	}
	if err := s.restoreTap(c.Tap); err != nil {
		return err
	}
	if err := s.restore(ctx, m, c); err != nil {
		return err
	}
	s.b.log.Debug("a session came here", zap.String("session", s.key[:12]), zap.String("owner", c.before.Owner), zap.Int64("from", c.from),
		zap.Bool("left", c.left != nil), zap.Uint64("number", m.Ordinal().Number))
	s.resumedAt, s.resumedFrom = s.b.opt.Now(), c.from+keepsUp.Milliseconds()
	s.noteSubscriptions()
	return nil
}

// restore brings back the subscriptions of a record. Its faults are errNotAsBefore,
// refusals of the rights, and the store's errors as refusals.
func (s *subscriber) restore(ctx context.Context, m *bayeux.Message, c *claimed) error {
	l := landing{since: time.UnixMilli(c.from), lost: c.left == nil}
	if c.left != nil {
		l.since = time.UnixMilli(c.left.At + 1)
		s.landedAt = c.left.At
		arrived, known := s.session.TakeUp(c.left.Wire, c.before.Owner != "", m)
		l.arrived, l.undecided = arrived || !known, !known
		l.places = placesByName(c.left.Places)
		l.catchups = c.left.Catchups
		if c.left.Lasts {
			s.broughtBefore(c.left, l.arrived)
		}
	}
	for _, p := range c.Patterns {
		if err := s.restorePattern(ctx, p, l); err != nil {
			return err
		}
	}
	for _, t := range c.Topics {
		if err := s.restoreTopic(ctx, t, l); err != nil {
			return err
		}
	}
	for i, u := range c.Unread {
		var p *placeRecord
		if i < len(l.catchups) {
			p = &l.catchups[i]
		}
		if err := s.restoreUnread(ctx, u, p, &l); err != nil {
			return err
		}
	}
	if !l.undecided {
		return nil
	}
	return s.giveUnderway(ctx, c)
}

// regain resolves a name that was granted before: the root must still be good, the
// level stays what it was, since a running subscription outlives its token.
func (s *subscriber) regain(ctx context.Context, text string, granted grade, user string) (target, channels.Pattern, error) {
	p, err := channels.ParsePattern(text)
	if err != nil {
		return target{}, p, fmt.Errorf("%w: %w", errNotAsBefore, err)
	}
	t, err := s.b.listen(ctx, p, asker{now: s.b.opt.Now(), granted: granted, user: user})
	return t, p, err
}

func (s *subscriber) restoreTopic(ctx context.Context, r topicRecord, land landing) error {
	t, p, err := s.regain(ctx, r.Channel, r.Grade, r.User)
	if err != nil {
		return err
	}
	if p.Wild() {
		return errNotAsBefore
	}
	tp, err := s.b.hub.holdTopic(ctx, t)
	if err != nil {
		return storeRefusal(err, s.b, "resume")
	}
	l := s.listener(&t)
	sm, taken := l.seamOf(tp)
	if !taken {
		s.b.hub.shardOf(tp.log).release(tp)
	}
	sm.Restore(r.Seam, time.Now())
	if len(r.Catchups) > 0 {
		sm.channels = maps.Clone(r.Catchups)
	}
	if !r.Exact {
		if p, named := land.place(r.Channel); named {
			if before, under := p.first(land.arrived); under {
				sm.Undeliver(before)
			}
		}
		if had := endOf(land.since.UnixMilli() - 1); land.lost && r.Seam.Resumes {
			// What was live then may still have been queued; what was before came by a
			// catch-up, which comes again.
			if had.Before(r.Seam.Start) {
				had = r.Seam.Start
			}
			sm.Undeliver(had)
		}
		return nil
	}
	sm.exact = true
	if r.Numbered {
		sm.number(l, tp)
	}
	if t.kind.name == presenceKind {
		if err := s.b.presence.greet(ctx, l); err != nil {
			return storeRefusal(err, s.b, "resume")
		}
	}
	add := func() { l.space.tree.Add(tp.name.Pattern(), l) }
	if !tp.limits.Keeps() {
		add()
		return nil
	}
	s.mend(l, tp, r.Seam.Start, &land, add)
	return nil
}

// restoreUnread begins a catch-up again that the client may not have had whole. Its
// end stays where it was.
func (s *subscriber) restoreUnread(ctx context.Context, r unreadRecord, p *placeRecord, land *landing) error {
	name, err := channels.Parse(r.Channel)
	if err != nil {
		return errNotAsBefore
	}
	base, _, is, err := catchup.Split(name)
	if err != nil {
		return errNotAsBefore
	}
	switch {
	case r.byID():
		s.restoreReplay(r, name, land)
		return nil
	case !is:
		return s.restoreSnapshot(ctx, name)
	}
	var first store.Position
	var under bool
	if p != nil {
		if first, under = p.first(land.arrived); !under && !p.Lags {
			if land.undecided && p.Sent != nil {
				s.unreadOf(r, p).ended = true // of which giveUnderway has the rest
			}
			return nil // all of it has arrived
		}
	}
	prefix, sub := "", base
	if channels.IsRoot(base.First()) {
		prefix, sub = "/"+base.First(), base.Tail()
	}
	for _, l := range s.listeners {
		if l.prefix != prefix {
			continue
		}
		for tp, sm := range l.seams {
			if tp.name != sub {
				continue
			}
			replay, _, err := catchup.NewReplay(ctx, s.b.opt.Store, tp.log, tp.limits, r.Since, r.UpTo)
			if err != nil {
				return storeRefusal(err, s.b, "resume")
			}
			replay.Skip(r.After)
			if under {
				replay.Begin(first)
			} else if p != nil && !replay.UpTo().Before(p.After) {
				replay.Advance(p.After)
			}
			began := replay.Position()
			if land.undecided && p != nil && p.Sent != nil {
				began = store.Position{} // of which giveUnderway has a part
			}
			f := l.flowOf(tp, sm.exact || l.wild(tp))
			f.replays = append(f.replays, replaying{channel: r.Channel, replay: replay, began: began, unread: s.unreadOf(r, p)})
			f.give()
			f.mu.Unlock()
			return nil
		}
	}
	return errNotAsBefore
}

// unreadOf notes a catch-up under way.
func (s *subscriber) unreadOf(r unreadRecord, p *placeRecord) *unread {
	u := &unread{unreadRecord: r, place: p}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory.unread = append(s.memory.unread, u)
	return u
}
