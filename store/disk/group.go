package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/groups"
)

// maxGroups is how many groups stay in memory of which all is settled.
const maxGroups = 10_000

// loadGroup returns what is kept of a group, nil for nothing.
func (s *Store) loadGroup(name store.GroupName) ([]byte, error) {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	v, closer, err := s.db.Get(groupKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return bytes.Clone(v), closer.Close()
}

// Take hands records to a consumer; see store.Groups. Who holds what is in memory only.
func (s *Store) Take(ctx context.Context, name store.GroupName, limits store.Limits, consumer string, limit, maxBytes int) (store.Taken, error) {
	if len(consumer) > store.MaxName {
		return store.Taken{}, fmt.Errorf("disk: take: consumer: %d bytes: %w", len(consumer), store.ErrTooLarge)
	}
	var out store.Taken
	err := s.group(ctx, "take", name, func(g *groups.Group) (err error) {
		read := func(ctx context.Context, r store.Range, limit, maxBytes int) (store.Page, error) {
			return s.Read(ctx, name.Log, r, limit, maxBytes)
		}
		out, err = g.Take(ctx, read, limits, consumer, limit, maxBytes)
		return err
	})
	return out, err
}

// Settle ends the holding of records and returns when that is on the disk; see
// store.Groups.
func (s *Store) Settle(ctx context.Context, name store.GroupName, at []store.Position) error {
	return s.keep(ctx, "settle", name, func(g *groups.Group) { g.Settle(at) })
}

// Seek sets the place of a group and returns when that is on the disk; see store.Groups.
func (s *Store) Seek(ctx context.Context, name store.GroupName, after store.Position) error {
	return s.keep(ctx, "seek", name, func(g *groups.Group) { g.Seek(after) })
}

// Leave gives back what a consumer holds; see store.Groups.
func (s *Store) Leave(ctx context.Context, name store.GroupName, consumer string) error {
	return s.group(ctx, "leave", name, func(g *groups.Group) error {
		g.Leave(consumer)
		return nil
	})
}

// State returns where a group stands; see store.Groups.
func (s *Store) State(ctx context.Context, name store.GroupName) (state store.GroupState, err error) {
	err = s.group(ctx, "state", name, func(g *groups.Group) error {
		state = g.State()
		return nil
	})
	return state, err
}

// Drop forgets a group; see store.Groups.
func (s *Store) Drop(ctx context.Context, name store.GroupName) error {
	if err := name.Validate(); err != nil {
		return fmt.Errorf("disk: drop: %w", err)
	}
	err := s.through(ctx, "drop", 0, true, func(w *work) error {
		s.groups.Drop(name)
		w.delete(groupKey(name))
		return nil
	})
	s.groups.Drop(name) // who came meanwhile has loaded what was there
	return err
}

// group does something with a group while the store is open.
func (s *Store) group(ctx context.Context, doing string, name store.GroupName, do func(*groups.Group) error) error {
	if err := name.Validate(); err != nil {
		return fmt.Errorf("disk: %s: %w", doing, err)
	}
	if err := s.enter(ctx, doing); err != nil {
		return err
	}
	s.leave()
	g, done, err := s.groups.Use(name)
	if err != nil {
		return fmt.Errorf("disk: %s: %w", doing, err)
	}
	defer done()
	return do(g)
}

// keep changes a group in the committer, which writes what is to be kept of it.
func (s *Store) keep(ctx context.Context, doing string, name store.GroupName, change func(*groups.Group)) error {
	if err := name.Validate(); err != nil {
		return fmt.Errorf("disk: %s: %w", doing, err)
	}
	return s.through(ctx, doing, 0, false, func(w *work) error {
		g, done, err := s.groups.Use(name)
		if err != nil {
			return err
		}
		w.used = append(w.used, done) // it must stay until it can be loaded
		change(g)
		w.set(groupKey(name), g.Encode())
		return nil
	})
}
