package broker

import (
	"context"
	"fmt"

	"github.com/gobelin-broker/gobelin/store"
)

// StreamState is a stream with where it stands.
type StreamState struct {
	Account string `json:"account"` // its cdn
	ID      string `json:"id"`
	Name    string `json:"name"`
	Members int    `json:"members"`
	// Filters are the types that it shows; none: all.
	Resources []string `json:"resources"`
	Events    []string `json:"events"`
	Created   int64    `json:"created"` // ms since 1970
	// Checkpoint is when the newest record came up to which everything is settled, in ms
	// of the store's clock; 0: nothing is, or its place was forgotten.
	Checkpoint int64 `json:"checkpoint"`
	// Waiting is how many records come after it, Taken how many of these are with
	// connections, Returned how many were given back.
	Waiting  int64 `json:"waiting"`
	Taken    int   `json:"taken"`
	Returned int   `json:"returned"`
	// Lag is how long the oldest record has waited that comes after, in ms; 0: none does.
	Lag int64 `json:"lag"`
}

// Streams returns the streams of all accounts, with where they stand, newest first for
// each account. Errors are the store's.
func (o Operator) Streams(ctx context.Context) ([]StreamState, error) {
	all := []StreamState{}
	for _, a := range o.b.accounts.all {
		set, err := o.b.streams.Load(ctx, a.name)
		if err != nil {
			return nil, fmt.Errorf("broker: streams: %w", err)
		}
		for i := len(set.Streams) - 1; i >= 0; i-- {
			s, err := o.b.streamState(ctx, a, o.b.viewStream(ctx, a, &set.Streams[i]), set.Streams[i].Group(a.name))
			if err != nil {
				return nil, fmt.Errorf("broker: streams: %w", err)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// streamState says where a stream stands.
func (b *Broker) streamState(ctx context.Context, a *account, v StreamView, g store.GroupName) (StreamState, error) {
	s := StreamState{
		Account: a.name, ID: v.ID, Name: v.Name, Members: v.Members, Created: v.Created.UnixMilli(),
		Resources: append([]string{}, v.Resources...), Events: append([]string{}, v.Events...),
	}
	state, err := b.opt.Store.State(ctx, g)
	if err != nil {
		return s, err
	}
	s.Returned = state.Returned
	for _, held := range state.Held {
		s.Taken += held
	}
	if !state.After.IsZero() {
		s.Checkpoint = state.After.MS()
	}
	rest := store.Range{After: state.After, Limits: a.limits}
	if s.Waiting, err = b.opt.Store.Count(ctx, a.log, rest); err != nil || s.Waiting == 0 {
		return s, err
	}
	page, err := b.opt.Store.Read(ctx, a.log, rest, 1, 1)
	if err == nil && len(page.Entries) > 0 {
		s.Lag = max(b.opt.Store.Now().UnixMilli()-page.Entries[0].Position.MS(), 0)
	}
	return s, err
}
