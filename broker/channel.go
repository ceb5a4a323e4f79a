package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// Bounds of a look at channels: how many are gone through for one page, how many messages
// are read to tell how large they are, and how much of the newest is shown.
const (
	maxSpoken    = 2000
	maxChannels  = 200
	sampleCount  = 20
	sampleBytes  = 64 << 10
	previewBytes = 240
	maxParts     = 240
)

// ChannelName is a channel as people know it.
type ChannelName struct {
	// App and ObjectID are those of the object; both empty: it is an open channel.
	App      string `json:"app"`
	ObjectID string `json:"object"`
	// Channel is the path below the object's root, or the whole name of an open channel.
	Channel string `json:"channel"`
}

func (n ChannelName) String() string {
	if n.ObjectID == "" {
		return n.Channel
	}
	return n.ObjectID + "/" + n.Channel
}

// ChannelView is what is kept of a channel, and who listens to it.
type ChannelView struct {
	ChannelName
	// Kind is its row of product.md §4; "open" for an open channel.
	Kind string `json:"kind"`
	// Catchup is the longest interval that may be asked for, in seconds; 0: none.
	Catchup int64 `json:"catchup"`
	// Count is how many messages are kept, Oldest and Newest are when the first and the
	// last of them came, in ms of the store's clock; 0: none is.
	Count  int64 `json:"count"`
	Oldest int64 `json:"oldest"`
	Newest int64 `json:"newest"`
	// Minute is how many came in the last 60 seconds.
	Minute int64 `json:"minute"`
	// Bytes is about how many bytes those that are kept have, by the size of the newest.
	Bytes int64 `json:"bytes"`
	// Subscribers are subscriptions by its name, and catch-ups under way, on this node.
	Subscribers int `json:"subscribers"`
	// LastID and Last are the newest message, cut to a length; Cut says that it was.
	LastID string `json:"last_id"`
	Last   string `json:"last"`
	Cut    bool   `json:"cut"`
}

// ChannelPage is an answer of Operator.Channels.
type ChannelPage struct {
	Channels []ChannelView `json:"channels"`
	// Truncated: more channels spoke than were gone through, or than were asked for.
	Truncated bool `json:"truncated"`
	// Now is the store's clock, in ms.
	Now int64 `json:"now"`
}

// Channels returns channels that spoke in the last hour, the one that spoke last first,
// and the one that is named exactly, however long it has been silent: at most limit (1 to
// 200) whose names have search in them, without regard to case. It goes through 2,000
// names at most and reads a bounded part of those it returns. Errors are the store's.
func (o Operator) Channels(ctx context.Context, search string, limit int) (ChannelPage, error) {
	b := o.b
	page := ChannelPage{Channels: []ChannelView{}, Now: b.opt.Store.Now().UnixMilli()}
	found, more, err := b.spoken(ctx, search)
	if err != nil {
		return page, err
	}
	limit = min(max(limit, 1), maxChannels)
	page.Truncated = more || len(found) > limit
	for _, t := range found[:min(len(found), limit)] {
		v, err := b.viewChannel(ctx, t)
		if err != nil {
			return page, err
		}
		page.Channels = append(page.Channels, v)
	}
	return page, nil
}

// Channel returns one channel. Errors: *Error with 4000 for a name that can be none, 4004
// for one that is not there, the store's.
func (o Operator) Channel(ctx context.Context, name ChannelName) (ChannelView, error) {
	t, err := o.b.namedChannel(ctx, name)
	if err != nil {
		return ChannelView{}, err
	}
	return o.b.viewChannel(ctx, t)
}

// Density counts the messages of a channel in equal parts of a time, of which there are 1
// to 240: from, inclusive, to to, in ms of the store's clock. Errors as of Channel.
func (o Operator) Density(ctx context.Context, name ChannelName, from, to int64, parts int) ([]int64, error) {
	b := o.b
	t, err := b.namedChannel(ctx, name)
	if err != nil {
		return nil, err
	}
	if parts < 1 || parts > maxParts || from < 0 || to <= from || to >= 1<<48 {
		return nil, &Error{Result: 4000, Text: fmt.Sprintf("from must be before to, and parts 1 to %d", maxParts)}
	}
	// What came since the beginning of each part; the parts are the differences.
	since := make([]int64, parts+1)
	for i := range since {
		at := time.UnixMilli(from + (to-from)*int64(i)/int64(parts))
		if since[i], err = b.opt.Store.Count(ctx, t.log, store.Range{Since: at, Limits: t.kind.limits}); err != nil {
			return nil, fmt.Errorf("broker: density: %w", err)
		}
	}
	counts := make([]int64, parts)
	for i := range counts {
		counts[i] = max(since[i]-since[i+1], 0) // something may come between two looks
	}
	return counts, nil
}

