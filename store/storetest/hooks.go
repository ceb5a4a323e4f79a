package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// Hooks returns the options of a backend that keeps everything on r and reaches it
// by d alone. The backend's own tests add Reopen.
func Hooks(r *Redis, d *Dropper) Options {
	return Options{
		OwnClock: true,
		FillUp: func(t testing.TB, _ store.Store) func() {
			_, err := r.Command("CONFIG", "SET", "maxmemory", "1")
			require.NoError(t, err)
			free := func() {
				_, err := r.Command("CONFIG", "SET", "maxmemory", "0")
				require.NoError(t, err)
			}
			t.Cleanup(free)
			return free
		},
		Disturb: func(testing.TB, store.Store) { d.Cut() },
		DropLive: func(t testing.TB, _ store.Store, share float64) {
			d.Drop(share, 1)
			t.Cleanup(func() { d.Drop(0, 1) })
		},
		Deafen: func(t testing.TB, _ store.Store) func() {
			d.Mute(true)
			t.Cleanup(func() { d.Mute(false) })
			return func() { d.Mute(false) }
		},
		LoseReply: func(testing.TB, store.Store) { d.LoseReply("EVALSHA") },
	}
}
