package broker

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// flow is what one listener still has to read of one topic: the catch-ups it
// asked for, in order, and then, if its live subscription lags, the entries from
// where that stopped until it is level with the topic again (decided.md 7, 13).
// It is a bayeux.Puller: the transport reads it at the client's speed, and while
// it exists nothing live of the topic is queued for the listener.
//
// Lock order: flow.mu → store → topic.mu → subscriber.mu. mu is held through
// store reads on purpose: it is what makes a new catch-up wait for the page that
// is being read, and nothing live ever waits for it.
type flow struct {
	listener *listener
	topic    *topic

	mu      sync.Mutex
	replays []replaying
	prelude *prelude       // due before anything live
	begun   *unread        // of a prelude that was handed over with the last page
	past    *unread        // of a replay by id, until all of that was read
	lags    bool           // the live subscription waits behind this flow
	cursor  store.Position // newest live position handed over, while it lags
	since   time.Time      // nothing older is due; zero: no bound
	from    store.Position // nor anything before it
	least   store.Position // the live subscription began after it; zero: not known
	ended   bool           // no longer among the listener's flows
	given   bool           // the session has it
	level   bool           // all before cursor was handed over live, since the session came here
	forked  uint64         // of the topic's forks, those before need not be looked at
	adrift  store.Position // a cursor that is lost and read on from
	asked   uint64         // how often the topic will have looked when it has for us
}

type replaying struct {
	channel string // X/catchup/6h as subscribed: Faye needs it to find the callback
	replay  *catchup.Replay
	began   store.Position // where replay stood before anything was read
	unread  *unread
}

var _ bayeux.Puller = (*flow)(nil)

// give hands the flow to its session, once. One that has too many to read for the
// rest of its life cannot be served without a loss: it ends, and its client begins
// anew. The caller holds f.mu, or nobody else knows f yet.
func (f *flow) give() {
	if f.given {
		return
	}
	f.given = true
	if s := f.listener.sub.session; !s.Replay(f) {
		s.Close(bayeux.ReasonKicked)
	}
}

// Pull is part of bayeux.Puller.
func (f *flow) Pull(ctx context.Context, limit int) ([]*bayeux.Delivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun != nil {
		f.listener.sub.replayed(f.begun)
		f.begun = nil
	}
	for !f.ended {
		if len(f.replays) > 0 {
			page, err := f.pullReplay(ctx, limit)
			if len(page) > 0 || err != nil {
				return page, err
			}
			continue
		}
		if f.prelude != nil {
			d, err := f.pullPrelude(ctx)
			if d != nil || err != nil {
				return d, err
			}
		}
		page, level, err := f.pullLive(ctx, limit)
		if errors.Is(err, errLost) {
			return nil, nil // asked again in a moment
		}
		if len(page) > 0 || err != nil {
			return page, err
		}
		if level {
			break
		}
	}
	return nil, io.EOF
}

