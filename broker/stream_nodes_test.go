package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func (s *sharedStore) Take(ctx context.Context, g store.GroupName, limits store.Limits, consumer string, limit, most int) (store.Taken, error) {
	if err := s.fault(); err != nil {
		return store.Taken{}, err
	}
	return s.Store.Take(ctx, g, limits, consumer, limit, most)
}

func (s *sharedStore) Settle(ctx context.Context, g store.GroupName, at []store.Position) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Settle(ctx, g, at)
}

func (s *sharedStore) Leave(ctx context.Context, g store.GroupName, consumer string) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Leave(ctx, g, consumer)
}

func newStreamFleet(t testing.TB, n int) []*bench {
	t.Helper()
	return newFleetWith(t, n, func(o *Options, _ *bayeux.Options) {
		o.Accounts[0].CDN, o.Accounts[0].StreamToken = 158, streamToken
	})
}

func (x *bench) away(yes bool) { x.options.Store.(*sharedStore).away.Store(yes) }

// kill ends a node as kill -9 would: it writes nothing any more.
func (x *bench) kill() {
	x.away(true)
	x.stop()
}

// TestV16NodeDies: connections on three nodes share a stream; what the one on a node
// that dies did not settle goes to the others, and its place is free again.
func TestV16NodeDies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newStreamFleet(t, 3)
		x := nodes[0]
		s := x.stream(StreamSpec{Name: "s"})
		var all []*consumer
		for _, n := range nodes {
			all = append(all, n.connect(s.ID, ""))
		}
		require.Equal(t, errManyMembers, nodes[1].b.ConnectStream(context.Background(), nodes[1].streamAccount(), s.ID, "", &consumer{}))
		got := map[string]int{}
		for i := range 90 {
			x.file("a", fmt.Sprint(i))
		}
		require.Equal(t, 3, x.membersOf(s.ID))
		lost := all[2].take()
		for _, c := range all[:2] {
			for _, e := range c.take() {
				got[e]++
			}
		}
		require.Equal(t, 90, len(got)+len(lost))
		nodes[2].kill()
		pass(leaseTime + 2*tendEvery)
		synctest.Wait()
		var again []string
		for _, c := range all[:2] {
			mine := c.take()
			again = append(again, mine...)
			for _, e := range mine {
				got[e]++
			}
		}
		require.ElementsMatch(t, lost, again)
		require.Len(t, got, 90)
		require.Equal(t, 2, x.membersOf(s.ID))
		c := nodes[1].connect(s.ID, "")
		require.Empty(t, c.take())
		for _, c := range []*consumer{all[0], all[1], c} {
			c.leave()
		}
		nodes[2].away(false)
		nodes[2].run()
	})
}

// TestNodeCutOff: a node that others took for dead finds out and ends its connections;
// nothing is lost.
func TestNodeCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newStreamFleet(t, 2)
		x := nodes[0]
		s := x.stream(StreamSpec{Name: "s"})
		alone, other := nodes[1].connect(s.ID, ""), x.connect(s.ID, "")
		nodes[1].away(true)
		pass(leaseTime + 3*tendEvery)
		require.Equal(t, 1, x.membersOf(s.ID))
		x.file("a", "1", "2")
		require.Equal(t, events("a", "1", "2"), other.take())
		nodes[1].away(false)
		pass(5 * time.Second)
		require.NoError(t, <-alone.ended)
		require.Equal(t, 1, x.membersOf(s.ID))
		other.leave()
	})
}

// TestStoreAway: while the store is away connections stay, and what comes after it is
// there is read.
func TestStoreAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreamFleet(t, 1)[0]
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "")
		x.file("a", "1")
		x.away(true)
		pass(time.Second)
		pokes := len(c.seen().pokes)
		pass(10 * time.Second)
		require.Len(t, c.seen().pokes, pokes+2)
		x.away(false)
		pass(5 * time.Second)
		x.file("a", "2")
		require.Equal(t, events("a", "1", "2"), c.take())
		// One that leaves meanwhile is taken from the row when the store is back.
		x.away(true)
		c.leave()
		x.away(false)
		pass(5 * time.Second)
		synctest.Wait()
		set, err := x.b.streams.Load(context.Background(), "158")
		require.NoError(t, err)
		require.Empty(t, set.Streams[0].Members)
		require.NotZero(t, set.Streams[0].Ended)
	})
}

