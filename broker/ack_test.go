package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// TestCatchupBesideAWildcardMoves takes a session up in the midst of a catch-up of a
// channel that it hears by a wildcard alone: what is said then comes behind it.
func TestCatchupBesideAWildcardMoves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleetWith(t, 2, func(_ *Options, bo *bayeux.Options) { bo.Limits.QueueMessages = 4 })
		root := nodes[0].root("gala", channels.ClassView)
		for n := range 20 {
			nodes[0].say("gala", "chat", n)
		}
		time.Sleep(time.Second)
		p := nodes[0].join("")
		require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, root+"/*", root+"/chat/catchup/1h"))).ok())
		require.True(t, p.connectAt(nodes[1], 1).ok())
		for n := range 20 {
			nodes[0].say("gala", "chat", 100+n)
		}
		want := append(on(root+"/chat/catchup/1h", numbers(0, 19)...), on(root+"/chat", numbers(100, 119)...)...)
		require.Equal(t, want, p.pollAround(nodes[1:]))
	})
}

// ackPeer is a peer with the ack extension.
type ackPeer struct {
	*peer
	had string // the number of the newest answer
}

func (x *bench) joinAck() *ackPeer { return &ackPeer{peer: x.join(`{"ack":true}`), had: "0"} }

// connect returns the data that an answer at x brought; lost: the client did not get it.
func (p *ackPeer) connect(x *bench, lost bool) []string {
	p.x.t.Helper()
	r := p.at(x, p.message("/meta/connect", fmt.Sprintf(`,"connectionType":"long-polling","advice":{"timeout":10},"ext":{"ack":%s}`, p.had)))
	require.True(p.x.t, r.ok(), r.Error)
	var got []string
	for _, d := range p.inbox {
		got = append(got, string(d.Data))
	}
	p.inbox = nil
	if !lost && r.Ext.Ack != nil {
		p.had = string(r.Ext.Ack)
	}
	return got
}

// TestAckOverTheLossOfANode: bayeux-cometd.md §2.1. What was sent is told by its number,
// though the node that sent it is gone at once, and so is what is subscribed to since.
func TestAckOverTheLossOfANode(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprint("answer lost ", lost), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleet(t, 2)
				root := nodes[0].root("gala", channels.ClassView)
				p := nodes[1].joinAck()
				require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, root+"/chat", root+"/**"))).ok())
				nodes[0].say("gala", "chat", 1, 2)
				nodes[0].say("gala", "reactions", 3)
				require.Equal(t, []string{"1", "2", "3"}, p.connect(nodes[1], lost))
				nodes[0].say("gala", "chat", 4)
				nodes[1].die()
				nodes[1].run()
				want := []string{"4"}
				if lost {
					want = []string{"1", "2", "4", "3"}
				}
				var got []string
				for range 4 {
					got = append(got, p.connect(nodes[0], false)...)
				}
				require.ElementsMatch(t, want, got)
				// And again: what the second node sent before it was lost, too.
				nodes[1].say("gala", "chat", 5)
				require.Equal(t, []string{"5"}, p.connect(nodes[0], lost))
				nodes[0].die()
				nodes[0].run()
				if !lost {
					require.Empty(t, p.connect(nodes[1], false))
				} else {
					require.Equal(t, []string{"5"}, p.connect(nodes[1], false))
				}
			})
		})
	}
}

// TestAckUnsubscribes gives a channel up and takes it again: it goes on where it was, also
// over the loss of a node, and of an answer; but not after the cover is over.
func TestAckUnsubscribes(t *testing.T) {
	for name, c := range map[string]struct {
		lost bool
		wait time.Duration
		want []string
	}{
		"soon":           {false, 10 * time.Millisecond, []string{"2", "3"}},
		"an answer lost": {true, 10 * time.Millisecond, []string{"1", "2", "3"}},
		"late":           {false, 2 * catchup.KeepCover, []string{"3"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				nodes := newFleetWith(t, 2, func(o *Options, bo *bayeux.Options) {
					bo.MaxInterval = 10 * catchup.KeepCover
					o.SessionLife = 11 * catchup.KeepCover
				})
				chat := nodes[0].root("gala", channels.ClassView) + "/chat"
				p := nodes[1].joinAck()
				ask := func(what string) {
					t.Helper()
					require.True(t, p.at(nodes[1], p.message("/meta/"+what, fmt.Sprintf(`,"subscription":%q`, chat))).ok())
				}
				ask("subscribe")
				nodes[0].say("gala", "chat", 1)
				require.Equal(t, []string{"1"}, p.connect(nodes[1], c.lost))
				ask("unsubscribe")
				nodes[0].say("gala", "chat", 2)
				time.Sleep(c.wait)
				ask("subscribe")
				nodes[0].say("gala", "chat", 3)
				nodes[1].die()
				nodes[1].run()
				got := p.connect(nodes[0], false)
				require.Equal(t, c.want, append(got, p.connect(nodes[0], false)...))
			})
		})
	}
}

