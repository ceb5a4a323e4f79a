package memory

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

var ctx = context.Background()

func TestFull(t *testing.T) {
	c := storetest.NewClock()
	s := New(Options{Now: c.Now, MaxBytes: 100_000})
	defer s.Close()
	log, limits := store.LogName{Feed: "f"}, store.Limits{Age: time.Hour}
	n := 0
	var err error
	for ; err == nil; n++ {
		_, err = storetest.Append(s, log, limits, store.Record{Data: make([]byte, 1000)})
	}
	require.ErrorIs(t, err, store.ErrFull)
	require.InDelta(t, 95, n, 5)
	require.ErrorIs(t, s.Health(ctx), store.ErrFull)
	_, err = s.Put(ctx, "t", "k", store.Put{Data: make([]byte, 2000)})
	require.ErrorIs(t, err, store.ErrFull)
	_, err = storetest.Append(s, log, store.Limits{}, store.Record{Data: make([]byte, 9000)})
	require.NoError(t, err, "what is not kept takes no room")
	p, err := s.Read(ctx, log, store.Range{Limits: limits}, 1000, 1<<30)
	require.NoError(t, err)
	require.Len(t, p.Entries, n-1, "reads go on")
	c.Turn(2 * time.Hour)
	require.NoError(t, s.Delete(ctx, store.LogName{}))
	_, err = storetest.Append(s, log, limits, store.Record{Data: make([]byte, 1000)})
	require.NoError(t, err, "what is expired makes room")
	require.NoError(t, s.Health(ctx))
}

// TestNothingLeaks counts: when all has expired, no byte is in use.
func TestNothingLeaks(t *testing.T) {
	c := storetest.NewClock()
	s := New(Options{Now: c.Now})
	defer s.Close()
	for i := range 500 {
		limits := []store.Limits{{Age: time.Hour}, {Age: time.Hour, Length: 2}, {Age: store.Forever, Idle: time.Hour}}[i%3]
		log := store.LogName{Feed: "f", Path: fmt.Sprint(i % 20)}
		a, err := storetest.Append(s, log, limits, store.Record{Data: []byte("data"), Nonce: store.Nonce{byte(i), 1}})
		require.NoError(t, err)
		if i%7 == 0 {
			require.NoError(t, s.Redact(ctx, log, a.Positions[0]))
		}
		if i%50 == 49 {
			require.NoError(t, s.Delete(ctx, log))
		}
		key := fmt.Sprint(i % 9)
		_, err = s.Put(ctx, "t", key, store.Put{Data: make([]byte, i), TTL: time.Duration(1+i%60) * time.Second})
		require.NoError(t, err)
		if i%11 == 0 {
			require.NoError(t, s.Remove(ctx, "t", key, nil))
		}
		c.Turn(7 * time.Second)
	}
	require.NotZero(t, s.bytes)
	c.Turn(25 * time.Hour)
	s.sweep()
	require.Zero(t, s.bytes)
	require.Empty(t, s.logs)
	require.Empty(t, s.nonces)
	require.Empty(t, s.tables)
}

// TestBubble runs in a synctest bubble, which fails if a goroutine is left.
func TestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		log, limits := store.LogName{Feed: "f"}, store.Limits{Age: time.Minute}
		_, err := storetest.Append(s, log, limits, store.Record{Data: []byte("x")})
		require.NoError(t, err)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		s.mu.Lock()
		require.Empty(t, s.logs, "the sweep has been")
		s.mu.Unlock()
		require.NoError(t, s.Close())
	})
}

// TestCallbacks sees to it that a callback may use the store.
func TestCallbacks(t *testing.T) {
	s := New(Options{})
	log, limits := store.LogName{Feed: "f"}, store.Limits{Age: time.Minute}
	end := make(chan int)
	_, err := s.Watch("f", &reader{s: s, log: log, limits: limits})
	require.NoError(t, err)
	s.Submit(log, limits, []store.Record{{}}, func(store.Appended, error) {
		s.Submit(log, limits, []store.Record{{}}, func(store.Appended, error) {
			p, _ := s.Read(ctx, log, store.Range{Limits: limits}, 10, 10)
			end <- len(p.Entries)
		})
	})
	require.Equal(t, 2, <-end)
	require.NoError(t, s.Close())
}

// reader reads in its callbacks.
type reader struct {
	s      *Store
	log    store.LogName
	limits store.Limits
}

func (r *reader) Ready()               { _, _ = r.s.Head(ctx, r.log, r.limits) }
func (r *reader) Entries([]store.Tail) { _, _ = r.s.Head(ctx, r.log, r.limits) }
func (r *reader) Broken(error)         { _, _ = r.s.Head(ctx, r.log, r.limits) }

// TestLiveBound: publishers cannot fill the memory with names of logs that keep
// nothing, and what falls out never goes back.
func TestLiveBound(t *testing.T) {
	c := storetest.NewClock()
	s := New(Options{Now: c.Now})
	defer s.Close()
	first, err := storetest.Append(s, store.LogName{Path: "0"}, store.Limits{}, store.Record{})
	require.NoError(t, err)
	done := make(chan struct{}, 1<<20)
	for i := range maxLive + 500 {
		s.Submit(store.LogName{Path: fmt.Sprint(i)}, store.Limits{}, []store.Record{{}}, func(store.Appended, error) { done <- struct{}{} })
		if i%1000 == 999 {
			for range 1000 {
				<-done
			}
		}
	}
	again, err := storetest.Append(s, store.LogName{Path: "0"}, store.Limits{}, store.Record{})
	require.NoError(t, err)
	require.True(t, first.Positions[0].Before(again.Positions[0]))
	s.mu.Lock()
	defer s.mu.Unlock()
	require.LessOrEqual(t, len(s.live), maxLive)
}
