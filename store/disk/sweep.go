package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

const (
	sweepEvery = 30 * time.Second
	// sweepStep is how many keys one step looks at: appends wait behind it.
	sweepStep = 256
)

// sweepLoop deletes what has expired, until ctx ends.
func (s *Store) sweepLoop(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	var refused uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if n := s.queue.Refused(); n > refused {
				s.log.Warn("changes were refused: the queue was full", zap.Uint64("refused", n-refused), zap.Uint64("refused_in_all", n))
				refused = n
			}
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("sweep of expired records failed", zap.Error(err))
			}
		}
	}
}

// sweep deletes all that has expired by now. Each step is an op of its own.
func (s *Store) sweep(ctx context.Context) error {
	for c := range classes {
		if err := s.sweepClass(ctx, class(c)); err != nil {
			return err
		}
	}
	if err := s.sweepDue(ctx, tabIdle, (*work).idleDue); err != nil {
		return err
	}
	if err := s.sweepDue(ctx, tabDue, (*work).rowDue); err != nil {
		return err
	}
	if err := s.sweepSpoke(ctx); err != nil {
		return err
	}
	if err := s.sweepSeries(ctx); err != nil {
		return err
	}
	day := s.clock.Now().UnixMilli()/dayMS - 1
	old := dueKey(tabNonce, uint32(max(day, 0)))
	if first, err := s.first([]byte{tabNonce}, old); err != nil || first == nil {
		return err
	}
	return s.through(ctx, "sweep", 0, true, func(w *work) error {
		w.deleteRange([]byte{tabNonce}, old)
		return nil
	})
}

// first returns the first key in [from, to), nil if there is none. It is called
// by the sweep, which Close waits for.
func (s *Store) first(from, to []byte) ([]byte, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, err
	}
	var key []byte
	if it.First() {
		key = bytes.Clone(it.Key())
	}
	return key, it.Close()
}

// sweepClass deletes the spent buckets of a class.
func (s *Store) sweepClass(ctx context.Context, c class) error {
	for {
		// Records and marks come and go together, but for a crash in between.
		var bucket uint32
		found := false
		for _, tab := range []byte{tabRecord, tabMark} {
			key, err := s.first([]byte{tab, byte(c)}, []byte{tab, byte(c) + 1})
			if err != nil {
				return err
			}
			if len(key) >= 6 {
				if b := binary.BigEndian.Uint32(key[2:]); !found || b < bucket {
					bucket, found = b, true
				}
			}
		}
		if !found || !c.spent(bucket, s.clock.Now()) {
			return nil
		}
		if err := s.sweepBucket(ctx, c, bucket); err != nil {
			return err
		}
	}
}

// sweepBucket forgets the logs that had their last record in the bucket, some at
// a time, then deletes it.
func (s *Store) sweepBucket(ctx context.Context, c class, bucket uint32) error {
	from, to := bucketKey(tabMark, c, bucket), prefixEnd(bucketKey(tabMark, c, bucket))
	for from != nil {
		err := s.through(ctx, "sweep", 0, true, func(w *work) error {
			var err error
			from, err = w.step(from, to, func(key, value []byte) error {
				return w.forget(c, bucket, key, value)
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.through(ctx, "sweep", 0, true, func(w *work) error {
		// Heads are loaded from records: a log of which the last go here is one
		// the store may know nothing of from now on.
		w.s.clock.Forget(c.begin(bucket+1) - 1)
		for _, tab := range []byte{tabRecord, tabRedact, tabMark} {
			w.deleteRange(bucketKey(tab, c, bucket), prefixEnd(bucketKey(tab, c, bucket)))
		}
		return nil
	})
}

// forget drops the log that a mark names if all its records are in the bucket.
func (w *work) forget(c class, bucket uint32, key, value []byte) error {
	name, ok := parseName(value)
	if !ok || len(key) != 14 {
		return errCorrupt
	}
	h, err := w.head(name)
	if err != nil {
		return err
	}
	if h.id == binary.BigEndian.Uint64(key[6:]) && h.class() == c && h.last.MS() < c.begin(bucket+1) {
		for _, s := range h.spans {
			if s.class == forever { // no bucket of which will ever be spent
				w.drop(name, h)
				return nil
			}
		}
		w.s.clock.Forget(h.last.MS())
		h.channel, h.last, h.oldest, h.marked = channel{}, store.Position{}, store.Position{}, unmarked
		w.delete(channelKey(name))
		return nil
	}
	if h.id == 0 {
		// A channel without records: its buckets went before a crash.
		w.delete(channelKey(name))
	}
	return nil
}

// step calls do for at most sweepStep keys of [from, to) and returns where to go
// on, nil at the end.
func (w *work) step(from, to []byte, do func(key, value []byte) error) ([]byte, error) {
	it, err := w.s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return nil, err
	}
	n := 0
	for it.First(); it.Valid() && err == nil && n < sweepStep; it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			err = do(it.Key(), v)
		}
		n++
	}
	var next []byte
	if it.Valid() && err == nil {
		next = bytes.Clone(it.Key())
	}
	return next, errors.Join(err, it.Close())
}

// sweepDue looks at what an index says is due.
func (s *Store) sweepDue(ctx context.Context, tab byte, look func(*work, []byte, []byte) error) error {
	from := []byte{tab}
	to := dueKey(tab, uint32(s.clock.Now().UnixMilli()/60_000)+1)
	for from != nil {
		if first, err := s.first(from, to); err != nil || first == nil {
			return err
		}
		err := s.through(ctx, "sweep", 0, true, func(w *work) error {
			var err error
			from, err = w.step(from, to, func(key, value []byte) error {
				w.delete(key)
				return look(w, key, value)
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// idleDue drops a log that is idle, or notes when to look again.
func (w *work) idleDue(key, value []byte) error {
	name, ok := parseName(value)
	if !ok || len(key) != 13 {
		return errCorrupt
	}
	h, err := w.head(name)
	if err != nil || h.id == 0 || h.id != binary.BigEndian.Uint64(key[5:]) || h.idle == 0 {
		return err
	}
	if window.Idle(store.Limits{Idle: h.idle}, h.last, w.s.clock.Now()) {
		w.drop(name, h)
		return nil
	}
	at := h.last.Time().Add(h.idle)
	if minuteAfter(at) == binary.BigEndian.Uint32(key[1:]) {
		at = at.Add(time.Minute) // the key just deleted: later in this minute
	}
	w.lookAgain(name, h.id, at)
	return nil
}

// rowDue deletes a row that has expired, or notes when to look again.
func (w *work) rowDue(key, _ []byte) error {
	if len(key) < 6 {
		return errCorrupt
	}
	k := append([]byte{tabRow}, key[5:]...)
	r, err := w.row(k)
	if err != nil || r.Version == 0 || r.due != binary.BigEndian.Uint32(key[1:]) {
		return err
	}
	switch {
	case r.gone(w.s.clock.Now()):
		w.setRow(k, row{})
		return nil
	case r.Expires.IsZero():
		r.due = 0
	default:
		r.due = max(minuteAfter(r.Expires), r.due+1)
		w.set(append(dueKey(tabDue, r.due), k[1:]...), nil)
	}
	w.setRow(k, r)
	return nil
}
