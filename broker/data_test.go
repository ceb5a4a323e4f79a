package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// token signs one for a user of an object; user "" has none.
func (x *bench) token(role, object, user string) string {
	x.t.Helper()
	claims := map[string]any{"role": role, "channel_id": object}
	if user != "" {
		claims["user_ref"], claims["name"] = user, strings.ToUpper(user)
	}
	text, err := SignToken(*x.app, claims, time.Hour, time.Now())
	require.NoError(x.t, err)
	return text
}

// user joins with a token.
func (x *bench) user(role, object, user string) *peer {
	x.t.Helper()
	return x.join(`{"token":"` + x.token(role, object, user) + `"}`)
}

// who is an identity as a token of that role would make it.
func (x *bench) who(role Role, object, user string) *Identity {
	names := [...]string{RoleViewer: "participant", RoleModerator: "moderator", RoleBroadcaster: "broadcaster", RoleAdmin: "admin", RoleServer: "server"}
	return &Identity{App: x.app, Role: role, RoleName: names[role], ChannelID: object, UserRef: user, Name: strings.ToUpper(user)}
}

// put merges into a document as a backend or a user over HTTP does.
func (x *bench) put(who *Identity, q DataQuery, text string) Data {
	x.t.Helper()
	d, err := x.b.ChangeData(x.t.Context(), who, q, catchup.Merging, []byte(text), nil)
	require.NoError(x.t, err)
	x.settle()
	return d
}

// message is one of a data channel, decoded.
type message struct {
	Scope   string          `json:"scope"`
	Op      string          `json:"op"`
	Data    json.RawMessage `json:"data"`
	Version int             `json:"version"`
	ConfNum string          `json:"conf_num"`
	By      struct {
		UserRef string `json:"user_ref"`
		Role    string `json:"role"`
	} `json:"by"`
}

// told polls and returns "<channel below the root> <op> <version> <data>" of each.
func (p *peer) told() []string {
	p.x.t.Helper()
	var all []string
	for _, line := range p.poll() {
		channel, text, _ := strings.Cut(line, " ")
		var m message
		require.NoError(p.x.t, json.Unmarshal([]byte(text), &m))
		_, below, _ := strings.Cut(channel[1:], "/")
		all = append(all, fmt.Sprintf("%s %s %d %s", below, m.Op, m.Version, m.Data))
	}
	return all
}

// E15, E17, E18: a publish is a merge; subscribing begins with a snapshot, changes
// follow, by the shapes of the specification.
func TestDataChannelE15E17E18E25(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		ann, bob := x.user("participant", "gala", "ann"), x.user("viewer", "gala", "bob")
		ack := ann.publish(root+"/data/room", `{"score":1,"old":true}`, "")
		require.True(t, ack.ok(), ack.Error)
		require.EqualValues(t, 1, ack.Ext.Data.Version)
		require.Len(t, ack.Ext.History.ID, 26)
		require.True(t, bob.subscribe(root+"/data/room").ok())
		require.Equal(t, on(root+"/data/room", `{"scope":"room","op":"snapshot","data":{"score":1,"old":true},"version":1}`), bob.poll())
		require.EqualValues(t, 2, ann.publish(root+"/data/room", `{"score":2,"old":null,"note":"x","big":12345678901234567890}`, "").Ext.Data.Version)
		got := bob.poll()
		require.Len(t, got, 1)
		require.Equal(t, root+`/data/room {"scope":"room","op":"set","changes":{"score":2,"note":"x","big":12345678901234567890},"removed":["old"],`+
			`"data":{"score":2,"note":"x","big":12345678901234567890},"version":2,"by":{"user_ref":"ann","role":"participant"},"time":0}`,
			regexp.MustCompile(`"time":\d+`).ReplaceAllString(got[0], `"time":0`))

		// A change that names nothing says nothing.
		require.EqualValues(t, 2, ann.publish(root+"/data/room", `{"nope":null}`, "").Ext.Data.Version)
		require.Empty(t, bob.poll())

		// Over HTTP it is the same document, and the same change.
		require.EqualValues(t, 3, x.put(x.who(RoleViewer, "gala", "bob"), DataQuery{Scope: "room"}, `{"http":[]}`).Version)
		require.Equal(t, []string{`data/room set 3 {"score":2,"note":"x","big":12345678901234567890,"http":[]}`}, bob.told())

		// E25: a catch-up has the changes and no snapshot.
		late := x.user("participant", "gala", "cid")
		require.Equal(t, 3, late.subscribe(root+"/data/room/catchup/168h").Ext.Catchup.Messages)
		require.Equal(t, []string{"data/room/catchup/168h set 1", "data/room/catchup/168h set 2", "data/room/catchup/168h set 3"}, cut(late.told(), 3))
		require.Equal(t, "413:"+root+"/data/room/catchup/169h,168h:Catch-up interval too long", late.subscribe(root+"/data/room/catchup/169h").Error)
	})
}

