package memory

import (
	"context"
	"fmt"
	"slices"

	"github.com/gobelin-broker/gobelin/store"
)

var _ store.Copier = (*Store)(nil)

// EachLog calls do for every log; see store.Copier.
func (s *Store) EachLog(ctx context.Context, do func(store.LogState) error) error {
	if err := s.lock(ctx, "each log"); err != nil {
		return err
	}
	states := make([]store.LogState, 0, len(s.logs))
	for name, l := range s.logs {
		states = append(states, store.LogState{Log: name, Limits: l.limits, Start: l.start, Last: l.last()})
	}
	s.mu.Unlock()
	for _, state := range states {
		if err := do(state); err != nil {
			return err
		}
	}
	return nil
}

// Export returns records as they are; see store.Copier.
func (s *Store) Export(ctx context.Context, name store.LogName, after store.Position, limit, maxBytes int) ([]store.Copied, error) {
	if err := s.lock(ctx, "export"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	l := s.logs[name]
	if l == nil {
		return nil, nil
	}
	var out []store.Copied
	bytes := 0
	for _, e := range l.entries {
		if !after.Before(e.Position) {
			continue
		}
		bytes += len(e.Data)
		if len(out) > 0 && (len(out) >= limit || bytes > maxBytes) {
			break
		}
		out = append(out, store.Copied{Entry: e.Entry, Redacted: e.redacted})
	}
	return out, nil
}

// Import puts records behind the end of a log; see store.Copier.
func (s *Store) Import(ctx context.Context, state store.LogState, records []store.Copied) error {
	if err := state.Log.Validate(); err != nil {
		return fmt.Errorf("memory: import: %w", err)
	}
	if err := s.lock(ctx, "import"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l := s.logs[state.Log]
	var last store.Position
	if l != nil {
		last = l.last()
	}
	records, err := state.Rest(last, records)
	if err != nil {
		return fmt.Errorf("memory: import: %w", err)
	}
	if len(records) == 0 {
		return nil
	}
	need := int64(logOverhead)
	for i := range records {
		need += entryOverhead + int64(len(records[i].Data))
	}
	if !s.room(need) {
		return fmt.Errorf("memory: import: %w", store.ErrFull)
	}
	if l == nil {
		l = &log{start: state.Start}
		s.hold(state.Log, l)
	}
	l.limits = state.Limits
	for _, r := range records {
		e := entry{Entry: r.Entry, redacted: r.Redacted}
		if r.Redacted {
			e.Data = nil
			l.redacted = append(l.redacted, r.Position.N())
		}
		l.entries = append(l.entries, e)
		s.grow(l, entryOverhead+int64(len(e.Data)))
	}
	s.clock.After(l.last())
	return nil
}

// EachRow calls do for every row; see store.Copier.
func (s *Store) EachRow(ctx context.Context, do func(store.Row) error) error {
	if err := s.lock(ctx, "each row"); err != nil {
		return err
	}
	var rows []store.Row
	now := s.clock.Now()
	for name, t := range s.tables {
		for key, v := range t.rows {
			if !expired(v, now) {
				rows = append(rows, store.Row{Table: name, Item: store.Item{Key: key, Value: v}})
			}
		}
	}
	s.mu.Unlock()
	for _, r := range rows {
		if err := do(r); err != nil {
			return err
		}
	}
	return nil
}

// ImportRows writes rows as they are; see store.Copier.
func (s *Store) ImportRows(ctx context.Context, rows []store.Row) error {
	if err := s.lock(ctx, "import rows"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	for _, row := range rows {
		err := row.Validate()
		if err == nil {
			err = s.importRow(row)
		}
		if err != nil {
			return fmt.Errorf("memory: import rows: %w", err)
		}
	}
	return nil
}

// importRow writes one; mu is held.
func (s *Store) importRow(row store.Row) error {
	if expired(row.Value, s.clock.Now()) {
		return nil
	}
	old, there := s.row(row.Table, row.Key)
	need := rowCost(row.Key, row.Data)
	if there {
		need -= rowCost(row.Key, old.Data)
	}
	if !s.room(need) {
		return store.ErrFull
	}
	t := s.tables[row.Table]
	if t == nil {
		t = &table{rows: make(map[string]store.Value)}
		s.tables[row.Table] = t
	}
	if _, kept := t.rows[row.Key]; !kept {
		t.keys, t.stale = append(t.keys, row.Key), true
	}
	row.Data = slices.Clone(row.Data)
	s.bytes += need
	t.rows[row.Key] = row.Value
	return nil
}

// EachWaiting does nothing: no copy ever waits.
func (s *Store) EachWaiting(context.Context, func(store.Waiting) error) error { return nil }

// EachGroup calls do for every group; see store.Copier.
func (s *Store) EachGroup(ctx context.Context, do func(store.GroupName) error) error {
	if err := s.lock(ctx, "each group"); err != nil {
		return err
	}
	s.mu.Unlock()
	for _, name := range s.groups.Names() {
		if err := do(name); err != nil {
			return err
		}
	}
	return nil
}
