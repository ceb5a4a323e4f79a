package disk

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

const maxN = 1<<48 - 1

// nearEnough is how many records are stepped over before the search by halves.
const nearEnough = 64

// records finds the records of one epoch of a log, bucket by bucket. The bounds
// of what it sees are the head's: nothing after last, which may not be durable
// yet. A bucket in which the log has nothing costs one seek; a stretch of buckets
// in which no log has anything costs one in all.
type records struct {
	it   *pebble.Iterator
	tab  byte // tabRecord or tabRedact
	h    *head
	key  [recordKeyLen]byte
	last place // where it stands
	err  error
}

var _ window.Records = (*records)(nil)

// openRecords returns a walk over tab; close it.
func openRecords(db pebble.Reader, tab byte, h *head) (*records, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{tab}, UpperBound: []byte{tab + 1}})
	if err != nil {
		return nil, err
	}
	return &records{it: it, tab: tab, h: h}, nil
}

// close ends the walk and returns the first error it met.
func (r *records) close() error {
	if err := r.it.Close(); r.err == nil {
		r.err = err
	}
	return r.err
}

// spanEnd returns the ms after span i.
func (r *records) spanEnd(i int) int64 {
	if i+1 < len(r.h.spans) {
		return r.h.spans[i+1].from
	}
	return r.h.last.MS() + 1
}

// From returns the first record at or after (ms, n).
func (r *records) From(ms int64, n uint64) (store.Position, bool) {
	if low := max(r.h.start, r.h.oldest.MS()); ms < low {
		ms, n = low, 0
	}
	if n > maxN {
		ms, n = ms+1, 0
	}
	for i, s := range r.h.spans {
		end := r.spanEnd(i)
		if s.from > ms {
			ms, n = s.from, 0
		}
		if ms >= end {
			continue
		}
		if p, ok := r.fromIn(s.class, ms, n, end); ok || r.err != nil {
			return p, ok
		}
	}
	return store.Position{}, false
}

func (r *records) fromIn(c class, ms int64, n uint64, end int64) (store.Position, bool) {
	b, stop := c.bucket(ms), c.bucket(end-1)
	for b <= stop {
		putRecordKey(r.key[:], r.tab, c, b, r.h.id, ms, n)
		if !r.it.SeekGE(r.key[:]) {
			r.err = r.it.Error()
			return store.Position{}, false
		}
		at, ok := parseRecordKey(r.it.Key())
		switch {
		case !ok:
			r.err = errCorrupt
			return store.Position{}, false
		case at.class != c:
			return store.Position{}, false
		case at.bucket == b && at.id == r.h.id:
			return r.stand(at)
		case at.bucket > b && at.id <= r.h.id:
			b = at.bucket // its first log comes before ours, or is ours
		case at.bucket > b:
			b = at.bucket + 1
		default:
			b++
		}
		ms, n = c.begin(b), 0
	}
	return store.Position{}, false
}

// stand takes the record the iterator stands on, unless it is not committed.
func (r *records) stand(at place) (store.Position, bool) {
	r.last = at
	p := store.NewPosition(at.ms, r.h.epoch, at.n)
	return p, !r.h.last.Before(p)
}

// To returns the last record at or before (ms, n).
func (r *records) To(ms int64, n uint64) (store.Position, bool) {
	if ms > r.h.last.MS() {
		ms, n = r.h.last.MS(), r.h.last.N()
	}
	for i, s := range slices.Backward(r.h.spans) {
		if end := r.spanEnd(i); ms >= end {
			ms, n = end-1, maxN
		}
		if ms < s.from {
			continue
		}
		if p, ok := r.toIn(s.class, ms, n, s.from); ok || r.err != nil {
			return p, ok
		}
	}
	return store.Position{}, false
}

func (r *records) toIn(c class, ms int64, n uint64, from int64) (store.Position, bool) {
	b, stop := c.bucket(ms), c.bucket(from)
	for {
		// The key after (ms, n): SeekLT then finds (ms, n) itself.
		putRecordKey(r.key[:], r.tab, c, b, r.h.id, ms, min(n, maxN))
		if !r.it.SeekLT(append(r.key[:], 0)) {
			r.err = r.it.Error()
			return store.Position{}, false
		}
		at, ok := parseRecordKey(r.it.Key())
		switch {
		case !ok:
			r.err = errCorrupt
			return store.Position{}, false
		case at.class != c || at.bucket < stop:
			return store.Position{}, false
		case at.bucket == b && at.id == r.h.id:
			if at.ms < from {
				return store.Position{}, false
			}
			r.last = at
			return store.NewPosition(at.ms, r.h.epoch, at.n), true
		case at.bucket < b && at.id >= r.h.id:
			b = at.bucket
		case b == 0:
			return store.Position{}, false
		case at.bucket < b:
			b = at.bucket - 1
			if at.bucket == 0 {
				return store.Position{}, false
			}
		default:
			b--
		}
		if b < stop {
			return store.Position{}, false
		}
		ms, n = c.begin(b+1)-1, maxN
	}
}

// Numbered returns record n, at or after lo. Near the end it steps back, else it
// halves the time between lo and the last record: about 30 seeks for a month.
func (r *records) Numbered(n uint64, lo store.Position) (store.Position, bool) {
	if p := r.h.last; p.N()-n < nearEnough {
		ok := true
		for ok && p.N() > n {
			p, ok = r.back(p)
		}
		return p, ok && p.N() == n
	}
	low, high := lo.MS(), r.h.last.MS()+1 // record n is in [low, high)
	for high-low > 1 {
		mid := low + (high-low)/2
		p, ok := r.From(mid, 0)
		switch {
		case r.err != nil:
			return store.Position{}, false
		case !ok || p.N() > n:
			high = mid
		case p.N() == n:
			return p, true
		default:
			low = p.MS()
		}
	}
	p, ok := r.From(low, n)
	return p, ok && p.N() == n
}

// back returns the record before p.
func (r *records) back(p store.Position) (store.Position, bool) {
	if p.N() == 0 {
		return r.To(p.MS()-1, maxN)
	}
	return r.To(p.MS(), p.N()-1)
}

// next moves from the record it stands on to the next.
func (r *records) next() (store.Position, bool) {
	was := r.last
	if r.it.Next() {
		at, ok := parseRecordKey(r.it.Key())
		if ok && at.class == was.class && at.bucket == was.bucket && at.id == was.id {
			return r.stand(at)
		}
	} else if r.err = r.it.Error(); r.err != nil {
		return store.Position{}, false
	}
	return r.From(was.ms, was.n+1)
}

// redacted reports whether the record it stands on was redacted.
func (r *records) redacted() bool {
	v, err := r.it.ValueAndErr()
	if err != nil {
		r.err = err
	}
	return len(v) > 0 && v[0]&flagRedacted != 0
}
