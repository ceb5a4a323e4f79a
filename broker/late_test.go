package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// connect is a message that can be sent more than once.
func (p *peer) connect(hold int) string {
	return p.message("/meta/connect", fmt.Sprintf(`,"connectionType":"long-polling","advice":{"timeout":%d}`, hold))
}

// A connect that its client gave up, and that reaches another node when newer ones have
// come, neither moves the session nor takes anything from it.
func TestALateConnectElsewhere(t *testing.T) {
	for _, nowhere := range []bool{false, true} {
		t.Run(fmt.Sprint("lives nowhere: ", nowhere), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleet(t, 3)
				p := nodes[0].join("")
				require.True(t, p.subscribe("/open/a").ok())
				old := p.connect(1)
				require.True(t, p.at(nodes[0], old).ok())
				require.True(t, p.connectAt(nodes[1], 1).ok())
				require.True(t, p.publish("/open/a", "1", "").ok())
				synctest.Wait()
				require.True(t, p.connectAt(nodes[1], 1).ok())
				require.Len(t, p.inbox, 1)
				if nowhere {
					s, _ := nodes[1].b.subscriberOf(sessionKey(p.id))
					_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
					require.NoError(t, err)
				}
				for range 2 {
					r := p.at(nodes[2], old)
					require.True(t, r.ok(), r.Error)
				}
				require.Len(t, p.inbox, 1, "what is under way did not come again, nor seems it to have arrived")
				require.Zero(t, nodes[2].server.Sessions())
				require.Equal(t, int64(2), nodes[2].server.Stats().Late)
				p.inbox = nil
				require.True(t, p.publish("/open/a", "2", "").ok())
				require.Equal(t, on("/open/a", 2), p.pollAround(nodes))

				// It is not kept from the session for ever.
				for range 5 {
					require.True(t, p.connectAt(nodes[2], 1).ok())
				}
				p.n = 0
				for range 5 {
					require.True(t, p.connectAt(nodes[0], 1).ok())
				}
				require.Equal(t, 1, nodes[0].server.Sessions())
				time.Sleep(time.Second)
			})
		})
	}
}

// A subscribe that takes a session over, as nobody who has it answers, does not tell
// whether what was sent before has arrived. The next connect does, there or elsewhere:
// live, by a wildcard, by a catch-up, and where it was unsubscribed meanwhile.
func TestASubscribeThatTakesOver(t *testing.T) {
	for _, again := range []bool{false, true} {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("again: %v, elsewhere: %v", again, elsewhere), func(t *testing.T) {
				inBubble(t, func(t *testing.T) { subscribeTakesOver(t, again, elsewhere) })
			})
		}
	}
}

func subscribeTakesOver(t *testing.T, again, elsewhere bool) {
	nodes := newFleet(t, 3)
	root := nodes[0].root("gala", channels.ClassView)
	nodes[0].say("gala", "chat", 1, 2)
	time.Sleep(10 * time.Millisecond)
	p, drops, wild := nodes[0].join(""), nodes[0].join(""), nodes[0].join("")
	require.True(t, p.subscribe(root+"/chat", root+"/chat/catchup/1h").ok())
	require.True(t, drops.subscribe(root+"/chat", root+"/chat/catchup/1h").ok())
	require.True(t, wild.subscribe(root+"/**").ok())
	for name, who := range map[string]*peer{"live": p, "drops": drops, "wild": wild} {
		nodes[0].say("gala", "chat", 3)
		nodes[0].say("gala", "comments", 4)
		last := who.connect(10)
		require.True(t, who.at(nodes[0], last).ok())
		nodes[0].say("gala", "chat", 5)
		sent := textsOf(who)
		require.Greater(t, len(sent), 1)
		if who == drops {
			require.True(t, who.at(nodes[0], who.message("/meta/unsubscribe", fmt.Sprintf(`,"subscription":%q`, root+"/chat"))).ok())
		}
		s, _ := nodes[0].b.subscriberOf(sessionKey(who.id))
		_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
		require.NoError(t, err)
		require.True(t, who.at(nodes[1], who.message("/meta/subscribe", `,"subscription":"/open/a"`)).ok())
		require.Equal(t, 1, nodes[1].server.Sessions(), "it lives there now")
		next := nodes[1]
		if elsewhere {
			next = nodes[2]
		}
		if !again {
			last = who.connect(10)
		}
		require.True(t, who.at(next, last).ok())
		want := []string{root + "/chat 5"}
		if again {
			want = append(slices.Clone(sent), want...)
		}
		if who == drops {
			want = want[:len(want)-1] // it has gone
			require.True(t, who.at(next, who.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, root+"/chat"))).ok())
			require.True(t, who.connectAt(next, 10).ok())
			want = append(want, root+"/chat 5") // and comes with this
		}
		got := append(textsOf(who), who.pollAround(nodes)...)
		slices.Sort(got)
		slices.Sort(want)
		require.Equal(t, want, got, name)
		require.True(t, who.at(nodes[1], who.message("/meta/disconnect", "")).ok())
	}
}
