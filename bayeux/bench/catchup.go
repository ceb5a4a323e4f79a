package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrNoCatchUp: the server does not know channels of the past.
var ErrNoCatchUp = errors.New("bench: this server has no catch-up: it takes <channel>/catchup/<interval> for a channel like any other")

// catchUp: messages are published, then many ask for them at the same moment. What
// is measured is until everybody has everything.
func (r *run) catchUp(ctx context.Context) error {
	channel := r.base + "/catchup0" // "catchup" alone is reserved
	past := channel + "/catchup/" + r.o.Since
	n := int64(r.o.Messages)
	r.report.Unit = "messages"
	r.report.Setting = fmt.Sprintf("%d clients, %d messages of %d bytes each", r.o.Conns, n, r.o.Size)
	if err := r.prepare(ctx, channel); err != nil {
		return err
	}
	r.enter("connecting")
	r.joined.Store(0)
	r.clock.arrived.Store(0)
	var complete atomic.Int64
	all := make(chan struct{})
	receivers := make([]*receiver, r.o.Conns)
	sessions := make([]*session, r.o.Conns)
	err := r.join(ctx, r.o.Conns, func(_ context.Context, i int, s *session) error {
		sessions[i] = s
		left := n
		receivers[i] = &receiver{index: i, clock: r.clock, each: func(mark) {
			if left--; left == 0 {
				r.clock.observe(i, []mark{{sent: r.window.began}})
				if complete.Add(1) == int64(r.o.Conns) {
					close(all)
				}
			}
		}}
		r.listen(s, receivers[i].take)
		return nil
	})
	if err != nil {
		return err
	}
	r.start()
	for i, s := range sessions {
		r.listeners.Go(func() { r.ask(s, past, receivers[i]) })
	}
	r.await(ctx, all)
	r.end()
	r.close()
	r.report.Faults = result(receivers, n)
	return nil
}

// prepare sees to it that there is a past to catch up with.
func (r *run) prepare(ctx context.Context, channel string) error {
	return r.join(ctx, 1, func(ctx context.Context, _ int, s *session) error {
		a, err := s.subscribe(ctx, channel+"/empty/catchup/"+r.o.Since)
		if err != nil {
			return fmt.Errorf("%w; is there catch-up at all?", err)
		}
		if a.Ext.CatchUp == nil {
			return ErrNoCatchUp
		}
		r.enter("publishing")
		return r.fill(ctx, s, channel, r.o.Messages)
	})
}

// ask subscribes while the session listens: what is replayed may come at once.
func (r *run) ask(s *session, past string, to *receiver) {
	message := fmt.Appendf(nil, `{"channel":"/meta/subscribe","subscription":%q,"clientId":%q,"id":"ask"}`, past, s.id)
	err := s.road.send([][]byte{message}, func(found *seen) {
		r.heed(found)
		to.take(found)
	})
	if err != nil && !r.closing.Load() {
		r.fault(&r.broken, "subscribing: "+err.Error())
	}
}

// silence is how long nothing may come before it is told: it is no matter of speed.
const silence = time.Second

// await waits until all have all, while something comes.
func (r *run) await(ctx context.Context, all <-chan struct{}) {
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	var most time.Duration
	defer func() {
		if most >= silence {
			r.note("for %v nothing came, to anybody", most.Round(100*time.Millisecond))
		}
	}()
	for {
		select {
		case <-all:
			return
		case <-ctx.Done():
			return
		case <-beat.C:
			quiet := r.clock.now() - max(time.Duration(r.clock.last.Load()), r.window.began)
			most = max(most, quiet)
			if quiet > stalled || !r.healthy() {
				return
			}
		}
	}
}
