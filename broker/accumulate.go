package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// Bounds of accumulations (product.md §6).
const (
	maxEntry      = 64 << 10 // bytes of an entry's data
	maxEntryDepth = 32
	// accumulationPage bounds an answer in bytes; entryRoom is what the largest entry
	// takes of it.
	accumulationPage = 8 << 20
	entryRoom        = maxEntry + 2<<10
	// maxBraided bounds the channels that one query reads.
	maxBraided = 10_000
)

// tableAccumulation has a row for every accumulation of an application, so that those
// of one name are found: key "<app>/<hash of the name>/<object>". It is written before
// the first entry and outlives the last.
const tableAccumulation = "accumulation"

// What is refused, on either road.
var (
	errEntryShape = &Error{Result: 4000, Text: "data must be a JSON object"}
	errEntryLarge = &Error{Result: 4013, Text: fmt.Sprintf("data is larger than %d bytes", maxEntry)}
	errNoChannel  = &Error{Result: 4000, Text: "channel_id is required, for the token names none"}
	errEntryDepth = &Error{Result: 4000, Text: fmt.Sprintf("data is nested deeper than %d", maxEntryDepth)}
)

// checkEntry returns the blob without blanks around it, or what is wrong with it.
func checkEntry(data []byte) ([]byte, *Error) {
	text := strings.Trim(string(data), " \t\r\n")
	if len(text) > maxEntry {
		return nil, errEntryLarge
	}
	if text == "" || text[0] != '{' {
		return nil, errEntryShape
	}
	blob := []byte(text) // a copy: the store keeps it, and not the body it came in
	switch err := exact.Check(blob, maxEntryDepth); {
	case errors.Is(err, exact.ErrDepth):
		return nil, errEntryDepth
	case err != nil:
		return nil, errEntryShape
	}
	return blob, nil
}

// Accumulate takes one blob into the accumulation of that name of an object and returns
// when it was observed, in ms of the store's clock, once it is as durable as the store
// makes it (product.md §5.1, M1). who needs a token of the object, or the server key;
// who it is goes into the entry (M11). The object is made where Options.AutoCreate is
// set. nonce makes a retry harmless; zero: every call is a new entry. Errors: *Error
// with 4000 (name, data), 4001, 4003, 4004, 4013, and the store's; ErrFull also where
// the accumulation holds Options.Accumulate.Max entries.
func (b *Broker) Accumulate(ctx context.Context, who *Identity, objectID, name string, data []byte, nonce store.Nonce) (int64, error) {
	observed, err := b.accumulate(ctx, who, objectID, name, data, nonce)
	if err != nil && !errors.Is(err, errAccumulationFull) { // which has its own
		b.metrics.refused("accumulate").Inc()
	}
	return observed, err
}

func (b *Broker) accumulate(ctx context.Context, who *Identity, objectID, name string, data []byte, nonce store.Nonce) (int64, error) {
	if who == nil || who.App == nil {
		return 0, &Error{Result: 4001, Text: "unauthorized: a token or the server key is required"}
	}
	if objectID == "" {
		return 0, errNoChannel
	}
	if who.LevelFor(who.App.ID, objectID) < RoleViewer {
		return 0, &Error{Result: 4003, Text: "forbidden: the credential does not allow this here"}
	}
	path, err := accumulationPath(name)
	if err != nil {
		return 0, err
	}
	// Before an object is made for it.
	blob, refusal := checkEntry(data)
	if refusal != nil {
		return 0, refusal
	}
	object, err := b.Object(ctx, who.App, objectID)
	if err != nil {
		return 0, err
	}
	type outcome struct {
		at  store.Position
		err error
	}
	done := make(chan outcome, 1)
	rec := store.Record{Nonce: nonce}
	b.keepEntry(ctx, object, path, who, blob, 0, rec, func(p store.Position, err error) { done <- outcome{p, err} })
	o := <-done // the store settles what it was given
	return o.at.MS(), o.err
}

