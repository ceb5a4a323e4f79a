package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// The main job: past and present, once each and in order, whatever the order and
// grouping of the two subscriptions (product.md §4, seam; decided.md 7).
func TestLateJoiner(t *testing.T) {
	type way struct {
		name string
		join func(p *peer, x, past string, between func())
	}
	for _, w := range []way{
		{"one list, live first", func(p *peer, x, past string, _ func()) { p.subscribe(x, past) }},
		{"one list, catch-up first", func(p *peer, x, past string, _ func()) { p.subscribe(past, x) }},
		{"one batch, catch-up first", func(p *peer, x, past string, _ func()) {
			p.x.post(p, p.message("/meta/subscribe", `,"subscription":"`+past+`"`), p.message("/meta/subscribe", `,"subscription":"`+x+`"`))
		}},
		{"catch-up first, then live", func(p *peer, x, past string, between func()) {
			p.subscribe(past)
			between()
			p.subscribe(x)
		}},
		{"catch-up first and read, then live", func(p *peer, x, past string, between func()) {
			p.subscribe(past)
			p.inbox = nil
			between()
			p.subscribe(x)
		}},
	} {
		t.Run(w.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, nil)
				root := x.root("gala", channels.ClassView)
				live, past := root+"/chat", root+"/chat/catchup/12h"
				x.say("gala", "chat", numbers(1, 5)...)
				p := x.join("")
				between := 0
				w.join(p, live, past, func() { between = 3; x.say("gala", "chat", numbers(6, 8)...) })
				x.say("gala", "chat", numbers(6+between, 10+between)...)
				want := append(on(past, numbers(1, 5)...), on(live, numbers(6, 10+between)...)...)
				require.Equal(t, want, p.poll())
				x.say("gala", "chat", 99)
				require.Equal(t, on(live, 99), p.poll())
			})
		})
	}
}

// Live first: what came live before the catch-up was asked for stays before it,
// and is not replayed.
func TestLiveThenCatchup(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/1h"
		x.say("gala", "chat", 1, 2)
		p := x.join("")
		require.True(t, p.subscribe(live).ok())
		x.say("gala", "chat", 3)
		r := p.subscribe(past)
		require.Equal(t, 2, r.Ext.Catchup.Messages)
		require.False(t, r.Ext.Catchup.Truncated)
		x.say("gala", "chat", 4)
		require.Equal(t, slices.Concat(on(live, 3), on(past, 1, 2), on(live, 4)), p.poll())
		// A repeat replays again, up to where live began (decided.md 6).
		require.Equal(t, 2, p.subscribe(past).Ext.Catchup.Messages)
		require.Equal(t, on(past, 1, 2), p.poll())
		// A repeated live subscription changes nothing.
		require.True(t, p.subscribe(live).ok())
		x.say("gala", "chat", 5)
		require.Equal(t, on(live, 5), p.poll())
	})
}

func TestCatchupAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		past := root + "/chat/catchup/30m"
		x.say("gala", "chat", "old")
		time.Sleep(31 * time.Minute)
		x.say("gala", "chat", 1, 2)
		p := x.join("")
		require.Equal(t, 2, p.subscribe(past).Ext.Catchup.Messages)
		x.say("gala", "chat", 3)
		require.Equal(t, on(past, 1, 2), p.poll(), "nothing live comes on a catch-up channel")
		require.Equal(t, 3, p.subscribe(past).Ext.Catchup.Messages)
		require.Equal(t, on(past, 1, 2, 3), p.poll())
		p.unsubscribe(past)
		require.Empty(t, p.poll())
	})
}

func TestEnvelope(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		p.subscribe(root + "/chat")
		x.say("gala", "chat", 1)
		r := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))
		require.True(t, r[0].ok())
		live := p.inbox[0]
		require.Equal(t, `"`+live.Ext.History.ID+`"`, string(live.ID))
		require.Len(t, live.Ext.History.ID, 26)
		require.InDelta(t, time.Now().UnixMilli(), live.Ext.History.TS, 5) // a new epoch steps over a ms
		require.False(t, live.Ext.History.Replay)

		late := x.join("")
		late.subscribe(root + "/chat/catchup/1h")
		x.post(late, late.message("/meta/connect", `,"connectionType":"long-polling"`))
		require.Equal(t, live.ID, late.inbox[0].ID, "the id of a message is the same live and replayed")
		require.True(t, late.inbox[0].Ext.History.Replay)
	})
}

