package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"go.uber.org/zap"
)

const (
	// defaultSample is how often viewers are counted (product.md §8.2).
	defaultSample = 12 * time.Second
	// sampleGrace is within what time of its moment a sample must be written, or a
	// quarter of what lies between two where that is less; then they are added up. One
	// that comes later would be a count of another time.
	sampleGrace = time.Second
	// sampleAgain is the pause before a sample that could not be written is tried again.
	sampleAgain = 50 * time.Millisecond
)

// checkSample returns what is wrong with Options.StatsSample.
func checkSample(d time.Duration) error {
	if d < time.Millisecond || time.Minute%d != 0 || d%time.Millisecond != 0 {
		return fmt.Errorf("broker: stats: a sample each %v: it must divide a minute into equal parts of whole milliseconds", d)
	}
	return nil
}

// sampler writes at each moment that is due how many sessions of this node view what:
// one call to the store, which also says that this node has counted.
type sampler struct {
	b     *Broker
	every time.Duration
	grace time.Duration
}

func newSampler(b *Broker) *sampler {
	every := b.opt.StatsSample
	return &sampler{b: b, every: every, grace: min(every/4, sampleGrace)}
}

// run samples until ctx ends. Moments are whole multiples of every, by the store's
// clock; those that went by while the process stood still are left out.
func (s *sampler) run(ctx context.Context) {
	last := s.b.opt.Store.Now().Truncate(s.every)
	for {
		now := s.b.opt.Store.Now()
		if pause(ctx, now.Truncate(s.every).Add(s.every).Sub(now)) != nil {
			return
		}
		at := s.b.opt.Store.Now().Truncate(s.every)
		if at.Equal(last) {
			continue // the store's clock is slower
		}
		s.sample(ctx, at)
		last = at
	}
}

// sample writes what is counted now as the sample of a moment.
func (s *sampler) sample(ctx context.Context, at time.Time) {
	began := time.Now()
	left := at.Add(s.grace).Sub(s.b.opt.Store.Now())
	if leased, _, _ := s.b.nodes.leased(); !leased || left <= 0 {
		s.b.metrics.lostSamples.Inc() // others may have its sessions, or it is too late
		return
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	counts, arrivals := s.b.views.sample(s.b.objects.newest)
	if err := s.write(ctx, at, counts); err != nil {
		s.b.metrics.lostSamples.Inc()
		s.b.log.Debug("viewers could not be counted: the sample was not written", zap.Error(err))
		return
	}
	s.b.views.sampled(arrivals)
	s.b.metrics.samples.Inc()
	s.b.metrics.sampleSeconds.Observe(time.Since(began).Seconds())
}

// write tries until it succeeds or ctx ends: what was written is written over.
func (s *sampler) write(ctx context.Context, at time.Time, counts []catchup.ViewerCount) error {
	for {
		err := s.b.stats.PutTick(ctx, s.b.nodes.id, at, counts)
		if err == nil || pause(ctx, sampleAgain) != nil {
			return err
		}
	}
}
