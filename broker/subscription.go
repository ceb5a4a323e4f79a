package broker

import (
	"context"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Subscribe is part of bayeux.SessionHandler: all of patterns or none.
func (s *subscriber) Subscribe(ctx context.Context, m *bayeux.Message, patterns []channels.Pattern) ([]byte, error) {
	if ext, again := s.carriedOut(m); again {
		return ext, nil
	}
	a, err := s.asker(m)
	if err != nil {
		return nil, err
	}
	targets := make([]target, len(patterns))
	for i, p := range patterns {
		if targets[i], err = s.b.subscription(ctx, p, a); err == nil {
			err = s.b.replayTarget(m, p, &targets[i])
		}
		if err == nil {
			err = afterTarget(m, p, &targets[i])
		}
		if err != nil {
			s.b.metrics.refused("subscribe").Inc()
			return nil, err
		}
	}
	if !s.room(len(targets)) {
		s.b.metrics.refused("subscriptions").Inc()
		return nil, &bayeux.Error{Code: 403, Args: []string{strconv.Itoa(s.b.limits().Subscriptions)}, Text: "Too many subscriptions"}
	}
	if a.message != nil {
		s.limit(a.message)
	}
	defer s.giveDue()
	var ext extent
	for _, past := range []bool{true, false} {
		for i := range targets {
			// Catch-ups come first, so that of one message the past comes wholly
			// before the live, whatever its order (product.md §4, seam).
			if past == targets[i].catchup.IsZero() {
				continue
			}
			if err := s.take(ctx, patterns[i].String(), &targets[i], &ext); err != nil {
				s.giveBack(ctx, patterns, targets)
				return nil, storeRefusal(err, s.b, "subscribe")
			}
		}
	}
	s.noteErrand(m, ext.json())
	if err := s.keep(ctx); err != nil {
		s.dropErrand(m)
		s.giveBack(ctx, patterns, targets)
		return nil, storeRefusal(err, s.b, "subscribe")
	}
	return ext.json(), nil
}

// giveDue lets the session read what a subscribe brought from the past, now that its record
// has been written, or is not going to be: who is refused gets nothing of it.
func (s *subscriber) giveDue() {
	for _, f := range s.due {
		f.mu.Lock()
		f.give()
		f.mu.Unlock()
	}
	s.due = nil
}

// keep writes the record before the client hears that its subscriptions changed.
func (s *subscriber) keep(ctx context.Context) error {
	s.noteSubscriptions()
	return s.save(ctx)
}

// giveBack undoes what a message that failed has brought, and nothing that stood
// before.
func (s *subscriber) giveBack(ctx context.Context, patterns []channels.Pattern, targets []target) {
	for i := range targets {
		if t := &targets[i]; t.begun == nil && t.fresh {
			s.quit(ctx, patterns[i])
		}
	}
	for i := range targets {
		if t := &targets[i]; t.begun != nil {
			s.giveBackCatchup(patterns[i].String(), t.begun)
		}
	}
	s.tidy()
	s.noteSubscriptions()
}

// giveBackCatchup undoes one catch-up; others of the same channel, which were granted
// before, go on.
func (s *subscriber) giveBackCatchup(channel string, u *unread) {
	for _, l := range s.listeners {
		for t, sm := range l.seams {
			if sm.channels[channel] == 0 {
				continue
			}
			if f := l.flow(t); f == nil || !f.forget(func(r *replaying) bool { return r.unread == u }) {
				s.dropUnread(u) // it has been read
			}
			s.dropCatchup(sm, channel, 1)
			t.mu.Lock()
			sm.Withdraw(u.was, u.UpTo)
			t.mu.Unlock()
			return
		}
	}
}

// extent adds up what the catch-ups of one subscribe will replay.
type extent struct {
	asked bool
	catchup.Extent
	last *store.Position // where the live subscription began, if the client asked
}

// json is the reply's ext (product.md §4, acknowledgement), nil without a catch-up.
func (x extent) json() []byte {
	switch {
	case !x.asked && x.last != nil:
		return []byte(`{"history":{"last":"` + x.last.String() + `"}}`)
	case !x.asked:
		return nil
	}
	b := append([]byte(`{"catchup":{"messages":`), strconv.FormatInt(x.Messages, 10)...)
	b = append(b, `,"truncated":`...)
	b = strconv.AppendBool(b, x.Truncated)
	return append(b, '}', '}')
}

// take carries out one subscription.
func (s *subscriber) take(ctx context.Context, channel string, t *target, x *extent) error {
	if t.tap != 0 {
		if err := s.takeTap(t); err != nil || t.feed == "" {
			return err
		}
	}
	l := s.listener(t)
	for i := range t.shared {
		err := s.take(ctx, channel, &t.shared[i], x)
		t.fresh = t.fresh || t.shared[i].fresh
		if err != nil {
			return err
		}
	}
	if !t.pattern.IsZero() {
		if _, again := l.patterns[t.pattern]; !again {
			r, err := s.b.hub.hold(ctx, roadFeed(t), l)
			if err != nil {
				return err
			}
			if s.b.hub.shared {
				if err := s.b.hub.levelUnder(ctx, roadFeed(t), t.pattern); err != nil {
					s.b.hub.letGo(r, l)
					return err
				}
			}
			t.fresh = true
			s.notePattern(channel, s.b.opt.Store.Now().UnixMilli())
			l.join(t.pattern, r, time.Now())
		}
		return nil
	}
	tp, err := s.b.hub.holdTopic(ctx, *t)
	if err != nil {
		return err
	}
	if tp.limits.Keeps() {
		// Also for what is live: what was acknowledged before is not (security.md §5.3,
		// rule 6), though this node may not have handed it out yet.
		if err := tp.level(ctx, s.b.opt.Store); err != nil {
			s.b.hub.shardOf(tp.log).release(tp)
			return err
		}
	}
	if !t.catchup.IsZero() {
		return s.takeCatchup(ctx, l, tp, channel, t, x)
	}
	before := l.seams[tp]
	wasLive := before != nil && before.Live() || l.wild(tp)
	if err := s.takeLive(ctx, l, tp, channel, t); err != nil {
		return err
	}
	if t.placed && tp.limits.Keeps() {
		x.notePlace(tp, l.seams[tp], wasLive)
	}
	if t.fresh && t.kind.name == presenceKind {
		return s.b.presence.greet(ctx, l)
	}
	return nil
}

func (s *subscriber) notePattern(name string, since int64) {
	if s.patternSince == nil {
		s.patternSince = make(map[string]int64)
	}
	s.patternSince[name] = since
}

// takeLive makes a topic live for a listener, from its seam on.
func (s *subscriber) takeLive(ctx context.Context, l *listener, tp *topic, channel string, t *target) error {
	sm, taken := l.seamOf(tp)
	if !taken {
		defer s.b.hub.shardOf(tp.log).release(tp)
	}
	if t.replay.past() {
		return s.takeReplay(ctx, l, tp, channel, t, sm)
	}
	if sm.exact {
		if t.replay.asked {
			sm.number(l, tp)
		}
		return nil
	}
	pre, err := s.preludeOf(ctx, tp, channel, t)
	if err != nil {
		return err
	}
	if t.replay.asked {
		sm.number(l, tp)
	}
	t.fresh = true
	sm.exact = true
	if f := l.begin(tp, sm, pre, time.Now()); f != nil {
		s.due = append(s.due, f)
	}
	return nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// takeCatchup begins a replay. From the moment its end is fixed, the topic's live
// entries wait behind it; the store is asked only after that, under flow.mu alone.
func (s *subscriber) takeCatchup(ctx context.Context, l *listener, tp *topic, channel string, t *target, x *extent) error {
	sm, taken := l.seamOf(tp)
	if !taken {
		defer s.b.hub.shardOf(tp.log).release(tp)
	}
	since := t.catchup.Since(s.b.opt.Store.Now(), t.longest())
	f := l.flowOf(tp, sm.Live())
	defer f.mu.Unlock()

	tp.mu.Lock()
	was := sm.Seam
	upTo := sm.Catchup(tp.last)
	tp.mu.Unlock()
	if sm.channels == nil {
		sm.channels = make(map[string]int)
	}
	sm.channels[channel]++

	replay, extent, err := s.b.newReplay(ctx, tp, t, since, upTo)
	if err == nil {
		r := unreadRecord{Channel: channel, Since: since, UpTo: upTo}
		if t.catchup.Count > 0 || !t.after.IsZero() {
			r.After = replay.Position()
		}
		t.begun = s.unreadOf(r, nil)
		t.begun.was = was
		f.replays = append(f.replays, replaying{channel: channel, replay: replay, began: replay.Position(), unread: t.begun})
		x.asked = true
		x.Messages += extent.Messages
		x.Truncated = x.Truncated || extent.Truncated
		s.b.metrics.replays.Inc()
	} else {
		s.dropCatchup(sm, channel, 1)
		tp.mu.Lock()
		sm.Withdraw(was, upTo)
		tp.mu.Unlock()
	}
	// Also after an error: the flow may have to bring the live entries level.
	s.due = append(s.due, f)
	return err
}

func (s *subscriber) dropCatchup(sm *seam, channel string, n int) {
	sm.channels[channel] -= n
	if sm.channels[channel] <= 0 {
		delete(sm.channels, channel)
	}
	sm.Forget(n, time.Now())
}

// Unsubscribe is part of bayeux.SessionHandler.
func (s *subscriber) Unsubscribe(ctx context.Context, m *bayeux.Message, patterns []channels.Pattern) error {
	if _, again := s.carriedOut(m); again || s.undone(m) {
		return nil
	}
	for _, p := range patterns {
		s.quit(ctx, p)
	}
	s.tidy()
	s.noteErrand(m, nil)
	if err := s.keep(ctx); err != nil {
		// It is written with the next round; a crash before would bring it back.
		s.b.log.Warn("an unsubscribe could not be kept", zap.Error(err))
	}
	return nil
}

// quit ends a subscription by the name it was made under, whether or not the root
// is still good.
func (s *subscriber) quit(ctx context.Context, p channels.Pattern) {
	if p.String() == tapPattern {
		s.quitTap()
	}
	prefix, sub := "", p
	if channels.IsRoot(p.First()) {
		prefix, sub = "/"+p.First(), p.Tail()
	}
	for _, l := range s.listeners {
		if l.prefix != prefix {
			continue
		}
		if sub.Wild() {
			l.leave(ctx, sub)
			continue
		}
		name, _ := sub.Name()
		for t, sm := range l.seams {
			if sm.exact && t.name == name {
				s.quitLive(ctx, l, t, sm)
			}
			if n := sm.channels[p.String()]; n > 0 {
				s.dropCatchup(sm, p.String(), n)
				if f := l.flow(t); f != nil {
					f.forget(func(r *replaying) bool { return r.channel == p.String() })
				}
			}
		}
	}
}

func (s *subscriber) quitLive(ctx context.Context, l *listener, t *topic, sm *seam) {
	sm.exact = false
	sm.plainFor(l, t)
	s.dropPrelude(l, t)
	s.stopLive(ctx, l, t, sm, func() { l.space.tree.Remove(t.name.Pattern(), l) })
}

// stopLive takes a topic's live entries from a listener, unless a wildcard goes on
// hearing them, and notes in the seam how far it got. remove runs while the topic
// stands still.
func (s *subscriber) stopLive(ctx context.Context, l *listener, t *topic, sm *seam, remove func()) {
	f := l.halt(t, func(f *flow) { f.land(ctx) })
	defer t.goOn(f)
	remove()
	if l.wild(t) {
		return
	}
	sm.Unsubscribe(l.heard(t, f), time.Now())
	if f != nil {
		f.lags = false
	}
}