// accumulateMessage is Accumulate for a publish over Bayeux, whose rights were checked.
func (b *Broker) accumulateMessage(ctx context.Context, m *bayeux.Message, t *target, k known, done func(bayeux.Ack, error)) {
	blob, refusal := checkEntry(m.Data)
	if refusal != nil {
		b.metrics.refused("accumulate").Inc()
		done(bayeux.Ack{}, bayeuxRefusal(refusal, m.ChannelText))
		return
	}
	rec := store.Record{Nonce: k.nonce, Remember: repeatAge}
	kind := t.kind
	b.keepEntry(ctx, t.object, t.name, t.speaker, blob, k.tag, rec, func(p store.Position, err error) {
		switch {
		case errors.Is(err, errAccumulationFull): // counted already
			done(bayeux.Ack{}, &bayeux.Error{Code: 507, Text: "Store full"})
		case err != nil:
			done(bayeux.Ack{}, storeRefusal(err, b, "accumulate"))
		default:
			done(bayeux.Ack{Ext: kind.ackExt(p)}, nil)
		}
	})
}

// bayeuxRefusal says over Bayeux what is wrong with a blob; Faye's grammar has no
// commas or quotes in the text.
func bayeuxRefusal(e *Error, channel string) error {
	r := &bayeux.Error{Code: e.Status(), Args: []string{channel}}
	switch e {
	case errEntryLarge:
		r.Text = "Message too large"
	case errEntryDepth:
		r.Text = "Data nested too deep"
	default:
		r.Text = "Data must be a JSON object"
	}
	return r
}

// keepEntry appends a checked blob; both roads end here. rec brings nonce and how long
// it is remembered. done is called once.
func (b *Broker) keepEntry(ctx context.Context, object *Object, path channels.Name, who *Identity, blob []byte, tag uint64, rec store.Record, done func(store.Position, error)) {
	var err error
	rec.Data, err = catchup.EncodeEntry(catchup.Giver{ChannelID: object.ID, OpaqueUserID: who.OpaqueUserID, UserID: who.UserID}, blob, tag)
	if err != nil {
		done(store.Position{}, err)
		return
	}
	log := store.LogName{Feed: feedOf(object), Path: path.String()}
	if err := b.listAccumulation(ctx, object, path, log); err != nil {
		done(store.Position{}, err)
		return
	}
	taken, err := b.fills.reserve(ctx, log)
	if err != nil {
		if errors.Is(err, errAccumulationFull) {
			b.metrics.refused("accumulation full").Inc()
		}
		done(store.Position{}, err)
		return
	}
	b.opt.Store.Submit(log, b.fills.limits, []store.Record{rec}, func(at store.Appended, err error) {
		// Of one whose outcome is unknown it is thought that it is there.
		taken(err == nil && !at.Prior[0] || errors.Is(err, store.ErrUncertain))
		switch {
		case err != nil:
			done(store.Position{}, err)
			return
		case at.Prior[0]:
			b.metrics.repeats.Inc()
		default:
			b.metrics.accumulated.Inc()
		}
		done(at.Positions[0], nil)
	})
}

// accumulationPath returns the channel below the root of the accumulation of a name.
func accumulationPath(name string) (channels.Name, error) {
	n, err := channels.Parse("/" + accumulateKind + "/" + name)
	if err != nil || n.Segments() != 2 || len(name) > maxSegment || catchup.Reserved(n) {
		return channels.Name{}, &Error{Result: 4000, Text: fmt.Sprintf("id must be 1 to %d letters, digits and -_!~()$@", maxSegment)}
	}
	return n, nil
}

