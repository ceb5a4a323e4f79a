package broker

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// A subscribe that another node has carried out, but of which the answer was lost, is not
// carried out again when it is asked for again: it is answered as at first, and its
// catch-up comes once. The session stays where it is, as the node has its lease; it is
// taken over, with the same care, where that has died.
func TestAnErrandIsCarriedOutOnce(t *testing.T) {
	errandIsCarriedOutOnce(t, 1, false)
	errandIsCarriedOutOnce(t, mostUnanswered+1, false)
	errandIsCarriedOutOnce(t, mostUnanswered, true)
}

func errandIsCarriedOutOnce(t *testing.T, unanswered int32, dead bool) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		root := nodes[0].root("gala", channels.ClassView)
		nodes[0].say("gala", "chat", 1, 2)
		p := nodes[0].join("")
		require.True(t, p.connectAt(nodes[0], 1).ok())
		var lost atomic.Int32
		nodes[0].options.Store.(*sharedStore).hook.Store(&fault{mute: func(log store.LogName) bool {
			if log != mailbox(nodes[1].b.nodes.id) {
				return false
			}
			n := lost.Add(1)
			if n == 1 {
				nodes[0].link().away.Store(dead)
			}
			return n <= unanswered
		}})
		r := p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, root+"/chat", root+"/chat/catchup/1h")))
		require.True(t, r.ok(), r.Error)
		require.NotNil(t, r.Ext.Catchup)
		require.Equal(t, 2, r.Ext.Catchup.Messages)
		nodes[0].link().away.Store(false)
		time.Sleep(2 * beatEvery) // node 0 hears that it was taken for dead, and is heard again
		require.Equal(t, dead, nodes[1].server.Sessions() == 1, "it was taken over")
		require.Equal(t, on(root+"/chat/catchup/1h", 1, 2), p.pollAround(nodes))
		nodes[2].say("gala", "chat", 3)
		require.Equal(t, on(root+"/chat", 3), p.pollAround(nodes))

		// An unsubscribe, likewise: it does not undo what followed.
		here := func() *subscriber {
			t.Helper()
			require.True(t, p.connectAt(nodes[1], 1).ok())
			s, _ := nodes[1].b.subscriberOf(sessionKey(p.id))
			require.NotNil(t, s)
			return s
		}
		s := here()
		var letters []letter
		nodes[1].options.Store.(*sharedStore).hook.Store(nil)
		drop := letter{Kind: letterCarry, From: "x", Call: 1, Key: s.key, Errand: "x/1", Message: []byte(fmt.Sprintf(`{"channel":"/meta/unsubscribe","subscription":%q}`, root+"/chat"))}
		for range 2 {
			drop.Sent = nodes[1].store.Now().UnixMilli()
			drop.Call++
			letters = append(letters, nodes[1].b.mail.carry(t.Context(), s, drop))
			require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, root+"/chat"))).ok())
		}
		require.Equal(t, letterDone, letters[1].Kind)
		nodes[2].say("gala", "chat", 4)
		require.Equal(t, on(root+"/chat", 4), p.pollAround(nodes))

		s = here()
		// What was carried out is forgotten in time, and bounded before.
		for n := range 2 * mostErrands {
			drop.Errand = fmt.Sprint("y/", n)
			nodes[1].b.mail.carry(t.Context(), s, drop)
		}
		require.Len(t, s.memory.record.Errands, mostErrands)
		time.Sleep(time.Duration(errandLife+1) * time.Millisecond)
		drop.Errand = "z"
		nodes[1].b.mail.carry(t.Context(), s, drop)
		require.Len(t, s.memory.record.Errands, 1)
		synctest.Wait()
	})
}

