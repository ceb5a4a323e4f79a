package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// behind subscribes with ext.catchup.
func (p *peer) behind(channel, value string) reply {
	p.x.t.Helper()
	return p.x.post(p, p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q,"ext":{"catchup":%s}`, channel, value)))[0]
}

// placed subscribes and asks from where on.
func (p *peer) placed(channel string) reply {
	p.x.t.Helper()
	return p.x.post(p, p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q,"ext":{"history":{}}`, channel)))[0]
}

// idsOf are the ids of what a channel has, as a client is given them.
func (x *bench) idsOf(past string) (ids []string) {
	x.t.Helper()
	p := x.join("")
	require.True(x.t, p.subscribe(past).ok())
	for had := -1; had < len(p.inbox); {
		had = len(p.inbox)
		x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
	}
	for _, d := range p.inbox {
		ids = append(ids, d.Ext.History.ID)
	}
	return ids
}

// Who says what it had last is replayed what follows it, counted so, and no seam is moved.
func TestCatchupAfter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 8 })
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/6h"
		x.say("gala", "chat", numbers(1, 30)...)
		ids := x.idsOf(past)
		require.Len(t, ids, 30)
		after := func(n int) string { return fmt.Sprintf(`{"after":%q}`, ids[n-1]) }
		f := func(channel, value string, from, to int) {
			t.Helper()
			p := x.join("")
			r := p.behind(channel, value)
			require.True(t, r.ok(), r.Error)
			require.Equal(t, to-from+1, r.Ext.Catchup.Messages)
			require.False(t, r.Ext.Catchup.Truncated)
			require.True(t, p.subscribe(live).ok())
			require.Equal(t, on(channel, numbers(from, to)...), p.poll())
		}
		f(past, after(12), 13, 30)
		f(past, after(30), 31, 30)
		f(past, `{}`, 1, 30)
		f(past, `7`, 1, 30)
		f(past, `{"after":"7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}`, 31, 30)
		f(past, `{"after":"00000000000000000000000000"}`, 1, 30)
		// The later of the two bounds counts.
		f(root+"/chat/catchup/20n", after(5), 11, 30)
		f(root+"/chat/catchup/20n", after(25), 26, 30)

		for _, bad := range []string{`{"after":1}`, `{"after":"x"}`, `{"after":""}`, `{"after":null}`} {
			r := x.join("").behind(past, bad)
			require.Equal(t, "400:"+past+":Catch-up after must be a message id", r.Error, bad)
		}
		// Without a catch-up there is nothing to go on with.
		require.True(t, x.join("").behind(live, `{"after":1}`).ok())

		// The rest comes once when the live one follows, and the live one after it.
		p := x.join("")
		require.Equal(t, 5, p.behind(past, after(25)).Ext.Catchup.Messages)
		x.say("gala", "chat", 31)
		require.True(t, p.subscribe(live).ok())
		x.say("gala", "chat", 32)
		require.Equal(t, append(on(past, numbers(26, 30)...), on(live, 31, 32)...), p.poll())
	})
}

// A live subscription says after which message it began, where it is asked.
func TestLiveSaysItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/6h"
		last := func(p *peer) string {
			t.Helper()
			r := p.placed(live)
			require.True(t, r.ok(), r.Error)
			require.Nil(t, r.Ext.Catchup)
			return r.Ext.History.Last
		}
		require.Equal(t, strings.Repeat("0", 26), last(x.join("")))
		x.say("gala", "chat", 1, 2, 3)
		ids := x.idsOf(past)
		require.Equal(t, ids[2], last(x.join("")))

		// Behind a catch-up it is where that ends, and what follows is owed.
		p := x.join("")
		require.True(t, p.subscribe(past).ok())
		x.say("gala", "chat", 4)
		require.Equal(t, ids[2], last(p))
		require.Equal(t, append(on(past, 1, 2, 3), on(live, 4)...), p.poll())

		// Who heard it before, by name or by pattern, is owed what comes.
		x.say("gala", "chat", 5)
		ids = x.idsOf(past)
		require.Equal(t, ids[4], last(p))
		q := x.join("")
		require.True(t, q.subscribe(root+"/*").ok())
		x.say("gala", "chat", 6)
		require.Equal(t, x.idsOf(past)[5], last(q))

		// Who does not ask, or for several at once, is told nothing.
		require.Empty(t, x.join("").subscribe(live).Ext.History.Last)
		list := x.join("")
		r := x.post(list, list.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q],"ext":{"history":{}}`, live, root+"/b")))[0]
		require.True(t, r.ok(), r.Error)
		require.Empty(t, r.Ext.History.Last)
		require.Empty(t, x.join("").placed("/mute/x").Ext.History.Last, "nothing is kept there")
	})
}

// A session that is taken up elsewhere is replayed nothing of what its client had before.
func TestCatchupAfterResumed(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 4 })
				root := x.root("gala", channels.ClassView)
				past, live := root+"/chat/catchup/6h", root+"/chat"
				x.say("gala", "chat", numbers(1, 30)...)
				p := x.join("")
				require.Equal(t, 20, p.behind(past, fmt.Sprintf(`{"after":%q}`, x.idsOf(past)[9])).Ext.Catchup.Messages)
				require.True(t, p.subscribe(live).ok())
				x.say("gala", "chat", numbers(31, 40)...)
				x.restart(crash)
				want := append(on(past, numbers(11, 30)...), on(live, numbers(31, 40)...)...)
				require.Equal(t, want, p.poll())
			})
		})
	}
}
