package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// Each node tells of itself what the others show, and of one that dies or stops it is
// said which of the two.
func TestNodesAsTheOperatorSeesThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		p := y.join("")
		require.True(t, p.subscribe("/open/a", "/open/*").ok())
		p.poll()
		time.Sleep(figuresEvery + time.Second)

		all, err := x.b.Operator().Nodes(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.True(t, all[0].Self)
		require.Equal(t, NodeServes, all[0].State)
		require.Zero(t, all[0].Figures.Subscriptions)
		other := all[1]
		require.Equal(t, y.b.nodes.id, other.ID)
		require.Equal(t, NodeServes, other.State)
		require.False(t, other.Self)
		require.NotNil(t, other.Figures)
		require.Equal(t, int64(2), other.Figures.Subscriptions)
		require.Equal(t, map[string]int64{"long-polling": 1}, other.Figures.Sessions)
		require.Equal(t, writtenBounds(), other.Figures.Written.Bounds)
		require.LessOrEqual(t, x.store.Now().UnixMilli()-other.At, figuresEvery.Milliseconds()+2000)

		y.options.Store.(*sharedStore).away.Store(true)
		time.Sleep(leaseTime + time.Second)
		all, err = x.b.Operator().Nodes(t.Context())
		require.NoError(t, err)
		require.Equal(t, NodeSilent, all[1].State)
		require.NotNil(t, all[1].Figures, "the last that is known")
		time.Sleep(figuresLife)
		all, err = x.b.Operator().Nodes(t.Context())
		require.NoError(t, err)
		require.Nil(t, all[1].Figures)
		y.options.Store.(*sharedStore).away.Store(false)
		time.Sleep(2 * beatEvery)
	})
}

func TestChannelsAsTheOperatorSeesThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		o := x.b.Operator()
		list := func(search string) (names []string) {
			t.Helper()
			page, err := o.Channels(t.Context(), search, 10)
			require.NoError(t, err)
			require.False(t, page.Truncated)
			for _, c := range page.Channels {
				names = append(names, c.String())
			}
			return names
		}
		require.Empty(t, list(""))
		p := x.join("")
		require.True(t, p.publish("/open/old", "1", "").ok())
		time.Sleep(2 * time.Second)
		x.say("gala/north", "chat", "a", "b", map[string]string{"long": strings.Repeat("é", 200)})
		time.Sleep(time.Second)
		require.True(t, p.publish("/open/new", `{"n":1}`, "").ok())
		require.Equal(t, []string{"/open/new", "gala/north/chat", "/open/old"}, list(""))
		require.Equal(t, []string{"gala/north/chat"}, list("NORTH"))
		require.Empty(t, list("nowhere"))

		require.True(t, p.subscribe(x.root("gala/north", channels.ClassView)+"/chat").ok())
		v, err := o.Channel(t.Context(), ChannelName{"demo", "gala/north", "chat"})
		require.NoError(t, err)
		require.Equal(t, "custom", v.Kind)
		require.Equal(t, int64(3), v.Count)
		require.Equal(t, int64(3), v.Minute)
		require.Equal(t, int64(86400), v.Catchup)
		require.Equal(t, 1, v.Subscribers)
		require.Positive(t, v.Bytes)
		require.True(t, v.Cut)
		require.True(t, json.Valid([]byte(v.Last+`"}`)), "cut between two characters: %s", v.Last)

		// A part holds what came in it, from its first ms on.
		from := v.Oldest - 10_000
		counts, err := o.Density(t.Context(), v.ChannelName, from, v.Newest+1, 3)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 0, 3}, counts)
		counts, err = o.Density(t.Context(), v.ChannelName, v.Newest+1, v.Newest+1000, 2)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 0}, counts)

		// One that was silent for longer is found by its name.
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"gala/north/chat"}, list("gala/north/chat"))
		v, err = o.Channel(t.Context(), ChannelName{"demo", "gala/north", "chat"})
		require.NoError(t, err)
		require.Zero(t, v.Minute)
		for name, result := range map[ChannelName]int{
			{"demo", "gala/north", "catchup/1h"}: 4000, {"demo", "gala/north", "a b"}: 4000, {"demo", "nobody", "chat"}: 4004,
			{"none", "gala/north", "chat"}: 4004, {"", "", "chat"}: 4000, {"", "", "/closed/x"}: 4004,
		} {
			_, err := o.Channel(t.Context(), name)
			require.Equal(t, result, AsError(err).Result, "%v", name)
		}
	})
}

