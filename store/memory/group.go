package memory

import (
	"context"
	"fmt"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/groups"
)

// Take hands records to a consumer; see store.Groups.
func (s *Store) Take(ctx context.Context, name store.GroupName, limits store.Limits, consumer string, limit, maxBytes int) (store.Taken, error) {
	if len(consumer) > store.MaxName {
		return store.Taken{}, fmt.Errorf("memory: take: consumer: %d bytes: %w", len(consumer), store.ErrTooLarge)
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

// Settle ends the holding of records; see store.Groups.
func (s *Store) Settle(ctx context.Context, name store.GroupName, at []store.Position) error {
	return s.group(ctx, "settle", name, func(g *groups.Group) error {
		g.Settle(at)
		return nil
	})
}

// Leave gives back what a consumer holds; see store.Groups.
func (s *Store) Leave(ctx context.Context, name store.GroupName, consumer string) error {
	return s.group(ctx, "leave", name, func(g *groups.Group) error {
		g.Leave(consumer)
		return nil
	})
}

// Seek sets the place of a group; see store.Groups.
func (s *Store) Seek(ctx context.Context, name store.GroupName, after store.Position) error {
	return s.group(ctx, "seek", name, func(g *groups.Group) error {
		g.Seek(after)
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
		return fmt.Errorf("memory: drop: %w", err)
	}
	if err := s.lock(ctx, "drop"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.groups.Drop(name)
	return nil
}

// group does something with a group while the store is open.
func (s *Store) group(ctx context.Context, doing string, name store.GroupName, do func(*groups.Group) error) error {
	if err := name.Validate(); err != nil {
		return fmt.Errorf("memory: %s: %w", doing, err)
	}
	if err := s.lock(ctx, doing); err != nil {
		return err
	}
	s.mu.Unlock()
	g, done, err := s.groups.Use(name)
	if err != nil {
		return fmt.Errorf("memory: %s: %w", doing, err)
	}
	defer done()
	return do(g)
}
