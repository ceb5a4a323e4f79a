package broker

import (
	"cmp"
	runtimemetrics "runtime/metrics"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Figures are what one node does: totals since its start, which only rise, where nothing
// else is said. Other nodes read them of its row, so their names are kept.
type Figures struct {
	// Sessions are those of now, by transport; Sockets the WebSockets, Held the polls and
	// streams of now.
	Sessions map[string]int64 `json:"sessions"`
	Sockets  int64            `json:"sockets"`
	Held     int64            `json:"held"`
	// Subscriptions are those of now, over all sessions; Viewers the sessions of now that
	// view an object, by each object.
	Subscriptions int64 `json:"subscriptions"`
	Viewers       int64 `json:"viewers"`
	// Queued and QueueBytes wait in the queues of sessions now.
	Queued     int64 `json:"queued"`
	QueueBytes int64 `json:"queue_bytes"`

	Received       int64 `json:"received"`       // Bayeux messages
	ReceivedBytes  int64 `json:"received_bytes"` // of frames and bodies
	Published      int64 `json:"published"`      // messages stored and acknowledged
	Delivered      int64 `json:"delivered"`      // deliveries written
	DeliveredBytes int64 `json:"delivered_bytes"`
	Resent         int64 `json:"resent"`     // deliveries put back because their link broke
	Replays        int64 `json:"replays"`    // catch-ups begun
	Replayed       int64 `json:"replayed"`   // messages they delivered
	Lagging        int64 `json:"lagging"`    // times a queue was full and a kept channel began to lag
	Handshakes     int64 `json:"handshakes"` // sessions made
	Throttled      int64 `json:"throttled"`  // messages that waited for their session's rate
	Stalled        int64 `json:"stalled"`    // connections closed because they did not read
	Panics         int64 `json:"panics"`     // recovered; anything but 0 is a fault of ours

	// Dropped are deliveries, Refused requests and messages, Ended sessions, by reason;
	// reasons that never were are left out.
	Dropped map[string]int64 `json:"dropped"`
	Refused map[string]int64 `json:"refused"`
	Ended   map[string]int64 `json:"ended"`

	// Written is how long messages were on their way, from publish to write; Stored how
	// long a publish waited for the store.
	Written Spread `json:"written"`
	Stored  Spread `json:"stored"`

	Memory     int64   `json:"memory"` // bytes the process has of the system now
	Heap       int64   `json:"heap"`   // of these, bytes of live objects
	CPU        float64 `json:"cpu"`    // seconds of processor time; 0 where the system does not tell
	Goroutines int64   `json:"goroutines"`
}

// Spread counts times by how long they took.
type Spread struct {
	// Counts has one count for each of Bounds, and one for what took longer.
	Counts []int64 `json:"counts"`
	// Bounds are the upper ends of the buckets, in ms.
	Bounds []float64 `json:"-"`
}

// Figures returns what this node does now. It looks at each session once.
func (b *Broker) Figures() Figures {
	m := b.metrics
	f := Figures{
		Published: total(m.published), Replays: total(m.replays), Replayed: total(m.replayed), Lagging: total(m.lagged),
		Viewers: int64(b.views.total()), Stored: Spread{countsOf(m.stored), storedBounds()},
		Sessions: map[string]int64{}, Dropped: map[string]int64{}, Refused: map[string]int64{}, Ended: map[string]int64{},
		Written: Spread{make([]int64, len(bayeux.WaitBounds)+1), writtenBounds()},
	}
	b.mu.Lock()
	servers := b.servers
	b.mu.Unlock()
	for _, s := range servers {
		stats := s.Stats()
		f.add(&stats)
	}
	for _, s := range b.allSubscribers() {
		state := s.session.State()
		f.Queued += int64(state.Queued)
		f.QueueBytes += int64(state.QueuedBytes)
		f.Subscriptions += int64(s.subscriptions())
	}
	f.process()
	return f
}

// add counts a Bayeux server in.
func (f *Figures) add(s *bayeux.Stats) {
	f.Sockets += s.Sockets
	f.Held += s.Held
	f.Received += s.Received
	f.ReceivedBytes += s.ReceivedBytes
	f.Delivered += s.Delivered
	f.DeliveredBytes += s.DeliveredBytes
	f.Resent += s.Resent
	f.Handshakes += s.HandshakesCompleted
	f.Throttled += s.Throttled
	f.Stalled += s.Stalled
	f.Panics += s.Panics
	for _, sum := range []struct{ to, from map[string]int64 }{
		{f.Sessions, s.Sessions}, {f.Dropped, s.Dropped}, {f.Refused, s.Refused}, {f.Ended, s.Ended},
	} {
		for reason, n := range sum.from {
			if n != 0 {
				sum.to[reason] += n
			}
		}
	}
	for i, n := range s.Waits.Counts {
		f.Written.Counts[i] += n
	}
}

// process adds what the runtime and the system say.
func (f *Figures) process() {
	samples := []runtimemetrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/sched/goroutines:goroutines"},
	}
	runtimemetrics.Read(samples)
	value := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	f.Memory, f.Heap, f.Goroutines = value(0)-value(1), value(2), value(3)
	f.CPU = processorTime().Seconds()
}