// What a publisher sends beyond data stays behind, but for the ext that may pass.
func TestPublisherFields(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		r := p.publish("/open/a", `{"n":12345678901234567890,"e":1e400}`, `{"binary":{"x":1},"trace":"t","history":{"id":"forged"}}`)
		require.True(t, r.ok(), r.Error)
		require.NotEmpty(t, r.Ext.History.ID)
		x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))
		require.Len(t, p.inbox, 1)
		d := p.inbox[0]
		require.Equal(t, `{"n":12345678901234567890,"e":1e400}`, string(d.Data))
		require.Equal(t, r.Ext.History.ID, d.Ext.History.ID)
		require.Equal(t, `{"x":1}`, string(d.Ext.Binary))
		require.Nil(t, d.Ext.Trace)
	})
}

// Every refusal of product.md §4, in its words.
func TestRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		guest, ingest := x.root("gala", channels.ClassGuest), x.root("gala", channels.ClassIngest)
		forged := "/" + strings.Repeat("f", 40)
		altered := view[:40] + map[bool]string{true: "0", false: "1"}[view[40] != '0']
		p := x.join("")
		f := func(name, want string) {
			t.Helper()
			r := p.subscribe(name)
			require.Equal(t, want == "", r.ok(), "%s: %s", name, r.Error)
			require.Equal(t, want, r.Error, name)
		}
		f(view+"/all_json/catchup/12x", "400:"+view+"/all_json/catchup/12x:Invalid catch-up interval")
		f(view+"/all_json/catchup/0h", "400:"+view+"/all_json/catchup/0h:Invalid catch-up interval")
		f(view+"/all_json/catchup/25h", "413:"+view+"/all_json/catchup/25h,24h:Catch-up interval too long")
		f(view+"/all_json/catchup/9999999h", "413:"+view+"/all_json/catchup/9999999h,24h:Catch-up interval too long")
		f(control+"/events/catchup/1h", "404:"+control+"/events/catchup/1h:Catch-up not supported")
		f(view+"/catchup/1h", "405:"+view+"/catchup/1h:Invalid channel")
		f(view+"/a/catchup", "405:"+view+"/a/catchup:Invalid channel")
		f(view+"/a/catchup/1h/b", "405:"+view+"/a/catchup/1h/b:Invalid channel")
		f(view+"/a/b/c/d", "405:"+view+"/a/b/c/d:Invalid channel")
		f(view+"/"+strings.Repeat("x", 65), "405:"+view+"/"+strings.Repeat("x", 65)+":Invalid channel")
		// One refusal for every root that is not good.
		for _, bad := range []string{forged, altered, "/03" + view[3:]} {
			f(bad+"/all_json", "403:"+bad+"/all_json:Forbidden channel")
			f(bad+"/all_json/catchup/1h", "403:"+bad+"/all_json/catchup/1h:Forbidden channel")
			f(bad+"/all_json/catchup/xx", "403:"+bad+"/all_json/catchup/xx:Forbidden channel")
			f(bad+"/**", "403:"+bad+"/**:Forbidden channel")
		}
		f(view, "403:"+view+":Forbidden channel")
		f(view+"/events", "403:"+view+"/events:Forbidden channel")
		f(view+"/events/catchup/1h", "403:"+view+"/events/catchup/1h:Forbidden channel")
		f(view+"/accumulate/x", "403:"+view+"/accumulate/x:Forbidden channel")
		f(guest+"/chat/catchup/1h", "403:"+guest+"/chat/catchup/1h:Forbidden channel")
		f(ingest+"/chat", "403:"+ingest+"/chat:Forbidden channel")
		f("/elsewhere", "403:/elsewhere:Forbidden channel")
		f("/*", "403:/*:Forbidden channel")
		f("/**", "403:/**:Forbidden channel")
		f("/open/*/x", "405:/open/*/x:Invalid channel")
		f("/mute/a/catchup/1h", "404:/mute/a/catchup/1h:Catch-up not supported")
		f("/open/a/catchup/2h", "413:/open/a/catchup/2h,1h:Catch-up interval too long")
		// and what is granted
		f(view+"/all_json/catchup/24h", "")
		f(view+"/all_json", "")
		f(guest+"/chat", "")
		f(control+"/events", "")
		f(view+"/*", "")
		f("/open/**", "")
		f("/mute/a", "")
	})
}

