package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// A full accumulation drops nothing and refuses (decided.md 24).
func TestAccumulateFull(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Accumulate.Max = 5 })
		who, caster := x.roleOf(RoleViewer, "gala", ""), x.roleOf(RoleBroadcaster, "gala", "")
		var full atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				_, err := x.b.Accumulate(context.Background(), who, "gala", "m", []byte("{}"), store.Nonce{})
				if errors.Is(err, store.ErrFull) {
					full.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 15, full.Load())
		got, _ := x.taken(caster, AccumulationQuery{Name: "m", ChannelID: "gala"})
		require.Len(t, got, 5)
		// Over Bayeux, too; other accumulations have room.
		p := x.join(x.tokenExt(map[string]any{"role": "viewer", "channel_id": "gala"}))
		view := x.root("gala", channels.ClassView)
		require.Equal(t, "507::Store full", p.publish(view+"/accumulate/m", "{}", "").Error)
		require.True(t, p.publish(view+"/accumulate/other", "{}", "").ok())
		// Another node has cleared it: this one looks again.
		require.NoError(t, x.store.Delete(context.Background(), store.LogName{Feed: mustFeed(x, "gala"), Path: "/accumulate/m"}))
		time.Sleep(fullFor)
		require.True(t, p.publish(view+"/accumulate/m", "{}", "").ok())
		// And finds what another node has taken.
		data, err := catchup.EncodeEntry(catchup.Giver{ChannelID: "gala"}, []byte("{}"), 0)
		require.NoError(t, err)
		for range 10 {
			done := make(chan error, 1)
			x.store.Submit(store.LogName{Feed: mustFeed(x, "gala"), Path: "/accumulate/m"}, x.b.fills.limits, []store.Record{{Data: data}}, func(_ store.Appended, err error) { done <- err })
			require.NoError(t, <-done)
		}
		time.Sleep(fillFor)
		require.Equal(t, "507::Store full", p.publish(view+"/accumulate/m", "{}", "").Error)
	})
}

// Any viewer can begin an accumulation, but not without end.
func TestAccumulationNames(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Accumulate.TTL = time.Minute })
		give := func(object, name string) error {
			_, err := x.b.Accumulate(context.Background(), x.roleOf(RoleViewer, object, "U1"), object, name, []byte("{}"), store.Nonce{})
			return err
		}
		for n := range maxNames {
			require.NoError(t, give("show", fmt.Sprint("n", n)))
		}
		for _, name := range []string{"more", "again"} { // counted, and remembered
			require.ErrorIs(t, give("show", name), errAccumulationNames)
		}
		require.Equal(t, 5007, AsError(give("show", "more")).Result)
		p := x.join(x.tokenExt(map[string]any{"role": "viewer", "channel_id": "show"}))
		require.Equal(t, "507::Store full", p.publish(x.root("show", channels.ClassView)+"/accumulate/more", "{}", "").Error)
		require.NoError(t, give("show", "n7"), "those there are go on")
		require.NoError(t, give("show/n", "more"), "as do other objects")
		rows, err := x.store.List(context.Background(), tableAccumulation, "", "", 2*maxNames)
		require.NoError(t, err)
		require.Len(t, rows, maxNames+1, "nothing of what was refused is there")
		time.Sleep(3 * time.Minute)
		require.NoError(t, give("show", "more"), "what has expired makes room")
	})
}
