package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A burst of connections leaves the process with twice the memory it goes on to need,
// since the collector works by what is allocated, and a broker with idle clients
// allocates next to nothing. So when it has been quiet, memory is given back.
const (
	quietEvery = 3 * time.Second
	// quietBytes is how much may be allocated in quietEvery for it to count as quiet.
	quietBytes = 4 << 20
	// quietGain is how much there must be to give back, and quietPause how long the
	// next time is away: each costs two full collections.
	quietGain  = 16 << 20
	quietPause = time.Minute
)

// giveBack returns memory to the system in quiet times, until ctx ends.
func giveBack(ctx context.Context) {
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	// Allocated ever, and mapped but not in use by live or newly made objects.
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	var before uint64
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			metrics.Read(samples)
			allocated := samples[0].Value.Uint64()
			gain := samples[1].Value.Uint64()
			if objects, live := samples[2].Value.Uint64(), samples[3].Value.Uint64(); objects > live {
				gain += objects - live // at most garbage
			}
			if allocated-before < quietBytes && gain > quietGain && now.Sub(last) > quietPause {
				runtime.GC() // of a stack that is too large each collection frees one half
				debug.FreeOSMemory()
				last = now
			}
			before = allocated
		}
	}
}
