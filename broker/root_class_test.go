package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
)

// Roots of a class of the operator's own, and of built-in ones that are lowered.
func TestRootClasses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const partner, mute = channels.Class(6), channels.Class(14)
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			o.Classes = []RootClass{
				{Number: partner, Name: "partner", Level: RoleBroadcaster, Subscribe: true, Publish: ReachCustom, Catchup: time.Hour},
				{Number: mute, Name: "mute", Level: RoleViewer},
				{Number: channels.ClassView, Name: "view", Level: RoleViewer, Subscribe: true},
			}
		})
		p := x.join("")
		own := x.root("gala", partner)
		subscribe := func(channel, want string) {
			t.Helper()
			require.Equal(t, want, p.subscribe(channel).Error)
		}
		subscribe(own+"/score", "")
		subscribe(own+"/events", "")
		subscribe(own+"/score/catchup/1h", "")
		subscribe(own+"/score/catchup/2h", "413:"+own+"/score/catchup/2h,1h:Catch-up interval too long")
		require.Empty(t, p.publish(own+"/score", `1`, "").Error)
		require.Equal(t, "403:"+own+"/events:Forbidden channel", p.publish(own+"/events", `{"type":"x"}`, "").Error)

		view := x.root("gala", channels.ClassView)
		subscribe(view+"/score", "")
		subscribe(view+"/score/catchup/1m", "403:"+view+"/score/catchup/1m:Forbidden channel")

		silent := x.root("gala", mute)
		subscribe(silent+"/score", "403:"+silent+"/score:Forbidden channel")
		require.Equal(t, "403:"+silent+"/score:Forbidden channel", p.publish(silent+"/score", `1`, "").Error)
		none := x.root("gala", 7)
		subscribe(none+"/score", "403:"+none+"/score:Forbidden channel")

		o, err := x.b.Service().Object(t.Context(), x.backend().App, "gala")
		require.NoError(t, err)
		var names []string
		for _, r := range x.b.Service().RootsByClass(o) {
			names = append(names, r.Class)
		}
		require.Equal(t, []string{"view", "guest", "control", "ingest", "daily", "partner", "mute"}, names)
	})
}

// A row that would give more than is documented, or that no root could have, is refused.
func TestRootClassFaults(t *testing.T) {
	f := func(rows ...RootClass) {
		t.Helper()
		_, err := RootClasses(rows)
		require.Error(t, err)
	}
	six := RootClass{Number: 6, Name: "six", Level: RoleViewer}
	_, err := RootClasses([]RootClass{six})
	require.NoError(t, err)
	f(six, six)
	f(six, RootClass{Number: 6, Name: "other", Level: RoleViewer})
	f(RootClass{Number: 15, Name: "x", Level: RoleViewer})
	f(RootClass{Number: 6, Name: "x", Level: RoleAdmin})
	f(RootClass{Number: 6, Name: "x"})
	f(RootClass{Number: 6, Name: "view", Level: RoleViewer})
	guest, _ := BuiltInClass("guest")
	guest.Catchup = time.Second
	f(guest)
	ingest, _ := BuiltInClass("ingest")
	ingest.Publish = ReachAll
	f(ingest)
}
