package store

import (
	"context"
	"fmt"
	"time"
)

// LogName names one log. Feed is the unit that is watched (an object, or the
// space of open channels); Path is the log's name inside it. Both are opaque to
// the store: any bytes, at most 255 each.
type LogName struct {
	Feed string
	Path string
}

// Validate refuses a name the store cannot hold with ErrTooLarge (wrapped).
func (n LogName) Validate() error {
	if len(n.Feed) > MaxName || len(n.Path) > MaxName {
		return fmt.Errorf("store: log name: %d and %d bytes: %w", len(n.Feed), len(n.Path), ErrTooLarge)
	}
	return nil
}

// MaxName bounds each part of a log's name, a table's name and a key, in bytes.
const MaxName = 255

// Limits says how long the records of a log are kept. The zero value keeps
// nothing: a record gets its place and reaches the watchers, but cannot be read.
type Limits struct {
	// Age: a record older than this is not read any more (exact), and is
	// deleted some time later. 0 keeps nothing; Forever never expires.
	Age time.Duration
	// Length: only the newest Length records are read (exact). 0: no bound.
	Length int
	// Idle: the whole log goes, all at once, this long after its last record.
	// 0: no idle expiry. With Idle set, Age is usually Forever.
	Idle time.Duration
}

// Forever as Limits.Age keeps records until the log is deleted.
const Forever = time.Duration(1<<63 - 1)

// Keeps reports whether anything can be read back under these limits.
func (l Limits) Keeps() bool { return l.Age > 0 }

// Nonce marks a record so that appending it again is harmless; the zero value
// marks nothing. It is compared within one log only and remembered across restarts
// (decided.md 19).
type Nonce [16]byte

// NonceLife is how long a nonce is remembered where Record.Remember is 0.
const NonceLife = 24 * time.Hour

// Record is what a caller appends.
type Record struct {
	// Data is opaque, at most MaxRecord bytes. The store may keep the slice: the
	// caller must not change it afterwards.
	Data []byte
	// Nonce: a record with the Nonce of an earlier one of the same log is not
	// written; the caller gets the earlier position.
	Nonce Nonce
	// Remember is the least time for which Nonce is remembered, 0: NonceLife. A
	// store for which remembering costs memory forgets it then.
	Remember time.Duration
	// Copy, if not nil, is a second log that the record goes to.
	Copy *Copy
}

// MaxRecord bounds Record.Data; what is above is refused with ErrTooLarge.
// It leaves room for a 1 MiB message and its envelope, with a wide margin for
// operators who raise limits.message.
const MaxRecord = 16 << 20

// Entry is a record in its place.
type Entry struct {
	Position Position
	// Data is shared and must not be changed.
	Data []byte
}

// Tail is an entry on its way to a watcher.
type Tail struct {
	Log LogName
	// Prev is the position before this one in its log, zero for the first of an
	// epoch: the successor of p is the entry whose Prev is p, so a watcher finds
	// gaps by comparing.
	Prev Position
	// Kept is false when the log's limits keep nothing: such an entry cannot be
	// read back.
	Kept bool
	Entry
}

// Appended is the outcome of one append: a position for each record, in order.
// Prior[i] is true when the record was there already (same nonce).
type Appended struct {
	Positions []Position
	Prior     []bool
}

// Head says where a log begins and ends. The zero value: the log does not exist,
// or nothing of it is kept.
type Head struct {
	Last   Position // newest record kept
	Oldest Position // oldest record that a Read can return now
}

// Range selects records: those after After (exclusive) and not older than Since
// (inclusive; the store's clock, at ms precision; the zero time: no bound), up to
// and including UpTo (zero: to the end).
type Range struct {
	After Position
	Since time.Time
	UpTo  Position
	// Limits are those the log is appended with: age and length are applied
	// exactly on reading.
	Limits Limits
}

// Page is a stretch of a log in order.
type Page struct {
	Entries []Entry
	// More: the range holds records beyond the last of Entries.
	More bool
	// Trimmed: the range begins before the oldest record kept, by the length
	// limit (not by age), so something asked for is gone.
	Trimmed bool
	// Forked: After names no record of this log though it should still be kept
	// (a store that lost its tail and went on).
	Forked bool
}

