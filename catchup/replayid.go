package catchup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ErrReplayID: no record of the log has that number, or not all of what followed it
// may be read any more (bayeux-cometd.md §3, decided.md 21).
var ErrReplayID = errors.New("catchup: not a replay id of this channel")

// AfterNumber returns the position after which everything is that follows the record
// numbered n: its own, or, where it was redacted, that of the last one before it.
// Nothing older than since may be among it. Errors: ErrReplayID, and the store's.
func AfterNumber(ctx context.Context, log store.Log, name store.LogName, limits store.Limits, since time.Time, n uint64) (after store.Position, err error) {
	defer func() {
		if err != nil && !errors.Is(err, ErrReplayID) {
			err = fmt.Errorf("catchup: find replay id: %w", err)
		}
	}()
	head, err := log.Head(ctx, name, limits)
	if err != nil {
		return after, err
	}
	if head.Last.IsZero() {
		// All of it has expired; who has had the last has missed nothing.
		lasts, err := log.Heads(ctx, []store.LogName{name})
		if err == nil && (lasts[0].IsZero() || lasts[0].N() != n) {
			err = ErrReplayID
		}
		if err != nil {
			return after, err
		}
		return lasts[0], nil
	}
	switch {
	case n == head.Last.N():
		return head.Last, nil
	case n > head.Last.N(), n < head.Oldest.N(), head.Oldest.IsZero():
		return after, ErrReplayID
	}
	before, err := atOrBefore(ctx, log, name, limits, head.Oldest.N(), n)
	if err != nil {
		return after, err
	}
	return lastUpTo(ctx, log, store.Range{After: before, Limits: limits}, name, since, n)
}

// atOrBefore returns a position right before a record that is numbered n, or a little
// lower where that was redacted; oldest is the lowest number there is.
func atOrBefore(ctx context.Context, log store.Log, name store.LogName, limits store.Limits, oldest, n uint64) (store.Position, error) {
	for back := uint64(0); ; back = 2*back + 1 {
		span := store.Range{Limits: limits}
		all := back >= n-oldest
		if !all {
			// The records from there on are those that a length limit leaves. What is
			// published meanwhile pushes it on, and it is looked further back.
			head, err := log.Head(ctx, name, limits)
			if err != nil {
				return store.Position{}, err
			}
			span.Limits.Length = int(head.Last.N()-n+back) + 1
		}
		page, err := log.Read(ctx, name, span, 1, 1)
		if err != nil {
			return store.Position{}, err
		}
		if len(page.Entries) > 0 && page.Entries[0].Position.N() <= n {
			return predecessor(page.Entries[0].Position), nil
		}
		if all || len(page.Entries) == 0 {
			return store.Position{}, ErrReplayID // it has expired just now
		}
	}
}

// lastUpTo returns the last record numbered n or lower of a range that begins with one
// such, unless the first after it is older than since.
func lastUpTo(ctx context.Context, log store.Log, span store.Range, name store.LogName, since time.Time, n uint64) (last store.Position, err error) {
	for {
		page, err := log.Read(ctx, name, span, int(min(n-span.After.N()+1, 1000)), PageBytes)
		if err != nil {
			return last, err
		}
		for _, e := range page.Entries {
			if e.Position.N() > n {
				if e.Position.Time().Before(since) {
					return last, ErrReplayID
				}
				return last, nil
			}
			last = e.Position
		}
		if !page.More {
			return last, nil
		}
		span.After = last
	}
}

// AppendEvent appends data as subscriptions by replay id get it: an object without a
// member event has event as its first member, {"replayId","createdDate"}, and every
// other byte as it was (bayeux-cometd.md §3). Whatever else is appended as it is. p is
// the message's position, data valid JSON.
func AppendEvent(b, data []byte, p store.Position) []byte {
	if len(data) == 0 || data[0] != '{' || hasMember(data, "event") {
		return append(b, data...)
	}
	b = fmt.Appendf(b, `{"event":{"replayId":%d,"createdDate":"%s"}`, p.N(), p.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	if data[blanks(data, 1)] != '}' {
		b = append(b, ',')
	}
	return append(b, data[1:]...)
}

// hasMember reports whether an object has a member of that name, however it is spelt.
func hasMember(object []byte, name string) bool {
	for at := blanks(object, 1); object[at] != '}'; at = blanks(object, at) {
		if object[at] == ',' {
			at = blanks(object, at+1)
		}
		end := valueEnd(object, at)
		if text, err := unquote(object[at:end]); err == nil && text == name {
			return true
		}
		at = valueEnd(object, blanks(object, end)+1)
	}
	return false
}

// blanks returns where what is not blank begins, from text[at] on.
func blanks(text []byte, at int) int {
	for text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r' {
		at++
	}
	return at
}