// cut keeps the first n words of each line.
func cut(lines []string, n int) []string {
	for i, line := range lines {
		lines[i] = strings.Join(strings.SplitN(line, " ", n+1)[:n], " ")
	}
	return lines
}

// A snapshot stands at the seam, whatever the order of the subscriptions; nothing
// comes before it, and what comes after has greater versions.
func TestSnapshotAtSeamE17(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, b *bayeux.Options) { b.Limits.QueueMessages = 8 })
		root := x.root("gala", channels.ClassView)
		server, q := x.backend(), DataQuery{Scope: "room", ObjectID: "gala"}
		live, past := root+"/data/room", root+"/data/room/catchup/1h"
		n := 0
		talk := func(k int) {
			for range k {
				n++
				x.put(server, q, fmt.Sprintf(`{"n":%d}`, n))
			}
		}
		check := func(p *peer, replayed, from, to int) {
			t.Helper()
			got := cut(p.told(), 3)
			require.Len(t, got, replayed+1+to-from)
			for i := range replayed {
				require.Equal(t, fmt.Sprintf("data/room/catchup/1h set %d", i+1), got[i])
			}
			require.Equal(t, fmt.Sprintf("data/room snapshot %d", from), got[replayed])
			for i := from + 1; i <= to; i++ {
				require.Equal(t, fmt.Sprintf("data/room set %d", i), got[replayed+i-from])
			}
		}
		p := x.user("viewer", "gala", "a")
		p.subscribe(live)
		talk(20) // past its queue
		check(p, 0, 0, 20)
		p = x.user("viewer", "gala", "b")
		p.subscribe(live, past)
		talk(5)
		check(p, 20, 20, 25)
		p = x.user("viewer", "gala", "c")
		p.subscribe(past)
		talk(15)
		p.subscribe(live)
		talk(5)
		check(p, 25, 25, 45)
		// Subscribed again is nothing new; taken again after a pause goes on.
		p.subscribe(live)
		require.Empty(t, p.poll())
		p.unsubscribe(live)
		talk(3)
		p.subscribe(live)
		talk(1)
		require.Equal(t, []string{"data/room snapshot 45", "data/room set 46", "data/room set 47", "data/room set 48", "data/room set 49"}, cut(p.told(), 3))
		// Dropped before it is read, it does not come.
		p = x.user("viewer", "gala", "d")
		p.subscribe(live)
		p.unsubscribe(live)
		require.Empty(t, p.poll())
	})
}

