package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// entryView is an entry as a peer sees it.
type entryView struct {
	Observed     int64           `json:"observed"`
	ChannelID    string          `json:"channel_id"`
	OpaqueUserID string          `json:"opaque_user_id"`
	UserID       string          `json:"user_id"`
	Data         json.RawMessage `json:"data"`
}

// viewerOf is somebody with a token of an object.
func (x *bench) roleOf(role Role, object, user string) *Identity {
	return &Identity{App: x.app, Role: role, ChannelID: object, OpaqueUserID: user}
}

// give accumulates as a viewer, and returns when it was observed.
func (x *bench) give(object, name, data string) int64 {
	x.t.Helper()
	at, err := x.b.Accumulate(context.Background(), x.roleOf(RoleViewer, object, "U1"), object, name, []byte(data), store.Nonce{})
	require.NoError(x.t, err)
	return at
}

// take reads, and returns the data of the entries beside what is said of them.
func (x *bench) take(who *Identity, q AccumulationQuery) ([]string, []entryView, AccumulationEnd, error) {
	x.t.Helper()
	data, views := []string{}, []entryView{}
	end, err := x.b.Accumulated(context.Background(), who, q, func(entries []catchup.Entry) error {
		for _, e := range entries {
			var v entryView
			require.NoError(x.t, json.Unmarshal(e.AppendJSON(nil), &v))
			data, views = append(data, string(v.Data)), append(views, v)
		}
		return nil
	})
	return data, views, end, err
}

func (x *bench) taken(who *Identity, q AccumulationQuery) ([]string, AccumulationEnd) {
	x.t.Helper()
	data, _, end, err := x.take(who, q)
	require.NoError(x.t, err)
	return data, end
}

func (x *bench) tokenExt(claims map[string]any) string {
	x.t.Helper()
	text, err := SignToken(*x.app, claims, time.Hour, time.Now())
	require.NoError(x.t, err)
	return `{"token":"` + text + `"}`
}

func TestM1BlobsAsTheyCame(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		caster := x.roleOf(RoleBroadcaster, "show", "")
		all := AccumulationQuery{Name: "mood", ChannelID: "show"}
		blobs := []string{`{"a":1.0,"b":12345678901234567890,"c":[]}`, `{}`, `{ "x" : [ {"y":null} ] }`, `{"a":1e400,"a":2}`}
		for _, d := range blobs {
			x.give("show", "mood", " \n"+d+"\t")
			time.Sleep(time.Second)
		}
		got, end := x.taken(caster, all)
		require.Equal(t, blobs, got)
		require.False(t, end.Truncated)
	})
}

func TestM5M6M10Times(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		caster := x.roleOf(RoleBroadcaster, "show", "")
		all := AccumulationQuery{Name: "mood", ChannelID: "show"}
		for n := range 4 {
			x.give("show", "mood", fmt.Sprintf(`{"n":%d}`, n))
			time.Sleep(time.Second)
		}
		_, views, end, err := x.take(caster, all)
		require.NoError(t, err)
		require.Len(t, views, 4)
		for i := 1; i < len(views); i++ {
			require.GreaterOrEqual(t, views[i].Observed, views[i-1].Observed)
		}
		require.Equal(t, views[3].Observed, end.Latest)
		from := func(ms int64) int {
			q := all
			q.Start = time.UnixMilli(ms)
			got, end := x.taken(caster, q)
			require.Equal(t, views[3].Observed, end.Latest, "also without entries")
			return len(got)
		}
		require.Equal(t, 3, from(views[1].Observed), "inclusive")
		require.Equal(t, 2, from(views[1].Observed+1))
		require.Equal(t, 0, from(views[3].Observed+1))
		got, end := x.taken(caster, AccumulationQuery{Name: "nothing", ChannelID: "show"})
		require.Empty(t, got)
		require.Equal(t, AccumulationEnd{}, end)
	})
}

func TestM11Identity(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		caster := x.roleOf(RoleBroadcaster, "show", "")
		shared := &Identity{App: x.app, Role: RoleViewer, ChannelID: "show", OpaqueUserID: "U<7>", UserID: "7"}
		_, err := x.b.Accumulate(context.Background(), shared, "show", "who", []byte(`{"user_id":"me","channel_id":"x"}`), store.Nonce{})
		require.NoError(t, err)
		x.give("show", "who", `{}`)
		_, views, _, err := x.take(caster, AccumulationQuery{Name: "who", ChannelID: "show"})
		require.NoError(t, err)
		require.Equal(t, []string{"show", "U<7>", "7"}, []string{views[0].ChannelID, views[0].OpaqueUserID, views[0].UserID})
		require.Equal(t, []string{"show", "U1", ""}, []string{views[1].ChannelID, views[1].OpaqueUserID, views[1].UserID})
	})
}

