package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// maxFailures within failuresWithin open the breaker: a dead Redis then costs a
	// publisher nothing, instead of a timeout each.
	maxFailures    = 3
	failuresWithin = time.Second
	// probeEach is how often an open breaker looks whether Redis is back.
	probeEach = 250 * time.Millisecond
	// tryEach is how often a Redis that refuses writes is asked to take one: a node
	// that is not ready for it would get no other.
	tryEach = time.Second
)

// breaker stands before a Redis that does not answer (security.md §5.2), and
// remembers what Health tells. It hears each command as a hook of the client.
type breaker struct {
	opened chan struct{} // 1; woken when it opens or writes are refused

	isOpen atomic.Bool
	calm   atomic.Bool // there are no failures to forget

	mu       sync.Mutex
	failures [maxFailures]time.Time // guarded by mu; the newest last
	since    time.Time              // guarded by mu; when it opened
	lost     error                  // guarded by mu; the last error that is no answer
	refused  error                  // guarded by mu; the last answer that a write is not taken
	errors   map[string]int64       // guarded by mu; by cause, see Store.Errors
}

func newBreaker() *breaker {
	b := &breaker{opened: make(chan struct{}, 1), errors: map[string]int64{}}
	b.calm.Store(true)
	return b
}

// allow reports whether a command may be sent.
func (b *breaker) allow() bool { return !b.isOpen.Load() }

// succeeded tells that Redis answered. It does not close an open breaker: a late
// answer says little, the next probe decides.
func (b *breaker) succeeded() {
	if b.calm.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = [maxFailures]time.Time{}
	b.calm.Store(true)
}

// failed tells that Redis did not answer.
func (b *breaker) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.calm.Store(false)
	copy(b.failures[:], b.failures[1:])
	b.failures[maxFailures-1] = now
	if now.Sub(b.failures[0]) > failuresWithin || b.isOpen.Load() {
		return
	}
	b.since = now
	b.isOpen.Store(true)
	b.wake()
}

func (b *breaker) wake() {
	select {
	case b.opened <- struct{}{}:
	default:
	}
}

// run closes the breaker when ping succeeds, and forgets a refusal when try does.
func (b *breaker) run(ctx context.Context, ping, try func(context.Context) error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.opened:
		}
		for ctx.Err() == nil {
			pause, again := b.probe(ctx, ping, try)
			if !again {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// probe looks once whether things are better, and returns when to look again.
func (b *breaker) probe(ctx context.Context, ping, try func(context.Context) error) (pause time.Duration, again bool) {
	if b.isOpen.Load() {
		if err := ping(ctx); err != nil && refusal(err) == "" {
			return probeEach, true
		}
		b.mu.Lock()
		b.failures = [maxFailures]time.Time{}
		b.isOpen.Store(false)
		b.mu.Unlock()
	}
	b.mu.Lock()
	refused := b.refused
	b.mu.Unlock()
	if refused == nil {
		return 0, false
	}
	if try(ctx) == nil {
		b.taken()
		return 0, false
	}
	return tryEach, true
}

// taken tells that a write succeeded.
func (b *breaker) taken() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused = nil
}

// note remembers what went wrong, for Health.
func (b *breaker) note(name string, err error) {
	if err == nil || errors.Is(err, goredis.Nil) {
		return
	}
	word, why := refusal(err), cause(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if why != "canceled" {
		b.errors[why]++
	}
	if word == "" {
		if why != "canceled" {
			b.lost = err
		}
		return
	}
	switch word {
	case "OOM", "READONLY", "MISCONF", "NOREPLICAS", "NOAUTH", "WRONGPASS", "NOPERM":
		if strings.HasPrefix(name, "eval") {
			b.refused = err
			b.wake()
		}
	}
}

// counts returns the errors so far, by cause.
func (b *breaker) counts() map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.errors)
}

// health returns what is wrong, in words for an operator.
func (b *breaker) health() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.isOpen.Load() {
		return fmt.Errorf("redis: does not answer since %s: %w", b.since.UTC().Format(time.RFC3339), b.lostOr())
	}
	if b.refused != nil {
		return fmt.Errorf("redis: refuses writes: %s: %w", advice(b.refused), b.refused)
	}
	return nil
}

// lostOr is called with mu held.
func (b *breaker) lostOr() error {
	if b.lost == nil {
		return errBroken
	}
	return b.lost
}

// advice says what to do about an answer that refuses.
func advice(err error) string {
	switch refusal(err) {
	case "OOM":
		return "its memory is full, raise maxmemory or keep less"
	case "READONLY":
		return "it is a replica, connect by redis+sentinel:// or name the primary"
	case "MISCONF":
		return "it cannot write to its disk, look at its log and at the free space"
	case "NOREPLICAS":
		return "too few replicas are connected (min-replicas-to-write)"
	case "NOAUTH":
		return "it wants a password, put user:password@ into the url"
	case "WRONGPASS":
		return "it does not know this user or password"
	case "NOPERM":
		return "its ACL forbids this user a command or key, see the ACL example in the documentation"
	case "LOADING":
		return "it is still loading its data"
	case "CLUSTERDOWN":
		return "the cluster does not serve all slots, see CLUSTER INFO"
	case "MASTERDOWN":
		return "it is a replica without a primary"
	}
	return "see its log"
}

// DialHook is of goredis.Hook; connections are made as ever.
func (b *breaker) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		b.note("dial", err)
		return conn, err
	}
}

// ProcessHook is of goredis.Hook; it notes errors.
func (b *breaker) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		err := next(ctx, cmd)
		b.note(cmd.Name(), err)
		return err
	}
}

// ProcessPipelineHook is of goredis.Hook; it notes errors.
func (b *breaker) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			b.note(cmd.Name(), cmd.Err())
		}
		return err
	}
}