// TestAckWithoutTheStore: what cannot be written down goes all the same, and is counted.
func TestAckWithoutTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 1)
		x := nodes[0]
		p := x.joinAck()
		require.True(t, p.at(x, p.message("/meta/subscribe", `,"subscription":"/open/a"`)).ok())
		require.True(t, p.at(x, p.message("/open/a", `,"data":1`)).ok())
		x.settle()
		x.options.Store.(*sharedStore).away.Store(true)
		require.Equal(t, []string{"1"}, p.connect(x, true))
		x.options.Store.(*sharedStore).away.Store(false)
		require.Equal(t, []string{"1"}, p.connect(x, false))
		require.Empty(t, p.connect(x, false))
	})
}

// TestLazyChannels: bayeux-cometd.md §2.8, for an open channel and for one below a root.
func TestLazyChannels(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, bo *bayeux.Options) {
			for _, text := range []string{"/open/lazy/**", "/reactions"} {
				p, err := channels.ParsePattern(text)
				require.NoError(t, err)
				o.Lazy = append(o.Lazy, p)
			}
			bo.LazyTimeout = 3 * time.Second
		})
		p := x.join("")
		root := x.root("gala", channels.ClassView)
		require.True(t, p.subscribe("/open/lazy/a", root+"/reactions", root+"/chat").ok())
		lasts := func(say func()) time.Duration {
			begun := time.Now()
			go func() {
				time.Sleep(time.Millisecond)
				say()
			}()
			require.True(t, x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling"`))[0].ok())
			return time.Since(begun) - time.Millisecond
		}
		say := func(channel string) {
			who := &Identity{App: x.app, Role: RoleServer}
			require.NoError(t, x.b.PublishAll(t.Context(), who, []Publication{{ObjectID: "gala", Channel: channel, Data: []byte("1")}})[0].Err)
		}
		require.Equal(t, 3*time.Second, lasts(func() { say("reactions") }))
		require.Zero(t, lasts(func() { say("chat") }))
		q := x.join("")
		require.Equal(t, 3*time.Second, lasts(func() { q.publish("/open/lazy/a", "2", "") }))
		require.Len(t, p.inbox, 3)
	})
}

// What a node had queued for a session that goes on elsewhere, to one that is behind and
// hands over only a part of it, is not lost when that one dies.
func TestAckQueuedOnTheNodeBefore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleet(t, 3)
		root := nodes[0].root("gala", channels.ClassView)
		p, other := nodes[0].joinAck(), nodes[1].join("")
		require.True(t, p.subscribe(root+"/*").ok())
		require.True(t, other.at(nodes[1], other.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, root+"/chat"))).ok())
		nodes[0].say("gala", "chat", 1)
		require.Equal(t, []string{"1"}, p.connect(nodes[0], false))
		nodes[0].say("gala", "chat", 2)
		time.Sleep(time.Second)
		tp := theTopic(t, nodes[1], "chat")
		tp.mu.Lock()
		behind := tp.last
		tp.mu.Unlock()
		nodes[0].say("gala", "chat", 3)
		time.Sleep(time.Second)
		tp.mu.Lock()
		tp.last = behind // as if its feed had lost the third
		tp.mu.Unlock()
		require.Equal(t, []string{"2"}, p.connect(nodes[1], false))
		nodes[1].die()
		got := p.connect(nodes[2], false)
		nodes[1].run()
		require.Equal(t, []string{"3"}, got)
	})
}
