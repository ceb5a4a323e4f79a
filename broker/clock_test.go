package broker

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// jumps is how far the clock may jump to either side: sessions' records outlive the
// session by ten minutes of the store's clock.
const jumps = 4 * time.Minute

// TestClockJumps: security.md §5.3, R8. The wall clock of the machine, and with it that of
// the store, jumps back and forth: ids go on rising and deliveries in their order, sessions
// live and polls are held as long as they should be, and tokens are judged by what the
// clock says now.
func TestClockJumps(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	inBubble(t, func(t *testing.T) {
		var off atomic.Int64
		wall := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
		x := newBench(t, func(o *Options, _ *bayeux.Options) {
			s := memory.New(memory.Options{Log: zap.NewNop(), Now: wall})
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			o.Store, o.Now = s, wall
		})
		view := x.root("show", channels.ClassView)
		p := x.join("")
		require.True(t, p.subscribe(view+"/chat").ok())
		require.Empty(t, p.poll())
		last := store.Position{}
		n, seen := 0, 0
		for range 200 {
			off.Store(rng.Int64N(int64(2*jumps)) - int64(jumps))
			for range 1 + rng.IntN(3) {
				x.say("show", "chat", n)
				n++
			}
			begun := time.Now()
			// The second poll waits in vain: as long as it asked for, whatever the clock said.
			replies := x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
			require.True(t, replies[0].ok(), replies[0].Error)
			require.Zero(t, time.Since(begun))
			replies = x.post(p, p.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":100}`))
			require.True(t, replies[0].ok(), replies[0].Error)
			require.Equal(t, 100*time.Millisecond, time.Since(begun))
			for _, d := range p.inbox[seen:] {
				id, err := store.ParsePosition(d.Ext.History.ID)
				require.NoError(t, err)
				require.True(t, last.Before(id), "%v after %v", id, last)
				last = id
			}
			seen = len(p.inbox)
		}
		var got []string
		for _, d := range p.inbox {
			got = append(got, string(d.Data))
		}
		require.Len(t, got, n)
		for i := range got {
			require.Equal(t, fmt.Sprint(i), got[i])
		}

		off.Store(0)
		token, err := SignToken(*x.app, map[string]any{"role": "viewer", "channel_id": "show"}, time.Hour, time.Now())
		require.NoError(t, err)
		for _, jump := range []struct {
			by   time.Duration
			good bool
		}{{0, true}, {30 * time.Minute, true}, {2 * time.Hour, false}, {0, true}, {-2 * time.Hour, true}, {-25 * time.Hour, false}, {59 * time.Minute, true}} {
			off.Store(int64(jump.by))
			_, err := x.b.tokens.verify("demo", token)
			require.Equal(t, jump.good, err == nil, "%v: %v", jump.by, err)
		}
	})
}
