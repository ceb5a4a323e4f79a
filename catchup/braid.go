package catchup

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// What a Braid reads at once of one log, and holds of all of them. Of a log that is
// alone it reads whole pages.
const (
	braidEntries = 64
	braidBytes   = 256 << 10
	braidHeld    = 4 << 20
	braidHeads   = 500
)

// forkSlack is how far before a position that the store has lost reading goes on.
const forkSlack = 10 * time.Second

// Braid is a walk over the entries of several logs, braided into one by their time. It
// holds no goroutine and a few megabytes at most. One goroutine at a time may use it.
type Braid struct {
	log    store.Log
	limits store.Limits
	latest int64 // ms of the newest record of all, as it began; 0: none

	strands strands // that have more to give, the earliest first
	mark    Bookmark
	newest  int64 // ms of what was returned last
	held    int   // bytes of data in strands
	bad     int
}

// strand is one log of a braid.
type strand struct {
	name store.LogName
	mark Mark
	span store.Range
	// at is where its next record is in time, at the earliest; exact says that it is
	// there.
	at    int64
	exact bool
	held  []store.Entry
	bytes int
	// restarted: its position was not there any more.
	restarted bool
}

// NewBraid begins a walk over logs from a bookmark to what is there now; limits are
// those of each. It asks the store for the heads only.
func NewBraid(ctx context.Context, log store.Log, names []store.LogName, limits store.Limits, from Bookmark, now time.Time) (*Braid, error) {
	b := &Braid{log: log, limits: limits, mark: Bookmark{floor: from.floor, marks: maps.Clone(from.marks)}}
	for len(names) > 0 {
		some := names[:min(len(names), braidHeads)]
		names = names[len(some):]
		heads, err := log.Heads(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("catchup: begin braid: %w", err)
		}
		for i, last := range heads {
			if last.IsZero() || limits.Idle > 0 && now.Sub(last.Time()) >= limits.Idle {
				continue
			}
			b.latest = max(b.latest, last.MS())
			if s := newStrand(some[i], from, last, limits); s != nil {
				b.strands = append(b.strands, s)
			}
		}
	}
	heap.Init(&b.strands)
	return b, nil
}

// newStrand returns a log of which something is due, or nil.
func newStrand(name store.LogName, from Bookmark, last store.Position, limits store.Limits) *strand {
	s := &strand{name: name, mark: MarkOf(name), span: store.Range{UpTo: last, Limits: limits}}
	after, named := from.marks[s.mark]
	switch {
	case named && after.Epoch() == last.Epoch():
		if !after.Before(last) {
			return nil
		}
		s.span.After, s.at = after, after.MS()
	case named: // it was cleared, or has expired, and began anew
	default:
		if last.MS() < from.floor {
			return nil
		}
		s.span.Since, s.at = time.UnixMilli(from.floor), from.floor
	}
	return s
}

// Latest is the time of the newest record of all logs, in ms; 0: there is none.
func (b *Braid) Latest() int64 { return b.latest }

// Bad is how many records were left out because they could not be read.
func (b *Braid) Bad() int { return b.bad }

// Bookmark is where a later walk goes on behind what was returned.
func (b *Braid) Bookmark() Bookmark {
	b.mark.tidy(b.newest)
	return b.mark
}

// More reports whether Next has, or may have, something to return.
func (b *Braid) More() bool { return len(b.strands) > 0 }

// Next returns the next entries in order of their time, at most limit and about
// maxBytes of data, or none with io.EOF at the end. After an error the same call may be
// made again.
func (b *Braid) Next(ctx context.Context, limit, maxBytes int) ([]Entry, error) {
	var out []Entry
	size := 0
	for len(b.strands) > 0 && len(out) < limit {
		s := b.strands[0]
		if len(s.held) == 0 {
			if err := b.load(ctx, s, limit-len(out)); err != nil {
				if len(out) > 0 {
					return out, nil // it is said when asked again
				}
				return nil, err
			}
			continue
		}
		e := s.held[0]
		if n := len(e.Data); size+n > maxBytes && len(out) > 0 {
			return out, nil
		}
		b.pop(s)
		entry, err := DecodeEntry(e)
		if err != nil {
			b.bad++
			continue
		}
		size += len(e.Data)
		out = append(out, entry)
	}
	if len(out) == 0 {
		return nil, io.EOF
	}
	return out, nil
}

// pop takes the first record from s, the first strand.
func (b *Braid) pop(s *strand) {
	e := s.held[0]
	s.held = s.held[1:]
	s.bytes -= len(e.Data)
	b.held -= len(e.Data)
	s.span.After, s.span.Since = e.Position, time.Time{}
	b.newest = e.Position.MS()
	b.mark.note(s.mark, e.Position)
	switch {
	case len(s.held) > 0:
		s.at = s.held[0].Position.MS()
	case e.Position == s.span.UpTo:
		heap.Pop(&b.strands)
		return
	default:
		s.exact = false
	}
	heap.Fix(&b.strands, 0)
}

// load reads on in s, the first strand. What does not fit beside what is held already
// is read again when it is due.
func (b *Braid) load(ctx context.Context, s *strand, wanted int) error {
	alone := len(b.strands) == 1
	n, bytes := min(wanted, braidEntries), braidBytes
	if alone {
		n, bytes = wanted, PageBytes
	}
	page, err := b.log.Read(ctx, s.name, s.span, n, bytes)
	if err != nil {
		return fmt.Errorf("catchup: read braid: %w", err)
	}
	if page.Forked && !s.restarted {
		// The store lost it: better something twice than something missing.
		s.restarted = true
		s.span.Since, s.span.After = s.span.After.Time().Add(-forkSlack), store.Position{}
		s.at, s.exact = s.span.Since.UnixMilli(), false
		return nil
	}
	if len(page.Entries) == 0 {
		heap.Pop(&b.strands)
		return nil
	}
	first := page.Entries[0].Position.MS()
	known := s.exact
	s.at, s.exact = first, true
	heap.Fix(&b.strands, 0)
	if !alone && !known && b.held > braidHeld && b.strands[0] != s {
		return nil // where it is is known now
	}
	s.held = page.Entries
	for _, e := range s.held {
		s.bytes += len(e.Data)
	}
	if b.held += s.bytes; b.held > braidHeld {
		b.letGo(s)
	}
	return nil
}

// letGo forgets what strands other than s hold, until there is room.
func (b *Braid) letGo(s *strand) {
	for _, other := range b.strands {
		if other == s || len(other.held) == 0 {
			continue
		}
		b.held -= other.bytes
		other.held, other.bytes = nil, 0
		if b.held <= braidHeld {
			return
		}
	}
}

// strands is a heap: by time, and among those of one ms by mark.
type strands []*strand

func (h strands) Len() int      { return len(h) }
func (h strands) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *strands) Push(x any)   { *h = append(*h, x.(*strand)) }

func (h strands) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	// One that may have a record in this ms is looked at before another's is taken.
	if h[i].exact != h[j].exact {
		return h[j].exact
	}
	return string(h[i].mark[:]) < string(h[j].mark[:])
}

func (h *strands) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}
