package redis

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// follower keeps a copy of a log: what it hears in order, and what it reads after
// each Ready and where something is missing (store.md §5.2).
type follower struct {
	t    testing.TB
	s    *Store
	name store.LogName
	wake chan struct{}

	mu      sync.Mutex
	heard   []store.Tail // guarded by mu
	behind  bool         // guarded by mu
	copy    []store.Entry
	readies int
}

// follow keeps a copy of the log name by a watch of feed.
func follow(t testing.TB, s *Store, feed string, name store.LogName) *follower {
	t.Helper()
	f := &follower{t: t, s: s, name: name, wake: make(chan struct{}, 1)}
	stop, err := s.Watch(feed, f)
	require.NoError(t, err)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-f.wake:
				f.work()
			}
		}
	}()
	t.Cleanup(func() {
		stop()
		close(end)
		<-ended
	})
	return f
}

func (f *follower) Ready() { f.add(true, nil) }
func (f *follower) Entries(tails []store.Tail) {
	if tails[0].Log == f.name {
		f.add(false, tails)
	}
}
func (f *follower) Broken(error) {}

func (f *follower) add(behind bool, tails []store.Tail) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind = f.behind || behind
	if behind {
		f.readies++
	}
	f.heard = append(f.heard, tails...)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// work brings the copy up to date.
func (f *follower) work() {
	f.mu.Lock()
	heard, behind := f.heard, f.behind
	f.heard, f.behind = nil, false
	f.mu.Unlock()
	fine := !behind || f.read()
	for _, tail := range heard {
		f.mu.Lock()
		var last store.Position
		if len(f.copy) > 0 {
			last = f.copy[len(f.copy)-1].Position
		}
		next := tail.Prev == last
		if next {
			f.copy = append(f.copy, tail.Entry)
		}
		f.mu.Unlock()
		if !next && last.Before(tail.Position) {
			fine = f.read() && fine
		}
	}
	if !fine { // Redis is away: again, until it is there
		f.add(true, nil)
	}
}

// read fetches what follows the copy; a fork begins it anew.
func (f *follower) read() bool {
	for {
		r := store.Range{Limits: keep}
		f.mu.Lock()
		if len(f.copy) > 0 {
			r.After = f.copy[len(f.copy)-1].Position
		}
		f.mu.Unlock()
		page, err := f.s.Read(ctx, f.name, r, 1000, 1<<20)
		if err != nil {
			return false
		}
		f.mu.Lock()
		if page.Forked {
			f.copy, page.More = nil, true
		} else {
			f.copy = append(f.copy, page.Entries...)
		}
		f.mu.Unlock()
		if !page.More {
			return true
		}
	}
}

func (f *follower) entries() []store.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]store.Entry(nil), f.copy...)
}

func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readies
}

// catches waits until the copy is the log.
func (f *follower) catches(want []store.Entry) {
	f.t.Helper()
	require.NotEmpty(f.t, want)
	last := want[len(want)-1].Position
	require.Eventually(f.t, func() bool {
		got := f.entries()
		return len(got) == len(want) && got[len(got)-1].Position == last
	}, patience, 10*time.Millisecond, "%d of %d entries", len(f.entries()), len(want))
	require.Equal(f.t, want, f.entries())
}

// often calls do every so often until the test stops it.
func often(d time.Duration, do func()) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				do()
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// publish appends n records to a log, each until it is stored.
func publish(t testing.TB, s *Store, name store.LogName, n int) {
	for i := range n {
		require.Eventually(t, func() bool {
			_, err := storetest.Append(s, name, keep, store.Record{Data: []byte(strconv.Itoa(i)), Nonce: store.Nonce{1, byte(i), byte(i >> 8)}})
			return err == nil
		}, patience, 10*time.Millisecond)
	}
}

var followed = []store.LogName{{Feed: "a", Path: "p"}, {Feed: "a", Path: "q"}, {Feed: "b", Path: "p"}, {Feed: "app/c", Path: "p"}}

// disturbed publishes to all of followed while something goes on, and checks that
// whoever follows has every log as it is in the end. It returns the followers.
func disturbed(t *testing.T, watching, writing *Store, n int) []*follower {
	t.Helper()
	var followers []*follower
	for _, name := range followed {
		followers = append(followers, follow(t, watching, name.Feed, name), follow(t, watching, store.AllFeeds, name))
	}
	var wg sync.WaitGroup
	for _, name := range followed {
		wg.Go(func() { publish(t, writing, name, n) })
	}
	wg.Wait()
	return followers
}

