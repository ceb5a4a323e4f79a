package disk

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// TestMarkOutlivesPowerLoss cuts the power after each of some appends, sets the
// wall clock back, and expects that nothing told before is told again or is later
// than what comes now, even where nothing is kept.
func TestMarkOutlivesPowerLoss(t *testing.T) {
	c := storetest.NewClock()
	fs := vfs.NewCrashableMem()
	kinds := []store.Limits{{}, {Age: time.Hour}, {Age: store.Forever, Idle: time.Minute}}
	newest := make([]store.Position, len(kinds))
	for round := range 15 {
		s, err := Open(ctx, "db", Options{FS: fs, Now: c.Now, Floor: -1, Small: true})
		require.NoError(t, err)
		var all store.Position
		for step := range 4 {
			for i, limits := range kinds {
				a, err := storetest.Append(s, store.LogName{Feed: "f", Path: fmt.Sprint(i)}, limits, store.Record{Data: []byte("x")})
				require.NoError(t, err)
				p := a.Positions[0]
				require.True(t, newest[i].Before(p), "round %d: %v then %v", round, newest[i], p)
				require.LessOrEqual(t, all.MS(), p.MS(), "ms never backwards in the whole store")
				newest[i], all = p, p
			}
			c.Turn(time.Duration(step*700) * time.Millisecond)
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, s.Close())
		fs = crashed
		c.Turn(-time.Duration(round) * time.Minute)
	}
}
