package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

const (
	dayMS = 24 * 60 * 60 * 1000
	// opOverhead is what an op takes in the queue beside its data.
	opOverhead = 256
	unmarked   = math.MaxUint32
)

// appending is one Submit on its way.
type appending struct {
	log     store.LogName
	limits  store.Limits
	records []store.Record
	copies  bool // some record has one
	done    func(store.Appended, error)

	// set by the committer
	out store.Appended
	err error
}

// Submit appends records; see store.Log. What does not fit into the queue is
// settled at once with store.ErrUnavailable.
func (s *Store) Submit(name store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	size := opOverhead
	err := name.Validate()
	copies := false
	for i := range records {
		size += len(records[i].Data) + opOverhead
		if records[i].HasCopy() {
			copies = true
			size += len(records[i].Copy.Data) + opOverhead
		}
		if bad := records[i].Validate(); bad != nil {
			err = bad
		}
	}
	if err == nil {
		err = s.push(&appending{log: name, limits: limits, records: records, copies: copies, done: done}, size)
	}
	if err != nil {
		done(store.Appended{}, fmt.Errorf("disk: append: %w", err))
	}
}

func (a *appending) alone() bool { return false }

func (a *appending) settle(err error) {
	if a.err == nil {
		a.err = err
	}
	if a.err != nil {
		a.done(store.Appended{}, fmt.Errorf("disk: append: %w", a.err))
		return
	}
	a.done(a.out, nil)
}

func (a *appending) apply(w *work) {
	needs := noRoom
	if a.limits.Keeps() || a.copies {
		needs = allRoom
	}
	if a.err = w.s.ready(needs); a.err != nil {
		return
	}
	h, err := w.head(a.log)
	a.out.Positions = make([]store.Position, len(a.records))
	a.out.Prior = make([]bool, len(a.records))
	// The look-ups that can fail come before the first write.
	if err == nil && a.limits.Keeps() {
		err = a.prior(w)
	}
	if err == nil && a.copies {
		err = a.ask(w)
	}
	if err != nil {
		a.err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		return
	}
	if !a.limits.Keeps() {
		a.announce(w, h)
	} else {
		w.renew(a.log, h, a.limits)
		for i := range a.records {
			if !a.out.Prior[i] {
				a.out.Positions[i] = w.add(a.log, h, a.limits, &a.records[i])
				a.repeat(i)
			}
		}
		w.trim(h, a.limits)
	}
	if a.copies {
		a.copy(w)
	}
}

// renew discards a log that is idle.
func (w *work) renew(name store.LogName, h *head, limits store.Limits) {
	if h.id != 0 && window.Idle(limits, h.last, w.s.clock.Now()) {
		w.discard(h)
		w.delete(channelKey(name))
	}
}

// ask looks up the logs that get copies.
func (a *appending) ask(w *work) error {
	for i := range a.records {
		if r := &a.records[i]; r.HasCopy() {
			if _, err := w.head(r.Copy.To); err != nil {
				return err
			}
		}
	}
	return nil
}

// copy writes the copies of the records that were not there before, in the same batch.
func (a *appending) copy(w *work) {
	for i := range a.records {
		r := &a.records[i]
		if !r.HasCopy() || a.out.Prior[i] {
			continue
		}
		h := w.heads[r.Copy.To] // ask has looked it up
		w.renew(r.Copy.To, h, r.Copy.Limits)
		w.add(r.Copy.To, h, r.Copy.Limits, &store.Record{Data: r.Copied(a.out.Positions[i])})
		w.trim(h, r.Copy.Limits)
	}
}

// prior finds the records that are there already, by their nonces.
func (a *appending) prior(w *work) error {
	var hash [16]byte
	for i := range a.records {
		n := a.records[i].Nonce
		if n == (store.Nonce{}) {
			continue
		}
		if hash == ([16]byte{}) {
			hash = nameHash(a.log)
		}
		p, ok, err := w.seen(hash, n)
		if err != nil {
			return err
		}
		a.out.Positions[i], a.out.Prior[i] = p, ok
	}
	return nil
}

// repeat finds the repeats of record i, just placed, in the same submit.
func (a *appending) repeat(i int) {
	n := a.records[i].Nonce
	if n == (store.Nonce{}) {
		return
	}
	for j := i + 1; j < len(a.records); j++ {
		if a.records[j].Nonce == n {
			a.out.Positions[j], a.out.Prior[j] = a.out.Positions[i], true
		}
	}
}

// announce gives records positions that nobody can read back.
func (a *appending) announce(w *work, h *head) {
	for i := range a.records {
		before, p := h.live, store.Position{}
		if before.IsZero() {
			ms := w.s.clock.Epoch(h.last)
			p = store.NewPosition(ms, rand.Uint32(), uint64(ms))
		} else {
			ms := w.s.clock.Next()
			if before.Before(h.last) {
				ms = w.s.clock.After(h.last)
			}
			p = store.NewPosition(ms, before.Epoch(), before.N()+1)
		}
		h.live = p
		a.out.Positions[i] = p
		w.tails = append(w.tails, store.Tail{
			Log: a.log, Prev: before,
			Entry: store.Entry{Position: p, Data: a.records[i].Data},
		})
	}
}

