package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// replay subscribes with ext.replay.
func (p *peer) replay(channel, value string) reply {
	p.x.t.Helper()
	return p.x.post(p, p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q,"ext":{"replay":%s}`, channel, value)))[0]
}

// stamped is the data of a message that came with its replay id.
type stamped struct {
	Event *struct {
		ReplayID    uint64 `json:"replayId"`
		CreatedDate string `json:"createdDate"`
	} `json:"event"`
	N int `json:"n"`
}

// events polls and returns the n of what came, and the replay ids; 0 for one without.
func (p *peer) events() (ns []int, ids []uint64) {
	p.x.t.Helper()
	for _, line := range p.poll() {
		_, data, _ := strings.Cut(line, " ")
		var e stamped
		require.NoError(p.x.t, json.Unmarshal([]byte(data), &e), data)
		ns = append(ns, e.N)
		if e.Event == nil {
			ids = append(ids, 0)
		} else {
			ids = append(ids, e.Event.ReplayID)
		}
	}
	return ns, ids
}

func (x *bench) sayEvents(channel string, from, to int) {
	for n := from; n <= to; n++ {
		x.say("gala", channel, map[string]int{"n": n})
	}
}

func ints(from, to int) (all []int) {
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all
}

// -1 is only what comes, -2 all that is kept and what comes, N everything after N
// (bayeux-cometd.md §3).
func TestReplayIDs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 8 })
		root := x.root("gala", channels.ClassView)
		live := root + "/chat"
		x.sayEvents("chat", 1, 40)

		fresh := x.join("")
		require.True(t, fresh.replay(live, "-1").ok())
		all := x.join("")
		require.True(t, all.replay(live, "-2").ok())
		x.sayEvents("chat", 41, 45)
		ns, _ := fresh.events()
		require.Equal(t, ints(41, 45), ns)
		ns, ids := all.events()
		require.Equal(t, ints(1, 45), ns)
		for i, id := range ids {
			require.Equal(t, ids[0]+uint64(i), id, "dense, and rising")
			require.Less(t, id, uint64(1)<<53)
		}
		require.NotZero(t, ids[0])

		for _, n := range []int{1, 20, 44, 45} {
			for _, value := range []string{
				fmt.Sprintf(`{%q:%d}`, live, ids[n-1]),
				fmt.Sprintf(`{%q:"%d","/other":"x"}`, live, ids[n-1]),
				fmt.Sprint(ids[n-1]), fmt.Sprintf(`"%d"`, ids[n-1]),
			} {
				p := x.join("")
				r := p.replay(live, value)
				require.True(t, r.ok(), r.Error)
				ns, got := p.events()
				require.Equal(t, ints(n+1, 45), ns, value)
				require.Equal(t, ids[n:], append([]uint64{}, got...))
			}
		}
		// Who names others wants only what comes; so does who only says that it can.
		var quiet []*peer
		for _, value := range []string{`{"/other":-2}`, `{}`, `true`, `{"/open/x":5}`} {
			p := x.join("")
			require.True(t, p.replay(live, value).ok(), value)
			quiet = append(quiet, p)
		}
		plain := x.join("")
		require.True(t, plain.replay(live, `false`).ok())
		x.sayEvents("chat", 46, 46)
		for _, p := range quiet {
			ns, got := p.events()
			require.Equal(t, []int{46}, ns)
			require.Equal(t, []uint64{ids[44] + 1}, got)
		}
		_, got := plain.events()
		require.Equal(t, []uint64{0}, got, "without ext.replay untouched")
	})
}

// The data of a message has its event first, only where the subscription was made with
// ext.replay and only in objects without one; the bytes of others are as published.
func TestReplayForm(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		live := root + "/chat"
		plain, numbered, wild := x.join(""), x.join(""), x.join("")
		require.True(t, plain.subscribe(live).ok())
		require.True(t, numbered.replay(live, "-1").ok())
		require.True(t, wild.subscribe(root+"/**").ok())
		require.True(t, wild.replay(live, "-1").ok())
		other := x.join("")
		require.True(t, other.replay(live, "-1").ok())
		texts := []string{`{"n":1,"x":12345678901234567890}`, `{"event":{"mine":1},"n":2}`, `[{"n":3}]`, `"four"`, `5e400`, `{}`}
		who := &Identity{App: x.app, Role: RoleServer}
		for _, text := range texts {
			out := x.b.PublishAll(t.Context(), who, []Publication{{ObjectID: "gala", Channel: "chat", Data: []byte(text)}})
			require.NoError(t, out[0].Err)
		}
		x.settle()
		data := func(p *peer) (all []string) {
			for _, line := range p.poll() {
				all = append(all, strings.TrimPrefix(line, live+" "))
			}
			return all
		}
		require.Equal(t, texts, data(plain))
		got := data(numbered)
		require.Equal(t, texts[1:5], got[1:5])
		require.Regexp(t, `^\{"event":\{"replayId":[0-9]+,"createdDate":"20[0-9]{2}-[0-9-]{5}T[0-9:.]{12}Z"\},"n":1,"x":12345678901234567890\}$`, got[0])
		require.Regexp(t, `^\{"event":\{"replayId":[0-9]+,"createdDate":"[^"]*"\}\}$`, got[5])
		require.Equal(t, got, data(wild), "a wildcard beside it brings no second copy")
		require.Equal(t, got, data(other))
		// A plain subscribe to it changes nothing; the end of it does.
		require.True(t, numbered.subscribe(live).ok())
		require.True(t, x.post(wild, wild.message("/meta/unsubscribe", fmt.Sprintf(`,"subscription":%q`, live)))[0].ok())
		x.say("gala", "chat", map[string]int{"n": 7})
		require.Contains(t, data(numbered)[0], `"replayId"`)
		require.Equal(t, []string{`{"n":7}`}, data(wild))
	})
}

