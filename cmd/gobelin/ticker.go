package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

const (
	// tickEvery is the beat of the demo.
	tickEvery = time.Second
	// tickLook is how often a node asks whether the demo is its to beat, tickLease how
	// long it is after the last answer: together the longest silence when the one that
	// beats is killed.
	tickLook  = 500 * time.Millisecond
	tickLease = 2500 * time.Millisecond
	// tickEnd bounds what a stopping node does about the demo.
	tickEnd = 500 * time.Millisecond
)

// ticker publishes to /demo/ticks each second. Of the nodes on one store one does.
// Numbers rise within a run, a stretch of one node, so that whoever listens sees what
// is missing or there twice.
type ticker struct {
	broker *broker.Broker
	log    *zap.Logger
	lease  *lease // nil: the store is ours alone

	run     string
	n       int64
	next    time.Time
	pending *broker.Publication // refused, or of unknown outcome: it goes again as it was
}

func newTicker(b *broker.Broker, s store.Store, log *zap.Logger) *ticker {
	t := &ticker{broker: b, log: log}
	if s.Shared() {
		t.lease = &lease{table: s, task: "ticks", mark: rand.Text(), life: tickLease}
	}
	return t
}

// beat runs until ctx ends.
func (t *ticker) beat(ctx context.Context) {
	look := time.NewTicker(tickLook)
	defer look.Stop()
	for {
		if t.mine(ctx) && !time.Now().Before(t.next) {
			t.tick(ctx)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			t.end(context.WithoutCancel(ctx))
			return
		}
	}
}

// mine reports whether this node is the one that beats; a new one begins a run.
func (t *ticker) mine(ctx context.Context) bool {
	held := true
	if t.lease != nil {
		var err error
		if held, err = t.lease.hold(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("whose the demo is cannot be told", zap.Error(err))
			return false
		}
	}
	switch {
	case !held:
		t.run, t.pending = "", nil
	case t.run == "":
		t.run, t.n, t.pending = rand.Text()[:8], 0, nil
	}
	return held
}

// tick publishes one number. One that failed is the next again, under its nonce: it
// is neither missing nor there twice.
func (t *ticker) tick(ctx context.Context) {
	now := time.Now()
	t.next = now.Add(tickEvery - tickLook/2) // at the look nearest to a second from now
	if t.pending == nil {
		p := &broker.Publication{Channel: "/demo/ticks"}
		p.Data = fmt.Appendf(nil, `{"n":%d,"run":%q,"time":%q}`, t.n+1, t.run, now.UTC().Format(time.RFC3339Nano))
		_, _ = rand.Read(p.Nonce[:]) // never fails (crypto/rand)
		t.pending = p
	}
	if err := t.broker.PublishAll(ctx, nil, []broker.Publication{*t.pending})[0].Err; err != nil {
		t.log.Warn("the demo could not publish", zap.Error(err))
		return
	}
	t.n++
	t.pending = nil
}

// end lets another node beat at once.
func (t *ticker) end(ctx context.Context) {
	if t.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tickEnd)
	defer cancel()
	if err := t.lease.release(ctx); err != nil {
		t.log.Warn("the demo was not handed over", zap.Error(err))
	}
}
