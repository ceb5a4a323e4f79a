package memory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/clock"
	"github.com/gobelin-broker/gobelin/store/internal/feeds"
	"github.com/gobelin-broker/gobelin/store/internal/groups"
	"github.com/gobelin-broker/gobelin/store/internal/queue"
)

const (
	// Publishers push on the queue; what is above waits nowhere.
	maxQueued      = 1 << 16
	maxQueuedBytes = 64 << 20
	// maxTake bounds how many submits are committed, and announced, at once.
	maxTake = 1024
	// sweepEvery is how long expired records may take up memory.
	sweepEvery = time.Minute
	// Estimates of what one of them takes on the heap beside its data.
	logOverhead, entryOverhead, nonceOverhead, rowOverhead = 460, 48, 120, 160
)

// Options says how a Store is made; the zero value is usable.
type Options struct {
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// Log hears of a full store; nil is silence.
	Log *zap.Logger
	// MaxBytes bounds what is kept, in bytes; 0 is 1 GiB. Too small refuses
	// publishes, too great lets the process outgrow the machine.
	MaxBytes int64
}

// Store is a store.Store in memory.
type Store struct {
	log      *zap.Logger
	maxBytes int64
	clock    *clock.Clock
	queue    *queue.Queue[*submit]
	feeds    *feeds.Feeds
	groups   *groups.Set
	end      chan struct{} // closed by Close
	running  sync.WaitGroup
	closing  sync.Once

	// owned by the committer
	live map[store.LogName]*live

	mu     sync.Mutex
	closed bool
	bytes  int64
	full   bool
	logs   map[store.LogName]*log
	paths  map[string]map[string]*log // logs by feed and path
	nonces map[store.LogName]map[store.Nonce]marked
	tables map[string]*table
	series map[seriesName][]point // in the order of slots
}

var _ store.Store = (*Store)(nil)

// New returns an empty store; Close ends its goroutines.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	s := &Store{
		log:      o.Log,
		maxBytes: o.MaxBytes,
		clock:    clock.New(o.Now, 0),
		queue:    queue.New[*submit](maxQueued, maxQueuedBytes),
		feeds:    feeds.New(),
		groups:   groups.NewSet(nil, 0),
		end:      make(chan struct{}),
		live:     make(map[store.LogName]*live),
		logs:     make(map[store.LogName]*log),
		paths:    make(map[string]map[string]*log),
		nonces:   make(map[store.LogName]map[store.Nonce]marked),
		tables:   make(map[string]*table),
		series:   make(map[seriesName][]point),
	}
	s.running.Go(s.commit)
	s.running.Go(s.sweepLoop)
	return s
}

// Now returns the store's clock; see store.Store.
func (s *Store) Now() time.Time { return s.clock.Now() }

// Announced returns a time up to which every watcher has heard; see store.Feed.
func (s *Store) Announced() time.Time { return s.clock.Settled() }

// Lag returns the zero value: a copy is there when its record is.
func (s *Store) Lag(context.Context) (store.Lag, error) { return store.Lag{}, nil }

// Shared returns false: nobody else sees the memory of the process.
func (s *Store) Shared() bool { return false }

// Watch announces the appends of a feed; see store.Feed. stop waits for a call of
// w under way, so it must not be called by w.
func (s *Store) Watch(feed string, w store.Watcher) (stop func(), err error) {
	return s.feeds.Watch(feed, w)
}

// Health returns nil unless the store is full or closed.
func (s *Store) Health(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("memory: health: %w", store.ErrClosed)
	case s.full:
		return fmt.Errorf("memory: health: %d of %d bytes in use: %w", s.bytes, s.maxBytes, store.ErrFull)
	}
	return nil
}

// Close settles what was submitted, ends the watches and forgets everything.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.queue.Close()
		close(s.end)
		s.running.Wait()
		s.feeds.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		s.logs, s.paths, s.nonces, s.tables, s.series, s.bytes = nil, nil, nil, nil, nil, 0
	})
	return nil
}

// lock takes mu, or says why not. The caller unlocks if there is no error.
func (s *Store) lock(ctx context.Context, doing string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %s: %w", doing, err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return fmt.Errorf("memory: %s: %w", doing, store.ErrClosed)
	}
	return nil
}

// room reports whether n more bytes fit, sweeping once if need be; mu is held.
func (s *Store) room(n int64) bool {
	if s.bytes+n > s.maxBytes && !s.full {
		s.sweepLogs()
		s.sweepTables()
		s.sweepSeries()
	}
	full := s.bytes+n > s.maxBytes
	if full && !s.full {
		s.log.Warn("memory store is full", zap.Int64("bytes", s.bytes), zap.Int64("max_bytes", s.maxBytes))
	}
	s.full = full
	return !full
}