// TestV15OtherNode: a peer that comes again on another node replaces its connection that
// is not known to be dead.
func TestV15OtherNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newStreamFleet(t, 2)
		x := nodes[0]
		s := x.stream(StreamSpec{Name: "s"})
		x.file("a", "1", "2", "3")
		c := x.connect(s.ID, "")
		require.Equal(t, events("a", "1", "2", "3"), c.seen().events)
		second := c.seen().ids[1]
		again := nodes[1].connect(s.ID, second)
		pass(2 * supersedeWait)
		require.NoError(t, <-c.ended)
		require.Equal(t, events("a", "3"), again.take())
		require.Equal(t, 1, x.membersOf(s.ID))
		again.leave()
	})
}

// TestKilledConsumer: a consumer that is killed fifty times at random sees every record
// at least once and in order; exactly once, when it says which one it had last.
func TestKilledConsumer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, exact := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			nodes := newStreamFleet(t, 2)
			x := nodes[0]
			s := x.stream(StreamSpec{Name: "s"})
			var got []string
			last := ""
			n := 0
			for range 51 {
				c := nodes[random.IntN(2)].connect(s.ID, last)
				for range random.IntN(20) {
					x.file("a", fmt.Sprint(n))
					n++
					if random.IntN(4) == 0 {
						pass(time.Duration(random.IntN(8000)) * time.Millisecond)
					}
				}
				if len(c.seen().ids) > 0 && exact {
					// It dies over one of those it was sent.
					lived := random.IntN(len(c.seen().ids)) + 1
					got, last = append(got, c.seen().events[:lived]...), c.seen().ids[lived-1]
				} else {
					got = append(got, c.seen().events...)
				}
				c.leave()
			}
			if exact {
				c := x.connect(s.ID, last)
				got = append(got, c.seen().events...)
				c.leave()
			}
			var want []string
			for i := range n {
				want = append(want, fmt.Sprint("a ", i))
			}
			if exact {
				require.Equal(t, want, got)
				return
			}
			// In order: none comes for the first time before one with a smaller number.
			require.Equal(t, want, slices.Compact(firsts(got)))
		})
	}
}

// firsts returns each text where it came first.
func firsts(all []string) (first []string) {
	seen := map[string]bool{}
	for _, one := range all {
		if !seen[one] {
			first = append(first, one)
		}
		seen[one] = true
	}
	return first
}

// TestV10Visits: users with a token who join or leave an object are seen by streams,
// once, though they go from node to node; so is that somebody is there at all.
func TestV10Visits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newStreamFleet(t, 2)
		x, y := nodes[0], nodes[1]
		view := x.root("gala", channels.ClassView)
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "")
		guest, zoe := x.join(""), x.join(x.ext(map[string]any{"role": "viewer", "channel_id": "gala", "user_ref": "zoe", "opaque_user_id": "A9"}))
		require.True(t, guest.subscribe(view+"/chat").ok())
		require.True(t, zoe.subscribe(view+"/chat").ok())
		at := x
		stay := func() {
			require.True(t, zoe.connectAt(at, 1).ok())
			require.True(t, guest.connectAt(x, 1).ok())
		}
		rounds(t, 3, stay)
		require.ElementsMatch(t, []string{"connection create", "occupied presence"}, c.take())
		at = y
		rounds(t, 5, stay)
		require.Empty(t, c.take(), "she has moved, and is there")
		require.True(t, zoe.at(y, zoe.message("/meta/disconnect", "")).ok())
		rounds(t, 4, func() { require.True(t, guest.connectAt(x, 1).ok()) })
		require.Equal(t, []string{"connection delete"}, c.take())
		require.True(t, guest.at(x, guest.message("/meta/disconnect", "")).ok())
		rounds(t, 4)
		require.Equal(t, []string{"vacated presence"}, c.take())
		for _, table := range []string{tableVisit} {
			items, err := x.store.List(context.Background(), table, "", "", 10)
			require.NoError(t, err)
			require.Empty(t, items)
		}
		record := c.seen().records[len(c.seen().records)-1]
		require.Equal(t, []any{"vacated", "gala", "12"}, []any{record["type"], record["object_id"], record["user"].(map[string]any)["organization_id"]})
		c.leave()
	})
}