// One encoding for all who want the id, and one for all who do not.
func TestReplayEncodedOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		live := x.root("gala", channels.ClassView) + "/chat"
		var peers []*peer
		for i := range 6 {
			p := x.join("")
			if i%2 == 0 {
				require.True(t, p.subscribe(live).ok())
			} else {
				require.True(t, p.replay(live, "-1").ok())
			}
			peers = append(peers, p)
		}
		x.sayEvents("chat", 1, 1)
		var encodings []*bayeux.Delivery
		for _, p := range peers {
			s, ok := x.server.Session(p.id)
			require.True(t, ok)
			left, err := s.Release(t.Context(), bayeux.Ordinal{})
			require.NoError(t, err)
			require.Len(t, left.Queued, 1)
			encodings = append(encodings, left.Queued[0])
		}
		require.NotSame(t, encodings[0], encodings[1])
		for i, d := range encodings {
			require.Same(t, encodings[i%2], d)
		}
	})
}

func TestReplayRefusals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			o.Kinds = map[string]KindOptions{"custom": {Length: 10, Retention: 2 * time.Hour, Catchup: time.Hour}}
		})
		view := x.root("gala", channels.ClassView)
		live := view + "/chat"
		f := func(channel, value, want string) {
			t.Helper()
			p := x.join("")
			r := p.replay(channel, value)
			require.False(t, r.ok(), value)
			require.Equal(t, want, r.Error)
			x.sayEvents("quiet", 1, 1)
			require.Empty(t, p.poll(), "nothing is half done")
		}
		invalid := func(id any) string {
			return fmt.Sprintf("400::The replayId {%v} you provided was invalid.  Please provide a valid ID, -2 to replay all events, or -1 to replay only new events.", id)
		}
		f(live, "5", invalid(5)) // nothing was ever said
		f(live, "-3", invalid(-3))
		f(live, `{"`+live+`":1553783}`, invalid(1553783))
		f(live, "9223372036854775807", invalid("9223372036854775807"))
		x.sayEvents("chat", 1, 15)
		p := x.join("")
		require.True(t, p.replay(live, "-2").ok())
		ns, ids := p.events()
		require.Equal(t, ints(6, 15), ns, "the channel's length")
		f(live, fmt.Sprint(ids[9]+1), invalid(ids[9]+1)) // beyond the head
		f(live, fmt.Sprint(ids[0]-1), invalid(ids[0]-1)) // not kept any more
		f(live, fmt.Sprint(ids[0]-100), invalid(ids[0]-100))
		for _, bad := range []string{`1.5`, `1e3`, `"x"`, `""`, `[1]`, `"99999999999999999999"`, `{"` + live + `":[]}`, `{"` + live + `":{}}`, `{"` + live + `":null}`, `99999999999999999999`} {
			f(live, bad, "400:"+live+":Replay id must be a whole number -1 or -2")
		}
		f(view+"/**", "-2", "400:"+view+"/**:Replay needs a plain channel")
		f(live+"/catchup/1h", "-2", "400:"+live+"/catchup/1h:Replay needs a plain channel")
		guest := x.root("gala", channels.ClassGuest)
		f(guest+"/chat", "-2", "403:"+guest+"/chat:Forbidden channel")
		f(guest+"/chat", fmt.Sprint(ids[3]), "403:"+guest+"/chat:Forbidden channel")
		control := x.root("gala", channels.ClassControl)
		f(control+"/events", "-2", "404:"+control+"/events:Catch-up not supported")
		f("/mute/a", "-2", "404:/mute/a:Catch-up not supported")
		f(view+"/events", "-2", "403:"+view+"/events:Forbidden channel")
		// Names outside the grammar (bayeux-cometd.md §3).
		f(live+"?Field=v", "-2", "405::Invalid channel")
		f(view+"/dotted.name", "-2", "405:"+view+"/dotted.name:Invalid channel")

		// -1 is good wherever one may listen.
		for _, name := range []string{view + "/**", live + "/catchup/1h", guest + "/chat", control + "/events", "/mute/a"} {
			r := x.join("").replay(name, "-1")
			require.True(t, r.ok(), r.Error)
		}

		// Older than the longest catch-up.
		time.Sleep(61 * time.Minute)
		x.sayEvents("chat", 16, 17)
		f(live, fmt.Sprint(ids[8]), invalid(ids[8]))
		last := x.join("")
		require.True(t, last.replay(live, fmt.Sprint(ids[9])).ok(), "nothing after it is missing")
		ns, _ = last.events()
		require.Equal(t, ints(16, 17), ns)

		// A new epoch begins above the old one (decided.md 21).
		require.NoError(t, x.store.Delete(t.Context(), store.LogName{Feed: x.feed("gala"), Path: "/chat"}))
		x.sayEvents("chat", 18, 19)
		f(live, fmt.Sprint(ids[9]+2), invalid(ids[9]+2))
		q := x.join("")
		require.True(t, q.replay(live, "-2").ok())
		ns, again := q.events()
		require.Equal(t, ints(18, 19), ns)
		require.Greater(t, again[0], ids[9]+2)
	})
}