func TestM17Clear(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		caster := x.roleOf(RoleBroadcaster, "show", "")
		all := AccumulationQuery{Name: "mood", ChannelID: "show"}
		for n := range 4 {
			x.give("show", "mood", fmt.Sprintf(`{"n":%d}`, n))
			time.Sleep(time.Second)
		}
		_, before := x.taken(caster, all)
		require.NoError(t, x.b.ClearAccumulation(context.Background(), caster, "show", "mood"))
		got, end := x.taken(caster, all)
		require.Empty(t, got)
		require.Zero(t, end.Latest)
		require.NoError(t, x.b.ClearAccumulation(context.Background(), caster, "show", "mood"), "again")
		require.NoError(t, x.b.ClearAccumulation(context.Background(), x.roleOf(RoleAdmin, "", ""), "nobody", "mood"))
		x.give("show", "mood", `{"n":1}`)
		q := all
		q.After = before.Cursor
		got, _ = x.taken(caster, q)
		require.Equal(t, []string{`{"n":1}`}, got, "a cursor of before goes on with what is new")
		require.Equal(t, 4000, AsError(x.b.ClearAccumulation(context.Background(), x.roleOf(RoleAdmin, "", ""), "", "mood")).Result)
	})
}

func TestM7M8AccumulationExpires(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		require.Equal(t, 24*time.Hour, newBench(t, nil).b.fills.limits.Idle, "a day unless set")
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Accumulate.TTL = 24 * time.Minute })
		caster := x.roleOf(RoleBroadcaster, "show", "")
		q := AccumulationQuery{Name: "mood", ChannelID: "show"}
		// M7: its time after the last entry, all at once.
		for n := range 3 {
			x.give("show", "mood", fmt.Sprintf(`{"n":%d}`, n))
			time.Sleep(23 * time.Minute)
		}
		got, end := x.taken(caster, q)
		require.Len(t, got, 3, "each entry renews the whole")
		admins, _ := x.taken(x.roleOf(RoleAdmin, "", ""), AccumulationQuery{Name: "mood"})
		require.Len(t, admins, 3, "and is still found by its name")
		time.Sleep(time.Minute)
		got, gone := x.taken(caster, q)
		require.Empty(t, got)
		require.Equal(t, AccumulationEnd{}, gone)
		// M8: then it begins anew.
		x.give("show", "mood", `{"new":true}`)
		for _, after := range []string{"", end.Cursor} {
			q.After = after
			got, _ = x.taken(caster, q)
			require.Equal(t, []string{`{"new":true}`}, got)
		}
		time.Sleep(25 * time.Minute)
		q.After = end.Cursor
		_, gone = x.taken(caster, q)
		require.Equal(t, AccumulationEnd{Cursor: end.Cursor}, gone, "who goes on from a cursor keeps it")
		time.Sleep(48 * time.Minute)
		for _, table := range []string{tableAccumulation, tableAccumulationName} {
			rows, err := x.store.List(context.Background(), table, "", "", 10)
			require.NoError(t, err)
			require.Empty(t, rows, "rows end as well")
		}
	})
}

