package broker

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// A catch-up of a channel that an older wildcard hears ends where the wildcard
// began, also for a channel that was there before, and for one that came later.
func TestCatchupBesideWildcard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		other := x.join("")
		other.subscribe(root + "/chat") // the topic is known before the wildcard
		x.say("gala", "chat", 1, 2)
		x.say("gala", "old", 1)
		p := x.join("")
		require.True(t, p.subscribe(root+"/**").ok())
		x.say("gala", "chat", 3, 4)
		x.say("gala", "old", 2)
		x.say("gala", "young", 1)
		require.Equal(t, slices.Concat(on(root+"/chat", 3, 4), on(root+"/old", 2), on(root+"/young", 1)), p.poll())
		for channel, want := range map[string][]any{"/chat": {1, 2}, "/old": {1}, "/young": nil} {
			past := root + channel + "/catchup/1h"
			r := p.subscribe(past)
			require.Equal(t, len(want), r.Ext.Catchup.Messages, channel)
			require.Equal(t, on(past, want...), p.poll())
		}
		// Several intervals, and by name as well: nothing comes twice.
		require.Equal(t, 2, p.subscribe(root+"/chat/catchup/30m").Ext.Catchup.Messages)
		require.True(t, p.subscribe(root+"/chat").ok())
		x.say("gala", "chat", 5)
		require.Equal(t, append(on(root+"/chat/catchup/30m", 1, 2), on(root+"/chat", 5)...), p.poll())
		require.Zero(t, forgotten(x))
	})
}

func forgotten(x *bench) int64 { return total(x.b.metrics.forgottenSeams) }

// A wildcard after a catch-up goes on where the catch-up ended, also when that is
// still to be read.
func TestWildcardAfterCatchup(t *testing.T) {
	for _, read := range []bool{true, false} {
		inBubble(t, func(t *testing.T) {
			x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 8 })
			root := x.root("gala", channels.ClassView)
			live, past := root+"/chat", root+"/chat/catchup/1h"
			x.say("gala", "chat", numbers(1, 50)...)
			p := x.join("")
			p.subscribe(past)
			var got []string
			if read {
				got = p.poll()
			}
			x.say("gala", "chat", numbers(51, 60)...)
			p.subscribe(root + "/**")
			x.say("gala", "chat", numbers(61, 70)...)
			require.Equal(t, append(on(past, numbers(1, 50)...), on(live, numbers(51, 70)...)...), append(got, p.poll()...))
			// Another interval, while the first stands, ends where that did.
			require.Equal(t, 50, p.subscribe(root+"/chat/catchup/2h").Ext.Catchup.Messages)
			require.Equal(t, on(root+"/chat/catchup/2h", numbers(1, 50)...), p.poll())
		})
	}
}

// Exchanging one wildcard for another is no break where both hear.
func TestWildcardExchanged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		x.say("gala", "a/b", 1)
		x.say("gala", "c", 1)
		p := x.join("")
		p.subscribe(root + "/a/*")
		x.say("gala", "a/b", 2)
		x.say("gala", "c", 2)
		p.subscribe(root + "/**")
		p.unsubscribe(root + "/a/*")
		x.say("gala", "a/b", 3)
		x.say("gala", "c", 3)
		require.Equal(t, append(on(root+"/a/b", 2, 3), root+"/c 3"), p.poll())
		p.subscribe(root + "/a/b/catchup/1h")
		p.subscribe(root + "/c/catchup/1h")
		require.ElementsMatch(t, append(on(root+"/a/b/catchup/1h", 1), on(root+"/c/catchup/1h", 1, 2)...), p.poll())
		// Dropped and taken again: a channel whose catch-up stands has no gap, one
		// that was only heard begins anew.
		x.say("gala", "d", 1)
		p.unsubscribe(root + "/**")
		x.say("gala", "c", 4)
		x.say("gala", "d", 2)
		p.subscribe(root + "/**")
		x.say("gala", "d", 3)
		require.ElementsMatch(t, append(on(root+"/d", 1, 3), root+"/c 4"), p.poll())
	})
}

// What a session hears only since a token raised its level has its own beginning.
func TestWildcardRaised(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		p.subscribe(root + "/**")
		x.say("gala", "analytics", 1)
		x.say("gala", "chat", 1)
		text, err := SignToken(*x.app, map[string]any{"role": "broadcaster", "channel_id": "gala"}, time.Hour, time.Now())
		require.NoError(t, err)
		r := x.post(p, p.message("/meta/subscribe", `,"subscription":"`+root+`/events"`+with(`{"token":"`+text+`"}`)))
		require.True(t, r[0].ok(), r[0].Error)
		x.say("gala", "analytics", 2)
		require.Equal(t, []string{root + "/chat 1", root + "/analytics 2"}, p.poll())
		past := root + "/analytics/catchup/1h"
		x.post(p, p.message("/meta/subscribe", `,"subscription":"`+past+`"`+with(`{"token":"`+text+`"}`)))
		require.Equal(t, on(past, 1), p.poll())
		require.True(t, p.subscribe(root+"/chat/catchup/1h").ok())
		require.Empty(t, p.poll())
	})
}

