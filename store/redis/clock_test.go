package redis

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// remote is a primary's clock, ahead of the local one, that takes a while to answer.
type remote struct {
	mu          sync.Mutex
	ahead, trip time.Duration
	err         error
}

func (r *remote) set(ahead, trip time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead, r.trip, r.err = ahead, trip, err
}

func (r *remote) times(context.Context) (time.Time, time.Time, error) {
	r.mu.Lock()
	ahead, trip, err := r.ahead, r.trip, r.err
	r.mu.Unlock()
	time.Sleep(trip / 2)
	now := time.Now().Add(ahead)
	time.Sleep(trip / 2)
	return now.Add(-time.Hour), now, err
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &remote{ahead: 5 * time.Second, trip: 20 * time.Millisecond}
		c := newClock(r.times)
		is := func(ahead time.Duration) {
			t.Helper()
			require.Equal(t, time.Now().Add(ahead).UnixNano(), c.Now().UnixNano())
		}
		measure := func() {
			t.Helper()
			_, err := c.measure(t.Context())
			require.NoError(t, err)
		}
		is(0)
		// A trip of seconds says only what cannot be.
		r.set(time.Second, 5*time.Second, nil)
		measure()
		is(0)
		r.set(5*time.Second, 20*time.Millisecond, nil)
		measure()
		is(5*time.Second - 10*time.Millisecond)
		r.set(5*time.Second, 2*time.Second, nil)
		measure()
		is(5*time.Second - 10*time.Millisecond)
		r.set(5*time.Second, 0, nil)
		measure()
		is(5 * time.Second)
		// A little back: it stands still until that is made up for.
		r.set(5*time.Second-200*time.Millisecond, 0, nil)
		stood := c.Now()
		measure()
		require.Equal(t, stood, c.Now())
		time.Sleep(150 * time.Millisecond)
		require.Equal(t, stood, c.Now())
		time.Sleep(100 * time.Millisecond)
		is(5*time.Second - 200*time.Millisecond)
		// Far back: it goes.
		r.set(-time.Minute, 0, nil)
		measure()
		is(-time.Minute)
		// Never before a record that was seen.
		seen := time.Now().Add(time.Hour)
		c.saw(seen.UnixMilli())
		c.saw(1)
		require.Equal(t, seen.UnixMilli(), c.Now().UnixMilli())
		away := errors.New("away")
		r.set(0, 0, away)
		_, err := c.measure(t.Context())
		require.ErrorIs(t, err, away)
	})
}

func TestClockRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &remote{}
		c := newClock(r.times)
		core, logs := observer.New(zap.WarnLevel)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.run(ctx, zap.New(core))
		r.set(time.Second, 0, nil)
		time.Sleep(measureEach + time.Second)
		require.Equal(t, time.Now().Add(time.Second).UnixNano(), c.Now().UnixNano())
		require.Zero(t, logs.Len())
		r.set(time.Minute, 0, nil)
		time.Sleep(3 * measureEach)
		require.Equal(t, 1, logs.Len(), "once, not each time")
		r.set(time.Hour, 0, errors.New("away"))
		time.Sleep(2 * measureEach)
		require.Equal(t, time.Now().Add(time.Minute).UnixNano(), c.Now().UnixNano())
	})
}

func BenchmarkNow(b *testing.B) {
	c := newClock((&remote{}).times)
	b.ReportAllocs()
	for b.Loop() {
		c.Now()
	}
}
