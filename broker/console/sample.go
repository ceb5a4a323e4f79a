package console

import (
	"math"

	"github.com/gobelin-broker/gobelin/broker"
)

// columns are the names of a sample's figures, in their order. Rates are per second, of
// all nodes together; times are in ms, -1 where nothing was timed.
var columns = []string{
	"time", "nodes", "sessions", "subscriptions", "viewers", "received", "published", "delivered", "received_bytes", "delivered_bytes",
	"dropped", "refused", "lagging", "queue_bytes", "memory", "cpu", "written_p50", "written_p99", "stored_p50", "stored_p99",
}

// sample is what all nodes did between two looks, by columns.
type sample []float64

// Rates are what a node did per second between two looks.
type Rates struct {
	Received       float64 `json:"received"`
	ReceivedBytes  float64 `json:"received_bytes"`
	Published      float64 `json:"published"`
	Delivered      float64 `json:"delivered"`
	DeliveredBytes float64 `json:"delivered_bytes"`
	Handshakes     float64 `json:"handshakes"`
	Replayed       float64 `json:"replayed"`
	Dropped        float64 `json:"dropped"`
	Refused        float64 `json:"refused"`
	Lagging        float64 `json:"lagging"`
	// CPU is how many processors' worth it used.
	CPU float64 `json:"cpu"`
	// Written and Stored are the median and the 99th percentile in ms of the time from
	// publish to write, and of the store; -1: nothing was timed.
	WrittenP50 float64 `json:"written_p50"`
	WrittenP99 float64 `json:"written_p99"`
	StoredP50  float64 `json:"stored_p50"`
	StoredP99  float64 `json:"stored_p99"`
}

// stretch is what a node did between two looks at it.
type stretch struct {
	from, to        *broker.Figures // from is of zeros for a node that began meanwhile
	seconds         float64
	written, stored broker.Spread
}

// stretchOf returns a node's; false where nothing can be said: its figures are not known,
// or are still those of the look before.
func stretchOf(before look, n *broker.Node) (stretch, bool) {
	if n.Figures == nil {
		return stretch{}, false
	}
	s := stretch{from: &broker.Figures{}, to: n.Figures}
	since := n.Started
	for i := range before.nodes {
		if b := &before.nodes[i]; b.ID == n.ID && b.Figures != nil {
			s.from, since = b.Figures, b.At
		}
	}
	s.seconds = float64(n.At-since) / 1000
	s.written, s.stored = n.Figures.Written.Since(s.from.Written), n.Figures.Stored.Since(s.from.Stored)
	return s, s.seconds > 0
}

// rate is per second what a total gained.
func (s stretch) rate(of func(*broker.Figures) int64) float64 {
	return max(float64(of(s.to)-of(s.from))/s.seconds, 0)
}

func (s stretch) cpu() float64 { return max((s.to.CPU-s.from.CPU)/s.seconds, 0) }

func sum(m map[string]int64) (all int64) {
	for _, n := range m {
		all += n
	}
	return all
}

// The totals of which rates are made.
var (
	received       = func(f *broker.Figures) int64 { return f.Received }
	receivedBytes  = func(f *broker.Figures) int64 { return f.ReceivedBytes }
	published      = func(f *broker.Figures) int64 { return f.Published }
	delivered      = func(f *broker.Figures) int64 { return f.Delivered }
	deliveredBytes = func(f *broker.Figures) int64 { return f.DeliveredBytes }
	handshakes     = func(f *broker.Figures) int64 { return f.Handshakes }
	replayed       = func(f *broker.Figures) int64 { return f.Replayed }
	dropped        = func(f *broker.Figures) int64 { return sum(f.Dropped) }
	refused        = func(f *broker.Figures) int64 { return sum(f.Refused) }
	lagging        = func(f *broker.Figures) int64 { return f.Lagging }
)

// rates returns what a node did per second since a look; nil where it cannot be said.
func rates(before look, n *broker.Node) *Rates {
	s, ok := stretchOf(before, n)
	if !ok {
		return nil
	}
	return &Rates{
		Received: s.rate(received), ReceivedBytes: s.rate(receivedBytes), Published: s.rate(published),
		Delivered: s.rate(delivered), DeliveredBytes: s.rate(deliveredBytes), Handshakes: s.rate(handshakes),
		Replayed: s.rate(replayed), Dropped: s.rate(dropped), Refused: s.rate(refused), Lagging: s.rate(lagging), CPU: s.cpu(),
		WrittenP50: quantile(s.written, 0.5), WrittenP99: quantile(s.written, 0.99),
		StoredP50: quantile(s.stored, 0.5), StoredP99: quantile(s.stored, 0.99),
	}
}

// quantile is -1 where nothing was timed.
func quantile(s broker.Spread, share float64) float64 {
	ms, ok := s.Quantile(share)
	if !ok {
		return -1
	}
	return math.Round(ms*1000) / 1000
}

// sampleOf adds up what all nodes did between two looks. Quantiles are those of all their
// times together.
func sampleOf(before, now look) sample {
	sums := map[string]float64{"time": float64(now.at.UnixMilli())}
	var written, stored broker.Spread
	for i := range now.nodes {
		n := &now.nodes[i]
		if n.Figures == nil || n.State != broker.NodeServes {
			continue
		}
		f := n.Figures
		for name, value := range map[string]int64{
			"nodes": 1, "sessions": sum(f.Sessions), "subscriptions": f.Subscriptions, "viewers": f.Viewers,
			"queue_bytes": f.QueueBytes, "memory": f.Memory,
		} {
			sums[name] += float64(value)
		}
		s, ok := stretchOf(before, n)
		if !ok {
			continue
		}
		for name, of := range map[string]func(*broker.Figures) int64{
			"received": received, "published": published, "delivered": delivered, "received_bytes": receivedBytes,
			"delivered_bytes": deliveredBytes, "dropped": dropped, "refused": refused, "lagging": lagging,
		} {
			sums[name] += s.rate(of)
		}
		sums["cpu"] += s.cpu()
		written, stored = s.written.And(written), s.stored.And(stored)
	}
	sums["written_p50"], sums["written_p99"] = quantile(written, 0.5), quantile(written, 0.99)
	sums["stored_p50"], sums["stored_p99"] = quantile(stored, 0.5), quantile(stored, 0.99)
	all := make(sample, len(columns))
	for i, name := range columns {
		all[i] = math.Round(sums[name]*1000) / 1000
	}
	return all
}