// add writes one record behind h and returns its position.
func (w *work) add(name store.LogName, h *head, limits store.Limits, r *store.Record) store.Position {
	var before, p store.Position
	if h.id == 0 {
		p = w.begin(h, limits)
		w.describe(name, h, limits, true)
	} else {
		before = h.last
		changed := w.follow(h, limits)
		ms := w.s.clock.Next()
		if h.last.Before(h.live) {
			ms = w.s.clock.After(h.live)
		}
		if changed { // the span begins after all that lies in the one before
			ms = w.s.clock.After(h.last)
			h.spans[len(h.spans)-1].from = ms
		}
		p = store.NewPosition(ms, h.epoch, h.last.N()+1)
		w.describe(name, h, limits, changed)
	}
	h.last = p
	c := h.class()
	b := c.bucket(p.MS())
	if c != forever && b != h.marked {
		w.set(markKey(c, b, h.id), appendName(nil, name))
		h.marked = b
	}
	w.spoke(name, h)
	d := w.batch.SetDeferred(recordKeyLen, 1+len(r.Data))
	putRecordKey(d.Key, tabRecord, c, b, h.id, p.MS(), p.N())
	d.Value[0] = 0
	copy(d.Value[1:], r.Data)
	_ = d.Finish()
	if r.Nonce != (store.Nonce{}) {
		k := makeNonceKey(uint32(p.MS()/dayMS), nameHash(name), r.Nonce)
		w.nonces[k] = p
		w.set(k[:], p[:])
	}
	w.tails = append(w.tails, store.Tail{
		Log: name, Prev: before, Kept: true,
		Entry: store.Entry{Position: p, Data: r.Data},
	})
	return p
}

// begin makes h a new epoch and returns the position of its first record.
func (w *work) begin(h *head, limits store.Limits) store.Position {
	prev := h.last
	if prev.Before(h.live) {
		prev = h.live
	}
	ms := w.s.clock.Epoch(prev)
	h.channel = channel{id: w.s.nextID, epoch: rand.Uint32(), start: ms, spans: []span{{classOf(limits), ms}}}
	h.marked = unmarked
	w.s.nextID++
	w.series = true
	h.last = store.NewPosition(ms, h.epoch, uint64(ms))
	h.oldest = h.last
	return h.last
}

// follow adds a span when the limits ask for another class.
func (w *work) follow(h *head, limits store.Limits) bool {
	c := classOf(limits)
	if c == h.class() || len(h.spans) >= maxSpans && c < h.class() {
		return false
	}
	spans := slices.Clone(h.spans)
	for now := w.s.clock.Now(); len(spans) > 1 && spans[0].class.spent(spans[0].class.bucket(spans[1].from), now); {
		spans = spans[1:]
	}
	h.spans = append(spans, span{class: c})
	h.marked = unmarked
	return true
}

// describe writes the channel when something of it has changed.
func (w *work) describe(name store.LogName, h *head, limits store.Limits, changed bool) {
	if h.idle != limits.Idle {
		h.idle, changed = limits.Idle, true
		if h.idle > 0 {
			w.lookAgain(name, h.id, time.UnixMilli(w.s.clock.Last()).Add(h.idle))
		}
	}
	if changed {
		w.set(channelKey(name), h.encode(nil))
	}
}

// lookAgain notes when the sweep has to see whether a log is idle.
func (w *work) lookAgain(name store.LogName, id uint64, at time.Time) {
	w.set(binary.BigEndian.AppendUint64(dueKey(tabIdle, minuteAfter(at)), id), appendName(nil, name))
}

// minuteAfter returns the first whole minute since 1970 that is not before t.
func minuteAfter(t time.Time) uint32 {
	m := (t.UnixMilli() + 59_999) / 60_000
	return uint32(min(max(m, 0), math.MaxUint32-1))
}

// seen looks a nonce up: in the batch, today and yesterday.
func (w *work) seen(hash [16]byte, n store.Nonce) (store.Position, bool, error) {
	now := w.s.clock.Now().UnixMilli()
	for day := now / dayMS; day >= now/dayMS-1; day-- {
		k := makeNonceKey(uint32(day), hash, n)
		if p, ok := w.nonces[k]; ok {
			return p, true, nil
		}
		v, closer, err := w.s.db.Get(k[:])
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return store.Position{}, false, err
		}
		var p store.Position
		copied := copy(p[:], v)
		if err := closer.Close(); err != nil {
			return p, false, err
		}
		if copied != len(p) {
			return p, false, errCorrupt
		}
		return p, now-p.MS() <= dayMS, nil
	}
	return store.Position{}, false, nil
}

// set writes a key. The batch is in memory: it cannot fail.
func (w *work) set(key, value []byte) { _ = w.batch.Set(key, value, nil) }

func (w *work) delete(key []byte) { _ = w.batch.Delete(key, nil) }

func (w *work) deleteRange(from, to []byte) { _ = w.batch.DeleteRange(from, to, nil) }