func TestPublishRights(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control, ingest := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl), x.root("gala", channels.ClassIngest)
		p := x.join("")
		f := func(channel, want string) {
			t.Helper()
			require.Equal(t, want, p.publish(channel, "1", "").Error, channel)
		}
		f(view+"/chat", "403:"+view+"/chat:Forbidden channel")
		f(control+"/chat", "")
		f(ingest+"/chat", "")
		f(ingest+"/events", "403:"+ingest+"/events:Forbidden channel")
		f(control+"/events", "")
		f(control+"/all_json", "403:"+control+"/all_json:Forbidden channel")
		f(control+"/analytics", "403:"+control+"/analytics:Forbidden channel")
		f(control+"/accumulate/x", "403:"+control+"/accumulate/x:Forbidden channel")
		f(control+"/chat/catchup/1h", "403:"+control+"/chat/catchup/1h:Forbidden channel")
		f("/elsewhere", "403:/elsewhere:Forbidden channel")
		f("/open/x", "")
		f("/mute/x", "")
		// without a session: only where anyone may (bayeux-faye.md §14)
		g := func(channel, client, want string) {
			t.Helper()
			r := x.post(nil, fmt.Sprintf(`{"channel":%q,"data":1%s}`, channel, client))
			require.Equal(t, want, r[0].Error)
		}
		g("/open/x", "", "")
		g("/open/x", `,"clientId":"nosuchclient0000000"`, "")
		g("/mute/x", "", "402:clientId:Missing required parameter")
		g(control+"/chat", "", "402:clientId:Missing required parameter")
		g(control+"/chat", `,"clientId":"nosuchclient0000000"`, "401:nosuchclient0000000:Unknown client")
	})
}

func TestTokens(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, other := x.root("gala", channels.ClassView), x.root("other", channels.ClassView)
		token := func(role, object string, signed time.Time) string {
			text, err := SignToken(*x.app, map[string]any{"role": role, "channel_id": object}, time.Hour, signed)
			require.NoError(t, err)
			return `{"token":"` + text + `"}`
		}
		p := x.join(token("broadcaster", "gala", time.Now()))
		require.True(t, p.subscribe(view+"/events").ok(), "the token raises what a view root may")
		require.Empty(t, p.publish(view+"/chat", "1", "").Error)
		require.False(t, p.subscribe(other+"/events").ok(), "only for its own object")
		require.False(t, p.subscribe("/"+strings.Repeat("f", 40)+"/events").ok(), "a token never makes a bad root good")
		// In one message.
		q := x.join("")
		require.False(t, q.subscribe(view+"/events").ok())
		r := x.post(q, q.message("/meta/subscribe", `,"subscription":"`+view+`/events"`+with(token("admin", "", time.Now()))))
		require.True(t, r[0].ok(), r[0].Error)
		require.Empty(t, x.post(nil, `{"channel":"`+view+`/chat","data":1`+with(token("broadcaster", "gala", time.Now()))+`}`)[0].Error)
		// Rights end with the token, a running subscription does not.
		time.Sleep(61 * time.Minute)
		q2 := x.join("")
		require.Equal(t, "403:token:Invalid token", x.post(q2, q2.message(view+"/chat", `,"data":1`+with(token("broadcaster", "gala", time.Now().Add(-2*time.Hour)))))[0].Error)
		// A bad token refuses the handshake for good.
		h := x.post(nil, `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"token":"x.y.z"}}`)
		require.Equal(t, "403:token:Invalid token", h[0].Error)
		require.Equal(t, "none", h[0].Advice["reconnect"])
	})
}

// All roots of an object lead to one history and one fan-out, each under its own
// name (security.md §1.7).
func TestRootsShareAnObject(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		p := x.join("")
		p.subscribe(view+"/chat", control+"/chat")
		q := x.join("")
		require.Empty(t, q.publish(control+"/chat", `"hi"`, "").Error)
		got := p.poll()
		slices.Sort(got)
		want := append(on(view+"/chat", `"hi"`), on(control+"/chat", `"hi"`)...)
		slices.Sort(want)
		require.Equal(t, want, got)
		late := x.join("")
		late.subscribe(view + "/chat/catchup/1h")
		require.Equal(t, on(view+"/chat/catchup/1h", `"hi"`), late.poll(), "the control root is not shown to a viewer")
	})
}

