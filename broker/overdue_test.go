package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func (x *bench) link() *sharedStore { return x.options.Store.(*sharedStore) }

// chatter keeps a node's watermark moving: a session of its own hears something.
func chatter(t *testing.T, x *bench, root string, d time.Duration) {
	t.Helper()
	q := x.join("")
	require.True(t, q.subscribe(root+"/comments").ok())
	for range int(d / time.Second) {
		x.say("gala", "comments", 1)
		q.poll()
		time.Sleep(time.Second)
	}
}

// A node that is cut off lets its sessions go and lives on: what they had not had is
// still known long after.
func TestLeftWhileTheStoreWasAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		root := nodes[0].root("gala", channels.ClassView)
		live := root + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		nodes[1].say("gala", "chat", numbers(1, 3)...)
		require.Equal(t, on(live, numbers(1, 3)...), p.poll())
		time.Sleep(30 * time.Second)
		require.Empty(t, p.poll())
		nodes[1].say("gala", "chat", numbers(4, 5)...)
		nodes[0].link().away.Store(true)
		time.Sleep(12 * time.Second)
		require.Zero(t, nodes[0].server.Sessions())
		require.Equal(t, int64(1), total(nodes[0].b.metrics.overdue))
		nodes[1].say("gala", "chat", 6)
		before := nodes[0].b.nodes.at.Load()
		nodes[0].link().away.Store(false)
		time.Sleep(3 * time.Second)
		chatter(t, nodes[0], root, 30*time.Second)
		require.Less(t, before, nodes[0].b.nodes.at.Load(), "it moves on again once all is written")
		require.Equal(t, on(live, 4, 5, 6), p.pollAround(nodes[1:]))
	})
}

// While the records cannot be written the watermark stands.
func TestOverdueHoldsTheWatermark(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x := nodes[0]
		root := x.root("gala", channels.ClassView)
		chatter(t, x, root, 5*time.Second)
		at := x.b.nodes.at.Load()
		require.NotZero(t, at)
		x.link().hook.Store(&fault{lost: func(table, key string) bool { return table == tableSession && key == "k" }})
		data, err := json.Marshal(sessionRecord{Behind: 1})
		require.NoError(t, err)
		version, err := x.store.Put(t.Context(), tableSession, "k", store.Put{Data: data, TTL: time.Hour})
		require.NoError(t, err)
		x.b.overdue.add("k", data, version+1, 0) // there is none of that version
		require.True(t, x.b.overdue.has("k"))
		require.NoError(t, x.b.overdue.settle(t.Context(), "k"), "another has it")
		require.False(t, x.b.overdue.has("k"))
		x.b.overdue.add("k", data, version, 0)
		require.Error(t, x.b.overdue.settle(t.Context(), "k"))
		require.Equal(t, x.b.nodes.at.Load(), x.b.mayWrite(x.b.fanned.Load()+5000))
		x.link().away.Store(true)
		require.NoError(t, x.b.overdue.settle(t.Context(), "nobody"))
		x.link().away.Store(false)
		require.NoError(t, x.b.overdue.settle(t.Context(), "k"), "it was written although that was not known")
		require.Equal(t, x.b.fanned.Load()+5000, x.b.mayWrite(x.b.fanned.Load()+5000))
	})
}

// A session that a node cannot take up is what it was before, for any other.
func TestTakeUpFails(t *testing.T) {
	for _, how := range []string{"half way", "lost answer"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleet(t, 3)
				root := nodes[0].root("gala", channels.ClassView)
				live := root + "/chat"
				p := nodes[0].join("")
				require.True(t, p.subscribe(live).ok())
				nodes[1].say("gala", "chat", numbers(1, 3)...)
				require.Equal(t, on(live, numbers(1, 3)...), p.poll())
				nodes[1].say("gala", "chat", numbers(4, 5)...)
				bad := nodes[1].link()
				bad.hook.Store(&fault{
					head: func(log store.LogName) error {
						if how == "half way" && log.Path == "/chat" {
							return store.ErrUnavailable
						}
						return nil
					},
					lost: func(table, key string) bool {
						if how == "lost answer" && table == tableSession {
							bad.away.Store(true)
							return true
						}
						return false
					},
				})
				r := p.connectAt(nodes[1], 1)
				require.Contains(t, r.Error, "50", "503 or 504")
				require.False(t, r.ok())
				time.Sleep(2 * time.Second)
				bad.hook.Store(nil)
				bad.away.Store(false)
				chatter(t, nodes[1], root, 30*time.Second)
				nodes[2].say("gala", "chat", 6)
				require.Equal(t, on(live, 4, 5, 6), p.pollAround(nodes[2:]), "nothing is lost and nothing comes twice")
			})
		})
	}
}

func TestRevokedOnItsWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		token, err := SignToken(*nodes[0].app, map[string]any{"role": "viewer", "channel_id": "gala", "jti": "t1"}, time.Hour, time.Now())
		require.NoError(t, err)
		p := nodes[0].join(fmt.Sprintf(`{"token":%q}`, token))
		require.True(t, p.subscribe("/open/a").ok())
		require.True(t, p.at(nodes[1], p.message("/mute/a", `,"data":1`)).ok())
		nodes[0].stop()
		defer nodes[0].run() // for the clean-up
		require.NoError(t, nodes[1].b.Revoke(t.Context(), nodes[1].app, "t1", time.Time{}))
		require.Contains(t, p.at(nodes[1], p.message("/mute/a", `,"data":2`)).Error, "401:")
		require.Contains(t, p.connectAt(nodes[1], 1).Error, "401:")
	})
}

func TestRestoredKey(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		keys := []channels.RootKey{{KID: 0, Secret: []byte("an old secret of 32 bytes, or so.")}, {KID: 1, Secret: []byte("a new secret of 32 bytes, or more."), Sign: true}}
		ring, err := channels.NewKeyring(make([]byte, 32), keys, nil)
		require.NoError(t, err)
		nodes := newFleetWith(t, 2, func(o *Options, _ *bayeux.Options) { o.Keyring = ring })
		require.NoError(t, nodes[0].b.RetireKey(t.Context(), 0))
		time.Sleep(time.Second)
		require.NotZero(t, nodes[1].b.retiredKeys.Load())
		require.NoError(t, nodes[0].b.RestoreKey(t.Context(), 0))
		time.Sleep(time.Second)
		for _, x := range nodes {
			require.Zero(t, x.b.retiredKeys.Load())
		}
		nodes[1].link().away.Store(true)
		require.Error(t, nodes[1].b.Revoke(t.Context(), nodes[1].app, "t2", time.Time{}), "whoever revokes hears that others do not know")
	})
}

// A process that stood still finds out what was taken from it, though it was never
// seen without a lease.
func TestStoodStill(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		p := x.join("")
		key := sessionKey(p.id)
		v, err := x.store.Get(t.Context(), tableSession, key)
		require.NoError(t, err)
		var r sessionRecord
		require.NoError(t, json.Unmarshal(v.Data, &r))
		r.Owner = "another"
		data, err := json.Marshal(r)
		require.NoError(t, err)
		_, err = x.store.Put(t.Context(), tableSession, key, store.Put{Data: data, TTL: time.Hour})
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, x.server.Sessions())
		x.b.nodes.mu.Lock()
		x.b.nodes.until = time.Now().Add(-time.Second)
		x.b.nodes.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Zero(t, x.server.Sessions())
	})
}

// Who takes a session from a node that does not answer tells it.
func TestTakenFromASilentNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		live := nodes[0].root("gala", channels.ClassView) + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		_, err := nodes[1].b.nodes.look(t.Context(), nodes[0].b.nodes.id)
		require.NoError(t, err)
		for range mostUnanswered {
			nodes[1].b.nodes.mute(t.Context(), nodes[0].b.nodes.id, time.Now())
		}
		require.True(t, p.connectAt(nodes[1], 1).ok())
		synctest.Wait()
		require.Zero(t, nodes[0].server.Sessions())
		require.Equal(t, 1, nodes[1].server.Sessions())
	})
}

// A node that may have lost a session does not serve it unseen.
func TestConnectInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		p := nodes[0].join("")
		require.True(t, p.connectAt(nodes[0], 1).ok())
		nodes[0].link().away.Store(true)
		time.Sleep(2900 * time.Millisecond)
		require.Equal(t, "503::Service unavailable", p.connectAt(nodes[0], 1).Error)
		nodes[0].link().away.Store(false)
		require.True(t, p.connectAt(nodes[0], 1).ok(), "it is still here")
	})
}

// Two mounts of one broker are two servers.
func TestAnotherMount(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		second := bayeux.NewServer(x.b, x.wire)
		defer func() { require.NoError(t, second.Shutdown(context.Background())) }()
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		require.True(t, p.publish("/open/a", "1", "").ok())
		other := *x
		other.server = second
		require.True(t, p.connectAt(&other, 1).ok())
		require.Zero(t, x.server.Sessions())
		require.Equal(t, 1, second.Sessions())
		require.True(t, p.at(&other, p.message("/open/a", `,"data":2`)).ok())
		require.Equal(t, on("/open/a", 1, 2), p.pollAround([]*bench{&other}))
	})
}

