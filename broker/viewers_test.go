package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// viewing returns how many viewers of an object a node counts.
func (x *bench) viewing(id string) int {
	x.t.Helper()
	o, err := x.b.objects.get(context.Background(), x.app, id)
	require.NoError(x.t, err)
	x.b.views.mu.Lock()
	defer x.b.views.mu.Unlock()
	if v := x.b.views.rooms[feedOf(o)]; v != nil {
		return v.viewers
	}
	return 0
}

// count takes a sample, as if it were written: "url viewers/arrived" of each object.
func (x *bench) count() string {
	counts, arrivals := x.b.views.sample(x.b.objects.newest)
	x.b.views.sampled(arrivals)
	var all []string
	for _, c := range counts {
		all = append(all, fmt.Sprintf("%s %d/%d", c.URL, c.Viewers, c.Arrived))
	}
	return strings.Join(all, ", ")
}

// TestWhoIsAViewer: product.md §8.1.
func TestWhoIsAViewer(t *testing.T) {
	roots := func(x *bench) (view, control string) {
		return x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
	}
	f := func(name string, story func(x *bench, view, control string, is func(int))) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, func(o *Options, bo *bayeux.Options) { o.EndOnExpiry = true })
				view, control := roots(x)
				is := func(want int) {
					t.Helper()
					synctest.Wait()
					require.Equal(t, want, x.viewing("gala"))
				}
				is(0)
				story(x, view, control, is)
				x.b.endSessions(func(*subscriber) bool { return true })
				is(0)
				require.Zero(t, x.b.views.total())
				require.Empty(t, x.b.views.rooms)
			})
		})
	}
	f("two subscriptions are one viewer, two tabs are two", func(x *bench, view, _ string, is func(int)) {
		p := x.join("")
		require.True(t, p.subscribe(view+"/all_json", view+"/chat").ok())
		is(1)
		require.True(t, p.subscribe(view+"/chat").ok())
		is(1)
		require.True(t, x.join("").subscribe(view+"/chat").ok())
		is(2)
		p.unsubscribe(view + "/chat")
		is(2)
		p.unsubscribe(view + "/all_json")
		is(1)
		require.True(t, p.subscribe(view+"/**").ok())
		is(2)
		p.unsubscribe(view + "/**")
		is(1)
	})
	f("catch-ups alone do not count", func(x *bench, view, _ string, is func(int)) {
		p := x.join("")
		require.True(t, p.subscribe(view+"/chat/catchup/1h").ok())
		is(0)
		require.True(t, p.subscribe(view+"/chat").ok())
		is(1)
		p.unsubscribe(view + "/chat")
		is(0)
	})
	f("the control root does not count, and who has it is none", func(x *bench, view, control string, is func(int)) {
		p := x.join("")
		require.True(t, p.subscribe(control+"/chat").ok())
		is(0)
		require.True(t, p.subscribe(view+"/chat").ok())
		is(0)
		p.unsubscribe(control + "/chat")
		is(1)
		require.True(t, p.subscribe(control+"/stats/live").ok())
		is(0)
	})
	f("who only publishes does not count", func(x *bench, _, control string, is func(int)) {
		require.True(t, x.join("").publish(control+"/chat", "1", "").ok())
		is(0)
	})
	f("moderators and up do not count", func(x *bench, view, _ string, is func(int)) {
		for n, role := range []string{"viewer", "participant"} {
			require.True(t, x.join(x.ext(map[string]any{"role": role, "channel_id": "gala"})).subscribe(view+"/chat").ok())
			is(n + 1)
		}
		for _, role := range []string{"moderator", "broadcaster", "admin"} {
			require.True(t, x.join(x.ext(map[string]any{"role": role, "channel_id": "gala"})).subscribe(view+"/chat").ok())
			is(2)
		}
		require.True(t, x.join(x.ext(map[string]any{"role": "moderator", "channel_id": "other"})).subscribe(view+"/chat").ok())
		is(3)
		// A token in a message makes a moderator of a viewer.
		p := x.join("")
		require.True(t, p.subscribe(view+"/chat").ok())
		is(4)
		text := x.ext(map[string]any{"role": "moderator", "channel_id": "gala"})
		require.True(t, x.post(p, p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q,"ext":%s`, view+"/all_json", text)))[0].ok())
		is(3)
	})
	f("every root of viewers counts", func(x *bench, _, _ string, is func(int)) {
		for n, class := range []channels.Class{channels.ClassView, channels.ClassGuest, channels.ClassDaily} {
			require.True(t, x.join("").subscribe(x.root("gala", class)+"/chat").ok())
			is(n + 1)
		}
	})
	f("of several objects each counts", func(x *bench, view, _ string, is func(int)) {
		p := x.join("")
		require.True(t, p.subscribe(view+"/chat", x.root("other", channels.ClassView)+"/chat", "/open/x").ok())
		is(1)
		require.Equal(t, 1, x.viewing("other"))
		require.Equal(t, 2, x.b.views.total())
	})
	f("until the session ends", func(x *bench, view, _ string, is func(int)) {
		gone, silent := x.join(""), x.join("")
		require.True(t, gone.subscribe(view+"/chat").ok())
		require.True(t, silent.subscribe(view+"/chat").ok())
		is(2)
		require.True(t, x.post(gone, gone.message("/meta/disconnect", ""))[0].ok())
		is(1)
		time.Sleep(5 * time.Minute) // it never connects
		is(0)
	})
	f("until its token ends, with auth.end_on_expiry", func(x *bench, view, _ string, is func(int)) {
		text, err := SignToken(*x.app, map[string]any{"role": "viewer", "channel_id": "gala"}, 30*time.Second, time.Now())
		require.NoError(t, err)
		p := x.join(fmt.Sprintf(`{"token":%q}`, text))
		require.True(t, p.subscribe(view+"/chat").ok())
		is(1)
		time.Sleep(30*time.Second + tokenLeeway + 2*rememberEvery)
		is(0)
	})
	f("until the root is reset", func(x *bench, view, _ string, is func(int)) {
		require.True(t, x.join("").subscribe(view+"/chat").ok())
		is(1)
		_, err := x.b.objects.reset(t.Context(), x.app, "gala", 0)
		require.NoError(t, err)
		is(0)
	})
	f("until the application is suspended", func(x *bench, view, _ string, is func(int)) {
		require.True(t, x.join("").subscribe(view+"/chat").ok())
		is(1)
		_, err := x.b.Suspend(t.Context(), x.app)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		is(0)
		require.NoError(t, x.b.Resumed(t.Context(), x.app))
	})
	f("not when the subscription is refused", func(x *bench, view, _ string, is func(int)) {
		p := x.join("")
		require.False(t, p.subscribe(view+"/chat", view+"/events").ok())
		is(0)
	})
}

// TestRefusedIsNotKept: a subscribe that the store could not keep is refused, counts for
// nothing, and does not come back with the session's record.
func TestRefusedIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		view := x.root("gala", channels.ClassView)
		p := x.join("")
		x.link().away.Store(true)
		require.Equal(t, "503::Service unavailable", p.subscribe(view+"/chat").Error)
		require.Zero(t, x.viewing("gala"))
		x.link().away.Store(false)
		time.Sleep(3 * rememberEvery)
		r, _, err := x.b.loadSession(t.Context(), sessionKey(p.id))
		require.NoError(t, err)
		for _, topic := range r.Topics {
			require.False(t, topic.Exact, "it would be live again") // where it stood may be remembered
		}
	})
}

// TestArrivals: a session arrives once in its life at each object (product.md S13,
// unique_sessions), on whatever node a sample finds it.
func TestArrivals(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		view := nodes[0].root("gala", channels.ClassView)
		time.Sleep(time.Second)
		p := nodes[0].join("")
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, view+"/chat"))).ok())
		to := func(x *bench) {
			t.Helper()
			require.True(t, p.connectAt(x, 1).ok())
			require.True(t, p.connectAt(x, 1).ok())
			synctest.Wait()
		}
		to(nodes[0])
		to(nodes[1]) // before any sample
		require.Equal(t, "", nodes[0].count())
		require.Equal(t, "gala 1/1", nodes[1].count())
		require.Equal(t, "gala 1/0", nodes[1].count())
		time.Sleep(defaultSample)
		to(nodes[2])
		require.Equal(t, "", nodes[1].count())
		require.Equal(t, "gala 1/0", nodes[2].count())
		nodes[2].die()
		nodes[2].run()
		time.Sleep(4 * time.Second)
		to(nodes[0])
		require.Equal(t, "gala 1/0", nodes[0].count())
		// It goes and comes again: still no other session.
		p.x = nodes[0]
		p.unsubscribe(view + "/chat")
		require.Equal(t, "", nodes[0].count())
		require.True(t, p.subscribe(view+"/chat").ok())
		require.Equal(t, "gala 1/0", nodes[0].count())

		// Who goes before a sample was never there.
		q := nodes[0].join("")
		require.True(t, q.subscribe(view+"/chat").ok())
		q.unsubscribe(view + "/chat")
		require.Equal(t, "gala 1/0", nodes[0].count())
		require.True(t, q.subscribe(view+"/chat").ok())
		require.Equal(t, "gala 2/1", nodes[0].count())
	})
}

// TestCountedAs: viewers are counted under the object's url as it is now (product.md
// §8.6), also where another node changed it.
func TestCountedAs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		p := nodes[0].join("")
		require.True(t, p.subscribe(nodes[0].root("gala", channels.ClassView)+"/chat").ok())
		require.Equal(t, "gala 1/1", nodes[0].count())
		url := "gala_main"
		_, err := nodes[1].b.PatchObject(t.Context(), nodes[1].app, "gala", ObjectPatch{URL: &url})
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, "gala_main 1/0", nodes[0].count())
	})
}

// TestViewedIsBounded: a session that goes through objects is remembered for so many.
func TestViewedIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		for n := range mostViewed + 10 {
			name := x.root(fmt.Sprint("room", n), channels.ClassView) + "/chat"
			require.True(t, p.subscribe(name).ok())
			x.count()
			p.unsubscribe(name)
			time.Sleep(time.Millisecond)
		}
		s, _ := x.b.subscriberOf(sessionKey(p.id))
		require.Len(t, s.memory.record.Viewed, mostViewed)
		require.True(t, p.subscribe(x.root("room0", channels.ClassView)+"/chat").ok())
		require.Equal(t, "room0 1/1", x.count()) // forgotten: counted as new again
	})
}