func TestWildcardsUnderRoot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		p, q := x.join(""), x.join("")
		require.True(t, p.subscribe(view+"/**").ok())
		require.True(t, q.subscribe(control+"/**").ok())
		require.True(t, p.subscribe(view+"/chat").ok(), "also by its own name: still one copy")
		x.say("gala", "chat", 1)
		x.say("gala", "events", 2)
		x.say("gala", "a/b", 3)
		x.say("other", "chat", 4)
		require.Equal(t, []string{view + "/chat 1", view + "/a/b 3"}, p.poll(), "only what a viewer may hear")
		require.Equal(t, []string{control + "/chat 1", control + "/events 2", control + "/a/b 3"}, q.poll())
		p.unsubscribe(view + "/**")
		x.say("gala", "a/b", 5)
		x.say("gala", "chat", 6)
		require.Equal(t, on(view+"/chat", 6), p.poll())
	})
}

// A queue that is full lags instead of dropping, and nothing is lost or out of
// order; a channel that keeps nothing drops its oldest (decided.md 13).
func TestLagging(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 8 })
		root := x.root("gala", channels.ClassView)
		p := x.join("")
		p.subscribe(root+"/chat", "/mute/a")
		q := x.join("")
		x.say("gala", "chat", numbers(1, 500)...)
		require.Equal(t, on(root+"/chat", numbers(1, 500)...), p.poll())
		x.say("gala", "chat", 501)
		require.Equal(t, on(root+"/chat", 501), p.poll(), "level with the channel again")
		for n := range 20 {
			require.True(t, q.publish("/mute/a", fmt.Sprint(n), "").ok())
		}
		got := p.poll()
		require.Len(t, got, 8)
		require.Equal(t, "/mute/a 19", got[7])
	})
}

// Another channel is not delayed by a replay, and a replay of many pages is whole.
func TestLongReplay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		x.say("gala", "chat", numbers(1, 3500)...)
		p := x.join("")
		r := p.subscribe(root+"/chat/catchup/1h", root+"/chat", root+"/b")
		require.Equal(t, 3500, r.Ext.Catchup.Messages)
		x.say("gala", "chat", 3501)
		x.say("gala", "b", "now")
		got := p.poll()
		i := slices.Index(got, root+`/b "now"`)
		require.GreaterOrEqual(t, i, 0)
		require.Less(t, i, 3000, "another channel does not wait for the replay")
		got = slices.Delete(got, i, i+1)
		require.Equal(t, append(on(root+"/chat/catchup/1h", numbers(1, 3500)...), on(root+"/chat", 3501)...), got)
	})
}

// A cancelled catch-up stops, and live goes on.
func TestCancelReplay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 16 })
		root := x.root("gala", channels.ClassView)
		x.say("gala", "chat", numbers(1, 300)...)
		p := x.join("")
		p.subscribe(root+"/chat/catchup/1h", root+"/chat")
		x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
		p.unsubscribe(root + "/chat/catchup/1h")
		x.say("gala", "chat", 301)
		got := p.poll()
		require.Less(t, len(got), 200)
		require.Equal(t, root+"/chat 301", got[len(got)-1])
	})
}

// The live subscription dropped and taken again while its catch-up stands has no
// gap (store.md §5.3, last row).
func TestBaseDroppedAndRetaken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/1h"
		x.say("gala", "chat", 1)
		p := x.join("")
		p.subscribe(past, live)
		x.say("gala", "chat", 2)
		require.Equal(t, []string{past + " 1", live + " 2"}, p.poll())
		p.unsubscribe(live)
		x.say("gala", "chat", 3, 4)
		require.Empty(t, p.poll())
		p.subscribe(live)
		x.say("gala", "chat", 5)
		require.Equal(t, on(live, 3, 4, 5), p.poll())
	})
}

