package broker

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// TestCatchupsMove asks for one catch-up several times and goes on at other nodes in the
// midst of them: each comes whole and once.
func TestCatchupsMove(t *testing.T) {
	for seed := range seeds(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 2))
				nodes := newFleetWith(t, 3, func(_ *Options, bo *bayeux.Options) {
					bo.Limits.QueueMessages = 4 + rng.IntN(12)
				})
				live := nodes[0].root("gala", channels.ClassView) + "/chat"
				var want []string
				for n := range 40 {
					nodes[0].say("gala", "chat", n)
					want = append(want, fmt.Sprint(n))
				}
				time.Sleep(time.Second)
				span := "1h"
				if seed%2 == 1 {
					span, want = "25n", want[15:]
				}
				p := nodes[0].join("")
				require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
				for range 3 {
					require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live+"/catchup/"+span))).ok())
					for range rng.IntN(5) {
						require.True(t, p.connectAt(nodes[rng.IntN(3)], 1+rng.IntN(20)).ok())
					}
				}
				require.Equal(t, slices.Repeat(want, 3), dataOf(p.pollAround(nodes)))
			})
		})
	}
}

// TestSpeaksWhileItLands lets a quiet channel speak while a session comes that hears it by
// its name and by a wildcard: the wildcard has brought that by then, and the name does not
// bring it again.
func TestSpeaksWhileItLands(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		root := nodes[0].root("gala", channels.ClassView)
		nodes[0].say("gala", "chat", 1)
		time.Sleep(time.Second)
		p := nodes[0].join("")
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":["%s/**","%s/chat"]`, root, root))).ok())
		nodes[0].say("gala", "chat", 2)
		require.Equal(t, []string{root + "/chat 2"}, p.pollAround(nodes[:1]))
		time.Sleep(5 * time.Second) // all of it is before where the session stands
		require.True(t, p.connectAt(nodes[0], 1).ok())
		spoke := false
		nodes[1].options.Store.(*sharedStore).hook.Store(&fault{head: func(log store.LogName) error {
			if log.Path == "/chat" && !spoke {
				spoke = true
				nodes[0].say("gala", "chat", 3)
			}
			return nil
		}})
		require.Equal(t, []string{root + "/chat 3"}, p.pollAround(nodes[1:]))
		require.True(t, spoke)
		nodes[0].say("gala", "chat", 4)
		require.Equal(t, []string{root + "/chat 4"}, p.pollAround(nodes))
	})
}

// TestCountsOutlivesItsNode: that a client numbers its connects is known after the loss of
// the node where it was learned, too.
func TestCountsOutlivesItsNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		root := nodes[0].root("gala", channels.ClassView)
		p := nodes[0].join("")
		require.True(t, p.connectAt(nodes[0], 1).ok())
		require.True(t, p.connectAt(nodes[0], 1).ok())
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":"%s/chat"`, root))).ok())
		nodes[0].die()
		nodes[0].run()
		time.Sleep(leaseTime)
		require.True(t, p.connectAt(nodes[1], 1).ok())
		require.True(t, nodes[1].b.subscribers[sessionKey(p.id)].session.Counts())
	})
}

// TestUnsubscribedMoves gives a channel up and takes it again around a move, while its
// catch-up stands: what was under way comes then, and nothing twice.
func TestUnsubscribedMoves(t *testing.T) {
	for seed := range seeds(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 3))
				nodes := newFleet(t, 3)
				live := nodes[0].root("gala", channels.ClassView) + "/chat"
				p := nodes[0].join("")
				require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, live, live+"/catchup/1h"))).ok())
				var want []string
				var got []string
				take := func() {
					for _, d := range p.inbox {
						got = append(got, string(d.Data))
					}
					p.inbox = nil
				}
				for n := range 30 {
					nodes[rng.IntN(3)].say("gala", "chat", n)
					want = append(want, fmt.Sprint(n))
					switch rng.IntN(4) {
					case 0:
						require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/unsubscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
					case 1:
						require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
					default:
						require.True(t, p.connectAt(nodes[rng.IntN(3)], 1+rng.IntN(20)).ok())
					}
					take()
				}
				require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
				got = append(got, dataOf(p.pollAround(nodes))...)
				require.Equal(t, want, got)
			})
		})
	}
}

// A node that is behind where a session stood, because its feed lost something, brings
// what is due, once, and nothing that the session has had; also when what was due first
// is gone.
func TestLandsOnANodeBehind(t *testing.T) {
	f := func(from store.Position, want ...any) {
		t.Helper()
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			live := nodes[0].root("gala", channels.ClassView) + "/chat"
			p, other := nodes[0].join(""), nodes[1].join("")
			require.True(t, p.subscribe(live).ok())
			require.True(t, other.at(nodes[1], other.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
			nodes[0].say("gala", "chat", 1)
			time.Sleep(time.Second)
			tp := theTopic(t, nodes[1], "chat")
			tp.mu.Lock()
			behind := tp.last
			tp.mu.Unlock()
			nodes[0].say("gala", "chat", 2)
			require.Len(t, p.poll(), 2)
			require.Empty(t, p.poll())
			nodes[0].say("gala", "chat", 3, 4)
			time.Sleep(time.Second)
			s, _ := nodes[0].b.subscriberOf(sessionKey(p.id))
			_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
			require.NoError(t, err)
			r, version, err := nodes[0].b.loadSession(t.Context(), s.key)
			require.NoError(t, err)
			require.Len(t, r.Left.Places, 1)
			if !from.IsZero() {
				r.Left.Places[0].Queued = &from
				data, err := json.Marshal(r)
				require.NoError(t, err)
				_, err = nodes[0].store.Put(t.Context(), tableSession, s.key, store.Put{Data: data, TTL: time.Hour, IfVersion: &version})
				require.NoError(t, err)
			}
			tp.mu.Lock()
			tp.last = behind
			tp.mu.Unlock()
			require.True(t, p.connectAt(nodes[1], 10).ok())
			tp.shard.missed(tp)
			require.True(t, p.connectAt(nodes[1], 2000).ok())
			got := append(textsOf(p), p.pollAround(nodes[1:])...)
			require.Len(t, got, len(want))
			require.Subset(t, got, on(live, want...))
			nodes[0].say("gala", "chat", 5)
			require.Equal(t, on(live, 5), p.pollAround(nodes[1:]))
		})
	}
	f(store.Position{}, 3, 4)
	f(store.NewPosition(1<<47, 1, 1))
}

// textsOf takes what a peer has got.
func textsOf(p *peer) (texts []string) {
	for _, d := range p.inbox {
		texts = append(texts, d.Channel+" "+string(d.Data))
	}
	p.inbox = nil
	return texts
}

// theTopic returns the only topic of that name on a node.
func theTopic(t *testing.T, x *bench, name string) (tp *topic) {
	t.Helper()
	for _, sh := range x.b.hub.shards {
		sh.mu.Lock()
		for _, one := range sh.topics {
			if one.name.String() == "/"+name {
				tp = one
			}
		}
		sh.mu.Unlock()
	}
	require.NotNil(t, tp)
	return tp
}

// dataOf takes the channels from what poll returns.
func dataOf(texts []string) (data []string) {
	for _, text := range texts {
		var channel, d string
		_, _ = fmt.Sscan(text, &channel, &d)
		data = append(data, d)
	}
	return data
}

// seeds returns how many seeds a simulation takes: few, or GOBELIN_SEEDS.
func seeds(few uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("GOBELIN_SEEDS"), 10, 64); err == nil {
		return n
	}
	return few
}

// A live subscription that comes back on a node that is behind goes on where it was.
func TestSubscribedAgainOnANodeBehind(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		p, other := nodes[0].join(""), nodes[1].join("")
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, live, live+"/catchup/1h"))).ok())
		require.True(t, other.at(nodes[1], other.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
		nodes[0].say("gala", "chat", 1)
		time.Sleep(time.Second)
		tp := theTopic(t, nodes[1], "chat")
		tp.mu.Lock()
		behind := tp.last
		tp.mu.Unlock()
		nodes[0].say("gala", "chat", 2, 3)
		require.Equal(t, on(live, 1, 2, 3), p.pollAround(nodes[:1]))
		require.True(t, p.at(nodes[0], p.message("/meta/unsubscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
		time.Sleep(time.Second)
		require.True(t, p.connectAt(nodes[1], 1).ok())
		tp.mu.Lock()
		tp.last = behind
		tp.mu.Unlock()
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
		tp.shard.missed(tp)
		require.True(t, p.connectAt(nodes[1], 2000).ok())
		require.Empty(t, append(textsOf(p), p.pollAround(nodes[1:])...))
		nodes[0].say("gala", "chat", 4)
		require.Equal(t, on(live, 4), p.pollAround(nodes[1:]))
	})
}

// A live subscription that ends before what was under way at a move was read here, and is
// taken again, goes on where the session stood, not where the channel began.
func TestUnsubscribedBeforeItLanded(t *testing.T) {
	for _, queued := range []bool{true, false} {
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			live := nodes[0].root("gala", channels.ClassView) + "/chat"
			p := nodes[0].join("")
			require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, live, live+"/catchup/1h"))).ok())
			nodes[0].say("gala", "chat", 1, 2, 3)
			require.Len(t, p.poll(), 3)
			if queued {
				nodes[0].say("gala", "chat", 4, 5)
			}
			s, _ := nodes[0].b.subscriberOf(sessionKey(p.id))
			_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
			require.NoError(t, err)
			nodes[0].say("gala", "chat", 6)
			for _, what := range []string{"un", ""} {
				require.True(t, p.at(nodes[1], p.message("/meta/"+what+"subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
				require.True(t, p.connectAt(nodes[1], 1).ok())
			}
			require.Equal(t, 1, nodes[1].server.Sessions())
			want := []any{6}
			if queued {
				want = []any{4, 5, 6}
			}
			require.Equal(t, on(live, want...), p.pollAround(nodes))
		})
	}
}

// security.md §5.3, rule 6: what was acknowledged before a live subscription was asked for,
// by name or by a wildcard, does not come by it, though the node has not handed it out yet.
func TestLiveOnANodeBehind(t *testing.T) {
	for _, what := range []string{"/chat", "/*"} {
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			root := nodes[0].root("gala", channels.ClassView)
			live := root + "/chat"
			p, other := nodes[1].join(""), nodes[1].join("")
			require.True(t, other.subscribe(live).ok())
			nodes[0].say("gala", "chat", 1)
			tp := theTopic(t, nodes[1], "chat")
			tp.mu.Lock()
			behind := tp.last
			tp.mu.Unlock()
			nodes[0].say("gala", "chat", 2)
			require.Len(t, other.poll(), 2)
			tp.mu.Lock()
			tp.last = behind // as if its feed had lost the second
			tp.mu.Unlock()
			time.Sleep(10 * time.Millisecond)
			require.True(t, p.subscribe(root+what).ok())
			nodes[0].say("gala", "chat", 3)
			require.Equal(t, on(live, 3), p.poll())
		})
	}
}

// What was queued of a channel when its live subscription ended, and its node then died,
// comes when it is taken again; what a catch-up brings does not come live, too.
func TestUnsubscribedBeforeItsNodeDied(t *testing.T) {
	for _, wasLive := range []bool{true, false} {
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 2)
			live := nodes[0].root("gala", channels.ClassView) + "/chat"
			nodes[1].say("gala", "chat", 1)
			time.Sleep(10 * time.Millisecond)
			p := nodes[0].join("")
			require.True(t, p.subscribe(live+"/catchup/1h").ok())
			require.Equal(t, on(live+"/catchup/1h", 1), p.poll())
			time.Sleep(30 * time.Second)
			require.Empty(t, p.poll())
			want := []string{live + " 5"}
			if wasLive {
				require.True(t, p.subscribe(live).ok())
				nodes[1].say("gala", "chat", 2, 3)
				p.unsubscribe(live)
				nodes[1].say("gala", "chat", 4)
				want = on(live, 2, 3, 4, 5)
			}
			nodes[0].die()
			nodes[0].run() // another node now
			require.True(t, p.connectAt(nodes[1], 1).ok())
			require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
			nodes[1].say("gala", "chat", 5)
			got := append(textsOf(p), p.pollAround(nodes[1:])...)
			require.Equal(t, want, got)
		})
	}
}

// A subscription that comes back, or comes after a catch-up, begins with what was said
// meanwhile, also where its node dies before the client has had any of it.
func TestSubscribedAgainBeforeItsNodeDied(t *testing.T) {
	f := func(name string, first func(p *peer, live string)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleet(t, 2)
				live := nodes[0].root("gala", channels.ClassView) + "/chat"
				nodes[1].say("gala", "chat", 1)
				p := nodes[0].join("")
				first(p, live)
				p.pollAround(nodes[:1])
				for n := range 3 {
					nodes[1].say("gala", "chat", 2+n)
					time.Sleep(fallsBehind - time.Second)
				}
				require.True(t, p.subscribe(live).ok())
				nodes[1].say("gala", "chat", 5)
				time.Sleep(keepsUp)
				nodes[0].die()
				nodes[0].run()
				require.Equal(t, on(live, numbers(2, 5)...), p.pollAround(nodes[1:]))
			})
		})
	}
	f("dropped", func(p *peer, live string) {
		require.True(t, p.subscribe(live).ok())
		p.unsubscribe(live)
	})
	f("a catch-up", func(p *peer, live string) { require.True(t, p.subscribe(live+"/catchup/1h").ok()) })
}

// What is under way stands before what a flow had not come to: a session that leaves before
// its flow was read for the first time takes both along.
func TestUnderWay(t *testing.T) {
	at := func(n int64) store.Position { return store.NewPosition(n, 1, uint64(n)) }
	p := func(n int64) *store.Position { one := at(n); return &one }
	f := func(name string, r, want placeRecord, sent, queued []int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			for _, n := range sent {
				r.under(at(n), false)
			}
			for _, n := range queued {
				r.under(at(n), true)
			}
			require.Equal(t, want, r)
		})
	}
	f("the first of each", placeRecord{After: at(9)}, placeRecord{After: at(9), Sent: p(3), Queued: p(5)}, []int64{3, 4}, []int64{5, 6})
	f("before a flow", placeRecord{Queued: p(9)}, placeRecord{Queued: p(5)}, nil, []int64{5, 6})
	f("before a flow that was elsewhere", placeRecord{After: at(1), Queued: p(9)}, placeRecord{After: at(1), Sent: p(3), Queued: p(5)}, []int64{3, 4}, []int64{5, 6})
	f("sent before a flow", placeRecord{After: at(1), Queued: p(9)}, placeRecord{After: at(1), Sent: p(3), Queued: p(9)}, []int64{3, 4}, nil)
	f("handed over since", placeRecord{After: at(4)}, placeRecord{After: at(4), Lags: true}, nil, []int64{5, 6})
}
