package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
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
			for range mostUnanswered {
				nodes[1].b.nodes.mute(t.Context(), nodes[0].b.nodes.id, time.Now())
			}
			alive, err := nodes[1].b.nodes.alive(t.Context(), nodes[0].b.nodes.id)
			require.NoError(t, err)
			require.False(t, alive)
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

// A node that says each second that it lives, but is slow to answer letters, is asked
// again before it is taken for dead: sessions that are taken from it get again what they
// had. One that says nothing is not waited for.
func TestASlowNodeIsAskedAgain(t *testing.T) {
	f := func(unanswered int, beats bool, want []any) {
		t.Helper()
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			live := nodes[0].root("gala", channels.ClassView) + "/chat"
			p := nodes[0].join("")
			require.True(t, p.subscribe(live).ok())
			nodes[1].say("gala", "chat", numbers(1, 3)...)
			require.Len(t, p.pollAround(nodes[:1]), 3)
			link, lost := nodes[0].link(), 0
			link.hook.Store(&fault{mute: func(log store.LogName) bool {
				if log != mailbox(nodes[1].b.nodes.id) {
					return false
				}
				lost++
				return lost <= unanswered
			}})
			if !beats {
				link.away.Store(true)
				time.Sleep(beatEvery)
			}
			r := p.connectAt(nodes[1], 1)
			for !r.ok() {
				require.Equal(t, "503::Service unavailable", r.Error)
				r = p.connectAt(nodes[1], 1)
			}
			require.Equal(t, 1, nodes[1].server.Sessions())
			require.Equal(t, on(live, want...), append(textsOf(p), p.pollAround(nodes[1:])...))
			link.hook.Store(nil)
			link.away.Store(false)
		})
	}
	f(1, true, nil)
	f(mostUnanswered-1, true, nil)
	f(0, false, numbers(1, 3)) // as after a crash
}

// A node that answers nobody for a second, just when many of its sessions go elsewhere, is
// asked again for each of them.
func TestASlowNodeIsAskedAgainByMany(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		var all []*peer
		for range 2 * mostUnanswered {
			p := nodes[0].join("")
			require.True(t, p.subscribe(live).ok())
			all = append(all, p)
		}
		nodes[1].say("gala", "chat", numbers(1, 3)...)
		for _, p := range all {
			require.Len(t, p.pollAround(nodes[:1]), 3)
		}
		var lost atomic.Int64
		nodes[1].link().hook.Store(&fault{drop: func(log store.LogName) bool {
			return log == mailbox(nodes[0].b.nodes.id) && lost.Add(1) <= int64(len(all))
		}})
		defer nodes[1].link().hook.Store(nil)
		var wg sync.WaitGroup
		for _, p := range all {
			wg.Go(func() { p.connectAt(nodes[1], 1) })
		}
		wg.Wait()
		require.Equal(t, len(all), nodes[1].server.Sessions())
		for _, p := range all {
			require.Empty(t, append(textsOf(p), p.pollAround(nodes[1:])...))
		}
	})
}

// A node that does not come to read its mail, while others take it for dead, looks at the
// record before it serves a session that they may have taken: what it has handed out would
// come again from them.
func TestADeafNodeServesNothingThatWasTaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		require.True(t, p.connectAt(nodes[0], 1).ok())
		stop := deafen(nodes[0])
		defer stop()
		for range mostUnanswered {
			nodes[1].b.nodes.mute(t.Context(), nodes[0].b.nodes.id, time.Now())
		}
		require.True(t, p.connectAt(nodes[1], 1).ok())
		require.Equal(t, 1, nodes[0].server.Sessions(), "it does not know")
		nodes[1].say("gala", "chat", 1)
		p.connectAt(nodes[0], 1)
		require.Empty(t, textsOf(p))
		require.Equal(t, on(live, 1), p.pollAround(nodes[1:]))
	})
}

// deafen keeps a node from its mail until what it returns is called.
func deafen(x *bench) (stop func()) {
	x.link().hook.Store(&fault{deaf: func(log store.LogName) bool { return log == mailbox(x.b.nodes.id) }})
	time.Sleep(answerIn)
	return func() { x.link().hook.Store(nil) }
}

// Nor does it take others for dead that have answered it.
func TestADeafNodeTakesNobodyForDead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		var all []*peer
		for range mostUnanswered + 1 {
			p := nodes[0].join("")
			require.True(t, p.subscribe(live).ok())
			all = append(all, p)
		}
		nodes[1].say("gala", "chat", 1)
		for _, p := range all {
			require.Equal(t, on(live, 1), p.pollAround(nodes[:1]))
		}
		stop := deafen(nodes[1])
		for _, p := range all {
			for !p.connectAt(nodes[1], 1).ok() {
			}
			require.Empty(t, textsOf(p))
		}
		stop()
		require.Equal(t, len(all), nodes[1].server.Sessions())
	})
}

// A mailbox that the store has set back is read again from its beginning; what it asks
// for was done.
func TestMailboxReadAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		nodes[0].say("gala", "chat", 1, 2)
		p := nodes[0].join("")
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live+"/catchup/1h"))).ok())
		require.Equal(t, on(live+"/catchup/1h", 1, 2), p.pollAround(nodes[:1]))
		page, err := nodes[0].store.Read(t.Context(), mailbox(nodes[0].b.nodes.id), store.Range{Limits: mailLimits}, 10, 1<<20)
		require.NoError(t, err)
		require.Len(t, page.Entries, 1)
		for range 3 {
			nodes[0].b.mail.open(t.Context(), page.Entries[0].Data)
			synctest.Wait()
			time.Sleep(letterLife / 2)
		}
		require.Empty(t, p.pollAround(nodes[:1]))
	})
}

// What is remembered of letters is bounded, and the newest are known.
func TestLettersRemembered(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMail(nil)
		for n := range uint64(3 * takenMost) {
			require.False(t, m.again(&letter{From: "a", Call: n + 1}))
		}
		require.LessOrEqual(t, len(m.taken)+len(m.before), 2*takenMost)
		require.True(t, m.again(&letter{From: "a", Call: 3 * takenMost}))
		require.True(t, m.again(&letter{From: "a", Call: 2*takenMost + 10}))
		require.False(t, m.again(&letter{From: "b", Call: 3 * takenMost}))
		require.False(t, m.again(&letter{From: "a"}))
		require.False(t, m.again(&letter{From: "a"}), "it wants no answer")
	})
}