// TestM4AccumulationRights is security.md §2.4, rows accumulate and read accumulation (M4).
func TestM4AccumulationRights(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		stranger := &Identity{App: &Application{ID: 99, Name: "other"}, Role: RoleServer}
		who := []*Identity{
			nil, x.roleOf(RoleViewer, "gala", ""), x.roleOf(RoleModerator, "gala", ""), x.roleOf(RoleBroadcaster, "gala", ""),
			x.roleOf(RoleAdmin, "", ""), x.backend(), stranger, x.roleOf(RoleBroadcaster, "", ""),
		}
		ctx := context.Background()
		ops := map[string]func(*Identity, string) error{
			"accumulate": func(id *Identity, object string) error {
				_, err := x.b.Accumulate(ctx, id, object, "m", []byte("{}"), store.Nonce{})
				return err
			},
			"read": func(id *Identity, object string) error {
				_, _, _, err := x.take(id, AccumulationQuery{Name: "m", ChannelID: object})
				return err
			},
			"clear": func(id *Identity, object string) error { return x.b.ClearAccumulation(ctx, id, object, "m") },
		}
		for _, row := range []struct {
			op, object string
			want       [8]int
		}{
			{"accumulate", "gala", [8]int{4001, 0, 0, 0, 0, 0, 0, 4003}},
			{"accumulate", "else", [8]int{4001, 4003, 4003, 4003, 0, 0, 0, 4003}},
			{"accumulate", "", [8]int{4001, 4000, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"read", "gala", [8]int{4001, 4003, 4003, 0, 0, 0, 0, 4003}},
			{"read", "else", [8]int{4001, 4003, 4003, 4003, 0, 0, 0, 4003}},
			{"read", "", [8]int{4001, 4003, 4003, 4003, 0, 0, 0, 4003}},
			{"clear", "gala", [8]int{4001, 4003, 4003, 0, 0, 0, 0, 4003}},
			{"clear", "else", [8]int{4001, 4003, 4003, 4003, 0, 0, 0, 4003}},
		} {
			for i, id := range who {
				got := 0
				if err := ops[row.op](id, row.object); err != nil {
					got = AsError(err).Result
				}
				require.Equal(t, row.want[i], got, "%s %q as %d", row.op, row.object, i)
			}
		}
		// The stranger has accumulated in an application of its own.
		x.give("gala", "m", `{"ours":1}`)
		got, _ := x.taken(x.roleOf(RoleAdmin, "", ""), AccumulationQuery{Name: "m"})
		require.Contains(t, got, `{"ours":1}`)
		theirs, _ := x.taken(stranger, AccumulationQuery{Name: "m"})
		require.NotContains(t, theirs, `{"ours":1}`)
	})
}

func TestM3AccumulateRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.AutoCreate = false })
		who := x.roleOf(RoleViewer, "gala", "")
		f := func(name, data string, want *Error) {
			t.Helper()
			_, err := x.b.Accumulate(context.Background(), who, "gala", name, []byte(data), store.Nonce{})
			require.Equal(t, want, AsError(err), "%.40q", data)
		}
		// M3
		for _, bad := range []string{"[1]", `"x"`, "7", "true", "null", "{", "", "  ", `{}{}`, "{\"a\":\"\xff\"}", `{"a":01}`} {
			f("m", bad, errEntryShape)
		}
		f("m", `{"a":`+strings.Repeat("[", 32)+strings.Repeat("]", 32)+`}`, errEntryDepth)
		f("m", `{"a":"`+strings.Repeat("x", maxEntry)+`"}`, errEntryLarge)
		for _, bad := range []string{"", "a/b", "a.b", "*", "**", "catchup", strings.Repeat("x", 65), "ä", "a b", "\x00"} {
			_, err := x.b.Accumulate(context.Background(), who, "gala", bad, []byte("{}"), store.Nonce{})
			require.Equal(t, 4000, AsError(err).Result, "%q", bad)
		}
		f("m", "{}", ErrNoObject)
		_ = x.root("gala", channels.ClassView)
		_, err := x.b.objects.ensure(context.Background(), x.app, "gala")
		require.NoError(t, err)
		f(strings.Repeat("x", 64), "{}", nil)
		f("a-_!~()$@Z9", `{"a":`+strings.Repeat("[", 31)+strings.Repeat("]", 31)+`}`, nil)
		f("m", `{"a":"`+strings.Repeat("x", maxEntry-8)+`"}`, nil)
		got, end := x.taken(x.backend(), AccumulationQuery{Name: "nothing"})
		require.Empty(t, got)
		require.Zero(t, end.Latest)
	})
}

func mustFeed(x *bench, id string) string {
	o, err := x.b.objects.get(context.Background(), x.app, id)
	require.NoError(x.t, err)
	return feedOf(o)
}