// Log is the append-only half of the contract (store.md §4). Positions rise
// within a log, are dense in N within an epoch, and are never issued twice.
// All methods may be called by many goroutines at once.
type Log interface {
	// Submit appends records to a log, all adjacent and in order, and returns
	// at once; submits to one log take their places in the order of the calls of
	// one goroutine. done is called exactly once, from any goroutine, when the
	// records are as durable as the store is configured, and by then every later
	// Read sees them. done must not block. Errors: ErrUnavailable, ErrFull,
	// ErrTooLarge, ErrUncertain, ErrClosed (wrapped).
	Submit(log LogName, limits Limits, records []Record, done func(Appended, error))
	// Head returns where the log begins and ends under these limits.
	Head(ctx context.Context, log LogName, limits Limits) (Head, error)
	// Heads returns the newest position of each log, in the order of logs, whatever
	// has expired since; zero for a log of which nothing is known. It is for many
	// logs at once: what changed since one last looked is then read. For logs that
	// keep nothing it may be zero, too.
	Heads(ctx context.Context, logs []LogName) ([]Position, error)
	// Spoke returns the logs of a feed, as in Watch, that had an append at since or
	// later, by the store's clock, in any order; some may not have had one. At most
	// limit are returned, more says that there are others. It looks back SpokeFor at
	// most. Logs that keep nothing may be missing.
	Spoke(ctx context.Context, feed string, since time.Time, limit int) (logs []LogName, more bool, err error)
	// Read returns at most limit records (at least 1) and about maxBytes bytes
	// (at least one record) of the range.
	Read(ctx context.Context, log LogName, r Range, limit, maxBytes int) (Page, error)
	// Count returns how many records a Read of the whole range would return, by
	// arithmetic on N less the redacted ones: it does not scan.
	Count(ctx context.Context, log LogName, r Range) (int64, error)
	// Redact removes one record from every later Read and Count; its position
	// stays taken. Unknown positions are ErrNotFound. (decided.md 20)
	Redact(ctx context.Context, log LogName, p Position) error
	// Delete removes the log whole; a later Submit begins a new epoch.
	Delete(ctx context.Context, log LogName) error
}

// SpokeFor is how far back Spoke remembers: longer than a session's record lives
// after the session was last heard of.
const SpokeFor = time.Hour

// Watcher hears what is appended. The store calls it in commit order for each
// log, from one goroutine at a time for each Watch, and must not be blocked.
type Watcher interface {
	// Ready: every entry committed from now on is announced, until Broken. It
	// is called first, and again after each Broken; what was committed between
	// was not announced and must be read.
	Ready()
	// Entries announces committed entries, in order within a log. Repeats and
	// entries from before Ready are allowed; gaps show in Prev. One that nothing
	// follows shows within 20 s, by Broken or another Ready.
	Entries([]Tail)
	// Broken: announcements have stopped until the next Ready.
	Broken(error)
}

// Feed is the live half of the contract.
type Feed interface {
	// Watch announces every append to the logs of a feed to w. A feed that ends in
	// "/" stands for all that begin with it, AllFeeds for every one. Ready may come
	// before Watch returns or later. stop ends it: after it has returned, w is not
	// called any more.
	Watch(feed string, w Watcher) (stop func(), err error)
	// Announced returns a time of the store's clock: of every feed that is watched,
	// what was committed up to it either was announced or has been declared missed
	// by Broken or another Ready. It does not go back; while the store cannot be
	// heard it stands still.
	Announced() time.Time
}

// AllFeeds as the feed of a Watch is every log of the store. A log whose own feed
// ends in "/" is heard only by what stands for many.
const AllFeeds = ""

// Value is a record of a table. Version rises with each change of its key and
// begins at 1; a key deleted and made again goes on rising or begins at 1.
type Value struct {
	Data    []byte
	Version uint64
	// Expires is zero for a record without an end.
	Expires time.Time
}

// Put says how a record is written.
type Put struct {
	Data []byte
	// TTL: the record goes this long after; 0: it stays.
	TTL time.Duration
	// IfVersion: nil writes in any case; 0 only if there is no such key;
	// otherwise only if the record has this version. Else ErrConflict.
	IfVersion *uint64
}

// Table is the keyed half of the contract: records that are overwritten, with
// compare-and-set and expiry. table and key are opaque bytes, at most 255 each.
type Table interface {
	// Get returns the record, or ErrNotFound.
	Get(ctx context.Context, table, key string) (Value, error)
	// Put writes it and returns its new version; durable when it returns.
	// ErrConflict: the record has another version than asked for.
	Put(ctx context.Context, table, key string, put Put) (uint64, error)
	// Remove deletes it; a key that is not there is no error. ifVersion as in Put.
	Remove(ctx context.Context, table, key string, ifVersion *uint64) error
	// List returns at most limit keys that begin with prefix and come after
	// after, in byte order, with their values.
	List(ctx context.Context, table, prefix, after string, limit int) ([]Item, error)
}

// Item is one row of a List.
type Item struct {
	Key string
	Value
}

// Store is a backend: store/memory, store/disk, store/redis.
type Store interface {
	Log
	Table
	Feed
	Groups
	Series
	// Lag tells how far the copies of records are behind their records; see Copy.
	Lag(ctx context.Context) (Lag, error)
	// Now is the store's clock, in which ages and intervals are measured.
	Now() time.Time
	// Shared reports whether other processes may use the store at the same time.
	Shared() bool
	// Health returns nil when appends and reads can be expected to work, or
	// what is wrong in words for an operator.
	Health(ctx context.Context) error
	// Close ends it: what was submitted is settled first.
	Close() error
}