// A session that a connect has taken up is not taken from there by an errand that found it
// nowhere before.
func TestAnErrandTakesNothingAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		p := nodes[0].join("")
		require.True(t, p.connectAt(nodes[0], 1).ok())
		m, err := bayeux.ParseForwarded([]byte(`{"channel":"/meta/subscribe","subscription":"/open/a"}`))
		require.NoError(t, err)
		m.ClientID, m.Errand = p.id, nodes[1].b.newErrand()
		_, err = nodes[0].b.take(t.Context(), sessionKey(p.id), m)
		require.ErrorIs(t, err, bayeux.ErrLate, "behind another mount")
		_, err = nodes[1].b.claim(t.Context(), sessionKey(p.id), m)
		require.ErrorIs(t, err, bayeux.ErrLate)
		require.Equal(t, 1, nodes[0].server.Sessions())
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", `,"subscription":"/open/a"`)).ok())
		require.Equal(t, 1, nodes[0].server.Sessions())

		mount := bayeux.NewServer(nodes[0].b, nodes[0].wire)
		nodes[0].server, mount = mount, nodes[0].server
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", `,"subscription":"/open/b"`)).ok())
		nodes[0].server, mount = mount, nodes[0].server
		require.Equal(t, []int{1, 0}, []int{nodes[0].server.Sessions(), mount.Sessions()})
		require.True(t, p.publish("/open/b", "1", "").ok())
		require.Equal(t, on("/open/b", 1), p.pollAround(nodes[:1]))
		require.NoError(t, mount.Shutdown(t.Context()))
	})
}

// A catch-up that was undone, since its subscribe could not be kept, is not in the records
// that follow: taken over just then, it would come though it was refused, or twice.
func TestAnUndoneCatchupIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		nodes[0].say("gala", "chat", 1, 2)
		p := nodes[0].join("")
		require.True(t, p.connectAt(nodes[0], 1).ok())
		refused := false
		nodes[0].link().hook.Store(&fault{lost: func(table, _ string) bool {
			first := table == tableSession && !refused
			refused = refused || first
			return first
		}})
		require.False(t, p.subscribe(live+"/catchup/1h").ok())
		nodes[0].link().hook.Store(nil)
		require.True(t, p.subscribe("/open/a").ok()) // which writes the record again
		s, _ := nodes[0].b.subscriberOf(sessionKey(p.id))
		r, _, err := nodes[0].b.loadSession(t.Context(), s.key)
		require.NoError(t, err)
		require.Empty(t, r.Unread)
		nodes[0].die()
		nodes[0].run()
		require.Empty(t, p.pollAround(nodes[1:]))
	})
}

// A copy of an unsubscribe that comes when its client has subscribed again undoes nothing,
// on whatever node; another unsubscribe does, also of a client that uses its ids again.
func TestALateUnsubscribe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		p := nodes[0].join("")
		what := fmt.Sprintf(`,"subscription":%q`, live)
		say := func(n int, want ...any) {
			t.Helper()
			nodes[0].say("gala", "chat", n)
			require.Equal(t, on(live, want...), p.pollAround(nodes))
		}
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", what)).ok())
		say(1, 1)
		drop := p.message("/meta/unsubscribe", what)
		for _, x := range nodes {
			require.True(t, p.at(x, drop).ok())
		}
		require.Empty(t, p.pollAround(nodes))
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", what)).ok())
		for _, x := range nodes {
			require.True(t, p.at(x, drop).ok())
		}
		say(2, 2)
		require.True(t, p.at(nodes[1], p.message("/meta/unsubscribe", what)).ok())
		nodes[0].say("gala", "chat", 3)
		require.Empty(t, p.pollAround(nodes))

		// One that comes for so long that the first would be forgotten.
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", what)).ok())
		require.Equal(t, on(live, 3), p.pollAround(nodes))
		drop = p.message("/meta/unsubscribe", what)
		for range 3 {
			require.True(t, p.at(nodes[1], drop).ok())
			time.Sleep(time.Duration(errandLife) * time.Millisecond * 2 / 3)
			p.pollAround(nodes)
		}
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", what)).ok())
		require.True(t, p.at(nodes[2], drop).ok())
		say(5, 5)
		require.True(t, p.at(nodes[1], p.message("/meta/unsubscribe", what)).ok())

		same := func(channel string) string {
			return fmt.Sprintf(`{"channel":%q,"clientId":%q,"id":"one"%s}`, channel, p.id, what)
		}
		require.True(t, p.at(nodes[1], same("/meta/subscribe")).ok())
		p.pollAround(nodes)
		for range 3 {
			require.True(t, p.at(nodes[1], same("/meta/unsubscribe")).ok())
			nodes[0].say("gala", "chat", 4)
			require.Empty(t, p.pollAround(nodes))
			require.True(t, p.at(nodes[2], same("/meta/subscribe")).ok())
			require.NotEmpty(t, p.pollAround(nodes))
		}
	})
}
