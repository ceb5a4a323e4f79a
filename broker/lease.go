package broker

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// keepAlive writes once a second that this node lives, and lets the clients go when it
// could not: others may have taken their sessions (decided.md 34, store.md §3.8). It
// runs until ctx ends and then says that the node is gone.
func (b *Broker) keepAlive(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	l := lease{b: b}
	for ctx.Err() == nil {
		again := beatEvery
		if b.opt.Store.Shared() || b.nodes.moved.Swap(false) {
			attempt, cancel := context.WithTimeout(ctx, beatEvery)
			if err := b.nodes.beat(attempt, false); err != nil && ctx.Err() == nil {
				b.nodes.moved.Store(true)
				again /= 4 // others wait for it when the store is back
				b.log.Debug("this node's row was not written", zap.Error(err))
			}
			cancel()
		}
		l.judge(ctx)
		tick.Reset(again)
		select {
		case <-tick.C:
		case <-b.nodes.alarm:
		case <-ctx.Done():
		}
	}
	l.end()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	b.overdue.settleAll(last)
	if err := b.nodes.beat(last, true); err != nil {
		b.log.Warn("this node could not say that it is gone", zap.Error(err))
	}
}

// lease is what keepAlive does about losing it.
type lease struct {
	b    *Broker
	lost bool
	// turned is when the store had last gone back, as far as it was seen to
	turned time.Time
	// handing the clients over, or looking which are still here, goes on beside
	handing bool
	cancel  context.CancelFunc // nil: nothing goes on
	done    chan struct{}
}

func (l *lease) judge(ctx context.Context) {
	ok, since, why := l.b.nodes.leased()
	relapsed := l.b.nodes.relapsed()
	if relapsed && !l.lost {
		// The process stood still and others may have taken its sessions.
		l.b.metrics.leaseLosses.Inc()
		l.b.doubts.Add(1)
	}
	if turned := l.b.nodes.turnedAt(); turned != l.turned {
		// The rows of sessions are not what was last written: they are written again.
		l.turned = turned
		l.b.doubts.Add(1)
		l.b.deaf.Store(true)
	}
	switch {
	case ok && relapsed, ok && l.b.deaf.Swap(false), ok && l.lost:
		l.lost = false
		l.b.log.Info("this node is heard again")
		l.beside(ctx, time.Minute, func(ctx context.Context) {
			l.b.verifySessions(ctx)
			l.b.departed.writeAgain(ctx)
		})
	case ok:
	case !l.lost:
		l.lost = true
		l.b.metrics.leaseLosses.Inc()
		l.b.doubts.Add(1)
		l.b.log.Warn("this node cannot say that it lives: it is not ready, and lets its clients go if that lasts", zap.Error(why))
	case !l.handing && time.Since(since) > handOffAfter:
		l.beside(ctx, handOffTime, l.b.handOff)
		l.handing = true
	}
}

// beside runs f for at most limit, instead of what was going on.
func (l *lease) beside(ctx context.Context, limit time.Duration, f func(context.Context)) {
	l.end()
	ctx, l.cancel = context.WithTimeout(ctx, limit)
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		f(ctx)
	}()
}

// end waits until nothing goes on.
func (l *lease) end() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
	}
	l.cancel, l.handing = nil, false
}

// handOff lets the clients of all servers go.
func (b *Broker) handOff(ctx context.Context) {
	b.mu.Lock()
	servers := b.servers
	b.mu.Unlock()
	for _, s := range servers {
		s.HandOff(ctx)
	}
}

// Health returns nil when the broker can serve, or what is wrong in words for an
// operator.
func (b *Broker) Health(ctx context.Context) error {
	if err := b.opt.Store.Health(ctx); err != nil {
		return err
	}
	return b.nodes.healthy()
}
