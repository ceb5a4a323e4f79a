package catchup

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// PageBytes bounds a page of a replay, with the caller's count (decided.md 8).
const PageBytes = 1 << 20

// Replay is a resumable walk over one stretch of a log. It holds no goroutine and
// no entries. One goroutine at a time may use it.
type Replay struct {
	log    store.Log
	name   store.LogName
	limits store.Limits

	after store.Position // everything up to here was returned
	since time.Time
	upTo  store.Position
	ended bool
}

// Extent is what a replay will give, as the subscribe reply says it
// (product.md §4, acknowledgement).
type Extent struct {
	Messages  int64
	Truncated bool // the length limit, not age, cut the interval short
}

// NewReplay prepares the walk over the records not older than since, up to and
// including upTo, and says what it will give. It reads one record and counts; it
// does not scan. A zero upTo is an empty walk.
func NewReplay(ctx context.Context, log store.Log, name store.LogName, limits store.Limits, since time.Time, upTo store.Position) (*Replay, Extent, error) {
	r := &Replay{log: log, name: name, limits: limits, since: since, upTo: upTo, ended: upTo.IsZero()}
	if r.ended {
		return r, Extent{}, nil
	}
	span := store.Range{Since: since, UpTo: upTo, Limits: limits}
	first, err := log.Read(ctx, name, span, 1, 1)
	if err != nil {
		return nil, Extent{}, fmt.Errorf("catchup: begin replay: %w", err)
	}
	x := Extent{Truncated: first.Trimmed}
	if len(first.Entries) == 0 {
		r.ended = true
		return r, x, nil
	}
	// The start is fixed here: later reads go without the length limit, so that
	// what is published meanwhile does not push out what was counted.
	r.after = predecessor(first.Entries[0].Position)
	r.limits.Length = 0
	span.After, span.Limits = r.after, r.limits
	if x.Messages, err = log.Count(ctx, name, span); err != nil {
		return nil, Extent{}, fmt.Errorf("catchup: count replay: %w", err)
	}
	return r, x, nil
}

// Next returns the next records, at most limit and about PageBytes, or none with
// io.EOF at the end. After another error the same call may be made again.
func (r *Replay) Next(ctx context.Context, limit int) ([]store.Entry, error) {
	if r.ended {
		return nil, io.EOF
	}
	page, err := r.log.Read(ctx, r.name, store.Range{After: r.after, Since: r.since, UpTo: r.upTo, Limits: r.limits}, limit, PageBytes)
	if err != nil {
		return nil, fmt.Errorf("catchup: read replay: %w", err)
	}
	if n := len(page.Entries); n > 0 {
		r.after = page.Entries[n-1].Position
	}
	r.ended = !page.More
	if len(page.Entries) == 0 {
		r.ended = true
		return nil, io.EOF
	}
	return page.Entries, nil
}

// Position returns the last position that was returned, or one before the first.
func (r *Replay) Position() store.Position { return r.after }

// Ended reports whether Next would return nothing more.
func (r *Replay) Ended() bool { return r.ended }

// UpTo returns where the walk ends.
func (r *Replay) UpTo() store.Position { return r.upTo }

// Advance moves the walk on to last, since the caller has what is due up to there; at its
// end, or beyond, it has ended.
func (r *Replay) Advance(last store.Position) {
	if r.after.Before(last) {
		r.after = last
	}
	r.ended = r.ended || !last.Before(r.upTo)
}

// Begin moves the walk on so that the next record is the one at p, or the first after
// it; what came before the caller has had.
func (r *Replay) Begin(p store.Position) {
	if before := predecessor(p); !r.ended && r.after.Before(before) {
		r.after = before
	}
}

// predecessor returns the greatest position before p, so that a half-open range
// can begin at p itself.
func predecessor(p store.Position) store.Position {
	for i := len(p) - 1; i >= 0; i-- {
		p[i]--
		if p[i] != 0xff {
			break
		}
	}
	return p
}
