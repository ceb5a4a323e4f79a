package main

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
)

// common is a store that others may use, too, and that can be made to fail.
type common struct {
	store.Store
	fault func() error // nil: none; what was asked for is done all the same
}

func (c *common) failed() error {
	if c.fault == nil {
		return nil
	}
	return c.fault()
}

func (c *common) Shared() bool { return true }

func (c *common) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	version, err := c.Store.Put(ctx, table, key, put)
	if fault := c.failed(); fault != nil {
		return 0, fault
	}
	return version, err
}

func (c *common) Submit(log store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	c.Store.Submit(log, limits, records, func(a store.Appended, err error) {
		if fault := c.failed(); fault != nil {
			a, err = store.Appended{}, fault
		}
		done(a, err)
	})
}

// tickNode is a broker on s whose ticker is beaten by the test.
func tickNode(t *testing.T, s store.Store) *ticker {
	t.Helper()
	c := testConfig(t)
	require.NoError(t, c.completeKeys(true))
	metrics, err := broker.NewExposition()
	require.NoError(t, err)
	o, err := brokerOptions(c, s, metrics, zap.NewNop())
	require.NoError(t, err)
	b, err := broker.New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return newTicker(b, s, zap.NewNop())
}

type number struct {
	N    int64     `json:"n"`
	Run  string    `json:"run"`
	Time time.Time `json:"time"`
}

// ticks returns what was published so far.
func ticks(t *testing.T, s store.Store) (all []number) {
	t.Helper()
	logs, _, err := s.Spoke(t.Context(), store.AllFeeds, s.Now().Add(-store.SpokeFor), 10)
	require.NoError(t, err)
	require.Len(t, logs, 1)
	page, err := s.Read(t.Context(), logs[0], store.Range{Limits: store.Limits{Age: store.Forever}}, 1000, 1<<20)
	require.NoError(t, err)
	for _, e := range page.Entries {
		var n number
		i := 0
		for i < len(e.Data) && json.Unmarshal(e.Data[i:], &n) != nil {
			i++ // behind what the broker keeps beside the data
		}
		require.Less(t, i, len(e.Data))
		all = append(all, n)
	}
	return all
}

// Of two nodes one beats. When it falls silent without a word the other takes over
// within 3 s, and each run counts from 1 without a gap.
func TestTickerIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &common{Store: memory.New(memory.Options{})}
		defer func() { require.NoError(t, s.Close()) }()
		nodes := []*ticker{tickNode(t, s), tickNode(t, s)}
		first, kill := context.WithCancel(t.Context())
		second, stop := context.WithCancel(t.Context())
		done := make(chan struct{}, 2)
		nodes[0].lease.table = &mute{Table: s, from: time.Now().Add(9900 * time.Millisecond)}
		go func() { nodes[0].beat(first); done <- struct{}{} }()
		time.Sleep(100 * time.Millisecond)
		go func() { nodes[1].beat(second); done <- struct{}{} }()
		time.Sleep(9800 * time.Millisecond)
		kill() // and what it would still do is lost
		<-done
		killed := time.Now()
		time.Sleep(10 * time.Second)
		stop()
		<-done
		all := ticks(t, s)
		require.GreaterOrEqual(t, len(all), 15)
		runs := map[string]int64{}
		var order []string
		for _, n := range all {
			if runs[n.Run] == 0 {
				order = append(order, n.Run)
				if len(order) == 2 {
					require.LessOrEqual(t, n.Time.Sub(killed), 3*time.Second)
				}
			}
			runs[n.Run]++
			require.Equal(t, runs[n.Run], n.N)
		}
		require.Len(t, order, 2)
		_, err := s.Get(t.Context(), tableLease, "ticks")
		require.ErrorIs(t, err, store.ErrNotFound, "who stops in order gives the lease up")
	})
}

// mute is a table that hears nothing any more from a moment on.
type mute struct {
	store.Table
	from time.Time
}

func (m *mute) Remove(ctx context.Context, table, key string, version *uint64) error {
	if time.Now().Before(m.from) {
		return m.Table.Remove(ctx, table, key, version)
	}
	return nil
}

// What was stored though the answer was lost is sent again as it was: no number is
// there twice, none is missing, and the lease stays where it is.
func TestTickerRepeatsWhatIsUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &common{Store: memory.New(memory.Options{})}
		defer func() { require.NoError(t, s.Close()) }()
		begun := time.Now()
		s.fault = func() error {
			if d := time.Since(begun); d > 2*time.Second && d < 4*time.Second {
				return store.ErrUncertain
			}
			return nil
		}
		node := tickNode(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		node.beat(ctx)
		all := ticks(t, s)
		require.GreaterOrEqual(t, len(all), 7)
		for i, n := range all {
			require.Equal(t, number{N: int64(i + 1), Run: all[0].Run, Time: n.Time}, n)
		}
	})
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { require.NoError(t, s.Close()) }()
		a := &lease{table: s, task: "x", mark: "a", life: 3 * time.Second}
		b := &lease{table: s, task: "x", mark: "b", life: 3 * time.Second}
		other := &lease{table: s, task: "y", mark: "b", life: time.Second}
		holds := func(l *lease, want bool) {
			t.Helper()
			got, err := l.hold(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		holds(a, true)
		holds(b, false)
		holds(other, true)
		for range 5 { // renewed, it outlives its life
			time.Sleep(2 * time.Second)
			holds(a, true)
			holds(b, false)
		}
		time.Sleep(4 * time.Second)
		holds(b, true)
		holds(a, false)
		require.NoError(t, a.release(t.Context()))
		holds(b, true)
		require.NoError(t, b.release(t.Context()))
		holds(a, true)
		require.NoError(t, s.Remove(t.Context(), tableLease, "x", nil))
		holds(a, false) // it finds it gone
		holds(a, true)  // and takes it anew
	})
	s := memory.New(memory.Options{})
	require.NoError(t, s.Close())
	_, err := (&lease{table: s, task: "x", life: time.Second}).hold(t.Context())
	require.True(t, errors.Is(err, store.ErrClosed))
}
