package redis

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// answer is an error as Redis says it.
type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}

var _ goredis.Error = answer("")

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		var pings atomic.Int64
		var away atomic.Bool
		away.Store(true)
		ping := func(context.Context) error {
			pings.Add(1)
			if away.Load() {
				return errors.New("away")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.run(ctx, ping, func(context.Context) error { return nil })
		fail := func(n int) {
			for range n {
				b.failed()
			}
		}
		fail(2)
		b.succeeded()
		fail(2)
		require.True(t, b.allow(), "not one after the other")
		time.Sleep(2 * failuresWithin)
		fail(2)
		require.True(t, b.allow(), "not within a second")
		require.NoError(t, b.health())
		b.note("dial", errors.New("no route"))
		b.failed()
		require.False(t, b.allow())
		require.ErrorContains(t, b.health(), "no route")
		fail(10)
		b.succeeded()
		require.False(t, b.allow(), "a late answer does not close it")
		time.Sleep(time.Second + probeEach/2)
		require.EqualValues(t, 5, pings.Load())
		away.Store(false)
		time.Sleep(probeEach)
		require.True(t, b.allow())
		require.NoError(t, b.health())
		time.Sleep(time.Minute)
		require.EqualValues(t, 6, pings.Load(), "nothing is asked while all is well")
		fail(2)
		require.True(t, b.allow(), "older failures are forgotten")
		fail(1)
		require.False(t, b.allow())
	})
}

func TestBreakerRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		var full atomic.Bool
		full.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.run(ctx, func(context.Context) error { return nil }, func(context.Context) error {
			if full.Load() {
				return answer("OOM")
			}
			return nil
		})
		b.note("get", answer("NOPERM this user"))
		b.note("evalsha", answer("NOSCRIPT"))
		b.note("evalsha", goredis.Nil)
		b.note("evalsha", context.Canceled)
		require.NoError(t, b.health())
		b.note("evalsha", answer("OOM command not allowed when used memory > 'maxmemory'."))
		b.note("evalsha", nil)
		require.ErrorContains(t, b.health(), "memory is full")
		require.True(t, b.allow(), "reads go on")
		time.Sleep(3 * tryEach)
		require.ErrorContains(t, b.health(), "OOM")
		full.Store(false)
		time.Sleep(tryEach)
		synctest.Wait()
		require.NoError(t, b.health())
		b.note("dial", context.DeadlineExceeded)
		require.Equal(t, map[string]int64{"noperm": 1, "noscript": 1, "oom": 1, "timeout": 1}, b.counts(),
			"neither what found nothing, nor what was given up")
	})
}

func TestAdvice(t *testing.T) {
	for word := range refusals {
		require.NotEmpty(t, advice(answer(word+" and so on")))
	}
	s := &Store{address: address{kind: kindStandalone, hosts: []string{"h:1"}, password: "secret"}}
	f := func(err error, want string, later bool) {
		t.Helper()
		got := s.explain(err)
		require.ErrorContains(t, got, want)
		require.ErrorIs(t, got, err)
		require.Equal(t, later, errors.Is(got, store.ErrUnavailable))
		require.NotContains(t, got.Error(), "secret")
	}
	f(answer("NOAUTH Authentication required."), "wants a password", false)
	f(answer("WRONGPASS invalid username-password pair or user is disabled."), "does not know this user", false)
	f(answer("NOPERM User x has no permissions to run the 'info' command"), "ACL", false)
	f(answer("ERR AUTH <password> called without any password configured for the default user."), "has no password", false)
	f(answer("LOADING Redis is loading the dataset in memory"), "loading", true)
	f(answer("CLUSTERDOWN Hash slot not served"), "all slots", true)
	f(errors.New("EOF"), "cannot be reached", true)
	f(misfit("of another kind"), "of another kind", false)
}

func BenchmarkBreaker(b *testing.B) {
	breaker := newBreaker()
	b.ReportAllocs()
	for b.Loop() {
		if breaker.allow() {
			breaker.succeeded()
		}
	}
}
