package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A burst of connections leaves the process with twice the memory it goes on to need,
// since the collector works by what is allocated, and a broker with idle clients
// allocates next to nothing. So when it has been quiet, memory is given back.
//
// At Go's own pace, where the heap may double between two collections, a loaded broker
// spends a tenth of its CPU on them (performance.md §2). So while it is loaded the heap
// may grow more. Not while it fills, though: garbage between what stays leaves holes.
const (
	paceEvery = 3 * time.Second
	// quietBytes is how much may be allocated in paceEvery for it to count as quiet.
	quietBytes = 4 << 20
	// quietGain is how much there must be to give back, and quietPause how long the
	// next time is away: each costs a full collection.
	quietGain  = 16 << 20
	quietPause = time.Minute
	// Who allocates loadedTimes what is in use, which is so many collections, and has no
	// more than filling percent more in use than before, is loaded.
	loadedTimes = 3
	filling     = 10
	// By so many percent of what is in use the heap may grow. While it is quiet collections
	// are rare, whatever they are paced by, and what is not collected is memory that idle
	// clients seem to take.
	quietGrowth  = 25
	usualGrowth  = 100
	loadedGrowth = 400
	// softMemory is the percentage of the memory from which on the collector does what
	// it must to stay below, rather than have the system end the process.
	softMemory = 90
)

// collector paces the garbage collector. It is used by one goroutine.
type collector struct {
	allocated, live uint64 // as of the last look
	growth          int
	gave            time.Time // when memory was last given back
}

// heap is how the heap stands, in bytes.
type heap struct {
	allocated uint64 // ever
	live      uint64 // what the last collection left
	gain      uint64 // mapped, but not in use by live or newly made objects
}

// paceCollector paces the garbage collector until ctx ends. memory is what the process
// may use, in bytes, 0: not known. GOGC and GOMEMLIMIT of the environment go before.
func paceCollector(ctx context.Context, memory int64, env func(string) string) {
	if env("GOMEMLIMIT") == "" && memory > 0 {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory / 100 * softMemory))
	}
	var c collector
	if env("GOGC") == "" {
		c.growth = usualGrowth
		defer debug.SetGCPercent(debug.SetGCPercent(usualGrowth))
	}
	tick := time.NewTicker(paceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			growth, give := c.look(readHeap(), now)
			if growth != c.growth {
				c.growth = growth
				debug.SetGCPercent(growth)
			}
			if give {
				debug.FreeOSMemory()
			}
		}
	}
}

// look returns by how much the heap may grow from now on, and whether memory is to be
// given back. A growth of 0 is somebody else's affair.
func (c *collector) look(h heap, now time.Time) (growth int, give bool) {
	made := h.allocated - c.allocated
	filled := h.live > c.live+c.live/100*filling
	c.allocated, c.live, growth = h.allocated, h.live, c.growth
	switch {
	case made < quietBytes:
		if growth > 0 {
			growth = quietGrowth
		}
		if give = h.gain > quietGain && now.Sub(c.gave) > quietPause; give {
			c.gave = now
		}
	case growth == 0:
	case filled, growth < usualGrowth:
		growth = usualGrowth
	case made >= loadedTimes*h.live:
		growth = loadedGrowth
	}
	return growth, give
}

func readHeap() heap {
	samples := [...]metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples[:])
	h := heap{allocated: samples[0].Value.Uint64(), gain: samples[1].Value.Uint64(), live: samples[3].Value.Uint64()}
	if objects := samples[2].Value.Uint64(); objects > h.live {
		h.gain += objects - h.live // at most garbage
	}
	return h
}
