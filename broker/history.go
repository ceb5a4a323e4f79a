package broker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// HistoryQuery asks for a stretch of a channel's history (product.md §9;
// decided.md 25). At most one of Since, After and Before is set; without any it is
// the newest messages.
type HistoryQuery struct {
	// ObjectID is the object; empty: Channel is an open channel.
	ObjectID string
	// Channel is the path below the object's root, such as "chat", or the whole
	// name of an open channel, such as "/demo/x".
	Channel string
	// Since is an interval of catch-up's grammar ("6h"), ms since 1970, or RFC 3339.
	Since string
	// After and Before are message ids: what follows, or what comes before.
	After, Before string
	// Limit is the most messages of a page, 1 to 1000.
	Limit int
}

// HistoryMessage is one message of a history.
type HistoryMessage struct {
	ID      string
	Time    int64  // the store's clock at the append, in ms since 1970
	Channel string // as in the query
	Data    []byte // as it was published, byte for byte
	Ext     []byte // what is passed on of the publisher's ext, or nil
}

// HistoryPage is a stretch in the order of publishing.
type HistoryPage struct {
	Messages []HistoryMessage
	// Next is where the next page begins, "" when there is none: the After of a
	// page that went forward, the Before of one that went back.
	Next string
	// Truncated: something asked for is not kept any more.
	Truncated bool
}

// History reads one page: forward from Since or After, back from Before or the end.
// It holds at most Limit messages and about 1 MiB. Errors: *Error with 4000 (query,
// cursor), 4001, 4003 (rights), 4004 (no object, or no history), 4013 (since too
// long ago), and the store's.
func (b *Broker) History(ctx context.Context, who *Identity, q HistoryQuery) (HistoryPage, error) {
	t, err := b.historyTarget(ctx, who, q)
	if err != nil {
		b.metrics.refused("history").Inc()
		return HistoryPage{}, err
	}
	return b.historyPage(ctx, t, q)
}

// historyPage is History for a channel that the asker may read.
func (b *Broker) historyPage(ctx context.Context, t target, q HistoryQuery) (HistoryPage, error) {
	w, err := b.walkHistory(ctx, t, q)
	if err != nil {
		return HistoryPage{}, err
	}
	page := HistoryPage{Truncated: w.truncated}
	if q.Since == "" && q.After == "" {
		entries, older, err := w.newest(ctx, q.Limit)
		if err != nil {
			return HistoryPage{}, err
		}
		page.Messages = w.messages(entries)
		if older && len(entries) > 0 {
			page.Next = entries[0].Position.String()
		}
		return page, nil
	}
	entries, err := w.next(ctx, q.Limit)
	if err != nil && !errors.Is(err, io.EOF) {
		return HistoryPage{}, err
	}
	page.Messages = w.messages(entries)
	if n := len(entries); n > 0 && !w.replay.Ended() {
		page.Next = entries[n-1].Position.String()
	}
	return page, nil
}

// WalkHistory reads everything that q names, whatever its Limit, in the order of
// publishing, up to the message that is the newest now. It calls yield with one page
// after the other, at least one, each of at most 1,000 messages and about 1 MiB, and
// reads the next when yield has returned; an error of yield ends it. Next is not
// set. Errors as History, before the first page, or the store's or yield's.
func (b *Broker) WalkHistory(ctx context.Context, who *Identity, q HistoryQuery, yield func(HistoryPage) error) error {
	t, err := b.historyTarget(ctx, who, q)
	if err != nil {
		b.metrics.refused("history").Inc()
		return err
	}
	w, err := b.walkHistory(ctx, t, q)
	if err != nil {
		return err
	}
	page := HistoryPage{Truncated: w.truncated}
	for first := true; ; first = false {
		entries, err := w.next(ctx, pageMessages)
		if errors.Is(err, io.EOF) && !first {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		page.Messages = w.messages(entries)
		if err := yield(page); err != nil {
			return err
		}
	}
}

// historyReads bounds the pages that are read at the same time, so that readers of
// histories cannot take all of the store. A slot is held while a page is read, not
// while it is sent.
const historyReads = 16

// slots are so many places, to be held for a while.
type slots chan struct{}

func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) giveBack() { <-s }

// historyWalk is a stretch of a history and a place in it.
type historyWalk struct {
	b         *Broker
	target    target
	channel   string
	since     time.Time
	upTo      store.Position // zero: an empty stretch
	truncated bool
	replay    *catchup.Replay
}

func (b *Broker) walkHistory(ctx context.Context, t target, q HistoryQuery) (w *historyWalk, err error) {
	now := b.opt.Store.Now()
	w = &historyWalk{b: b, target: t, channel: q.Channel, since: now.Add(-t.kind.catchup)}
	if q.Since != "" {
		if w.since, err = sinceTime(q.Since, now, t.kind.catchup); err != nil {
			return nil, err
		}
	}
	after, err := w.cursor(ctx, "after", q.After)
	if err != nil {
		return nil, err
	}
	before, err := w.cursor(ctx, "before", q.Before)
	if err != nil {
		return nil, err
	}
	head, err := b.opt.Store.Head(ctx, t.log, t.kind.limits)
	if err != nil {
		return nil, err
	}
	if w.upTo = head.Last; !before.IsZero() && !w.upTo.Before(before) {
		w.upTo = catchup.JustBefore(before)
	}
	var x catchup.Extent
	w.replay, x, err = catchup.NewReplay(ctx, b.opt.Store, t.log, t.kind.limits, w.since, w.upTo)
	if err != nil {
		return nil, err
	}
	w.replay.Skip(after)
	w.truncated = w.truncated || x.Truncated && q.Since != ""
	return w, nil
}

