package redis

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ears is all that is watched.
//
//	Watch ─► watch ◄──── channel ◄──── line ◄──── one PubSub, made anew when it breaks
//	             ▲                       ▲
//	             └──── head check ───────┘ counters: is anything missing?
//
// A line has a goroutine that keeps it connected and subscribes, and while it is
// connected one that receives; these call the watchers, and so does the head check.
// Lock order: watch.mu, then line.mu; watchers are called with their watch.mu alone.
type ears struct {
	s     *Store
	lines []*line // one, or in a cluster one for each partition

	announced atomic.Int64 // ms, see Announced

	// owned by the head check
	looks []look
}

func newEars(s *Store) *ears {
	e := &ears{s: s}
	n := 1
	if s.cluster {
		n = partitions
	}
	for i := range n {
		e.lines = append(e.lines, newLine(s, i))
	}
	return e
}

// start begins to listen and to check, until ctx ends.
func (e *ears) start(ctx context.Context, running *sync.WaitGroup) {
	for _, l := range e.lines {
		running.Go(func() { l.run(ctx) })
	}
	running.Go(func() { e.run(ctx) })
}

// line returns the line of a partition.
func (e *ears) line(p int) *line { return e.lines[p%len(e.lines)] }

// Watch implements store.Feed. Ready comes when Redis has confirmed the
// subscription, and again whenever something was missed. Feeds that stand for many
// are heard on one channel of each partition. The watcher is called by the goroutine
// of a connection: while it is busy, the messages of others wait, and Redis closes a
// connection that does not read for long (client-output-buffer-limit pubsub), which
// is Broken and Ready.
func (s *Store) Watch(feed string, w store.Watcher) (func(), error) {
	if err := (store.LogName{Feed: feed}).Validate(); err != nil {
		return nil, fmt.Errorf("redis: watch: %w", err)
	}
	a := &watch{feed: feed, w: w}
	a.mu.Lock() // what comes waits until all channels are joined
	defer a.mu.Unlock()
	if feed == store.AllFeeds || strings.HasSuffix(feed, "/") {
		a.many = true
		for p := range partitions {
			if !s.ears.line(p).join(a, s.keys.wide(p), s.keys.wideCounter(p), p, "") {
				return nil, fmt.Errorf("redis: watch: %w", store.ErrClosed)
			}
		}
	} else {
		p := partition(feed)
		if !s.ears.line(p).join(a, s.keys.live(p, feed), s.keys.counter(p, feed), p, feed) {
			return nil, fmt.Errorf("redis: watch: %w", store.ErrClosed)
		}
	}
	if a.down == 0 {
		a.ready = true
		w.Ready()
	}
	return a.stop, nil
}

// Announced implements store.Feed: the time at which the last head check began that
// left nothing open.
func (s *Store) Announced() time.Time { return time.UnixMilli(s.ears.announced.Load()) }

// health tells which lines are broken.
func (e *ears) health() error {
	for _, l := range e.lines {
		if err := l.health(); err != nil {
			return err
		}
	}
	return nil
}

// close tells all watchers that it is over. The goroutines have ended.
func (e *ears) close() {
	for _, l := range e.lines {
		l.close()
	}
}

// watch is one Watch: a watcher on one channel, or on one of each partition.
type watch struct {
	feed string
	many bool
	w    store.Watcher

	mu       sync.Mutex
	channels []*channel // guarded by mu
	down     int        // guarded by mu; how many of channels are not live
	ready    bool       // guarded by mu; the watcher has been told so
	stopped  bool       // guarded by mu
}

// up tells that one of the channels is live.
func (a *watch) up() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down--
	if a.down == 0 && !a.stopped {
		a.ready = true
		a.w.Ready()
	}
}

// lost tells that one of the channels is not live any more.
func (a *watch) lost(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down++
	if a.ready && !a.stopped {
		a.w.Broken(err)
	}
	a.ready = false
}

// again tells that something was missed.
func (a *watch) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ready && !a.stopped {
		a.w.Ready()
	}
}

// entries hands over what one message held, all of one log.
func (a *watch) entries(tails []store.Tail) {
	if a.many && !strings.HasPrefix(tails[0].Log.Feed, a.feed) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopped {
		a.w.Entries(tails)
	}
}

// stop ends the watch; it waits for a call under way.
func (a *watch) stop() {
	a.mu.Lock()
	a.stopped = true
	channels := a.channels
	a.channels = nil
	a.mu.Unlock()
	for _, ch := range channels {
		ch.line.leave(a, ch)
	}
}