// A topic that only wildcards know outlives the sweep while they may ask what they
// have heard; where the node cannot keep it, a catch-up repeats, and is counted.
func TestSweepRemembers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		p.subscribe(root + "/**")
		x.say("gala", "chat", 1)
		x.say("gala", "more", 1)
		p.poll()
		x.b.hub.sweep(time.Now().Add(time.Hour))
		require.Equal(t, 0, p.subscribe(root+"/chat/catchup/2h").Ext.Catchup.Messages)
		require.Zero(t, forgotten(x))
		// As if there were too many.
		log := store.LogName{Feed: x.feed("gala"), Path: "/more"}
		sh := x.b.hub.shardOf(log)
		sh.mu.Lock()
		sh.topics[log].space.forget()
		sh.drop(sh.topics[log])
		sh.mu.Unlock()
		x.say("gala", "more", 2)
		require.Equal(t, 1, p.subscribe(root+"/more/catchup/2h").Ext.Catchup.Messages)
		require.EqualValues(t, 1, forgotten(x))
		require.Equal(t, []string{root + "/more 2", root + "/more/catchup/2h 1"}, p.poll())
		// Past its retention it goes.
		x.b.hub.sweep(time.Now().Add(25 * time.Hour))
		require.True(t, x.post(p, p.message("/meta/disconnect", ""))[0].ok())
		x.b.hub.sweep(time.Now().Add(25 * time.Hour))
		for _, s := range x.b.hub.shards {
			require.Empty(t, s.topics)
		}
		require.Zero(t, x.b.hub.marks.Load())
	})
}

func (x *bench) feed(id string) string {
	o, err := x.b.objects.ensure(context.Background(), x.app, id)
	require.NoError(x.t, err)
	return feedOf(o)
}

// Subscribing by wildcard between any two messages costs no more than the bound,
// nothing once nobody asks, and what is kept is exact.
func TestMarksAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		sp := x.b.hub.holdSpace("o/test")
		defer x.b.hub.releaseSpace(sp)
		at := func(n int) store.Position { return store.NewPosition(int64(n), 1, uint64(n)) }
		l := &listener{space: sp}
		p, err := channels.ParsePattern("/**")
		require.NoError(t, err)
		m := newMarks(0, at(0), 0)
		for n := 1; n <= 3*topicMarks; n++ {
			number := sp.join(p, l, 0)
			m.note(sp, x.b, number, at(n))
			require.LessOrEqual(t, len(m.list), topicMarks)
			after, exact := m.at(number, at(n+1))
			require.Equal(t, at(n), after)
			require.True(t, exact)
		}
		require.EqualValues(t, len(m.list)-1, x.b.hub.marks.Load())
		after, exact := m.at(1, at(3*topicMarks))
		require.False(t, exact)
		require.Equal(t, m.list[0].after, after)
		oldest := m.list[0].count
		after, exact = m.at(oldest+1, at(0))
		require.True(t, exact)
		require.Equal(t, at(int(oldest)+1), after)
		after, exact = m.at(3*topicMarks+1, at(7))
		require.True(t, exact)
		require.Equal(t, at(7), after, "nothing since")
		for n := range uint64(3 * topicMarks) {
			sp.drop(n + 1)
		}
		m.compact(sp, x.b)
		require.Len(t, m.list, 1)
		x.b.hub.marks.Store(0)
	})
}

// Wildcards and catch-ups taken while publishers do not pause: whatever falls on the
// moment of either, each message comes exactly once.
func TestWildcardJoinersUnderLoad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const messages, joiners = 2000, 40
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		who := &Identity{App: x.app, Role: RoleServer}
		ended := make(chan error, 2)
		for _, channel := range []string{"chat", "late"} {
			go func() {
				for n := range messages {
					out := x.b.PublishAll(context.Background(), who, []Publication{{ObjectID: "gala", Channel: channel, Data: []byte(strconv.Itoa(n))}})
					if out[0].Err != nil {
						ended <- out[0].Err
						return
					}
				}
				ended <- nil
			}()
		}
		all := make([]*peer, joiners)
		for i := range all {
			all[i] = x.join("")
			require.True(t, all[i].subscribe(root+"/**").ok())
			if i%3 > 0 {
				require.True(t, all[i].subscribe(root+"/chat/catchup/1h", root+"/late/catchup/1h").ok())
			}
		}
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
		x.settle()
		for i, p := range all {
			if i%3 == 0 {
				require.True(t, p.subscribe(root+"/chat/catchup/1h", root+"/late/catchup/1h").ok())
			}
			seen := map[string]int{}
			for _, line := range p.poll() {
				name, n, _ := strings.Cut(line, " ")
				base, _, _ := strings.Cut(name, "/catchup/")
				seen[base+" "+n]++
			}
			for _, channel := range []string{"/chat", "/late"} {
				for n := range messages {
					if times := seen[root+channel+" "+strconv.Itoa(n)]; times != 1 {
						t.Fatalf("joiner %d: %s %d came %d times", i, channel, n, times)
					}
				}
			}
		}
		require.Zero(t, forgotten(x))
	})
}

// A restart does not make a session forget where its wildcards began: a catch-up
// after it brings what was before them, and nothing they have brought.
func TestCatchupBesideResumedWildcard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		x.say("gala", "chat", 1, 2)
		time.Sleep(time.Second)
		p := x.join("")
		require.True(t, p.subscribe(root+"/**").ok())
		time.Sleep(time.Second)
		x.say("gala", "chat", 3, 4)
		require.Equal(t, on(root+"/chat", 3, 4), p.poll())
		time.Sleep(15 * time.Second)
		x.restart(true)
		x.say("gala", "chat", 5)
		require.Equal(t, on(root+"/chat", 5), p.poll())
		past := root + "/chat/catchup/1h"
		require.Equal(t, 2, p.subscribe(past).Ext.Catchup.Messages)
		require.Equal(t, on(past, 1, 2), p.poll())
	})
}