// TestM1M2M16AccumulateOverBayeux: M1, M2, M16 and the rights of examples.md A1b.
func TestM1M2M16AccumulateOverBayeux(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control, guest := x.root("show", channels.ClassView), x.root("show", channels.ClassControl), x.root("show", channels.ClassGuest)
		x.root("else", channels.ClassView)
		viewer := x.join(x.tokenExt(map[string]any{"role": "viewer", "channel_id": "show", "opaque_user_id": "U77"}))
		stray := x.join(x.tokenExt(map[string]any{"role": "viewer", "channel_id": "else"}))
		nobody, board, wild := x.join(""), x.join(""), x.join("")
		deep, narrow := "/accumulate/mood", "/accumulate/*"

		// M2: no way for a viewer to hear one.
		var ears []*peer
		for _, token := range []string{"", x.tokenExt(map[string]any{"role": "viewer", "channel_id": "show"}), x.tokenExt(map[string]any{"role": "moderator", "channel_id": "show"}), x.tokenExt(map[string]any{"role": "broadcaster", "channel_id": "else"})} {
			for _, root := range []string{view, guest} {
				p := x.join(token)
				for _, name := range []string{deep, deep + "/catchup/30m"} {
					require.Equal(t, "403:"+root+name+":Forbidden channel", p.subscribe(root+name).Error)
				}
				for _, name := range []string{"/*", "/**", narrow, "/accumulate/**"} {
					require.True(t, p.subscribe(root+name).ok())
				}
				ears = append(ears, p)
			}
		}
		require.True(t, board.subscribe(control+deep).ok())
		require.True(t, wild.subscribe(control+"/**").ok())

		ack := viewer.publish(view+deep, `{ "mood" : 1.0 }`, "")
		require.True(t, ack.ok(), ack.Error)
		require.Equal(t, ack.Ext.History.TS, ack.Ext.Observed, "the acknowledgement says when it was observed")
		want := fmt.Sprintf(`{"observed":%d,"channel_id":"show","opaque_user_id":"U77","user_id":"","data":{ "mood" : 1.0 }}`, ack.Ext.Observed)
		require.Equal(t, on(control+deep, want), board.poll())
		require.Equal(t, on(control+deep, want), wild.poll())
		for i, p := range ears {
			require.Empty(t, p.poll(), "ear %d", i)
		}
		// Again with the same id: the first answer, and one entry.
		again := x.post(viewer, fmt.Sprintf(`{"channel":%q,"clientId":%q,"id":"%d","data":{ "mood" : 1.0 }}`, view+deep, viewer.id, viewer.n))[0]
		require.Equal(t, ack.Ext, again.Ext)

		// M16: who comes late gets the same.
		late := x.join("")
		got := late.subscribe(control + deep + "/catchup/30m")
		require.Equal(t, 1, got.Ext.Catchup.Messages)
		require.Equal(t, on(control+deep+"/catchup/30m", want), late.poll())
		caster := x.join(x.tokenExt(map[string]any{"role": "broadcaster", "channel_id": "show"}))
		require.True(t, caster.subscribe(view+deep+"/catchup/24h").ok())
		require.Equal(t, on(view+deep+"/catchup/24h", want), caster.poll())
		require.Equal(t, "413:"+control+deep+"/catchup/25h,24h:Catch-up interval too long", late.subscribe(control+deep+"/catchup/25h").Error)

		// A token of the object is what it takes, whatever the root.
		for _, p := range []*peer{nobody, stray} {
			for _, root := range []string{view, control} {
				require.Equal(t, "403:"+root+deep+":Forbidden channel", p.publish(root+deep, "{}", "").Error)
			}
		}
		require.True(t, nobody.publish(view+deep, `{"n":2}`, x.tokenExt(map[string]any{"role": "viewer", "channel_id": "show", "user_id": "9"})).ok(), "the message's own token")
		require.Len(t, board.poll(), 1)
		f := func(channel, data, want string) {
			t.Helper()
			require.Equal(t, want, viewer.publish(channel, data, "").Error)
		}
		f(view+deep, `[1]`, "400:"+view+deep+":Data must be a JSON object")
		f(view+deep, `{"a":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`, "400:"+view+deep+":Data nested too deep")
		f(view+deep, `{"a":"`+strings.Repeat("x", maxEntry)+`"}`, "413:"+view+deep+":Message too large")
		f(view+"/accumulate", `{}`, "405:"+view+"/accumulate:Invalid channel")
		f(view+deep+"/x", `{}`, "405:"+view+deep+"/x:Invalid channel")
		require.Empty(t, board.poll(), "nothing of what was refused is there")

		// Nor by a backend's publish, which has no entry's shape.
		out := x.b.PublishAll(context.Background(), x.backend(), []Publication{{ObjectID: "show", Channel: "accumulate/mood", Data: []byte("{}")}})
		require.Equal(t, 4003, AsError(out[0].Err).Result)

		// Cleared and begun anew, who listens hears it.
		require.NoError(t, x.b.ClearAccumulation(context.Background(), x.backend(), "show", "mood"))
		time.Sleep(time.Second)
		x.give("show", "mood", `{"n":3}`)
		x.settle()
		require.Len(t, board.poll(), 1)
	})
}

