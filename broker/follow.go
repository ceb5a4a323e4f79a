package broker

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// Times of a follower.
const (
	// followEvery is how often a log on a shared store is read even if nothing was
	// announced, so that what the feed lost comes within a second all the same.
	followEvery = time.Second
	// followLost is for how long a log may be unreadable before its follower says
	// that it is blind.
	followLost = 3 * time.Second
	followPage = 500
)

// follower hands on every entry of a kept log, exactly and in order, as the log
// grows. The feed only wakes it: what counts is what it reads. It is how nodes hear
// of each other, where a lost announcement must not stay lost.
type follower struct {
	store  store.Store
	log    store.LogName
	limits store.Limits
	logger *zap.Logger
	// entry is called for each one; it must not take long.
	entry func(ctx context.Context, e store.Entry)
	// sees is called with true once it reads, and after entries were missed for good
	// (expired unread, or the log was lost); with false while it is blind.
	sees func(bool)
	// after is where it begins; nil: behind what is there when it starts.
	after *store.Position
	// every is followEvery where somebody waits for what the log has; 0: nobody does.
	every time.Duration
	// looked is called with when it began to read, each time that it has come to the log's
	// end; nil: nobody asks.
	looked func(began time.Time)

	// owned by run
	last  store.Position
	blind bool
}

// followWaker wakes a follower; it is its store.Watcher.
type followWaker chan struct{}

func (w followWaker) wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// Ready is part of store.Watcher.
func (w followWaker) Ready() { w.wake() }

// Entries is part of store.Watcher.
func (w followWaker) Entries([]store.Tail) { w.wake() }

// Broken is part of store.Watcher.
func (w followWaker) Broken(error) {}

// run follows until ctx ends. The error says that the store cannot be watched.
func (f *follower) run(ctx context.Context) error {
	wake := make(followWaker, 1)
	stop, err := f.store.Watch(f.log.Feed, wake)
	if err != nil {
		return fmt.Errorf("broker: follow %s: %w", f.log.Feed, err)
	}
	defer stop()
	every := cmp.Or(f.every, followEvery)
	if !f.store.Shared() {
		every = time.Minute // its feed loses nothing
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	good, began := time.Now(), false
	for ctx.Err() == nil {
		if !began {
			began = f.begin(ctx)
		}
		looking := time.Now()
		switch {
		case began && f.read(ctx):
			good = time.Now()
			f.see(true)
			if f.looked != nil {
				f.looked(looking)
			}
		case ctx.Err() == nil && time.Since(good) > followLost:
			f.see(false)
		}
		if !began {
			tick.Reset(min(every, followEvery/4))
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
			tick.Reset(every)
		}
	}
	return nil
}

// begin finds where to begin; false if the store does not say.
func (f *follower) begin(ctx context.Context) bool {
	if f.after != nil {
		f.last = *f.after
	} else {
		head, err := f.store.Head(ctx, f.log, f.limits)
		if err != nil {
			return false
		}
		f.last = head.Last
	}
	f.sees(true)
	return true
}

func (f *follower) see(yes bool) {
	if f.blind == !yes {
		return
	}
	f.blind = !yes
	f.sees(yes)
}

// read hands on what is new; false if the store did not answer.
func (f *follower) read(ctx context.Context) bool {
	for {
		page, err := f.store.Read(ctx, f.log, store.Range{After: f.last, Limits: f.limits}, followPage, pageBytes)
		if err != nil {
			return false
		}
		if page.Forked || page.Trimmed {
			// What is there is handed on, also what was before: entries are such
			// that hearing one again does no harm.
			f.logger.Warn("notices of other nodes were lost", zap.String("feed", f.log.Feed))
			if page.Forked && !f.last.IsZero() {
				f.last = store.Position{}
				f.sees(true)
				continue
			}
			f.sees(true)
		}
		for _, e := range page.Entries {
			f.last = e.Position
			f.entry(ctx, e)
		}
		if !page.More {
			return true
		}
	}
}
