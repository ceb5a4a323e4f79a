package storetest

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func feedOf(i int) string { return fmt.Sprint("feed/", i) }

func (u *suite) heads() {
	f := func(want []store.Position, logs ...store.LogName) {
		u.Helper()
		got, err := u.s.Heads(ctx, logs)
		require.NoError(u, err)
		require.Len(u, got, len(logs))
		for i := range want {
			require.Equal(u, want[i], got[i], "%v", logs[i])
		}
	}
	a, trimmed, redacted, deleted, live := name("a"), name("trimmed"), name("redacted"), name("deleted"), name("live")
	other := store.LogName{Feed: "other", Path: "a"}
	var last store.Position
	for i := range 3 {
		last = u.add(a, keep, fmt.Sprint(i)).Position
	}
	var short store.Position
	for i := range 9 {
		short = u.add(trimmed, store.Limits{Age: time.Hour, Length: 2}, fmt.Sprint(i)).Position
	}
	gone := u.add(redacted, keep, "x").Position
	require.NoError(u, u.s.Redact(ctx, redacted, gone))
	u.add(deleted, keep, "x")
	require.NoError(u, u.s.Delete(ctx, deleted))
	away := u.add(other, keep, "x").Position
	unkept := u.add(live, store.Limits{}, "x").Position
	f(nil)
	all := func() {
		u.Helper()
		f([]store.Position{last, {}, short, gone, {}, away, last}, a, name("none"), trimmed, redacted, deleted, other, a)
		heads, err := u.s.Heads(ctx, []store.LogName{live})
		require.NoError(u, err)
		if !heads[0].IsZero() {
			require.Equal(u, unkept, heads[0])
		}
	}
	all()
	if u.restart != nil {
		u.restart()
		all()
	}
	last = u.add(a, keep, "later").Position
	all()
	if !u.o.OwnClock {
		u.clock.Turn(2 * time.Hour)
		all() // whatever has expired
	}
	u.manyHeads()
}

// manyHeads asks for more logs than one command should name.
func (u *suite) manyHeads() {
	const many = 1200
	var logs []store.LogName
	var want []store.Position
	for i := range many {
		logs = append(logs, name(fmt.Sprint("many/", i)))
		want = append(want, store.Position{})
		if i%3 != 0 {
			want[i] = u.add(logs[i], keep, "x").Position
		}
	}
	got, err := u.s.Heads(ctx, logs)
	require.NoError(u, err)
	require.Equal(u, want, got)
}

// spoke asks who had an append, among feeds of look-alike names.
func (u *suite) spoke() {
	feeds := []string{"obj", "obj2", "ob", "obj/", "obj/x", "obj/x/y", "obj/xy", "", "/", "obj\x00", "obj\xff/", strings.Repeat("n", store.MaxName), strings.Repeat("n/", store.MaxName/2)}
	var logs []store.LogName
	for _, feed := range feeds {
		for _, path := range []string{"", "p", "p/q"} {
			logs = append(logs, store.LogName{Feed: feed, Path: path})
		}
	}
	logs = append(logs, u.spokeFirst()...)
	start := u.s.Now()
	for range 2 {
		for _, log := range logs {
			u.add(log, keep, "x")
		}
	}
	in := func(feed string) (of []store.LogName) {
		for _, log := range logs {
			if hears(feed, log.Feed) {
				of = append(of, log)
			}
		}
		return of
	}
	f := func(feed string, since time.Time, limit int) {
		u.Helper()
		got, more, err := u.s.Spoke(ctx, feed, since, limit)
		require.NoError(u, err)
		want := in(feed)
		require.Len(u, got, min(limit, len(want)), "%q", feed)
		require.Equal(u, limit < len(want), more, "%q, limit %d", feed, limit)
		require.Subset(u, want, got)
		seen := map[store.LogName]bool{}
		for _, log := range got {
			require.False(u, seen[log], "%v twice", log)
			seen[log] = true
		}
	}
	all := func() {
		u.Helper()
		for _, feed := range append([]string{"none", "none/", "o", "obj/x/", "obj/x/y/", strings.Repeat("n", store.MaxName-1), strings.Repeat("n/", 9)}, feeds...) {
			f(feed, start, 1000)
			f(feed, time.Time{}, 1000)
			for _, limit := range []int{0, 1, 2, 3, 4, 6} {
				f(feed, start, limit)
			}
		}
	}
	all()
	if u.restart != nil {
		u.restart()
		all()
	}
	u.spokeSince(logs)
}

// spokeFirst asks when little is there: the first name is not one that is asked for.
func (u *suite) spokeFirst() (logs []store.LogName) {
	for _, feed := range []string{"a1/x", "b1/x", "c1/x"} {
		log := store.LogName{Feed: feed}
		u.add(log, keep, "x")
		logs = append(logs, log)
	}
	for _, feed := range []string{"b1/", "b1/x"} {
		got, more, err := u.s.Spoke(ctx, feed, time.Time{}, 10)
		require.NoError(u, err)
		require.False(u, more)
		require.Equal(u, logs[1:2], got)
	}
	return logs
}