// next returns the next entries, or none with io.EOF at the end.
func (w *historyWalk) next(ctx context.Context, limit int) ([]store.Entry, error) {
	if err := w.b.reads.take(ctx); err != nil {
		return nil, err
	}
	defer w.b.reads.giveBack()
	return w.replay.Next(ctx, limit)
}

func (w *historyWalk) newest(ctx context.Context, limit int) ([]store.Entry, bool, error) {
	if w.upTo.IsZero() {
		return nil, false, nil
	}
	if err := w.b.reads.take(ctx); err != nil {
		return nil, false, err
	}
	defer w.b.reads.giveBack()
	return catchup.Newest(ctx, w.b.opt.Store, w.target.log, w.target.kind.limits, w.since, w.upTo, limit)
}

func (w *historyWalk) messages(entries []store.Entry) []HistoryMessage {
	all := make([]HistoryMessage, 0, len(entries))
	for _, e := range entries {
		m, err := catchup.Decode(e)
		if err != nil {
			w.b.metrics.badRecords.Inc()
			continue
		}
		all = append(all, HistoryMessage{ID: e.Position.String(), Time: e.Position.MS(), Channel: w.channel, Data: m.Data, Ext: m.Ext})
	}
	return all
}

// cursor reads a message id and checks that it is one of the channel's.
func (w *historyWalk) cursor(ctx context.Context, name, text string) (store.Position, error) {
	if text == "" {
		return store.Position{}, nil
	}
	p, err := store.ParsePosition(text)
	if err != nil {
		return p, &Error{Result: 4000, Text: name + " must be a message id"}
	}
	trimmed, err := catchup.CheckCursor(ctx, w.b.opt.Store, w.target.log, w.target.kind.limits, w.since, p)
	if errors.Is(err, catchup.ErrCursor) {
		return p, &Error{Result: 4000, Text: name + " is not a message of this channel"}
	}
	w.truncated = w.truncated || trimmed
	return p, err
}

// sinceTime reads Since; most is how long ago it may be.
func sinceTime(text string, now time.Time, most time.Duration) (time.Time, error) {
	var since time.Time
	if d, err := catchup.ParseInterval(text); err == nil && d.Age > 0 {
		since = now.Add(-d.Age)
	} else if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= 0 && ms < 1<<48 {
		since = time.UnixMilli(ms)
	} else if since, err = time.Parse(time.RFC3339, text); err != nil {
		return since, &Error{Result: 4000, Text: "since must be an interval such as 6h, 30m or 45s, ms since 1970, or a time such as 2026-11-21T12:00:00Z"}
	}
	// A time in whole seconds or ms may be rounded down.
	if now.Sub(since) > most+time.Second {
		return since, &Error{Result: 4013, Text: "since is too long ago; this channel goes back " + wholeUnits(most)}
	}
	return since, nil
}

// historyTarget resolves the channel of a query for who may catch up on it, or
// refuses it (decided.md 25).
func (b *Broker) historyTarget(ctx context.Context, who *Identity, q HistoryQuery) (t target, err error) {
	if q.ObjectID == "" {
		t, err = b.historyOpen(q.Channel)
	} else {
		t, err = b.historyBelow(ctx, who, q)
	}
	if err == nil && t.kind.catchup == 0 {
		err = &Error{Result: 4004, Text: "channel: this channel has no history"}
	}
	return t, err
}

func (b *Broker) historyBelow(ctx context.Context, who *Identity, q HistoryQuery) (target, error) {
	if who == nil || who.App == nil {
		return target{}, &Error{Result: 4001, Text: "unauthorized: a token or the server key is required"}
	}
	level := who.LevelFor(who.App.ID, q.ObjectID)
	if level < RoleViewer {
		return target{}, &Error{Result: 4003, Text: "forbidden: the credential does not allow this here"}
	}
	name, err := channels.Parse("/" + q.Channel)
	if err != nil || catchup.Reserved(name) {
		return target{}, &Error{Result: 4000, Text: "channel: a path below the object's root is required, such as chat"}
	}
	k := b.kinds.of(name)
	if k == nil {
		return target{}, &Error{Result: 4000, Text: "channel: there is no such channel below an object"}
	}
	if level < k.subscribe {
		return target{}, &Error{Result: 4003, Text: "channel: the credential does not allow to read it"}
	}
	object, err := b.objects.get(ctx, who.App, q.ObjectID)
	if err != nil {
		return target{}, err
	}
	t := target{feed: feedOf(object), object: object, name: name, kind: k}
	if b.locate(&t, asker{message: who, now: b.opt.Now()}, name.String()) != nil {
		return target{}, &Error{Result: 4004, Text: "channel: the object has no owner_ref, or the credential no user_ref"}
	}
	return t, nil
}

func (b *Broker) historyOpen(channel string) (target, error) {
	name, err := channels.Parse(channel)
	if err != nil || len(channel) > b.limits().Channel || name.Segments() > b.limits().Segments || catchup.Reserved(name) {
		return target{}, &Error{Result: 4000, Text: "channel: the whole name of an open channel is required, such as /demo/x"}
	}
	if t, err := b.openTarget(name); err == nil && !channels.IsRoot(name.First()) && name.First() != "meta" && name.First() != "service" {
		return t, nil
	}
	return target{}, &Error{Result: 4003, Text: "channel: not an open channel; those of objects are read by /v1/objects/<id>/history"}
}
