package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// A wildcard that comes to a node that is behind where its session stood brings nothing
// again when the node catches up, nor elsewhere if the session goes on before that.
func TestAWildcardLandsOnANodeBehind(t *testing.T) {
	for _, then := range []string{"it stays", "it goes on", "it lives there by a subscribe"} {
		t.Run(then, func(t *testing.T) {
			inBubble(t, func(t *testing.T) { wildcardLandsBehind(t, then) })
		})
	}
}

func wildcardLandsBehind(t *testing.T, then string) {
	nodes := newFleet(t, 3)
	root := nodes[0].root("gala", channels.ClassView)
	live := root + "/chat"
	p, other := nodes[0].join(""), nodes[1].join("")
	require.True(t, p.subscribe(root+"/*").ok())
	require.True(t, other.at(nodes[1], other.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
	nodes[0].say("gala", "chat", 1)
	time.Sleep(time.Second)
	tp := theTopic(t, nodes[1], "chat")
	tp.mu.Lock()
	behind := tp.last
	tp.mu.Unlock()
	nodes[0].say("gala", "chat", 2, 3)
	require.Equal(t, on(live, 1, 2, 3), p.poll())
	time.Sleep(3 * time.Second) // node 0 knows that it has handed on everything
	tp.mu.Lock()
	tp.last = behind // as if its feed had lost the second and third
	tp.mu.Unlock()
	if then == "it lives there by a subscribe" {
		s, _ := nodes[0].b.subscriberOf(sessionKey(p.id))
		_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
		require.NoError(t, err)
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", `,"subscription":"/open/a"`)).ok())
	} else {
		require.True(t, p.connectAt(nodes[1], 1).ok())
	}
	require.Equal(t, 1, nodes[1].server.Sessions()-1)
	if then == "it goes on" {
		require.True(t, p.connectAt(nodes[2], 1).ok())
	}
	tp.shard.missed(tp)
	time.Sleep(100 * time.Millisecond)
	require.Empty(t, append(textsOf(p), p.pollAround(nodes)...))
	nodes[0].say("gala", "chat", 4)
	nodes[0].say("gala", "comments", 5)
	got := p.pollAround(nodes)
	require.Len(t, got, 2)
	require.Contains(t, got, live+" 4")
	require.Contains(t, got, root+"/comments 5")
	// What came before is not said again by a catch-up's end either.
	require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
	nodes[2].say("gala", "chat", 6)
	require.Equal(t, on(live, 6), p.pollAround(nodes))
}