// TestOwnRecords: what happens to an object is in the account's log, once, by whatever
// way it came; the data of users is not.
func TestOwnRecords(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		x.shaped = true
		x.stop()
		x.run()
		view := x.root("gala", channels.ClassView)
		s := x.stream(StreamSpec{Name: "s", Events: []string{"data"}})
		c := x.connect(s.ID, "")
		ctx := context.Background()
		server := &Identity{App: x.app, Role: RoleServer}
		zoe := &Identity{App: x.app, Role: RoleViewer, RoleName: "viewer", ChannelID: "gala", UserRef: "zoe", OpaqueUserID: "A9"}
		x.say("gala", "chat", map[string]any{"n": 1})
		x.say("gala", "analytics", map[string]any{"n": 2})
		x.say("gala", "events", map[string]any{"event": "broadcasting", "state": "start"})
		comment, err := x.b.Comment(ctx, zoe, "gala", CommentDraft{Content: "hello"})
		require.NoError(t, err)
		_, err = x.b.Promote(ctx, x.app, "gala", comment.ID)
		require.NoError(t, err)
		_, err = x.b.Promote(ctx, x.app, "gala", comment.ID)
		require.NoError(t, err)
		require.NoError(t, x.b.Withdraw(ctx, x.app, "gala", comment.ID))
		_, err = x.b.Accumulate(ctx, zoe, "gala", "mood", []byte(`{"good":1}`), store.Nonce{})
		require.NoError(t, err)
		for _, scope := range []string{scopeRoom, scopeSession, scopeUser, scopeRoom} {
			_, err = x.b.ChangeData(ctx, zoe, DataQuery{Scope: scope}, catchup.Merging, []byte(fmt.Sprintf(`{"k%d":1}`, x.store.Now().UnixNano())), nil)
			require.NoError(t, err)
			pass(time.Millisecond)
		}
		_, err = x.b.ChangeData(ctx, server, DataQuery{Scope: scopeApp}, catchup.Merging, []byte(`{"k":1}`), nil)
		require.NoError(t, err)
		_, err = x.b.PatchObject(ctx, x.app, "gala", ObjectPatch{Name: new(string)})
		require.NoError(t, err)
		p := x.join(x.ext(map[string]any{"role": "broadcaster", "channel_id": "gala", "user_ref": "bob"}))
		require.True(t, p.publish(view+"/chat", `{"over":"bayeux"}`, "").ok())
		require.NoError(t, x.b.recordViewerStats(ctx, x.app, viewerStats{URL: "gala_main", Grain: "hour", Bucket: time.Unix(3600, 0), Row: []byte(`{"viewer_count_sum":1}`)}))
		require.NoError(t, x.b.recordViewerStats(ctx, x.app, viewerStats{URL: "gala_main", Grain: "hour", Bucket: time.Unix(3600, 0), Row: []byte(`{"viewer_count_sum":1}`)}))
		require.NoError(t, x.b.recordViewerStats(ctx, x.app, viewerStats{URL: "gala_main", Grain: "hour", Bucket: time.Unix(3600, 0), Row: []byte(`{"viewer_count_sum":2}`)}))
		x.settle()
		require.Equal(t, []string{
			"message chat", "analytics analytics", "event events", "comment " + comment.ID, "comment " + comment.ID, "comment " + comment.ID,
			"accumulation mood", "session_data data/room", "session_data data/session", "session_data data/room", "message chat",
			"viewer_stats hour/1970-01-01T01:00:00Z", "viewer_stats hour/1970-01-01T01:00:00Z",
		}, c.take())
		rows := c.seen().records
		require.Equal(t, rows[3]["id"], rows[5]["id"])
		require.NotEqual(t, rows[3]["checksum"], rows[4]["checksum"])
		require.Equal(t, map[string]any{"organization_id": "12", "uid": "zoe", "user_id": "A9"}, rows[6]["user"])
		require.Equal(t, rows[7]["id"], rows[9]["id"])
		require.NotEqual(t, rows[7]["id"], rows[8]["id"])
		require.Equal(t, "zoe", rows[7]["user"].(map[string]any)["uid"])
		require.Equal(t, "bob", rows[10]["user"].(map[string]any)["uid"])
		require.Equal(t, rows[11]["id"], rows[12]["id"])
		c.leave()
	})
}
