package storetest

import (
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// follow: who listens and reads where there is a gap has the log, while others begin
// and end listening.
func (u *suite) follow() {
	fs := []*follower{u.follower("followed/1"), u.follower("followed/"), u.follower(store.AllFeeds)}
	u.write("followed/1", 0, 100)
	for _, f := range fs {
		u.followed(f)
	}
	u.written("followed/1", 100)
}

// disturbed: the same while the connections break every 40 ms.
func (u *suite) disturbed() {
	if u.o.Disturb == nil {
		u.Skip("the backend hears without connections")
	}
	fs := []*follower{u.follower("broken/1"), u.follower("broken/")}
	broken := make(chan struct{})
	var breaking sync.WaitGroup
	breaking.Go(func() {
		defer close(broken)
		t := time.NewTicker(40 * time.Millisecond)
		defer t.Stop()
		for range 15 {
			<-t.C
			u.o.Disturb(u, u.s)
		}
	})
	const step = 5
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	written := 0
	for over := false; !over; written += step {
		u.write("broken/1", written, written+step)
		select {
		case <-broken:
			over = true
		case <-pace.C:
		}
	}
	breaking.Wait()
	u.write("broken/1", written, written+step)
	for _, f := range fs {
		u.followed(f)
	}
	u.written("broken/1", written+step)
}

// dropped: the same while 3 of 100 announcements are lost without a sign.
func (u *suite) dropped() {
	if u.o.DropLive == nil {
		u.Skip("the backend hears without connections")
	}
	f := u.follower("lossy")
	u.o.DropLive(u, u.s, 0.03)
	u.write("lossy", 0, 250)
	u.o.DropLive(u, u.s, 0)
	u.followed(f)
	u.written("lossy", 250)
}

// lastDropped: when the loss of what nothing follows has no sign, it shows within
// the time of the head check, also in logs that nobody knew of.
func (u *suite) lastDropped() {
	if u.o.DropLive == nil {
		u.Skip("the backend hears without connections")
	}
	fs := []*follower{u.follower("quiet/1"), u.follower("quiet/")}
	u.add(store.LogName{Feed: "quiet/1", Path: "0"}, keep, "heard")
	for _, f := range fs {
		u.followed(f)
	}
	u.o.DropLive(u, u.s, 1)
	u.add(store.LogName{Feed: "quiet/1", Path: "0"}, keep, "lost")
	u.add(store.LogName{Feed: "quiet/1", Path: "new"}, keep, "lost, too")
	for _, f := range fs {
		u.followed(f)
	}
}

// deaf: a connection that is open and says nothing is found out.
func (u *suite) deaf() {
	if u.o.Deafen == nil {
		u.Skip("the backend hears without connections")
	}
	f := u.follower("deaf")
	u.write("deaf", 0, 5)
	u.followed(f)
	w, stop := u.watch("deaf")
	defer stop()
	was := u.s.Announced()
	mend := u.o.Deafen(u, u.s)
	require.Eventually(u, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.broken > 0 || w.ready > 1
	}, patience, time.Millisecond, "silence has a sign")
	mend()
	require.Eventually(u, func() bool { return was.Add(time.Millisecond).Before(u.s.Announced()) }, patience, time.Millisecond)
	u.insist(store.LogName{Feed: "deaf", Path: "after"}, "after", store.Nonce{1})
	u.followed(f)
}

// manyWatches: each of many watches is ready again after a break.
func (u *suite) manyWatches() {
	if u.o.Disturb == nil {
		u.Skip("the backend hears without connections")
	}
	watches := make([]*watcher, manyWatches)
	for i := range watches {
		watches[i] = &watcher{}
		stop, err := u.s.Watch(feedOf(i), watches[i])
		require.NoError(u, err)
		u.Cleanup(stop)
	}
	readies := func(n int) func() bool {
		left := watches
		return func() bool {
			for len(left) > 0 && left[0].readies() >= n {
				left = left[1:]
			}
			return len(left) == 0
		}
	}
	require.Eventually(u, readies(1), patience, time.Millisecond)
	start := time.Now()
	u.o.Disturb(u, u.s)
	require.Eventually(u, readies(2), patience, time.Millisecond)
	u.Logf("%d watches were ready again after %v", len(watches), time.Since(start))
	for i := 0; i < len(watches); i += 97 {
		log := store.LogName{Feed: feedOf(i), Path: "p"}
		u.insist(log, "x", store.Nonce{1})
		require.Eventually(u, func() bool { return watches[i].count() > 0 }, patience, time.Millisecond)
	}
}