// However many channels speak, a page goes through a bounded number and says so.
func TestChannelsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		for i := range maxSpoken/2 + 10 {
			require.True(t, p.publish(fmt.Sprintf("/open/c%d", i), "1", "").ok())
		}
		page, err := x.b.Operator().Channels(t.Context(), "", 5)
		require.NoError(t, err)
		require.Len(t, page.Channels, 5)
		require.True(t, page.Truncated)
	})
}

func TestSessionsAsTheOperatorSeesThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		o := x.b.Operator()
		root := x.root("gala", channels.ClassView)
		anna := x.join(x.ext(map[string]any{"role": "viewer", "channel_id": "gala", "user_ref": "anna", "name": "Anna <b>"}))
		guest := x.join("")
		far := y.join("")
		require.True(t, anna.subscribe(root+"/chat", root+"/*", root+"/chat/catchup/1h").ok())
		require.True(t, guest.subscribe("/mute/x").ok())
		require.True(t, far.subscribe("/open/y").ok())
		for range 3 {
			require.True(t, far.publish("/mute/x", `"waits"`, "").ok())
		}

		pages := func(q SessionQuery) map[string]SessionView {
			t.Helper()
			found := map[string]SessionView{}
			for q.Limit = 1; ; {
				page, err := o.Sessions(t.Context(), q)
				require.NoError(t, err)
				for _, s := range page.Sessions {
					require.NotContains(t, found, s.ID)
					found[s.ID] = s
				}
				if q.After = page.Next; q.After == "" {
					return found
				}
			}
		}
		here := pages(SessionQuery{})
		require.Len(t, here, 2)
		v := here[sessionKey(anna.id)]
		require.True(t, v.Here)
		require.Equal(t, "Anna <b>", v.Name)
		require.Equal(t, "long-polling", v.Transport)
		require.NotEmpty(t, v.Address)
		require.Equal(t, 3, v.Subscriptions)
		require.Equal(t, 3, here[sessionKey(guest.id)].Queued)

		all := pages(SessionQuery{Everywhere: true})
		require.Len(t, all, 3)
		there := all[sessionKey(far.id)]
		require.False(t, there.Here)
		require.Equal(t, y.b.nodes.label(), there.Node)
		require.Empty(t, there.Transport, "what its own node knows")
		require.Len(t, pages(SessionQuery{Search: "ANNA"}), 1)
		require.Len(t, pages(SessionQuery{Everywhere: true, Search: sessionKey(far.id)[:6]}), 1)
		slow, err := o.Sessions(t.Context(), SessionQuery{Slowest: true, Limit: 1})
		require.NoError(t, err)
		require.Equal(t, sessionKey(guest.id), slow.Sessions[0].ID)

		// A root is a capability: what is shown has the object's id in its place.
		_, list, err := o.Session(t.Context(), sessionKey(anna.id))
		require.NoError(t, err)
		require.Equal(t, []Subscription{
			{ChannelName{"demo", "gala", "*"}, []string{}, true}, {ChannelName{"demo", "gala", "chat"}, []string{"1h"}, true},
		}, list)

		require.NoError(t, o.EndSession(t.Context(), sessionKey(far.id)))
		time.Sleep(time.Second)
		require.Zero(t, y.server.Sessions())
		require.Equal(t, 4004, AsError(o.EndSession(t.Context(), sessionKey(far.id))).Result)
		require.Equal(t, 4004, AsError(o.EndSession(t.Context(), "../x")).Result)
	})
}

func TestAccumulationsByName(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		who := &Identity{App: x.app, Role: RoleServer}
		for _, name := range []string{"poll", "1", "poll"} {
			_, err := x.b.Accumulate(t.Context(), who, "gala", name, []byte(`{"a":1}`), [16]byte{})
			require.NoError(t, err)
		}
		names, err := x.b.Operator().Accumulations(t.Context(), "demo", "gala")
		require.NoError(t, err)
		require.Equal(t, []string{"1", "poll"}, names)
		_, err = x.b.Operator().Accumulations(t.Context(), "demo", "nobody")
		require.Equal(t, 4004, AsError(err).Result)
	})
}

func TestStreamsAsTheOperatorSeesThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		a := x.b.StreamAccount(streamToken)
		made, err := x.b.CreateStream(t.Context(), a, StreamSpec{Name: "all of it", Resources: []string{"message"}})
		require.NoError(t, err)
		x.say("gala", "chat", 1, 2)
		time.Sleep(3 * time.Second)
		all, err := x.b.Operator().Streams(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
		s := all[0]
		require.Equal(t, made.ID, s.ID)
		require.Equal(t, "158", s.Account)
		require.Zero(t, s.Checkpoint)
		require.Equal(t, int64(2), s.Waiting)
		require.GreaterOrEqual(t, s.Lag, int64(2900))
	})
}

// What a token or a root is, as the broker has it, revocation included.
func TestOperatorExplains(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		o := x.b.Operator()
		token, err := o.SignToken("demo", map[string]any{"role": "viewer", "channel_id": "gala", "jti": "t1"}, time.Hour)
		require.NoError(t, err)
		require.NotNil(t, o.ExplainToken("", token).Identity)
		require.NoError(t, x.b.Revoke(t.Context(), x.app, "t1", time.Time{}))
		require.Nil(t, o.ExplainToken("", token).Identity)
		_, err = o.SignToken("none", map[string]any{"role": "admin"}, time.Hour)
		require.Equal(t, 4004, AsError(err).Result)
		_, err = o.SignToken("demo", map[string]any{"role": "king"}, time.Hour)
		require.Equal(t, 4000, AsError(err).Result)

		root := x.root("gala", channels.ClassControl)[1:]
		object, err := o.ObjectOf(t.Context(), root)
		require.NoError(t, err)
		require.Equal(t, "gala", object.ID)
		_, err = o.ObjectOf(t.Context(), root[20:]+root[:20])
		require.ErrorIs(t, err, ErrNoObject)
		require.Nil(t, o.Identity("none"))
		require.Equal(t, []string{"demo"}, o.Applications())
	})
}

func TestQuantiles(t *testing.T) {
	s := Spread{Counts: []int64{0, 90, 0, 10, 0}, Bounds: []float64{1, 2, 4, 8}}
	f := func(s Spread, share, want float64) {
		t.Helper()
		ms, ok := s.Quantile(share)
		require.True(t, ok)
		require.InDelta(t, want, ms, 1e-9)
	}
	f(s, 0.45, 1.5)
	f(s, 0.9, 2)
	f(s, 0.95, 6)
	f(s, 1, 8)
	f(s.Since(Spread{Counts: []int64{0, 90, 0, 0, 0}}), 0.5, 6)
	f(s.Since(Spread{Counts: []int64{0, 91, 0, 0, 0}}), 0.45, 1.5) // another start
	f(s.And(Spread{Counts: []int64{0, 0, 0, 0, 900}}), 0.99, 8)    // at least
	_, ok := Spread{}.Quantile(0.5)
	require.False(t, ok)
}

// The time from publish to write is that of the network's far end: what waits for a poll
// waits. Replays are not counted.
func TestPublishToWrite(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(_ *Options, o *bayeux.Options) {})
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		p.poll()
		q := x.join("")
		require.True(t, q.publish("/open/a", "1", "").ok())
		time.Sleep(350 * time.Millisecond)
		require.Len(t, p.poll(), 1)
		w := x.server.Stats().Waits
		require.Equal(t, int64(1), w.Counts[17], "300 to 500 ms: %v", w.Counts)
		require.InDelta(t, 350*time.Millisecond, w.Sum, float64(10*time.Millisecond))
		require.True(t, q.subscribe("/open/a/catchup/1h").ok())
		require.Len(t, q.poll(), 1)
		require.Equal(t, w, x.server.Stats().Waits)
		require.Equal(t, []int64{1}, x.b.Figures().Stored.Counts[:1])
	})
}