// listAccumulation sees to it that the accumulation is found by its name, before
// something is in it and as long as something may be.
func (b *Broker) listAccumulation(ctx context.Context, object *Object, path channels.Name, log store.LogName) error {
	now := b.opt.Store.Now()
	if !b.fills.unlisted(log, now) {
		return nil
	}
	key := accumulationPrefix(object.App, path) + object.ID
	// Written again after half a life, it is there for a life after any entry.
	_, err := b.opt.Store.Put(ctx, tableAccumulation, key, store.Put{Data: []byte("1"), TTL: 2 * b.opt.Accumulate.TTL})
	if err != nil {
		return fmt.Errorf("broker: accumulation: list: %w", err)
	}
	b.fills.list(log, now)
	return nil
}

// accumulationPrefix begins the keys of all rows of one name: the name is hashed, for
// beside an object's id there is no room for it.
func accumulationPrefix(app *Application, path channels.Name) string {
	sum := sha256.Sum256([]byte(path.Last()))
	return strconv.FormatUint(uint64(app.ID), 10) + "/" + hex.EncodeToString(sum[:16]) + "/"
}

// AccumulationQuery asks for the entries of an accumulation (product.md §5.1, M4-M10).
type AccumulationQuery struct {
	// Name is the accumulation's.
	Name string
	// ChannelID is the object; empty: those of all objects of the application that have
	// one of the name, by time.
	ChannelID string
	// Start: nothing older. It does not count with After.
	Start time.Time
	// After is a Cursor: what came after it. It is good for the same query only.
	After string
	// Whole: all there is, and not a page of it.
	Whole bool
}

// AccumulationEnd is what is known behind the entries of a query.
type AccumulationEnd struct {
	// Latest is when the newest entry of all was observed, in ms; 0: there is none.
	Latest int64
	// Cursor is the After of what follows; empty: there is nothing to follow.
	Cursor string
	// Truncated: there is more now.
	Truncated bool
}

// Accumulated reads entries, the oldest first, and calls yield with one part after the
// other, at least one, each of at most 1,000 entries and about 1 MiB; an error of yield
// ends it and is returned. A page has at most Options.Accumulate.Page entries and 8 MiB.
// who needs level broadcaster on the object, or admin for all objects. Errors: *Error
// with 4000 (name, cursor), 4001, 4003, 4013 (more than 10,000 channels), and the
// store's.
func (b *Broker) Accumulated(ctx context.Context, who *Identity, q AccumulationQuery, yield func([]catchup.Entry) error) (AccumulationEnd, error) {
	end, err := b.accumulated(ctx, who, q, yield)
	var refusal *Error
	if errors.As(err, &refusal) {
		b.metrics.refused("accumulated").Inc()
	}
	return end, err
}

func (b *Broker) accumulated(ctx context.Context, who *Identity, q AccumulationQuery, yield func([]catchup.Entry) error) (AccumulationEnd, error) {
	if err := mayRead(who, q.ChannelID); err != nil {
		return AccumulationEnd{}, err
	}
	path, err := accumulationPath(q.Name)
	if err != nil {
		return AccumulationEnd{}, err
	}
	from, query := catchup.BookmarkAt(q.Start), queryMark(who.App, q)
	if q.After != "" {
		if from, err = catchup.ParseBookmark(q.After, query); err != nil {
			return AccumulationEnd{}, &Error{Result: 4000, Text: "after must be the cursor of an answer to the same query"}
		}
	}
	logs, err := b.accumulations(ctx, who.App, q.ChannelID, path)
	if err != nil {
		return AccumulationEnd{}, err
	}
	braid, err := catchup.NewBraid(ctx, slottedLog{b.opt.Store, b.reads}, logs, b.fills.limits, from, b.opt.Store.Now())
	if err != nil {
		return AccumulationEnd{}, err
	}
	defer func() { b.metrics.badRecords.Add(float64(braid.Bad())) }()
	if err := b.yieldEntries(ctx, braid, q.Whole, yield); err != nil {
		return AccumulationEnd{}, err
	}
	end := AccumulationEnd{Latest: braid.Latest(), Cursor: q.After, Truncated: braid.More()}
	if braid.Latest() > 0 {
		end.Cursor = braid.Bookmark().Text(query)
	}
	return end, nil
}

