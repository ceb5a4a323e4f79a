package disk

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/feeds"
)

const (
	minuteMS = 60_000
	// spokeSlack is how much longer than Spoke looks back the index stays: the
	// store's clock may go back a little.
	spokeSlack = 5 * time.Minute
)

// minuteOf returns the whole minute since 1970 that a time in ms lies in.
func minuteOf(ms int64) uint32 {
	return uint32(min(max(ms, 0)/minuteMS, math.MaxUint32-1))
}

// spoke names the log in the index of the minute of its newest record, once.
func (w *work) spoke(name store.LogName, h *head) {
	if m := minuteOf(h.last.MS()); m != h.indexed {
		h.indexed = m
		w.set(appendName(dueKey(tabSpoke, m), name), nil)
	}
}

// sweepSpoke deletes the minutes of the index that Spoke does not look at any more.
func (s *Store) sweepSpoke(ctx context.Context) error {
	old := dueKey(tabSpoke, minuteOf(s.clock.Now().Add(-store.SpokeFor-spokeSlack).UnixMilli()))
	if first, err := s.first([]byte{tabSpoke}, old); err != nil || first == nil {
		return err
	}
	return s.through(ctx, "sweep", 0, true, func(w *work) error {
		w.deleteRange([]byte{tabSpoke}, old)
		return nil
	})
}

// Heads returns the newest position of each log; see store.Log. Of a log that is
// not in use it is read from the disk.
func (s *Store) Heads(ctx context.Context, names []store.LogName) ([]store.Position, error) {
	if err := s.enter(ctx, "heads"); err != nil {
		return nil, err
	}
	defer s.leave()
	heads := make([]store.Position, len(names))
	for i, name := range names {
		h, mark, ok := s.heads.get(name)
		if !ok {
			if err := ctx.Err(); err != nil {
				return nil, unreadable("heads", err)
			}
			loaded, err := s.load(name)
			if err != nil {
				return nil, unreadable("heads", err)
			}
			h = s.heads.add(name, loaded, mark)
		}
		heads[i] = h.last
	}
	return heads, nil
}

// Spoke returns the logs of a feed that were appended to since a time; see
// store.Log. The index knows whole minutes; of logs in use it is exact.
func (s *Store) Spoke(ctx context.Context, feed string, since time.Time, limit int) ([]store.LogName, bool, error) {
	if err := s.enter(ctx, "spoke"); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if len(feed) > store.MaxName {
		return nil, false, nil
	}
	from := max(since.UnixMilli(), s.clock.Now().Add(-store.SpokeFor).UnixMilli())
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: dueKey(tabSpoke, minuteOf(from)), UpperBound: []byte{tabSpoke + 1}})
	if err != nil {
		return nil, false, unreadable("spoke", err)
	}
	l := &listing{s: s, it: it, feed: feed, from: from, limit: limit, seen: make(map[store.LogName]bool)}
	err = l.walk(ctx)
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, false, unreadable("spoke", err)
	}
	return l.names, l.more, nil
}

// listing is one walk over the index.
type listing struct {
	s     *Store
	it    *pebble.Iterator
	feed  string
	from  int64
	limit int
	seen  map[store.LogName]bool

	names []store.LogName
	more  bool
}

// walk goes through the minutes, from stretch to stretch of the names that the feed
// stands for: in a minute they are sorted by the length of their feed, then by feed.
func (l *listing) walk(ctx context.Context) error {
	wide := feeds.Wide(l.feed)
	ok := l.it.First()
	for steps := 1; ok && !l.more; steps++ {
		if steps%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		key := l.it.Key()
		if len(key) < 6 {
			return errCorrupt
		}
		name, parsed := parseName(key[5:])
		if !parsed {
			return errCorrupt
		}
		n, order := len(name.Feed), -1
		if n >= len(l.feed) {
			order = strings.Compare(name.Feed[:len(l.feed)], l.feed)
		}
		switch {
		case n > len(l.feed) && !wide, n == store.MaxName && order > 0:
			ok = l.nextMinute(key)
		case order == 0:
			l.take(name)
			ok = l.it.Next()
		case order > 0: // behind all of this length
			ok = l.it.SeekGE(l.stretch(key, n+1))
		default:
			ok = l.it.SeekGE(l.stretch(key, max(n, len(l.feed))))
		}
	}
	return l.it.Error()
}

// stretch returns the first key that a feed of n bytes can have in key's minute.
func (l *listing) stretch(key []byte, n int) []byte {
	b := append(make([]byte, 0, 6+len(l.feed)), key[:5]...)
	return append(append(b, byte(n)), l.feed...)
}

func (l *listing) nextMinute(key []byte) bool {
	next := prefixEnd(key[:5])
	return next != nil && l.it.SeekGE(next)
}

// take adds a log, unless its head says that it was not appended to since.
func (l *listing) take(name store.LogName) {
	if l.seen[name] {
		return
	}
	if last, ok := l.s.heads.last(name); ok && last.MS() < l.from {
		return
	}
	if len(l.names) >= l.limit {
		l.more = true
		return
	}
	l.seen[name] = true
	l.names = append(l.names, name)
}
