package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// What a topic remembers of what it handed out: a shared store that goes on after it
// lost its tail loses seconds of it, not minutes (store.md §5.4).
const (
	// ringAge and ringMost bound a ring, to 80 KiB.
	ringAge  = 30 * time.Second
	ringMost = 4096
	// allRinged bounds the positions in all rings of the node, to 20 MiB: beyond it
	// a ring that grows loses its oldest instead.
	allRinged = 1 << 20
	// forksNoted bounds the forks that a topic remembers for flows that have not been
	// read since.
	forksNoted = 8
	// forkAgain is the time from which on a cursor is replayed that nobody knows any
	// more, before its own (store.md §5.3, resume).
	forkAgain = 10 * time.Second
)

// ring is the positions that a topic handed out of late, rising. It is guarded by the
// topic's mu; the zero ring is empty.
type ring struct {
	list []handed
	head int // those before it are gone
}

type handed struct {
	position store.Position
	at       uint32 // unix seconds
}

func (r *ring) live() []handed { return r.list[r.head:] }

// push adds a position, and takes what is too old or too many, or, where the node is
// full, one for one. It returns by how many the ring has grown.
func (r *ring) push(p store.Position, now time.Time, full bool) int {
	had := len(r.live())
	r.cut(now, 1)
	if n := len(r.live()); n >= ringMost || full && n > 0 {
		r.head++
	}
	if r.head > len(r.list)/2 {
		r.list = r.list[:copy(r.list, r.live())]
		r.head = 0
	}
	r.list = append(r.list, handed{p, uint32(now.Unix())})
	return len(r.live()) - had
}

// cut takes what is too old, but leaves the newest few.
func (r *ring) cut(now time.Time, few int) {
	least := now.Add(-ringAge).Unix()
	for len(r.list)-r.head > few && int64(r.list[r.head].at) < least {
		r.head++
	}
}

// expire takes what is too old, and gives the memory back. It returns by how many the
// ring has grown.
func (r *ring) expire(now time.Time) int {
	had := len(r.live())
	if had == 0 {
		return 0
	}
	r.cut(now, 0)
	if n := len(r.live()); n < had {
		r.list, r.head = slices.Clone(r.live()), 0
	}
	return len(r.live()) - had
}

// clear empties the ring and returns how many it had.
func (r *ring) clear() int {
	had := len(r.live())
	*r = ring{}
	return had
}

// lacks reports whether p lies among what was handed out of late and was not. The
// ring has no gaps.
func (r *ring) lacks(p store.Position) bool {
	live := r.live()
	if len(live) == 0 || !live[0].position.Before(p) {
		return false
	}
	_, found := slices.BinarySearchFunc(live, p, func(h handed, p store.Position) int { return h.position.Compare(p) })
	return !found
}

// turn forgets everything after p, and returns by how many the ring has grown.
func (r *ring) turn(p store.Position) int {
	had := len(r.live())
	for len(r.list) > r.head && p.Before(r.list[len(r.list)-1].position) {
		r.list = r.list[:len(r.list)-1]
	}
	return len(r.live()) - had
}

// forks are the times when the store lost what a topic had handed out. They are
// guarded by the topic's mu and written by its shard's goroutine.
type forks struct {
	forked uint64 // how many there were
	noted  []fork // the newest of them
	// adrift is the last position of a topic that could not be found again and is
	// read on from nevertheless.
	adrift store.Position
	// deep is the newest lost position of such a fork: what cursors up to it have had
	// ended before them, wherever that was.
	deep   store.Position
	warned time.Time
}

// fork says that of what was handed out everything up to common is still there, and
// nothing after it up to lost.
type fork struct{ common, lost store.Position }

// back returns where a cursor goes on that stood at p when there had been seen forks:
// what it has had of a lost stretch is not there any more.
func (f *forks) back(p store.Position, seen uint64) store.Position {
	for i, k := range f.noted {
		if number := f.forked - uint64(len(f.noted)-i); number >= seen && k.common.Before(p) && !k.lost.Before(p) {
			p = k.common
		}
	}
	return p
}

// mayFork reports whether the store is believed when it does not know p.
func (t *topic) mayFork(p store.Position) bool {
	return t.shard.hub.shared && !made(p) && !p.IsZero() && p != t.adrift
}

