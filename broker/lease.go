package broker

import (
	"context"
	"fmt"
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
		if b.opt.Store.Shared() || b.nodes.moved.Swap(false) {
			attempt, cancel := context.WithTimeout(ctx, beatEvery)
			if err := b.nodes.beat(attempt, false); err != nil && ctx.Err() == nil {
				b.nodes.moved.Store(true)
				b.log.Debug("this node's row was not written", zap.Error(err))
			}
			cancel()
		}
		l.judge(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	l.end()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	if err := b.nodes.beat(last, true); err != nil {
		b.log.Warn("this node could not say that it is gone", zap.Error(err))
	}
}

// lease is what keepAlive does about losing it.
type lease struct {
	b      *Broker
	lost   bool
	cancel context.CancelFunc // of handing the clients over, while that goes on
	done   chan struct{}
}

func (l *lease) judge(ctx context.Context) {
	ok, since, why := l.b.nodes.leased()
	switch {
	case ok && l.lost:
		l.lost = false
		l.end()
		l.b.log.Info("this node is heard again")
		l.b.verifySessions(ctx)
	case ok:
	case !l.lost:
		l.lost = true
		l.b.metrics.leaseLosses.Inc()
		l.b.log.Warn("this node cannot say that it lives: it is not ready, and lets its clients go if that lasts", zap.Error(why))
	case l.cancel == nil && time.Since(since) > handOffAfter:
		l.handOff(ctx)
	}
}

// handOff lets the clients of all servers go, beside.
func (l *lease) handOff(ctx context.Context) {
	ctx, l.cancel = context.WithTimeout(ctx, handOffTime)
	l.done = make(chan struct{})
	l.b.mu.Lock()
	servers := l.b.servers
	l.b.mu.Unlock()
	go func() {
		defer close(l.done)
		for _, s := range servers {
			s.HandOff(ctx)
		}
	}()
}

// end waits until clients are not being let go any more.
func (l *lease) end() {
	if l.cancel != nil {
		l.cancel()
		<-l.done
		l.cancel = nil
	}
}

// Health returns nil when the broker can serve, or what is wrong in words for an
// operator.
func (b *Broker) Health(ctx context.Context) error {
	if err := b.opt.Store.Health(ctx); err != nil {
		return err
	}
	if ok, since, why := b.nodes.leased(); !ok {
		return fmt.Errorf("cut off from the store since %s, other nodes may have taken its sessions: %w", since.UTC().Format(time.RFC3339), why)
	}
	return nil
}
