package catchup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// tableStreams has the streams of an account in one row, so that a change sees all of
// them: key = account.
const tableStreams = "stream"

// Stream is a place in an account's log that consumers share, with a filter (product.md
// V1).
type Stream struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Resources []string `json:"resources,omitempty"`
	Events    []string `json:"events,omitempty"`
	// StartDate is as it was written.
	StartDate string `json:"start_date,omitempty"`
	Created   int64  `json:"created"` // ms of the store's clock, as the following
	Updated   int64  `json:"updated"`
	// Start is what StartDate means, 0: nothing.
	Start int64 `json:"start,omitempty"`
	// Generation counts how often the stream began anew because nobody had come for
	// too long.
	Generation uint64 `json:"generation,omitempty"`
	// Members are the connections; Ended is when the last one ended, 0: while there are
	// some, and before the first.
	Members []StreamMember `json:"members,omitempty"`
	Ended   int64          `json:"ended,omitempty"`
}

// StreamMember is a connection to a stream.
type StreamMember struct {
	ID   string `json:"id"`
	Node string `json:"node"`
	// Since is the newest record when it came.
	Since store.Position `json:"since"`
	// Seen is when its node last said that it is there, in ms.
	Seen int64 `json:"seen"`
}

// Group names the readers of the stream; id is what the stream's peers see as group.
func (s *Stream) Group(account string) store.GroupName {
	name := "stream_" + s.ID
	if s.Generation > 0 {
		name += "/" + strconv.FormatUint(s.Generation, 10)
	}
	return store.GroupName{Log: RecordLog(account), Name: name}
}

// Filter returns what the stream shows.
func (s *Stream) Filter() RecordFilter {
	f := RecordFilter{Resources: s.Resources, Events: s.Events}
	if s.Start != 0 {
		f.Since = time.UnixMilli(s.Start)
	}
	return f
}

// Member returns the place of a connection among Members, -1 if it is none.
func (s *Stream) Member(id string) int {
	return slices.IndexFunc(s.Members, func(m StreamMember) bool { return m.ID == id })
}

// StreamSet is the row of an account.
type StreamSet struct {
	Streams []Stream `json:"streams,omitempty"` // oldest first
	// Replays are the connections that read everything (product.md V17).
	Replays []StreamMember `json:"replays,omitempty"`
	// Version rises with each change of the row; 0: there is none.
	Version uint64 `json:"-"`
}

// Find returns a stream, nil if there is none.
func (s *StreamSet) Find(id string) *Stream {
	i := slices.IndexFunc(s.Streams, func(t Stream) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return &s.Streams[i]
}

// Streams keeps the streams of accounts on a store that several nodes may share. It has
// no state of its own.
type Streams struct{ table store.Table }

// NewStreams returns those of a store.
func NewStreams(t store.Table) Streams { return Streams{t} }

// Load returns an account's streams; none where there are none. Errors are the store's.
func (s Streams) Load(ctx context.Context, account string) (StreamSet, error) {
	v, err := s.table.Get(ctx, tableStreams, account)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return StreamSet{}, nil
	case err != nil:
		return StreamSet{}, fmt.Errorf("catchup: read streams: %w", err)
	}
	var set StreamSet
	if err := json.Unmarshal(v.Data, &set); err != nil {
		return StreamSet{}, fmt.Errorf("catchup: row of streams: %w", err)
	}
	set.Version = v.Version
	return set, nil
}

// streamAttempts is how often a change is tried when others were faster: each loss is
// another's success.
const streamAttempts = 64

// Change changes an account's streams: change is called with them, over again while
// others are faster, and returns false to leave them as they are. It returns what there
// is afterwards. Errors: change's own, ErrContended, the store's; ErrUncertain says that
// the change may have been made.
func (s Streams) Change(ctx context.Context, account string, change func(*StreamSet) (bool, error)) (StreamSet, error) {
	for attempt := range streamAttempts {
		if attempt > 0 {
			if err := backOff(ctx, min(attempt, 4)); err != nil {
				return StreamSet{}, err
			}
		}
		set, err := s.Load(ctx, account)
		if err != nil {
			return StreamSet{}, err
		}
		changed, err := change(&set)
		if err != nil || !changed {
			return set, err
		}
		data, err := json.Marshal(set)
		if err != nil {
			return StreamSet{}, fmt.Errorf("catchup: row of streams: %w", err)
		}
		version := set.Version
		set.Version, err = s.table.Put(ctx, tableStreams, account, store.Put{Data: data, IfVersion: &version})
		switch {
		case err == nil:
			return set, nil
		case !errors.Is(err, store.ErrConflict):
			return StreamSet{}, fmt.Errorf("catchup: write streams: %w", err)
		}
	}
	return StreamSet{}, ErrContended
}
