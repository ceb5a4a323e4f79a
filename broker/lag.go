package broker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// readers counts the connections to streams that are served, so that a stop can wait
// for them.
type readers struct {
	wg sync.WaitGroup

	mu      sync.Mutex
	stopped bool
}

// add counts one; false: the node stops, and there are no more. The caller calls Done.
func (r *readers) add() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	r.wg.Add(1)
	return true
}

// Done is the opposite of add.
func (r *readers) Done() { r.wg.Done() }

func (r *readers) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

func (r *readers) ending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

// lag is how far copies are behind, as the store last said.
type lag struct {
	waiting atomic.Int64
	since   atomic.Int64 // ms of the store's clock; 0: none waits
}

// measureLag asks the store.
func (b *Broker) measureLag(ctx context.Context) {
	l, err := b.opt.Store.Lag(ctx)
	if err != nil {
		b.log.Debug("how many records have not reached their account is not known", zap.Error(err))
		return
	}
	b.lag.waiting.Store(l.Waiting)
	since := int64(0)
	if !l.Since.IsZero() {
		since = l.Since.UnixMilli()
	}
	b.lag.since.Store(since)
}

// streamFigures say how streams are, on this node.
type streamFigures struct {
	Connections int
	// Behind is the age of the oldest event that was written and does not count as
	// delivered, of all connections.
	Behind time.Duration
	// Waiting is how many records have not reached their account's log, on all nodes;
	// WaitingFor is how old the oldest of them is.
	Waiting    int64
	WaitingFor time.Duration
}

// streamFigures returns those of now.
func (b *Broker) streamFigures() streamFigures {
	now := b.opt.Store.Now()
	f := streamFigures{Waiting: b.lag.waiting.Load()}
	if ms := b.lag.since.Load(); ms != 0 {
		f.WaitingFor = max(0, now.Sub(time.UnixMilli(ms)))
	}
	for _, a := range b.accounts.all {
		for _, r := range a.desk.here() {
			f.Connections++
			if p := r.oldest(); !p.IsZero() {
				f.Behind = max(f.Behind, now.Sub(p.Time()))
			}
		}
	}
	return f
}

// gaugeStreams adds the figures to the metrics.
func (b *Broker) gaugeStreams() error {
	if b.opt.Registerer == nil || len(b.accounts.all) == 0 {
		return nil
	}
	for name, g := range map[string]struct {
		help string
		of   func(streamFigures) float64
	}{
		"stream_connections":            {"Connections to streams now.", func(f streamFigures) float64 { return float64(f.Connections) }},
		"stream_checkpoint_age_seconds": {"Age of the oldest event of a connection here that does not count as delivered yet.", func(f streamFigures) float64 { return f.Behind.Seconds() }},
		"stream_records_waiting":        {"Records that have not reached their account's log, on all nodes.", func(f streamFigures) float64 { return float64(f.Waiting) }},
		"stream_records_waiting_age_seconds": {"Age of the oldest record that has not reached its account's log, 0 where none waits.", func(f streamFigures) float64 {
			return f.WaitingFor.Seconds()
		}},
	} {
		gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "gobelin", Name: name, Help: g.help}, func() float64 { return g.of(b.streamFigures()) })
		if err := b.opt.Registerer.Register(gauge); err != nil {
			return fmt.Errorf("broker: metrics of streams: %w", err)
		}
	}
	return nil
}
