package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// account is a log that gets copies, in another partition than anyLog.
var account = store.LogName{Feed: "@account", Path: "records"}

func copying(publisher, i int) store.Record {
	r := text(publisher, i)
	r.Copy = &store.Copy{To: account, Limits: keep}
	return r
}

// still opens a store of which the test is the pump.
func still(t testing.TB, url, prefix string) (*Store, *pump) {
	t.Helper()
	s := openWith(t, url, Options{Prefix: prefix, Still: true})
	return s, newPump(s)
}

func publishCopies(t testing.TB, s *Store, log store.LogName, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		_, err := storetest.Append(s, log, keep, copying(0, i))
		require.NoError(t, err)
	}
}

// inOrder sees to it that the account's log has copies 0 to n-1, each once.
func inOrder(t testing.TB, s *Store, n int) {
	t.Helper()
	var got, want []string
	for _, e := range readAll(t, s, account) {
		_, data, err := store.Origin(e.Data)
		require.NoError(t, err)
		got = append(got, string(data))
	}
	for i := range n {
		want = append(want, fmt.Sprint("0/", i))
	}
	require.Equal(t, want, got)
}

// turn is one flight of a pump that stops where the test wants.
type turn struct {
	p     *pump
	moves []*move
}

// reads does what a flight does first.
func (p *pump) reads(t testing.TB) *turn {
	t.Helper()
	parts := make([]int, partitions)
	for i := range parts {
		parts[i] = i
	}
	found, err := p.s.waitingIn(ctx, parts, "0", maxWaiting, maxWaitingBytes)
	require.NoError(t, err)
	return &turn{p: p, moves: p.moves(parts, found)}
}

// sends has the copies moved and returns what was said of them.
func (s *turn) sends(t testing.TB) string {
	t.Helper()
	require.Len(t, s.moves, 1)
	err := s.p.send(ctx, s.moves)
	if err != nil {
		require.ErrorIs(t, err, errFenced)
		return "f"
	}
	return s.moves[0].outcome
}

func (s *turn) clears(t testing.TB) {
	t.Helper()
	_, err := s.p.clear(ctx, s.moves)
	require.NoError(t, err)
}

func waitingOf(t testing.TB, s *Store) int64 {
	t.Helper()
	lag, err := s.Lag(ctx)
	require.NoError(t, err)
	require.Equal(t, lag.Waiting == 0, lag.Since.IsZero())
	return lag.Waiting
}

// A pump that dies between the copies' arrival and their leaving the outbox, and one that
// comes back after any time: nothing twice, nothing lost.
func TestPumpDiesAnywhere(t *testing.T) {
	r := storetest.StartRedis(t)
	own := direct(t, r)
	s, a := still(t, r.URL, "dies")
	b := newPump(s)
	expire := func() { require.NoError(t, own.Del(ctx, s.keys.pump()).Err()) }

	require.True(t, a.lease(ctx))
	require.False(t, b.lease(ctx), "another has it")
	publishCopies(t, s, anyLog, 0, 5)
	require.EqualValues(t, 5, waitingOf(t, s))
	require.Equal(t, "r", a.reads(t).sends(t), "the first time only the fence is raised")
	died := a.reads(t)
	require.Equal(t, "p", died.sends(t)) // and dies
	inOrder(t, s, 5)
	require.EqualValues(t, 5, waitingOf(t, s))

	publishCopies(t, s, anyLog, 5, 8)
	late := a.reads(t) // of which nothing is heard for hours
	expire()
	require.True(t, b.lease(ctx))
	require.Greater(t, b.fence, a.fence)
	require.Equal(t, "r", b.reads(t).sends(t))
	inOrder(t, s, 5)
	require.Equal(t, "f", late.sends(t), "who has lost the lease is refused")
	second := b.reads(t)
	require.Equal(t, "p", second.sends(t))
	inOrder(t, s, 8)
	again := b.reads(t)
	require.Equal(t, "m", again.sends(t), "all are there")
	second.clears(t)
	again.clears(t)
	died.clears(t)
	require.Zero(t, waitingOf(t, s))
	publishCopies(t, s, anyLog, 8, 9)
	third := b.reads(t)
	require.Equal(t, "p", third.sends(t))
	died.clears(t) // what it knows of has gone
	require.EqualValues(t, 1, waitingOf(t, s))
	third.clears(t)
	inOrder(t, s, 9)

	// The one that was fenced learns of it and takes a lease that counts.
	expire()
	require.True(t, a.lease(ctx))
	require.Greater(t, a.fence, b.fence)
	// So does one whose clock has gone back.
	c := newPump(s)
	require.NoError(t, own.Set(ctx, s.keys.pump(), append(append48(nil, 7), c.who...), time.Minute).Err())
	require.True(t, c.lease(ctx))
	require.EqualValues(t, 7, c.fence)
	publishCopies(t, s, anyLog, 9, 10)
	require.Equal(t, "f", c.reads(t).sends(t))
	require.Zero(t, c.fence)
	require.True(t, c.lease(ctx))
	require.Equal(t, "r", c.reads(t).sends(t))
	require.Equal(t, "p", c.reads(t).sends(t))
	inOrder(t, s, 10)
}

