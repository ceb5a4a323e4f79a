package broker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// ext is the ext of a message with a token of these claims, good for an hour.
func (x *bench) ext(claims map[string]any) string {
	x.t.Helper()
	text, err := SignToken(*x.app, claims, time.Hour, time.Now())
	require.NoError(x.t, err)
	return fmt.Sprintf(`{"token":%q}`, text)
}

func TestConnections(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleetWith(t, 2, func(o *Options, _ *bayeux.Options) {
			o.Accounts = append(o.Accounts, Account{Apps: []Application{{ID: 13, Name: "other", TokenSecret: "other-token-secret-0123456789abcdef"}}})
		})
		x, y := nodes[0], nodes[1]
		root := x.root("gala", channels.ClassView)
		anna := x.join(x.ext(map[string]any{"role": "viewer", "channel_id": "gala", "user_ref": "anna", "name": "Anna"}))
		again := y.join(x.ext(map[string]any{"role": "viewer", "channel_id": "gala", "user_ref": "anna"}))
		guest := y.join("")
		stranger := y.join("")
		require.True(t, anna.subscribe(root+"/chat", root+"/*", root+"/chat/catchup/1h").ok())
		require.True(t, guest.subscribe(root+"/chat").ok())
		require.True(t, stranger.subscribe("/open/x").ok())

		all := func(n *bench, q ConnectionQuery) map[string]Connection {
			t.Helper()
			found := map[string]Connection{}
			for q.Limit = 2; ; {
				page, err := n.b.Connections(t.Context(), n.app, q)
				require.NoError(t, err)
				for _, c := range page.Connections {
					require.NotContains(t, found, c.ID)
					found[c.ID] = c
				}
				if q.After = page.Next; q.After == "" {
					return found
				}
			}
		}
		for _, n := range nodes {
			got := all(n, ConnectionQuery{})
			require.Len(t, got, 3, "who has neither token nor object of the application is not its own")
			c := got[sessionKey(anna.id)]
			require.Equal(t, []string{"gala"}, c.Objects)
			require.Equal(t, 3, c.Channels)
			require.Equal(t, "Anna", c.Identity.Name)
			require.Equal(t, x.b.nodes.id, c.Node)
			require.Nil(t, got[sessionKey(guest.id)].Identity)
			require.Equal(t, y.b.nodes.id, got[sessionKey(guest.id)].Node)
			for id := range got {
				require.NotContains(t, id, anna.id, "the clientId is a secret")
			}
			require.Len(t, all(n, ConnectionQuery{UserRef: "anna"}), 2)
			require.Len(t, all(n, ConnectionQuery{ObjectID: "gala"}), 2)
		}
		_, err := x.b.Connections(t.Context(), x.app, ConnectionQuery{ObjectID: "none"})
		require.Equal(t, ErrNoObject, AsError(err))
		other := x.b.tokens.application("other")
		page, err := x.b.Connections(t.Context(), other, ConnectionQuery{Limit: 10})
		require.NoError(t, err)
		require.Empty(t, page.Connections)

		// Ended from the other node, within a second; another application cannot.
		key := sessionKey(guest.id)
		for _, bad := range []string{"", "x", strings.ToUpper(key), key[:39], strings.Repeat("0", 40), sessionKey(stranger.id)} {
			require.Equal(t, 4004, AsError(x.b.EndConnection(t.Context(), x.app, bad)).Result, bad)
		}
		require.Equal(t, 4004, AsError(x.b.EndConnection(t.Context(), other, key)).Result)
		require.NoError(t, x.b.EndConnection(t.Context(), x.app, key))
		time.Sleep(time.Second)
		synctest.Wait()
		for _, n := range nodes {
			require.Contains(t, guest.connectAt(n, 1).Error, "401:", "nobody takes it up again")
		}
		require.Equal(t, 4004, AsError(x.b.EndConnection(t.Context(), x.app, key)).Result)

		n, err := y.b.EndUser(t.Context(), y.app, "anna")
		require.NoError(t, err)
		require.Equal(t, 2, n)
		time.Sleep(time.Second)
		synctest.Wait()
		for _, p := range []*peer{anna, again} {
			for _, at := range nodes {
				require.Contains(t, p.connectAt(at, 1).Error, "401:")
			}
		}
		require.True(t, stranger.connectAt(y, 1).ok())
		require.Empty(t, all(x, ConnectionQuery{}))
	})
}