func settled(t *testing.T, s *Store, followers []*follower) {
	t.Helper()
	logs := make(map[store.LogName][]store.Entry)
	for _, name := range followed {
		logs[name] = readAll(t, s, name)
	}
	for _, f := range followers {
		f.catches(logs[f.name])
	}
}

// Conformance 19: connections that listen are killed every 40 ms.
func TestListeningConnectionsKilled(t *testing.T) {
	r := storetest.StartRedis(t)
	watching, writing := openPrefix(t, r.URL, "kill"), openPrefix(t, r.URL, "kill")
	c := direct(t, r)
	stop := often(40*time.Millisecond, func() { _ = c.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err() })
	followers := disturbed(t, watching, writing, 400)
	require.Eventually(t, func() bool {
		publish(t, writing, store.LogName{Feed: "more"}, 20)
		return watching.ears.lines[0].broke() > 10
	}, patience, 10*time.Millisecond)
	stop()
	settled(t, writing, followers)
	require.Eventually(t, func() bool { return watching.Health(ctx) == nil }, patience, 10*time.Millisecond)
}

// broke returns how often the line broke.
func (l *line) broke() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.breaks
}

// Conformance 20, 21: messages are lost without a sign, also the last ones.
func TestMessagesDropped(t *testing.T) {
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	watching, writing := openPrefix(t, url, "drop"), openPrefix(t, r.URL, "drop")
	d.Drop(0.1, 7)
	followers := disturbed(t, watching, writing, 300)
	require.Positive(t, d.Dropped())
	d.Drop(1, 7)
	publish(t, writing, followed[0], 1) // a nonce that is known: nothing is written
	say(t, writing, "b", "lost")
	settled(t, writing, followers)
}

// Conformance 24: a connection over which nothing comes is found by the probe.
func TestDeaf(t *testing.T) {
	t.Parallel()
	r := storetest.StartRedis(t)
	d, url := dropper(t, r)
	s := openStore(t, url)
	e, _ := watchReady(t, s, "quiet")
	d.Drop(1, 1)
	e.wait(t, "broken", 1)
	require.ErrorIs(t, e.last, errDeaf)
	require.ErrorIs(t, e.last, store.ErrUnavailable)
	d.Drop(0, 1)
	e.wait(t, "ready", 2)
}

// A line that is only quiet is not taken to be deaf.
func TestQuiet(t *testing.T) {
	t.Parallel()
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	e, _ := watchReady(t, s, "quiet")
	require.Never(t, func() bool { return len(e.all()) > 1 }, silence+echo+2*time.Second, 100*time.Millisecond)
}

// Conformance 39.
func TestFlushAll(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	var followers []*follower
	for _, name := range followed {
		followers = append(followers, follow(t, s, name.Feed, name), follow(t, s, store.AllFeeds, name))
	}
	for _, name := range followed {
		publish(t, s, name, 20)
	}
	settled(t, s, followers)
	require.NoError(t, direct(t, r).FlushAll(ctx).Err())
	for _, name := range followed {
		publish(t, s, name, 5)
	}
	settled(t, s, followers)
}

// Redis is killed and comes back; what is published meanwhile waits or is refused.
func TestRedisRestarts(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	e, _ := watchReady(t, s, "x")
	r.Kill()
	e.wait(t, "broken", 1)
	require.Eventually(t, func() bool { return s.Health(ctx) != nil }, patience, 10*time.Millisecond)
	r.Restart()
	e.wait(t, "ready", 2)
	publish(t, s, store.LogName{Feed: "x"}, 3)
	e.wait(t, "2", 1)
	require.Eventually(t, func() bool { return s.Health(ctx) == nil }, patience, 10*time.Millisecond)
}

// Conformance 23.
func TestManyFeedsReconnect(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	const feeds = 10_000
	ears := make([]*ear, feeds)
	for i := range ears {
		ears[i] = &ear{}
		_, err := s.Watch(fmt.Sprint("feed ", i), ears[i])
		require.NoError(t, err)
	}
	ready := func(n int) func() bool {
		return func() bool {
			for _, e := range ears {
				if e.count("ready") < n {
					return false
				}
			}
			return true
		}
	}
	require.Eventually(t, ready(1), patience, 10*time.Millisecond)
	require.NoError(t, direct(t, r).Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err())
	require.Eventually(t, ready(2), 5*time.Second, 10*time.Millisecond)
	at := s.Now()
	require.Eventually(t, func() bool { return s.Announced().After(at) }, patience, 10*time.Millisecond)
	for _, e := range ears {
		require.Equal(t, []string{"ready", "broken", "ready"}, e.all())
	}
}

