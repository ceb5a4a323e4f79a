package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// A node that did not answer while the store was away is asked again as soon as it is
// heard: by its next beat, or by a letter. Else each session that comes from it would
// get again what it had, with each move.
func TestSilentNodeHeardAgain(t *testing.T) {
	f := func(hear func(nodes []*bench)) {
		t.Helper()
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			live := nodes[0].root("gala", channels.ClassView) + "/chat"
			p := nodes[0].join("")
			require.True(t, p.subscribe(live).ok())
			nodes[1].say("gala", "chat", numbers(1, 5)...)
			require.Len(t, p.pollAround(nodes[:1]), 5)
			_, err := nodes[1].b.nodes.look(t.Context(), nodes[0].b.nodes.id)
			require.NoError(t, err)
			nodes[1].b.nodes.mute(nodes[0].b.nodes.id)
			hear(nodes)
			synctest.Wait()
			require.Empty(t, p.pollAround(nodes[1:]), "it was let go in order, so nothing comes again")
		})
	}
	f(func([]*bench) { time.Sleep(beatEvery + 100*time.Millisecond) })
	f(func(nodes []*bench) {
		nodes[0].b.mail.tell(nodes[1].b.nodes.id, letter{Kind: letterMoved, Key: "nobody's"})
	})
}