// TestConnectionOfDeadNode: what lives nowhere is ended, too.
func TestConnectionOfDeadNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		p := y.join("")
		require.True(t, p.subscribe(x.root("gala", channels.ClassView)+"/chat").ok())
		y.die()
		time.Sleep(4 * time.Second)
		page, err := x.b.Connections(t.Context(), x.app, ConnectionQuery{Limit: 10})
		require.NoError(t, err)
		require.Len(t, page.Connections, 1)
		require.Empty(t, page.Connections[0].Node)
		require.NoError(t, x.b.EndConnection(t.Context(), x.app, page.Connections[0].ID))
		require.Contains(t, p.connectAt(x, 1).Error, "401:")
		y.run()
	})
}

// TestEndOnExpiry: a session's rights end with its tokens where that is asked for.
func TestEndOnExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, on := range []bool{false, true} {
			x := newBench(t, func(o *Options, bo *bayeux.Options) {
				o.EndOnExpiry, bo.Timeout, o.SessionLife = on, 3*time.Hour, 6*time.Hour
			})
			view := x.root("gala", channels.ClassView)
			token := x.ext(map[string]any{"role": "broadcaster", "channel_id": "gala"})
			shake, message, none := x.join(token), x.join(""), x.join("")
			require.True(t, shake.subscribe(view+"/events").ok())
			require.True(t, x.post(message, message.message("/meta/subscribe", `,"subscription":"`+view+`/events"`+with(token)))[0].ok())
			require.True(t, none.subscribe(view+"/chat").ok())
			if on { // a restart does not forget it
				x.stop()
				x.run()
				for _, p := range []*peer{shake, message, none} {
					require.True(t, p.connectAt(x, 1).ok())
				}
			}
			time.Sleep(time.Hour + tokenLeeway - time.Second)
			synctest.Wait()
			for _, p := range []*peer{shake, message, none} {
				require.True(t, p.connectAt(x, 1).ok())
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			for _, p := range []*peer{shake, message} {
				require.Equal(t, !on, p.connectAt(x, 1).ok())
			}
			require.True(t, none.connectAt(x, 1).ok())
		}
	})
}

func TestTap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x, y := nodes[0], nodes[1]
		x.root("gala", channels.ClassView)
		o, err := x.b.objects.get(t.Context(), x.app, "gala")
		require.NoError(t, err)
		p := y.join(x.ext(map[string]any{"role": "admin", "tap": true}))
		require.True(t, p.subscribe("/**").ok())
		require.True(t, p.subscribe("/**").ok(), "again changes nothing")
		q := y.join(x.ext(map[string]any{"role": "admin"}))
		require.Contains(t, q.subscribe("/**").Error, "403:")
		require.Contains(t, p.subscribe("/*").Error, "403:")

		x.say("gala", "chat", 1)
		x.say("gala", "events", 2)
		x.say("fresh", "a/b", 3)
		f, err := x.b.objects.get(t.Context(), x.app, "fresh")
		require.NoError(t, err)
		gala, fresh := "/@12/"+o.Topic.String(), "/@12/"+f.Topic.String()
		want := append(append(on(gala+"/chat", 1), on(gala+"/events", 2)...), on(fresh+"/a/b", 3)...)
		require.Equal(t, want, p.poll(), "no root is in it")

		// It moves with its session.
		require.True(t, p.connectAt(x, 1).ok())
		y.say("gala", "chat", 4)
		require.Equal(t, on(gala+"/chat", 4), p.pollAround([]*bench{x}))
		require.Empty(t, y.b.taps.all)
		require.True(t, p.at(x, p.message("/meta/unsubscribe", `,"subscription":"/**"`)).ok())
		x.say("gala", "chat", 5)
		require.Empty(t, p.pollAround([]*bench{x}))
		require.Empty(t, x.b.taps.all)
	})
}
