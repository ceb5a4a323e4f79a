package broker

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// giveUnderway takes what was on its way to the client along, until its next connect tells
// whether it has arrived.
func (s *subscriber) giveUnderway(ctx context.Context, c *claimed) error {
	ds, err := s.underway(ctx, c)
	if err != nil {
		return err
	}
	s.session.Underway(ds)
	queued, _ := s.session.Progress()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.memory.unread {
		if u.ended {
			u.queued = queued
		}
	}
	return nil
}

// underway returns what was on its way to the client when its session left where it lived
// before, from the logs: everything from the first that was sent on each channel to the
// first that was not. It is asked for when a session comes here by something that does
// not tell whether that has arrived (bayeux.Session.Underway), or says that it has not. Of
// each channel it is in the order in which it was sent.
func (s *subscriber) underway(ctx context.Context, c *claimed) (all []*bayeux.Delivery, err error) {
	lives, err := s.livesUnderway(ctx, c)
	if err != nil {
		return nil, err
	}
	for i, p := range c.left.Catchups {
		if p.Sent == nil || i >= len(c.Unread) {
			continue
		}
		u := &c.Unread[i]
		ds, err := s.sentOn(ctx, u.Channel, stretch{from: *p.Sent, upTo: p.After, before: p.Queued})
		if err != nil {
			return nil, err
		}
		base, _ := liveOf(u.Channel)
		before := lives[base].upTo(p.Live)
		all, lives[base] = append(all, before...), lives[base][len(before):]
		all = append(all, ds...)
	}
	for _, p := range c.left.Places {
		all, lives[p.Channel] = append(all, lives[p.Channel]...), nil
	}
	return all, nil
}

// liveOf returns the name of what is live of a catch-up's channel; false if it is none.
func liveOf(channel string) (live string, past bool) {
	live, _, past = strings.Cut(channel, "/"+catchup.Word+"/")
	return live, past
}

// line is what was sent of one channel, in order.
type line []*bayeux.Delivery

// upTo returns the first of a line, as far as p.
func (l line) upTo(p store.Position) line {
	n := slices.IndexFunc(l, func(d *bayeux.Delivery) bool {
		at, err := store.ParsePosition(d.ID())
		return err != nil || p.Before(at)
	})
	if n < 0 {
		return l
	}
	return l[:n]
}

// livesUnderway is underway for what was live, by channel.
func (s *subscriber) livesUnderway(ctx context.Context, c *claimed) (map[string]line, error) {
	lives := map[string]line{}
	for _, p := range c.left.Places {
		if p.Sent == nil {
			continue
		}
		of := stretch{from: *p.Sent, upTo: p.After, before: p.Queued}
		switch {
		case p.Queued != nil && p.After.Before(*p.Queued): // what follows that was not read yet
			of.upTo = *p.Queued
		case p.After.IsZero(): // it spoke too long ago to be named
			of.upTo = endOf(c.left.At)
			if p.Since != 0 {
				of.upTo = endOf(p.Since - 1) // the rest is a flow's
			}
		}
		n := slices.IndexFunc(c.Topics, func(t topicRecord) bool { return t.Channel == p.Channel && !t.Seam.Live })
		if n >= 0 {
			// See covers: positions are those before the first.
			of.after, of.upTo = true, c.Topics[n].Seam.End
			if p.Queued != nil {
				of.upTo, of.before = *p.Queued, nil
			}
		}
		ds, err := s.sentOn(ctx, p.Channel, of)
		if err != nil {
			return nil, err
		}
		lives[p.Channel] = append(lives[p.Channel], ds...)
	}
	return lives, nil
}

// stretch is what of a log was sent: up to upTo, and before before where that is not nil.
type stretch struct {
	from   store.Position
	after  bool // but not from itself
	upTo   store.Position
	before *store.Position
}

func (x *stretch) has(p store.Position) bool {
	return !p.Before(x.from) && !(x.after && p == x.from) && !x.upTo.Before(p) && (x.before == nil || p.Before(*x.before))
}

// sentOn returns what of a stretch a channel still has, under the name that the client
// uses.
func (s *subscriber) sentOn(ctx context.Context, channel string, of stretch) (ds []*bayeux.Delivery, err error) {
	name, err := channels.Parse(channel)
	if err != nil {
		return nil, errNotAsBefore
	}
	base, _, replay, err := catchup.Split(name)
	if err != nil {
		return nil, errNotAsBefore
	}
	if !replay {
		base = name
	}
	as := form{replay: replay, numbered: !replay && s.numbers(base), kept: true}
	t, known, err := s.heardAs(ctx, base)
	if !known || of.upTo.IsZero() {
		return nil, err
	}
	span := store.Range{Since: of.from.Time(), UpTo: of.upTo, Limits: t.kind.limits}
	span.Limits.Length = 0 // what was sent counts, though it may have left the channel since
	for {
		page, err := s.b.opt.Store.Read(ctx, t.log, span, pageMessages, pageBytes)
		if err != nil {
			return nil, storeRefusal(err, s.b, "resume")
		}
		for _, e := range page.Entries {
			if !of.has(e.Position) {
				continue
			}
			if m, err := catchup.Decode(e); err == nil {
				ds = append(ds, newDelivery(channel, m, as))
			}
		}
		if !page.More || len(page.Entries) == 0 {
			return ds, nil
		}
		span.After = page.Entries[len(page.Entries)-1].Position
	}
}

// heardAs returns the target of a channel that the session hears or has heard, by the
// name that its client uses. An error is the store's, as a refusal: of what it may have
// heard nothing is given up for that.
func (s *subscriber) heardAs(ctx context.Context, base channels.Name) (t target, known bool, _ error) {
	prefix := ""
	if channels.IsRoot(base.First()) {
		prefix = "/" + base.First()
	}
	for _, l := range s.listeners {
		if l.prefix != prefix {
			continue
		}
		t, _, err := s.regain(ctx, base.String(), grade(l.grade.Load()), l.user)
		var refusal *bayeux.Error
		if err != nil && (!errors.As(err, &refusal) || refusal.Code >= 500) && !errors.Is(err, errNotAsBefore) {
			return target{}, false, err
		}
		if err == nil && t.feed == l.space.feed && t.kind != nil && t.kind.limits.Keeps() {
			return t, true, nil
		}
	}
	return target{}, false, nil
}
