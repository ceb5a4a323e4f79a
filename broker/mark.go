package broker

import (
	"slices"

	"github.com/gobelin-broker/gobelin/store"
)

// mark says where a topic stood when its space had counted so many wildcards: the
// first entry that was handed out at this count or a higher one comes after after.
type mark struct {
	count uint64
	after store.Position
}

// Bounds of what topics remember for wildcards. Past them the oldest marks go, and
// a catch-up asked for by an older wildcard repeats what came by it
// (gobelin_forgotten_seams_total).
const (
	// topicMarks bounds those of one topic, 24 bytes each: somebody who subscribes
	// by wildcard between any two messages makes one for each message.
	topicMarks = 4096
	// allMarks bounds those of all topics together, to 24 MiB.
	allMarks = 1 << 20
	// fewMarks are kept without looking whether anybody needs them.
	fewMarks = 16
)

// marks tell from where on a wildcard subscription has heard a topic, without
// anything being kept for a topic and a session: each subscription has the number
// at which it joined its space, and a topic notes its position whenever that number
// has changed between two entries. They are guarded by the topic's mu.
type marks struct {
	list []mark // counts and positions rise; never empty
	// lost: of wildcards numbered up to this it is only known that they have heard
	// everything after the first mark.
	lost uint64
	trim int // length at which to look for marks nobody needs
}

func newMarks(count uint64, after store.Position, lost uint64) marks {
	return marks{list: []mark{{count, after}}, lost: lost, trim: fewMarks}
}

// note is called before an entry is handed out at this count; after is the entry
// before it.
func (m *marks) note(sp *space, b *Broker, count uint64, after store.Position) {
	if m.list[len(m.list)-1].count >= count {
		return
	}
	if len(m.list) >= m.trim {
		m.compact(sp, b)
	}
	m.list = append(m.list, mark{count, after})
	b.hub.marks.Add(1)
}

// compact drops the marks that no standing wildcard asks for, and then as many of
// the oldest as the bounds want.
func (m *marks) compact(sp *space, b *Broker) {
	had := len(m.list)
	last := m.list[had-1]
	kept := m.list[:0]
	before := uint64(0)
	for _, k := range m.list {
		// k stands for the numbers after the mark before it, up to its own.
		if k == last || sp.stands(before, k.count) {
			kept = append(kept, k)
		}
		before = k.count
	}
	over := max(0, len(kept)-topicMarks+1)
	if b.hub.marks.Load() >= allMarks {
		over = max(over, len(kept)/2)
	}
	if over = min(over, len(kept)-1); over > 0 {
		m.lost = max(m.lost, kept[over-1].count)
		kept = slices.Delete(kept, 0, over)
	}
	if m.list = kept; cap(kept) > 4*len(kept) {
		m.list = slices.Clone(kept)
	}
	m.trim = min(topicMarks, max(fewMarks, 2*len(kept)))
	b.hub.marks.Add(int64(len(kept) - had))
}

// turn notes that everything after p is lost and that what comes after it now is new
// to all.
func (m *marks) turn(p store.Position) {
	for i := range m.list {
		if p.Before(m.list[i].after) {
			m.list[i].after = p
		}
	}
}

// at returns the position after which a wildcard of this number has heard all of
// the topic; last is the topic's newest. exact is false when the wildcard has heard
// more than that, and it is not known how much.
func (m *marks) at(number uint64, last store.Position) (after store.Position, exact bool) {
	i, _ := slices.BinarySearchFunc(m.list, number, func(k mark, n uint64) int {
		switch {
		case k.count < n:
			return -1
		case k.count > n:
			return 1
		}
		return 0
	})
	if i == len(m.list) {
		return last, true // nothing was handed out since
	}
	return m.list[i].after, i > 0 || number > m.lost
}
