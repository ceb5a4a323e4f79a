package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/broker/exact"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Bounds of an event. The log of an object is read whole to answer what lasted when,
// so its entries are small.
const (
	maxEvent     = 4 << 10 // bytes
	maxEventName = 100     // bytes
	maxEventTime = 1 << 40 // seconds since 1970
	maxEventLog  = 10_000  // spans in an answer
)

// shape makes of a publisher's data what is kept on a channel of its kind, or refuses
// it with *Error 4000. Kinds without one keep what was sent.
type shape func(o *Object, data []byte, now time.Time) ([]byte, error)

// shapeEvent puts live_id before a publisher's event, and time where it has none
// (product.md T10). Other members stay as they were sent.
func shapeEvent(o *Object, data []byte, now time.Time) ([]byte, error) {
	if len(data) > maxEvent {
		return nil, &Error{Result: 4013, Text: fmt.Sprintf("event: at most %d bytes", maxEvent)}
	}
	members, err := exact.Members(data, 32)
	if err != nil {
		return nil, &Error{Result: 4000, Text: "event: data must be a JSON object without duplicates"}
	}
	id, err := encodeText(o.ID)
	if err != nil {
		return nil, fmt.Errorf("broker: event: %w", err)
	}
	out := append([]byte(`{"live_id":`), id...)
	named, timed := false, false
	for _, m := range members {
		if m.Name == "live_id" {
			continue // it is in the path
		}
		if fault := checkEvent(m); fault != "" {
			return nil, &Error{Result: 4000, Text: "event: " + fault}
		}
		named, timed = named || m.Name == "event", timed || m.Name == "time"
		name, err := encodeText(m.Name)
		if err != nil {
			return nil, fmt.Errorf("broker: event: %w", err)
		}
		out = append(append(append(append(out, ','), name...), ':'), m.Value...)
	}
	if !named {
		return nil, &Error{Result: 4000, Text: "event: event is required"}
	}
	if !timed {
		out = strconv.AppendInt(append(out, `,"time":`...), now.Unix(), 10)
	}
	return append(out, '}'), nil
}

// checkEvent says what is wrong with a member of an event, "" for nothing.
func checkEvent(m exact.Member) string {
	switch m.Name {
	case "event":
		name, err := exact.Text(m.Value)
		if err != nil || name == "" || len(name) > maxEventName || !plain(name) {
			return fmt.Sprintf("event must be a string of 1 to %d bytes without control characters", maxEventName)
		}
	case "state":
		if state, err := exact.Text(m.Value); err != nil || state != catchup.EventStart && state != catchup.EventStop {
			return `state must be "start" or "stop"`
		}
	case "time":
		if at, err := exact.Int(m.Value); err != nil || at < 0 || at >= maxEventTime {
			return "time must be a whole number of seconds since 1970"
		}
	}
	return ""
}

// shapeObject takes any JSON object as it is (product.md §4, analytics).
func shapeObject(_ *Object, data []byte, _ time.Time) ([]byte, error) {
	if len(data) == 0 || data[0] != '{' {
		return nil, &Error{Result: 4000, Text: "analytics: data must be a JSON object"}
	}
	return data, nil
}

// shaped applies the shape of a target's kind.
func (b *Broker) shaped(t target, data []byte) ([]byte, error) {
	if t.kind.shape == nil || t.object == nil {
		return data, nil
	}
	return t.kind.shape(t.object, data, b.opt.Store.Now())
}

// PatchObject changes an object and says on its events what changed (product.md T10).
// That it could not be said does not take the change back: it is logged. Errors:
// ErrNoObject, *Error with result 4000, the store's.
func (b *Broker) PatchObject(ctx context.Context, app *Application, id string, p ObjectPatch) (*Object, error) {
	before, after, err := b.objects.patch(ctx, app, id, p)
	if err != nil {
		return nil, err
	}
	changes := before.changes(after)
	if len(changes) == 0 {
		return after, nil
	}
	if err := b.tellChanges(after, changes); err != nil {
		b.metrics.lostEvents.Inc()
		b.log.Warn("that an object changed could not be said on its events", zap.Error(err))
	}
	return after, nil
}

// changes returns the fields in which after differs, with their new values.
func (o *Object) changes(after *Object) map[string]any {
	all := map[string]any{}
	for name, v := range map[string][2]string{
		"name": {o.Name, after.Name}, "owner_ref": {o.OwnerRef, after.OwnerRef}, "url": {o.URL, after.URL},
	} {
		if v[0] != v[1] {
			all[name] = v[1]
		}
	}
	if o.Public != after.Public {
		all["public"] = after.Public
	}
	return all
}

// tellChanges publishes that an object changed and waits until it is stored.
func (b *Broker) tellChanges(o *Object, changes map[string]any) error {
	text, err := encodeText(struct {
		LiveID  string         `json:"live_id"`
		Event   string         `json:"event"`
		Changes map[string]any `json:"changes"`
		Time    int64          `json:"time"`
	}{o.ID, "metadata", changes, b.opt.Store.Now().Unix()})
	if err != nil {
		return err
	}
	k := b.kinds.reserved["events"]
	kept := make(chan error, 1)
	rec := store.Record{Data: catchup.Encode(text, nil, 0)}
	if a := b.accounts.of(o); a != nil {
		rec.Copy = a.copy(recordHead(eventRecord, o, nil, "events"), text)
	}
	b.opt.Store.Submit(store.LogName{Feed: feedOf(o), Path: "/events"}, k.limits, []store.Record{rec}, func(_ store.Appended, err error) { kept <- err })
	if err := <-kept; err != nil {
		return err
	}
	b.metrics.published.Inc()
	return nil
}

// EventLog returns what an object's event log says lasted in a window, by when it
// began, at most 10,000 spans: truncated says that older ones are left out
// (product.md T12). The caller has checked the rights. Errors: ErrNoObject, the
// store's.
func (b *Broker) EventLog(ctx context.Context, app *Application, objectID string, w catchup.Window) (spans []catchup.Span, truncated bool, err error) {
	object, err := b.objects.get(ctx, app, objectID)
	if err != nil {
		return nil, false, err
	}
	k := b.kinds.reserved["events"]
	log := store.LogName{Feed: feedOf(object), Path: "/events"}
	head, err := b.opt.Store.Head(ctx, log, k.limits)
	if err != nil {
		return nil, false, fmt.Errorf("broker: event log: %w", err)
	}
	since := time.Time{}
	if k.limits.Age != store.Forever {
		since = b.opt.Store.Now().Add(catchup.Grace - k.limits.Age)
	}
	replay, _, err := catchup.NewReplay(ctx, b.opt.Store, log, k.limits, since, head.Last)
	if err != nil {
		return nil, false, err
	}
	walk := historyWalk{b: b, replay: replay}
	fold := catchup.NewSpans(maxEventLog)
	for {
		entries, err := walk.next(ctx, 1000)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, err
		}
		for _, e := range entries {
			m, err := catchup.Decode(e)
			if err != nil {
				b.metrics.badRecords.Inc()
				continue
			}
			if event, ok := catchup.DecodeEvent(m.Data); ok {
				fold.Add(event)
			}
		}
	}
	spans, truncated = fold.In(w)
	return spans, truncated, nil
}
