package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
)

var _ store.Copier = (*Store)(nil)

// everything shows all records that are there.
var everything = store.Limits{Age: store.Forever}

// walkStep is how many keys are read at once while a caller does something with each.
const walkStep = 256

// EachLog calls do for every log, in the order of their keys; see store.Copier. Of
// the limits only the class of the age is known, and no length.
func (s *Store) EachLog(ctx context.Context, do func(store.LogState) error) error {
	return s.each(ctx, "each log", tabChannel, func(key, _ []byte) error {
		name, ok := parseName(key[1:])
		if !ok {
			return unreadable("each log", errCorrupt)
		}
		state, err := s.state(ctx, name)
		if err != nil || state.Last.IsZero() {
			return err
		}
		return do(state)
	})
}

// state returns what a copy is told of a log.
func (s *Store) state(ctx context.Context, name store.LogName) (store.LogState, error) {
	if err := s.enter(ctx, "each log"); err != nil {
		return store.LogState{}, err
	}
	defer s.leave()
	v, err := s.look(name, store.Range{Limits: everything})
	if err != nil {
		return store.LogState{}, unreadable("each log", err)
	}
	if v.r == nil {
		return store.LogState{}, nil
	}
	limits := store.Limits{Age: store.Forever, Idle: v.h.idle}
	if c := v.h.class(); c != forever {
		limits.Age = classes[c].age
	}
	return store.LogState{Log: name, Limits: limits, Start: v.h.window().Start, Last: v.h.last}, v.r.close()
}

// each calls do with a copy of every key of a table and its value.
func (s *Store) each(ctx context.Context, doing string, tab byte, do func(key, value []byte) error) error {
	from := []byte{tab}
	for {
		keys, values, err := s.stretch(ctx, doing, from, []byte{tab + 1})
		if err != nil {
			return err
		}
		for i, key := range keys {
			if err := do(key, values[i]); err != nil {
				return err
			}
		}
		if len(keys) < walkStep {
			return nil
		}
		from = append(keys[len(keys)-1], 0)
	}
}

// stretch reads the next keys of [from, to).
func (s *Store) stretch(ctx context.Context, doing string, from, to []byte) (keys, values [][]byte, err error) {
	if err := s.enter(ctx, doing); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, nil, unreadable(doing, err)
	}
	for it.First(); it.Valid() && len(keys) < walkStep && err == nil; it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			keys, values = append(keys, bytes.Clone(it.Key())), append(values, bytes.Clone(v))
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, nil, unreadable(doing, err)
	}
	return keys, values, nil
}

// Export returns records as they are; see store.Copier.
func (s *Store) Export(ctx context.Context, name store.LogName, after store.Position, limit, maxBytes int) ([]store.Copied, error) {
	if err := s.enter(ctx, "export"); err != nil {
		return nil, err
	}
	defer s.leave()
	v, err := s.look(name, store.Range{After: after, Limits: everything})
	if err != nil {
		return nil, unreadable("export", err)
	}
	if v.r == nil {
		return nil, nil
	}
	var out []store.Copied
	size := 0
	p, ok := v.r.From(v.First.MS(), v.First.N())
	for ; ok && !v.Last.Before(p); p, ok = v.r.next() {
		raw, err := v.r.it.ValueAndErr()
		if err != nil || len(raw) == 0 {
			return nil, unreadable("export", errors.Join(err, errCorrupt, v.r.close()))
		}
		if size += len(raw) - 1; len(out) > 0 && (len(out) >= limit || size > maxBytes) {
			break
		}
		out = append(out, store.Copied{
			Entry: store.Entry{Position: p, Data: bytes.Clone(raw[1:])}, Redacted: raw[0]&flagRedacted != 0,
		})
	}
	if err := v.r.close(); err != nil {
		return nil, unreadable("export", err)
	}
	return out, nil
}

