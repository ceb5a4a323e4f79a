package broker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// HandshakeExt is what every handshake is answered with where subscriptions by replay
// id are offered, unasked: clients look only at the reply (bayeux-cometd.md §3).
const HandshakeExt = `{"replay":true,"payload.format":true}`

// Ids of ext.replay that are no message's.
const (
	replayNew = -1 // only what comes
	replayAll = -2 // all that is kept, and what comes
)

// replayID is what a subscribe says with ext.replay; the zero replayID: nothing.
type replayID struct {
	asked bool
	id    int64
}

// past reports whether something is wanted that was said before.
func (r replayID) past() bool { return r.asked && r.id != replayNew }

// replayAsked returns the id that a subscribe has for a channel: its member of a map, or
// a number for all; each may be written as a string. Who uses ext.replay and does not
// name the channel wants only what comes.
func (b *Broker) replayAsked(m *bayeux.Message, channel string) (replayID, error) {
	if b.opt.NoReplay || len(m.Ext) == 0 {
		return replayID{}, nil
	}
	value := m.ExtValue("replay")
	switch {
	case value == nil, string(value) == "null", string(value) == "false":
		return replayID{}, nil
	case string(value) == "true":
		return replayID{asked: true, id: replayNew}, nil
	case value[0] == '{':
		of, err := replayEntry(value, channel)
		if err != nil {
			return replayID{}, errReplayForm(channel)
		}
		if of == nil {
			return replayID{asked: true, id: replayNew}, nil
		}
		value = of
	}
	text := string(value)
	if value[0] == '"' {
		var err error
		if text, err = exact.Text(value); err != nil {
			return replayID{}, errReplayForm(channel)
		}
	}
	id, err := exact.Int([]byte(text))
	switch {
	case err != nil:
		return replayID{}, errReplayForm(channel)
	case id < replayAll:
		return replayID{}, errReplayID(id)
	}
	return replayID{asked: true, id: id}, nil
}

// replayEntry returns a channel's member of a map of ids, nil if it has none.
func replayEntry(object []byte, channel string) ([]byte, error) {
	members, err := exact.Members(object, 2)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.Name == channel {
			return m.Value, nil
		}
	}
	return nil, nil
}

func errReplayForm(channel string) error {
	return &bayeux.Error{Code: 400, Args: []string{channel}, Text: "Replay id must be a whole number -1 or -2"}
}

// errReplayID is the refusal of an id, to the letter: clients match it, braces and blanks
// included (bayeux-cometd.md §3).
func errReplayID(id int64) error {
	return &bayeux.Error{Code: 400, Text: "The replayId {" + strconv.FormatInt(id, 10) +
		"} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to replay only new events."}
}

// replayTarget notes in a target from where it is subscribed, or refuses that: the past
// needs a plain channel, and the rights of a catch-up.
func (b *Broker) replayTarget(m *bayeux.Message, p channels.Pattern, t *target) error {
	r, err := b.replayAsked(m, p.String())
	if err != nil || !r.asked {
		return err
	}
	switch {
	case p.Wild(), !t.catchup.IsZero():
		if r.past() {
			return &bayeux.Error{Code: 400, Args: []string{p.String()}, Text: "Replay needs a plain channel"}
		}
		return nil // as without
	case r.past() && t.class.Catchup == 0:
		return bayeux.ErrForbidden(p.String())
	case r.past() && t.kind.catchup == 0:
		return errNoCatchup(p.String())
	}
	t.replay = r
	return nil
}

// replayStart returns the position after which a subscription by replay id begins: that
// of a record, or a made one.
func (s *subscriber) replayStart(ctx context.Context, tp *topic, t *target) (store.Position, error) {
	log, id := s.b.opt.Store, t.replay.id
	since := log.Now().Add(-t.longest())
	if id != replayAll {
		after, err := catchup.AfterNumber(ctx, log, tp.log, tp.limits, since, uint64(id))
		if errors.Is(err, catchup.ErrReplayID) {
			return after, errReplayID(id)
		}
		return after, err
	}
	page, err := log.Read(ctx, tp.log, store.Range{Since: since, Limits: tp.limits}, 1, 1)
	if err != nil {
		return store.Position{}, err
	}
	if len(page.Entries) == 0 {
		since = log.Now() // whatever comes
	} else {
		since = page.Entries[0].Position.Time()
	}
	return endOf(since.UnixMilli() - 1), nil
}

