package groups

import (
	"slices"
	"sort"
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// Group is the state of one group. The zero value stands at the beginning.
type Group struct {
	taking sync.Mutex // one Take reads at a time

	mu sync.Mutex
	// next is the place after which this process has taken nothing yet, seen that
	// after which none has.
	next, seen store.Position
	// runs are what was taken and is not settled, in order.
	runs runs
	// done are settled places after next, from before the store was opened, in order.
	done []span
	// sought counts Seeks: what was read across one is not taken.
	sought int
}

// Of a run's holder: nobody has what was given back; a consumer's name stands behind a
// byte, another one while its Take is still reading.
const (
	nobody  = ""
	holding = "="
	reading = "+"
)

// span is settled places of an epoch, both ends included.
type span struct {
	epoch       uint32
	first, last uint64
}

// Settle ends the holding of records; see store.Groups.
func (g *Group) Settle(at []store.Position) {
	if len(at) == 0 {
		return
	}
	at = slices.Clone(at)
	slices.SortFunc(at, store.Position.Compare)
	var parts []stretch
	for _, p := range at {
		if n := len(parts); n > 0 {
			last := &parts[n-1].upTo
			if last.Epoch() == p.Epoch() && (last.N() == p.N() || last.N()+1 == p.N()) {
				*last = p
				continue
			}
		}
		parts = append(parts, stretch{before(p), p})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs.edit(parts, func(*run) bool { return false })
}

// Leave gives back what consumer holds; see store.Groups.
func (g *Group) Leave(consumer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.runs.rename(func(r *run) {
		if r.holder == holding+consumer || r.holder == reading+consumer {
			r.holder, r.again = nobody, true
		}
	})
}

// Seek sets the place after which the next record is taken; see store.Groups.
func (g *Group) Seek(after store.Position) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next, g.seen, g.runs, g.done = after, after, runs{}, nil
	g.sought++
}

// State returns where the group stands; see store.Groups.
func (g *Group) State() store.GroupState {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := store.GroupState{After: g.after(), Next: g.next, Returned: g.runs.returned}
	if s.Next.Before(g.seen) {
		s.Next = g.seen
	}
	for i := range g.runs.list {
		if r := &g.runs.list[i]; r.holder != nobody {
			if s.Held == nil {
				s.Held = make(map[string]int)
			}
			s.Held[r.holder[1:]] += r.size()
		}
	}
	return s
}

// spare reports whether what Encode says is all there is, so that the group need not
// stay in memory. Nobody uses it.
func (g *Group) spare() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.runs.list) == 0
}

// after is the place up to which everything is settled; mu is held.
func (g *Group) after() store.Position {
	if len(g.runs.list) > 0 {
		return g.runs.list[0].prev
	}
	return g.next
}

// settled reports whether p was settled before the store was opened, and forgets what
// lies before it; mu is held.
func (g *Group) settled(p store.Position) bool {
	for len(g.done) > 0 && (g.done[0].epoch != p.Epoch() || g.done[0].last < p.N()) {
		g.done = g.done[1:]
	}
	return len(g.done) > 0 && g.done[0].first <= p.N()
}

// before returns a place right before p's and not before any earlier record's.
func before(p store.Position) store.Position {
	return store.NewPosition(p.MS(), p.Epoch(), p.N()-1)
}

// runs are what a group has out, in order and without overlap.
type runs struct {
	list []run
	// held and returned count records.
	held, returned int
}

// run are records whose n follow each other and of which one consumer holds all, or
// which were given back.
type run struct {
	// prev is a place before the first and not before the record that precedes it.
	prev  store.Position
	first uint64 // n of the first
	// last is the place of the last, or one between it and the record that follows.
	last   store.Position
	holder string
	again  bool // taken before
}

func (r *run) size() int { return int(r.last.N() - r.first + 1) }

// count adds a run to what is counted, times sign.
func (s *runs) count(r *run, sign int) {
	if r.holder == nobody {
		s.returned += sign * r.size()
	} else {
		s.held += sign * r.size()
	}
}

// add puts a record behind the end.
func (s *runs) add(prev, p store.Position, holder string, again bool) {
	if n := len(s.list); n > 0 {
		last := &s.list[n-1]
		if last.last == prev && last.last.Epoch() == p.Epoch() && last.last.N()+1 == p.N() && last.holder == holder && last.again == again {
			last.last = p
			s.held++
			return
		}
	}
	s.list = append(s.list, run{prev: prev, first: p.N(), last: p, holder: holder, again: again})
	s.held++
}

// stretch is part of a log: the places after after, up to and including upTo, which
// are of one epoch.
type stretch struct{ after, upTo store.Position }

// edit changes what lies in the parts, which are in order: change is given each piece
// and says whether it stays.
func (s *runs) edit(parts []stretch, change func(*run) bool) {
	if len(parts) == 0 {
		return
	}
	lo := sort.Search(len(s.list), func(i int) bool { return parts[0].after.Before(s.list[i].last) })
	hi := lo
	var kept []run
	for ; hi < len(s.list) && len(parts) > 0; hi++ {
		r := s.list[hi]
		s.count(&r, -1)
		var pieces []run
		pieces, parts = r.cut(parts, change)
		for i := range pieces {
			s.count(&pieces[i], 1)
		}
		kept = append(kept, pieces...)
	}
	if from := hi - len(kept); lo == 0 && from >= 0 { // the front goes without moving the rest
		copy(s.list[from:], kept)
		clear(s.list[:from])
		s.list = s.list[from:]
		return
	}
	s.list = slices.Replace(s.list, lo, hi, kept...)
}

// cut divides r by the parts and returns what stays, and the parts that may lie in
// what follows.
func (r run) cut(parts []stretch, change func(*run) bool) ([]run, []stretch) {
	var out []run
	for len(parts) > 0 && parts[0].after.Before(r.last) {
		p := parts[0]
		if !p.upTo.Before(r.last) { // the whole rest of r
			if mid, ok := r.from(p.after, &out); ok && change(&mid) {
				out = append(out, mid)
			}
			return out, parts
		}
		parts = parts[1:]
		if p.upTo.Epoch() != r.last.Epoch() || p.upTo.N() < r.first {
			continue
		}
		rest := r
		rest.prev, rest.first = p.upTo, p.upTo.N()+1
		mid, ok := r.from(p.after, &out)
		mid.last = p.upTo
		if ok && mid.first <= mid.last.N() && change(&mid) {
			out = append(out, mid)
		}
		if r = rest; r.first > r.last.N() {
			return out, parts
		}
	}
	return append(out, r), parts
}

// from returns what of r lies after a place, and puts what lies before it into out.
func (r run) from(after store.Position, out *[]run) (run, bool) {
	if after.Epoch() != r.last.Epoch() || after.N() < r.first {
		return r, true
	}
	left := r
	left.last = after
	*out = append(*out, left)
	r.prev, r.first = after, after.N()+1
	return r, r.first <= r.last.N()
}

// rename lets change say who holds a run, and puts together what belongs together.
func (s *runs) rename(change func(*run)) {
	out := s.list[:0]
	for _, r := range s.list {
		s.count(&r, -1)
		change(&r)
		s.count(&r, 1)
		if n := len(out); n > 0 {
			if b := &out[n-1]; b.last == r.prev && b.last.Epoch() == r.last.Epoch() && b.last.N()+1 == r.first && b.holder == r.holder && b.again == r.again {
				b.last = r.last
				continue
			}
		}
		out = append(out, r)
	}
	clear(s.list[len(out):])
	s.list = out
}