// yieldEntries hands a page on, or everything.
func (b *Broker) yieldEntries(ctx context.Context, braid *catchup.Braid, whole bool, yield func([]catchup.Entry) error) error {
	left, room := b.opt.Accumulate.Page, accumulationPage
	for first := true; ; first = false {
		entries, err := braid.Next(ctx, min(left, pageMessages), min(room, pageBytes))
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(entries) == 0 && !first {
			return nil
		}
		if err := yield(entries); err != nil {
			return err
		}
		if whole {
			continue
		}
		left -= len(entries)
		for _, e := range entries {
			room -= e.Size()
		}
		if left <= 0 || room < entryRoom {
			return nil
		}
	}
}

// mayRead refuses who may not read or clear accumulations of an object; "" is those of
// all objects.
func mayRead(who *Identity, objectID string) error {
	if who == nil || who.App == nil {
		return &Error{Result: 4001, Text: "unauthorized: a token or the server key is required"}
	}
	if who.LevelFor(who.App.ID, objectID) < RoleBroadcaster {
		return &Error{Result: 4003, Text: "forbidden: accumulations are read by their channel's broadcaster"}
	}
	return nil
}

// queryMark tells queries apart, so that a cursor is not taken for another one's.
func queryMark(app *Application, q AccumulationQuery) [4]byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", app.ID, q.Name, q.ChannelID))
	return [4]byte(sum[:4])
}

// accumulations returns the logs of a name: of one object, or of all that have one. An
// object that was never made has none.
func (b *Broker) accumulations(ctx context.Context, app *Application, objectID string, path channels.Name) ([]store.LogName, error) {
	var logs []store.LogName
	add := func(id string) error {
		object, err := b.objects.get(ctx, app, id)
		if errors.Is(err, ErrNoObject) {
			return nil
		}
		if err == nil {
			logs = append(logs, store.LogName{Feed: feedOf(object), Path: path.String()})
		}
		return err
	}
	if objectID != "" {
		return logs, add(objectID)
	}
	prefix, after := accumulationPrefix(app, path), ""
	for {
		rows, err := b.opt.Store.List(ctx, tableAccumulation, prefix, after, maxList)
		if err != nil {
			return nil, fmt.Errorf("broker: accumulations: %w", err)
		}
		for _, row := range rows {
			if len(logs) == maxBraided {
				return nil, &Error{Result: 4013, Text: fmt.Sprintf("more than %d channels have this accumulation; name one with channel_id", maxBraided)}
			}
			if err := add(row.Key[len(prefix):]); err != nil {
				return nil, err
			}
			after = row.Key
		}
		if len(rows) < maxList {
			return logs, nil
		}
	}
}

// ClearAccumulation removes every entry of an accumulation, which begins anew with the
// next one (product.md §5.1, M17); one that is not there is cleared, too. who needs level
// broadcaster on the object. Errors as Accumulated.
func (b *Broker) ClearAccumulation(ctx context.Context, who *Identity, objectID, name string) error {
	if err := mayRead(who, objectID); err != nil {
		b.metrics.refused("accumulated").Inc()
		return err
	}
	if objectID == "" {
		return errNoChannel
	}
	path, err := accumulationPath(name)
	if err != nil {
		return err
	}
	logs, err := b.accumulations(ctx, who.App, objectID, path)
	if err != nil || len(logs) == 0 {
		return err
	}
	if err := b.opt.Store.Delete(ctx, logs[0]); err != nil {
		return fmt.Errorf("broker: accumulation: clear: %w", err)
	}
	b.fills.forget(logs[0])
	return nil
}

// slottedLog is a log whose pages are read a few at a time (historyReads).
type slottedLog struct {
	store.Log
	slots slots
}

// Read is part of store.Log.
func (l slottedLog) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	if err := l.slots.take(ctx); err != nil {
		return store.Page{}, err
	}
	defer l.slots.giveBack()
	return l.Log.Read(ctx, name, r, limit, maxBytes)
}
