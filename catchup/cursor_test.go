package catchup

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func newest(t *testing.T, s store.Store, l store.Limits, since time.Time, upTo store.Position, n int) (got []string, older bool) {
	t.Helper()
	entries, older, err := Newest(context.Background(), s, chat, l, since, upTo, n)
	require.NoError(t, err)
	for _, e := range entries {
		m, err := Decode(e)
		require.NoError(t, err)
		got = append(got, string(m.Data))
	}
	return got, older
}

func TestNewest(t *testing.T) {
	ctx := context.Background()
	now := noon
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zap.NewNop()})
	defer func() { require.NoError(t, s.Close()) }()
	limits := store.Limits{Age: time.Hour, Length: 10}
	f := func(upTo store.Position, n int, older bool, want ...string) {
		t.Helper()
		got, more := newest(t, s, limits, time.Time{}, upTo, n)
		require.Equal(t, want, got)
		require.Equal(t, older, more)
	}
	f(store.Position{}, 5, false)
	ps := appendN(t, s, limits, 1, 8, func() { now = now.Add(time.Minute) })
	f(store.Position{}, 3, true, "6", "7", "8")
	f(store.Position{}, 8, false, "1", "2", "3", "4", "5", "6", "7", "8")
	f(ps[4], 3, true, "3", "4", "5")
	f(ps[1], 3, false, "1", "2")
	f(JustBefore(ps[0]), 3, false)
	// Since cuts, and what is redacted does not count.
	got, older := newest(t, s, limits, ps[5].Time(), ps[6], 5)
	require.Equal(t, []string{"6", "7"}, got)
	require.False(t, older)
	require.NoError(t, s.Redact(ctx, chat, ps[6]))
	require.NoError(t, s.Redact(ctx, chat, ps[7]))
	f(store.Position{}, 2, true, "5", "6")
	f(store.Position{}, 6, false, "1", "2", "3", "4", "5", "6")
	// The length limit bounds it from below.
	appendN(t, s, limits, 9, 6, func() {})
	f(store.Position{}, 100, false, "5", "6", "9", "10", "11", "12", "13", "14")
}

// However large the messages and whatever was redacted: the page is the newest
// stretch, without a hole, and not empty where there is something.
func TestNewestOfLarge(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for round := range 30 {
		s := memory.New(memory.Options{Log: zap.NewNop()})
		limits := store.Limits{Age: time.Hour, Length: 1000}
		var names []string
		for n := range 40 {
			data := fmt.Appendf(nil, "%02d", n)
			if r.IntN(2) == 0 {
				data = append(data, bytes.Repeat([]byte("x"), r.IntN(PageBytes))...)
			}
			done := make(chan store.Position, 1)
			s.Submit(chat, limits, []store.Record{{Data: Encode(data, nil, 0)}}, func(a store.Appended, err error) {
				if err != nil {
					close(done)
					return
				}
				done <- a.Positions[0]
			})
			p, ok := <-done
			require.True(t, ok)
			if r.IntN(3) == 0 || n > 30 && round%2 == 0 {
				require.NoError(t, s.Redact(t.Context(), chat, p))
				continue
			}
			names = append(names, string(data[:2]))
		}
		for _, n := range []int{1, 3, 10, 100} {
			entries, older, err := Newest(t.Context(), s, chat, limits, time.Time{}, store.Position{}, n)
			require.NoError(t, err)
			require.NotEmpty(t, entries)
			require.LessOrEqual(t, len(entries), n)
			var got []string
			size := 0
			for _, e := range entries {
				m, err := Decode(e)
				require.NoError(t, err)
				got = append(got, string(m.Data[:2]))
				size += len(m.Data)
			}
			require.Equal(t, names[len(names)-len(got):], got, "round %d, %d", round, n)
			require.Equal(t, len(got) < len(names), older)
			require.True(t, len(got) == 1 || size <= PageBytes)
		}
		require.NoError(t, s.Close())
	}
}

func TestCheckCursor(t *testing.T) {
	ctx := context.Background()
	now := noon
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zap.NewNop()})
	defer func() { require.NoError(t, s.Close()) }()
	limits := store.Limits{Age: time.Hour, Length: 10}
	f := func(p store.Position, trimmed bool, want error) {
		t.Helper()
		got, err := CheckCursor(ctx, s, chat, limits, now.Add(-30*time.Minute), p)
		require.ErrorIs(t, err, want)
		require.Equal(t, trimmed, got)
	}
	f(store.NewPosition(now.UnixMilli(), 1, 1), false, ErrCursor)
	ps := appendN(t, s, limits, 1, 20, func() { now = now.Add(time.Minute) })
	last := ps[19]
	f(last, false, nil)
	f(ps[10], false, nil)
	f(ps[9], false, nil) // all that follow it are there
	f(ps[8], true, nil)  // the one after it is beyond the length
	f(store.NewPosition(last.MS()+1, last.Epoch(), last.N()+1), false, ErrCursor)
	f(store.NewPosition(last.MS(), last.Epoch()+1, last.N()), false, ErrCursor)
	f(store.NewPosition(ps[12].MS()+1, last.Epoch(), ps[12].N()), false, ErrCursor)
	f(store.NewPosition(ps[0].MS()-1, last.Epoch()+1, 7), true, nil) // of an earlier epoch, for all one can tell
	f(store.NewPosition(1, 1, 1), true, nil)
	require.NoError(t, s.Redact(ctx, chat, ps[15]))
	f(ps[15], false, nil)
	now = now.Add(40 * time.Minute)
	f(last, true, nil) // older than since, and still kept
}