// spokeSince asks for what came after a moment: it must be told, though older may be,
// too.
func (u *suite) spokeSince(logs []store.LogName) {
	var last store.Position
	for _, log := range logs {
		last = u.add(log, keep, "y").Position
	}
	since := last.Time().Add(time.Millisecond)
	if !u.o.OwnClock {
		u.clock.Turn(2 * time.Second) // new epochs may have run ahead
	}
	// A store's clock may be known to a few ms only.
	require.Eventually(u, func() bool { return u.s.Now().After(since.Add(100 * time.Millisecond)) }, patience, time.Millisecond)
	young := logs[:len(logs)/2]
	for _, log := range young {
		require.False(u, u.add(log, keep, "z").Position.Time().Before(since))
	}
	got, more, err := u.s.Spoke(ctx, store.AllFeeds, since, 1000)
	require.NoError(u, err)
	require.False(u, more)
	require.Subset(u, got, young)
	require.Subset(u, logs, got)
	got, _, err = u.s.Spoke(ctx, store.AllFeeds, u.s.Now().Add(time.Hour), 1000)
	require.NoError(u, err)
	require.Subset(u, logs, got)
}

// spokeFor looks back as far as is promised, and not without end.
func (u *suite) spokeFor() {
	names := func(since time.Duration) []string {
		u.Helper()
		logs, more, err := u.s.Spoke(ctx, "long/", u.s.Now().Add(-since), 1000)
		require.NoError(u, err)
		require.False(u, more)
		paths := []string{}
		for _, log := range logs {
			paths = append(paths, log.Path)
		}
		return paths
	}
	const step = 7 * time.Minute
	limits := store.Limits{Age: 24 * time.Hour}
	for i := range 20 {
		u.add(store.LogName{Feed: "long/1", Path: fmt.Sprintf("%02d", i)}, limits, "x")
		u.add(store.LogName{Feed: "long/1", Path: "each"}, limits, "x")
		u.clock.Turn(step)
		if i%5 == 4 && u.o.Sweep != nil {
			u.o.Sweep(u, u.s)
		}
		if i%6 == 5 && u.restart != nil {
			u.restart()
		}
		for back := step; back < store.SpokeFor; back += step {
			want := []string{"each"}
			for j := max(0, i+1-int(back/step)); j <= i; j++ {
				want = append(want, fmt.Sprintf("%02d", j))
			}
			require.Subset(u, names(back), want)
		}
	}
	u.clock.Turn(2 * store.SpokeFor)
	require.Empty(u, names(24*time.Hour))
	if u.o.Sweep != nil {
		u.o.Sweep(u, u.s)
	}
	require.Empty(u, names(24*time.Hour))
	u.add(store.LogName{Feed: "long/1", Path: "each"}, limits, "x")
	require.Equal(u, []string{"each"}, names(time.Minute))
}

// announced: the time that was announced does not go back, and what was committed
// before it was heard of.
func (u *suite) announced() {
	w, stop := u.watch("said")
	defer stop()
	logs := make([]store.LogName, 4)
	for i := range logs {
		logs[i] = store.LogName{Feed: "said", Path: fmt.Sprint(i)}
	}
	first := u.s.Announced()
	var told positions
	finished := u.say(logs, 100, &told)
	last := first
	for running := true; running; {
		select {
		case <-finished:
			running = false
		default:
		}
		last = u.checkAnnounced(w, logs, told.all(), last)
	}
	newest := u.add(store.LogName{Feed: "said", Path: "end"}, keep, "end").Position
	require.Eventually(u, func() bool { return !u.s.Announced().Before(newest.Time()) }, patience, time.Millisecond, "it reaches the present")
	require.True(u, first.Before(u.s.Announced()))
}

// place is a record's log and position.
type place struct {
	log store.LogName
	p   store.Position
}

// positions is where records lie, as many goroutines were told.
type positions struct {
	mu     sync.Mutex
	places []place
}

func (k *positions) add(p place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.places = append(k.places, p)
}

func (k *positions) all() []place {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.places[:len(k.places):len(k.places)]
}

// say appends to each log from a goroutine of its own, and tells where. The channel
// is closed at the end.
func (u *suite) say(logs []store.LogName, each int, told *positions) (finished chan struct{}) {
	var wg sync.WaitGroup
	for _, log := range logs {
		wg.Go(func() {
			for range each {
				a, err := Append(u.s, log, keep, store.Record{Data: []byte("x")})
				if err != nil {
					u.Error(err)
					return
				}
				u.clock.Turn(time.Millisecond)
				told.add(place{log, a.Positions[0]})
			}
		})
	}
	finished = make(chan struct{})
	go func() {
		wg.Wait()
		close(finished)
	}()
	return finished
}

// checkAnnounced asks for the announced time, which is returned, and compares what is
// committed before it with what w heard of.
func (u *suite) checkAnnounced(w *watcher, logs []store.LogName, committed []place, last time.Time) time.Time {
	u.Helper()
	// What can be read is committed, though its writer may not know yet.
	heads, err := u.s.Heads(ctx, logs)
	require.NoError(u, err)
	for i, p := range heads {
		if !p.IsZero() {
			committed = append(committed, place{logs[i], p})
		}
	}
	now := u.s.Announced()
	require.False(u, now.Before(last), "announced goes back: %v, then %v", last, now)
	heard := map[place]bool{}
	for _, t := range w.heard() {
		heard[place{t.Log, t.Position}] = true
	}
	for _, c := range committed {
		if c.p.Time().Before(now) {
			require.True(u, heard[c], "announced is %v, and nothing was heard of %v of %v", now, c.p, c.p.Time())
		}
	}
	return now
}

// announcedAndClockBack sets the wall clock back: what comes after an announced time
// is not before it.
func (u *suite) announcedAndClockBack() {
	u.clock.Turn(time.Minute)
	was := u.s.Announced()
	u.clock.Turn(-time.Hour)
	require.False(u, u.s.Announced().Before(was))
	require.False(u, u.s.Now().Before(was))
	p := u.add(name("back"), keep, "x").Position
	require.False(u, p.Time().Before(was))
	require.False(u, u.s.Announced().Before(was))
}
