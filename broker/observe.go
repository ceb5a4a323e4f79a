package broker

import (
	"fmt"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/prometheus/client_golang/prometheus"
)

// Observe adds a Bayeux server's counters to the broker's metrics, and lets the broker
// send its clients elsewhere when this node is cut off. Call it once for each mount.
func (b *Broker) Observe(mount string, s *bayeux.Server) error {
	b.mu.Lock()
	b.servers = append(b.servers, s)
	b.mu.Unlock()
	if b.opt.Registerer == nil {
		return nil
	}
	labels := prometheus.Labels{"mount": mount}
	if err := prometheus.WrapRegistererWith(labels, b.opt.Registerer).Register(wireCollector{s}); err != nil {
		return fmt.Errorf("broker: metrics of %s: %w", mount, err)
	}
	return nil
}

// wireCollector turns a Bayeux server's snapshot into metrics when it is scraped.
type wireCollector struct{ server *bayeux.Server }

// wireMetric is one number of the snapshot, or one map of numbers by a label.
type wireMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	one  func(*bayeux.Stats) int64
	many func(*bayeux.Stats) map[string]int64
}

func wireOne(kind prometheus.ValueType, name, help string, one func(*bayeux.Stats) int64) wireMetric {
	return wireMetric{desc: prometheus.NewDesc("gobelin_"+name, help, nil, nil), kind: kind, one: one}
}

func wireMany(kind prometheus.ValueType, name, help, label string, many func(*bayeux.Stats) map[string]int64) wireMetric {
	return wireMetric{desc: prometheus.NewDesc("gobelin_"+name, help, []string{label}, nil), kind: kind, many: many}
}

const (
	gauge   = prometheus.GaugeValue
	counted = prometheus.CounterValue
)

var wireMetrics = []wireMetric{
	wireMany(gauge, "sessions", "Bayeux sessions now, by transport.", "transport", func(s *bayeux.Stats) map[string]int64 { return s.Sessions }),
	wireOne(gauge, "websockets", "WebSocket connections now.", func(s *bayeux.Stats) int64 { return s.Sockets }),
	wireOne(gauge, "held_requests", "Polls and streams held now.", func(s *bayeux.Stats) int64 { return s.Held }),
	wireOne(gauge, "waiting_handshakes", "Handshakes and resumes of sessions that wait for their turn now.", func(s *bayeux.Stats) int64 { return s.Waiting }),
	wireOne(gauge, "parked_polls", "Held polls that rest, and so have given their request's memory back.", func(s *bayeux.Stats) int64 { return s.Parked }),
	wireOne(counted, "received_messages_total", "Bayeux messages received.", func(s *bayeux.Stats) int64 { return s.Received }),
	wireOne(counted, "received_bytes_total", "Bytes of frames and bodies received.", func(s *bayeux.Stats) int64 { return s.ReceivedBytes }),
	wireOne(counted, "delivered_messages_total", "Deliveries written to connections.", func(s *bayeux.Stats) int64 { return s.Delivered }),
	wireOne(counted, "delivered_bytes_total", "Bytes of deliveries written.", func(s *bayeux.Stats) int64 { return s.DeliveredBytes }),
	wireOne(counted, "deflated_messages_total", "Deliveries compressed, each once for all connections.", func(s *bayeux.Stats) int64 { return s.Deflated }),
	wireOne(counted, "resent_messages_total", "Deliveries put back because their connection broke.", func(s *bayeux.Stats) int64 { return s.Resent }),
	wireOne(counted, "taken_sessions_total", "Sessions that went on over another connection while their WebSocket was open.", func(s *bayeux.Stats) int64 { return s.Taken }),
	wireOne(counted, "late_polls_total", "Polls that came after newer ones of their session and were answered with nothing.", func(s *bayeux.Stats) int64 { return s.Late }),
	wireOne(counted, "throttled_messages_total", "Messages that waited for their session's rate.", func(s *bayeux.Stats) int64 { return s.Throttled }),
	wireOne(counted, "panics_total", "Panics recovered in connections.", func(s *bayeux.Stats) int64 { return s.Panics }),
	wireOne(counted, "stalled_connections_total", "Connections closed because they did not read.", func(s *bayeux.Stats) int64 { return s.Stalled }),
	wireOne(counted, "handshakes_total", "Handshakes that made a session.", func(s *bayeux.Stats) int64 { return s.HandshakesCompleted }),
	wireMany(counted, "dropped_deliveries_total", "Deliveries dropped, by reason.", "reason", func(s *bayeux.Stats) map[string]int64 { return s.Dropped }),
	wireMany(counted, "refused_messages_total", "Requests and messages refused, by reason.", "reason", func(s *bayeux.Stats) map[string]int64 { return s.Refused }),
	wireMany(counted, "ended_sessions_total", "Sessions ended, by reason.", "reason", func(s *bayeux.Stats) map[string]int64 { return s.Ended }),
}

var writeSeconds = prometheus.NewDesc("gobelin_publish_to_write_seconds", "Time from when the store took a message until it was handed to a connection; replays are not counted, of each write the first is.", nil, nil)

// waitHistogram makes a metric of how long deliveries were on their way.
func waitHistogram(w bayeux.Waits) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bayeux.WaitBounds))
	var all uint64
	for i, bound := range bayeux.WaitBounds {
		all += uint64(w.Counts[i])
		buckets[bound.Seconds()] = all
	}
	all += uint64(w.Counts[len(bayeux.WaitBounds)])
	return prometheus.MustNewConstHistogram(writeSeconds, all, w.Sum.Seconds(), buckets)
}

// Describe is part of prometheus.Collector.
func (wireCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range wireMetrics {
		ch <- m.desc
	}
	ch <- writeSeconds
}

// Collect is part of prometheus.Collector.
func (c wireCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.server.Stats()
	ch <- waitHistogram(stats.Waits)
	for _, m := range wireMetrics {
		if m.one != nil {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.one(&stats)))
			continue
		}
		for label, n := range m.many(&stats) {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(n), label)
		}
	}
}