// spokenChannel is a channel with its name for people.
type spokenChannel struct {
	target
	shown ChannelName
	last  store.Position
}

// spoken returns the channels that spoke within the hour and whose names have search in
// them, and the one it names, the newest first.
func (b *Broker) spoken(ctx context.Context, search string) (found []spokenChannel, more bool, err error) {
	since := b.opt.Store.Now().Add(-store.SpokeFor)
	var logs []store.LogName
	for _, feed := range []string{openFeed, objectFeed} {
		some, others, err := b.opt.Store.Spoke(ctx, feed, since, maxSpoken/2)
		if err != nil {
			return nil, false, fmt.Errorf("broker: channels: %w", err)
		}
		logs, more = append(logs, some...), more || others
	}
	names := map[string]*Object{}
	for _, log := range logs {
		t, known, err := b.channelOf(ctx, log, names)
		if err != nil {
			return nil, false, err
		}
		if known && strings.Contains(strings.ToLower(t.shown.String()), strings.ToLower(search)) {
			found = append(found, t)
		}
	}
	exact, err := b.exactly(ctx, search)
	if err != nil {
		return nil, false, err
	}
	for _, t := range exact {
		if !slices.ContainsFunc(found, func(other spokenChannel) bool { return other.log == t.log }) {
			found = append(found, t)
		}
	}
	return found, more, b.newestFirst(ctx, found)
}

// newestFirst sorts channels by when they spoke last.
func (b *Broker) newestFirst(ctx context.Context, found []spokenChannel) error {
	logs := make([]store.LogName, len(found))
	for i := range found {
		logs[i] = found[i].log
	}
	heads, err := b.opt.Store.Heads(ctx, logs)
	if err != nil {
		return fmt.Errorf("broker: channels: %w", err)
	}
	for i := range found {
		found[i].last = heads[i]
	}
	slices.SortFunc(found, func(x, y spokenChannel) int {
		return cmp.Or(cmp.Compare(y.last.MS(), x.last.MS()), cmp.Compare(x.shown.String(), y.shown.String()))
	})
	return nil
}

// channelOf returns the channel of a log; false where it is none, or its object is gone.
// objects holds those that were looked up already, by feed.
func (b *Broker) channelOf(ctx context.Context, log store.LogName, objects map[string]*Object) (spokenChannel, bool, error) {
	name, err := channels.Parse(log.Path)
	if err != nil {
		return spokenChannel{}, false, nil //nolint:nilerr // another use of the feed
	}
	if spaceFeed(log.Feed) == openFeed {
		t, err := b.openTarget(name)
		return spokenChannel{target: t, shown: ChannelName{Channel: log.Path}}, err == nil, nil
	}
	object, known := objects[log.Feed]
	if !known {
		if object, err = b.objectOfFeed(ctx, log.Feed); err != nil {
			return spokenChannel{}, false, err
		}
		objects[log.Feed] = object
	}
	k := b.kinds.of(name)
	if object == nil || k == nil {
		return spokenChannel{}, false, nil
	}
	return spokenChannel{
		target: target{feed: log.Feed, object: object, name: name, kind: k, log: log},
		shown:  ChannelName{object.App.Name, object.ID, log.Path[1:]},
	}, true, nil
}

// objectOfFeed returns the object whose feed it is, nil where that is gone.
func (b *Broker) objectOfFeed(ctx context.Context, feed string) (*Object, error) {
	_, oid, _ := strings.Cut(strings.TrimPrefix(feed, objectFeed), "/")
	parsed, err := parseOID(oid)
	if err != nil {
		return nil, nil //nolint:nilerr // not an object's
	}
	app, id, err := b.objects.named(ctx, parsed.String())
	if err != nil || app == nil || id == "" {
		return nil, err
	}
	o, err := b.objects.get(ctx, app, id)
	if err == ErrNoObject { //nolint:errorlint // registry.get returns it as it is
		return nil, nil
	}
	return o, err
}

