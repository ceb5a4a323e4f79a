package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// awaitLock returns when a goroutine waits for a lock in a function of this package.
func awaitLock(t *testing.T, function string) {
	t.Helper()
	buf := make([]byte, 1<<20)
	require.Eventually(t, func() bool {
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "[sync.Mutex.Lock") && strings.Contains(g, function) {
				return true
			}
		}
		return false
	}, 30*time.Second, time.Millisecond)
}

// A message that finds the queue full just while it is looked where the session stands was
// not handed over, though the topic has moved on: it is not counted as heard, neither by a
// session that goes to another node nor by one that unsubscribes.
func TestQueueFillsWhileItIsLooked(t *testing.T) {
	x := newBench(t, func(_ *Options, bo *bayeux.Options) { bo.Limits.QueueMessages = 1 })
	ctx := context.Background()
	name := x.root("gala", channels.ClassView) + "/chat"
	p := x.join("")
	require.True(t, p.subscribe(name).ok())
	s := x.b.subscribers[sessionKey(p.id)]
	pattern, err := channels.ParsePattern(name)
	require.NoError(t, err)
	target, err := x.b.subscription(ctx, pattern, asker{now: x.b.opt.Now()})
	require.NoError(t, err)
	l := s.listener(&target)
	tp, err := x.b.hub.holdTopic(ctx, target)
	require.NoError(t, err)
	say := func(n uint64) store.Position { // as the shard does
		at := store.NewPosition(x.store.Now().UnixMilli(), 1<<31, n)
		l.offer(tp, at, newDelivery(name, catchup.Message{Position: at, Data: fmt.Append(nil, n)}, form{kept: true}))
		tp.advance(at, true)
		return at
	}
	tp.mu.Lock()
	first := say(1)
	place := make(chan placeRecord)
	go func() { place <- l.place(tp) }()
	awaitLock(t, ".place(")
	say(2)
	tp.mu.Unlock()
	got := <-place
	require.Equal(t, placeRecord{Channel: name, After: first, Lags: true}, got)

	// The flow that brings it begins anew with the next.
	tp.mu.Lock()
	f := l.flow(tp)
	l.removeFlow(f)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stopLive(ctx, l, tp, l.seams[tp], func() {})
	}()
	awaitLock(t, ".stopLive(")
	third := tp.last
	say(3)
	tp.mu.Unlock()
	<-stopped
	require.Equal(t, third, l.seams[tp].State().End)
	require.False(t, l.flow(tp).lags, "nothing live is due any more")
}

// An entry that is being handed out while its topic is dropped is not handed out by it any
// more: who comes then has a new topic, which brings it where it is due.
func TestDroppedTopicIsSilent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		stays := x.join("") // so the space does
		require.True(t, stays.subscribe(root+"/votes").ok())
		p := x.join("")
		require.True(t, p.subscribe(root+"/chat").ok())
		x.say("gala", "chat", 1)
		log := store.LogName{Feed: x.feed("gala"), Path: "/chat"}
		sh := x.b.hub.shardOf(log)
		sh.mu.Lock()
		old := sh.topics[log]
		sh.mu.Unlock()
		last := old.last
		require.True(t, x.post(p, p.message("/meta/disconnect", ""))[0].ok())
		synctest.Wait()
		sh.mu.Lock()
		require.Nil(t, sh.topics[log])
		sh.mu.Unlock()
		x.say("gala", "chat", 2)
		q := x.join("")
		require.True(t, q.subscribe(root+"/**", root+"/chat/catchup/1h").ok())
		page, err := x.store.Read(context.Background(), log, old.after(last, time.Time{}), 10, 1<<20)
		require.NoError(t, err)
		require.Len(t, page.Entries, 1)
		old.hand(page.Entries[0], true)
		require.True(t, sh.repair(context.Background(), old, store.Position{}))
		x.say("gala", "chat", 3)
		require.ElementsMatch(t, []string{root + "/chat/catchup/1h 1", root + "/chat/catchup/1h 2", root + "/chat 3"}, q.poll())
		require.Equal(t, old.last, last)
	})
}

// Where the catch-ups of a session stand is written with where it stands itself: a record
// that is written between the look and the note says of neither what is true of the other.
func TestCatchupsStandWithTheRest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		for n := range 5 {
			x.say("gala", "chat", n)
		}
		p := x.join(`{"ack":true}`)
		require.True(t, p.subscribe(root+"/chat", root+"/chat/catchup/1h").ok())
		s := x.b.subscribers[sessionKey(p.id)]
		catchups := func() []placeRecord {
			s.memory.saving.Lock()
			defer s.memory.saving.Unlock()
			data, err := s.marshal()
			require.NoError(t, err)
			var r sessionRecord
			require.NoError(t, json.Unmarshal(data, &r))
			return r.Left.Catchups
		}
		before := catchups() // as of the subscribe
		require.Len(t, before, 1)
		for _, l := range s.listeners { // what was read since
			for _, f := range l.flows {
				_, err := f.Pull(context.Background(), 1)
				require.NoError(t, err)
			}
		}
		left, places, at := s.standing(context.Background(), true)
		found := s.catchups(left)
		require.Equal(t, before, catchups())
		s.mu.Lock()
		s.stand(&leftRecord{Wire: left.Wire, At: at, Places: places, Lasts: true}, found)
		s.mu.Unlock()
		require.NotEqual(t, before, catchups())
	})
}
