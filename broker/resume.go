package broker

import (
	"context"
	"encoding/json"
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

// loadWatermark reads how far the node had come before it stopped.
func (b *Broker) loadWatermark(ctx context.Context) error {
	v, err := b.opt.Store.Get(ctx, tableMark, watermarkKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(v.Data, &b.before)
	}
	if err != nil {
		return fmt.Errorf("broker: watermark: %w", err)
	}
	return nil
}

// Resume is part of bayeux.Resumer: the session takes its subscriptions up where it
// was, and what its client may not have had comes again.
func (b *Broker) Resume(ctx context.Context, session *bayeux.Session, _ *bayeux.Message) (bayeux.SessionHandler, error) {
	r, err := b.loadSession(ctx, session.ID())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, bayeux.ErrNoSession
	case err != nil:
		return nil, storeRefusal(err, b, "resume")
	}
	s := b.newSubscriber(session, nil)
	if r.Identity != nil {
		if s.identity = r.Identity.identity(b.tokens); s.identity == nil {
			return nil, bayeux.ErrNoSession
		}
	}
	s.memory.record = *r
	if err := s.restore(ctx, r); err != nil {
		s.Close(bayeux.ReasonKicked)
		var refusal *bayeux.Error
		if errors.As(err, &refusal) && refusal.Code >= 500 {
			return nil, refusal
		}
		b.log.Debug("session not resumed", zap.Error(err))
		return nil, bayeux.ErrNoSession
	}
	s.resumedAt = b.opt.Now()
	s.noteSubscriptions()
	b.remember(s)
	return s, nil
}

// Forward is part of bayeux.Resumer: a session that is not here lives nowhere.
func (b *Broker) Forward(context.Context, bayeux.Peer, *bayeux.Message) ([]byte, error) {
	return nil, bayeux.ErrHere
}

// restore brings back the subscriptions of a record. Its faults are errNotAsBefore,
// refusals of the rights, and the store's errors as refusals.
func (s *subscriber) restore(ctx context.Context, r *sessionRecord) error {
	from := r.Behind
	if from == 0 {
		from = s.b.before.At - keepsUp.Milliseconds()
	}
	s.memory.safe = from
	since := time.UnixMilli(from)
	for _, p := range r.Patterns {
		if err := s.restorePattern(ctx, p, since); err != nil {
			return err
		}
	}
	for _, t := range r.Topics {
		if err := s.restoreTopic(ctx, t, since); err != nil {
			return err
		}
	}
	for _, u := range r.Unread {
		if err := s.restoreUnread(ctx, u); err != nil {
			return err
		}
	}
	return nil
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

func (s *subscriber) restoreTopic(ctx context.Context, r topicRecord, since time.Time) error {
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
		return nil
	}
	sm.exact = true
	add := func() { l.space.tree.Add(tp.name.Pattern(), l) }
	if !tp.limits.Keeps() {
		add()
		return nil
	}
	s.mend(l, tp, r.Seam.Start, since, add)
	return nil
}

// mend lets a listener hear a topic from since on, but not before after, and then
// what is live. add puts it into the tree, while the topic stands still.
func (s *subscriber) mend(l *listener, tp *topic, after store.Position, since time.Time, add func()) {
	f := l.flowOf(tp, true)
	defer f.mu.Unlock()
	tp.mu.Lock()
	f.lags, f.cursor, f.since, f.forked = true, after, since, 0
	if add != nil {
		add()
	}
	tp.mu.Unlock()
	f.give()
}

// restoreUnread begins a catch-up again that the client may not have had whole. Its
// end stays where it was.
func (s *subscriber) restoreUnread(ctx context.Context, r unreadRecord) error {
	name, err := channels.Parse(r.Channel)
	if err != nil {
		return errNotAsBefore
	}
	base, _, is, err := catchup.Split(name)
	if err != nil {
		return errNotAsBefore
	}
	if !is {
		return s.restoreSnapshot(ctx, name)
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
			f := l.flowOf(tp, sm.exact)
			f.replays = append(f.replays, replaying{channel: r.Channel, replay: replay, unread: s.unreadOf(r)})
			f.give()
			f.mu.Unlock()
			return nil
		}
	}
	return errNotAsBefore
}

// unreadOf notes a catch-up under way.
func (s *subscriber) unreadOf(r unreadRecord) *unread {
	u := &unread{unreadRecord: r}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory.unread = append(s.memory.unread, u)
	return u
}
