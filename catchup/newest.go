package catchup

import (
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// NewReplayNewest is NewReplay for the newest count records of the stretch (decided.md
// 9). Where there are fewer, the walk has them all; Truncated then says whether the
// length limit is why. It counts a few times and does not scan.
func NewReplayNewest(ctx context.Context, log store.Log, name store.LogName, limits store.Limits, since time.Time, upTo store.Position, count int) (*Replay, Extent, error) {
	r, x, err := NewReplay(ctx, log, name, limits, since, upTo)
	if err != nil || r.ended || x.Messages <= int64(count) {
		x.Truncated = x.Truncated && x.Messages < int64(count)
		return r, x, err
	}
	left, err := r.narrow(ctx, x.Messages, int64(count))
	if err != nil {
		return nil, Extent{}, err
	}
	return r, Extent{Messages: left}, nil
}

// narrowTries bounds the looks for the place where a walk over the newest begins: one
// is enough where nothing was redacted, else they halve what is left.
const narrowTries = 64

// narrow moves the beginning of a walk over total records, which has not begun, so that
// it has only the last want, and returns how many it has. n is dense, so that many
// places before the end is where to look; what is redacted between makes it more.
func (r *Replay) narrow(ctx context.Context, total, want int64) (left int64, err error) {
	head, err := r.log.Head(ctx, r.name, r.limits)
	if err != nil {
		return 0, fmt.Errorf("catchup: count back: %w", err)
	}
	first := r.after.N() + 1 // NewReplay has put after right before it
	end := min(r.upTo.N(), head.Last.N())
	most, before := total, r.after // beginning after before there are so many: too many
	lo, hi := int64(first), int64(end)+1
	m := hi - want
	for try := 0; try < narrowTries && lo+1 < hi; try++ {
		m = min(max(m, lo+1), hi-1)
		after, n, err := r.from(ctx, uint64(m))
		switch {
		case err != nil:
			return 0, err
		case n == want:
			r.after = after
			return n, nil
		case n > want:
			most, before, lo = n, after, max(m, int64(after.N())+1)
			m = lo + n - want
		default:
			hi = m
			m -= want - n
		}
		if try%2 == 1 {
			m = lo + (hi-lo)/2
		}
	}
	return r.drop(ctx, before, most, want)
}

// from returns the position before the first record of the walk that is numbered m or
// higher, and how many the walk has from there on.
func (r *Replay) from(ctx context.Context, m uint64) (after store.Position, n int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("catchup: count back: %w", err)
		}
	}()
	head, err := r.log.Head(ctx, r.name, r.limits)
	if err != nil || head.Last.N() < m {
		return after, 0, err
	}
	// The records from m on are those that a length limit leaves.
	span := store.Range{After: r.after, Since: r.since, UpTo: r.upTo, Limits: r.limits}
	span.Limits.Length = int(head.Last.N()-m) + 1
	page, err := r.log.Read(ctx, r.name, span, 1, 1)
	if err != nil || len(page.Entries) == 0 {
		return after, 0, err
	}
	after = predecessor(page.Entries[0].Position)
	span.After, span.Limits = after, r.limits
	n, err = r.log.Count(ctx, r.name, span)
	return after, n, err
}

// drop begins the walk after a position and leaves records out until only want of most
// are left. It is for what cannot be found by counting, since something expires or is
// redacted meanwhile.
func (r *Replay) drop(ctx context.Context, after store.Position, most, want int64) (int64, error) {
	for r.after = after; most > want && !r.ended; {
		page, err := r.Next(ctx, int(min(most-want, 1000)))
		if err != nil {
			return 0, err
		}
		most -= int64(len(page))
	}
	return most, nil
}
