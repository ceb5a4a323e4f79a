package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// restart replaces the broker and its server by new ones over the same store, after a
// crash or an orderly stop.
func (x *bench) restart(crash bool) {
	x.t.Helper()
	if crash {
		x.die()
	} else {
		x.stop()
	}
	x.run()
	synctest.Wait()
}

// repeatsOnly checks that after brings all that before lacked, in order, and else
// only what before had.
func repeatsOnly(t *testing.T, before, after, all []string) {
	t.Helper()
	had := map[string]bool{}
	for _, m := range before {
		had[m] = true
	}
	var fresh []string
	for _, m := range after {
		if !had[m] {
			fresh = append(fresh, m)
		}
	}
	require.Equal(t, all, append(before, fresh...))
}

func TestResume(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, nil)
				root := x.root("gala", channels.ClassView)
				live := root + "/chat"
				p := x.join("")
				require.True(t, p.subscribe(live).ok())
				x.say("gala", "chat", numbers(1, 5)...)
				before := p.poll()
				time.Sleep(30 * time.Second)
				p.poll()
				x.say("gala", "chat", numbers(6, 8)...)
				time.Sleep(3 * time.Second)

				x.restart(crash)
				x.say("gala", "chat", numbers(9, 10)...)
				repeatsOnly(t, before, p.poll(), on(live, numbers(1, 10)...))
				x.say("gala", "chat", 11)
				require.Equal(t, on(live, 11), p.poll(), "and goes on as before")
				require.EqualValues(t, 1, x.server.Stats().Resumed)
				// Gone for good once it says goodbye.
				require.True(t, x.post(p, p.message("/meta/disconnect", ""))[0].ok())
				x.restart(crash)
				r := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))
				require.Equal(t, "401:"+p.id+":Unknown client", r[0].Error)
			})
		})
	}
}

// A catch-up of which the client has not had everything goes on after a crash; one
// that it has had whole does not come again.
func TestResumeCatchup(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 16 })
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/1h"
		x.say("gala", "chat", numbers(1, 100)...)
		p := x.join("")
		require.True(t, p.subscribe(past, live).ok())
		x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
		require.NotEmpty(t, p.inbox)
		require.Less(t, len(p.inbox), 100)
		p.inbox = nil
		x.say("gala", "chat", 101)
		x.restart(true)
		x.say("gala", "chat", 102)
		got := p.poll()
		require.Equal(t, append(on(past, numbers(1, 100)...), on(live, 101, 102)...), got)
		for range 5 {
			time.Sleep(3 * time.Second)
			p.poll()
		}
		x.restart(true)
		x.say("gala", "chat", 103)
		require.NotContains(t, p.poll(), past+" 1")
		// The seam stands: a repeat replays up to where live began.
		require.Equal(t, 100, p.subscribe(past).Ext.Catchup.Messages)
	})
}

// A client that is behind by more than a round is resumed from its own position.
func TestResumeBehind(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Timeout = 5 * time.Minute })
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(root+"/chat").ok())
		p.poll()
		x.say("gala", "chat", numbers(1, 20)...)
		time.Sleep(2 * time.Minute) // nobody polls; others go on
		x.say("gala", "chat", 21)
		time.Sleep(2 * time.Minute)
		x.restart(true)
		require.Equal(t, on(root+"/chat", numbers(1, 21)...), p.poll())
	})
}

func TestResumeWildcard(t *testing.T) {
	t.Run("crash", func(t *testing.T) { resumeWildcard(t, true) })
	t.Run("orderly", func(t *testing.T) { resumeWildcard(t, false) })
}

func resumeWildcard(t *testing.T, crash bool) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(root+"/**").ok())
		x.say("gala", "a", 1)
		before := p.poll()
		x.say("gala", "b", 2)
		time.Sleep(2100 * time.Millisecond)
		x.restart(crash)
		x.say("gala", "c", 3)
		got := p.poll()
		slices.Sort(got) // order is by channel
		repeatsOnly(t, before, got, []string{root + "/a 1", root + "/b 2", root + "/c 3"})
	})
}

// A session whose root was withdrawn meanwhile is not taken up.
func TestResumeWithdrawn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		require.True(t, p.subscribe(x.root("gala", channels.ClassView)+"/chat").ok())
		time.Sleep(3 * time.Second)
		items, err := x.store.List(t.Context(), tableSession, "", "", 10)
		require.NoError(t, err)
		_, err = x.b.objects.reset(t.Context(), x.app, "gala", 0)
		require.NoError(t, err)
		time.Sleep(time.Second)
		for _, item := range items { // as if the crash came first
			_, err := x.store.Put(t.Context(), tableSession, item.Key, store.Put{Data: item.Data})
			require.NoError(t, err)
		}
		x.restart(true)
		r := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))
		require.Equal(t, "401:"+p.id+":Unknown client", r[0].Error)
	})
}

// A publish that is sent again within two minutes, before or after a restart, is
// stored once and answered as the first time (decided.md 5).
func TestRepeatedPublish(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Timeout = 10 * time.Minute })
		p, q := x.join(""), x.join("")
		require.True(t, q.subscribe("/open/a").ok())
		send := func(id, data string) reply {
			m := fmt.Sprintf(`{"channel":"/open/a","clientId":%q,"id":%q,"data":%s}`, p.id, id, data)
			r := x.post(p, m)[0]
			x.settle()
			require.True(t, r.ok(), r.Error)
			return r
		}
		first := send("a", `{"n":1}`)
		require.Equal(t, first.Ext.History.ID, send("a", `{"n":1}`).Ext.History.ID)
		require.NotEqual(t, first.Ext.History.ID, send("a", `{"n":2}`).Ext.History.ID, "other data is another message")
		require.NotEqual(t, first.Ext.History.ID, send("b", `{"n":1}`).Ext.History.ID)
		require.Len(t, q.poll(), 3)
		time.Sleep(2 * time.Second)
		x.restart(true)
		require.Equal(t, first.Ext.History.ID, send("a", `{"n":1}`).Ext.History.ID, "also after a restart")
		late := x.join("")
		require.Equal(t, 3, late.subscribe("/open/a/catchup/1h").Ext.Catchup.Messages)
		p.poll()
		time.Sleep(repeatAge + time.Second)
		p.poll()
		require.NotEqual(t, first.Ext.History.ID, send("a", `{"n":1}`).Ext.History.ID, "later it is a new message")
	})
}

// A store that fails refuses what cannot be kept.
func TestSubscribeIsKeptFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		before, _, err := x.b.loadSession(t.Context(), sessionKey(p.id))
		require.NoError(t, err)
		require.Empty(t, before.Topics)
		require.True(t, p.subscribe("/open/a").ok())
		after, _, err := x.b.loadSession(t.Context(), sessionKey(p.id))
		require.NoError(t, err)
		require.Len(t, after.Topics, 1)
		require.Equal(t, "/open/a", after.Topics[0].Channel)
		p.unsubscribe("/open/a")
		_, _, err = x.b.loadSession(t.Context(), "nobody")
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}