// Import puts records behind the end of a log, durably; see store.Copier.
func (s *Store) Import(ctx context.Context, state store.LogState, records []store.Copied) error {
	if err := state.Log.Validate(); err != nil {
		return fmt.Errorf("disk: import: %w", err)
	}
	size := 0
	for i := range records {
		size += len(records[i].Data) + recordKeyLen
	}
	return s.through(ctx, "import", size, false, func(w *work) error {
		if err := s.ready(allRoom); err != nil {
			return err
		}
		h, err := w.head(state.Log)
		if err != nil {
			return err
		}
		var last store.Position
		if h.id != 0 {
			last = h.last
		}
		records, err := state.Rest(last, records)
		if err != nil || len(records) == 0 {
			return err
		}
		w.bring(state, h, records)
		return nil
	})
}

// bring writes records behind h under the positions they have.
func (w *work) bring(state store.LogState, h *head, records []store.Copied) {
	begins := h.id == 0
	if begins {
		start := state.Start.MS()
		h.channel = channel{id: w.s.nextID, epoch: state.Start.Epoch(), start: start, spans: []span{{classOf(state.Limits), start}}}
		h.marked, h.oldest = unmarked, records[0].Position
		w.s.nextID++
		w.series = true
	}
	c := h.class()
	for i := range records {
		r := &records[i]
		p := r.Position
		b := c.bucket(p.MS())
		if c != forever && b != h.marked {
			w.set(markKey(c, b, h.id), appendName(nil, state.Log))
			h.marked = b
		}
		value := append([]byte{0}, r.Data...)
		var key [recordKeyLen]byte
		if r.Redacted {
			value = []byte{flagRedacted}
			putRecordKey(key[:], tabRedact, c, b, h.id, p.MS(), p.N())
			w.set(key[:], nil)
		}
		putRecordKey(key[:], tabRecord, c, b, h.id, p.MS(), p.N())
		w.set(key[:], value)
		h.last = p
	}
	w.s.clock.After(h.last)
	w.describe(state.Log, h, state.Limits, begins)
	w.spoke(state.Log, h)
}

// EachRow calls do for every row that has not expired, in the order of their keys;
// see store.Copier.
func (s *Store) EachRow(ctx context.Context, do func(store.Row) error) error {
	return s.each(ctx, "each row", tabRow, func(key, value []byte) error {
		name, ok := parseName(key[1:])
		r, err := parseRow(value)
		if err != nil || !ok {
			return unreadable("each row", errCorrupt)
		}
		if r.gone(s.clock.Now()) {
			return nil
		}
		return do(store.Row{Table: name.Feed, Item: store.Item{Key: name.Path, Value: r.Value}})
	})
}

// ImportRows writes rows as they are, durably; see store.Copier.
func (s *Store) ImportRows(ctx context.Context, rows []store.Row) error {
	size := 0
	for _, r := range rows {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("disk: import rows: %w", err)
		}
		size += len(r.Data) + len(r.Table) + len(r.Key) + rowHeader
	}
	return s.through(ctx, "import rows", size, false, func(w *work) error {
		if err := s.ready(allRoom); err != nil {
			return err
		}
		for _, r := range rows {
			if err := w.bringRow(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// bringRow writes a row with the version and the end it has.
func (w *work) bringRow(in store.Row) error {
	k := rowKey(in.Table, in.Key)
	old, err := w.row(k)
	if err != nil {
		return err
	}
	r := row{Value: in.Value}
	if r.gone(w.s.clock.Now()) {
		return nil
	}
	r.Data = slices.Clone(in.Data)
	if !r.Expires.IsZero() {
		r.Expires = r.Expires.Truncate(time.Millisecond)
		r.due = old.due
		if due := minuteAfter(r.Expires); r.due == 0 || due < r.due {
			r.due = due
			w.set(append(dueKey(tabDue, due), k[1:]...), nil)
		}
	}
	w.setRow(k, r)
	return nil
}

// EachWaiting does nothing: no copy ever waits.
func (s *Store) EachWaiting(context.Context, func(store.Waiting) error) error { return nil }

// EachGroup calls do for every group of which something was settled, in the order of
// their keys; see store.Copier.
func (s *Store) EachGroup(ctx context.Context, do func(store.GroupName) error) error {
	return s.each(ctx, "each group", tabGroup, func(key, _ []byte) error {
		name, ok := parseGroupKey(key)
		if !ok {
			return unreadable("each group", errCorrupt)
		}
		return do(name)
	})
}
