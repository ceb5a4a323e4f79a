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

func TestSettled(t *testing.T) {
	at := int64(1000)
	c := New(func() time.Time { return time.UnixMilli(at) }, 0)
	f := func(want int64) {
		t.Helper()
		require.Equal(t, want, c.Settled().UnixMilli())
	}
	f(1000)
	at = 900 // set back: nothing is drawn before what was told
	f(1000)
	require.EqualValues(t, 1000, c.Now().UnixMilli())
	require.EqualValues(t, 1000, c.Next())
	at = 2000
	c.Begin()
	at = 2100
	require.EqualValues(t, 2100, c.Next())
	f(2000)
	c.Begin() // changes nothing
	f(2000)
	at = 1500 // set back while drawing
	require.EqualValues(t, 2100, c.Next())
	c.Settle()
	f(2100)
	c.Begin()
	at = 500
	require.GreaterOrEqual(t, c.After(store.Position{}), int64(2100))
	f(2100)
	c.Settle()
	at = 3000
	f(3000)
	c = New(func() time.Time { return time.UnixMilli(at) }, 0)
	c.Begin() // at 3000
	at = 2500
	require.EqualValues(t, 3000, c.Next(), "not below what Settled may say")
	f(3000)
}
