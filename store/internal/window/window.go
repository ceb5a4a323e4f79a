package window

import (
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// maxN is the greatest n of a position.
const maxN = 1<<48 - 1

// Records finds positions of one epoch of one log, of the records that are
// physically there, redacted ones included.
type Records interface {
	// From returns the first record at or after (ms, n).
	From(ms int64, n uint64) (store.Position, bool)
	// To returns the last record at or before (ms, n).
	To(ms int64, n uint64) (store.Position, bool)
	// Numbered returns record n, which lies at or after lo.
	Numbered(n uint64, lo store.Position) (store.Position, bool)
}

// Log is the epoch of a log that can be read; the zero value: there is none.
type Log struct {
	Start store.Position // of the epoch's first record ever
	Last  store.Position // newest record committed
}

// Window is a stretch of a log, both ends included.
type Window struct {
	First, Last store.Position
	Empty       bool
	Trimmed     bool // as in store.Page
	Forked      bool // as in store.Page
}

// Of returns what r shows of the log at the time now.
func Of(l Log, recs Records, r store.Range, now time.Time) Window {
	none := Window{Empty: true}
	if !r.Limits.Keeps() {
		return none
	}
	if !l.Last.IsZero() && Idle(r.Limits, l.Last, now) {
		l = Log{}
	}
	none.Forked = forked(l, recs, r.After, r.Limits, now)
	if l.Last.IsZero() || !r.After.Before(l.Last) {
		return none
	}
	from, n := max(Cutoff(r.Limits.Age, now), since(r.Since)), uint64(0)
	if a := r.After; a.MS() >= from {
		from = a.MS()
		switch {
		case a.Epoch() == l.Last.Epoch() && a.N() < maxN:
			n = a.N() + 1
		case a.Epoch() >= l.Last.Epoch():
			from++ // nothing of this ms comes after it
		}
	}
	first, ok := recs.From(from, n)
	if !ok {
		return none
	}
	low := lengthLow(l, r.Limits)
	w := Window{First: first, Last: l.Last, Forked: none.Forked}
	if !r.UpTo.IsZero() && r.UpTo.Before(l.Last) {
		if w.Last, ok = upTo(l, recs, r.UpTo); !ok || w.Last.Before(first) {
			// UpTo may be among what was deleted for the length: young, and
			// wanted, and not there.
			u := r.UpTo
			none.Trimmed = u.Epoch() == l.Last.Epoch() && !u.Before(l.Start) && u.N() < low &&
				u.MS() >= from && r.After.Before(u)
			return none
		}
	}
	if first.N() < low {
		none.Trimmed = true
		w.Trimmed = true
		if w.Last.N() < low {
			return none
		}
		if w.First, ok = recs.Numbered(low, first); !ok {
			return none
		}
	}
	return w
}

// upTo returns the last record at or before p, which is before the log's last.
func upTo(l Log, recs Records, p store.Position) (store.Position, bool) {
	switch {
	case p.Before(l.Start):
		return store.Position{}, false
	case p.Epoch() == l.Last.Epoch():
		return recs.To(p.MS(), p.N())
	case p.Epoch() < l.Last.Epoch():
		return recs.To(p.MS()-1, maxN)
	}
	return recs.To(p.MS(), maxN)
}

// lengthLow returns the lowest n that the length limit shows.
func lengthLow(l Log, limits store.Limits) uint64 {
	length := uint64(max(limits.Length, 0))
	if length == 0 || l.Last.N() < length {
		return 0
	}
	return l.Last.N() - length + 1
}

// Cutoff returns the first ms that is not older than age; what has a smaller ms
// is out of its age limit.
func Cutoff(age time.Duration, now time.Time) int64 {
	if age == store.Forever {
		return 0
	}
	from := now.Add(-age)
	ms := from.UnixMilli()
	if from.After(time.UnixMilli(ms)) {
		ms++ // a record's time is the beginning of its ms
	}
	return max(ms, 0)
}

func since(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.UnixMilli(), 0)
}

// Idle reports whether a log with this last record is gone whole.
func Idle(l store.Limits, last store.Position, now time.Time) bool {
	return l.Idle > 0 && now.Sub(last.Time()) >= l.Idle
}

// forked reports whether after should be a record of the log and is not. What is
// out of age, below the length limit, or idle since long may be unknown.
func forked(l Log, recs Records, after store.Position, limits store.Limits, now time.Time) bool {
	if after.IsZero() || after.MS() < Cutoff(limits.Age, now) {
		return false
	}
	if l.Last.IsZero() {
		return !Idle(limits, after, now)
	}
	switch {
	case l.Last.Before(after):
		return true
	case after.Epoch() != l.Last.Epoch():
		return !after.Before(l.Start) || !Idle(limits, after, l.Start.Time())
	case after.N() < lengthLow(l, limits):
		return false
	}
	p, ok := recs.From(after.MS(), after.N())
	return !ok || p != after
}