// With the store away nothing is half done, and a retry with the nonce is one entry.
func TestAccumulateNonce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		who := x.roleOf(RoleViewer, "show", "")
		nonce := PublicationNonce(12, "k", 0)
		first, err := x.b.Accumulate(context.Background(), who, "show", "m", []byte(`{}`), nonce)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		again, err := x.b.Accumulate(context.Background(), who, "show", "m", []byte(`{}`), nonce)
		require.NoError(t, err)
		require.Equal(t, first, again)
		got, _ := x.taken(x.backend(), AccumulationQuery{Name: "m"})
		require.Len(t, got, 1)
	})
}

// Several nodes write to accumulations of one store at once, over both roads; each reads
// the same, and a dashboard on any of them hears every entry once, in order.
func TestM1AccumulateOnManyNodes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fleet := newFleet(t, 3)
		const each = 30
		objects := []string{"show0", "show1"}
		boards := make([]*peer, len(fleet))
		for i, x := range fleet {
			boards[i] = x.join("")
			require.True(t, boards[i].subscribe(x.root("show0", channels.ClassControl)+"/accumulate/mood").ok())
		}
		var wg sync.WaitGroup
		for i, x := range fleet {
			view := x.root("show0", channels.ClassView)
			viewer := x.join(x.tokenExt(map[string]any{"role": "viewer", "channel_id": "show0", "opaque_user_id": fmt.Sprint("N", i)}))
			wg.Go(func() {
				for n := range each {
					x.give(objects[n%2], "mood", fmt.Sprintf(`{"http":%d,"n":%d}`, i, n))
				}
			})
			wg.Go(func() {
				for n := range each {
					r := x.post(viewer, viewer.message(view+"/accumulate/mood", fmt.Sprintf(`,"data":{"bayeux":%d,"n":%d}`, i, n)))[0]
					if !r.ok() {
						t.Error(r.Error)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		var first []string
		for i, x := range fleet {
			all, _ := x.taken(x.roleOf(RoleAdmin, "", ""), AccumulationQuery{Name: "mood", Whole: true})
			require.Len(t, all, 2*each*len(fleet), "node %d finds those of all objects", i)
			one, views, _, err := x.take(x.backend(), AccumulationQuery{Name: "mood", ChannelID: "show0", Whole: true})
			require.NoError(t, err)
			if i == 0 {
				first = one
			}
			require.Equal(t, first, one)
			heard := boards[i].poll()
			require.Len(t, heard, len(views))
			for j, text := range heard {
				_, data, _ := strings.Cut(text, " ")
				var v entryView
				require.NoError(t, json.Unmarshal([]byte(data), &v))
				require.Equal(t, views[j], v)
			}
		}
	})
}

// Where the store cannot be reached nothing is taken, and it is said how it is meant.
func TestAccumulateWithoutStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		view := x.root("show", channels.ClassView)
		p := x.join(x.tokenExt(map[string]any{"role": "viewer", "channel_id": "show"}))
		x.give("show", "m", `{}`)
		away := &x.options.Store.(*sharedStore).away
		for _, name := range []string{"m", "fresh"} {
			away.Store(true)
			_, err := x.b.Accumulate(context.Background(), x.roleOf(RoleViewer, "show", ""), "show", name, []byte(`{}`), store.Nonce{})
			require.Equal(t, 5003, AsError(err).Result)
			require.Equal(t, "503::Service unavailable", p.publish(view+"/accumulate/"+name, `{}`, "").Error)
			_, _, _, err = x.take(x.backend(), AccumulationQuery{Name: "m", ChannelID: "show"})
			require.Equal(t, 5003, AsError(err).Result)
			away.Store(false)
		}
		got, _ := x.taken(x.backend(), AccumulationQuery{Name: "m"})
		require.Len(t, got, 1)
		got, _ = x.taken(x.backend(), AccumulationQuery{Name: "fresh"})
		require.Empty(t, got)
		require.True(t, p.publish(view+"/accumulate/fresh", `{}`, "").ok())
	})
}

func BenchmarkAccumulate(b *testing.B) {
	x := newBench(b, func(o *Options, _ *bayeux.Options) { o.Accumulate.Max = 1 << 40 })
	who, data := x.roleOf(RoleViewer, "show", "U1"), []byte(`{"awesomeness_level":{"great":10,"good":2.5,"poor":"dank"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.b.Accumulate(context.Background(), who, "show", "m", data, store.Nonce{}); err != nil {
			b.Fatal(err)
		}
	}
}
