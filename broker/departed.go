package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Bounds of the records that are kept of sessions that left.
const (
	// departedFor is for how long: a store that goes back loses seconds, and is away for
	// as long as its failover takes.
	departedFor = 30 * time.Second
	// departedMost bounds them in number and departedBytes in all; beyond it the oldest
	// go.
	departedMost  = 50_000
	departedBytes = 32 << 20
)

// departed are the records of sessions that left this node of late, as they were written.
// A session that lives somewhere is written again by its node when the store has gone
// back (subscriber.adopt); one that was on its way then is known by nobody else.
type departed struct {
	b *Broker

	// mu guards what follows.
	mu    sync.Mutex
	byKey map[string]*gone
	order []*gone // rising in time; some are not in byKey any more
	bytes int     // of data in order
}

// gone is one of them.
type gone struct {
	key  string
	data []byte
	seq  uint64 // of the record
	at   time.Time
}

// keep takes the record of a session that left, which the store has.
func (d *departed) keep(key string, data []byte, seq uint64) {
	g := &gone{key: key, data: data, seq: seq, at: time.Now()}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byKey == nil {
		d.byKey = make(map[string]*gone)
	}
	d.byKey[key] = g
	d.order = append(d.order, g)
	d.bytes += len(data)
	d.trim(g.at)
}

// trim forgets what is too old or too much. The caller holds mu.
func (d *departed) trim(now time.Time) {
	n := 0
	for _, g := range d.order {
		if now.Sub(g.at) < departedFor && len(d.order)-n <= departedMost && d.bytes <= departedBytes {
			break
		}
		d.bytes -= len(g.data)
		if d.byKey[g.key] == g {
			delete(d.byKey, g.key)
		}
		n++
	}
	d.order = slices.Delete(d.order, 0, n)
}

// sweep forgets what is too old.
func (d *departed) sweep() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trim(time.Now())
}

// writeAgain writes every record again that is newer than what the store has, after it
// has gone back.
func (d *departed) writeAgain(ctx context.Context) {
	d.mu.Lock()
	all := make([]*gone, 0, len(d.byKey))
	for _, g := range d.byKey {
		all = append(all, g)
	}
	d.mu.Unlock()
	room := make(chan struct{}, rememberAtOnce)
	var wg sync.WaitGroup
	var failed atomic.Int64
	var last atomic.Pointer[error]
	for _, g := range all {
		if failed.Load() > 0 || ctx.Err() != nil {
			break // the store is away again
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := d.write(ctx, g); err != nil {
				failed.Add(1)
				last.Store(&err)
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 && ctx.Err() == nil {
		d.b.deaf.Store(true)
		d.b.log.Warn("records of sessions that left could not be looked at after the store was away; it is tried again", zap.Int64("sessions", n), zap.Error(*last.Load()))
	}
}

// recall writes the record of a session again, if there is one and it is newer.
func (d *departed) recall(ctx context.Context, key string) error {
	d.mu.Lock()
	g := d.byKey[key]
	d.mu.Unlock()
	if g == nil {
		return nil
	}
	return d.write(ctx, g)
}

func (d *departed) write(ctx context.Context, g *gone) error {
	for range claimTries {
		r, version, err := d.b.loadSession(ctx, g.key)
		switch {
		case errors.Is(err, store.ErrNotFound) && !d.b.nodes.lateTurned():
			return nil // it has ended elsewhere since
		case errors.Is(err, store.ErrNotFound):
			// The store does not know that it began. Or it has ended elsewhere: then
			// nobody asks for it, and it expires.
			r = new(sessionRecord)
		case err != nil:
			return err
		case r.Seq >= g.seq:
			return nil
		}
		_, err = d.b.opt.Store.Put(ctx, tableSession, g.key, store.Put{Data: g.data, TTL: d.b.recordLife(), IfVersion: &version})
		if err == nil {
			d.b.metrics.recordForks.Inc()
			d.b.nodes.wentBack()
			if r.Owner != "" && r.Owner != d.b.nodes.id {
				d.b.mail.tell(r.Owner, letter{Kind: letterMoved, Key: g.key})
			}
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return store.ErrConflict
}