// turnBack sets a topic of which the store does not know the last position back to
// the newest one that it still knows: what is after that is new and has not been
// handed out. If it knows none the topic goes on from the oldest. The caller is the
// shard's goroutine.
func (s *shard) turnBack(ctx context.Context, t *topic) error {
	t.mu.Lock()
	ways, lost := slices.Clone(t.ring.live()), t.last
	t.mu.Unlock()
	common, deep, err := s.common(ctx, t, ways)
	if err != nil {
		return err
	}
	if deep {
		s.hub.b.metrics.deepForks.Inc()
		if common = lost; len(ways) > 0 {
			common = ways[0].position
		}
	}
	s.hub.b.metrics.forks.Inc()
	s.hub.b.nodes.wentBack()
	s.hub.b.pages.forget(t.log) // it may have what was lost
	now := time.Now()
	t.mu.Lock()
	t.last, t.adrift = common, store.Position{}
	if deep {
		t.adrift, t.deep = common, lost
	}
	s.hub.ringed.Add(int64(t.ring.turn(common)))
	t.marks.turn(common)
	t.forked++
	t.noted = append(t.noted, fork{common, lost})
	t.noted = t.noted[max(0, len(t.noted)-forksNoted):]
	tell := now.Sub(t.warned) > time.Minute
	if tell {
		t.warned = now
	}
	t.mu.Unlock()
	if tell {
		gone, _ := slices.BinarySearchFunc(ways, common, func(h handed, p store.Position) int { return h.position.Compare(p) })
		s.hub.b.log.Warn("the store lost messages that were delivered",
			zap.Int("messages", max(0, len(ways)-gone-1)), zap.Bool("more", deep), zap.Int64("since_ms", common.MS()), zap.Int64("until_ms", lost.MS()))
	}
	return nil
}

// common returns the newest of some positions that is still in the log; deep if none
// is. What was lost is a tail, so those that are left come first.
func (s *shard) common(ctx context.Context, t *topic, ways []handed) (p store.Position, deep bool, err error) {
	lo, hi := 0, len(ways) // those before lo are there, those from hi on are not
	for lo < hi {
		mid := (lo + hi) / 2
		page, err := s.hub.b.opt.Store.Read(ctx, t.log, store.Range{After: ways[mid].position, Limits: t.limits}, 1, 1)
		switch {
		case err != nil:
			return p, false, fmt.Errorf("broker: fork: %w", err)
		case page.Forked:
			hi = mid
		default:
			lo = mid + 1
		}
	}
	if lo == 0 {
		return p, true, nil
	}
	return ways[lo-1].position, false, nil
}

// errLost: the topic has been asked to look whether a position is lost; the same
// read is made again in a moment.
var errLost = errors.New("broker: flow: position not found")

// astray is called when the store does not know the cursor of a flow. Either the
// topic knows of the fork, or it is asked to look; if it has looked and knows of
// none, the cursor is older than what it remembers, or another node's, and some
// seconds come again (store.md §5.3, resume), but nothing from before the session
// subscribed. The caller holds f.mu.
func (f *flow) astray() error {
	t := f.topic
	t.mu.Lock()
	looked := t.looked
	if f.turnBack() {
		f.asked = 0
		t.mu.Unlock()
		return nil
	}
	deep := t.deep
	t.mu.Unlock()
	switch {
	case !deep.Before(f.cursor):
		f.adrift, f.asked = f.cursor, 0
		return nil
	case f.asked == 0:
		f.asked = looked + 1
		t.shard.missed(t)
		return errLost
	case looked < f.asked:
		t.shard.missed(t)
		return errLost
	}
	f.listener.sub.b.metrics.deepForks.Inc()
	f.asked = 0
	from := f.cursor.Time().Add(-forkAgain)
	if from.Before(f.least.Time()) {
		f.cursor, f.adrift = f.least, f.least // which may be lost as well
		return nil
	}
	if f.since.Before(from) {
		f.since = from
	}
	f.cursor = store.Position{}
	return nil
}

// turnBack moves the cursor out of what the topic knows to be lost, and reports
// whether it did. The caller holds f.mu and topic.mu.
func (f *flow) turnBack() bool {
	old := f.cursor
	f.cursor, f.forked = f.topic.back(f.cursor, f.forked), f.topic.forked
	return f.cursor != old
}
