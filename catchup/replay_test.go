package catchup

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

var chat = store.LogName{Feed: "o/12/abc", Path: "/chat"}

// appendN appends n records "1", "2", … to the log, each after step of the clock.
func appendN(t testing.TB, s store.Store, l store.Limits, from, n int, tick func()) []store.Position {
	t.Helper()
	var all []store.Position
	for i := range n {
		done := make(chan error, 1)
		s.Submit(chat, l, []store.Record{{Data: Encode([]byte(fmt.Sprint(from+i)), nil, 0)}}, func(a store.Appended, err error) {
			all = append(all, a.Positions...)
			done <- err
		})
		require.NoError(t, <-done)
		tick()
	}
	return all
}

func read(t testing.TB, r *Replay, limit int) (got []string) {
	t.Helper()
	for {
		page, err := r.Next(context.Background(), limit)
		if err == io.EOF {
			require.Empty(t, page)
			return got
		}
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), limit)
		for _, e := range page {
			m, err := Decode(e)
			require.NoError(t, err)
			got = append(got, string(m.Data))
		}
	}
}

func TestReplay(t *testing.T) {
	ctx := context.Background()
	now := noon
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zaptest.NewLogger(t)})
	defer func() { require.NoError(t, s.Close()) }()
	limits := store.Limits{Age: 24 * time.Hour, Length: 10}
	tick := func() { now = now.Add(time.Minute) }

	r, x, err := NewReplay(ctx, s, chat, limits, now.Add(-time.Hour), store.Position{})
	require.NoError(t, err)
	require.Zero(t, x)
	require.Empty(t, read(t, r, 5), "an empty channel")

	ps := appendN(t, s, limits, 1, 8, tick)
	head, err := s.Head(ctx, chat, limits)
	require.NoError(t, err)
	require.Equal(t, ps[7], head.Last)

	// All of it, in pages of three; what is published meanwhile is not part of it,
	// and does not push out what was counted.
	r, x, err = NewReplay(ctx, s, chat, limits, now.Add(-time.Hour), head.Last)
	require.NoError(t, err)
	require.Equal(t, Extent{Messages: 8}, x)
	appendN(t, s, limits, 9, 5, tick)
	require.Equal(t, []string{"1", "2", "3", "4", "5", "6", "7", "8"}, read(t, r, 3))

	// Half-open: since is inclusive, upTo is the last.
	r, x, err = NewReplay(ctx, s, chat, limits, ps[4].Time(), ps[6])
	require.NoError(t, err)
	require.Equal(t, Extent{Messages: 3}, x)
	require.Equal(t, []string{"5", "6", "7"}, read(t, r, 100))

	// The length limit cuts, and says so.
	head, err = s.Head(ctx, chat, limits)
	require.NoError(t, err)
	r, x, err = NewReplay(ctx, s, chat, limits, now.Add(-time.Hour), head.Last)
	require.NoError(t, err)
	require.Equal(t, Extent{Messages: 10, Truncated: true}, x)
	require.Equal(t, []string{"4", "5", "6", "7", "8", "9", "10", "11", "12", "13"}, read(t, r, 4))

	// Age alone is no truncation.
	r, x, err = NewReplay(ctx, s, chat, limits, now.Add(-2*time.Minute), head.Last)
	require.NoError(t, err)
	require.Equal(t, Extent{Messages: 2}, x)
	require.Equal(t, []string{"12", "13"}, read(t, r, 4))
}

func TestPredecessor(t *testing.T) {
	require.Equal(t, at(6), func() store.Position { p := at(6); return predecessor(store.NewPosition(6, 1, p.N()+1)) }())
	require.Equal(t, store.NewPosition(4, 1<<32-1, 1<<48-1), predecessor(store.NewPosition(5, 0, 0)))
}

// BenchmarkReplay reads 10,000 messages in pages of 1,000.
func BenchmarkReplay(b *testing.B) {
	ctx := context.Background()
	s := memory.New(memory.Options{Log: zaptest.NewLogger(b)})
	defer s.Close()
	limits := store.Limits{Age: 24 * time.Hour, Length: 100_000}
	ps := appendN(b, s, limits, 1, 10_000, func() {})
	b.ReportAllocs()
	for b.Loop() {
		r, _, err := NewReplay(ctx, s, chat, limits, ps[0].Time(), ps[len(ps)-1])
		require.NoError(b, err)
		for n := 0; ; {
			page, err := r.Next(ctx, 1000)
			if err == io.EOF {
				require.Equal(b, 10_000, n)
				break
			}
			n += len(page)
		}
	}
}
