package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// The newest so many, beside live in both orders, in pages and one by one (decided.md 9).
func TestCatchupByCount(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 8 })
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/50n"
		p := x.join("")
		r := p.subscribe(past)
		require.Equal(t, 0, r.Ext.Catchup.Messages)
		require.False(t, r.Ext.Catchup.Truncated)
		x.say("gala", "chat", numbers(1, 70)...)

		func() { // 1n is the last value
			q := x.join("")
			r := q.subscribe(root + "/chat/catchup/1n")
			require.True(t, r.ok(), r.Error)
			require.Equal(t, 1, r.Ext.Catchup.Messages)
			require.Equal(t, on(root+"/chat/catchup/1n", 70), q.poll())
		}()
		func() { // 50n is the last fifty
			q := x.join("")
			require.Equal(t, 50, q.subscribe(past).Ext.Catchup.Messages)
			x.say("gala", "chat", 71)
			require.Equal(t, on(past, numbers(21, 70)...), q.poll(), "and nothing live")
		}()
		func() { // live first
			q := x.join("")
			require.True(t, q.subscribe(live).ok())
			x.say("gala", "chat", 72)
			require.Equal(t, 50, q.subscribe(past).Ext.Catchup.Messages)
			require.Equal(t, append(on(live, 72), on(past, numbers(22, 71)...)...), q.poll())
		}()
		func() { // catch-up first
			q := x.join("")
			require.Equal(t, 50, q.subscribe(past).Ext.Catchup.Messages)
			x.say("gala", "chat", 73)
			require.True(t, q.subscribe(live).ok())
			x.say("gala", "chat", 74)
			require.Equal(t, append(on(past, numbers(23, 72)...), on(live, 73, 74)...), q.poll())
		}()
		func() { // both at once
			q := x.join("")
			require.Equal(t, 50, q.subscribe(live, past).Ext.Catchup.Messages)
			x.say("gala", "chat", 75)
			require.Equal(t, append(on(past, numbers(25, 74)...), on(live, 75)...), q.poll())
		}()
		func() { // more than there is
			q := x.join("")
			r := q.subscribe(root + "/chat/catchup/9999999n")
			require.Equal(t, 75, r.Ext.Catchup.Messages)
			require.False(t, r.Ext.Catchup.Truncated)
			require.Equal(t, on(root+"/chat/catchup/9999999n", numbers(1, 75)...), q.poll())
		}()
	})
}

func TestCatchupByCountBounds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			o.Kinds = map[string]KindOptions{"custom": {Length: 5, Retention: 2 * time.Hour, Catchup: time.Hour}}
		})
		root := x.root("gala", channels.ClassView)
		x.say("gala", "chat", 1, 2)
		time.Sleep(61 * time.Minute)
		p := x.join("")
		require.Zero(t, p.subscribe(root+"/chat/catchup/2n").Ext.Catchup.Messages, "older than the longest catch-up of the kind")
		x.say("gala", "chat", numbers(3, 9)...)
		q := x.join("")
		r := q.subscribe(root + "/chat/catchup/7n")
		require.Equal(t, 5, r.Ext.Catchup.Messages)
		require.True(t, r.Ext.Catchup.Truncated, "the channel's length cut it short")
		require.Equal(t, on(root+"/chat/catchup/7n", numbers(5, 9)...), q.poll())
		require.False(t, x.join("").subscribe(root+"/chat/catchup/5n").Ext.Catchup.Truncated)

		f := func(name, want string) {
			t.Helper()
			require.Equal(t, want, x.join("").subscribe(name).Error)
		}
		for _, bad := range []string{"0n", "01n", "n", "-1n", "10000000n", "1N", "1n1"} {
			f(root+"/chat/catchup/"+bad, "400:"+root+"/chat/catchup/"+bad+":Invalid catch-up interval")
		}
		control := x.root("gala", channels.ClassControl)
		f(control+"/events/catchup/1n", "404:"+control+"/events/catchup/1n:Catch-up not supported")
		f(root+"/events/catchup/1n", "403:"+root+"/events/catchup/1n:Forbidden channel")
		guest := x.root("gala", channels.ClassGuest)
		f(guest+"/chat/catchup/1n", "403:"+guest+"/chat/catchup/1n:Forbidden channel")
		f(root+"/catchup/1n", "405:"+root+"/catchup/1n:Invalid channel")
	})
}

// A session that was away while its node was restarted gets the same newest ones, not
// those that are the newest by then.
func TestCatchupByCountResumed(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 4 })
				root := x.root("gala", channels.ClassView)
				past, live := root+"/chat/catchup/20n", root+"/chat"
				x.say("gala", "chat", numbers(1, 30)...)
				p := x.join("")
				require.Equal(t, 20, p.subscribe(past, live).Ext.Catchup.Messages)
				x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
				require.NotEmpty(t, p.inbox)
				require.Less(t, len(p.inbox), 20)
				before := p.inbox
				p.inbox = nil
				x.say("gala", "chat", numbers(31, 40)...)
				x.restart(crash)
				got := p.poll()
				want := append(on(past, numbers(11, 30)...), on(live, numbers(31, 40)...)...)
				require.LessOrEqual(t, len(got), len(want))
				require.GreaterOrEqual(t, len(got)+len(before), len(want))
				require.Equal(t, want[len(want)-len(got):], got)
			})
		})
	}
}
