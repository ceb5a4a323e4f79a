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
	r.report.Setting = fmt.Sprintf("%d clients, %d messages of %d bytes each", r.o.Conns, r.o.Messages, r.o.Size)
	channel, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	c, err := r.crowd(ctx, channel)
	if err != nil {
		return err
	}
	r.start()
	c.read(ctx)
	r.end()
	r.close()
	r.report.Faults = c.faults()
	return nil
}

// herd: the same, while an audience goes on hearing what is said in the same channel.
func (r *run) herd(ctx context.Context) error {
	r.report.Setting = fmt.Sprintf("%d clients, %d messages of %d bytes each; beside them %d subscribers, %g messages/s",
		r.o.Conns, r.o.Messages, r.o.Size, r.o.Subs, r.o.Rate)
	channel, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	a, err := r.audience(ctx, channel, int64(r.o.Messages))
	if err != nil {
		return err
	}
	c, err := r.crowd(ctx, channel)
	if err != nil {
		return err
	}
	a.begin(ctx)
	r.start()
	c.read(ctx)
	r.end()
	a.end()
	r.close()
	r.report.Faults = c.faults()
	r.report.Faults.add(a.faults())
	return nil
}

// prepare sees to it that there is a past to catch up with, and returns its channel.
func (r *run) prepare(ctx context.Context) (channel string, err error) {
	r.report.Unit = "messages"
	channel = r.base + "/catchup0" // "catchup" alone is reserved
	err = r.join(ctx, 1, func(ctx context.Context, _ int, s *session) error {
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
	r.enter("connecting")
	r.joined.Store(0)
	return channel, err
}

// crowd is who reads the past, all at the same moment.
type crowd struct {
	run       *run
	past      string // what they subscribe to
	sessions  []*session
	receivers []*receiver
	complete  atomic.Int64  // those who have everything
	all       chan struct{} // closed when everybody has
}

// crowd joins those who will read what is in channel.
func (r *run) crowd(ctx context.Context, channel string) (*crowd, error) {
	c := &crowd{
		run: r, past: channel + "/catchup/" + r.o.Since,
		sessions: make([]*session, r.o.Conns), receivers: make([]*receiver, r.o.Conns), all: make(chan struct{}),
	}
	err := r.join(ctx, r.o.Conns, func(_ context.Context, i int, s *session) error {
		c.sessions[i] = s
		left := r.o.Messages
		c.receivers[i] = &receiver{index: i, clock: r.clock, each: func(mark) {
			if left--; left == 0 {
				r.clock.observe(i, []mark{{sent: r.window.began}})
				if c.complete.Add(1) == int64(r.o.Conns) {
					close(c.all)
				}
			}
		}}
		r.listen(s, c.receivers[i].take)
		return nil
	})
	return c, err
}

// read lets them ask and waits until all have everything.
func (c *crowd) read(ctx context.Context) {
	for i, s := range c.sessions {
		c.run.listeners.Go(func() { c.run.ask(s, c.past, c.receivers[i]) })
	}
	c.run.await(ctx, c.all)
}

// faults is what they missed, or had twice or in the wrong order. What was said while
// they read may be part of what they were sent, or not.
func (c *crowd) faults() Faults { return result(c.receivers, []int64{int64(c.run.o.Messages)}) }

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
