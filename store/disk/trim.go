package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// fewRecords are deleted one by one: range deletes of single logs pile up
	// and slow all reading down (store.md §2.4).
	fewRecords = 100
	// maxTrim bounds what one append deletes for a length limit.
	maxTrim = 2048
)

// trim deletes what the length limit does not show any more, some at a time. One
// record below it stays, by which package window tells what was trimmed. Records
// are deleted plainly and not with SingleDelete, as a redaction writes them twice.
func (w *work) trim(h *head, limits store.Limits) {
	length := uint64(max(limits.Length, 0))
	slack := min(max(length/2, 32), maxTrim/2)
	if h.id == 0 || length == 0 || h.last.N()-h.oldest.N() <= length+slack {
		return
	}
	r, err := openRecords(w.s.db, tabRecord, h)
	if err != nil {
		return // the next append tries again
	}
	keep := h.last.N() - length
	left := maxTrim
	p, ok := r.From(h.oldest.MS(), 0)
	for ; ok && p.N() < keep && left > 0; left-- {
		w.delete(r.it.Key())
		if r.redacted() {
			w.delete(append([]byte{tabRedact}, r.it.Key()[1:]...))
		}
		p, ok = r.next()
	}
	if ok {
		h.oldest = p
	}
	_ = r.close()
}

// discard deletes the records of h and makes it a log that is not there. Its last
// position stays in h, so that a new epoch begins after it.
func (w *work) discard(h *head) {
	defer func() { h.channel, h.oldest, h.marked = channel{}, store.Position{}, unmarked }()
	r, err := openRecords(w.s.db, tabRecord, h)
	if err != nil {
		return // unreachable from now on; buckets are swept all the same
	}
	var keys [][]byte
	_, ok := r.From(h.start, 0)
	for ok && len(keys) <= fewRecords {
		keys = append(keys, append([]byte(nil), r.it.Key()...))
		_, ok = r.next()
	}
	if !ok {
		for _, k := range keys {
			w.delete(k)
			w.delete(append([]byte{tabRedact}, k[1:]...))
		}
		_ = r.close()
		return
	}
	for p, ok := r.From(h.start, 0); ok; {
		at := r.last
		for _, tab := range []byte{tabRecord, tabRedact} {
			var from, to [recordKeyLen]byte
			putRecordKey(from[:], tab, at.class, at.bucket, at.id, 0, 0)
			putRecordKey(to[:], tab, at.class, at.bucket, at.id+1, 0, 0)
			w.deleteRange(from[:], to[:])
		}
		if at.class == forever {
			p, ok = r.after(p)
			continue
		}
		p, ok = r.From(at.class.begin(at.bucket+1), 0)
	}
	_ = r.close()
}

// after returns the first record of the spans behind the one that p is in.
func (r *records) after(p store.Position) (store.Position, bool) {
	for _, s := range r.h.spans {
		if s.from > p.MS() {
			return r.From(s.from, 0)
		}
	}
	return store.Position{}, false
}

// change is an op that a caller waits for.
type change struct {
	do   func(w *work) error
	only bool // see op.alone
	err  error
	end  chan error
}

func (c *change) alone() bool { return c.only }

func (c *change) apply(w *work) {
	if c.err = w.s.ready(noRoom); c.err == nil {
		c.err = c.do(w)
	}
}

func (c *change) settle(err error) {
	if c.err == nil {
		c.err = err
	}
	c.end <- c.err
}

// through runs do in the committer and waits until it is durable. When ctx ends
// first the outcome is unknown.
func (s *Store) through(ctx context.Context, doing string, bytes int, only bool, do func(w *work) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("disk: %s: %w", doing, err)
	}
	c := &change{do: do, only: only, end: make(chan error, 1)}
	if err := s.push(c, bytes+opOverhead); err != nil {
		return fmt.Errorf("disk: %s: %w", doing, err)
	}
	select {
	case err := <-c.end:
		if err != nil {
			return fmt.Errorf("disk: %s: %w", doing, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("disk: %s: %w: %w", doing, store.ErrUncertain, ctx.Err())
	}
}

// Redact removes one record; see store.Log. Its data is overwritten, so that it
// leaves the disk with the next compaction. Doing it again changes nothing.
func (s *Store) Redact(ctx context.Context, name store.LogName, p store.Position) error {
	return s.through(ctx, "redact", 0, true, func(w *work) error {
		h, err := w.head(name)
		if err != nil {
			return err
		}
		if h.id == 0 || p.Epoch() != h.epoch || h.last.Before(p) {
			return store.ErrNotFound
		}
		r, err := openRecords(s.db, tabRecord, h)
		if err != nil {
			return err
		}
		q, ok := r.From(p.MS(), p.N())
		if !ok || q != p {
			return errors.Join(r.close(), store.ErrNotFound)
		}
		w.set(r.it.Key(), []byte{flagRedacted})
		w.set(append([]byte{tabRedact}, r.it.Key()[1:]...), nil)
		return r.close()
	})
}

// Delete removes the log, its nonces and its groups; see store.Log.
func (s *Store) Delete(ctx context.Context, name store.LogName) error {
	return s.through(ctx, "delete", 0, true, func(w *work) error {
		h, err := w.head(name)
		if err != nil {
			return err
		}
		if h.id != 0 {
			w.drop(name, h)
		}
		hash := nameHash(name)
		for day, today := w.s.clock.Now().UnixMilli()/dayMS-1, w.s.clock.Now().UnixMilli()/dayMS; day <= today; day++ {
			k := makeNonceKey(uint32(day), hash, store.Nonce{})
			if err := w.clearPrefix(k[:21]); err != nil {
				return err
			}
		}
		w.s.groups.DropLog(name)
		return w.clearPrefix(groupsKey(name))
	})
}

// drop removes a log from the database and from h.
func (w *work) drop(name store.LogName, h *head) {
	w.discard(h)
	w.s.clock.Forget(h.last.MS())
	h.last = store.Position{}
	w.delete(channelKey(name))
}

// clearPrefix deletes what begins with p: one by one if it is little.
func (w *work) clearPrefix(p []byte) error {
	it, err := w.s.db.NewIter(&pebble.IterOptions{LowerBound: p, UpperBound: prefixEnd(p)})
	if err != nil {
		return err
	}
	n := 0
	for it.First(); it.Valid() && n < fewRecords; it.Next() {
		w.delete(it.Key())
		n++
	}
	if it.Valid() {
		w.deleteRange(p, prefixEnd(p))
	}
	return it.Close()
}