// pullReplay reads the next page of the first catch-up, or takes it away at its end.
func (f *flow) pullReplay(ctx context.Context, limit int) ([]*bayeux.Delivery, error) {
	r := f.replays[0]
	b := f.listener.sub.b
	from := r.replay.Position()
	limit = min(limit, roundUp(from))
	load := func() (sheet, error) { return b.readSheet(ctx, r, limit) }
	var s sheet
	err := io.EOF
	switch {
	case r.replay.Ended():
	case limit < roundUp(from):
		s, err = load() // less room than a page has
	default:
		s, err = b.pages.get(ctx, pageKey{log: f.topic.log, channel: r.channel, after: from}, r.replay.UpTo(), load)
	}
	if errors.Is(err, io.EOF) {
		f.listener.sub.replayed(r.unread)
		f.replays = f.replays[1:]
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.replay.Advance(s.last)
	ds := s.upTo(r.replay.UpTo())
	b.metrics.replayed.Add(float64(len(ds)))
	return ds, nil
}

// readSheet reads the next of a catch-up, at most limit messages, and encodes it.
func (b *Broker) readSheet(ctx context.Context, r replaying, limit int) (sheet, error) {
	entries, err := r.replay.Next(ctx, limit)
	if err != nil {
		return sheet{}, err
	}
	s := sheet{
		deliveries: make([]*bayeux.Delivery, 0, len(entries)), at: make([]store.Position, 0, len(entries)),
		last: r.replay.Position(), whole: !r.replay.Ended(),
	}
	if !s.whole {
		s.last = r.replay.UpTo()
	}
	for _, e := range entries {
		if d := b.encode(r.channel, e, form{replay: true, kept: true}); d != nil {
			s.deliveries, s.at = append(s.deliveries, d), append(s.at, e.Position)
		}
	}
	return s, nil
}

// pullLive reads what the lagging live subscription has not had. level is true
// when it was up with the topic: from then on live entries are queued again.
func (f *flow) pullLive(ctx context.Context, limit int) (page []*bayeux.Delivery, level bool, err error) {
	t := f.topic
	f.pastRead(f.lags)
	t.mu.Lock()
	last, numbered := t.last, t.isNumbered(f.listener)
	f.turnBack()
	ahead := f.lags && last.Before(f.cursor)
	waits := f.lags && !f.from.IsZero() && last.Before(f.from)
	if !ahead && !waits && (!f.lags || !f.cursor.Before(last)) {
		f.end()
		t.mu.Unlock()
		return nil, true, nil
	}
	t.mu.Unlock()
	switch {
	case ahead:
		return nil, false, f.overtaken(ctx)
	case waits:
		return nil, false, f.early(ctx)
	}
	span := t.after(f.cursor, f.since)
	span.UpTo = last
	read, err := f.listener.sub.b.opt.Store.Read(ctx, t.log, span, limit, catchup.PageBytes)
	if err != nil {
		return nil, false, err
	}
	if read.Forked && t.mayFork(f.cursor) && f.cursor != f.adrift {
		return nil, false, f.astray()
	}
	f.asked = 0
	if n := len(read.Entries); n > 0 {
		f.cursor = read.Entries[n-1].Position
	}
	if !read.More {
		f.cursor = last // what is not there any more has expired or was redacted
	}
	due := read.Entries
	for len(due) > 0 && due[0].Position.Before(f.from) {
		due = due[1:] // the client has it: since counts in ms
	}
	channel := f.listener.prefix + t.name.String()
	for _, e := range due {
		if d := f.listener.sub.b.encode(channel, e, form{numbered: numbered, kept: true}); d != nil {
			page = append(page, d)
		}
	}
	f.listener.sub.b.metrics.mended.Add(float64(len(page)))
	return page, false, nil
}

// overtaken is called when the session comes from another node that was further than
// this one is. What this one still has to hand out up to there, it has had: the flow
// stays until the topic has come so far. A position that is lost is found out about.
func (f *flow) overtaken(ctx context.Context) error {
	t := f.topic
	if made(f.cursor) {
		head, err := f.listener.sub.b.opt.Store.Head(ctx, t.log, t.limits)
		if err == nil && head.Last.Before(f.cursor) {
			f.cursor = head.Last // there is nothing between
		}
		if err != nil {
			return err
		}
		return t.catchUp(ctx, head.Last)
	}
	read, err := f.listener.sub.b.opt.Store.Read(ctx, t.log, t.after(f.cursor, time.Time{}), 1, 1)
	switch {
	case err != nil:
		return err
	case read.Forked && t.mayFork(f.cursor):
		return f.astray()
	}
	return t.catchUp(ctx, f.cursor)
}

// early is called when the topic has not come to the first position that is due, where
// the session comes from a node that was further: what it hands out up to there the
// session has had. A position that is not there any more gives way to the next.
func (f *flow) early(ctx context.Context) error {
	t, log := f.topic, f.listener.sub.b.opt.Store
	head, err := log.Head(ctx, t.log, t.limits) // before the look at what there is
	if err != nil {
		return err
	}
	read, err := log.Read(ctx, t.log, store.Range{Since: f.from.Time(), Limits: t.limits}, pageMessages, pageBytes)
	if err != nil {
		return err
	}
	due := slices.IndexFunc(read.Entries, func(e store.Entry) bool { return !e.Position.Before(f.from) })
	switch {
	case due >= 0:
		f.from = read.Entries[due].Position
		return t.catchUp(ctx, f.from)
	case !read.More: // nothing of what there is
		f.cursor, f.from, f.since = head.Last, store.Position{}, time.Time{}
		return nil
	}
	t.shard.missed(t)
	return errLost // more in one ms than a page
}

// land moves the cursor of a flow that lags, and that has not begun since its session
// came here, to where nothing before is due: what is kept of it then is the cursor
// alone. The caller holds f.mu.
func (f *flow) land(ctx context.Context) {
	if !f.lags {
		return
	}
	if since := f.since.UnixMilli(); !f.since.IsZero() && f.cursor.MS() < since {
		f.cursor = endOf(since - 1)
	}
	if f.cursor.Before(f.from) {
		f.cursor = f.listener.sub.b.before(ctx, f.topic, f.from)
	}
	f.since, f.from = time.Time{}, store.Position{}
}

// encode makes the delivery of an entry, nil if it is no message.
func (b *Broker) encode(channel string, e store.Entry, as form) *bayeux.Delivery {
	m, err := catchup.Decode(e)
	if err != nil {
		b.metrics.badRecords.Inc()
		return nil
	}
	return newDelivery(channel, m, as)
}

// end takes the flow away from its listener. The caller holds f.mu and topic.mu,
// so that no entry is handed out between.
func (f *flow) end() {
	if f.past != nil { // the store lost its end
		f.listener.sub.replayed(f.past)
		f.past = nil
	}
	f.ended = true
	f.listener.removeFlow(f)
}

// forget takes catch-ups away, and reports whether there were any; it waits for a page
// that is being read.
func (f *flow) forget(gone func(*replaying) bool) (found bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.replays[:0]
	for i := range f.replays {
		r := f.replays[i]
		if !gone(&r) {
			kept = append(kept, r)
			continue
		}
		found = true
		f.listener.sub.dropUnread(r.unread)
	}
	f.replays = kept
	return found
}
