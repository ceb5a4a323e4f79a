package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// Bounds of what is read of accumulations (product.md §6).
const (
	// accumulationPage bounds an answer in bytes; entryRoom is what the largest entry
	// takes of it.
	accumulationPage = 8 << 20
	entryRoom        = maxEntry + 2<<10
	// maxBraided bounds the channels that one query reads.
	maxBraided = 10_000
)

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
	b.rewrote(logs[0])
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
