package clock

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func TestClock(t *testing.T) {
	wall := int64(10_000)
	c := New(func() time.Time { return time.UnixMilli(wall) }, 0)
	require.EqualValues(t, 10_000, c.Next())
	require.EqualValues(t, 10_000, c.Next())
	require.EqualValues(t, 10_001, c.Epoch(store.Position{}))
	wall = 5_000
	require.EqualValues(t, 10_001, c.Next(), "never backwards")
	require.EqualValues(t, 10_001, c.Now().UnixMilli())
	require.EqualValues(t, 10_002, c.Epoch(store.Position{}), "greater than any before")
	require.EqualValues(t, 10_003, c.After(store.NewPosition(10_002, 0, 0)))
	wall = 20_000
	require.EqualValues(t, 20_000, c.Epoch(store.Position{}))
	require.EqualValues(t, 20_000, c.Last())
}

func TestMark(t *testing.T) {
	c := New(func() time.Time { return time.UnixMilli(5) }, 100)
	require.EqualValues(t, 100, c.Next())
	require.EqualValues(t, 101, c.Epoch(store.Position{}), "after all that was drawn before the restart")
}

// TestLead sees to it that many epochs do not push the clock ahead without end,
// and that no log's positions go back all the same.
func TestLead(t *testing.T) {
	c := New(func() time.Time { return time.UnixMilli(10_000) }, 0)
	for range 50_000 {
		c.Epoch(store.Position{})
	}
	last := c.Last()
	require.LessOrEqual(t, last, int64(10_000+maxLead))
	p := store.NewPosition(last, 1, 1)
	require.EqualValues(t, last+1, c.Epoch(p), "after the log's own last")
	require.EqualValues(t, last+1, c.Epoch(store.Position{}))
	c.Forget(last + 1)
	require.EqualValues(t, last+2, c.Epoch(store.Position{}), "after what was forgotten")
	c.Forget(1 << 40)
	require.EqualValues(t, last+3, c.Epoch(store.Position{}), "nothing was drawn there")
}
