package broker

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

// rewound is a store with one log that a test writes itself, so that what comes after
// a loss can have lower positions than what was lost: a clock that is behind.
type rewound struct {
	*frail
	name    store.LogName
	entries []store.Entry // guarded by frail.mu
}

func (s *rewound) Head(ctx context.Context, name store.LogName, limits store.Limits) (store.Head, error) {
	heads, err := s.Heads(ctx, []store.LogName{name})
	return store.Head{Last: heads[0]}, err
}

func (s *rewound) Heads(ctx context.Context, names []store.LogName) ([]store.Position, error) {
	heads, err := s.frail.Heads(ctx, names)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		if n := len(s.entries); name == s.name && n > 0 {
			heads[i] = s.entries[n-1].Position
		}
	}
	return heads, err
}

func (s *rewound) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	if name != s.name {
		return s.frail.Read(ctx, name, r, limit, maxBytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	page := store.Page{Forked: !r.After.IsZero()}
	for _, e := range s.entries {
		page.Forked = page.Forked && e.Position != r.After
		if !r.After.Before(e.Position) || e.Position.MS() < r.Since.UnixMilli() || !r.UpTo.IsZero() && r.UpTo.Before(e.Position) {
			continue
		}
		if page.More = len(page.Entries) == limit; page.More {
			break
		}
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

// What comes after a loss reaches everybody once, even if its positions are lower
// than those that were lost: those who are up to date and those who lag.
func TestForkRewound(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &rewound{name: store.LogName{Feed: "c/open", Path: "/open/a"}}
		x := newBench(t, func(o *Options, b *bayeux.Options) {
			b.Limits.QueueMessages = 4
			s.frail = newFrail(o.Store.(*memory.Store))
			o.Store = s
		})
		reads, lags := x.join(""), x.join("")
		require.True(t, reads.subscribe("/open/a").ok())
		require.True(t, lags.subscribe("/open/a").ok())
		x.b.hub.roads.mu.Lock()
		r := x.b.hub.roads.byFeed["c/open"]
		x.b.hub.roads.mu.Unlock()
		base, prev := x.store.Now().UnixMilli(), store.Position{}
		add := func(ms int64, n int, data string) {
			e := store.Entry{Position: store.NewPosition(base+ms, 7, uint64(n)), Data: catchup.Encode([]byte(data), nil, 0)}
			s.set(func() { s.entries = append(s.entries, e) })
			r.Entries([]store.Tail{{Log: s.name, Prev: prev, Kept: true, Entry: e}})
			synctest.Wait()
			prev = e.Position
		}
		var got []string
		for n := 1; n <= 10; n++ {
			add(int64(100*n), n, strconv.Itoa(n))
			got = append(got, reads.poll()...)
		}
		require.Equal(t, on("/open/a", numbers(1, 10)...), got)
		s.set(func() { s.entries = slices.Clone(s.entries[:2]) }) // 3 to 10 are gone
		prev = s.entries[1].Position
		add(250, 3, "33") // found by its Prev
		require.Equal(t, on("/open/a", 33), reads.poll())
		add(260, 4, "34")
		require.Equal(t, on("/open/a", 34), reads.poll())
		require.Equal(t, on("/open/a", 1, 2, 3, 4, 33, 34), lags.poll())
		require.EqualValues(t, 1, total(x.b.metrics.forks))
		require.Zero(t, total(x.b.metrics.deepForks))

		// Found by Ready, and all that is known is lost: it goes on from the oldest.
		time.Sleep(time.Second)
		s.set(func() { s.entries = nil })
		r.Broken(store.ErrUnavailable)
		r.Ready()
		synctest.Wait()
		require.EqualValues(t, 1, total(x.b.metrics.deepForks))
		prev = store.Position{}
		add(5000, 5, "5")
		add(5001, 6, "6")
		require.Equal(t, on("/open/a", 5, 6), reads.poll())
		require.Equal(t, on("/open/a", 5, 6), lags.poll())
		r.Ready() // and is not counted again
		synctest.Wait()
		require.EqualValues(t, 2, total(x.b.metrics.forks))
	})
}

// A session that comes from a node that had handed on what is lost, to one that never had
// it, gets some seconds again, but nothing from before it subscribed.
func TestForkedElsewhere(t *testing.T) {
	f := func(name string, want []string, subscribe ...string) {
		t.Helper()
		inBubble(t, func(t *testing.T) {
			var s *frail
			x := newBench(t, func(o *Options, _ *bayeux.Options) {
				s = newFrail(o.Store.(*memory.Store))
				o.Store = s
			})
			y := &bench{t: t, store: x.store, ring: x.ring, options: x.options, wire: x.wire}
			y.run()
			defer y.stop()
			say := func(data ...int) {
				for _, n := range data {
					require.True(t, x.join("").publish("/open/a", strconv.Itoa(n), "").ok())
					time.Sleep(10 * time.Millisecond)
				}
			}
			say(1, 2, 3)
			p := x.join("")
			for _, channel := range subscribe {
				require.True(t, p.subscribe(channel).ok())
			}
			say(4, 5, 6)
			require.True(t, p.connectAt(x, 10).ok())
			p.inbox = nil
			require.True(t, p.connectAt(x, 10).ok())
			require.Empty(t, p.inbox, name)
			sub, _ := x.b.subscriberOf(sessionKey(p.id))
			_, err := sub.session.Release(t.Context(), bayeux.Ordinal{})
			require.NoError(t, err)
			s.fork(store.LogName{Feed: "c/open", Path: "/open/a"}, 2)
			time.Sleep(time.Second)
			say(7)
			require.True(t, p.connectAt(y, 3000).ok()) // it asks y whether it knows of that
			require.Equal(t, want, p.pollAround([]*bench{y}), name)
		})
	}
	f("live", on("/open/a", 4, 7), "/open/a")
	f("wildcard", on("/open/a", 4, 7), "/open/*")
	f("catch-up first", on("/open/a", 4, 7), "/open/a/catchup/1h", "/open/a")
}
