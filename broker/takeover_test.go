package broker

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestEveryRequestToAnotherNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		root := nodes[0].root("gala", channels.ClassView)
		for i := range 3 {
			nodes[i].say("gala", "chat", i+1)
		}
		p := nodes[0].join("")
		wild := nodes[1].join("")
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, root+"/chat/catchup/1h", root+"/chat"))).ok())
		require.True(t, wild.at(nodes[2], wild.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, root+"/**"))).ok())
		require.Equal(t, on(root+"/chat/catchup/1h", 1, 2, 3), p.pollAround(nodes))
		for round := range 20 {
			var want []any
			for i := range 5 {
				n := 100*round + i
				nodes[(round+i)%3].say("gala", "chat", n)
				want = append(want, n)
			}
			require.Equal(t, on(root+"/chat", want...), p.pollAround(nodes))
			require.Equal(t, on(root+"/chat", want...), wild.pollAround(nodes))
			if round%5 == 0 {
				time.Sleep(20 * time.Second)
			}
		}
	})
}

func TestForwarded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		here, there := nodes[0], nodes[1]
		p := here.join("")
		require.True(t, p.connectAt(here, 1).ok())
		r := p.at(there, p.message("/meta/subscribe", `,"subscription":"/open/a"`))
		require.True(t, r.ok(), r.Error)
		require.Equal(t, 1, here.server.Sessions(), "it stays where it is")
		require.Zero(t, there.server.Sessions())

		r = p.at(there, p.message("/meta/subscribe", `,"subscription":"/closed/a"`))
		require.Equal(t, "403:/closed/a:Forbidden channel", r.Error, "refusals come back word for word")
		r = p.at(there, p.message("/open/a", `,"data":1`))
		require.True(t, r.ok(), r.Error)
		require.Equal(t, on("/open/a", 1), p.poll())
		require.True(t, p.at(there, p.message("/meta/unsubscribe", `,"subscription":"/open/a"`)).ok())
		require.True(t, p.at(there, p.message("/open/a", `,"data":2`)).ok())
		require.Empty(t, p.poll())
		require.True(t, p.at(there, p.message("/meta/disconnect", "")).ok())
		synctest.Wait()
		require.Zero(t, here.server.Sessions())
		r = p.connectAt(there, 1)
		require.Contains(t, r.Error, "401:", "nobody knows it any more")
		require.Equal(t, "handshake", r.Advice["reconnect"])
	})
}

func TestPublishTwiceByTwoNodes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		p, q := nodes[0].join(""), nodes[1].join("")
		require.True(t, q.subscribe("/open/a").ok())
		message := p.message("/open/a", `,"data":"once"`)
		first := p.at(nodes[0], message)
		require.True(t, first.ok(), first.Error)
		again := p.at(nodes[1], message)
		require.True(t, again.ok(), again.Error)
		require.Equal(t, first.Ext.History.ID, again.Ext.History.ID)
		require.Equal(t, on("/open/a", `"once"`), q.poll())

		// A session is needed on /mute; the one of the other node counts.
		require.True(t, p.at(nodes[1], p.message("/mute/a", `,"data":1`)).ok())
		stranger := &peer{x: nodes[1], id: "abcdefghijklmnopqrstuvwxyz012345"}
		require.Contains(t, stranger.at(nodes[1], stranger.message("/mute/a", `,"data":1`)).Error, "401:")
	})
}

func TestNodeDies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		root := nodes[1].root("gala", channels.ClassView)
		live := root + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		nodes[1].say("gala", "chat", numbers(1, 5)...)
		before := p.poll()
		time.Sleep(30 * time.Second)
		require.Empty(t, p.poll())
		nodes[1].say("gala", "chat", numbers(6, 8)...)
		time.Sleep(2 * time.Second)
		nodes[0].die()
		nodes[0].run() // for the clean-up; it is another node now
		nodes[1].say("gala", "chat", numbers(9, 10)...)
		// Whoever asks before the lease is over waits for an answer that does not come.
		got := p.pollAround(nodes[1:])
		require.Equal(t, on(live, numbers(6, 10)...), got[len(got)-5:])
		repeatsOnly(t, before, got, on(live, numbers(1, 10)...))
	})
}