// Quantile returns the time in ms that a share of them (0 to 1) took at most, between the
// ends of its bucket as if they were spread evenly; false where there is none.
func (s Spread) Quantile(share float64) (ms float64, ok bool) {
	var all int64
	for _, n := range s.Counts {
		all += n
	}
	if all == 0 {
		return 0, false
	}
	rank, from := share*float64(all), 0.0
	for i, n := range s.Counts {
		if i == len(s.Bounds) {
			break
		}
		if rank <= float64(n) && n > 0 {
			return from + (s.Bounds[i]-from)*max(rank, 0)/float64(n), true
		}
		rank -= float64(n)
		from = s.Bounds[i]
	}
	return from, true // at least
}

// Since returns the times counted after an earlier look; of another start, all.
func (s Spread) Since(before Spread) Spread {
	after := Spread{make([]int64, len(s.Counts)), s.Bounds}
	for i, n := range s.Counts {
		after.Counts[i] = n
		if i < len(before.Counts) {
			after.Counts[i] -= before.Counts[i]
		}
		if after.Counts[i] < 0 {
			return s
		}
	}
	return after
}

// And returns the times of both.
func (s Spread) And(other Spread) Spread {
	sum := Spread{make([]int64, max(len(s.Counts), len(other.Counts))), s.Bounds}
	if s.Bounds == nil {
		sum.Bounds = other.Bounds
	}
	copy(sum.Counts, s.Counts)
	for i, n := range other.Counts {
		sum.Counts[i] += n
	}
	return sum
}

func writtenBounds() []float64 {
	ms := make([]float64, len(bayeux.WaitBounds))
	for i, d := range bayeux.WaitBounds {
		ms[i] = float64(d) / float64(time.Millisecond)
	}
	return ms
}

// storedBuckets are the bounds of the time a publish waits for the store, in seconds.
var storedBuckets = prometheus.ExponentialBuckets(0.0001, 2, 16)

func storedBounds() []float64 {
	ms := make([]float64, len(storedBuckets))
	for i, s := range storedBuckets {
		ms[i] = s * 1000
	}
	return ms
}

// countsOf returns the counts of a histogram, by bucket.
func countsOf(h prometheus.Histogram) []int64 {
	var m dto.Metric
	if h.Write(&m) != nil {
		return nil
	}
	var counts []int64
	var before uint64
	for _, b := range m.GetHistogram().GetBucket() {
		counts = append(counts, int64(b.GetCumulativeCount()-before))
		before = b.GetCumulativeCount()
	}
	return append(counts, int64(m.GetHistogram().GetSampleCount()-before))
}

func total(c prometheus.Counter) int64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return int64(m.GetCounter().GetValue())
}

// allSubscribers returns the sessions that live here, in any order.
func (b *Broker) allSubscribers() []*subscriber {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*subscriber, 0, len(b.subscribers))
	for _, s := range b.subscribers {
		all = append(all, s)
	}
	return all
}

// subscriptions is how many channels and wildcards the session is subscribed to.
func (s *subscriber) subscriptions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.memory.record.subscriptions()
}

// byQueue orders sessions by what waits for them, most first.
func byQueue(a, b SessionView) int {
	return cmp.Or(cmp.Compare(b.QueuedBytes, a.QueuedBytes), cmp.Compare(b.Lagging, a.Lagging), cmp.Compare(a.ID, b.ID))
}
