package redis

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// A slot that no primary serves, or that each says another has: what lies there is
// refused as unavailable, an append within its time; all else goes on.
func TestSlotWithoutOwner(t *testing.T) {
	leave := map[string]func(*testing.T, *storetest.Cluster, string, int){
		"unassigned": func(t *testing.T, c *storetest.Cluster, slot string, _ int) {
			for _, n := range c.Nodes {
				if _, err := n.Command("CLUSTER", "DELSLOTS", slot); err != nil {
					require.ErrorContains(t, err, "already unassigned") // it has heard of it from the others
				}
			}
		},
		"in a circle": func(t *testing.T, c *storetest.Cluster, slot string, owner int) {
			id, err := c.Nodes[(owner+1)%len(c.Nodes)].Command("CLUSTER", "MYID")
			require.NoError(t, err)
			_, err = c.Nodes[owner].Command("CLUSTER", "SETSLOT", slot, "NODE", id)
			require.NoError(t, err)
		},
	}
	for name, left := range leave {
		t.Run(name, func(t *testing.T) {
			c := storetest.StartCluster(t, "--cluster-require-full-coverage", "no")
			s := openStore(t, c.URL)
			slot, err := c.Nodes[0].Command("CLUSTER", "KEYSLOT", s.keys.meta(partition(anyLog.Feed), logText(anyLog)))
			require.NoError(t, err)
			n, err := strconv.Atoi(slot)
			require.NoError(t, err)
			left(t, c, slot, c.Owner(n))

			asked := time.Now()
			_, err = storetest.Append(s, anyLog, keep, text(1, 1))
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.Less(t, time.Since(asked), 5*defaultPublishTimeout, "no retry goes on after the publisher's time")
			_, err = s.Read(ctx, anyLog, store.Range{Limits: keep}, 10, 1000)
			require.ErrorIs(t, err, store.ErrUnavailable)
			_, err = s.Head(ctx, anyLog, keep)
			require.ErrorIs(t, err, store.ErrUnavailable)

			served := store.LogName{Path: anyLog.Path}
			for i := 0; served.Feed == "" || partition(served.Feed) == partition(anyLog.Feed); i++ {
				served.Feed = fmt.Sprint("other", i)
			}
			_, err = storetest.Append(s, served, keep, text(1, 2))
			require.NoError(t, err)
			require.Len(t, readAll(t, s, served), 1)
		})
	}
}