// An outbox that comes back as it was, and gives ids again, as after a failover that lost
// its end while the account's log lies elsewhere: nothing twice, nothing lost.
func TestOutboxComesBack(t *testing.T) {
	r := storetest.StartRedis(t)
	own := direct(t, r)
	s, p := still(t, r.URL, "back")
	box := s.keys.outbox(partition(anyLog.Feed))
	require.True(t, p.lease(ctx))
	round := func() string {
		f := p.reads(t)
		said := f.sends(t)
		f.clears(t)
		return said
	}
	publishCopies(t, s, anyLog, 0, 3)
	require.Equal(t, "r", round())
	publishCopies(t, s, anyLog, 3, 6)
	old, err := own.Dump(ctx, box).Result()
	require.NoError(t, err)
	publishCopies(t, s, anyLog, 6, 8)
	require.Equal(t, "p", round())
	inOrder(t, s, 8)

	restore := func() {
		require.NoError(t, own.RestoreReplace(ctx, box, 0, old).Err())
	}
	restore() // 0 to 5 are back, 6 and 7 never were
	require.Equal(t, "m", round())
	require.Zero(t, waitingOf(t, s))
	inOrder(t, s, 8)

	// Ids that were given to others: the last lie at or before the newest mark.
	restore()
	newest, err := s.newestMoved(ctx, partition(anyLog.Feed), account)
	require.NoError(t, err)
	w := store.Record{Data: []byte("0/8"), Copy: &store.Copy{To: account, Limits: keep}}
	place := store.NewPosition(newest.MS(), 77, 88)
	blob := append(place[:], outboxed(1, &w)[3:]...)
	require.NoError(t, own.XAdd(ctx, &goredis.XAddArgs{Stream: box, ID: streamID(newest.MS(), newest.N()), Values: []any{"c", append(blob, w.Data...)}}).Err())
	require.Equal(t, "p", round())
	require.Zero(t, waitingOf(t, s))
	inOrder(t, s, 9)

	// And a pump that clears what is not there any more leaves what has the id.
	publishCopies(t, s, anyLog, 9, 10)
	f := p.reads(t)
	require.Equal(t, "p", f.sends(t))
	require.NoError(t, own.Del(ctx, box).Err())
	id := f.moves[0].copies[0].id
	place = store.NewPosition(newest.MS()+1, 77, 89)
	w.Data = []byte("0/10")
	blob = append(place[:], outboxed(1, &w)[3:]...)
	require.NoError(t, own.XAdd(ctx, &goredis.XAddArgs{Stream: box, ID: id, Values: []any{"c", append(blob, w.Data...)}}).Err())
	f.clears(t)
	require.EqualValues(t, 1, waitingOf(t, s))
	require.Equal(t, "p", round())
	inOrder(t, s, 11)
}

// Pumps of many stores that come and go under load, and replies that are lost.
func TestPumpsComeAndGo(t *testing.T) {
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	publishing := openWith(t, r.URL, Options{Prefix: "many", Still: true})
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	const publishers = 4
	end := make(chan struct{})
	counts := make([]int, publishers)
	var working sync.WaitGroup
	for w := range publishers {
		working.Go(func() {
			log := store.LogName{Feed: strconv.Itoa(w), Path: "x"}
			for {
				select {
				case <-end:
					return
				default:
				}
				if _, err := storetest.Append(publishing, log, keep, copying(w, counts[w])); err != nil {
					t.Error(err)
					return
				}
				counts[w]++
			}
		})
	}
	own := direct(t, r)
	for range rounds {
		var pumping sync.WaitGroup
		for range 3 { // more than one believes to have the lease
			s, p := still(t, url, "many")
			ctx, cancel := context.WithTimeout(ctx, time.Duration(20+random.IntN(150))*time.Millisecond)
			pumping.Go(func() {
				defer cancel()
				if p.lease(ctx) {
					p.work(ctx)
				}
			})
			if random.IntN(2) == 0 {
				d.LoseReply("EVALSHA")
			}
			require.NoError(t, own.Del(ctx, s.keys.pump()).Err())
		}
		pumping.Wait()
	}
	close(end)
	working.Wait()
	last := openWith(t, r.URL, Options{Prefix: "many"})
	require.Eventually(t, func() bool {
		lag, err := last.Lag(ctx)
		return err == nil && lag.Waiting == 0
	}, 30*time.Second, 10*time.Millisecond)
	next := make([]int, publishers)
	for _, e := range readAll(t, last, account) {
		_, data, err := store.Origin(e.Data)
		require.NoError(t, err)
		w, i := split(t, data)
		n, err := strconv.Atoi(w)
		require.NoError(t, err)
		require.Equal(t, next[n], i, "each once, in order")
		next[n]++
	}
	require.Equal(t, counts, next)
}

