package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Slots that move one right after the other are each somebody's, and all masters say
// whose.
func TestMoveManySlots(t *testing.T) {
	c := StartCluster(t)
	for i := range 200 {
		key := fmt.Sprint(i)
		slot := 0
		_, err := fmt.Sscan(c.Nodes[0].must("CLUSTER", "KEYSLOT", key), &slot)
		require.NoError(t, err)
		c.Nodes[c.Owner(slot)].must("SET", key, "x")
	}
	for range 4 {
		for _, slot := range c.MoveSlots(8) {
			owner := c.Owner(slot)
			for _, n := range c.Nodes {
				require.True(t, c.owns(n, c.ids[owner], slot), "slot %d", slot)
			}
		}
	}
}
