package broker

import (
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// conference returns the newest one of an object.
func (x *bench) conference(id string) catchup.Conference {
	x.t.Helper()
	o, err := x.b.objects.get(x.t.Context(), x.app, id)
	require.NoError(x.t, err)
	all, err := x.b.Conferences(x.t.Context(), o)
	require.NoError(x.t, err)
	require.NotEmpty(x.t, all)
	return all[0]
}

// E6, E11: a session goes on as long as anybody is subscribed to the object on any
// node, and a minute more; its data stays for those who name it (E13, E22).
func TestConferenceFollowsSubscribersE6E11E22(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fleet := newFleetWith(t, 2, func(o *Options, b *bayeux.Options) { o.SessionTTL, b.Timeout = 10*time.Minute, 48*time.Hour })
		x, y := fleet[0], fleet[1]
		root := x.root("gala", channels.ClassView)
		ann := x.who(RoleViewer, "gala", "ann")
		early, late := x.join(""), y.join("")
		require.True(t, early.subscribe(root+"/chat").ok()) // any channel of the object
		first := x.put(ann, DataQuery{Scope: "session"}, `{"a":1}`).ConfNum
		time.Sleep(10 * time.Minute)
		require.Equal(t, first, x.conference("gala").ConfNum)
		require.True(t, x.conference("gala").Open(), "subscribed")
		require.True(t, late.subscribe(root+"/**").ok())
		time.Sleep(time.Second)
		early.unsubscribe(root + "/chat")
		time.Sleep(5 * time.Minute)
		require.True(t, x.conference("gala").Open(), "subscribed on the other node")
		require.Equal(t, first, x.put(ann, DataQuery{Scope: "session"}, `{"b":2}`).ConfNum)
		require.True(t, y.post(late, late.message("/meta/disconnect", ""))[0].ok())
		left := time.Now()
		time.Sleep(catchup.ConferenceLinger - 2*time.Second)
		require.True(t, x.conference("gala").Open())
		time.Sleep(4 * time.Second)
		require.False(t, x.conference("gala").Open())
		require.WithinDuration(t, left.Add(catchup.ConferenceLinger), x.conference("gala").Ended, 2*time.Second)

		// E13, E22: it stays reachable, without anybody there.
		last, err := y.b.Data(t.Context(), ann, DataQuery{Scope: "session", Session: "last"})
		require.NoError(t, err)
		require.Equal(t, first, last.ConfNum)
		require.Equal(t, `{"a":1,"b":2}`, string(last.Object))
		next, err := y.b.Data(t.Context(), ann, DataQuery{Scope: "session"})
		require.NoError(t, err)
		require.NotEqual(t, first, next.ConfNum)
		require.Equal(t, `{}`, string(next.Object))

		// E19: at its time after the end it is gone.
		named := DataQuery{Scope: "session", ConfNum: first}
		time.Sleep(time.Until(x.conferenceEnd(first).Add(10*time.Minute - time.Second)))
		got, err := x.b.Data(t.Context(), ann, named)
		require.NoError(t, err)
		require.Equal(t, `{"a":1,"b":2}`, string(got.Object))
		time.Sleep(2 * time.Second)
		_, err = x.b.Data(t.Context(), ann, named)
		require.Equal(t, 4004, AsError(err).Result)
	})
}

func (x *bench) conferenceEnd(confNum string) time.Time {
	x.t.Helper()
	o, err := x.b.objects.get(x.t.Context(), x.app, "gala")
	require.NoError(x.t, err)
	all, err := x.b.Conferences(x.t.Context(), o)
	require.NoError(x.t, err)
	for _, c := range all {
		if c.ConfNum == confNum {
			return c.Ended
		}
	}
	x.t.Fatal("no such session")
	return time.Time{}
}

// A node that is cut off takes nobody's session with it, and keeps none open.
func TestConferenceSurvivesNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fleet := newFleet(t, 3)
		x := fleet[0]
		room := x.root("gala", channels.ClassView)
		away := func(n *bench, yes bool) { n.options.Store.(*sharedStore).away.Store(yes) }
		for _, n := range fleet[1:] {
			require.True(t, n.join("").subscribe(room+"/chat").ok())
		}
		first := x.put(x.who(RoleViewer, "gala", "ann"), DataQuery{Scope: "session"}, `{"a":1}`).ConfNum
		time.Sleep(30 * time.Second)
		away(fleet[1], true)
		time.Sleep(30 * time.Second)
		require.True(t, x.conference("gala").Open())
		require.Equal(t, first, x.conference("gala").ConfNum)
		away(fleet[2], true)
		time.Sleep(catchup.ConferenceLinger + time.Second)
		require.False(t, x.conference("gala").Open())
		away(fleet[1], false)
		away(fleet[2], false)
	})
}

// What a session holds is kept for its time after the end, and its row no longer; one
// that goes on is kept longer without a change (E19).
func TestConferenceDataKeptE19(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, b *bayeux.Options) { o.SessionTTL, b.Timeout = time.Minute, 30*24*time.Hour })
		require.True(t, x.join("").subscribe(x.root("gala", channels.ClassView)+"/chat").ok())
		ann := x.who(RoleViewer, "gala", "ann")
		x.put(ann, DataQuery{Scope: "session"}, `{"a":1}`)
		o, err := x.b.objects.get(t.Context(), x.app, "gala")
		require.NoError(t, err)
		row := func() time.Duration {
			v, err := x.store.Get(t.Context(), "data", sessionDataKey(o)+x.conference("gala").ConfNum)
			require.NoError(t, err)
			return time.Until(v.Expires)
		}
		whole := x.b.conferences.Life()
		time.Sleep(extendEvery - time.Minute)
		require.Less(t, row(), whole-extendEvery/2)
		time.Sleep(2 * time.Minute)
		require.Greater(t, row(), whole-2*time.Minute)
		ended, err := x.b.EndConference(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, time.Minute, row())
		q := DataQuery{Scope: "session", ConfNum: ended.ConfNum}
		d, err := x.b.Data(t.Context(), ann, q)
		require.NoError(t, err)
		require.Equal(t, `{"a":1}`, string(d.Object))
		time.Sleep(time.Minute)
		_, err = x.b.Data(t.Context(), ann, q)
		require.Equal(t, 4004, AsError(err).Result)
		_, err = x.store.Get(t.Context(), "data", sessionDataKey(o)+ended.ConfNum)
		require.Error(t, err, "the row goes with its time")
		_, err = x.b.EndConference(t.Context(), o)
		require.ErrorIs(t, err, errNoConference)
	})
}

// A subscriber to the data of a session hears the next one, too.
func TestNextConference(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		p := x.user("participant", "gala", "bob")
		x.put(x.who(RoleViewer, "gala", "ann"), DataQuery{Scope: "session"}, `{"a":1}`)
		require.True(t, p.subscribe(root+"/data/session").ok())
		require.Equal(t, []string{`data/session snapshot 1 {"a":1}`}, p.told())
		o, err := x.b.objects.get(t.Context(), x.app, "gala")
		require.NoError(t, err)
		_, err = x.b.EndConference(t.Context(), o)
		require.NoError(t, err)
		x.put(x.who(RoleViewer, "gala", "ann"), DataQuery{Scope: "session"}, `{"b":1}`)
		require.Equal(t, []string{`data/session set 1 {"b":1}`}, p.told())
		late := x.user("participant", "gala", "cid")
		require.True(t, late.subscribe(root+"/data/session").ok())
		require.Equal(t, []string{`data/session snapshot 1 {"b":1}`}, late.told())
	})
}
