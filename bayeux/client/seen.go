package client

import (
	"slices"

	"github.com/oklog/ulid/v2"
)

// Bounds of what is remembered against repeats. Beyond them the oldest is
// forgotten, so that a repeat may come through but never is a message lost.
const (
	maxSeenRanges   = 256  // of one channel
	maxSeenChannels = 4096 // of one set
	maxSeenIDs      = 1000 // of a client
)

// position is what a message id says of a message's place: the number in its
// log's epoch (store.md D5). Numbers are dense, so neighbours make a range.
type position struct {
	epoch uint32
	n     uint64
}

// parsePosition reads an id in ULID form; ok is false for any other.
func parsePosition(id string) (p position, ok bool) {
	if len(id) != ulid.EncodedSize {
		return p, false
	}
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return p, false
	}
	for _, c := range u[6:10] {
		p.epoch = p.epoch<<8 | uint32(c)
	}
	for _, c := range u[10:] {
		p.n = p.n<<8 | uint64(c)
	}
	return p, true
}

// stretch is [lo, hi] of one epoch.
type stretch struct {
	epoch  uint32
	lo, hi uint64
}

// ranges are the positions seen of one channel, sorted, apart by at least one.
type ranges []stretch

// find returns the index of the first stretch that ends at or after p.
func (r ranges) find(p position) int {
	i, _ := slices.BinarySearchFunc(r, p, func(s stretch, p position) int {
		if s.epoch != p.epoch {
			if s.epoch < p.epoch {
				return -1
			}
			return 1
		}
		if s.hi < p.n {
			return -1
		}
		return 1
	})
	return i
}

func (r ranges) has(p position) bool {
	i := r.find(p)
	return i < len(r) && r[i].epoch == p.epoch && r[i].lo <= p.n
}

// add puts p in, which is not in them yet, and returns the new ranges and whether
// p has no neighbour.
func (r ranges) add(p position) (all ranges, alone bool) {
	i := r.find(p)
	joinsPrev := i > 0 && r[i-1].epoch == p.epoch && r[i-1].hi+1 == p.n
	joinsNext := i < len(r) && r[i].epoch == p.epoch && p.n+1 == r[i].lo
	switch {
	case joinsPrev && joinsNext:
		r[i-1].hi = r[i].hi
		return slices.Delete(r, i, i+1), false
	case joinsPrev:
		r[i-1].hi = p.n
	case joinsNext:
		r[i].lo = p.n
	default:
		r = slices.Insert(r, i, stretch{p.epoch, p.n, p.n})
		if len(r) > maxSeenRanges {
			r = slices.Delete(r, 0, 1)
		}
		return r, true
	}
	return r, false
}

// seen remembers positions by base channel (decided.md 10). The zero value is
// ready. It is owned by the dispatcher.
type seen struct {
	channels map[string]ranges
	order    []string // oldest first
}

// take reports whether p of the channel is new, and then whether it has no
// neighbour, and remembers it.
func (s *seen) take(base string, p position) (fresh, alone bool) {
	if s.has(base, p) {
		return false, false
	}
	if s.channels == nil {
		s.channels = map[string]ranges{}
	}
	r, known := s.channels[base]
	if !known {
		if len(s.order) == maxSeenChannels {
			delete(s.channels, s.order[0])
			s.order = slices.Delete(s.order, 0, 1)
		}
		s.order = append(s.order, base)
	}
	s.channels[base], alone = r.add(p)
	return true, alone
}

func (s *seen) has(base string, p position) bool { return s.channels[base].has(p) }

// recent remembers the newest maxSeenIDs positions, of all channels, that had no
// neighbour when they came: where positions are sparse, ranges are soon forgotten.
// The zero value is ready, and stays small where positions are dense.
type recent struct {
	set  map[placed]struct{}
	ring []placed
	at   int
}

// placed is a position with its channel: positions of two logs may be equal.
type placed struct {
	base string
	position
}

// add reports whether p of the channel was there already, and remembers it.
func (r *recent) add(base string, p position) bool {
	k := placed{base, p}
	if _, ok := r.set[k]; ok {
		return true
	}
	if r.set == nil {
		r.set = map[placed]struct{}{}
	}
	r.set[k] = struct{}{}
	if len(r.ring) < maxSeenIDs {
		r.ring = append(r.ring, k)
		return false
	}
	delete(r.set, r.ring[r.at])
	r.ring[r.at] = k
	r.at = (r.at + 1) % maxSeenIDs
	return false
}