// A session that is never long on one node, and always has something under way: the loss of
// one brings no more again than that of any other (decided.md 18).
func TestNodeDiesUnderASessionThatMoves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		root := nodes[0].root("gala", channels.ClassView)
		named, wild := nodes[0].join(""), nodes[0].join("")
		require.True(t, named.subscribe(root+"/chat").ok())
		require.True(t, wild.subscribe(root+"/**").ok())
		const rounds = 300
		for n := range rounds {
			nodes[1].say("gala", "chat", n)
			for _, p := range []*peer{named, wild} {
				require.True(t, p.connectAt(nodes[n%3], 1).ok())
			}
			time.Sleep(200 * time.Millisecond)
		}
		last := (rounds - 1) % 3
		nodes[last].die()
		nodes[last].run() // for the clean-up; it is another node now
		nodes[(last+1)%3].say("gala", "chat", numbers(rounds, rounds+5)...)
		others := []*bench{nodes[(last+1)%3], nodes[(last+2)%3]}
		for _, p := range []*peer{named, wild} {
			p.inbox = nil
			got := p.pollAround(others)
			first := rounds + 6 - len(got)
			require.Equal(t, on(root+"/chat", numbers(first, rounds+5)...), got)
			require.Less(t, first, rounds, "what was under way comes again")
			require.Greater(t, first, rounds-100, "and nothing from long ago")
		}
	})
}

func TestStoppedNodeLeavesExactly(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		root := nodes[1].root("gala", channels.ClassView)
		live := root + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		nodes[1].say("gala", "chat", numbers(1, 5)...)
		require.Equal(t, on(live, numbers(1, 5)...), p.poll())
		nodes[1].say("gala", "chat", numbers(6, 8)...)
		nodes[0].stop()
		nodes[1].say("gala", "chat", 9)
		require.Equal(t, on(live, numbers(6, 9)...), p.pollAround(nodes[1:]))
		nodes[0].run()
	})
}

func TestManyConnectsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		p := nodes[0].join("")
		require.True(t, p.subscribe("/open/a").ok())
		for round := range 10 {
			var wg sync.WaitGroup
			for i, x := range nodes {
				q := &peer{x: x, id: p.id, n: 1000*round + 10*i}
				wg.Go(func() { q.connectAt(x, 20) })
			}
			wg.Wait()
			synctest.Wait()
			held := 0
			for _, x := range nodes {
				held += x.server.Sessions()
			}
			require.Equal(t, 1, held, "one node has it")
		}
	})
}

func TestNoticesReachAllNodes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		x := nodes[0]
		root := x.root("gala", channels.ClassView)
		token, err := SignToken(*x.app, map[string]any{"role": "viewer", "channel_id": "gala", "jti": "t1"}, time.Hour, time.Now())
		require.NoError(t, err)
		ext := fmt.Sprintf(`{"token":%q}`, token)
		var listeners, holders []*peer
		for _, n := range nodes {
			p := n.join("")
			require.True(t, p.subscribe(root+"/chat").ok())
			listeners = append(listeners, p)
			holders = append(holders, n.join(ext))
		}
		require.NoError(t, x.b.Revoke(t.Context(), x.app, "t1", time.Time{}))
		_, err = x.b.objects.reset(t.Context(), x.app, "gala", 0)
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		for i, n := range nodes {
			require.Zero(t, n.server.Sessions())
			require.Contains(t, holders[i].connectAt(n, 1).Error, "401:")
			require.Contains(t, listeners[i].connectAt(n, 1).Error, "401:")
			r := n.post(nil, `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":`+ext+`}`)
			require.Equal(t, "403:token:Invalid token", r[0].Error)
			p := n.join("")
			require.Contains(t, p.subscribe(root+"/chat").Error, "403:")
		}
		require.Error(t, x.b.RetireKey(t.Context(), 0), "the key that signs stays")
	})
}

// A token stays revoked over a restart, whatever end of it is named: also one that no
// date can say.
func TestRevokedOverRestart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		for i, until := range []time.Time{{}, time.Now().Add(time.Hour), time.Unix(253402300800, 0), time.Unix(1<<40, 0)} {
			jti := fmt.Sprint("t", i)
			token, err := SignToken(*x.app, map[string]any{"role": "viewer", "channel_id": "gala", "jti": jti}, time.Hour, time.Now())
			require.NoError(t, err)
			_, err = x.b.Service().Authorize("Bearer " + token)
			require.NoError(t, err)
			require.NoError(t, x.b.Revoke(t.Context(), x.app, jti, until))
			_, err = x.b.Service().Authorize("Bearer " + token)
			require.ErrorContains(t, err, "revoked")
			x.restart(false)
			_, err = x.b.Service().Authorize("Bearer " + token)
			require.ErrorContains(t, err, "revoked", until)
		}
		rows, err := x.store.List(t.Context(), tableRevoked, "", "", 10)
		require.NoError(t, err)
		require.Len(t, rows, 4)
		for _, row := range rows {
			require.Less(t, time.Until(row.Expires), 25*time.Hour, "nothing is kept for longer than a token can live")
		}
	})
}

func TestRetiredKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		old := []byte("an old secret of 32 bytes, or so.")
		keys := []channels.RootKey{{KID: 0, Secret: old}, {KID: 1, Secret: []byte("a new secret of 32 bytes, or more."), Sign: true}}
		ring, err := channels.NewKeyring(make([]byte, 32), keys, nil)
		require.NoError(t, err)
		before, err := channels.NewKeyring(make([]byte, 32), []channels.RootKey{{KID: 0, Secret: old, Sign: true}}, nil)
		require.NoError(t, err)
		nodes := newFleetWith(t, 2, func(o *Options, _ *bayeux.Options) { o.Keyring = ring })
		o, err := nodes[0].b.objects.ensure(t.Context(), nodes[0].app, "gala")
		require.NoError(t, err)
		root := "/" + before.Root(o.OID, channels.ClassView, time.Now())
		fresh := "/" + ring.Root(o.OID, channels.ClassView, time.Now())
		p, q := nodes[1].join(""), nodes[1].join("")
		require.True(t, p.subscribe(root+"/chat").ok())
		require.True(t, q.subscribe(fresh+"/chat").ok())
		require.NoError(t, nodes[0].b.RetireKey(t.Context(), 0))
		time.Sleep(time.Second)
		synctest.Wait()
		require.Contains(t, p.connectAt(nodes[1], 1).Error, "401:")
		require.True(t, q.connectAt(nodes[1], 1).ok(), "others are not touched")
		require.Contains(t, nodes[1].join("").subscribe(root+"/chat").Error, "403:")
		// A node that starts later knows it, too.
		nodes[1].stop()
		nodes[1].run()
		synctest.Wait()
		require.Contains(t, nodes[1].join("").subscribe(root+"/chat").Error, "403:")
	})
}

func TestCutOffNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		nodes[1].say("gala", "chat", 1)
		before := p.poll()
		link := nodes[0].options.Store.(*sharedStore)
		link.away.Store(true)
		time.Sleep(2900 * time.Millisecond)
		require.Error(t, nodes[0].b.Health(t.Context()))
		require.ErrorContains(t, nodes[0].b.nodes.healthy(), "cut off")
		nodes[1].say("gala", "chat", 2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Zero(t, nodes[0].server.Sessions(), "its clients were sent elsewhere")
		r := p.connectAt(nodes[0], 1)
		require.Equal(t, "503::Service unavailable", r.Error)
		got := p.pollAround(nodes[1:])
		link.away.Store(false)
		time.Sleep(3 * time.Second)
		require.NoError(t, nodes[0].b.Health(t.Context()))
		nodes[1].say("gala", "chat", 3)
		got = append(got, p.pollAround(nodes)...)
		repeatsOnly(t, before, got, on(live, 1, 2, 3))
	})
}

func TestLetterOfAnother(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		for _, data := range []string{"", "{", `{"kind":"release","from":"x","key":"nobody"}`, `{"kind":"carry","from":"x"}`, `{"kind":"done","call":7}`} {
			x.b.mail.open(t.Context(), []byte(data))
		}
		synctest.Wait()
		entries, err := x.store.Read(t.Context(), mailbox("x"), store.Range{Limits: mailLimits}, 10, 1<<20)
		require.NoError(t, err)
		require.Empty(t, entries.Entries, "letters without a time, or from long ago, are not answered")
		late, err := json.Marshal(letter{Kind: letterRelease, From: "x", Key: "nobody", Sent: x.store.Now().UnixMilli()})
		require.NoError(t, err)
		x.b.mail.open(t.Context(), late)
		synctest.Wait()
		entries, err = x.store.Read(t.Context(), mailbox("x"), store.Range{Limits: mailLimits}, 10, 1<<20)
		require.NoError(t, err)
		require.Len(t, entries.Entries, 1)
	})
}

// TestThreat41TwoNodesAtOnce: of one publish that comes to two nodes at once, as whoever
// recorded a signed request could have it, one is stored, and both answers name it.
func TestThreat41TwoNodesAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		for i := range 50 {
			pub := Publication{Channel: "/open/twice", Data: fmt.Appendf(nil, "%d", i), Nonce: PublicationNonce(1, "a nonce of a signed request", i)}
			var ids [4]string
			var both sync.WaitGroup
			for at := range ids {
				both.Go(func() {
					x := nodes[at%2]
					done := x.b.PublishAll(t.Context(), x.backend(), []Publication{pub})
					if done[0].Err == nil {
						ids[at] = done[0].ID
					}
				})
			}
			both.Wait()
			require.NotEmpty(t, ids[0])
			for _, id := range ids {
				require.Equal(t, ids[0], id)
			}
		}
		_, page, err := nodes[0].past(nodes[0].backend(), HistoryQuery{Channel: "/open/twice", Limit: 1000})
		require.NoError(t, err)
		require.Len(t, page.Messages, 50)
	})
}
