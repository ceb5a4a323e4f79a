package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// deletedFor is how long it is remembered that a log was deleted: longer than the
// nonces of its records are (decided.md 19).
const deletedFor = 7 * 24 * time.Hour

// Redact leaves a tombstone for one record; see store.Log. Doing it again changes
// nothing, so when the outcome is unknown it may be done again.
func (s *Store) Redact(ctx context.Context, name store.LogName, p store.Position) error {
	if err := name.Validate(); err != nil {
		return fmt.Errorf("redis: redact: %w", err)
	}
	part, log := partition(name.Feed), logText(name)
	keys := []string{s.keys.stream(part, log), s.keys.redacted(part, log)}
	got, err := s.run(ctx, redactScript, keys, streamID(p.MS(), p.N()), p[6:10], p.N())
	if err != nil {
		return fmt.Errorf("redis: redact: %w", storeError(err))
	}
	if got != int64(1) {
		return fmt.Errorf("redis: redact: %w", store.ErrNotFound)
	}
	return nil
}

// Delete removes the log whole, and forgets its nonces; see store.Log. Doing it
// again changes nothing.
func (s *Store) Delete(ctx context.Context, name store.LogName) error {
	if err := name.Validate(); err != nil {
		return fmt.Errorf("redis: delete: %w", err)
	}
	part, log := partition(name.Feed), logText(name)
	keys := []string{s.keys.meta(part, log), s.keys.stream(part, log), s.keys.redacted(part, log)}
	if _, err := s.run(ctx, deleteScript, keys, deletedFor.Milliseconds()); err != nil {
		return fmt.Errorf("redis: delete: %w", storeError(err))
	}
	return nil
}