// A session that was taken up after a crash and goes on before it was read gets what it
// lacked and not all that there ever was.
func TestMovesBeforeItIsMended(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		root := nodes[1].root("gala", channels.ClassView)
		live := root + "/chat"
		p := nodes[0].join("")
		require.True(t, p.subscribe(live).ok())
		nodes[1].say("gala", "chat", numbers(1, 20)...)
		require.Len(t, p.poll(), 20)
		time.Sleep(40 * time.Second)
		require.Empty(t, p.poll())
		nodes[1].say("gala", "chat", 21)
		time.Sleep(2 * time.Second)
		nodes[0].die()
		nodes[0].run()
		time.Sleep(4 * time.Second)
		// Not a connect: the session is taken up, and nothing serves it.
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", `,"subscription":"/open/a"`)).ok())
		require.Equal(t, 1, nodes[1].server.Sessions())
		nodes[1].say("gala", "chat", 22)
		require.Equal(t, on(live, 21, 22), p.pollAround(nodes[2:]))
	})
}

// What one session can make a node keep and do is bounded.
func TestCatchupsUnderWayAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		require.True(t, x.join("").publish("/open/a", "1", "").ok())
		p := x.join("")
		refused := 0
		for range 3 * mostUnread / 100 {
			names := strings.Repeat(`,"/open/a/catchup/1h"`, 100)[1:]
			if r := p.at(x, p.message("/meta/subscribe", `,"subscription":[`+names+`]`)); !r.ok() {
				require.Contains(t, r.Error, "403:512:Too many subscriptions")
				refused++
			}
		}
		require.NotZero(t, refused)
		v, err := x.store.Get(t.Context(), tableSession, sessionKey(p.id))
		require.NoError(t, err)
		require.Less(t, len(v.Data), 256<<10)
	})
}

func TestTakeoversArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		p := nodes[0].join("")
		began := time.Now()
		for i := range 100 {
			require.True(t, p.connectAt(nodes[i%2], 0).ok())
		}
		require.Greater(t, time.Since(began), 7*time.Second)
		require.NotZero(t, total(nodes[0].b.metrics.paced))
	})
}

func TestLettersAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 2)
		x := nodes[0]
		p := x.join("")
		require.True(t, p.connectAt(x, 1).ok())
		for range carriedAtOnce {
			x.b.mail.slots <- struct{}{}
		}
		r := p.at(nodes[1], p.message("/meta/subscribe", `,"subscription":"/open/a"`))
		require.Equal(t, "503::Service unavailable", r.Error)
		require.NotZero(t, total(x.b.metrics.refused("letter")))
		for range carriedAtOnce {
			<-x.b.mail.slots
		}
		require.True(t, p.at(nodes[1], p.message("/meta/subscribe", `,"subscription":"/open/a"`)).ok())
		require.Equal(t, 1, x.server.Sessions(), "it was only busy")
		for range forwardedAtOnce {
			nodes[1].b.mail.forwards <- struct{}{}
		}
		require.Equal(t, "503::Service unavailable", p.at(nodes[1], p.message("/meta/unsubscribe", `,"subscription":"/open/a"`)).Error)
		for range forwardedAtOnce {
			<-nodes[1].b.mail.forwards
		}
		long := `,"subscription":"/open/a","ext":{"token":"` + strings.Repeat("x", mostCarried) + `"}`
		require.Contains(t, p.at(nodes[1], p.message("/meta/subscribe", long)).Error, "413:")

		// A letter that comes too late to be answered is not in vain: the session may
		// have been taken.
		q := x.join("")
		key := sessionKey(q.id)
		v, err := x.store.Get(t.Context(), tableSession, key)
		require.NoError(t, err)
		data := strings.Replace(string(v.Data), x.b.nodes.id, "another", 1)
		_, err = x.store.Put(t.Context(), tableSession, key, store.Put{Data: []byte(data), TTL: time.Hour})
		require.NoError(t, err)
		late, err := json.Marshal(letter{Kind: letterRelease, From: "another", Key: key, Sent: 1})
		require.NoError(t, err)
		x.b.mail.open(t.Context(), late)
		synctest.Wait()
		_, here := x.server.Session(q.id)
		require.False(t, here)
	})
}

// What waits for a session that hears it by a wildcard is taken along, however long ago
// it was said.
func TestWildcardLeavesLate(t *testing.T) {
	for _, queue := range []int{0, 4} {
		t.Run(fmt.Sprint("queue ", queue), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleetWith(t, 2, func(_ *Options, bo *bayeux.Options) { bo.Limits.QueueMessages = queue })
				root := nodes[0].root("gala", channels.ClassView)
				p := nodes[0].join("")
				require.True(t, p.subscribe(root+"/**").ok())
				require.True(t, p.connectAt(nodes[0], 0).ok())
				time.Sleep(5 * time.Second)
				nodes[1].say("gala", "chat", numbers(1, 10)...)
				time.Sleep(38 * time.Second)
				nodes[0].stop()
				defer nodes[0].run() // for the clean-up
				require.Equal(t, on(root+"/chat", numbers(1, 10)...), p.pollAround(nodes[1:]))
			})
		})
	}
}