// Another store's pump takes over when one is gone without a word, and at once when it
// was closed.
func TestPumpTakesOver(t *testing.T) {
	r := storetest.StartRedis(t)
	own := direct(t, r)
	s := openWith(t, r.URL, Options{Prefix: "over"})
	moved := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(readAll(t, s, account)) == n }, 20*time.Second, 5*time.Millisecond)
	}
	publishCopies(t, s, anyLog, 0, 3)
	moved(3)
	// Somebody who died had it.
	require.NoError(t, own.Set(ctx, s.keys.pump(), append(append48(nil, 1<<40), "dead"...), leaseTime).Err())
	publishCopies(t, s, anyLog, 3, 5)
	moved(5)
	first := openWith(t, r.URL, Options{Prefix: "over"})
	require.NoError(t, first.Close())
	publishCopies(t, s, anyLog, 5, 6)
	moved(6)
	inOrder(t, s, 6)
}

// What a log refuses waits, is told, and arrives when there is room.
func TestCopiesWait(t *testing.T) {
	r := storetest.StartRedis(t)
	own := direct(t, r)
	s, p := still(t, r.URL, "wait")
	require.True(t, p.lease(ctx))
	publishCopies(t, s, anyLog, 0, 1)
	require.Equal(t, "r", p.reads(t).sends(t))
	since := s.Now()
	publishCopies(t, s, anyLog, 1, 4)
	require.NoError(t, own.ConfigSet(ctx, "maxmemory", "1").Err())
	f := p.reads(t)
	require.ErrorContains(t, p.send(ctx, f.moves), "OOM")
	_, err := p.clear(ctx, f.moves)
	require.NoError(t, err)
	lag, err := s.Lag(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 4, lag.Waiting)
	require.WithinDuration(t, since, lag.Since, 5*time.Second)
	require.Empty(t, readAll(t, s, account))
	require.NoError(t, own.ConfigSet(ctx, "maxmemory", "0").Err())
	openWith(t, r.URL, Options{Prefix: "wait"})
	require.NoError(t, own.Del(ctx, s.keys.pump()).Err())
	require.Eventually(t, func() bool { return len(readAll(t, s, account)) == 4 }, 20*time.Second, 5*time.Millisecond)
	inOrder(t, s, 4)
}

// Copies under several limits, large ones, and those of more logs than one.
func TestMoves(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openWith(t, r.URL, Options{Prefix: "moves"})
	want := make(map[store.LogName][]int)
	for i := range 700 {
		r := copying(0, i)
		r.Copy.To.Path = fmt.Sprint("records", i%3)
		r.Copy.Limits.Age = time.Duration(1+i/100%2) * time.Hour
		if i%100 == 7 {
			r.Copy.Data = []byte(fmt.Sprintf("0/%d", i))
			r.Data = make([]byte, 300_000)
		}
		want[r.Copy.To] = append(want[r.Copy.To], i)
		s.Submit(anyLog, keep, []store.Record{r}, func(_ store.Appended, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	for log, numbers := range want {
		require.Eventually(t, func() bool { return len(readAll(t, s, log)) >= len(numbers) }, 20*time.Second, 5*time.Millisecond)
		var got []int
		for _, e := range readAll(t, s, log) {
			_, data, err := store.Origin(e.Data)
			require.NoError(t, err)
			_, i := split(t, data)
			got = append(got, i)
		}
		require.Equal(t, numbers, got)
	}
}

// With Ack "replica" a copy leaves the outbox when a replica has it.
func TestCopiesReachAReplica(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openWith(t, r.URL, Options{Ack: ackReplica, Still: true})
	p := newPump(s)
	require.True(t, p.lease(ctx))
	for i := range 2 {
		_, err := storetest.Append(s, anyLog, keep, copying(0, i))
		require.ErrorIs(t, err, store.ErrUncertain, "it is written, and no replica has it")
	}
	for range 3 {
		f := p.reads(t)
		require.ErrorIs(t, p.send(ctx, f.moves), store.ErrUncertain)
		f.clears(t)
		require.EqualValues(t, 2, waitingOf(t, s))
	}
	inOrder(t, s, 2)
	storetest.StartRedis(t, "--replicaof", "127.0.0.1 "+port(r.Addr))
	var f *turn
	require.Eventually(t, func() bool {
		f = p.reads(t)
		return p.send(ctx, f.moves) == nil
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, "m", f.moves[0].outcome)
	f.clears(t)
	require.Zero(t, waitingOf(t, s))
	inOrder(t, s, 2)
}
