package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// What a reader has at a time.
const (
	// readerRecords and readerBytes bound what it takes at once, and so what waits to be
	// written: one write.
	readerRecords = 256
	readerBytes   = 256 << 10
	// settleEvery is how often it settles; settleMany records do not wait for that.
	settleEvery = time.Second
	settleMany  = 10_000
	// readerAgain is the pause after the store did not answer.
	readerAgain = time.Second
)

// StreamSink is a peer's end of a stream. Its methods return when what they were given
// is written; an error says that the peer is gone.
type StreamSink interface {
	// Records writes records in their order.
	Records(records []catchup.Record) error
	// Poke says that the connection lives.
	Poke(p Poke) error
}

// Poke is what a connection is told every few seconds (product.md V6).
type Poke struct {
	At time.Time
	// Stream is the stream's id, Members how many connections share it of Max; "" for
	// one that reads everything.
	Stream       string
	Members, Max int
}

// errEnding: the node stops; the peer connects again elsewhere.
var errEnding = &Error{Result: 5003, Text: "service unavailable; try again"}

// written is what one write brought, and when it had succeeded.
type written struct {
	when time.Time
	at   []store.Position
}

// reader is a connection to a stream (product.md V4 to V16). It takes a page of records
// from the stream's group, writes it, and takes the next when that is written: a slow
// peer holds the reading back and nothing else. A record is settled when a write has
// succeeded that began a time after its own.
type reader struct {
	b       *Broker
	account *account
	id      string
	stream  string // "": it reads everything, and shares nothing (V17)
	group   store.GroupName
	filter  catchup.RecordFilter
	// live is the newest record when the stream got its first connection of now:
	// connection events up to there are the past, and not shown (V11).
	live   store.Position
	woken  chan struct{}
	ended  chan struct{}
	finish sync.Once
	joined atomic.Bool // it is in the row
	// departing: somebody sees to it that it leaves.
	departing atomic.Bool

	// taking is held while the store is asked for records, so that a reader that has
	// to go takes nothing afterwards. It is held during store calls alone.
	taking sync.Mutex
	closed bool
	unsure bool // it may hold records that it does not know of

	// owned by the connection's goroutine
	after   store.Position // of one that reads everything: what it has read
	sink    StreamSink
	page    []catchup.Record
	silent  []store.Position // not shown
	settled time.Time        // when it last settled
	count   int              // of unsettled and silent records

	// mu guards what follows; it is held for a moment only.
	mu        sync.Mutex
	unsettled []written
	confirmed time.Time      // when the last write had succeeded
	last      store.Position // newest written
}

// end makes the reader stop soon.
func (r *reader) end() { r.finish.Do(func() { close(r.ended) }) }

// among returns the reader's place in a row, nil if it has none.
func (r *reader) among(set *catchup.StreamSet) *catchup.StreamMember {
	all := set.Replays
	if r.stream != "" {
		s := set.Find(r.stream)
		if s == nil {
			return nil
		}
		all = s.Members
	}
	for i := range all {
		if all[i].ID == r.id {
			return &all[i]
		}
	}
	return nil
}

// run serves the peer until it is gone, ctx ends, or the reader has to go. It and what
// calls it keep little on the stack: with some 200 bytes more, the runtime would leave
// each connection that rests a stack of 16 KiB instead of 8.
func (r *reader) run(ctx context.Context) {
	poking := time.NewTicker(r.b.opt.Streams.Poke)
	defer poking.Stop()
	if r.poke() != nil {
		return
	}
	var again <-chan time.Time
	for more := true; ; {
		switch r.await(ctx, poking.C, again, more) {
		case turnEnd:
			return
		case turnPoke:
			if r.poke() != nil {
				return
			}
			continue
		case turnSettle:
			r.settle(ctx, false)
		}
		var pause time.Duration
		if more, pause = r.look(ctx); pause < 0 {
			return
		}
		if again = nil; pause > 0 {
			again = time.After(pause)
		}
	}
}

// turn is what a reader does next.
type turn byte

const (
	turnLook turn = iota
	turnPoke
	turnSettle
	turnEnd
)

// await waits for the next turn; it does not wait where more is there to be read, but
// to end and to poke go before that.
func (r *reader) await(ctx context.Context, poking, again <-chan time.Time, more bool) turn {
	select {
	case <-r.ended:
		return turnEnd
	case <-ctx.Done():
		return turnEnd
	case <-poking:
		return turnPoke
	default:
	}
	if more {
		return turnLook
	}
	select {
	case <-r.woken:
		return turnLook
	case <-again:
		return turnSettle
	case <-poking:
		return turnPoke
	case <-r.ended:
		return turnEnd
	case <-ctx.Done():
		return turnEnd
	}
}

// look takes a step, and says when to look again if nothing is heard until then: never
// (0), or not at all, since the peer is gone (less).
func (r *reader) look(ctx context.Context) (more bool, pause time.Duration) {
	more, err := r.step(ctx)
	switch {
	case errors.Is(err, errGone):
		return false, -1
	case err != nil && ctx.Err() == nil:
		r.b.metrics.streamFaults.Inc()
		r.b.log.Debug("a stream could not be read; it is tried again", zap.Error(err))
		return more, readerAgain
	case r.count > 0:
		return more, settleEvery
	}
	return more, 0
}

// errGone: the peer is.
var errGone = errors.New("broker: stream: the peer is gone")