// exactly returns the channels that a text names: an open one, and one of that object in
// each application.
func (b *Broker) exactly(ctx context.Context, text string) ([]spokenChannel, error) {
	var all []spokenChannel
	try := func(n ChannelName) error {
		t, err := b.namedChannel(ctx, n)
		if refusal := AsError(err); refusal != nil && refusal.Result >= 5000 {
			return err
		}
		if err == nil {
			head, e := b.opt.Store.Head(ctx, t.log, t.kind.limits)
			if e != nil {
				return fmt.Errorf("broker: channels: %w", e)
			}
			if !head.Last.IsZero() {
				all = append(all, t)
			}
		}
		return nil
	}
	if strings.HasPrefix(text, "/") {
		return all, try(ChannelName{Channel: text})
	}
	// The object's id may have slashes, too: the path has three segments at most.
	for at, tries := strings.LastIndexByte(text, '/'), 0; at > 0 && tries < maxSubLevels; at, tries = strings.LastIndexByte(text[:at], '/'), tries+1 {
		for _, app := range (Operator{b}).Applications() {
			if err := try(ChannelName{app, text[:at], text[at+1:]}); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// namedChannel resolves a channel that the operator names.
func (b *Broker) namedChannel(ctx context.Context, n ChannelName) (spokenChannel, error) {
	if n.ObjectID == "" {
		name, err := channels.Parse(n.Channel)
		if err != nil {
			return spokenChannel{}, &Error{Result: 4000, Text: "channel: the whole name of an open channel is required, such as /demo/x"}
		}
		t, err := b.openTarget(name)
		if err != nil {
			return spokenChannel{}, &Error{Result: 4004, Text: "channel: no open prefix covers it"}
		}
		return spokenChannel{target: t, shown: ChannelName{Channel: n.Channel}}, nil
	}
	app := b.tokens.application(n.App)
	if app == nil {
		return spokenChannel{}, &Error{Result: 4004, Text: "app: no such application"}
	}
	object, err := b.objects.get(ctx, app, n.ObjectID)
	if err != nil {
		return spokenChannel{}, err
	}
	name, err := channels.Parse("/" + n.Channel)
	if err != nil || catchup.Reserved(name) || b.kinds.of(name) == nil {
		return spokenChannel{}, &Error{Result: 4000, Text: "channel: a path below the object's root is required, such as chat"}
	}
	feed := feedOf(object)
	t := target{feed: feed, object: object, name: name, kind: b.kinds.of(name), log: store.LogName{Feed: feed, Path: name.String()}}
	return spokenChannel{target: t, shown: ChannelName{app.Name, object.ID, n.Channel}}, nil
}

// viewChannel looks at a channel: its ends, two counts, and the newest messages.
func (b *Broker) viewChannel(ctx context.Context, t spokenChannel) (ChannelView, error) {
	v := ChannelView{ChannelName: t.shown, Kind: t.kind.name, Catchup: int64(t.kind.catchup / time.Second), Subscribers: b.hub.holders(t.log)}
	fail := func(err error) (ChannelView, error) { return v, fmt.Errorf("broker: channel: %w", err) }
	head, err := b.opt.Store.Head(ctx, t.log, t.kind.limits)
	if err != nil {
		return fail(err)
	}
	if head.Last.IsZero() {
		return v, nil
	}
	v.Oldest, v.Newest, v.LastID = head.Oldest.MS(), head.Last.MS(), head.Last.String()
	if v.Count, err = b.opt.Store.Count(ctx, t.log, store.Range{Limits: t.kind.limits}); err != nil {
		return fail(err)
	}
	minute := store.Range{Since: b.opt.Store.Now().Add(-time.Minute), Limits: t.kind.limits}
	if v.Minute, err = b.opt.Store.Count(ctx, t.log, minute); err != nil {
		return fail(err)
	}
	newest, err := b.sampleOf(ctx, t)
	if err != nil {
		return fail(err)
	}
	v.describe(newest)
	return v, nil
}

// sampleOf reads some of the newest messages, the newest of all among them.
func (b *Broker) sampleOf(ctx context.Context, t spokenChannel) ([]store.Entry, error) {
	limits := t.kind.limits
	for _, n := range []int{sampleCount, 1} {
		limits.Length = n
		page, err := b.opt.Store.Read(ctx, t.log, store.Range{Limits: limits}, n, sampleBytes)
		if err != nil || !page.More {
			return page.Entries, err
		}
	}
	return nil, nil
}

// describe fills in what the newest messages say.
func (v *ChannelView) describe(newest []store.Entry) {
	if len(newest) == 0 {
		return
	}
	size := 0
	for _, e := range newest {
		size += len(e.Data)
	}
	v.Bytes = int64(size) * v.Count / int64(len(newest))
	m, err := catchup.Decode(newest[len(newest)-1])
	if err != nil {
		return
	}
	text := m.Data
	if v.Cut = len(text) > previewBytes; v.Cut {
		text = text[:previewBytes]
		for len(text) > 0 && !utf8.Valid(text) {
			text = text[:len(text)-1]
		}
	}
	v.Last = string(text)
}

// holders is how many subscriptions by name and catch-ups hold a log's topic here.
func (h *hub) holders(log store.LogName) int {
	s := h.shardOf(log)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[log]; t != nil {
		return t.refs
	}
	return 0
}