// E3, E4, E7: who hears which scope, and who writes it.
func TestDataScopesE1E3E4E7(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		for _, id := range []string{"gala", "fete"} {
			_, _, err := x.b.objects.create(t.Context(), x.app, ObjectSpec{ID: id, OwnerRef: "boss"})
			require.NoError(t, err)
		}
		gala, fete := x.root("gala", channels.ClassView), x.root("fete", channels.ClassView)
		control := x.root("gala", channels.ClassControl)
		ann, bob := x.user("participant", "gala", "ann"), x.user("participant", "fete", "bob")
		board, stranger, nameless := x.join(""), x.join(""), x.user("participant", "gala", "")
		require.NotEqual(t, ann.id, x.user("participant", "gala", "ann").id, "E1: each handshake is another connection")

		for _, scope := range []string{"app", "owner", "room", "session", "user"} {
			require.True(t, ann.subscribe(gala+"/data/"+scope).ok(), scope)
			require.True(t, bob.subscribe(fete+"/data/"+scope).ok(), scope)
			refused := "403:" + gala + "/data/" + scope + ":Forbidden channel"
			require.Equal(t, refused, stranger.subscribe(gala+"/data/"+scope).Error, "a view root alone")
			require.Equal(t, refused, bob.subscribe(gala+"/data/"+scope).Error, "a token of another room")
			require.Equal(t, scope != "user", board.subscribe(control+"/data/"+scope).ok(), "a dashboard on the control root: %s", scope)
			require.Equal(t, scope != "user", nameless.subscribe(gala+"/data/"+scope).ok(), "a token without user_ref: %s", scope)
			require.False(t, board.publish(control+"/data/"+scope, `{"x":1}`, "").ok(), "the control root reads only")
			may := scope == "room" || scope == "session" || scope == "user"
			require.Equal(t, may, ann.publish(gala+"/data/"+scope, `{"by":"ann"}`, "").ok(), scope)
		}
		require.Equal(t, "404:"+x.root("loner", channels.ClassControl)+"/data/owner:No owner", board.subscribe(x.root("loner", channels.ClassControl)+"/data/owner").Error)
		require.Equal(t, "405:"+gala+"/data/weather:Invalid channel", ann.subscribe(gala+"/data/weather").Error)
		ann.poll()
		bob.poll()
		board.poll()

		server := x.backend()
		x.put(server, DataQuery{Scope: "app"}, `{"a":1}`)
		x.put(server, DataQuery{Scope: "owner", ObjectID: "gala"}, `{"o":1}`)
		x.put(x.who(RoleViewer, "fete", "bob"), DataQuery{Scope: "room"}, `{"r":1}`)
		x.put(server, DataQuery{Scope: "user", UserRef: "ann"}, `{"u":1}`)
		require.ElementsMatch(t, []string{`data/app set 1 {"a":1}`, `data/owner set 1 {"o":1}`, `data/user set 2 {"by":"ann","u":1}`}, ann.told())
		require.ElementsMatch(t, []string{`data/app set 1 {"a":1}`, `data/owner set 1 {"o":1}`, `data/room set 1 {"r":1}`}, bob.told())
		require.ElementsMatch(t, []string{`data/app set 1 {"a":1}`, `data/owner set 1 {"o":1}`}, board.told())

		// E7: the user's data follows the user through rooms.
		moved := x.user("participant", "fete", "ann")
		require.True(t, moved.subscribe(fete+"/data/user").ok())
		require.Equal(t, []string{`data/user snapshot 2 {"by":"ann","u":1}`}, moved.told())
	})
}

// Wildcards hear what their level may read, and never a user's data, not even its own.
func TestDataWildcards(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		_, _, err := x.b.objects.create(t.Context(), x.app, ObjectSpec{ID: "gala", OwnerRef: "boss"})
		require.NoError(t, err)
		root, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		type listener struct {
			p     *peer
			hears bool
		}
		all := map[string]listener{
			"token deep":     {x.user("participant", "gala", "ann"), true},
			"token data":     {x.user("participant", "gala", "ann"), true},
			"root deep":      {x.join(""), false},
			"root data":      {x.join(""), false},
			"control deep":   {x.join(""), true},
			"token one":      {x.user("participant", "gala", "ann"), false},
			"admin deep":     {x.user("admin", "", ""), true},
			"message's word": {x.join(""), true},
		}
		for name, l := range all {
			pattern := root + "/**"
			switch {
			case strings.HasPrefix(name, "control"):
				pattern = control + "/**"
			case strings.HasSuffix(name, "data"):
				pattern = root + "/data/*"
			case strings.HasSuffix(name, "one"):
				pattern = root + "/*"
			case strings.HasSuffix(name, "word"):
				r := x.post(l.p, l.p.message("/meta/subscribe", `,"subscription":"`+root+`/data/**","ext":{"token":"`+x.token("viewer", "gala", "")+`"}`))
				require.True(t, r[0].ok(), r[0].Error)
				continue
			}
			require.True(t, l.p.subscribe(pattern).ok(), name)
		}
		server := x.backend()
		x.put(server, DataQuery{Scope: "app"}, `{"a":1}`)
		x.put(server, DataQuery{Scope: "owner", ObjectID: "gala"}, `{"o":1}`)
		x.put(server, DataQuery{Scope: "room", ObjectID: "gala"}, `{"r":1}`)
		x.put(server, DataQuery{Scope: "session", ObjectID: "gala"}, `{"s":1}`)
		x.put(server, DataQuery{Scope: "user", UserRef: "ann"}, `{"u":1}`)
		want := []string{`data/app set 1 {"a":1}`, `data/owner set 1 {"o":1}`, `data/room set 1 {"r":1}`, `data/session set 1 {"s":1}`}
		for name, l := range all {
			got := l.p.told()
			if l.hears {
				require.ElementsMatch(t, want, got, name)
			} else {
				require.Empty(t, got, name)
			}
		}
		// What a wildcard took is given back with it.
		p := all["token deep"].p
		p.unsubscribe(root + "/**")
		x.put(server, DataQuery{Scope: "app"}, `{"a":2}`)
		require.Empty(t, p.told())
	})
}

