package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPages()
		ctx := t.Context()
		key := pageKey{channel: "/a/catchup/1h", after: store.NewPosition(1, 1, 256)}
		last := store.NewPosition(9, 1, 512)
		one := []*bayeux.Delivery{bayeux.NewDelivery(bayeux.DeliveryFields{Channel: "/a", Data: []byte("1")})}
		var loads atomic.Int64
		load := func(whole bool, err error) func() ([]*bayeux.Delivery, store.Position, bool, error) {
			return func() ([]*bayeux.Delivery, store.Position, bool, error) {
				loads.Add(1)
				time.Sleep(time.Second)
				return one, last, whole, err
			}
		}
		ask := func(n int, whole bool, fault error) {
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					ds, at, _, err := p.get(ctx, key, load(whole, fault))
					require.ErrorIs(t, err, fault)
					if err == nil {
						require.Equal(t, one, ds)
						require.Equal(t, last, at)
					}
				})
			}
			all.Wait()
		}
		ask(50, true, nil)
		require.EqualValues(t, 1, loads.Load(), "a herd reads a page once")
		time.Sleep(pageAge + time.Second)
		ask(2, true, nil)
		require.EqualValues(t, 2, loads.Load(), "it is not remembered for long")
		time.Sleep(pageAge + time.Second)
		p.sweep()
		require.Empty(t, p.byKey)
		require.Zero(t, p.bytes)

		loads.Store(0)
		ask(3, false, nil)
		require.EqualValues(t, 3, loads.Load(), "the last page of a walk is its own")
		ask(3, true, errors.New("away"))
		require.EqualValues(t, 6, loads.Load(), "a failure is nobody else's")
		require.Empty(t, p.byKey)

		gone, cancel := context.WithCancel(ctx)
		go func() { _, _, _, _ = p.get(ctx, key, load(true, nil)) }()
		synctest.Wait()
		cancel()
		_, _, _, err := p.get(gone, key, load(true, nil))
		require.ErrorIs(t, err, context.Canceled)
		time.Sleep(2 * time.Second)
	})
}

func TestPagesAreBounded(t *testing.T) {
	p := newPages()
	big := []*bayeux.Delivery{bayeux.NewDelivery(bayeux.DeliveryFields{Channel: "/a", Data: make([]byte, 1<<20)})}
	for n := range uint64(100) {
		_, _, _, err := p.get(t.Context(), pageKey{after: store.NewPosition(1, 1, n)}, func() ([]*bayeux.Delivery, store.Position, bool, error) {
			return big, store.NewPosition(2, 1, n), true, nil
		})
		require.NoError(t, err)
		require.LessOrEqual(t, p.bytes, pagesBytes)
	}
	require.NotEmpty(t, p.byKey)
	require.Len(t, p.byKey, p.order.Len())
}

// Herds with other intervals, other ends and other roots share what they can, and
// each gets exactly its own.
func TestHerd(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
		x.say("gala", "chat", numbers(1, 700)...)
		time.Sleep(time.Minute)
		x.say("gala", "chat", numbers(701, 1300)...)
		var early []*peer
		for range 5 {
			p := x.join("")
			p.subscribe(view + "/chat/catchup/1h")
			early = append(early, p)
		}
		x.say("gala", "chat", numbers(1301, 1700)...)
		late, other := x.join(""), x.join("")
		late.subscribe(view + "/chat/catchup/30s")
		other.subscribe(control + "/chat/catchup/1h")
		for _, p := range early {
			require.Equal(t, on(view+"/chat/catchup/1h", numbers(1, 1300)...), p.poll())
		}
		require.Equal(t, on(view+"/chat/catchup/30s", numbers(701, 1700)...), late.poll())
		require.Equal(t, on(control+"/chat/catchup/1h", numbers(1, 1700)...), other.poll())
	})
}
