package queue

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func TestBounds(t *testing.T) {
	q := New[int](3, 100)
	require.NoError(t, q.Push(1, 500), "one alone always fits")
	require.ErrorIs(t, q.Push(2, 1), store.ErrUnavailable)
	got, more := q.Take(nil, 10)
	require.Equal(t, []int{1}, got)
	require.True(t, more)
	for i := range 3 {
		require.NoError(t, q.Push(i, 10))
	}
	require.ErrorIs(t, q.Push(3, 0), store.ErrUnavailable)
	require.EqualValues(t, 2, q.Refused())
	got, _ = q.Take(got[:0], 2)
	require.Equal(t, []int{0, 1}, got)
	require.NoError(t, q.Push(4, 90), "what was taken is not counted")
	q.Close()
	require.ErrorIs(t, q.Push(5, 1), store.ErrClosed)
	got, more = q.Take(got[:0], 10)
	require.Equal(t, []int{2, 4}, got)
	require.True(t, more, "what was pushed before Close is taken")
	_, more = q.Take(nil, 10)
	require.False(t, more)
}

func TestTakeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[int](1000, 1000)
		var got []int
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				var more bool
				if got, more = q.Take(got, 7); !more {
					return
				}
			}
		})
		want := []int{}
		for i := range 100 {
			require.NoError(t, q.Push(i, 1))
			want = append(want, i)
			if i%30 == 0 {
				time.Sleep(time.Second)
			}
		}
		q.Close()
		wg.Wait()
		require.Equal(t, want, got)
	})
}
