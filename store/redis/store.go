package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
)

// Options are how a Redis is used. The zero value is what most want.
type Options struct {
	// Prefix begins all keys and channels, at most 64 bytes without braces; two
	// brokers with different ones can share a Redis. Default "g".
	Prefix string
	// PublishTimeout bounds how long an append waits, retries included, before it
	// is store.ErrUnavailable or store.ErrUncertain. Default 2 s; much less refuses
	// publishes during a failover, much more makes publishers wait for it.
	PublishTimeout time.Duration
	// Ack says when an append is done: "stored", the primary answered, or
	// "replica", one replica has it too. Default "stored".
	Ack string
	// AllowEviction opens a Redis that may evict keys: history then goes without
	// notice, and logs begin anew in the middle.
	AllowEviction bool
	// Insecure opens a Redis on another machine that has neither password nor TLS.
	Insecure bool
	// Still leaves the copies of records where they wait: no pump runs here. For a store
	// that is only copied.
	Still bool
	// Log is told what an operator should know. Default: nothing is logged.
	Log *zap.Logger
}

// What Options.Ack may be.
const (
	ackStored  = "stored"
	ackReplica = "replica"
)

const (
	defaultPrefix         = "g"
	defaultPublishTimeout = 2 * time.Second
	// maxPrefix bounds Options.Prefix: it is in every key.
	maxPrefix = 64
)

// Store keeps logs and tables in a Redis, which many nodes share (store.md §3).
type Store struct {
	options Options
	keys    *keys
	log     *zap.Logger
	client  goredis.UniversalClient // sends each command once
	cluster bool
	address address
	members members // of a cluster
	clock   *clock
	breaker *breaker
	gather  *gather
	ears    *ears
	held    int // store.MaxHeld, but for tests

	cancel  context.CancelFunc // ends the goroutines
	running sync.WaitGroup
	ended   atomic.Bool // Close was called
	closing sync.Once
	closed  error // of client; written under closing
}

var _ store.Store = (*Store)(nil)

// Open connects to a Redis, 7.0 or newer, and checks that it can be relied on:
// version, eviction, persistence, clock, layout. ctx bounds that; a server that is
// still loading is waited for. url is one of
//
//	redis://[user:password@]host[:6379][/db], rediss:// with TLS
//	redis+sentinel://[user:password@]host[:26379],.../name[?db=0&sentinel_user=&sentinel_password=]
//	redis+cluster://[user:password@]host[:6379],...
//
// each with ?tls=true for TLS. What is wrong is said in words for an operator and
// without passwords; store.ErrUnavailable is among the causes if trying again may
// help. store.md §3, security.md §5.2.
func Open(ctx context.Context, url string, options Options) (*Store, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	at, err := parseAddress(url)
	if err != nil {
		return nil, err
	}
	if !options.Insecure && at.exposed() {
		return nil, errExposed
	}
	s := &Store{
		options: options, keys: newKeys(options.Prefix), log: options.Log,
		cluster: at.kind == kindCluster, address: at, breaker: newBreaker(), held: store.MaxHeld,
	}
	s.client = at.connect(s.breaker, &s.members, s.log)
	s.clock = newClock(s.times)
	if err := s.check(ctx); err != nil {
		_ = s.client.Close()
		return nil, err
	}
	s.gather = newGather(s)
	s.ears = newEars(s)
	s.start()
	return s, nil
}

// complete fills in the defaults and refuses what makes no sense.
func (o Options) complete() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.PublishTimeout == 0 {
		o.PublishTimeout = defaultPublishTimeout
	}
	if o.Ack == "" {
		o.Ack = ackStored
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	switch {
	case !validPrefix(o.Prefix):
		return o, fmt.Errorf("redis: prefix: want 1 to %d bytes without braces", maxPrefix)
	case o.PublishTimeout < 0:
		return o, fmt.Errorf("redis: publish timeout: %v is negative", o.PublishTimeout)
	case o.Ack != ackStored && o.Ack != ackReplica:
		return o, fmt.Errorf("redis: ack: %q is neither %s nor %s", o.Ack, ackStored, ackReplica)
	}
	return o, nil
}

// validPrefix refuses braces: the first pair in a key says where in a cluster it
// lies, and that is the partition's.
func validPrefix(prefix string) bool {
	for _, c := range []byte(prefix) {
		if c == '{' || c == '}' {
			return false
		}
	}
	return len(prefix) <= maxPrefix
}

// start begins what goes on until Close.
func (s *Store) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.gather.start()
	s.running.Go(func() { s.clock.run(ctx, s.log) })
	s.running.Go(func() { s.breaker.run(ctx, s.ping, s.tryWrite) })
	if !s.options.Still {
		s.running.Go(func() { newPump(s).run(ctx) })
	}
	s.ears.start(ctx, &s.running)
}

// Now returns the store's clock: that of the primary, as measured (store.md §3.10).
// It does not go back unless the primary's clock does by more than a second.
func (s *Store) Now() time.Time { return s.clock.Now() }

// Shared returns true: any number of nodes may use a Redis at the same time.
func (s *Store) Shared() bool { return true }

// Health returns nil when appends and reads can be expected to work, or what is
// wrong in words for an operator.
func (s *Store) Health(context.Context) error {
	if s.ended.Load() {
		return fmt.Errorf("redis: %w", store.ErrClosed)
	}
	if err := s.breaker.health(); err != nil {
		return err
	}
	return s.ears.health()
}

// Errors returns how many commands were refused or not answered, each attempt of one, by
// cause: oom, readonly, misconf, loading, noauth, noperm, noscript and their like are what
// Redis said; dial, timeout, connection, pool and closed are what it did not (security.md
// §5.2). Causes that never were are left out.
func (s *Store) Errors() map[string]int64 { return s.breaker.counts() }

// ping reports whether Redis answers at all.
func (s *Store) ping(ctx context.Context) error { return s.client.Ping(ctx).Err() }

// tryWrite reports whether Redis takes writes from scripts, as all of ours are, on
// each primary of a cluster.
func (s *Store) tryWrite(ctx context.Context) error {
	parts := 1
	if s.cluster {
		parts = partitions
	}
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i := range parts {
			p.Eval(ctx, "return redis.call('SET', KEYS[1], '', 'PX', 10000)", []string{s.keys.probe(i)})
		}
		return nil
	})
	return err
}

// Close settles what was submitted, tells the watchers that it is over and ends all
// connections. Doing it again changes nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.ended.Store(true)
		s.gather.close()
		s.cancel()
		s.running.Wait()
		s.ears.close()
		s.closed = s.client.Close()
	})
	return s.closed
}
