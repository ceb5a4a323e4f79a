package storetest_test

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// lossy is a store whose feed loses what networks lose, and whose watchers hear late:
// the suite's tests of followers run against it, so that they are known to work, and
// to find what is wrong.
type lossy struct {
	*memory.Store

	mu      sync.Mutex
	share   float64
	deaf    bool
	waiting []func()
	calling bool
	heard   time.Time // what Announced has said
	watches map[*lossyWatch]bool
	wake    chan struct{}
	quit    chan struct{}
	running sync.WaitGroup
}

// lossyWatch is a watcher behind the network.
type lossyWatch struct {
	l     *lossy
	w     store.Watcher
	gone  bool // guarded by l.mu
	calls sync.Mutex
}

func newLossy(t testing.TB) *lossy {
	l := &lossy{
		Store: memory.New(memory.Options{}), watches: make(map[*lossyWatch]bool),
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	l.running.Go(l.run)
	t.Cleanup(func() {
		close(l.quit)
		l.running.Wait()
		require.NoError(t, l.Store.Close())
	})
	return l
}

func (l *lossy) Shared() bool { return true }

func (l *lossy) Announced() time.Time {
	now := l.Store.Announced() // up to here all is waiting, or called
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 && !l.calling {
		l.heard = now
	}
	return l.heard
}

func (l *lossy) Watch(feed string, w store.Watcher) (func(), error) {
	v := &lossyWatch{l: l, w: w}
	l.mu.Lock()
	l.watches[v] = true
	l.mu.Unlock()
	stop, err := l.Store.Watch(feed, v)
	return func() {
		if stop != nil {
			stop()
		}
		l.mu.Lock()
		v.gone = true
		delete(l.watches, v)
		l.mu.Unlock()
		v.calls.Lock() // waits for a call under way
		defer v.calls.Unlock()
	}, err
}

func (v *lossyWatch) Ready()           { v.later(v.w.Ready) }
func (v *lossyWatch) Broken(err error) { v.later(func() { v.w.Broken(err) }) }

func (v *lossyWatch) Entries(tails []store.Tail) {
	var kept []store.Tail
	v.l.mu.Lock()
	for _, t := range tails {
		if !v.l.deaf && rand.Float64() >= v.l.share {
			kept = append(kept, t)
		}
	}
	v.l.mu.Unlock()
	if len(kept) > 0 {
		v.later(func() { v.w.Entries(kept) })
	}
}

// later calls f in turn, unless the watch has ended.
func (v *lossyWatch) later(f func()) {
	v.l.mu.Lock()
	defer v.l.mu.Unlock()
	v.l.waiting = append(v.l.waiting, func() {
		v.calls.Lock()
		defer v.calls.Unlock()
		v.l.mu.Lock()
		gone := v.gone
		v.l.mu.Unlock()
		if !gone {
			f()
		}
	})
	select {
	case v.l.wake <- struct{}{}:
	default:
	}
}

// run calls what waits, and each second Ready where something may have been lost.
func (l *lossy) run() {
	check := time.NewTicker(time.Second)
	defer check.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-check.C:
			l.disturb(false)
		case <-l.wake:
		}
		l.mu.Lock()
		calls := l.waiting
		l.waiting, l.calling = nil, true
		l.mu.Unlock()
		for _, f := range calls {
			f()
		}
		l.mu.Lock()
		l.calling = false
		l.mu.Unlock()
	}
}

// disturb breaks the feed, lost: losing what waits.
func (l *lossy) disturb(lost bool) {
	l.mu.Lock()
	var watches []*lossyWatch
	for v := range l.watches {
		watches = append(watches, v)
	}
	if lost {
		l.waiting = nil
	}
	l.mu.Unlock()
	for _, v := range watches {
		v.Broken(errors.New("disturbed"))
		v.Ready()
	}
}

func lossyHooks() storetest.Options {
	of := func(s store.Store) *lossy { return s.(*lossy) }
	return storetest.Options{
		OwnClock: true,
		Disturb:  func(_ testing.TB, s store.Store) { of(s).disturb(true) },
		DropLive: func(_ testing.TB, s store.Store, share float64) {
			of(s).mu.Lock()
			defer of(s).mu.Unlock()
			of(s).share = share
		},
		Deafen: func(_ testing.TB, s store.Store) func() {
			set := func(on bool) {
				of(s).mu.Lock()
				defer of(s).mu.Unlock()
				of(s).deaf = on
			}
			set(true)
			return func() { set(false) }
		},
	}
}

func TestSuiteOnLossyStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, _ func() time.Time) store.Store { return newLossy(t) }, lossyHooks())
}
