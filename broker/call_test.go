package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

func newCallBench(t *testing.T) *bench {
	return newBench(t, func(o *Options, _ *bayeux.Options) { o.Services = Services() })
}

// call makes a remote call and returns the answer's data, or the error.
func (p *peer) call(at *bench, target, data, ext string) (answer, refusal string) {
	p.x.t.Helper()
	r := at.post(p, p.message("/service/"+target, `,"data":`+data+with(ext)))
	if !r[0].ok() {
		require.Len(p.x.t, r, 1, "no answer with a refusal")
		return "", r[0].Error
	}
	require.Len(p.x.t, r, 2)
	require.Equal(p.x.t, "/service/"+target, r[0].Channel)
	require.Equal(p.x.t, string(r[1].ID), string(r[0].ID), "the same id")
	require.Empty(p.x.t, r[1].Data)
	return string(r[0].Data), ""
}

func TestCallHistory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newCallBench(t)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		x.say("gala", "chat", numbers(1, 30)...)
		everything := x.join("")
		require.True(t, everything.subscribe(view+"/**", "/**").ok() || everything.subscribe(view+"/**").ok())
		p := x.join("")
		page := func(data string) (ns []string, next *string, truncated bool) {
			t.Helper()
			text, refusal := p.call(x, "history", data, "")
			require.Empty(t, refusal)
			var v struct {
				Messages []struct {
					ID, Channel string
					Time        int64
					Data        json.RawMessage
				}
				Next      *string
				Truncated bool
			}
			require.NoError(t, json.Unmarshal([]byte(text), &v))
			for _, m := range v.Messages {
				require.Equal(t, view+"/chat", m.Channel)
				ns = append(ns, string(m.Data))
			}
			return ns, v.Next, v.Truncated
		}
		ask := func(more string) string { return `{"channel":"` + view + `/chat"` + more + `}` }
		texts := func(from, to int) (all []string) {
			for n := from; n <= to; n++ {
				all = append(all, fmt.Sprint(n))
			}
			return all
		}
		ns, next, truncated := page(ask(""))
		require.Equal(t, texts(1, 30), ns)
		require.Nil(t, next)
		require.False(t, truncated)
		ns, next, _ = page(ask(`,"limit":10`))
		require.Equal(t, texts(21, 30), ns)
		ns, _, _ = page(ask(`,"limit":10,"before":"` + *next + `"`))
		require.Equal(t, texts(11, 20), ns)
		ns, next, _ = page(ask(`,"limit":3,"since":"1h"`))
		require.Equal(t, texts(1, 3), ns)
		ns, _, _ = page(ask(`,"limit":2,"after":"` + *next + `"`))
		require.Equal(t, texts(4, 5), ns)

		f := func(data, want string) {
			t.Helper()
			_, refusal := p.call(x, "history", data, "")
			require.Equal(t, want, refusal)
		}
		f(`{}`, "400:/service/history:channel is required")
		f(`[]`, "400:/service/history:data must be a JSON object with channel")
		f(ask(`,"sicne":"1h"`), "400:/service/history:data may have channel since after before limit")
		f(ask(`,"since":"1h","after":"x"`), "400:/service/history:only one of since after and before can be given")
		f(ask(`,"after":"x"`), "400:/service/history:after must be a message id")
		f(ask(`,"limit":0`), "400:/service/history:limit must be 1 to 1000")
		f(ask(`,"limit":"5"`), "400:/service/history:limit must be 1 to 1000")
		f(ask(`,"since":5`), "400:/service/history:since must be a text that is not empty")
		f(ask(`,"since":"25h"`), "413:/service/history:since is too long ago this channel goes back 24h")
		f(`{"channel":"no name"}`, "400:/service/history:channel must be the whole name of a plain channel")
		f(`{"channel":"`+view+`/chat/catchup/1h"}`, "400:/service/history:channel must be the whole name of a plain channel")
		// The rights of a catch-up.
		guest := x.root("gala", channels.ClassGuest)
		f(`{"channel":"`+guest+`/chat"}`, "403:"+guest+"/chat:Forbidden channel")
		f(`{"channel":"`+view+`/analytics"}`, "403:"+view+"/analytics:Forbidden channel")
		f(`{"channel":"`+control+`/events"}`, "404:"+control+"/events:Catch-up not supported")
		f(`{"channel":"/mute/a"}`, "404:/mute/a:Catch-up not supported")
		f(`{"channel":"/nowhere/a"}`, "403:/nowhere/a:Forbidden channel")
		bad := "/" + strings.Repeat("0", 40)
		f(`{"channel":"`+bad+`/chat"}`, "403:"+bad+"/chat:Forbidden channel")
		require.Empty(t, everything.poll(), "nobody else hears of any of it")
	})
}

