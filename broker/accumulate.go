package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// Bounds of entries (product.md §6).
const (
	maxEntry      = 64 << 10 // bytes of an entry's data
	maxEntryDepth = 32
	// maxNames bounds the accumulations of one object, for any viewer can begin one.
	maxNames = 1000
)

// tableAccumulation has a row for every accumulation of an application, so that those
// of one name are found: key "<app>/<hash of the name>/<object>". It is written before
// the first entry and outlives the last.
const tableAccumulation = "accumulation"

// tableAccumulationName has the same by object, key "<app>/<hash of the object>/<hash of
// the name>", so that an object's can be counted.
const tableAccumulationName = "accumulation-name"

// What is refused, on either road.
var (
	errEntryShape = &Error{Result: 4000, Text: "data must be a JSON object"}
	errEntryLarge = &Error{Result: 4013, Text: fmt.Sprintf("data is larger than %d bytes", maxEntry)}
	errNoChannel  = &Error{Result: 4000, Text: "channel_id is required, for the token names none"}
	errEntryDepth = &Error{Result: 4000, Text: fmt.Sprintf("data is nested deeper than %d", maxEntryDepth)}
)

// checkEntry returns the blob without blanks around it, or what is wrong with it.
func checkEntry(data []byte) ([]byte, *Error) {
	blob := bytes.Trim(data, " \t\r\n")
	if len(blob) > maxEntry {
		return nil, errEntryLarge
	}
	if len(blob) == 0 || blob[0] != '{' {
		return nil, errEntryShape
	}
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
// the accumulation holds Options.Accumulate.Max entries, and for a new one of an object
// that has 1,000.
func (b *Broker) Accumulate(ctx context.Context, who *Identity, objectID, name string, data []byte, nonce store.Nonce) (int64, error) {
	observed, err := b.accumulate(ctx, who, objectID, name, data, nonce)
	if err != nil && !isFull(err) { // which has counters of its own
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
		case isFull(err): // counted already
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
	rec.Copy = b.copyEntry(object, who, path.Last(), blob)
	log := store.LogName{Feed: feedOf(object), Path: path.String()}
	if err := b.listAccumulation(ctx, object, path, log); err != nil {
		if isFull(err) {
			b.metrics.refused("accumulation names").Inc()
		}
		done(store.Position{}, err)
		return
	}
	taken, err := b.fills.reserve(ctx, log)
	if err != nil {
		if isFull(err) {
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
	if err := b.roomForName(ctx, object, path); err != nil {
		return err
	}
	for table, row := range map[string]struct{ key, data string }{
		tableAccumulationName: {namePrefix(object) + hashed(path.Last()), path.Last()},
		tableAccumulation:     {accumulationPrefix(object.App, path) + object.ID, "1"},
	} {
		// Written again after half a life, it is there for a life after any entry.
		if _, err := b.opt.Store.Put(ctx, table, row.key, store.Put{Data: []byte(row.data), TTL: 2 * b.opt.Accumulate.TTL}); err != nil {
			return fmt.Errorf("broker: accumulation: list: %w", err)
		}
	}
	b.fills.list(log, now)
	return nil
}

// roomForName refuses one more accumulation of an object that has as many as it may. Of
// those that begin at the same moment a few more may be let in.
func (b *Broker) roomForName(ctx context.Context, object *Object, path channels.Name) error {
	prefix := namePrefix(object)
	_, err := b.opt.Store.Get(ctx, tableAccumulationName, prefix+hashed(path.Last()))
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("broker: accumulation: look up: %w", err)
	case b.fills.isCrowded(prefix):
		return errAccumulationNames
	}
	rows, err := b.opt.Store.List(ctx, tableAccumulationName, prefix, "", maxNames)
	if err != nil {
		return fmt.Errorf("broker: accumulation: count names: %w", err)
	}
	if len(rows) >= maxNames {
		b.fills.crowd(prefix)
		return errAccumulationNames
	}
	return nil
}

// namePrefix begins the keys of the names of an object.
func namePrefix(object *Object) string {
	return strconv.FormatUint(uint64(object.App.ID), 10) + "/" + hashed(object.ID) + "/"
}

// hashed is a text as a part of a key: beside another's there is no room for it whole.
func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// accumulationPrefix begins the keys of all rows of one name.
func accumulationPrefix(app *Application, path channels.Name) string {
	return strconv.FormatUint(uint64(app.ID), 10) + "/" + hashed(path.Last()) + "/"
}
