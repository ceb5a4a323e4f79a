package store

import (
	"context"
	"crypto/sha256"
	"errors"
)

// Copier is a Store whose content can be brought into another one as it is: with
// positions, so that ids, times and resumed catch-ups stay good, with redactions, and
// with the versions and ends of rows, with the copies that wait and the places of
// groups. Nonces are not copied.
//
// It is for a store that nobody else uses meanwhile: what changes during a copy may
// or may not be in it, and an import is announced to no watcher. All imports may be
// done again with the same arguments: what is there already is not written twice.
type Copier interface {
	Store
	// EachLog calls do for every log that keeps records, once, in any order, until do
	// returns an error, which it returns. do may call the other methods.
	EachLog(ctx context.Context, do func(LogState) error) error
	// Export returns the records of a log that are there after a position, redacted
	// ones among them: at most limit, and about maxBytes bytes, but at least one. None:
	// that was all. Some may have expired.
	Export(ctx context.Context, log LogName, after Position, limit, maxBytes int) ([]Copied, error)
	// Import puts records, in order and of one epoch, behind the end of a log, which it
	// makes where there is none; those at or before its end are left out.
	// ErrConflict: the log is there with another epoch.
	Import(ctx context.Context, log LogState, records []Copied) error
	// EachRow calls do for every row that has not expired, once, as EachLog does.
	EachRow(ctx context.Context, do func(Row) error) error
	// ImportRows writes rows as they are, whatever is there. Those that have expired
	// are left out.
	ImportRows(ctx context.Context, rows []Row) error
	// EachPoints calls do for every row of every series, once and some at a time, as
	// EachLog does. PutRows brings them into another store.
	EachPoints(ctx context.Context, do func(Points) error) error
	// EachWaiting calls do for every copy of a record that has not reached its log (see
	// Copy), those of one log in its order, as EachLog does. To bring them over append
	// their records, after the log has been.
	EachWaiting(ctx context.Context, do func(Waiting) error) error
	// EachGroup calls do for every group, as EachLog does. To bring one over seek to
	// where its State says that everything is settled, after its log has been: what is
	// settled above that comes again.
	EachGroup(ctx context.Context, do func(GroupName) error) error
}

// Waiting is a copy of a record on its way to a log.
type Waiting struct {
	To     LogName
	Limits Limits
	// Record is what the log gets. It has a Nonce.
	Record Record
}

// NewWaiting returns a copy that waits, of a record at p, with what follows that place.
func NewWaiting(to LogName, limits Limits, p Position, data []byte) Waiting {
	r := Record{Copy: &Copy{To: to, Limits: limits, Data: data}}
	w := Waiting{To: to, Limits: limits, Record: Record{Data: r.Copied(p)}}
	sum := sha256.Sum256(w.Record.Data)
	copy(w.Record.Nonce[:], sum[:])
	return w
}

// LogState is a log in a copy.
type LogState struct {
	Log LogName
	// Limits are those of its newest append as far as the store knows them; what it
	// does not know is longer. They say what may be deleted until the next append.
	Limits Limits
	// Start is the position of the first record of the epoch, even if that has gone.
	Start Position
	// Last is the newest record.
	Last Position
}

// Copied is a record in a copy. The data of a redacted one is gone.
type Copied struct {
	Entry
	Redacted bool
}

// Row is a row of a table in a copy.
type Row struct {
	Table string
	Item
}

// Rest returns which of records are new to a log that ends at last (zero: there is
// none). ErrTooLarge, ErrConflict, or words for records that no log could have: of
// several epochs, out of order, or with gaps in n.
func (l LogState) Rest(last Position, records []Copied) ([]Copied, error) {
	if !last.IsZero() && last.Epoch() != l.Start.Epoch() {
		return nil, ErrConflict
	}
	for i := range records {
		r := &records[i]
		before := last
		if i > 0 {
			before = records[i-1].Position
		}
		switch p := r.Position; {
		case len(r.Data) > MaxRecord:
			return nil, ErrTooLarge
		case p.Epoch() != l.Start.Epoch(), p.Before(l.Start):
			return nil, errForeign
		case i > 0 && (p.N() != before.N()+1 || p.MS() < before.MS()):
			return nil, errDisorder
		}
	}
	for len(records) > 0 && !last.Before(records[0].Position) {
		records = records[1:]
	}
	if len(records) > 0 && !last.IsZero() && records[0].Position.N() != last.N()+1 {
		return nil, errDisorder
	}
	return records, nil
}

// Validate refuses a row that no store could take: ErrTooLarge, or one without version.
func (r Row) Validate() error {
	switch {
	case len(r.Table) > MaxName || len(r.Key) > MaxName || len(r.Data) > MaxRecord:
		return ErrTooLarge
	case r.Version == 0:
		return errors.New("store: copy: a row without version")
	}
	return nil
}

var (
	errForeign  = errors.New("store: copy: a record of another epoch than its log")
	errDisorder = errors.New("store: copy: records that do not follow each other")
)
