package memory

import (
	"sort"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// log is one epoch of a log that keeps its records. n is dense, so a record is
// found by its index.
type log struct {
	start  store.Position
	limits store.Limits // of the newest append; what sweeping goes by
	// entries are all records from the oldest kept to the last; never empty.
	entries  []entry
	redacted []uint64 // their n, rising
	bytes    int64
}

type entry struct {
	store.Entry
	redacted bool
}

// live is the state of a log that keeps nothing.
type live struct{ last store.Position }

func (l *log) last() store.Position { return l.entries[len(l.entries)-1].Position }

func (l *log) window() window.Log { return window.Log{Start: l.start, Last: l.last()} }

var _ window.Records = (*log)(nil)

func (l *log) From(ms int64, n uint64) (store.Position, bool) { return l.at(l.search(ms, n)) }

func (l *log) To(ms int64, n uint64) (store.Position, bool) { return l.at(l.search(ms, n+1) - 1) }

func (l *log) Numbered(n uint64, _ store.Position) (store.Position, bool) { return l.at(l.index(n)) }

// search returns the index of the first entry at or after (ms, n).
func (l *log) search(ms int64, n uint64) int {
	return sort.Search(len(l.entries), func(i int) bool {
		p := l.entries[i].Position
		return p.MS() > ms || p.MS() == ms && p.N() >= n
	})
}

func (l *log) index(n uint64) int { return int(int64(n) - int64(l.entries[0].Position.N())) }

func (l *log) at(i int) (store.Position, bool) {
	if i < 0 || i >= len(l.entries) {
		return store.Position{}, false
	}
	return l.entries[i].Position, true
}

// redactedIn counts the redacted records from n lo to n hi.
func (l *log) redactedIn(lo, hi uint64) int {
	from := sort.Search(len(l.redacted), func(i int) bool { return l.redacted[i] >= lo })
	to := sort.Search(len(l.redacted), func(i int) bool { return l.redacted[i] > hi })
	return to - from
}

// redact empties the entry at index i and returns how many bytes that frees.
func (l *log) redact(i int) int64 {
	e := &l.entries[i]
	freed := int64(len(e.Data))
	n := e.Position.N()
	at := sort.Search(len(l.redacted), func(i int) bool { return l.redacted[i] >= n })
	l.redacted = append(l.redacted, 0)
	copy(l.redacted[at+1:], l.redacted[at:])
	l.redacted[at] = n
	e.Data, e.redacted = nil, true
	l.bytes -= freed
	return freed
}

// trim drops what neither age nor length shows any more and returns the bytes
// freed. One record below the length stays: window tells by it what was trimmed.
// The last record stays for its position.
func (l *log) trim(now time.Time) int64 {
	drop := 0
	if l.limits.Age != store.Forever {
		drop = l.search(window.Cutoff(l.limits.Age, now), 0)
	}
	if l.limits.Length > 0 {
		drop = max(drop, len(l.entries)-l.limits.Length-1)
	}
	drop = min(drop, len(l.entries)-1)
	if drop <= 0 {
		return 0
	}
	var freed int64
	for i := range l.entries[:drop] {
		freed += entryOverhead + int64(len(l.entries[i].Data))
	}
	first := l.entries[drop].Position.N()
	gone := sort.Search(len(l.redacted), func(i int) bool { return l.redacted[i] >= first })
	l.redacted = append([]uint64(nil), l.redacted[gone:]...)
	// A new array: readers hold pages of the old one, and its front must be freed.
	l.entries = append(make([]entry, 0, len(l.entries)-drop+len(l.entries)/4), l.entries[drop:]...)
	l.bytes -= freed
	return freed
}
