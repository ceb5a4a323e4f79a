package disk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// TestHeadsRace reads and writes more logs than heads are held: who was told that
// a record is there finds it, and no log is seen going back.
func TestHeadsRace(t *testing.T) {
	s := openDir(t, t.TempDir(), Options{Floor: -1, Small: true})
	s.heads.max = 6
	const logs, each = 25, 60
	limits := store.Limits{Age: time.Hour}
	log := func(i int) store.LogName { return store.LogName{Feed: "f", Path: fmt.Sprint(i)} }
	var writers, readers sync.WaitGroup
	end := make(chan struct{})
	for i := range logs {
		writers.Go(func() {
			for range each {
				a, err := storetest.Append(s, log(i), limits, store.Record{Data: []byte("x")})
				if err != nil {
					t.Error(err)
					return
				}
				h, err := s.Head(ctx, log(i), limits)
				if err != nil || h.Last != a.Positions[0] {
					t.Errorf("log %d: told %v, head %v, %v", i, a.Positions[0], h.Last, err)
				}
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			var last [logs]store.Position
			for {
				select {
				case <-end:
					return
				default:
				}
				i := rand.IntN(logs)
				h, err := s.Head(ctx, log(i), limits)
				if err != nil || h.Last.Before(last[i]) {
					t.Errorf("log %d: head %v after %v, %v", i, h.Last, last[i], err)
				}
				last[i] = h.Last
			}
		})
	}
	writers.Wait()
	close(end)
	readers.Wait()
	for i := range logs {
		require.Len(t, readAll(t, s, log(i), limits), each)
	}
	require.LessOrEqual(t, s.heads.len(), 6)
}

// TestUncertain gives up on a Put that then happens.
func TestUncertain(t *testing.T) {
	s := openDir(t, t.TempDir(), Options{Floor: -1, Small: true})
	hold, held := make(chan struct{}), make(chan struct{})
	s.Submit(store.LogName{}, store.Limits{}, []store.Record{{}}, func(store.Appended, error) {
		close(held)
		<-hold
	})
	<-held
	short, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		_, err := s.Put(short, "t", "k", store.Put{Data: []byte("v")})
		failed <- err
	}()
	require.Eventually(t, func() bool { return s.queue.Len() > 0 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-failed, store.ErrUncertain)
	close(hold)
	require.NoError(t, s.Remove(ctx, "t", "other", nil)) // settled behind it
	v, err := s.Get(ctx, "t", "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(v.Data))
}