// Where the operator has switched it off, ext.replay says nothing.
func TestReplaySwitchedOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.NoReplay = true })
		live := x.root("gala", channels.ClassView) + "/chat"
		x.sayEvents("chat", 1, 3)
		p := x.join("")
		require.True(t, p.replay(live, "-2").ok())
		x.sayEvents("chat", 4, 4)
		ns, ids := p.events()
		require.Equal(t, []int{4}, ns)
		require.Equal(t, []uint64{0}, ids)
	})
}

// A client that reloads subscribes again from the last it knows; what is on its way
// comes, and then everything after that id once more. It never goes forward.
func TestReplayAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 6 })
		live := x.root("gala", channels.ClassView) + "/chat"
		p := x.join("")
		require.True(t, p.replay(live, "-1").ok())
		x.sayEvents("chat", 1, 30)
		ns, ids := p.events()
		require.Equal(t, ints(1, 30), ns)
		require.True(t, p.replay(live, fmt.Sprint(ids[19])).ok())
		ns, _ = p.events()
		require.Equal(t, ints(21, 30), ns)
		require.True(t, p.replay(live, "-1").ok())
		require.True(t, p.subscribe(live).ok())
		x.sayEvents("chat", 31, 31)
		ns, _ = p.events()
		require.Equal(t, []int{31}, ns, "neither changes anything")

		require.True(t, p.replay(live, "-2").ok())
		require.True(t, p.replay(live, fmt.Sprint(ids[24])).ok())
		ns, _ = p.events()
		require.Equal(t, ints(1, 31), ns, "an id that is further on takes nothing away")

		p.unsubscribe(live)
		x.sayEvents("chat", 32, 33)
		require.True(t, p.replay(live, fmt.Sprint(ids[29])).ok())
		ns, _ = p.events()
		require.Equal(t, ints(31, 33), ns)
		// A catch-up beside it brings what was before the id, under its own name.
		require.Equal(t, 30, p.subscribe(live+"/catchup/1h").Ext.Catchup.Messages)
		ns, _ = p.events()
		require.Equal(t, ints(1, 30), ns)
		require.Equal(t, 2, p.subscribe(live+"/catchup/2n").Ext.Catchup.Messages)
		ns, got := p.events()
		require.Equal(t, []int{29, 30}, ns)
		require.Equal(t, []uint64{0, 0}, got)
	})
}

// An unsubscribe ends a replay under way, and leaves nothing in the record.
func TestReplayUnsubscribed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 6 })
		live := x.root("gala", channels.ClassView) + "/chat"
		x.sayEvents("chat", 1, 50)
		p := x.join("")
		require.True(t, p.replay(live, "-2").ok())
		x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
		p.unsubscribe(live)
		ns, _ := p.events()
		require.Less(t, len(ns), 20)
		time.Sleep(3 * time.Second)
		p.poll()
		r, _, err := x.b.loadSession(t.Context(), sessionKey(p.id))
		require.NoError(t, err)
		require.Empty(t, r.Unread)
	})
}