func TestCallData(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newCallBench(t)
		view := x.root("gala", channels.ClassView)
		room := view + "/data/room"
		ann, bob := x.user("viewer", "gala", "ann"), x.user("viewer", "gala", "bob")
		require.True(t, bob.subscribe(room).ok())
		bob.poll()
		answer, refusal := ann.call(x, "data", `{"channel":"`+room+`"}`, "")
		require.Empty(t, refusal)
		require.Equal(t, `{"version":0,"data":{}}`, answer)
		answer, refusal = ann.call(x, "data", `{"channel":"`+room+`","set":{"a":12345678901234567890,"b":{"c":1}}}`, "")
		require.Empty(t, refusal)
		require.Equal(t, `{"version":1,"data":{"a":12345678901234567890,"b":{"c":1}}}`, answer)
		answer, _ = bob.call(x, "data", `{"channel":"`+room+`","set":{"b":{"c":null,"d":2}}}`, "")
		require.Equal(t, `{"version":2,"data":{"a":12345678901234567890,"b":{"d":2}}}`, answer)
		require.Len(t, bob.poll(), 2, "subscribers hear of a change as of any other")
		answer, _ = ann.call(x, "data", `{"channel":"`+view+`/data/session","set":{"x":1}}`, "")
		require.Regexp(t, `^\{"version":1,"data":\{"x":1\},"conf_num":"[0-9A-Z]{26}"\}$`, answer)

		// The same call again, as Faye sends it after a broken link, changes nothing more.
		again := fmt.Sprintf(`{"channel":"/service/data","clientId":%q,"id":"again","data":{"channel":%q,"set":{"n":7}}}`, ann.id, room)
		first := x.post(ann, again)
		second := x.post(ann, again)
		require.True(t, first[1].ok())
		require.True(t, second[1].ok())
		require.Equal(t, string(first[0].Data), string(second[0].Data))
		require.Contains(t, string(second[0].Data), `"version":3`)

		f := func(p *peer, data, want string) {
			t.Helper()
			_, refusal := p.call(x, "data", data, "")
			require.Equal(t, want, refusal)
		}
		nobody := x.join("")
		f(nobody, `{"channel":"`+room+`"}`, "403:"+room+":Forbidden channel")
		f(nobody, `{"channel":"`+room+`","set":{}}`, "403:"+room+":Forbidden channel")
		f(ann, `{"channel":"`+view+`/chat"}`, "404:/service/data:channel is not one of data such as /R/data/room")
		f(ann, `{"channel":"`+view+`/data/app","set":{}}`, "403:"+view+"/data/app:Forbidden channel")
		f(ann, `{"channel":"`+room+`","set":5}`, "400:"+room+":Data must be a JSON object")
		control := x.root("gala", channels.ClassControl)
		answer, refusal = nobody.call(x, "data", `{"channel":"`+control+`/data/room"}`, "")
		require.Empty(t, refusal)
		require.Contains(t, answer, `"version":3`)
	})
}

func TestCallPresence(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newCallBench(t)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		for range 3 {
			require.True(t, x.join("").subscribe(view+"/chat").ok())
		}
		time.Sleep(11 * time.Second)
		p := x.join("")
		answer, refusal := p.call(x, "presence", `{"channel":"`+control+`/presence"}`, "")
		require.Empty(t, refusal)
		var there struct {
			Count   int
			Members []Member
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &there))
		require.Equal(t, 3, there.Count)
		require.Len(t, there.Members, 3)
		_, refusal = p.call(x, "presence", `{"channel":"`+view+`/presence"}`, "")
		require.Equal(t, "403:"+view+"/presence:Forbidden channel", refusal)
		_, refusal = p.call(x, "presence", `{"channel":"`+control+`/chat"}`, "")
		require.Equal(t, "404:/service/presence:channel must be /R/presence", refusal)
		_, refusal = p.call(x, "presence", `{"channel":"/open/presence"}`, "")
		require.Equal(t, "404:/service/presence:channel must be /R/presence", refusal)
	})
}

