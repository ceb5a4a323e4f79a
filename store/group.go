package store

import "context"

// GroupName names a group of readers that share a log: each record goes to one of
// them (store.md §4, Groups). Name is opaque, at most MaxName bytes.
type GroupName struct {
	Log  LogName
	Name string
}

// Taken is what a consumer got.
type Taken struct {
	// Entries in the order of the log; those that come again are before all others.
	Entries []Entry
	// Again is how many of Entries, from the first, another consumer had held before.
	Again int
}

// GroupState says where a group stands.
type GroupState struct {
	// After is the place up to and including which everything is settled.
	After Position
	// Next is the place after which nothing has been taken yet.
	Next Position
	// Held is how many records each consumer holds; one that holds none may be missing.
	Held map[string]int
}

// Groups lets consumers share a log, at least once. A group that was never named
// stands at the beginning of the log. What is taken is held by its consumer until it
// is settled; the consumer that left, or died and was made to leave, gives what it held
// back. There is no waiting here: who has nothing to take watches the log's feed and
// asks again after Ready or Entries. All methods may be called from any process that
// uses the store, at the same time.
type Groups interface {
	// Take hands at most limit records (at least 1) and about maxBytes bytes (at
	// least one record) to consumer: first those that were given back, in the order of
	// the log, then those after Next. limits are those of the log: what they keep no
	// more is passed over, also among what was given back. None to take: no Entries,
	// no error. A group whose Next lies before the oldest record kept goes on there.
	Take(ctx context.Context, g GroupName, limits Limits, consumer string, limit, maxBytes int) (Taken, error)
	// Settle ends the holding of records, whoever has them: nobody gets them again.
	// Places that nobody holds are passed over. Durable when it returns.
	Settle(ctx context.Context, g GroupName, at []Position) error
	// Leave gives back what consumer holds, so that the others get it. A consumer
	// that is not known is no error.
	Leave(ctx context.Context, g GroupName, consumer string) error
	// Seek sets the group so that the next record taken is the first after after (zero:
	// the beginning), and forgets what is held or was given back.
	Seek(ctx context.Context, g GroupName, after Position) error
	// State returns where the group stands; the zero value for one never named.
	State(ctx context.Context, g GroupName) (GroupState, error)
	// Drop forgets the group; none is no error.
	Drop(ctx context.Context, g GroupName) error
}
