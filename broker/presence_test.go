package broker

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// heardPresence returns what a peer hears of presence, as "op count +joined -left".
func (p *peer) heardPresence(at *bench) []string {
	p.x.t.Helper()
	p.connectAt(at, 1)
	p.connectAt(at, 1)
	var got []string
	for _, d := range p.inbox {
		var c presenceChange
		require.NoError(p.x.t, json.Unmarshal(d.Data, &c))
		text := fmt.Sprint(c.Op, " ", c.Count)
		for _, m := range c.Joined {
			text += " +" + m.Name
		}
		text += fmt.Sprintf(" %d named", len(c.Members))
		text += fmt.Sprintf(" -%d", len(c.Left))
		got = append(got, text)
	}
	p.inbox = nil
	return got
}

// rounds lets presence go some rounds while peers stay connected.
func rounds(t *testing.T, n int, stay ...func()) {
	t.Helper()
	for range n {
		time.Sleep(presenceEvery)
		synctest.Wait()
		for _, f := range stay {
			f()
		}
	}
}

func TestPresence(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		x, y, z := nodes[0], nodes[1], nodes[2]
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		board := x.join("")
		require.Contains(t, board.subscribe(view+"/presence").Error, "403:")
		require.Equal(t, "404:"+control+"/presence/catchup/1h:Catch-up not supported", board.subscribe(control+"/presence/catchup/1h").Error)
		require.True(t, board.subscribe(control+"/presence").ok())
		require.Equal(t, []string{"snapshot 0 0 named -0"}, board.heardPresence(x))

		anna := y.join(x.ext(map[string]any{"role": "viewer", "channel_id": "gala", "name": "Anna"}))
		require.True(t, anna.subscribe(view+"/chat").ok())
		guest := z.join("")
		require.True(t, guest.subscribe(view+"/**").ok())
		here := func(p *peer, at *bench) func() { return func() { require.True(t, p.connectAt(at, 1).ok()) } }
		rounds(t, 2, here(anna, y), here(guest, z))
		joined := board.heardPresence(x)
		require.NotEmpty(t, joined)
		require.Contains(t, fmt.Sprint(joined), "+Anna")
		require.Contains(t, joined[len(joined)-1], "change 3 ")

		// The same on every node, over HTTP's way and for late ones.
		server := &Identity{App: x.app, Role: RoleServer}
		for _, n := range nodes {
			seen, err := n.b.Presence(t.Context(), server, "gala")
			require.NoError(t, err)
			require.Equal(t, 3, seen.Count)
			require.Len(t, seen.Members, 3)
			for _, m := range seen.Members {
				require.Contains(t, []string{sessionKey(board.id), sessionKey(anna.id), sessionKey(guest.id)}, m.ID)
				if m.Name == "Anna" {
					require.Equal(t, "viewer", m.Role)
				}
			}
		}
		late := z.join("")
		require.True(t, late.subscribe(control+"/presence").ok())
		require.Equal(t, []string{"snapshot 3 3 named -0"}, late.heardPresence(z))

		// Who moves between nodes has not left.
		rounds(t, 3, here(anna, y), here(guest, z), here(late, z))
		board.heardPresence(x)
		rounds(t, 4, here(anna, x), here(guest, z), here(late, z))
		require.Empty(t, board.heardPresence(x))

		// Who leaves has left, within a few rounds, and is heard of once.
		require.True(t, anna.at(x, anna.message("/meta/disconnect", "")).ok())
		rounds(t, 4, here(guest, z), here(late, z))
		require.Equal(t, []string{"change 3 0 named -1"}, board.heardPresence(x))

		// A dead node's are not there.
		z.die()
		time.Sleep(4 * time.Second)
		rounds(t, 2)
		require.Equal(t, []string{"change 1 0 named -2"}, board.heardPresence(x))
		z.run()

		_, err := x.b.Presence(t.Context(), server, "none")
		require.Equal(t, ErrNoObject, AsError(err))
		_, err = x.b.Presence(t.Context(), &Identity{App: x.app, Role: RoleModerator, ChannelID: "gala"}, "gala")
		require.Equal(t, 4003, AsError(err).Result)
	})
}

func TestPresencePublic(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.PresencePublic = true })
		p := x.join("")
		require.True(t, p.subscribe(x.root("gala", channels.ClassView)+"/presence").ok())
		require.Equal(t, []string{"snapshot 0 0 named -0"}, p.heardPresence(x))
		rounds(t, 1)
		require.Equal(t, []string{"change 1 + 0 named -0"}, p.heardPresence(x))
		seen, err := x.b.Presence(t.Context(), &Identity{App: x.app, Role: RoleViewer, ChannelID: "gala"}, "gala")
		require.NoError(t, err)
		require.Equal(t, 1, seen.Count)
	})
}

// TestPresenceMoves: who asks who is there is told anew on another node.
func TestPresenceMoves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		control := nodes[0].root("gala", channels.ClassControl)
		board := nodes[0].join("")
		require.True(t, board.subscribe(control+"/presence").ok())
		require.Equal(t, []string{"snapshot 0 0 named -0"}, board.heardPresence(nodes[0]))
		rounds(t, 3, func() { board.connectAt(nodes[0], 1) })
		board.inbox = nil
		require.Equal(t, []string{"snapshot 1 1 named -0"}, board.heardPresence(nodes[1]))
		rounds(t, 4, func() { board.connectAt(nodes[1], 1) })
		require.Empty(t, board.heardPresence(nodes[1]))
		require.True(t, board.at(nodes[1], board.message("/meta/disconnect", "")).ok())
		rounds(t, 5)
		for _, n := range nodes { // nothing is left of it
			require.Empty(t, n.b.presence.told)
			require.Empty(t, n.b.presence.mine)
		}
		items, err := nodes[0].store.List(t.Context(), tablePresence, "", "", 10)
		require.NoError(t, err)
		require.Empty(t, items)
	})
}

// TestPresenceOfMany: above a thousand only the number is said.
func TestPresenceOfMany(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		board := x.join("")
		require.True(t, board.subscribe(control+"/presence").ok())
		var some *peer
		for range presenceNamed {
			some = x.join("")
			require.True(t, some.subscribe(view+"/chat").ok())
		}
		rounds(t, 1)
		require.Equal(t, []string{"snapshot 0 0 named -0", "count 1001 0 named -0"}, board.heardPresence(x))
		seen, err := x.b.Presence(t.Context(), &Identity{App: x.app, Role: RoleServer}, "gala")
		require.NoError(t, err)
		require.Equal(t, Presence{Count: presenceNamed + 1}, *seen)
		// One goes: they are named again.
		require.True(t, x.post(some, some.message("/meta/disconnect", ""))[0].ok())
		rounds(t, 3, func() { board.connectAt(x, 1) })
		require.Equal(t, []string{"snapshot 1000 1000 named -0"}, board.heardPresence(x))
	})
}

func BenchmarkPresenceRound(b *testing.B) {
	x := newBench(b, nil)
	view := x.root("gala", channels.ClassView)
	for range 1000 {
		require.True(b, x.join("").subscribe(view+"/chat").ok())
	}
	p := newPresence(x.b)
	b.ReportAllocs()
	for b.Loop() {
		p.look(time.Now())
	}
}