// step takes a page and writes it; more says that there may be another.
func (r *reader) step(ctx context.Context) (more bool, err error) {
	taken, err := r.take(ctx)
	if err != nil || len(taken.Entries) == 0 {
		r.page = nil // who rests holds no records
		return false, err
	}
	r.page = r.page[:0]
	shown := make([]store.Position, 0, len(taken.Entries))
	again := 0
	for i, e := range taken.Entries {
		record, err := catchup.DecodeRecord(e)
		if err != nil {
			r.b.metrics.badRecords.Inc()
		}
		if err != nil || !r.shows(&record, i < taken.Again) {
			if r.stream != "" {
				r.silent = append(r.silent, e.Position)
			}
			continue
		}
		if i < taken.Again {
			again++
		}
		r.page, shown = append(r.page, record), append(shown, e.Position)
	}
	if r.stream != "" {
		r.count += len(taken.Entries)
		r.note(shown)
	}
	if len(shown) > 0 {
		if r.sink.Records(r.page) != nil {
			return false, errGone
		}
		r.confirm(len(shown))
		r.b.metrics.streamEvents.Add(float64(len(shown)))
		r.b.metrics.redelivered.Add(float64(again))
	}
	if r.stream != "" {
		r.settle(ctx, false)
	}
	return true, nil
}

// take asks the store for records, unless the reader has to go.
func (r *reader) take(ctx context.Context) (store.Taken, error) {
	r.taking.Lock()
	defer r.taking.Unlock()
	if r.closed {
		return store.Taken{}, errGone
	}
	if r.stream != "" {
		if r.unsure {
			// What it may hold without knowing is given back, with all that is out: that
			// comes again.
			if err := r.b.opt.Store.Leave(ctx, r.group, r.id); err != nil {
				return store.Taken{}, err
			}
			r.forget()
		}
		taken, err := r.b.opt.Store.Take(ctx, r.group, r.account.limits, r.id, readerRecords, readerBytes)
		r.unsure = errors.Is(err, store.ErrUncertain)
		return taken, err
	}
	page, err := r.b.opt.Store.Read(ctx, r.account.log, store.Range{After: r.after, Limits: r.account.limits}, readerRecords, readerBytes)
	if n := len(page.Entries); n > 0 {
		r.after = page.Entries[n-1].Position
	}
	return store.Taken{Entries: page.Entries}, err
}

// forget forgets what is written and not settled.
func (r *reader) forget() {
	r.silent, r.count = r.silent[:0], 0
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsettled = nil
}

// close sees to it that the reader takes nothing more, and ends it.
func (r *reader) close() {
	r.taking.Lock()
	r.closed = true
	r.taking.Unlock()
	r.end()
}

// shows reports whether the peer gets a record.
func (r *reader) shows(record *catchup.Record, again bool) bool {
	if record.Connection && (r.stream == "" || again || !r.live.Before(record.Position)) {
		return false
	}
	return r.filter.Admits(record)
}

// note remembers what is about to be written.
func (r *reader) note(at []store.Position) {
	if len(at) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unsettled = append(r.unsettled, written{at: at})
	r.last = at[len(at)-1]
}

// confirm notes that the last write has succeeded, with n records.
func (r *reader) confirm(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.confirmed = time.Now()
	if n == 0 || r.stream == "" {
		return
	}
	r.unsettled[len(r.unsettled)-1].when = r.confirmed
}

// wrote reports whether a record was written here, as far as it is known.
func (r *reader) wrote(p store.Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == p {
		return true
	}
	return slices.ContainsFunc(r.unsettled, func(w written) bool { return slices.Contains(w.at, p) })
}

// oldest returns the oldest record that was written and is not settled; zero: none.
func (r *reader) oldest() store.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unsettled) == 0 {
		return store.Position{}
	}
	return r.unsettled[0].at[0]
}

func (r *reader) poke() error {
	p := Poke{At: r.b.opt.Store.Now(), Stream: r.stream, Max: r.b.opt.Streams.MaxConnections}
	if r.stream != "" {
		p.Members = r.account.desk.members(r.stream)
	}
	if err := r.sink.Poke(p); err != nil {
		return err
	}
	r.confirm(0)
	return nil
}

// due returns the records that count as delivered, and how many writes brought them.
func (r *reader) due() (at []store.Position, writes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.unsettled {
		if w.when.IsZero() || r.confirmed.Sub(w.when) < r.b.opt.Streams.Redelivery {
			break
		}
		at = append(at, w.at...)
		writes++
	}
	return at, writes
}

// settle settles what counts as delivered and what was not shown, now and then, or at
// once if it is the last time. What the store does not take is tried again later.
func (r *reader) settle(ctx context.Context, last bool) {
	if r.count == 0 || !last && r.count < settleMany && time.Since(r.settled) < settleEvery {
		return
	}
	if !last && time.Since(r.settled) < settleEvery/10 {
		return
	}
	r.settled = time.Now()
	at, writes := r.due()
	at = append(at, r.silent...)
	if len(at) == 0 {
		return
	}
	if err := r.b.opt.Store.Settle(ctx, r.group, at); err != nil {
		r.b.metrics.streamFaults.Inc()
		r.b.log.Debug("records of a stream could not be settled; it is tried again", zap.Error(err))
		return
	}
	r.count -= len(at)
	r.silent = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unsettled = slices.Delete(r.unsettled, 0, writes); len(r.unsettled) == 0 {
		r.unsettled = nil
	}
}
