package broker

import (
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// twoApps gives the bench a second application.
func twoApps(o *Options, _ *bayeux.Options) {
	o.Accounts[0].Apps = append(o.Accounts[0].Apps, Application{ID: 13, Name: "other", AppKey: "k", TokenSecret: "other-token-secret-0123456789abcdef"})
}

// E21: within a second nothing works on any node, and others are not touched; resumed
// in time everything is back.
func TestSuspendE21(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fleet := newFleetWith(t, 2, twoApps)
		x, y := fleet[0], fleet[1]
		root := x.root("gala", channels.ClassView)
		x.put(x.backend(), DataQuery{Scope: "room", ObjectID: "gala"}, `{"r":1}`)
		ann, plain := y.user("participant", "gala", "ann"), y.join("")
		require.True(t, ann.subscribe(root+"/data/room").ok())
		require.True(t, plain.subscribe(root+"/chat").ok())
		bystander := y.join("")
		require.True(t, bystander.subscribe("/open/a").ok())
		ann.poll()

		since, err := x.b.Suspend(t.Context(), x.app)
		require.NoError(t, err)
		again, err := y.b.Suspend(t.Context(), y.app)
		require.NoError(t, err)
		require.Equal(t, since, again)
		time.Sleep(time.Second)
		require.True(t, y.b.Suspended(y.app))
		require.False(t, y.b.Suspended(y.b.tokens.application("other")))
		for _, p := range []*peer{ann, plain} {
			r := y.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))
			require.Equal(t, "401:"+p.id+":Unknown client", r[0].Error)
		}
		require.Empty(t, bystander.poll())
		fresh := y.join("")
		require.Equal(t, "403:"+root+"/chat:Application suspended", fresh.subscribe(root+"/chat").Error)
		require.Equal(t, "403:"+root+"/chat:Application suspended", fresh.publish(root+"/chat", "1", "").Error)
		hello := y.post(&peer{x: y}, `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"token":"`+y.token("viewer", "gala", "ann")+`"}}`)
		require.Equal(t, "403:token:Application suspended", hello[0].Error)

		x.suspendedFor(7*day - time.Hour)
		require.NoError(t, y.b.Resumed(t.Context(), y.app))
		time.Sleep(time.Second)
		require.False(t, x.b.Suspended(x.app))
		ann = x.user("participant", "gala", "ann")
		require.True(t, ann.subscribe(root+"/data/room").ok())
		require.Equal(t, []string{`data/room snapshot 1 {"r":1}`}, ann.told())
	})
}

// A node that starts while an application is suspended knows, and one that missed the
// notice finds out.
func TestSuspendedAtStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		root := x.root("gala", channels.ClassView)
		_, err := x.b.Suspend(t.Context(), x.app)
		require.NoError(t, err)
		x.restart(true)
		x.settle()
		require.True(t, x.b.Suspended(x.app))
		require.False(t, x.join("").subscribe(root+"/chat").ok())
		require.NoError(t, x.b.Resumed(t.Context(), x.app))
		require.True(t, x.join("").subscribe(root+"/chat").ok())
		require.NoError(t, x.b.Resumed(t.Context(), x.app), "again is harmless")
	})
}

// E21: seven days later the data of the application is gone, and of no other.
func TestSuspendedDataGoesE21(t *testing.T) {
	f := func(name string, after time.Duration, resume bool) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, twoApps)
				other := x.b.tokens.application("other")
				x.root("gala", channels.ClassView)
				_, _, err := x.b.objects.create(t.Context(), other, ObjectSpec{ID: "gala", OwnerRef: "boss"})
				require.NoError(t, err)
				_, _, err = x.b.objects.patch(t.Context(), x.app, "gala", ObjectPatch{OwnerRef: ptr("boss")})
				require.NoError(t, err)
				theirs := &Identity{App: other, Role: RoleServer}
				scopes := []DataQuery{
					{Scope: "app"},
					{Scope: "owner", ObjectID: "gala"},
					{Scope: "room", ObjectID: "gala"},
					{Scope: "session", ObjectID: "gala"},
					{Scope: "user", UserRef: "ann"},
				}
				for _, q := range scopes {
					x.put(x.backend(), q, `{"x":1}`)
					x.put(theirs, q, `{"x":1}`)
				}
				_, err = x.b.Suspend(t.Context(), x.app)
				require.NoError(t, err)
				x.suspendedFor(after)
				time.Sleep(purgeEvery + time.Minute)
				if resume {
					require.NoError(t, x.b.Resumed(t.Context(), x.app))
				}
				mine, err := x.b.documents.Keys(t.Context(), "12/", "", 10)
				require.NoError(t, err)
				others, err := x.b.documents.Keys(t.Context(), "13/", "", 10)
				require.NoError(t, err)
				require.Len(t, others, 5)
				if after < 7*day {
					require.Len(t, mine, 5)
					return
				}
				require.Empty(t, mine)
				for _, q := range scopes[:3] {
					d, err := x.b.Data(t.Context(), theirs, q)
					require.NoError(t, err)
					require.Equal(t, `{"x":1}`, string(d.Object))
				}
			})
		})
	}
	f("too early", 7*day-2*time.Hour, false)
	f("looked through", 7*day, false)
	f("resumed too late", 7*day, true)
}

// suspendedFor makes it so long ago that the application was suspended.
func (x *bench) suspendedFor(d time.Duration) {
	x.t.Helper()
	n, err := x.b.loadSuspension(x.t.Context(), x.app.ID)
	require.NoError(x.t, err)
	n.Since = x.store.Now().Add(-d).UnixMilli()
	require.NoError(x.t, x.b.writeSuspension(x.t.Context(), n, &n.version))
}

func ptr(s string) *string { return &s }

// A deletion of data that fails half way is gone on with.
func TestPurgeAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		fleet := newFleet(t, 1)
		x := fleet[0]
		x.put(x.backend(), DataQuery{Scope: "app"}, `{"x":1}`)
		_, err := x.b.Suspend(t.Context(), x.app)
		require.NoError(t, err)
		x.suspendedFor(7 * day)
		link := x.options.Store.(*sharedStore)
		link.away.Store(true)
		require.Error(t, x.b.Resumed(t.Context(), x.app))
		link.away.Store(false)
		require.True(t, x.b.Suspended(x.app), "still")
		time.Sleep(purgeEvery + time.Minute)
		keys, err := x.b.documents.Keys(t.Context(), "12/", "", 10)
		require.NoError(t, err)
		require.Empty(t, keys)
		n, err := x.b.loadSuspension(t.Context(), x.app.ID)
		require.NoError(t, err)
		require.True(t, n.Purged)
	})
}
