package disk

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// Publishers push on the queue; what is above is refused, not delayed.
	maxQueued      = 1 << 16
	maxQueuedBytes = 64 << 20
	// maxTake and maxBatch bound one commit: what one fsync covers, and what
	// waits for it.
	maxTake  = 4096
	maxBatch = 8 << 20
	// markLead is how far the mark on the disk runs ahead of the ms issued, so
	// that it is written once a second and not with each batch.
	markLead = 1000
)

// op is one change on its way through the committer.
type op interface {
	// apply writes the change into the batch of w; what it refuses it remembers.
	apply(w *work)
	// settle tells the outcome: err is that of the commit.
	settle(err error)
	// alone reports whether apply must see everything before it committed.
	alone() bool
}

// work is one batch in the making; owned by the committer.
type work struct {
	s      *Store
	batch  *pebble.Batch
	heads  map[store.LogName]*head
	names  []store.LogName
	nonces map[nonceKey]store.Position
	rows   map[string]row
	tails  []store.Tail
	used   []func() // of groups that the batch changes, see groups.Set
	series bool     // keySeries must be written
}

// commitLoop is the committer: it takes what was submitted, writes it as one
// batch, waits for the disk, then tells readers (heads), watchers and publishers,
// in this order. It ends when the queue is closed and empty.
func (s *Store) commitLoop() {
	w := &work{
		s:      s,
		heads:  make(map[store.LogName]*head),
		nonces: make(map[nonceKey]store.Position),
		rows:   make(map[string]row),
	}
	var ops []op
	for {
		var more bool
		if ops, more = s.queue.Take(ops[:0], maxTake); !more {
			return
		}
		begun := 0
		w.batch = s.db.NewBatch()
		for i, o := range ops {
			if o.alone() && i > begun {
				w.commit(ops[begun:i])
				begun = i
			}
			s.clock.Begin()
			o.apply(w)
			if o.alone() || w.batch.Len() > maxBatch {
				w.commit(ops[begun : i+1])
				begun = i + 1
			}
		}
		w.commit(ops[begun:])
		_ = w.batch.Close() // it is empty
		clear(ops)
	}
}

// commit makes the batch durable and settles its ops.
func (w *work) commit(ops []op) {
	s := w.s
	if len(ops) == 0 {
		return
	}
	err := w.write()
	if err != nil {
		s.fail(err)
		s.heads.publish(w.names, nil)
		err = fmt.Errorf("%w: %w", store.ErrUncertain, err)
	} else {
		now := make([]head, len(w.names))
		for i, name := range w.names {
			now[i] = *w.heads[name]
		}
		s.clock.Forget(s.heads.publish(w.names, now))
		s.feeds.Announce(w.tails)
		s.clock.Settle()
	}
	for _, done := range w.used {
		done()
	}
	for _, o := range ops {
		o.settle(err)
	}
	w.batch = s.db.NewBatch()
	w.tails, w.names, w.used, w.series = nil, w.names[:0], w.used[:0], false
	clear(w.heads)
	clear(w.nonces)
	clear(w.rows)
}

// write puts the batch on the disk, with the mark when it is due: every ms that
// is announced or answered is at or below a mark that is on the disk.
func (w *work) write() error {
	s := w.s
	defer w.batch.Close()
	if last := s.clock.Last(); last > s.mark {
		s.mark, w.series = last+markLead, true
	}
	if w.series {
		if err := w.batch.Set(keySeries, s.seriesValue(), nil); err != nil {
			return err
		}
	}
	if w.batch.Empty() {
		return nil
	}
	if s.written += w.batch.Len(); s.written > spaceBytes {
		s.written = 0
		s.watchSpace()
	}
	return w.batch.Commit(pebble.Sync)
}

func (s *Store) seriesValue() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(s.mark))
	return binary.BigEndian.AppendUint64(b, s.nextID)
}

// fail remembers that the engine refused a write: from then on nothing is
// appended, since what is on the disk is not known any more.
func (s *Store) fail(err error) {
	if s.broken.CompareAndSwap(nil, &err) {
		s.log.Error("disk store cannot write; restart it when the cause is mended", zap.Error(err))
	}
}

// room is how much free space a change asks for.
type room int32

const (
	noRoom   room = iota // it frees, or keeps nothing
	someRoom             // a row: half of the floor, so that sessions go on to come and be kept
	allRoom              // a record: the floor
)

// ready returns why a change that needs so much room cannot be written now, or nil.
func (s *Store) ready(needs room) error {
	if err := s.broken.Load(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, *err)
	}
	if needs > room(s.left.Load()) {
		return store.ErrFull
	}
	return nil
}

// head returns the head to write on, pinned until the commit.
func (w *work) head(name store.LogName) (*head, error) {
	if h := w.heads[name]; h != nil {
		return h, nil
	}
	h, _, ok := w.s.heads.get(name)
	if !ok {
		var err error
		if h, err = w.s.load(name); err != nil {
			return nil, err
		}
	}
	w.s.heads.pin(name, h)
	w.heads[name] = &h
	w.names = append(w.names, name)
	return &h, nil
}

// push hands an op to the committer.
func (s *Store) push(o op, bytes int) error { return s.queue.Push(o, bytes) }
