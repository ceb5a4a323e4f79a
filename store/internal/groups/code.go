package groups

import (
	"encoding/binary"
	"errors"
)

// layout is the first byte of what Encode writes.
const layout = 1

// maxN is the greatest n of a position.
const maxN = 1<<48 - 1

var errCorrupt = errors.New("groups: damaged state")

// Encode returns what is kept of a group, as Parse reads it:
//
//	layout(1) after(16) next(16) epoch(4), then for each settled range of that epoch
//	above after how far it begins after the end of the one before, and how long it is
//	beyond 1, as uvarints
func (g *Group) Encode() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	after, next := g.after(), g.next
	if next.Before(g.seen) {
		next = g.seen
	}
	b := append(append(append(make([]byte, 0, 64), layout), after[:]...), next[:]...)
	spans := g.spans()
	if len(spans) == 0 {
		return b
	}
	epoch, end := spans[len(spans)-1].epoch, uint64(0)
	b = binary.BigEndian.AppendUint32(b, epoch)
	for _, s := range spans {
		if s.epoch == epoch { // of older ones nothing is there any more
			b = binary.AppendUvarint(b, s.first-end)
			b = binary.AppendUvarint(b, s.last-s.first)
			end = s.last
		}
	}
	return b
}

// spans returns what is settled after g.after(), in order: what lies between the runs
// and after them up to next, and what was settled before the store was opened.
func (g *Group) spans() []span {
	var out []span
	for i := range g.runs.list {
		r, upTo := &g.runs.list[i], g.next
		first := r.last.N() + 1
		var end uint64
		if i+1 < len(g.runs.list) {
			upTo = g.runs.list[i+1].last
			end = g.runs.list[i+1].first - 1
		} else {
			end = upTo.N()
		}
		if upTo.Epoch() != r.last.Epoch() {
			first = 0
		}
		if first <= end {
			out = append(out, span{upTo.Epoch(), first, end})
		}
	}
	return append(out, g.done...)
}

// Parse reads what Encode wrote. The group begins where all is settled; what was taken
// and not settled comes again.
func Parse(b []byte) (*Group, error) {
	if len(b) < 33 || b[0] != layout {
		return nil, errCorrupt
	}
	g := &Group{}
	copy(g.next[:], b[1:])
	copy(g.seen[:], b[17:])
	if b = b[33:]; len(b) == 0 {
		return g, nil
	}
	if len(b) < 4 {
		return nil, errCorrupt
	}
	epoch, end := binary.BigEndian.Uint32(b), uint64(0)
	for b = b[4:]; len(b) > 0; {
		gap, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, errCorrupt
		}
		more, m := binary.Uvarint(b[n:])
		if m <= 0 || gap > maxN || more > maxN || end+gap+more > maxN {
			return nil, errCorrupt
		}
		b = b[n+m:]
		g.done = append(g.done, span{epoch, end + gap, end + gap + more})
		end += gap + more
	}
	return g, nil
}
