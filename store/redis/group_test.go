package redis

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// stream is a group on the account's log.
var stream = store.GroupName{Log: account, Name: "stream"}

// consume takes from a group and settles, until end and nothing more is there.
func consume(t *testing.T, s *Store, end <-chan struct{}) map[string]int {
	seen := make(map[string]int)
	lost := false // it may hold what it does not know of
	for {
		if lost {
			lost = s.Leave(ctx, stream, "a") != nil
			continue
		}
		got, err := s.Take(ctx, stream, keep, "a", 100, 1<<20)
		at := make([]store.Position, len(got.Entries))
		for i, e := range got.Entries {
			_, data, err := store.Origin(e.Data)
			if err != nil {
				t.Error(err)
			}
			seen[string(data)]++
			at[i] = e.Position
		}
		lost = err != nil || s.Settle(ctx, stream, at) != nil
		if len(got.Entries) > 0 || err != nil {
			continue
		}
		select {
		case <-end:
			return seen
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// underTrouble publishes with copies while trouble happens, and sees to it that what was
// acknowledged is in the account's log once, in the order of each log, and reached the
// group.
func underTrouble(t *testing.T, s *Store, trouble func()) {
	t.Helper()
	const publishers = 5
	stop, end := make(chan struct{}), make(chan struct{})
	acked := make([][]int, publishers)
	var publishing, following sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			log := store.LogName{Feed: strconv.Itoa(p), Path: "x"}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := storetest.Append(s, log, keep, copying(p, i)); err == nil {
					acked[p] = append(acked[p], i)
				}
			}
		})
	}
	var seen map[string]int
	following.Go(func() { seen = consume(t, s, end) })
	trouble()
	close(stop)
	publishing.Wait()
	require.Eventually(t, func() bool {
		lag, err := s.Lag(ctx)
		return err == nil && lag.Waiting == 0
	}, 30*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		state, err := s.State(ctx, stream)
		head, headErr := s.Head(ctx, account, keep)
		return err == nil && headErr == nil && state.After == head.Last
	}, 30*time.Second, 20*time.Millisecond)
	close(end)
	following.Wait()
	last, there := make([]int, publishers), make(map[string]bool)
	for i := range last {
		last[i] = -1
	}
	for _, e := range readAll(t, s, account) {
		_, data, err := store.Origin(e.Data)
		require.NoError(t, err)
		name, i := split(t, data)
		p, err := strconv.Atoi(name)
		require.NoError(t, err)
		require.Less(t, last[p], i, "once, and in order")
		last[p] = i
		there[string(data)] = true
		require.NotZero(t, seen[string(data)], "%s did not come to the group", data)
	}
	for p := range acked {
		require.NotEmpty(t, acked[p])
		for _, i := range acked[p] {
			require.True(t, there[fmt.Sprint(p, "/", i)], "the copy of %d/%d is missing", p, i)
		}
	}
}

// A primary that is killed while copies are on their way.
func TestCopiesInFailover(t *testing.T) {
	c := storetest.StartSentinel(t)
	s := openWith(t, c.URL, Options{Ack: ackReplica, PublishTimeout: 20 * time.Second})
	other := openWith(t, c.URL, Options{Ack: ackReplica})
	underTrouble(t, s, func() {
		require.Eventually(t, func() bool { return len(readAll(t, other, account)) > 50 }, 20*time.Second, 5*time.Millisecond)
		c.Failover()
		c.Replica().Restart() // without a replica nothing would be acknowledged
		n := len(readAll(t, other, account))
		require.Eventually(t, func() bool { return len(readAll(t, other, account)) > n+50 }, 40*time.Second, 5*time.Millisecond)
	})
}

// Slots that move while copies are on their way.
func TestCopiesWhileSlotsMove(t *testing.T) {
	c := storetest.StartCluster(t)
	s := openWith(t, c.URL, Options{PublishTimeout: 10 * time.Second})
	underTrouble(t, s, func() { require.NotEmpty(t, c.MoveSlots(6)) })
}

