package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// goBack makes the rows of sessions what they were, as after a failover that lost the
// tail. A node sees that by its own row, unless it has written none in that time; then the
// store was away for a while.
func goBack(t *testing.T, nodes []*bench, rows []store.Item, seen bool) {
	t.Helper()
	now, err := nodes[0].store.List(t.Context(), tableSession, "", "", 10)
	require.NoError(t, err)
	for _, row := range now {
		require.NoError(t, nodes[0].store.Remove(t.Context(), tableSession, row.Key, nil))
	}
	for _, row := range rows {
		_, err := nodes[0].store.Put(t.Context(), tableSession, row.Key, store.Put{Data: row.Data, TTL: time.Hour})
		require.NoError(t, err)
	}
	for _, x := range nodes {
		if seen {
			require.NoError(t, x.store.Remove(t.Context(), tableNode, x.b.nodes.id, nil))
		} else {
			x.link().away.Store(true)
		}
	}
	if !seen {
		time.Sleep(1500 * time.Millisecond)
		for _, x := range nodes {
			x.link().away.Store(false)
		}
		time.Sleep(300 * time.Millisecond) // they beat again
	}
}

// What a session had subscribed to in the time that the store lost is not lost, nor is a
// session that began then, whether it lives on a node then or is on its way: who has it, or had it last, writes it again.
func TestStoreGoesBack(t *testing.T) {
	f := func(known, onItsWay, seen bool) {
		t.Helper()
		inBubble(t, func(t *testing.T) {
			nodes := newFleet(t, 3)
			root := nodes[0].root("gala", channels.ClassView)
			p := nodes[0].join("")
			require.True(t, p.subscribe(root+"/first").ok())
			rows, err := nodes[0].store.List(t.Context(), tableSession, "", "", 10)
			require.NoError(t, err)
			require.Len(t, rows, 1)

			if !known {
				rows = nil
			}
			require.True(t, p.connectAt(nodes[1], 1).ok())
			require.True(t, p.at(nodes[1], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, root+"/second"))).ok())
			nodes[2].say("gala", "second", 1)
			require.True(t, p.connectAt(nodes[1], 100).ok())
			require.Len(t, p.inbox, 1)
			p.inbox = nil
			if onItsWay {
				s, _ := nodes[1].b.subscriberOf(sessionKey(p.id))
				_, err := s.session.Release(t.Context(), bayeux.Ordinal{})
				require.NoError(t, err)
			}
			goBack(t, nodes, rows, seen)
			if seen {
				time.Sleep(4 * time.Second)
			}
			require.True(t, p.connectAt(nodes[2], 1).ok())
			nodes[2].say("gala", "first", 2)
			nodes[2].say("gala", "second", 3)
			require.ElementsMatch(t, append(on(root+"/first", 2), on(root+"/second", 3)...), p.pollAround(nodes[1:]))
		})
	}
	for _, known := range []bool{true, false} {
		for _, onItsWay := range []bool{true, false} {
			f(known, onItsWay, true)
			f(known, onItsWay, false)
		}
	}
}

// While others write again what they had of a session, after the store has gone back, who
// has it writes its own in the end, and the others know.
func TestRecordContended(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newFleet(t, 1)[0]
		p := x.join("")
		require.True(t, p.subscribe("/open/a").ok())
		old, err := x.store.Get(t.Context(), tableSession, sessionKey(p.id))
		require.NoError(t, err)
		require.True(t, p.subscribe("/open/b").ok())
		others := 0
		contend := func(table, key string) {
			if table == tableSession && others < 5 {
				others++
				_, err := x.store.Put(t.Context(), table, key, store.Put{Data: old.Data, TTL: time.Hour})
				require.NoError(t, err)
			}
		}
		x.link().hook.Store(&fault{put: contend})
		require.True(t, p.subscribe("/open/c").ok())
		require.Equal(t, 5, others)
		r, _, err := x.b.loadSession(t.Context(), sessionKey(p.id))
		require.NoError(t, err)
		require.Len(t, r.Topics, 3)
		require.EqualValues(t, 5, total(x.b.metrics.recordForks))
	})
}

// Of records that are kept the oldest go first, by age, number and bytes.
func TestDepartedBounds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := departed{b: &Broker{}}
		d.keep("old", nil, 1)
		time.Sleep(departedFor)
		for n := range departedMost + 10 {
			d.keep(fmt.Sprint(n), nil, 1)
		}
		require.Equal(t, departedMost, len(d.byKey))
		require.Equal(t, departedMost, len(d.order))
		require.Nil(t, d.byKey["9"])
		require.NotNil(t, d.byKey["10"])
		d.keep("big", make([]byte, departedBytes/2+1), 1)
		require.Equal(t, departedMost, len(d.byKey))
		d.keep("big", make([]byte, departedBytes/2), 2)
		require.Equal(t, 1, len(d.byKey))
		require.Equal(t, uint64(2), d.byKey["big"].seq)
		require.Equal(t, departedBytes/2, d.bytes)
		time.Sleep(departedFor)
		d.sweep()
		require.Zero(t, len(d.byKey))
		require.Zero(t, d.bytes)
	})
}
