package client

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestInboxBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newInbox(2, 100)
		one := []item{{message: Message{Data: []byte("1")}}}
		never, always := func() bool { return false }, func() bool { return true }
		fulls := 0
		push := func(ctx context.Context, stretch func() bool) error {
			return q.push(ctx, one, stretch, func() { fulls++ })
		}
		require.NoError(t, push(t.Context(), never))
		require.NoError(t, push(t.Context(), never))

		// Full: it waits for room.
		done := make(chan error)
		go func() { done <- push(t.Context(), never) }()
		synctest.Wait()
		require.Equal(t, 1, fulls)
		require.Len(t, q.take(), 2)
		require.NoError(t, <-done)

		// While calls wait, up to four times.
		for range 7 {
			require.NoError(t, push(t.Context(), always))
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- push(ctx, always) }()
		synctest.Wait()
		require.Equal(t, 2, fulls)

		// What was read from a link that ends is kept, up to eight times.
		cancel()
		require.NoError(t, <-done)
		for range 7 {
			require.NoError(t, push(ctx, never))
		}
		require.ErrorIs(t, push(ctx, never), context.Canceled)
		require.Len(t, q.take(), 16)
		q.pushState(Closed, nil)
		require.Equal(t, []item{{state: Closed, isState: true}}, q.take())

		// Bytes count too.
		require.NoError(t, q.push(t.Context(), []item{{message: Message{Data: make([]byte, 100)}}}, never, func() {}))
		go func() { done <- push(t.Context(), never) }()
		synctest.Wait()
		require.Equal(t, 3, fulls)
		q.take()
		require.NoError(t, <-done)
	})
}