// A reset without grace ends those who listen by the old root; the history stays.
func TestReset(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		old := x.root("gala", channels.ClassView)
		p := x.join("")
		p.subscribe(old + "/chat")
		x.say("gala", "chat", 1)
		require.Equal(t, on(old+"/chat", 1), p.poll())
		_, err := x.b.objects.reset(t.Context(), x.app, "gala", 0)
		require.NoError(t, err)
		time.Sleep(time.Second)
		r := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))
		require.Equal(t, "401:"+p.id+":Unknown client", r[0].Error)
		require.Equal(t, "handshake", r[0].Advice["reconnect"])
		q := x.join("")
		require.Equal(t, "403:"+old+"/chat:Forbidden channel", q.subscribe(old+"/chat").Error)
		fresh := x.root("gala", channels.ClassView)
		require.NotEqual(t, old, fresh)
		q.subscribe(fresh + "/chat/catchup/1h")
		require.Equal(t, on(fresh+"/chat/catchup/1h", 1), q.poll())
	})
}

func TestSubscriptionLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Limits.Subscriptions = 3 })
		p := x.join("")
		require.True(t, p.subscribe("/open/a", "/open/b").ok())
		require.Equal(t, "403:3:Too many subscriptions", p.subscribe("/open/c", "/open/d").Error)
		require.True(t, p.subscribe("/open/c").ok())
		p.unsubscribe("/open/a")
		require.True(t, p.subscribe("/open/d").ok(), "what is only remembered makes way")
	})
}

// Everything a session held is given up when it goes.
func TestNothingIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		x.say("gala", "chat", numbers(1, 50)...)
		for range 20 {
			p := x.join("")
			p.subscribe(root+"/chat", root+"/chat/catchup/1h", root+"/**", "/open/*")
			require.True(t, x.post(p, p.message("/meta/disconnect", ""))[0].ok())
		}
		time.Sleep(time.Second)
		x.b.hub.mu.Lock()
		defer x.b.hub.mu.Unlock()
		require.Empty(t, x.b.hub.spaces)
		require.Empty(t, x.b.subscribers)
		for _, s := range x.b.hub.shards {
			require.Empty(t, s.topics)
		}
	})
}

// A hundred joiners at random moments under publishers without pause, by every
// order of subscribing: each message exactly once, in order, none missing.
func TestJoinersUnderLoad(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 64 })
		root := x.root("gala", channels.ClassView)
		live, past := root+"/chat", root+"/chat/catchup/12h"
		said := 0
		talk := func(n int) {
			x.say("gala", "chat", numbers(said+1, said+n)...)
			said += n
		}
		talk(100)
		type joiner struct {
			*peer
			got []string
		}
		var all []*joiner
		for range 100 {
			j := &joiner{peer: x.join("")}
			all = append(all, j)
			switch r.IntN(4) {
			case 0:
				j.subscribe(live, past)
			case 1:
				j.subscribe(past, live)
			case 2:
				j.subscribe(past)
				talk(r.IntN(5))
				j.subscribe(live)
			case 3:
				j.subscribe(live)
				talk(r.IntN(5))
				j.subscribe(past)
			}
			talk(r.IntN(20))
			for range r.IntN(4) {
				k := all[r.IntN(len(all))]
				k.got = append(k.got, k.poll()...)
			}
		}
		for i, j := range all {
			j.got = append(j.got, j.poll()...)
			seen := map[string]int{}
			var order [2][]int
			for _, m := range j.got {
				channel, data, _ := strings.Cut(m, " ")
				seen[data]++
				n := 0
				_, err := fmt.Sscan(data, &n)
				require.NoError(t, err)
				side := 0
				if channel == past {
					side = 1
				}
				order[side] = append(order[side], n)
			}
			require.Len(t, j.got, said, "joiner %d, seed %d", i, seed)
			require.Len(t, seen, said, "joiner %d, seed %d", i, seed)
			require.True(t, slices.IsSorted(order[0]) && slices.IsSorted(order[1]), "joiner %d, seed %d", i, seed)
		}
	})
}

// The longest name that the limits allow works like any other.
func TestLongestChannel(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			all, err := channels.ParsePattern("/**")
			require.NoError(t, err)
			o.Open = []OpenPrefix{{Pattern: all, Publish: "anyone", History: time.Hour}}
		})
		for _, name := range []string{"/" + strings.Repeat("x", 254), "/" + strings.Repeat("x", 253), "/" + strings.Repeat("y", 250) + "/a/b"} {
			p, late := x.join(""), x.join("")
			require.True(t, p.subscribe(name).ok())
			require.True(t, p.publish(name, "1", "").ok())
			require.Equal(t, on(name, 1), p.poll())
			if past := name + "/catchup/1h"; len(past) <= 255 {
				require.True(t, late.subscribe(past).ok())
			}
		}
	})
}
