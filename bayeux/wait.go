package bayeux

import (
	"slices"
	"sync/atomic"
	"time"
)

// WaitBounds are the upper bounds of the buckets in which waits are counted; one more
// bucket is for what waited longer. Each is at most twice the one before it: times are
// stamped in ms, so there is no use in finer ones.
var WaitBounds = [...]time.Duration{
	1 * time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Millisecond, 6 * time.Millisecond,
	8 * time.Millisecond, 11 * time.Millisecond, 15 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond,
	40 * time.Millisecond, 60 * time.Millisecond, 80 * time.Millisecond, 110 * time.Millisecond, 150 * time.Millisecond,
	200 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, 800 * time.Millisecond, 1200 * time.Millisecond,
	2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second,
}

// Waits says how long deliveries were on their way, from when their message was
// published until they were handed to the network: of each write the one that was there
// first. Replays are not counted.
type Waits struct {
	Counts [len(WaitBounds) + 1]int64 // by bucket
	Sum    time.Duration
}

// waits counts them.
type waits struct {
	counts [len(WaitBounds) + 1]atomic.Int64
	sum    atomic.Int64 // ns
}

// wrote counts what was written at once.
func (c *counters) wrote(ds []*Delivery) {
	c.delivered.Add(int64(len(ds)))
	for _, d := range ds {
		if d.born != 0 {
			c.waits.add(time.Duration(time.Now().UnixNano() - d.born))
			return
		}
	}
}

func (w *waits) add(took time.Duration) {
	took = max(took, 0) // a wall clock that was set back
	at, _ := slices.BinarySearch(WaitBounds[:], took)
	w.counts[at].Add(1)
	w.sum.Add(int64(took))
}

func (w *waits) load() (now Waits) {
	for i := range w.counts {
		now.Counts[i] = w.counts[i].Load()
	}
	now.Sum = time.Duration(w.sum.Load())
	return now
}