// Bad input over Bayeux: its refusals, nothing stored (E23).
// TestDataBoundE23: the bound of a document is the operator's.
func TestDataBoundE23(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.MaxDocument = 64 })
		room := x.root("gala", channels.ClassView) + "/data/room"
		ann := x.user("participant", "gala", "ann")
		large := `{"a":"` + strings.Repeat("x", 57) + `"}`
		require.Equal(t, "413:"+room+":Document too large", ann.publish(room, large, "").Error)
		require.Empty(t, ann.publish(room, `{"a":"`+strings.Repeat("x", 56)+`"}`, "").Error)
	})
}

func TestDataRefusalsE23(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		ann := x.user("participant", "gala", "ann")
		f := func(data, want string) {
			t.Helper()
			require.Equal(t, want, ann.publish(root+"/data/room", data, "").Error)
		}
		room := root + "/data/room"
		for _, data := range []string{`[1]`, `"x"`, `7`, `null`, `true`} {
			f(data, "400:"+room+":Data must be a JSON object")
		}
		f(strings.Repeat(`{"a":`, 33)+"1"+strings.Repeat("}", 33), "400:"+room+":Data must be a JSON object")
		f(`{"a":"`+strings.Repeat("x", catchup.MaxDocument)+`"}`, "413:"+room+":Document too large")
		require.Equal(t, "403:"+room+"/catchup/1h:Forbidden channel", ann.publish(room+"/catchup/1h", `{}`, "").Error)
		d, err := x.b.Data(t.Context(), x.who(RoleViewer, "gala", "ann"), DataQuery{Scope: "room"})
		require.NoError(t, err)
		require.Equal(t, "{}", string(d.Object))
		require.Zero(t, d.Version)
		out := x.b.PublishAll(t.Context(), x.backend(), []Publication{{ObjectID: "gala", Channel: "data/room", Data: []byte(`{}`)}})
		require.Equal(t, 4003, AsError(out[0].Err).Result, "data is not published")
	})
}

// A publish that Faye sends again changes the document once (decided.md 5), also when
// the session has moved on.
func TestRepeatedDataPublish(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		all := newFleet(t, 2)
		x, y := all[0], all[1]
		root := x.root("gala", channels.ClassView)
		p := x.user("participant", "gala", "ann")
		send := func(x *bench) reply {
			t.Helper()
			r := x.post(p, fmt.Sprintf(`{"channel":"%s/data/session","clientId":%q,"id":"same","data":{"n":1}}`, root, p.id))[0]
			x.settle()
			require.True(t, r.ok(), r.Error)
			require.EqualValues(t, 1, r.Ext.Data.Version)
			return r
		}
		first := send(x)
		require.Equal(t, first.Ext, send(x).Ext)
		require.Equal(t, first.Ext, send(y).Ext, "by another node")
		require.Equal(t, first.Ext.Data.ConfNum, send(y).Ext.Data.ConfNum)
	})
}

