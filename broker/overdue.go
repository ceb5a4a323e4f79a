package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// maxOverdue bounds the records that wait for the store, about 1 KiB each: those of
// as many sessions as a node holds. Of what is beyond it only the time is kept.
const maxOverdue = 100_000

// overdue are the records of sessions that live here no more and of which the store
// does not know it: it could not be reached when they left, or when they could not be
// taken up. They are written as soon as it can be. Until then the node's watermark
// stands still: by that, and by nothing else, others know how far such a session had
// come, since the node lives on without it.
type overdue struct {
	b *Broker

	// mu guards what follows.
	mu     sync.Mutex
	byKey  map[string]*owed
	failed time.Time // when the store last did not take one
	lost   int64     // the watermark as of which one had no room, until
	until  time.Time
}

// owed is one of them.
type owed struct {
	key string
	// data is the record: the session lives nowhere.
	data  []byte
	was   uint64    // the Seq of what it replaces: with a lower one the store has gone back
	at    int64     // the watermark when it became overdue
	until time.Time // what it replaces has expired then

	// mu guards what follows, and is held while it is written.
	mu      sync.Mutex
	version uint64 // of what it replaces; 0: this node's claim, if there is one
	done    bool
}

// add takes a record that has to be written. version is that of what it replaces; 0
// where it is not known whether this node has claimed the record: it is only written
// if so. was is the Seq of the record that the store is known to have had.
func (v *overdue) add(key string, data []byte, version, was uint64) {
	o := &owed{key: key, data: data, was: was, version: version, at: v.b.nodes.at.Load(), until: time.Now().Add(v.b.recordLife())}
	v.b.metrics.overdue.Inc()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byKey == nil {
		v.byKey = make(map[string]*owed)
	}
	if old := v.byKey[key]; old != nil {
		o.at = min(o.at, old.at)
	} else if len(v.byKey) >= maxOverdue {
		v.b.metrics.refused("overdue record").Inc()
		if time.Now().After(v.until) {
			v.lost = o.at
		}
		v.until = o.until
		return
	}
	v.byKey[key] = o
}

// has reports whether a session's record is overdue.
func (v *overdue) has(key string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.byKey[key] != nil
}

// barred reports whether the store has just not taken one and many wait: the next one
// need not be tried at once, so that a node whose store is gone can let all of its
// sessions go in a few seconds.
func (v *overdue) barred() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.byKey) >= rememberAtOnce && time.Since(v.failed) < closeWait
}

// bound returns the watermark that may be written where at has been reached.
func (v *overdue) bound(at int64) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, o := range v.byKey {
		at = min(at, o.at)
	}
	if time.Now().Before(v.until) {
		at = min(at, v.lost)
	}
	return at
}

// settle writes the record of a session, if it is overdue.
func (v *overdue) settle(ctx context.Context, key string) error {
	v.mu.Lock()
	o := v.byKey[key]
	v.mu.Unlock()
	if o == nil {
		return nil
	}
	return v.write(ctx, o)
}

// settleAll writes what is overdue. When the store does not take the first, the rest
// waits for the next time.
func (v *overdue) settleAll(ctx context.Context) {
	v.mu.Lock()
	all := make([]*owed, 0, len(v.byKey))
	for _, o := range v.byKey {
		all = append(all, o)
	}
	v.mu.Unlock()
	if len(all) == 0 || v.write(ctx, all[0]) != nil {
		return
	}
	room := make(chan struct{}, rememberAtOnce)
	var wg sync.WaitGroup
	for _, o := range all[1:] {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			_ = v.write(ctx, o) // it is counted, and tried again
		})
	}
	wg.Wait()
}

// write writes one; the error says that it is to be tried again.
func (v *overdue) write(ctx context.Context, o *owed) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		return nil
	}
	err := v.put(ctx, o)
	passing := errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUncertain) || errors.Is(err, store.ErrFull) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && passing && time.Now().Before(o.until) {
		v.failed = time.Now()
		return err
	}
	if err != nil {
		v.b.log.Error("the record of a session that left could not be written; it may get something again", zap.Error(err))
	}
	o.done = true
	if v.byKey[o.key] == o {
		delete(v.byKey, o.key)
	}
	return nil
}

// put writes it where the session still is this node's.
func (v *overdue) put(ctx context.Context, o *owed) error {
	for range claimTries {
		if o.version == 0 {
			r, version, err := v.b.loadSession(ctx, o.key)
			switch {
			case errors.Is(err, store.ErrNotFound):
				return nil // it has ended
			case err != nil:
				return err
			case r.Owner != v.b.nodes.id && r.Seq >= o.was:
				return nil // another has it, or it was written although that was not known
			}
			o.version = version
		}
		put := store.Put{Data: o.data, TTL: v.b.recordLife(), IfVersion: &o.version}
		_, err := v.b.opt.Store.Put(ctx, tableSession, o.key, put)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		o.version = 0
	}
	return fmt.Errorf("broker: overdue record: %w", store.ErrConflict)
}

// putBack makes a record that this node has claimed, or may have, what it was before,
// since the session could not be taken up.
func (b *Broker) putBack(key string, before *sessionRecord, from int64, version uint64) {
	r := *before
	r.Owner, r.Behind, r.Seq = "", from, before.Seq+2
	data, err := json.Marshal(&r)
	if err != nil {
		b.log.Error("a session's record cannot be put back", zap.Error(err))
		return
	}
	b.overdue.add(key, data, version, before.Seq)
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_ = b.overdue.settle(ctx, key) // else it stays overdue
}
