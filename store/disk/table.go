package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
)

// row is a record of a table as it is kept. A zero version: there is none.
type row struct {
	store.Value
	// due is the minute in which the sweep looks at it, 0 for never. A row that
	// is written again and again keeps its due, and the sweep moves it: one index
	// key for each row, not one for each write.
	due uint32
}

const rowHeader = 8 + 8 + 4

func (r *row) encode() []byte {
	b := make([]byte, 0, rowHeader+len(r.Data))
	b = binary.BigEndian.AppendUint64(b, r.Version)
	var expires int64
	if !r.Expires.IsZero() {
		expires = r.Expires.UnixMilli()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	b = binary.BigEndian.AppendUint32(b, r.due)
	return append(b, r.Data...)
}

// parseRow reads what encode wrote; the data is a copy.
func parseRow(b []byte) (row, error) {
	if len(b) < rowHeader {
		return row{}, errCorrupt
	}
	r := row{due: binary.BigEndian.Uint32(b[16:])}
	r.Version = binary.BigEndian.Uint64(b)
	if ms := int64(binary.BigEndian.Uint64(b[8:])); ms != 0 {
		r.Expires = time.UnixMilli(ms)
	}
	r.Data = append(make([]byte, 0, len(b)-rowHeader), b[rowHeader:]...)
	return r, nil
}

func (r *row) gone(now time.Time) bool {
	return r.Version == 0 || !r.Expires.IsZero() && !now.Before(r.Expires)
}

// fits reports whether the row may be changed under ifVersion; see store.Put.
func (r *row) fits(ifVersion *uint64, now time.Time) bool {
	if ifVersion == nil {
		return true
	}
	if r.gone(now) {
		return *ifVersion == 0
	}
	return *ifVersion == r.Version
}

func (s *Store) readRow(key []byte) (row, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return row{}, nil
	}
	if err != nil {
		return row{}, err
	}
	r, err := parseRow(v)
	return r, errors.Join(err, closer.Close())
}

// row returns a row as the batch will leave it.
func (w *work) row(key []byte) (row, error) {
	if r, ok := w.rows[string(key)]; ok {
		return r, nil
	}
	return w.s.readRow(key)
}

func (w *work) setRow(key []byte, r row) {
	w.rows[string(key)] = r
	if r.Version == 0 {
		w.delete(key)
		return
	}
	w.set(key, r.encode())
}

func tooLong(table, key string) bool { return len(table) > store.MaxName || len(key) > store.MaxName }

// Get returns the record; see store.Table.
func (s *Store) Get(ctx context.Context, table, key string) (store.Value, error) {
	if err := s.enter(ctx, "get"); err != nil {
		return store.Value{}, err
	}
	defer s.leave()
	if tooLong(table, key) {
		return store.Value{}, fmt.Errorf("disk: get: %w", store.ErrNotFound)
	}
	r, err := s.readRow(rowKey(table, key))
	if err != nil {
		return store.Value{}, unreadable("get", err)
	}
	if r.gone(s.clock.Now()) {
		return store.Value{}, fmt.Errorf("disk: get: %w", store.ErrNotFound)
	}
	return r.Value, nil
}

// Put writes the record and returns when it is on the disk; see store.Table.
func (s *Store) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	if tooLong(table, key) || len(put.Data) > store.MaxRecord {
		return 0, fmt.Errorf("disk: put: %w", store.ErrTooLarge)
	}
	k := rowKey(table, key)
	var version uint64
	err := s.through(ctx, "put", len(put.Data)+len(k), false, func(w *work) error {
		if err := s.ready(someRoom); err != nil {
			return err
		}
		old, err := w.row(k)
		if err != nil {
			return err
		}
		now := s.clock.Now()
		if !old.fits(put.IfVersion, now) {
			return store.ErrConflict
		}
		r := row{Value: store.Value{Data: put.Data, Version: old.Version + 1}}
		if put.TTL > 0 {
			r.Expires = now.Add(put.TTL)
			r.due = old.due
			if due := minuteAfter(r.Expires); r.due == 0 || due < r.due {
				r.due = due
				w.set(append(dueKey(tabDue, due), k[1:]...), nil)
			}
		}
		w.setRow(k, r)
		version = r.Version
		return nil
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// Remove deletes the record; see store.Table.
func (s *Store) Remove(ctx context.Context, table, key string, ifVersion *uint64) error {
	if tooLong(table, key) {
		return fmt.Errorf("disk: remove: %w", store.ErrTooLarge)
	}
	k := rowKey(table, key)
	return s.through(ctx, "remove", len(k), false, func(w *work) error {
		old, err := w.row(k)
		if err != nil {
			return err
		}
		if !old.fits(ifVersion, s.clock.Now()) {
			return store.ErrConflict
		}
		if old.Version != 0 {
			w.setRow(k, row{})
			if old.due != 0 {
				w.delete(append(dueKey(tabDue, old.due), k[1:]...))
			}
		}
		return nil
	})
}

// List returns rows in the byte order of their keys; see store.Table.
func (s *Store) List(ctx context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	if err := s.enter(ctx, "list"); err != nil {
		return nil, err
	}
	defer s.leave()
	if tooLong(table, prefix) || tooLong(table, after) {
		return nil, nil
	}
	from := rowKey(table, prefix)
	end, skip := prefixEnd(from), len(rowKey(table, ""))
	if after >= prefix {
		from = append(rowKey(table, after), 0)
	}
	if bytes.Compare(from, end) >= 0 {
		return nil, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: end})
	if err != nil {
		return nil, unreadable("list", err)
	}
	var items []store.Item
	now := s.clock.Now()
	for it.First(); it.Valid() && len(items) < limit && err == nil; it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err != nil {
			break
		}
		var r row
		if r, err = parseRow(v); err == nil && !r.gone(now) {
			items = append(items, store.Item{Key: string(it.Key()[skip:]), Value: r.Value})
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, unreadable("list", err)
	}
	return items, nil
}