// A subscription by replay id keeps its form and its place over a restart and a crash;
// a replay of which the client has not had everything comes again, whole after a crash.
func TestReplayResumed(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 16 })
				live := x.root("gala", channels.ClassView) + "/chat"
				x.sayEvents("chat", 1, 100)
				time.Sleep(20 * time.Minute)
				p := x.join("")
				require.True(t, p.replay(live, "-2").ok())
				x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
				had := len(p.inbox)
				require.Positive(t, had)
				require.Less(t, had, 100)
				p.inbox = nil
				x.sayEvents("chat", 101, 101)
				x.restart(crash)
				x.sayEvents("chat", 102, 102)
				ns, ids := p.events()
				require.Subset(t, ns, ints(had+1, 102))
				require.Equal(t, ints(103-len(ns), 102), ns, "in order, without a gap")
				require.NotContains(t, ids, uint64(0))
				for range 5 {
					time.Sleep(3 * time.Second)
					p.poll()
				}
				x.restart(crash)
				x.sayEvents("chat", 103, 103)
				ns, ids = p.events()
				require.NotContains(t, ns, 100, "it was had whole")
				require.Equal(t, 103, ns[len(ns)-1])
				require.NotContains(t, ids, uint64(0))
			})
		})
	}
}

// Sessions go from node to node while they replay and go back: everything after the last
// id that was asked for comes, in order, and with its id.
func TestReplayMoves(t *testing.T) {
	for seed := range seeds(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 5))
				nodes := newFleetWith(t, 3, func(_ *Options, bo *bayeux.Options) {
					bo.Limits.QueueMessages = 4 + rng.IntN(12)
				})
				live := nodes[0].root("gala", channels.ClassView) + "/chat"
				nodes[0].sayEvents("chat", 1, 40)
				time.Sleep(time.Second)
				first := nodes[0].join("")
				require.True(t, first.at(nodes[0], first.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q,"ext":{"replay":-2}`, live))).ok())
				var base uint64
				for _, d := range first.take(nodes) {
					if d.N == 1 {
						base = d.Event.ReplayID - 1
					}
				}
				require.NotZero(t, base)
				said := 40
				p := nodes[0].join("")
				last := 0
				for range 4 {
					last = rng.IntN(said + 1)
					value := strconv.FormatUint(base+uint64(last), 10)
					if last == 0 {
						value = "-2"
					}
					require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q,"ext":{"replay":%s}`, live, value))).ok())
					for range rng.IntN(6) {
						require.True(t, p.connectAt(nodes[rng.IntN(3)], 1+rng.IntN(20)).ok())
						if rng.IntN(2) == 0 {
							said++
							nodes[rng.IntN(3)].sayEvents("chat", said, said)
						}
					}
				}
				got := p.take(nodes)
				require.NotEmpty(t, got)
				begins := 0
				for i, d := range got {
					require.NotNil(t, d.Event)
					require.Equal(t, base+uint64(d.N), d.Event.ReplayID)
					if i > 0 && d.N != got[i-1].N+1 {
						require.Less(t, d.N, got[i-1].N+1, "nothing is left out: %v", got)
						begins = i
					}
				}
				require.LessOrEqual(t, got[begins].N, last+1)
				require.Equal(t, said, got[len(got)-1].N)
			})
		})
	}
}

// take polls at all nodes until nothing comes and returns everything that came.
func (p *peer) take(nodes []*bench) (all []stamped) {
	p.x.t.Helper()
	had := p.inbox
	p.inbox = nil
	lines := dataOf(p.pollAround(nodes))
	for _, d := range had {
		all = append(all, parseStamped(p.x.t, string(d.Data)))
	}
	for _, data := range lines {
		all = append(all, parseStamped(p.x.t, data))
	}
	return all
}

func parseStamped(t testing.TB, data string) (e stamped) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(data), &e), data)
	return e
}

// FuzzReplayAsked: whatever ext.replay holds, an id is one, or there is a refusal.
func FuzzReplayAsked(f *testing.F) {
	for _, s := range []string{`-2`, `"17"`, `{"/a":5}`, `{"/a":"5","/b":null}`, `true`, `null`, `1e3`, `{}`, `[]`, `"\u0035"`, `{"\/a":-1}`} {
		f.Add(s)
	}
	b := &Broker{}
	f.Fuzz(func(t *testing.T, s string) {
		if !json.Valid([]byte(s)) || !utf8.ValidString(s) {
			return
		}
		value := strings.Trim(s, " \t\r\n") // as the decoder cuts it
		got, err := b.replayAsked(&bayeux.Message{Ext: []byte(`{"replay":` + value + `}`)}, "/a")
		var refusal *bayeux.Error
		switch {
		case err != nil && (!errors.As(err, &refusal) || refusal.Code != 400):
			t.Fatalf("%s: %v", s, err)
		case err == nil && (got.id < replayAll || !got.asked && got.id != 0):
			t.Fatalf("%s: %+v", s, got)
		}
		var n int64
		if json.Unmarshal([]byte(value), &n) == nil && n >= replayAll && value != "null" && (err != nil || got.id != n) {
			t.Fatalf("%s: %+v, %v", s, got, err)
		}
	})
}