// Conformance 38: a failover that loses the tail.
func TestFailover(t *testing.T) {
	sentinel := storetest.StartSentinel(t)
	s := openStore(t, sentinel.URL)
	var followers []*follower
	for _, name := range followed {
		followers = append(followers, follow(t, s, name.Feed, name))
		publish(t, s, name, 50)
	}
	settled(t, s, followers)
	sentinel.CutReplica()
	for _, name := range followed {
		say(t, s, name.Feed, "lost")
	}
	settled(t, s, followers)
	sentinel.Failover()
	for _, name := range followed {
		publish(t, s, name, 60) // of which 50 are there
	}
	settled(t, s, followers)
	for _, f := range followers {
		for _, e := range f.entries() {
			require.NotEqual(t, "lost", string(e.Data))
		}
		require.GreaterOrEqual(t, f.count(), 2)
	}
	at := s.Now()
	require.Eventually(t, func() bool { return s.Announced().After(at) }, patience, 10*time.Millisecond)
}

// Conformance 41: slots move to other nodes while all goes on.
func TestSlotsMigrate(t *testing.T) {
	cluster := storetest.StartCluster(t)
	watching, writing := openPrefix(t, cluster.URL, "move"), openPrefix(t, cluster.URL, "move")
	require.True(t, watching.cluster)
	for _, name := range followed {
		publish(t, writing, name, 1)
	}
	var ears []*ear // which do not read: only what comes live counts
	for _, name := range followed {
		e, _ := watchReady(t, watching, name.Feed)
		many, _ := watchReady(t, watching, store.AllFeeds)
		ears = append(ears, e, many)
	}
	var moving sync.WaitGroup
	var followers []*follower
	moving.Go(func() { followers = disturbed(t, watching, writing, 500) })
	for owner := range cluster.Nodes {
		agreed(t, cluster)
		for p := owner; p < partitions; p += len(cluster.Nodes) {
			if at := tagSlot(watching.keys, p); cluster.Owner(at) == owner {
				cluster.Migrate(at)
			}
		}
	}
	moving.Wait()
	settled(t, writing, followers)
	at := watching.Now()
	require.Eventually(t, func() bool { return watching.Announced().After(at) }, patience, 10*time.Millisecond)
	for i, e := range ears {
		say(t, writing, followed[i/2].Feed, fmt.Sprint("after ", i))
		e.wait(t, fmt.Sprint("after ", i), 1)
	}
}

// agreed waits until all nodes know the same epochs. A node that is given a slot
// while it has not heard of another's newer epoch loses it again to a late claim, and
// then each of the two says that the other has it, for ever.
func agreed(t *testing.T, cluster *storetest.Cluster) {
	t.Helper()
	view := func(n *storetest.Redis) string {
		out, err := n.Command("CLUSTER", "NODES")
		require.NoError(t, err)
		var epochs []string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 6 {
				epochs = append(epochs, f[0]+" "+f[6])
			}
		}
		slices.Sort(epochs)
		return strings.Join(epochs, "\n")
	}
	require.Eventually(t, func() bool {
		first := view(cluster.Nodes[0])
		for _, n := range cluster.Nodes[1:] {
			if view(n) != first {
				return false
			}
		}
		return true
	}, patience, 20*time.Millisecond)
}

// tagSlot returns the slot of a partition.
func tagSlot(k *keys, p int) int {
	_, rest, _ := strings.Cut(k.tags[p], "{")
	tag, _, _ := strings.Cut(rest, "}")
	return int(slot(tag))
}

// The cost of looking after 10,000 feeds.
func BenchmarkHeadCheck(b *testing.B) {
	r := storetest.StartRedis(b)
	s := openStore(b, r.URL)
	const feeds = 10_000
	var ready sync.WaitGroup
	for i := range feeds {
		ready.Add(1)
		_, err := s.Watch(fmt.Sprint("feed ", i), &starter{once: sync.OnceFunc(ready.Done)})
		require.NoError(b, err)
	}
	ready.Wait()
	e := &ears{s: s, lines: s.ears.lines} // not the one that runs by itself
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.check(ctx); err != nil {
			b.Fatal(err)
		}
	}
	require.Len(b, e.looks, feeds)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/feeds, "ns/feed")
}

// starter waits for its first Ready.
type starter struct{ once func() }

func (s *starter) Ready()             { s.once() }
func (*starter) Entries([]store.Tail) {}
func (*starter) Broken(error)         {}
