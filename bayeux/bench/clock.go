package bench

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// clock knows when a run began and how long messages took.
type clock struct {
	zero   time.Time
	shards [4]clockShard

	arrived atomic.Int64 // messages, since the beginning
	from    atomic.Int64 // ns: what was sent before warms up and does not count
	last    atomic.Int64 // ns since zero, of the newest arrival
}

type clockShard struct {
	mu sync.Mutex
	// guarded by mu
	took *hdrhistogram.Histogram // µs
}

// longest is the longest time that is told apart, in µs; what takes longer counts
// as that.
const longest = int64(10 * time.Minute / time.Microsecond)

func newClock() *clock {
	c := &clock{zero: time.Now()}
	for i := range c.shards {
		c.shards[i].took = hdrhistogram.New(1, longest, 3)
	}
	return c
}

// now is the time since the run began.
func (c *clock) now() time.Duration { return time.Since(c.zero) }

// measureFrom says that what is sent from now on counts.
func (c *clock) measureFrom(t time.Duration) { c.from.Store(int64(t)) }

// arrive counts messages.
func (c *clock) arrive(n int) {
	c.arrived.Add(int64(n))
	c.last.Store(int64(c.now()))
}

// observe notes how long ago marks were sent. by spreads the writers.
func (c *clock) observe(by int, marks []mark) {
	now := c.now()
	from := time.Duration(c.from.Load())
	s := &c.shards[by%len(c.shards)]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range marks {
		if sent := marks[i].sent; sent >= from {
			took := min(max(int64((now-sent)/time.Microsecond), 1), longest)
			_ = s.took.RecordValue(took) // in range by the line above
		}
	}
}

// forget drops what was noted so far.
func (c *clock) forget() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.took.Reset()
		s.mu.Unlock()
	}
}

// Latency is how long messages took, in µs.
type Latency struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_us"`
	P90   int64 `json:"p90_us"`
	P99   int64 `json:"p99_us"`
	P999  int64 `json:"p99_9_us"`
	Max   int64 `json:"max_us"`
}

// latency sums up; nil when nothing was measured.
func (c *clock) latency() *Latency {
	all := hdrhistogram.New(1, longest, 3)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		all.Merge(s.took)
		s.mu.Unlock()
	}
	if all.TotalCount() == 0 {
		return nil
	}
	return &Latency{
		Count: all.TotalCount(),
		P50:   all.ValueAtQuantile(50), P90: all.ValueAtQuantile(90), P99: all.ValueAtQuantile(99),
		P999: all.ValueAtQuantile(99.9), Max: all.Max(),
	}
}