// A service that is switched off says so; what is no service is acknowledged and goes
// nowhere, and a call needs no session.
func TestCallSwitchedOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Services = []string{"presence"} })
		view := x.root("gala", channels.ClassView)
		p := x.join("")
		_, refusal := p.call(x, "history", `{"channel":"`+view+`/chat"}`, "")
		require.Equal(t, "404:/service/history:This service is switched off", refusal)
		require.True(t, x.post(p, p.message("/service/other", `,"data":1`))[0].ok())
		require.True(t, x.post(nil, `{"channel":"/service/a/b/c","data":1}`)[0].ok())
		require.Empty(t, p.poll())
	})
	inBubble(t, func(t *testing.T) {
		x := newCallBench(t)
		view := x.root("gala", channels.ClassView)
		x.say("gala", "chat", 1)
		p := &peer{x: x}
		r := x.post(p, `{"channel":"/service/history","id":"5","data":{"channel":"`+view+`/chat"}}`)
		require.True(t, r[0].ok(), r[0].Error)
		require.Contains(t, string(r[0].Data), `"data":1`)
		r = x.post(nil, `{"channel":"/service/history","clientId":"gone","data":{"channel":"`+view+`/chat"}}`)
		require.Equal(t, "401:gone:Unknown client", r[0].Error)
	})
}

// A call goes ahead where it came in, with the rights of a session that lives elsewhere,
// and its answer goes back there.
func TestCallOnAnotherNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleetWith(t, 2, func(o *Options, _ *bayeux.Options) { o.Services = Services() })
		view := nodes[0].root("gala", channels.ClassView)
		room := view + "/data/room"
		p := nodes[0].join(nodes[0].ext(map[string]any{"role": "viewer", "channel_id": "gala", "user_ref": "ann"}))
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, room))).ok())
		p.connectAt(nodes[0], 10)
		p.inbox = nil
		answer, refusal := p.call(nodes[1], "data", `{"channel":"`+room+`","set":{"a":1}}`, "")
		require.Empty(t, refusal)
		require.Equal(t, `{"version":1,"data":{"a":1}}`, answer)
		nodes[0].say("gala", "chat", 5)
		answer, refusal = p.call(nodes[1], "history", `{"channel":"`+view+`/chat"}`, "")
		require.Empty(t, refusal)
		require.Contains(t, answer, `"data":5`)
		// The same call to the other node.
		call := fmt.Sprintf(`{"channel":"/service/data","clientId":%q,"id":"again","data":{"channel":%q,"set":{"n":7}}}`, p.id, room)
		require.True(t, nodes[1].post(p, call)[0].ok())
		require.Contains(t, string(nodes[0].post(p, call)[0].Data), `"version":2`)
		require.EqualValues(t, 0, nodes[1].server.Sessions(), "the session stayed where it was")
	})
}

func TestCallViewers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newCallBench(t)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		live := control + "/stats/live"
		p := x.join("")
		answer, refusal := p.call(x, "viewers", `{"channel":"`+live+`"}`, "")
		require.Empty(t, refusal)
		require.Equal(t, `{"time":null,"viewers":0}`, answer, "nobody was ever seen")
		for range 3 {
			require.True(t, x.join("").subscribe(view+"/chat").ok())
		}
		time.Sleep(40 * time.Second)
		before := x.store.Now()
		answer, refusal = p.call(x, "viewers", `{"channel":"`+live+`"}`, "")
		require.Empty(t, refusal)
		var now struct{ Time, Viewers int64 }
		require.NoError(t, json.Unmarshal([]byte(answer), &now))
		require.EqualValues(t, 3, now.Viewers)
		require.WithinDuration(t, before, time.UnixMilli(now.Time), 30*time.Second)
		_, refusal = p.call(x, "viewers", `{"channel":"`+view+`/stats/live"}`, "")
		require.Equal(t, "403:"+view+"/stats/live:Forbidden channel", refusal)
		_, refusal = p.call(x, "viewers", `{"channel":"`+control+`/stats/minute"}`, "")
		require.Equal(t, "404:/service/viewers:channel must be /R/stats/live", refusal)
	})
}