// takeReplay makes a topic live for a listener from a replay id on. It is a live
// subscription that lags from there, so that the past runs into the present without a
// seam. One that stands goes back to the id, and never forward: what it has not had yet
// it still gets (a client that reloads subscribes again from the last it knows).
func (s *subscriber) takeReplay(ctx context.Context, l *listener, tp *topic, channel string, t *target, sm *seam) error {
	from, err := s.replayStart(ctx, tp, t)
	if err != nil {
		return err
	}
	f := l.flowOf(tp, sm.Live())
	defer f.mu.Unlock()
	tp.mu.Lock()
	if sm.Live() && !f.lags && tp.last.Before(from) {
		from = tp.last
	}
	if !sm.Live() || !f.covers(from) {
		f.lags, f.cursor, f.since, f.from, f.forked = true, from, time.Time{}, store.Position{}, tp.forked
	}
	sm.Rewind(from)
	sm.numbered = true
	tp.numberFor(l)
	l.space.tree.Add(tp.name.Pattern(), l)
	upTo := tp.last
	tp.mu.Unlock()
	t.fresh, sm.exact = !sm.exact, true
	f.pastRead(false)
	if from.Before(upTo) {
		f.past = s.unreadOf(unreadRecord{Channel: channel, UpTo: upTo, After: from}, nil)
	}
	s.b.metrics.replays.Inc()
	s.due = append(s.due, f)
	return nil
}

// covers reports whether a flow is going to bring everything after from. The caller
// holds f.mu.
func (f *flow) covers(from store.Position) bool {
	return f.lags && f.cursor.Before(from) && !from.Time().Before(f.since) && !from.Before(f.from)
}

// number has a topic's messages go to a listener with their replay ids.
func (sm *seam) number(l *listener, t *topic) {
	sm.numbered = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.numberFor(l)
}

// numberFor has a topic's messages go to a listener with their replay ids. The caller
// holds t.mu.
func (t *topic) numberFor(l *listener) {
	if t.numbered == nil {
		t.numbered = make(map[*listener]struct{})
	}
	t.numbered[l] = struct{}{}
}

// plainFor is the opposite of numberFor, for a seam that ends or loses its subscription.
func (sm *seam) plainFor(l *listener, t *topic) {
	if !sm.numbered {
		return
	}
	sm.numbered = false
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.numbered, l)
}

// isNumbered reports whether messages go to a listener with their replay ids. The caller
// holds t.mu.
func (t *topic) isNumbered(l *listener) bool {
	_, numbered := t.numbered[l]
	return numbered
}

// numbers reports whether a channel, by the name that the client uses, is subscribed by
// replay id.
func (s *subscriber) numbers(channel channels.Name) bool {
	for _, l := range s.listeners {
		for t, sm := range l.seams {
			if sm.numbered && l.prefix+t.name.String() == channel.String() {
				return true
			}
		}
	}
	return false
}

// pastRead lets the record forget a replay that was read whole, or is not wanted any
// more. The caller holds f.mu.
func (f *flow) pastRead(wanted bool) {
	switch {
	case f.past == nil:
	case !wanted:
		f.listener.sub.dropUnread(f.past)
		f.past = nil
	case !f.cursor.Before(f.past.UpTo):
		f.listener.sub.replayed(f.past)
		f.past = nil
	}
}

// restoreReplay takes up a replay of which the client may not have had everything:
// where it is not known how far it came, from its beginning.
func (s *subscriber) restoreReplay(r unreadRecord, name channels.Name, land *landing) {
	for _, l := range s.listeners {
		for tp, sm := range l.seams {
			if l.prefix+tp.name.String() != name.String() || !sm.exact || !sm.numbered {
				continue
			}
			f := l.flowOf(tp, true)
			if _, named := land.place(name.String()); !named {
				f.cursor, f.since, f.from = r.After, time.Time{}, store.Position{}
			}
			if f.past == nil {
				f.past = s.unreadOf(r, nil)
			}
			f.give()
			f.mu.Unlock()
			return
		}
	}
}
