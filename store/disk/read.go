package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// load reads the head of a log from the database: one look-up and one reverse
// seek in each bucket since its last record. A channel without records (its
// buckets went) is no log.
func (s *Store) load(name store.LogName) (head, error) {
	v, closer, err := s.db.Get(channelKey(name))
	if errors.Is(err, pebble.ErrNotFound) {
		return head{}, nil
	}
	if err != nil {
		return head{}, err
	}
	h := head{marked: unmarked}
	h.channel, err = parseChannel(v)
	if err := errors.Join(err, closer.Close()); err != nil {
		return head{}, err
	}
	h.oldest = store.NewPosition(h.start, h.epoch, uint64(h.start))
	h.last = store.NewPosition(maxN, h.epoch, maxN)
	r, err := openRecords(s.db, tabRecord, &h)
	if err != nil {
		return head{}, err
	}
	last, ok := r.To(maxN, maxN)
	at := r.last
	first, _ := r.From(h.start, 0)
	if err := r.close(); err != nil || !ok {
		return head{}, err
	}
	h.last, h.oldest = last, first
	if at.class == h.class() {
		h.marked = at.bucket
	}
	return h, nil
}

// view is what a range shows of a log, with the walk that found it.
type view struct {
	window.Window
	h head
	r *records
}

// look opens a view; nil r: there is nothing to see. The caller closes r.
func (s *Store) look(name store.LogName, r store.Range) (view, error) {
	h, mark, ok := s.heads.get(name)
	if !ok {
		loaded, err := s.load(name)
		if err != nil {
			return view{}, err
		}
		h = s.heads.add(name, loaded, mark)
	}
	v := view{h: h}
	if h.id == 0 {
		v.Window = window.Of(window.Log{}, nil, r, s.clock.Now())
		return v, nil
	}
	var err error
	if v.r, err = openRecords(s.db, tabRecord, &v.h); err != nil {
		return view{}, err
	}
	v.Window = window.Of(v.h.window(), v.r, r, s.clock.Now())
	if v.r.err != nil || v.Empty {
		err = v.r.close()
		v.r = nil
	}
	return v, err
}

// enter keeps the database open until leave.
func (s *Store) enter(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("disk: %s: %w", doing, err)
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return fmt.Errorf("disk: %s: %w", doing, store.ErrClosed)
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// unreadable wraps what the engine said; to the caller the store is away.
func unreadable(doing string, err error) error {
	return fmt.Errorf("disk: %s: %w: %w", doing, store.ErrUnavailable, err)
}

// Head returns where the log begins and ends; see store.Log. When every record
// that could be read is redacted, Last stands and Oldest is zero.
func (s *Store) Head(ctx context.Context, name store.LogName, limits store.Limits) (store.Head, error) {
	if err := s.enter(ctx, "head"); err != nil {
		return store.Head{}, err
	}
	defer s.leave()
	v, err := s.look(name, store.Range{Limits: limits})
	if err != nil {
		return store.Head{}, unreadable("head", err)
	}
	if v.r == nil {
		return store.Head{}, nil
	}
	head := store.Head{Last: v.Last}
	p, ok := v.r.From(v.First.MS(), v.First.N())
	for ok {
		if !v.r.redacted() {
			head.Oldest = p
			break
		}
		p, ok = v.r.next()
	}
	if err := v.r.close(); err != nil {
		return store.Head{}, unreadable("head", err)
	}
	return head, nil
}

// Read returns a page of the range; see store.Log.
func (s *Store) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	if err := s.enter(ctx, "read"); err != nil {
		return store.Page{}, err
	}
	defer s.leave()
	v, err := s.look(name, r)
	if err != nil {
		return store.Page{}, unreadable("read", err)
	}
	page := store.Page{Trimmed: v.Trimmed, Forked: v.Forked}
	if v.r == nil {
		return page, nil
	}
	err = v.fill(ctx, &page, limit, maxBytes)
	if err := errors.Join(err, v.r.close()); err != nil {
		return store.Page{}, unreadable("read", err)
	}
	return page, nil
}

// fill reads the records of the view into a page.
func (v *view) fill(ctx context.Context, page *store.Page, limit, maxBytes int) error {
	bytes := 0
	p, ok := v.r.From(v.First.MS(), v.First.N())
	for steps := 0; ok && !v.Last.Before(p); steps++ {
		if steps%1024 == 1023 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, err := v.r.it.ValueAndErr()
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			return errCorrupt
		}
		if raw[0]&flagRedacted == 0 {
			bytes += len(raw) - 1
			if n := len(page.Entries); n > 0 && (n >= limit || bytes > maxBytes) {
				page.More = true
				return nil
			}
			data := make([]byte, len(raw)-1)
			copy(data, raw[1:])
			page.Entries = append(page.Entries, store.Entry{Position: p, Data: data})
		}
		p, ok = v.r.next()
	}
	return nil
}

// Count returns how many records the whole range holds, by arithmetic on n less
// the redacted ones; see store.Log. Only redactions are walked.
func (s *Store) Count(ctx context.Context, name store.LogName, r store.Range) (int64, error) {
	if err := s.enter(ctx, "count"); err != nil {
		return 0, err
	}
	defer s.leave()
	v, err := s.look(name, r)
	if err != nil {
		return 0, unreadable("count", err)
	}
	if v.r == nil {
		return 0, nil
	}
	n := int64(v.Last.N()-v.First.N()) + 1
	if err := v.r.close(); err != nil {
		return 0, unreadable("count", err)
	}
	redacted, err := openRecords(s.db, tabRedact, &v.h)
	if err != nil {
		return 0, unreadable("count", err)
	}
	p, ok := redacted.From(v.First.MS(), v.First.N())
	for ; ok && !v.Last.Before(p); p, ok = redacted.next() {
		n--
	}
	if err := redacted.close(); err != nil {
		return 0, unreadable("count", err)
	}
	return n, nil
}
