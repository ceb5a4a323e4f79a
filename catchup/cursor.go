package catchup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ErrCursor: a message id that is none of this channel's.
var ErrCursor = errors.New("catchup: not a message of this channel")

// JustBefore returns the end of a range that holds everything before p and not p.
func JustBefore(p store.Position) store.Position { return predecessor(p) }

// Skip leaves out the records up to and including p.
func (r *Replay) Skip(p store.Position) {
	if r.after.Before(p) {
		r.after = p
	}
}

// SkipCounted is Skip for a walk that has not begun, and returns what is left of what x
// said of it.
func (r *Replay) SkipCounted(ctx context.Context, p store.Position, x Extent) (Extent, error) {
	if r.ended || !r.after.Before(p) {
		return x, nil
	}
	if !p.Before(r.upTo) {
		r.ended = true
		return Extent{}, nil
	}
	r.after = p
	n, err := r.log.Count(ctx, r.name, store.Range{After: p, Since: r.since, UpTo: r.upTo, Limits: r.limits})
	if err != nil {
		return Extent{}, fmt.Errorf("catchup: count replay: %w", err)
	}
	return Extent{Messages: n}, nil
}

// CheckCursor looks at a message id that a reader of a history gave as its place.
// trimmed says that there may have been messages beside it that are not kept any
// more: it is older than since or than the length limit reaches back, or it is of an
// earlier epoch. ErrCursor: the channel never gave it out, or has lost it.
func CheckCursor(ctx context.Context, log store.Log, name store.LogName, limits store.Limits, since time.Time, p store.Position) (trimmed bool, err error) {
	page, err := log.Read(ctx, name, store.Range{After: p, Limits: limits}, 1, 1)
	if err != nil {
		return false, fmt.Errorf("catchup: check cursor: %w", err)
	}
	head, err := log.Head(ctx, name, limits)
	if err != nil {
		return false, fmt.Errorf("catchup: check cursor: %w", err)
	}
	sameEpoch := p.Epoch() == head.Last.Epoch()
	if page.Forked {
		earlier := !head.Last.IsZero() && !sameEpoch && p.MS() <= head.Oldest.MS()
		if !earlier {
			return false, ErrCursor
		}
		return true, nil
	}
	short := limits.Length > 0 && sameEpoch && p.N()+uint64(limits.Length) < head.Last.N()
	return page.Trimmed || short || p.Time().Before(since), nil
}

// Newest reads the newest records not older than since, up to and including upTo
// (zero: all there is), at most n and about PageBytes, in order. older says whether
// there are some before them.
func Newest(ctx context.Context, log store.Log, name store.LogName, limits store.Limits, since time.Time, upTo store.Position, n int) (entries []store.Entry, older bool, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("catchup: read newest: %w", err)
		}
	}()
	head, err := log.Head(ctx, name, limits)
	if err != nil || head.Last.IsZero() {
		return nil, false, err
	}
	if upTo.IsZero() || head.Last.Before(upTo) {
		upTo = head.Last
	}
	total, err := log.Count(ctx, name, store.Range{Since: since, UpTo: upTo, Limits: limits})
	if err != nil || total == 0 {
		return nil, false, err
	}
	want := int(min(int64(n), total))
	// A stretch of the last k places before upTo is one of the length limit, since n
	// is dense in an epoch. What is redacted makes it wider, large messages narrower.
	behind := 0
	if upTo.Epoch() == head.Last.Epoch() && upTo.N() < head.Last.N() {
		behind = int(head.Last.N() - upTo.N())
	}
	narrowed, widened := false, false
	for k := want; ; {
		r := store.Range{Since: since, UpTo: upTo, Limits: limits}
		whole := limits.Length > 0 && behind+k >= limits.Length || k >= maxStretch
		if !whole {
			r.Limits.Length = behind + k
		}
		page, err := log.Read(ctx, name, r, k, PageBytes)
		if err != nil {
			return nil, false, err
		}
		got := page.Entries
		switch {
		case page.More && len(entries) > 0:
			return entries, true, nil // those found before are newer, and enough
		case page.More && widened:
			if got, err = lastOf(ctx, log, name, r, got); err != nil {
				return nil, false, err
			}
		case page.More:
			k, narrowed = k/2, true
			continue
		case !whole && (len(got) == 0 || len(got) < want && !narrowed):
			entries, k, widened = got, 2*k, true
			continue
		}
		got = got[max(0, len(got)-want):]
		return got, int64(len(got)) < total, nil
	}
}

// lastOf reads to the end of a range that begins with got and returns the newest
// records, about PageBytes.
func lastOf(ctx context.Context, log store.Log, name store.LogName, r store.Range, got []store.Entry) ([]store.Entry, error) {
	r.Limits.Length = 0
	for {
		r.After = got[len(got)-1].Position
		page, err := log.Read(ctx, name, r, len(got)+1, PageBytes)
		if err != nil {
			return nil, err
		}
		got = append(got, page.Entries...)
		size := 0
		for i := len(got) - 1; i >= 0; i-- {
			if size += len(got[i].Data); size > PageBytes && i < len(got)-1 {
				got = got[i+1:]
				break
			}
		}
		if !page.More || len(page.Entries) == 0 {
			return got, nil
		}
	}
}

// maxStretch is more than any length limit lets a log hold.
const maxStretch = 1 << 40
