package console

import (
	"context"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"go.uber.org/zap"
)

// Times of what is remembered of the nodes.
const (
	// sampleEvery is how far apart the samples of the hour are, hourLong how many there
	// are at most.
	sampleEvery = 10 * time.Second
	hourLong    = 361
	// freshFor is how long a look at the nodes is good for who asks.
	freshFor = time.Second
	// rateOver is over what time a rate of now is a mean, at least where there is as much;
	// looksFor is how long looks are remembered for that.
	rateOver = 8 * time.Second
	looksFor = 30 * time.Second
	// lookWait bounds a look at the nodes.
	lookWait = 2 * time.Second
	// factsFor is how long what the store says of itself is good.
	factsFor = 30 * time.Second
)

// look is what all nodes said at a time.
type look struct {
	at    time.Time
	nodes []broker.Node
	fault string // why there are not all of them
}

// hour remembers what the nodes did in the last hour, for all pages that ask.
type hour struct {
	nodes  func(context.Context) ([]broker.Node, error)
	facts  func(context.Context) Store
	logger *zap.Logger
	turn   chan struct{} // has a token while nobody looks

	// mu guards what follows.
	mu      sync.Mutex
	looks   []look // oldest first
	samples []sample
	sampled look // of the newest sample
	store   Store
	asked   time.Time // when the store said that; zero: never
}

func newHour(nodes func(context.Context) ([]broker.Node, error), facts func(context.Context) Store, logger *zap.Logger) *hour {
	h := &hour{nodes: nodes, facts: facts, logger: logger, turn: make(chan struct{}, 1)}
	h.turn <- struct{}{}
	return h
}

// run takes a sample each ten seconds, until ctx ends.
func (h *hour) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		h.refresh(ctx)
		h.sample()
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// refresh looks at the nodes, unless somebody just did. It waits for who is at it.
func (h *hour) refresh(ctx context.Context) {
	select {
	case <-h.turn:
	case <-ctx.Done():
		return
	}
	defer func() { h.turn <- struct{}{} }()
	now := time.Now()
	h.mu.Lock()
	n := len(h.looks)
	fresh, ask := n > 0 && now.Sub(h.looks[n-1].at) < freshFor, now.Sub(h.asked) >= factsFor
	h.mu.Unlock()
	if fresh {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	nodes, err := h.nodes(ctx)
	l := look{at: now, nodes: nodes}
	if err != nil {
		h.logger.Debug("console: other nodes", zap.Error(err))
		l.fault = "the other nodes could not be asked for: the store did not answer"
	}
	var facts Store
	if ask = ask || err != nil; ask {
		facts = h.facts(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks = append(h.looks, l)
	for len(h.looks) > 2 && now.Sub(h.looks[1].at) > looksFor {
		h.looks = h.looks[1:]
	}
	if ask {
		h.store, h.asked = facts, now
		if facts.Fault != "" {
			h.asked = time.Time{} // it is asked again until it is well
		}
	}
}

// sample takes the newest look into the hour.
func (h *hour) sample() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.looks) == 0 {
		return
	}
	newest := h.looks[len(h.looks)-1]
	if newest.at.Equal(h.sampled.at) {
		return
	}
	if !h.sampled.at.IsZero() {
		h.samples = append(h.samples, sampleOf(h.sampled, newest))
	}
	h.sampled = newest
	if len(h.samples) > hourLong {
		h.samples = append(h.samples[:0:0], h.samples[len(h.samples)-hourLong:]...)
	}
}

// newest returns the newest look, one of a while before it, the samples that came after a
// time in ms, and what the store says of itself.
func (h *hour) newest(since int64) (now, before look, samples []sample, s Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.looks) == 0 {
		return look{}, look{}, nil, h.store
	}
	now = h.looks[len(h.looks)-1]
	before = h.looks[0]
	for _, l := range h.looks {
		if now.at.Sub(l.at) >= rateOver {
			before = l
		}
	}
	for _, s := range h.samples {
		if int64(s[0]) > since {
			samples = append(samples, s)
		}
	}
	return now, before, samples, h.store
}