// When all is gone a group begins with what comes.
func TestGroupAfterFlush(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	publishCopies(t, s, anyLog, 0, 3)
	take := func(want ...string) {
		t.Helper()
		var got []string
		require.Eventually(t, func() bool {
			took, err := s.Take(ctx, stream, keep, "a", 100, 1<<20)
			require.NoError(t, err)
			for _, e := range took.Entries {
				_, data, err := store.Origin(e.Data)
				require.NoError(t, err)
				got = append(got, string(data))
			}
			return len(got) >= len(want)
		}, 20*time.Second, time.Millisecond)
		require.Equal(t, want, got)
	}
	take("0/0", "0/1", "0/2")
	state, err := s.State(ctx, stream)
	require.NoError(t, err)
	require.NoError(t, own.FlushAll(ctx).Err())
	require.NoError(t, s.Settle(ctx, stream, []store.Position{state.Next}), "nobody holds it")
	require.NoError(t, s.Leave(ctx, stream, "a"))
	gone, err := s.State(ctx, stream)
	require.NoError(t, err)
	require.Zero(t, gone)
	publishCopies(t, s, anyLog, 3, 5)
	take("0/3", "0/4")
}

// What Redis has trimmed while it was out comes to nobody, and is not counted for ever.
func TestTrimmedWhileOut(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	for i := range 300 {
		_, err := storetest.Append(s, account, keep, text(0, i))
		require.NoError(t, err)
	}
	got, err := s.Take(ctx, stream, keep, "a", 200, 1<<20)
	require.NoError(t, err)
	require.Len(t, got.Entries, 200)
	key := s.keys.stream(partition(account.Feed), logText(account))
	require.NoError(t, own.Do(ctx, "XTRIM", key, "MAXLEN", 110).Err())
	require.NoError(t, s.Settle(ctx, stream, []store.Position{got.Entries[0].Position}))
	require.NoError(t, s.Leave(ctx, stream, "a"))
	got, err = s.Take(ctx, stream, keep, "b", 1000, 1<<20)
	require.NoError(t, err)
	require.Equal(t, 10, got.Again)
	require.Len(t, got.Entries, 110)
	for i, e := range got.Entries {
		_, n := split(t, e.Data)
		require.Equal(t, 190+i, n)
	}
	state, err := s.State(ctx, stream)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"b": 110}, state.Held)
	require.Zero(t, state.Returned)
}

// A group gives out no more than it may hold, and then what was given back.
func TestMaxHeld(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	s.held = 25
	for i := range 40 {
		_, err := storetest.Append(s, account, keep, text(0, i))
		require.NoError(t, err)
	}
	take := func(consumer string, n, again int) []store.Entry {
		t.Helper()
		got, err := s.Take(ctx, stream, keep, consumer, 20, 1<<20)
		require.NoError(t, err)
		require.Len(t, got.Entries, n)
		require.Equal(t, again, got.Again)
		return got.Entries
	}
	first := take("a", 20, 0)
	take("b", 5, 0)
	take("b", 0, 0)
	require.NoError(t, s.Leave(ctx, stream, "b"))
	take("c", 5, 5)
	take("c", 0, 0)
	require.NoError(t, s.Settle(ctx, stream, []store.Position{first[0].Position, first[7].Position}))
	take("c", 2, 0)
}

// What is not what we wrote is no answer.
func TestBadAnswers(t *testing.T) {
	for _, answer := range []any{nil, int64(1), []any{}, []any{int64(0)}, []any{int64(0), int64(0), "1-1"}, []any{int64(0), int64(0), "1-1", "short"}, []any{int64(0), int64(0), "x", "0123456789ab"}} {
		_, _, err := taken(answer)
		require.ErrorIs(t, err, errEntry, "%v", answer)
	}
	for _, answer := range []any{[]any{"1234"}, []any{"1234", "x", ""}, []any{"1234", "1-1", "x"}, []any{"1234", "1-1", "", "=a", "many"}, []any{"1234", "1-1", "", "=a"}} {
		_, err := groupState(answer)
		require.ErrorIs(t, err, errEntry, "%v", answer)
	}
}

func FuzzDecodeWaiting(f *testing.F) {
	r := copying(1, 2)
	f.Add(string(make([]byte, 16)) + string(outboxed(1, &r)[3:]))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := decodeWaiting("1-1", text)
		if err != nil {
			return
		}
		again := store.Record{Copy: &store.Copy{To: w.to, Limits: w.limits, Data: []byte(w.data)}}
		require.Equal(t, text, w.place+string(outboxed(1, &again)[3:]))
	})
}
