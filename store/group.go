package store

import (
	"context"
	"fmt"
)

// GroupName names a group of readers that share a log: each record goes to one of
// them (store.md §4, Groups). Name is opaque, at most MaxName bytes.
type GroupName struct {
	Log  LogName
	Name string
}

// Validate refuses a name the store cannot hold with ErrTooLarge (wrapped).
func (g GroupName) Validate() error {
	if len(g.Name) > MaxName {
		return fmt.Errorf("store: group name: %d bytes: %w", len(g.Name), ErrTooLarge)
	}
	return g.Log.Validate()
}

const (
	// MaxHeld is how many records of a group may be taken and not settled, those that
	// were given back among them. Then Take gives out only what was given back: who
	// never settles gets no more, and costs no more memory.
	MaxHeld = 1_000_000
	// MaxTake bounds the records of one Take.
	MaxTake = 1000
)

// Taken is what a consumer got.
type Taken struct {
	// Entries in the order of the log; those that come again are before all others.
	Entries []Entry
	// Again is how many of Entries, from the first, had been taken before, as far as
	// the store remembers: after a crash of an embedded one it may say less.
	Again int
}

// GroupState says where a group stands.
type GroupState struct {
	// After is a place up to and including which everything is settled.
	After Position
	// Next is the place after which nothing has been taken yet.
	Next Position
	// Held is how many records each consumer holds; one that holds none may be missing.
	Held map[string]int
	// Returned is how many were given back and wait for another consumer.
	Returned int
}

// Groups lets consumers share a log, at least once. A group that was never named
// stands at the beginning of the log. What is taken is held by its consumer until it
// is settled; the consumer that left, or died and was made to leave, gives what it held
// back. An embedded store remembers who holds what only while it is open: then all
// that is not settled comes again, in order. There is no waiting here: who has nothing
// to take watches the log's feed and asks again after Ready or Entries. All methods may
// be called from any process that uses the store, at the same time. Names, of groups
// and consumers, are at most MaxName bytes, else ErrTooLarge.
type Groups interface {
	// Take hands at most limit records (at least 1, at most MaxTake) and about maxBytes
	// bytes (at least one record) to consumer: first those that were given back, in the
	// order of the log, then those after Next. limits are those of the log: what they
	// keep no more is passed over, also among what was given back. None to take, or
	// MaxHeld are out: no Entries, no error. A group whose Next lies before the oldest
	// record kept goes on there. After an error other than ErrUncertain nothing is held
	// by it; after ErrUncertain the consumer may hold what it does not know of, and gets
	// rid of it by Leave.
	Take(ctx context.Context, g GroupName, limits Limits, consumer string, limit, maxBytes int) (Taken, error)
	// Settle ends the holding of records, whoever has them, and also if they were given
	// back: nobody gets them again. Places that were not taken are passed over, so
	// settling twice changes nothing. Durable when it returns.
	Settle(ctx context.Context, g GroupName, at []Position) error
	// Leave gives back what consumer holds, so that the others get it. A consumer
	// that is not known is no error.
	Leave(ctx context.Context, g GroupName, consumer string) error
	// Seek sets the group so that the next record taken is the first after after (zero:
	// the beginning), and forgets what is held or was given back.
	Seek(ctx context.Context, g GroupName, after Position) error
	// State returns where the group stands; the zero value for one never named.
	State(ctx context.Context, g GroupName) (GroupState, error)
	// Drop forgets the group; none is no error. So does the deletion of its log, whole
	// or by expiry, after which nothing is there that could come again.
	Drop(ctx context.Context, g GroupName) error
}
