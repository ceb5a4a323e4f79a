package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCollectorLooks(t *testing.T) {
	const mib = 1 << 20
	now := time.Unix(0, 0)
	var allocated uint64
	c := &collector{growth: usualGrowth}
	f := func(made, live, gain uint64, growth int, give bool) {
		t.Helper()
		now = now.Add(paceEvery)
		allocated += made
		got, gave := c.look(heap{allocated: allocated, live: live, gain: gain}, now)
		require.Equal(t, growth, got)
		require.Equal(t, give, gave)
		c.growth = got
	}
	// Clients come in: the heap fills.
	f(500*mib, 50*mib, 0, usualGrowth, false)
	f(500*mib, 100*mib, 0, usualGrowth, false)
	// They talk.
	f(500*mib, 100*mib, 0, loadedGrowth, false)
	f(150*mib, 100*mib, 0, loadedGrowth, false) // a little less
	f(500*mib, 105*mib, 0, loadedGrowth, false)
	// More come, and then they talk on.
	f(500*mib, 200*mib, 0, usualGrowth, false)
	f(900*mib, 200*mib, 0, loadedGrowth, false)
	// It is quiet: what was taken is given back, at most once in quietPause.
	f(mib, 200*mib, 300*mib, quietGrowth, true)
	f(mib, 200*mib, 300*mib, quietGrowth, false)
	now = now.Add(quietPause)
	f(mib, 200*mib, mib, quietGrowth, false)
	f(mib, 200*mib, 300*mib, quietGrowth, true)
	// A little is said, then much.
	f(10*mib, 200*mib, 0, usualGrowth, false)
	f(900*mib, 200*mib, 0, loadedGrowth, false)
	// With GOGC set, only that.
	c.growth = 0
	f(900*mib, 200*mib, 0, 0, false)
	now = now.Add(quietPause)
	f(mib, 200*mib, 300*mib, 0, true)
}
