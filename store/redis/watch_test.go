package redis

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// patience is how long what must happen may take: machines that run tests are busy.
const patience = time.Minute

// ear writes down what it hears, as text: "ready", "broken", and the data.
type ear struct {
	mu    sync.Mutex
	heard []string
	tails []store.Tail
	last  error
}

func (e *ear) Ready() { e.note("ready") }
func (e *ear) Entries(tails []store.Tail) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range tails {
		e.heard = append(e.heard, string(t.Data))
	}
	e.tails = append(e.tails, tails...)
}

func (e *ear) Broken(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, "broken")
	e.last = err
}

func (e *ear) note(text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, text)
}

// count returns how often it heard a text.
func (e *ear) count(text string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, h := range e.heard {
		if h == text {
			n++
		}
	}
	return n
}

func (e *ear) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.heard...)
}

// wait waits until it heard a text n times.
func (e *ear) wait(t testing.TB, text string, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return e.count(text) >= n }, patience, time.Millisecond, "%s %d times", text, n)
}

// watchReady watches and waits until it is live.
func watchReady(t testing.TB, s *Store, feed string) (*ear, func()) {
	t.Helper()
	e := &ear{}
	stop, err := s.Watch(feed, e)
	require.NoError(t, err)
	t.Cleanup(stop)
	e.wait(t, "ready", 1)
	return e, stop
}

func say(t testing.TB, s *Store, feed, data string) store.Position {
	t.Helper()
	a, err := storetest.Append(s, store.LogName{Feed: feed, Path: "p"}, keep, store.Record{Data: []byte(data)})
	require.NoError(t, err)
	return a.Positions[0]
}

func TestWatch(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	e, stop := watchReady(t, s, "a")
	say(t, s, "a", "1")
	say(t, s, "b", "not this")
	e.wait(t, "1", 1)
	second, _ := watchReady(t, s, "a")
	say(t, s, "a", "2")
	e.wait(t, "2", 1)
	second.wait(t, "2", 1)
	stop()
	stop()
	at := say(t, s, "a", "3")
	second.wait(t, "3", 1)
	require.Equal(t, []string{"ready", "1", "2"}, e.all())
	require.Equal(t, []string{"ready", "2", "3"}, second.all())
	require.Equal(t, at, second.tails[1].Position)
	require.Equal(t, second.tails[0].Position, second.tails[1].Prev)
	require.NoError(t, s.Close())
	require.Equal(t, []string{"ready", "2", "3", "broken"}, second.all())
	require.ErrorIs(t, second.last, store.ErrClosed)
	require.ErrorIs(t, s.Health(ctx), store.ErrClosed)
	_, err := s.Watch("a", e)
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Watch(strings.Repeat("x", store.MaxName+1), e)
	require.ErrorIs(t, err, store.ErrTooLarge)
}

// What nobody watches any more is not subscribed, and nothing of it is kept.
func TestUnwatch(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	subscribed := func() string {
		out, err := r.Command("PUBSUB", "NUMSUB", s.keys.live(partition("a"), "a"), s.keys.wide(0))
		require.NoError(t, err)
		return strings.Join(strings.Fields(out), " ")
	}
	names := s.keys.live(partition("a"), "a") + " %d " + s.keys.wide(0) + " %d"
	is := func(live, wide int) {
		t.Helper()
		want := fmt.Sprintf(names, live, wide)
		require.Eventually(t, func() bool { return subscribed() == want }, patience, time.Millisecond, want)
	}
	left := func() int {
		l := s.ears.lines[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.channels)
	}
	_, stop1 := watchReady(t, s, "a")
	_, stop2 := watchReady(t, s, "a")
	_, wide := watchReady(t, s, "x/")
	is(1, 1)
	stop1()
	wide()
	is(1, 0)
	stop2()
	is(0, 0)
	require.Eventually(t, func() bool { return left() == 0 }, patience, time.Millisecond)
	// One after the other, faster than Redis confirms.
	var last *ear
	for range 200 {
		stop, err := s.Watch("a", &ear{})
		require.NoError(t, err)
		stop()
	}
	last, _ = watchReady(t, s, "a")
	say(t, s, "a", "1")
	last.wait(t, "1", 1)
	is(1, 0)
}

func TestWatchMany(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	all, _ := watchReady(t, s, store.AllFeeds)
	some, stop := watchReady(t, s, "app/")
	for i := range 100 {
		say(t, s, fmt.Sprint("app/", i), fmt.Sprint("a", i))
		say(t, s, fmt.Sprint("apply", i), fmt.Sprint("b", i))
	}
	for i := range 100 {
		some.wait(t, fmt.Sprint("a", i), 1)
		all.wait(t, fmt.Sprint("b", i), 1)
	}
	require.Len(t, some.all(), 101)
	require.Len(t, all.all(), 201)
	stop()
	// Somebody takes a flag away and sets it again: what was said between is not
	// counted, but the flag is another one.
	require.Equal(t, 1, all.count("ready"))
	c := direct(t, r)
	p := partition("app/1")
	require.NoError(t, c.Set(ctx, s.keys.wideFlag(p), "", 0).Err())
	all.wait(t, "ready", 2)
	// And for good: it comes back by itself.
	require.NoError(t, c.Del(ctx, s.keys.wideFlag(p)).Err())
	all.wait(t, "ready", 3)
	say(t, s, "app/1", "after")
	all.wait(t, "after", 1)
}

