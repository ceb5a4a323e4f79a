package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// An answer that was lost comes again from another node as it was: what was live before a
// catch-up was asked for before that, what came live since after it, and then the rest.
func TestALostAnswerComesInItsOrder(t *testing.T) {
	const live, past = "", "/catchup/1h"
	f := func(name string, queue int, want string, script ...any) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleetWith(t, 2, func(_ *Options, bo *bayeux.Options) { bo.Limits.QueueMessages = queue })
				chat := nodes[0].root("gala", channels.ClassView) + "/chat"
				p := nodes[0].join("")
				require.True(t, p.connectAt(nodes[0], 0).ok())
				for _, step := range script {
					if suffix, asks := step.(string); asks {
						require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, chat+suffix))).ok())
						continue
					}
					nodes[0].say("gala", "chat", step)
				}
				require.True(t, p.connectAt(nodes[0], 1).ok())
				first := textsOf(p)
				require.NotEmpty(t, first)
				require.True(t, p.connectAt(nodes[1], 0).ok())
				again := textsOf(p)
				require.GreaterOrEqual(t, len(again), len(first))
				require.Equal(t, first, again[:len(first)])
				require.Equal(t, want, fmt.Sprint(dataOf(append(again, p.pollAround(nodes)...))))
			})
		})
	}
	f("a part of the past", 8, "[11 12 1 2 3 4 5 6 7 8 9 10]", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, live, 11, 12, past)
	f("all of the past", 64, "[4 5 1 2 3 6]", 1, 2, 3, live, 4, 5, past, 6)
	f("the past first", 64, "[1 2 3 4 5]", 1, 2, 3, past, live, 4, 5)
	f("two pasts", 64, "[3 1 2 1 2 4 5]", 1, 2, live, 3, past, 4, past, 5)
}

// Of two catch-ups of a channel of which one was over before the other began, what is between
// comes with neither, whether they wait or are under way when their session moves.
func TestCatchupsWithAGapMove(t *testing.T) {
	for _, sent := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			past := nodes[0].root("gala", channels.ClassView) + "/chat/catchup/2s"
			p := nodes[0].join("")
			require.True(t, p.connectAt(nodes[0], 0).ok())
			nodes[0].say("gala", "chat", 1, 2)
			require.True(t, p.subscribe(past).ok())
			nodes[0].say("gala", "chat", 3, 4)
			time.Sleep(4 * time.Second)
			nodes[0].say("gala", "chat", 5, 6)
			require.True(t, p.subscribe(past).ok())
			if sent {
				require.True(t, p.connectAt(nodes[0], 1).ok())
				require.Equal(t, on(past, 1, 2, 5, 6), textsOf(p))
			}
			require.True(t, p.connectAt(nodes[1], 0).ok())
			require.Equal(t, on(past, 1, 2, 5, 6), append(textsOf(p), p.pollAround(nodes)...))
		})
	}
}
