package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// follower keeps the logs of a feed complete by what it hears and, where that has a
// gap, by what it reads: the algorithm of store.md §5.2 in its simplest form.
//
// The watcher's calls only put things down; one goroutine, ended by end, takes them up.
type follower struct {
	u     *suite
	feed  string
	begun time.Time // of the store's clock
	wake  chan struct{}
	quit  chan struct{}
	done  sync.WaitGroup
	halt  func() // of the watch

	mu      sync.Mutex
	repair  bool // what was committed before now may have been missed
	waiting []store.Tail
	logs    map[store.LogName][]store.Entry
	repairs int
	faults  []string
}

// follower begins to follow a feed from the store's present; it ends with the test.
func (u *suite) follower(feed string) *follower {
	u.Helper()
	f := &follower{
		u: u, feed: feed, begun: u.s.Now(), wake: make(chan struct{}, 1), quit: make(chan struct{}),
		logs: make(map[store.LogName][]store.Entry),
	}
	f.watch()
	f.done.Go(f.run)
	u.Cleanup(func() {
		f.halt()
		close(f.quit)
		f.done.Wait()
	})
	return f
}

// watch listens, again after stop.
func (f *follower) watch() {
	f.u.Helper()
	stop, err := f.u.s.Watch(f.feed, f)
	require.NoError(f.u, err)
	f.halt = stop
}

// stop ends listening.
func (f *follower) stop() { f.halt() }

func (f *follower) Ready() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.repair = true
	f.signal()
}

func (f *follower) Entries(tails []store.Tail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, tails...)
	f.signal()
}

func (f *follower) Broken(error) {}

// signal leaves a token for run.
func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) run() {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	failed := false
	for {
		select {
		case <-f.quit:
			return
		case <-again.C:
			if !failed {
				continue
			}
		case <-f.wake:
		}
		failed = f.step() != nil
	}
}

// step takes up what was put down. When the store fails it is tried again.
func (f *follower) step() error {
	f.mu.Lock()
	repair, tails := f.repair, f.waiting
	f.repair, f.waiting = false, nil
	f.mu.Unlock()
	var err error
	if repair {
		err = f.catchUp()
	}
	for _, t := range tails {
		if err == nil && !f.apply(t) {
			err = f.read(t.Log)
		}
	}
	if err != nil { // nothing is lost: everything is read
		f.mu.Lock()
		f.repair = true
		f.mu.Unlock()
	}
	return err
}

// apply takes an entry if it is the next, or known; false: there is a gap.
func (f *follower) apply(t store.Tail) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.last(t.Log)
	switch {
	case !last.Before(t.Position):
		return true
	case t.Prev == last:
		f.logs[t.Log] = append(f.logs[t.Log], t.Entry)
		return true
	}
	return false
}

// last returns the newest position of a log; mu is held.
func (f *follower) last(log store.LogName) store.Position {
	if n := len(f.logs[log]); n > 0 {
		return f.logs[log][n-1].Position
	}
	return store.Position{}
}

// catchUp reads what the logs of the feed have more than is known here.
func (f *follower) catchUp() error {
	logs, more, err := f.u.s.Spoke(ctx, f.feed, f.begun, 10_000)
	if err != nil || more {
		return fmt.Errorf("spoke, more %v: %w", more, err)
	}
	heads, err := f.u.s.Heads(ctx, logs)
	if err != nil {
		return err
	}
	for i, log := range logs {
		f.mu.Lock()
		behind := f.last(log).Before(heads[i])
		f.mu.Unlock()
		if behind {
			if err := f.read(log); err != nil {
				return err
			}
		}
	}
	return nil
}

// read reads a log behind what is known of it.
func (f *follower) read(log store.LogName) error {
	f.mu.Lock()
	f.repairs++
	r := store.Range{After: f.last(log), Limits: keep}
	f.mu.Unlock()
	for {
		p, err := f.u.s.Read(ctx, log, r, 100, 1<<20)
		if err != nil {
			return err
		}
		f.mu.Lock()
		if p.Forked || p.Trimmed {
			f.faults = append(f.faults, fmt.Sprintf("%v after %v: forked %v, trimmed %v", log, r.After, p.Forked, p.Trimmed))
		}
		f.logs[log] = append(f.logs[log], p.Entries...)
		r.After = f.last(log)
		f.mu.Unlock()
		if !p.More {
			return nil
		}
	}
}

// entries returns what is known of a log.
func (f *follower) entries(log store.LogName) []store.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.logs[log])
}

// followed waits until f has exactly what the logs of its feed hold.
func (u *suite) followed(f *follower) {
	u.Helper()
	logs, more, err := u.s.Spoke(ctx, f.feed, f.begun, 10_000)
	require.NoError(u, err)
	require.False(u, more)
	require.NotEmpty(u, logs)
	for _, log := range logs {
		want := u.page(log, store.Range{Limits: keep}).Entries
		require.Eventually(u, func() bool { return len(f.entries(log)) >= len(want) }, patience, time.Millisecond,
			"%v: some of %d are missing", log, len(want))
		require.Equal(u, want, f.entries(log), "%v", log)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Empty(u, f.faults)
	u.Logf("%d logs followed, %d reads", len(logs), f.repairs)
}

// write appends to three logs of a feed from four writers at once, each its records
// from one number up to another, and repeats with the same nonce what fails. It waits
// for all.
func (u *suite) write(feed string, from, to int) {
	u.Helper()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := from; i < to; i++ {
				u.insist(store.LogName{Feed: feed, Path: fmt.Sprint(i % 3)}, fmt.Sprintf("%d-%d", w, i), store.Nonce{byte(w), byte(i), byte(i >> 8), 1})
			}
		})
	}
	wg.Wait()
}

// insist appends a record, whatever it takes.
func (u *suite) insist(log store.LogName, data string, nonce store.Nonce) {
	var err error
	if !until(patience, func() bool {
		_, err = Append(u.s, log, keep, store.Record{Data: []byte(data), Nonce: nonce})
		return err == nil
	}) {
		u.Errorf("%s: %v", data, err)
	}
}

// written checks that the logs of a feed hold what write wrote, each once.
func (u *suite) written(feed string, each int) {
	u.Helper()
	seen := map[string]bool{}
	for i := range 3 {
		last := map[string]int{}
		for _, text := range u.texts(store.LogName{Feed: feed, Path: fmt.Sprint(i)}, store.Range{Limits: keep}) {
			require.False(u, seen[text], "%s twice", text)
			seen[text] = true
			var w string
			var n int
			_, err := fmt.Sscanf(text, "%1s-%d", &w, &n)
			require.NoError(u, err)
			require.LessOrEqual(u, last[w], n, "a writer's records in its order")
			last[w] = n
		}
	}
	require.Len(u, seen, 4*each)
}
