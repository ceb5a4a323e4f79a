package memory

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// table is one table. keys are those of rows in byte order, unless stale.
type table struct {
	rows  map[string]store.Value
	keys  []string
	stale bool
}

// Get returns the record; see store.Table.
func (s *Store) Get(ctx context.Context, name, key string) (store.Value, error) {
	if err := s.lock(ctx, "get"); err != nil {
		return store.Value{}, err
	}
	defer s.mu.Unlock()
	v, ok := s.row(name, key)
	if !ok {
		return store.Value{}, fmt.Errorf("memory: get: %w", store.ErrNotFound)
	}
	return v, nil
}

// Put writes the record; see store.Table.
func (s *Store) Put(ctx context.Context, name, key string, put store.Put) (uint64, error) {
	if len(name) > store.MaxName || len(key) > store.MaxName || len(put.Data) > store.MaxRecord {
		return 0, fmt.Errorf("memory: put: %w", store.ErrTooLarge)
	}
	if err := s.lock(ctx, "put"); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	old, there := s.row(name, key)
	if !fits(old, there, put.IfVersion) {
		return 0, fmt.Errorf("memory: put: %w", store.ErrConflict)
	}
	need := rowCost(key, put.Data)
	if there {
		need -= rowCost(key, old.Data)
	}
	if !s.room(need) {
		return 0, fmt.Errorf("memory: put: %w", store.ErrFull)
	}
	t := s.tables[name]
	if t == nil {
		t = &table{rows: make(map[string]store.Value)}
		s.tables[name] = t
	}
	if _, kept := t.rows[key]; !kept {
		t.keys, t.stale = append(t.keys, key), true
	}
	v := store.Value{Data: slices.Clone(put.Data), Version: old.Version + 1}
	if put.TTL > 0 {
		v.Expires = s.clock.Now().Add(put.TTL)
	}
	s.bytes += need
	t.rows[key] = v
	return v.Version, nil
}

// Remove deletes the record; see store.Table.
func (s *Store) Remove(ctx context.Context, name, key string, ifVersion *uint64) error {
	if err := s.lock(ctx, "remove"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	old, there := s.row(name, key)
	if !fits(old, there, ifVersion) {
		return fmt.Errorf("memory: remove: %w", store.ErrConflict)
	}
	if there {
		s.remove(s.tables[name], key, old)
		s.full = false
	}
	return nil
}

// List returns rows in the byte order of their keys; see store.Table.
func (s *Store) List(ctx context.Context, name, prefix, after string, limit int) ([]store.Item, error) {
	if err := s.lock(ctx, "list"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	t := s.tables[name]
	if t == nil {
		return nil, nil
	}
	t.sort()
	var items []store.Item
	for _, key := range t.keys[sort.SearchStrings(t.keys, max(prefix, after)):] {
		if len(items) >= limit || !strings.HasPrefix(key, prefix) {
			break
		}
		if v, ok := s.row(name, key); ok && key > after {
			items = append(items, store.Item{Key: key, Value: v})
		}
	}
	return items, nil
}

// sort puts the keys in order and leaves out those that were removed.
func (t *table) sort() {
	if !t.stale {
		return
	}
	t.keys = t.keys[:0]
	for key := range t.rows {
		t.keys = append(t.keys, key)
	}
	sort.Strings(t.keys)
	t.stale = false
}

// row returns a row that has not expired, dropping one that has; mu is held.
func (s *Store) row(name, key string) (store.Value, bool) {
	t := s.tables[name]
	if t == nil {
		return store.Value{}, false
	}
	v, ok := t.rows[key]
	if ok && expired(v, s.clock.Now()) {
		s.remove(t, key, v)
		return store.Value{}, false
	}
	return v, ok
}

func (s *Store) remove(t *table, key string, v store.Value) {
	delete(t.rows, key)
	t.stale = true
	s.bytes -= rowCost(key, v.Data)
}

func expired(v store.Value, now time.Time) bool {
	return !v.Expires.IsZero() && !now.Before(v.Expires)
}

// fits reports whether a row may be changed under ifVersion; see store.Put.
func fits(old store.Value, there bool, ifVersion *uint64) bool {
	return ifVersion == nil || there && *ifVersion == old.Version || !there && *ifVersion == 0
}

func rowCost(key string, data []byte) int64 { return rowOverhead + int64(len(key)+len(data)) }
