package bench

import "slices"

// Faults is what a receiver missed, had twice, or had in the wrong order.
type Faults struct {
	Lost      int64 `json:"lost"`
	Duplicate int64 `json:"duplicate"`
	Reordered int64 `json:"reordered"`
}

func (f *Faults) add(g Faults) {
	f.Lost += g.Lost
	f.Duplicate += g.Duplicate
	f.Reordered += g.Reordered
}

// Total is the sum of all three.
func (f Faults) Total() int64 { return f.Lost + f.Duplicate + f.Reordered }

// tally follows the sequence numbers of one publisher as one receiver sees them.
// It belongs to one goroutine.
type tally struct {
	next    int64 // the lowest number that nothing came behind
	missing []gap // sorted, disjoint, all below next
	faults  Faults
}

// gap is the numbers [from, to) that did not come yet.
type gap struct{ from, to int64 }

// maxGaps bounds what a server that drops here and there can cost; the oldest gap
// is then lost for good, and what fills it later is told as a duplicate.
const maxGaps = 4096

// saw notes a number; fresh is false when it came before.
func (t *tally) saw(seq int64) (fresh bool) {
	switch {
	case seq == t.next:
		t.next++
		return true
	case seq > t.next:
		if len(t.missing) == maxGaps {
			t.faults.Lost += t.missing[0].to - t.missing[0].from
			t.missing = slices.Delete(t.missing, 0, 1)
		}
		t.missing = append(t.missing, gap{t.next, seq})
		t.next = seq + 1
		return true
	}
	i, found := t.gapOf(seq)
	if !found {
		t.faults.Duplicate++
		return false
	}
	t.faults.Reordered++
	g := t.missing[i]
	switch {
	case g.to-g.from == 1:
		t.missing = slices.Delete(t.missing, i, i+1)
	case seq == g.from:
		t.missing[i].from++
	case seq == g.to-1:
		t.missing[i].to--
	default:
		t.missing[i].to = seq
		t.missing = slices.Insert(t.missing, i+1, gap{seq + 1, g.to})
	}
	return true
}

// has reports whether a number came.
func (t *tally) has(seq int64) bool {
	_, missing := t.gapOf(seq)
	return seq < t.next && !missing
}

// gapOf returns the gap that a number is in, if it is in one.
func (t *tally) gapOf(seq int64) (int, bool) {
	return slices.BinarySearchFunc(t.missing, seq, func(g gap, seq int64) int {
		switch {
		case seq < g.from:
			return 1
		case seq >= g.to:
			return -1
		}
		return 0
	})
}

// result returns the faults when sent numbers [0, sent) were sent in all.
func (t *tally) result(sent int64) Faults {
	f := t.faults
	for _, g := range t.missing {
		f.Lost += g.to - g.from
	}
	f.Lost += max(sent-t.next, 0)
	return f
}