// A session that is taken up, after a crash or by another node, goes on with changes;
// the snapshot comes again only if it may not have arrived.
func TestDataResumed(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprint("crash ", crash), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, nil)
				root := x.root("gala", channels.ClassView)
				server, q := x.backend(), DataQuery{Scope: "room", ObjectID: "gala"}
				x.put(server, q, `{"n":1}`)
				p, late := x.user("viewer", "gala", "ann"), x.user("viewer", "gala", "bob")
				require.True(t, p.subscribe(root+"/data/room", root+"/data/user", root+"/**").ok())
				require.Equal(t, []string{`data/room snapshot 1 {"n":1}`, `data/user snapshot 0 {}`}, sorted(p.told()))
				for range 15 { // so that what has arrived is known
					p.poll()
					time.Sleep(time.Second)
				}
				require.True(t, late.subscribe(root+"/data/room").ok()) // its snapshot is not fetched
				x.put(server, q, `{"n":2}`)
				time.Sleep(2 * time.Second)
				x.restart(crash)
				x.put(x.backend(), q, `{"n":3}`)
				x.put(x.backend(), DataQuery{Scope: "user", UserRef: "ann"}, `{"u":1}`)
				x.put(x.backend(), DataQuery{Scope: "app"}, `{"a":1}`)
				require.Equal(t, []string{`data/app set 1 {"a":1}`, `data/room set 2 {"n":2}`, `data/room set 3 {"n":3}`, `data/user set 1 {"u":1}`}, sorted(p.told()))
				require.Equal(t, []string{`data/room snapshot 1 {"n":1}`, `data/room set 2 {"n":2}`, `data/room set 3 {"n":3}`}, late.told())
			})
		})
	}
	t.Run("moved", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			all := newFleet(t, 2)
			x, y := all[0], all[1]
			root := x.root("gala", channels.ClassView)
			q := DataQuery{Scope: "room", ObjectID: "gala"}
			x.put(x.backend(), q, `{"n":1}`)
			p, late := x.user("viewer", "gala", "ann"), x.user("viewer", "gala", "bob")
			require.True(t, p.subscribe(root+"/data/room", root+"/data/app").ok())
			require.Equal(t, []string{`data/app snapshot 0 {}`, `data/room snapshot 1 {"n":1}`}, sorted(p.told()))
			for range 15 {
				p.poll()
				time.Sleep(time.Second)
			}
			require.True(t, late.subscribe(root+"/data/room").ok())
			p.x, late.x = y, y
			y.put(y.backend(), q, `{"n":2}`)
			require.Equal(t, []string{`data/room set 2 {"n":2}`}, p.told())
			x.put(x.backend(), q, `{"n":3}`)
			x.put(x.backend(), DataQuery{Scope: "app"}, `{"a":1}`)
			require.Equal(t, []string{`data/app set 1 {"a":1}`, `data/room set 3 {"n":3}`}, sorted(p.told()))
			require.Equal(t, []string{`data/room snapshot 1 {"n":1}`, `data/room set 2 {"n":2}`, `data/room set 3 {"n":3}`}, late.told())
		})
	})
}

// E16, E18: eight nodes, writers over HTTP and Bayeux on each, listeners on all: every
// key, every version, and every listener hears all of them in order.
func TestManyNodesWriteE16(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const nodes, each = 8, 6
		fleet := newFleet(t, nodes)
		root := fleet[0].root("gala", channels.ClassView)
		var listeners []*peer
		for i, x := range fleet {
			p := x.user("participant", "gala", fmt.Sprint("listener", i))
			require.True(t, p.subscribe(root+"/data/session").ok())
			listeners = append(listeners, p)
		}
		var wg sync.WaitGroup
		for i, x := range fleet {
			p := x.user("participant", "gala", fmt.Sprint("writer", i))
			wg.Go(func() {
				for k := range each {
					for {
						r := x.post(p, p.message(root+"/data/session", fmt.Sprintf(`,"data":{"b%d_%d":%d}`, i, k, k)))[0]
						if r.ok() {
							break
						}
						require.Equal(t, "503::Service unavailable", r.Error)
					}
				}
			})
			wg.Go(func() {
				for k := range each {
					for {
						_, err := x.b.ChangeData(t.Context(), x.who(RoleViewer, "gala", "http"), DataQuery{Scope: "session"}, catchup.Merging, fmt.Appendf(nil, `{"h%d_%d":[]}`, i, k), nil)
						if err == nil {
							break
						}
						require.Equal(t, 5003, AsError(err).Result, err)
					}
				}
			})
		}
		wg.Wait()
		fleet[0].settle()
		d, err := fleet[nodes-1].b.Data(t.Context(), fleet[0].who(RoleViewer, "gala", "x"), DataQuery{Scope: "session"})
		require.NoError(t, err)
		require.EqualValues(t, 2*nodes*each, d.Version)
		var keys map[string]any
		require.NoError(t, json.Unmarshal(d.Object, &keys))
		require.Len(t, keys, 2*nodes*each)
		for _, p := range listeners {
			got := cut(p.told(), 3)
			require.Len(t, got, 1+2*nodes*each)
			require.Equal(t, "data/session snapshot 0", got[0])
			for v := 1; v < len(got); v++ {
				require.Equal(t, fmt.Sprintf("data/session set %d", v), got[v])
			}
		}
	})
}

