package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

// rowHead is what precedes the data of a row: version(8) and expiry(6).
const rowHead = 8 + 6

// Get returns the record; see store.Table.
func (s *Store) Get(ctx context.Context, table, key string) (store.Value, error) {
	if err := validRow(table, key, 0); err != nil {
		return store.Value{}, fmt.Errorf("redis: get: %w", err)
	}
	var text string
	err := s.look(ctx, func() (err error) {
		text, err = s.client.Get(ctx, s.keys.row(rowPartition(table, key), table, key)).Result()
		return err
	})
	if errors.Is(err, goredis.Nil) {
		return store.Value{}, fmt.Errorf("redis: get: %w", store.ErrNotFound)
	}
	if err != nil {
		return store.Value{}, fmt.Errorf("redis: get: %w", readError(err))
	}
	v, err := decodeRow(text)
	if err != nil {
		return store.Value{}, fmt.Errorf("redis: get: %w", err)
	}
	return v, nil
}

// Put writes the record; see store.Table. When a connection breaks over it the
// outcome is unknown: store.ErrUncertain.
func (s *Store) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	if err := validRow(table, key, len(put.Data)); err != nil {
		return 0, fmt.Errorf("redis: put: %w", err)
	}
	p := rowPartition(table, key)
	settings := append48(condition(put.IfVersion), bound(put.TTL))
	got, err := s.run(ctx, putScript, s.rowKeys(p, table, key), settings, key, put.Data, s.keys.rows(p, table))
	if err != nil {
		return 0, fmt.Errorf("redis: put: %w", storeError(err))
	}
	version, ok := got.(int64)
	if !ok || version < 0 {
		return 0, fmt.Errorf("redis: put: %w", store.ErrConflict)
	}
	return uint64(version), nil
}

// Remove deletes the record; see store.Table.
func (s *Store) Remove(ctx context.Context, table, key string, ifVersion *uint64) error {
	if err := validRow(table, key, 0); err != nil {
		return fmt.Errorf("redis: remove: %w", err)
	}
	p := rowPartition(table, key)
	got, err := s.run(ctx, removeScript, s.rowKeys(p, table, key), condition(ifVersion), key)
	if err != nil {
		return fmt.Errorf("redis: remove: %w", storeError(err))
	}
	if got != int64(1) {
		return fmt.Errorf("redis: remove: %w", store.ErrConflict)
	}
	return nil
}

// List returns rows in the byte order of their keys; see store.Table. Every
// partition has its own order, and they are merged.
func (s *Store) List(ctx context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	if err := validRow(table, after, 0); err != nil {
		return nil, fmt.Errorf("redis: list: %w", err)
	}
	var items []store.Item
	for len(items) < limit {
		names, more, err := s.order(ctx, table, prefix, after, min(limit-len(items), maxChunk))
		if err == nil && len(names) > 0 {
			after = names[len(names)-1]
			items, err = s.rows(ctx, table, names, items)
		}
		if err != nil {
			return nil, fmt.Errorf("redis: list: %w", readError(err))
		}
		if !more {
			break
		}
	}
	return items, nil
}

// order returns at most n keys of a table, whether their rows have expired or not,
// and whether there may be others after them.
func (s *Store) order(ctx context.Context, table, prefix, after string, n int) (names []string, more bool, err error) {
	by := &goredis.ZRangeBy{Min: "[" + prefix, Max: prefixEnd(prefix), Count: int64(n/16 + 8)}
	if after >= prefix {
		by.Min = "(" + after
	}
	if after == "" && prefix == "" {
		by.Min = "-"
	}
	asks := make([]*goredis.StringSliceCmd, partitions)
	err = s.look(ctx, func() error {
		pipe := s.client.Pipeline()
		for p := range asks {
			asks[p] = pipe.ZRangeByLex(ctx, s.keys.order(p, table), by)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	// What lies behind the last key of a partition that has others is not known to
	// be next.
	sure := ""
	for _, a := range asks {
		got := a.Val()
		names = append(names, got...)
		if len(got) == int(by.Count) && (!more || got[len(got)-1] < sure) {
			sure, more = got[len(got)-1], true
		}
	}
	slices.Sort(names)
	if more {
		at, _ := slices.BinarySearch(names, sure)
		names = names[:at+1]
	}
	if len(names) > n {
		names, more = names[:n], true
	}
	return names, more, nil
}

// rows appends the rows of names, which are in order, to items.
func (s *Store) rows(ctx context.Context, table string, names []string, items []store.Item) ([]store.Item, error) {
	asks := make([]*goredis.StringCmd, len(names))
	err := s.look(ctx, func() error {
		pipe := s.client.Pipeline()
		for i, key := range names {
			asks[i] = pipe.Get(ctx, s.keys.row(rowPartition(table, key), table, key))
		}
		_, _ = pipe.Exec(ctx) // each command has its own outcome
		for _, a := range asks {
			if err := a.Err(); err != nil && !errors.Is(err, goredis.Nil) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, a := range asks {
		if errors.Is(a.Err(), goredis.Nil) {
			continue // it has expired
		}
		v, err := decodeRow(a.Val())
		if err != nil {
			return nil, err
		}
		items = append(items, store.Item{Key: names[i], Value: v})
	}
	return items, nil
}

// prefixEnd is the end of a range by lex of what begins with prefix.
func prefixEnd(prefix string) string {
	end := prefix
	for end != "" && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if end == "" {
		return "+"
	}
	return "(" + end[:len(end)-1] + string([]byte{end[len(end)-1] + 1})
}

// decodeRow reads a row.
func decodeRow(text string) (store.Value, error) {
	if len(text) < rowHead {
		return store.Value{}, errEntry
	}
	v := store.Value{Data: []byte(text[rowHead:]), Version: binary.BigEndian.Uint64([]byte(text[:8]))}
	if ms := binary.BigEndian.Uint64([]byte("\x00\x00" + text[8:rowHead])); ms > 0 {
		v.Expires = time.UnixMilli(int64(ms))
	}
	return v, nil
}

// condition begins the settings of a script that writes a row.
func condition(ifVersion *uint64) []byte {
	if ifVersion == nil {
		return make([]byte, 9, 16)
	}
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 16), 1), *ifVersion)
}

func (s *Store) rowKeys(p int, table, key string) []string {
	return []string{s.keys.row(p, table, key), s.keys.order(p, table), s.keys.expiries(p, table)}
}

// rowPartition is where a row lies.
func rowPartition(table, key string) int { return partition(table + "\x00" + key) }

func validRow(table, key string, size int) error {
	if len(table) > store.MaxName || len(key) > store.MaxName || size > store.MaxRecord {
		return store.ErrTooLarge
	}
	return nil
}
