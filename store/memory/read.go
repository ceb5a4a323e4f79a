package memory

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/feeds"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// find returns what r shows of a log, and the log if it shows anything; mu is held.
func (s *Store) find(name store.LogName, r store.Range) (window.Window, *log) {
	l := s.logs[name]
	if l == nil {
		return window.Of(window.Log{}, nil, r, s.clock.Now()), nil
	}
	return window.Of(l.window(), l, r, s.clock.Now()), l
}

// Head returns where the log begins and ends; see store.Log. When every record
// that could be read is redacted, Last stands and Oldest is zero.
func (s *Store) Head(ctx context.Context, name store.LogName, limits store.Limits) (store.Head, error) {
	if err := s.lock(ctx, "head"); err != nil {
		return store.Head{}, err
	}
	defer s.mu.Unlock()
	w, l := s.find(name, store.Range{Limits: limits})
	if w.Empty {
		return store.Head{}, nil
	}
	h := store.Head{Last: w.Last}
	for _, e := range l.entries[l.index(w.First.N()):] {
		if !e.redacted {
			h.Oldest = e.Position
			break
		}
	}
	return h, nil
}

// Heads returns the newest position of each log; see store.Log.
func (s *Store) Heads(ctx context.Context, names []store.LogName) ([]store.Position, error) {
	if err := s.lock(ctx, "heads"); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	heads := make([]store.Position, len(names))
	for i, name := range names {
		if l := s.logs[name]; l != nil {
			heads[i] = l.last()
		}
	}
	return heads, nil
}

// Spoke returns the logs of a feed that were appended to since a time; see
// store.Log. It names no log in vain, and none that is gone whole.
func (s *Store) Spoke(ctx context.Context, feed string, since time.Time, limit int) ([]store.LogName, bool, error) {
	if err := s.lock(ctx, "spoke"); err != nil {
		return nil, false, err
	}
	defer s.mu.Unlock()
	from := max(since.UnixMilli(), s.clock.Now().Add(-store.SpokeFor).UnixMilli())
	var names []store.LogName
	look := func(feed string, paths map[string]*log) (more bool) {
		for path, l := range paths {
			if l.last().MS() < from {
				continue
			}
			if len(names) >= limit {
				return true
			}
			names = append(names, store.LogName{Feed: feed, Path: path})
		}
		return false
	}
	if !feeds.Wide(feed) {
		more := look(feed, s.paths[feed])
		return names, more, nil
	}
	for other, paths := range s.paths {
		if strings.HasPrefix(other, feed) && look(other, paths) {
			return names, true, nil
		}
	}
	return names, false, nil
}

// Read returns a page of the range; see store.Log.
func (s *Store) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	if err := s.lock(ctx, "read"); err != nil {
		return store.Page{}, err
	}
	defer s.mu.Unlock()
	w, l := s.find(name, r)
	page := store.Page{Trimmed: w.Trimmed, Forked: w.Forked}
	if w.Empty {
		return page, nil
	}
	bytes := 0
	for _, e := range l.entries[l.index(w.First.N()) : l.index(w.Last.N())+1] {
		if e.redacted {
			continue
		}
		bytes += len(e.Data)
		if n := len(page.Entries); n > 0 && (n >= limit || bytes > maxBytes) {
			page.More = true
			break
		}
		page.Entries = append(page.Entries, e.Entry)
	}
	return page, nil
}

// Count returns how many records the whole range holds; see store.Log.
func (s *Store) Count(ctx context.Context, name store.LogName, r store.Range) (int64, error) {
	if err := s.lock(ctx, "count"); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	w, l := s.find(name, r)
	if w.Empty {
		return 0, nil
	}
	lo, hi := w.First.N(), w.Last.N()
	return int64(hi-lo) + 1 - int64(l.redactedIn(lo, hi)), nil
}

// Redact removes one record; see store.Log. Doing it again changes nothing.
func (s *Store) Redact(ctx context.Context, name store.LogName, p store.Position) error {
	if err := s.lock(ctx, "redact"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l := s.logs[name]
	if l == nil {
		return fmt.Errorf("memory: redact: %w", store.ErrNotFound)
	}
	i := l.index(p.N())
	if q, ok := l.at(i); !ok || q != p {
		return fmt.Errorf("memory: redact: %w", store.ErrNotFound)
	}
	if !l.entries[i].redacted {
		s.bytes -= l.redact(i)
		s.full = false
	}
	return nil
}

// Delete removes the log, its nonces and its groups; see store.Log.
func (s *Store) Delete(ctx context.Context, name store.LogName) error {
	if err := s.lock(ctx, "delete"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if l := s.logs[name]; l != nil {
		s.drop(name, l)
	}
	s.bytes -= nonceOverhead * int64(len(s.nonces[name]))
	delete(s.nonces, name)
	s.groups.DropLog(name)
	s.full = false
	return nil
}