// E20: a room's data goes with the room; another of its name begins anew.
func TestDataOfDeletedObjectE20(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		x.root("gala", channels.ClassView)
		server := x.backend()
		for _, scope := range []string{"room", "session"} {
			x.put(server, DataQuery{Scope: scope, ObjectID: "gala"}, `{"x":1}`)
		}
		x.put(server, DataQuery{Scope: "app"}, `{"x":1}`)
		before, err := x.b.objects.get(t.Context(), x.app, "gala")
		require.NoError(t, err)
		require.NoError(t, x.b.DeleteObject(t.Context(), x.app, "gala"))
		require.ErrorIs(t, x.b.DeleteObject(t.Context(), x.app, "gala"), ErrNoObject)
		_, _, err = x.b.objects.create(t.Context(), x.app, ObjectSpec{ID: "gala"})
		require.NoError(t, err)
		keys, err := x.b.documents.Keys(t.Context(), "12/", "", 10)
		require.NoError(t, err)
		require.Equal(t, []string{"12/a"}, keys)
		for _, scope := range []string{"room", "session"} {
			log := x.b.document(scope, place{app: x.app, object: before}, "").Log
			head, err := x.store.Head(t.Context(), log, x.b.kinds.data[scope].limits)
			require.NoError(t, err)
			require.True(t, head.Last.IsZero(), "the changes of %s are gone", scope)
			d, err := x.b.Data(t.Context(), server, DataQuery{Scope: scope, ObjectID: "gala"})
			require.NoError(t, err)
			require.Equal(t, "{}", string(d.Object))
		}
	})
}

// §7: as whom a user is shown: by its newest live session in the room, on any node.
func TestDataShownAs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fleet := newFleet(t, 2)
		x, y := fleet[0], fleet[1]
		root := x.root("gala", channels.ClassView)
		ask := func(client string) Data {
			t.Helper()
			d, err := y.b.Data(t.Context(), y.who(RoleViewer, "gala", "ann"), DataQuery{Scope: "user", UserRef: "bob", ClientID: client})
			require.NoError(t, err)
			require.Equal(t, "bob", d.UserRef)
			require.Empty(t, d.ClientID, "another's session is nobody's business")
			return d
		}
		require.Equal(t, Data{UserRef: "bob", Role: "participant", Object: []byte("{}")}, ask(""))
		bob := x.user("moderator", "gala", "bob")
		require.Equal(t, "participant", ask("").Role, "not in the room yet")
		require.True(t, bob.subscribe(root+"/chat").ok())
		require.Equal(t, "moderator", ask(bob.id).Role)
		require.Equal(t, "BOB", ask("").Name)
		time.Sleep(time.Second)
		newer := y.user("broadcaster", "gala", "bob")
		require.True(t, newer.subscribe(root+"/chat").ok())
		require.Equal(t, "broadcaster", ask("").Role)
		require.True(t, y.post(newer, newer.message("/meta/disconnect", ""))[0].ok())
		require.Equal(t, "moderator", ask("").Role)
		bob.unsubscribe(root + "/chat")
		require.Equal(t, "participant", ask("").Role)

		// One's own live session is shown to who names it, and to nobody else.
		ann := x.user("participant", "gala", "ann")
		own := func(who *Identity, client string) string {
			d, err := y.b.Data(t.Context(), who, DataQuery{Scope: "room", ClientID: client})
			require.NoError(t, err)
			return d.ClientID
		}
		require.Equal(t, ann.id, own(y.who(RoleViewer, "gala", "ann"), ann.id))
		require.Empty(t, own(y.who(RoleViewer, "gala", "bob"), ann.id))
		require.Empty(t, own(y.who(RoleViewer, "gala", "ann"), "invented"))
	})
}

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

// E24: whose data a client may read is the operator's choice.
func TestOwnDataOnlyE24(t *testing.T) {
	for _, self := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			x := newBench(t, func(o *Options, _ *bayeux.Options) { o.OwnDataOnly = self })
			x.root("gala", channels.ClassView)
			x.put(x.who(RoleViewer, "gala", "ann"), DataQuery{Scope: "user"}, `{"x":1}`)
			read := func(who *Identity) error {
				_, err := x.b.Data(t.Context(), who, DataQuery{Scope: "user", UserRef: "ann"})
				return err
			}
			for role := RoleViewer; role < RoleAdmin; role++ {
				err := read(x.who(role, "gala", "bob"))
				var refusal *Error
				require.Equal(t, self, errors.As(err, &refusal) && refusal.Result == 4003, "%d: %v", role, err)
			}
			require.NoError(t, read(x.who(RoleViewer, "gala", "ann")))
			require.NoError(t, read(x.who(RoleAdmin, "", "")))
			require.NoError(t, read(x.backend()))
			_, err := x.b.ChangeData(t.Context(), x.who(RoleBroadcaster, "gala", "bob"), DataQuery{Scope: "user", UserRef: "ann"}, catchup.Merging, []byte(`{}`), nil)
			require.Equal(t, 4003, AsError(err).Result, "nobody writes another's")
		})
	}
}