// The number of a message tells whether one was lost before it, and the counter
// whether one was lost after it.
func TestLostMessages(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	c := direct(t, r)
	p := partition("a")
	lose := func() { require.NoError(t, c.Incr(ctx, s.keys.counter(p, "a")).Err()) }
	e, _ := watchReady(t, s, "a")
	lone, _ := watchReady(t, s, "b")
	say(t, s, "a", "1")
	lose()
	say(t, s, "a", "2")
	e.wait(t, "2", 1)
	require.Equal(t, []string{"ready", "1", "ready", "2"}, e.all())
	lose() // the last one
	e.wait(t, "ready", 3)
	say(t, s, "a", "3")
	e.wait(t, "3", 1)
	require.Equal(t, []string{"ready", "1", "ready", "2", "ready", "3"}, e.all(), "it is not missed twice")
	require.NoError(t, c.Del(ctx, s.keys.counter(p, "a")).Err())
	say(t, s, "a", "4")
	e.wait(t, "ready", 4)
	require.NoError(t, c.Del(ctx, s.keys.counter(p, "a")).Err())
	e.wait(t, "ready", 5) // found by the head check
	require.NoError(t, c.Publish(ctx, s.keys.live(p, "a"), "not of ours").Err())
	say(t, s, "a", "5")
	e.wait(t, "5", 1)
	require.Equal(t, []string{"ready"}, lone.all())
}

func TestReceive(t *testing.T) {
	f := func(ch *channel, seq uint64, missed bool) {
		t.Helper()
		require.Equal(t, missed, ch.receive(seq))
		require.Equal(t, seq, ch.got)
	}
	ch := &channel{}
	f(ch, 7, false) // nothing is known yet
	f(ch, 9, false)
	ch = &channel{settled: true, floor: 5}
	f(ch, 4, false) // on its way when the counter was read
	f(ch, 5, false)
	f(ch, 6, false)
	f(ch, 7, false)
	f(ch, 9, true)
	f(ch, 10, false)
	f(ch, 10, true)
	f(ch, 1, true) // the counter was lost
	f(ch, 2, false)
	f(ch, 4, true)
	ch = &channel{settled: true, floor: 5}
	f(ch, 6, false)
	ch = &channel{settled: true, floor: 5}
	f(ch, 7, true)
	ch = &channel{settled: true}
	f(ch, 1, false)
}

func TestAnnounced(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	passes := func(at time.Time) {
		t.Helper()
		require.Eventually(t, func() bool { return s.Announced().After(at) }, patience, 10*time.Millisecond)
	}
	passes(s.Now()) // with nothing watched
	e, _ := watchReady(t, s, "a")
	last := say(t, s, "a", "1")
	passes(last.Time())
	require.Equal(t, 1, e.count("1"), "what was announced was heard before")
	r.Freeze()
	held := s.Announced()
	require.Never(t, func() bool { return s.Announced().After(held.Add(checkEach)) }, 3*checkEach, 100*time.Millisecond)
	r.Thaw()
	passes(s.Now())
}

// While a line is broken nothing is announced, though counters can be read.
func TestAnnouncedStandsStill(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	c := direct(t, r)
	e, _ := watchReady(t, s, "a")
	require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "default", "resetchannels").Err())
	e.wait(t, "broken", 1)
	held := s.Announced()
	require.Never(t, func() bool { return s.Announced().After(held) }, 2*checkEach, 100*time.Millisecond)
	require.ErrorContains(t, s.Health(ctx), "NOPERM")
	require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "default", "allchannels").Err())
	e.wait(t, "ready", 2)
	at := s.Now()
	require.Eventually(t, func() bool { return s.Announced().After(at) }, patience, 10*time.Millisecond)
	require.NoError(t, s.Health(ctx))
}

// Close ends every goroutine, its own and those of the client.
func TestCloseLeavesNothing(t *testing.T) {
	r := storetest.StartRedis(t)
	started := func() int {
		return strings.Count(goroutines(), "redis/go-redis") + strings.Count(goroutines(), "store/redis.(*")
	}
	for i := range 5 {
		s := openPrefix(t, r.URL, fmt.Sprint("leak", i))
		for j := range 10 {
			watchReady(t, s, fmt.Sprint(j))
		}
		watchReady(t, s, store.AllFeeds)
		say(t, s, "1", "x")
		if i == 0 {
			require.NotZero(t, strings.Count(goroutines(), "store/redis.(*line).run"), "the look is at the right ones")
		}
		require.NoError(t, s.Close())
	}
	require.Eventually(t, func() bool { return started() == 0 }, patience, 10*time.Millisecond)
}

// goroutines returns the stacks of all.
func goroutines() string {
	stacks := make([]byte, 1<<22)
	return string(stacks[:runtime.Stack(stacks, true)])
}
