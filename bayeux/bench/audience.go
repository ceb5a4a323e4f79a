package bench

import (
	"context"
	"time"
)

// audience is who hears, all along, what one says at a steady rate beside what is
// measured: how late they hear it before that and during it.
type audience struct {
	run       *run
	clock     *clock
	from      int64 // number of the first message
	receivers []*receiver
	publisher *publishing
	before    *Latency
	stop      context.CancelFunc
	silent    chan struct{} // closed when the publisher has ended
}

// audience joins those who listen to channel, in which from messages were said before;
// nil if nobody does.
func (r *run) audience(ctx context.Context, channel string, from int64) (*audience, error) {
	if r.o.Subs == 0 {
		return nil, nil
	}
	a := &audience{run: r, clock: newClock(), from: from, receivers: make([]*receiver, r.o.Subs), silent: make(chan struct{})}
	a.clock.zero = r.clock.zero // marks say when since then
	err := r.join(ctx, r.o.Subs, func(ctx context.Context, i int, s *session) error {
		if _, err := s.subscribe(ctx, channel); err != nil {
			return err
		}
		a.receivers[i] = &receiver{index: i, clock: a.clock, late: true, tally: tally{next: from}}
		r.listen(s, a.receivers[i].take)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if a.publisher, err = r.publisher(ctx, []string{channel}); err != nil {
		return nil, err
	}
	a.publisher.next[0] = from
	return a, nil
}

// begin lets the publisher begin and listens for a while to what it is like before.
func (a *audience) begin(ctx context.Context) {
	if a == nil {
		return
	}
	r := a.run
	var speaking context.Context
	speaking, a.stop = context.WithCancel(context.Background())
	go func() {
		defer close(a.silent)
		a.publisher.open(speaking)
	}()
	r.enter("warming up")
	rest(ctx, r.o.WarmUp)
	r.enter("listening")
	a.clock.measureFrom(a.clock.now())
	rest(ctx, r.o.Duration)
	a.before = a.clock.latency()
	a.clock.forget()
	a.clock.measureFrom(a.clock.now())
}

// soonest is how long an audience listens at most until it hears something, when what
// is measured was over before.
const soonest = time.Second

// end silences the publisher, waits for what is on its way and tells what it was like.
func (a *audience) end() {
	if a == nil {
		return
	}
	beat := time.NewTicker(10 * time.Millisecond)
	defer beat.Stop()
	for began := time.Now(); a.clock.latency() == nil && time.Since(began) < soonest; {
		<-beat.C
	}
	a.stop()
	<-a.silent
	a.run.drain(a.clock, int64(len(a.receivers))*(a.publisher.next[0]-a.from))
	a.run.report.Live = &Live{Before: a.before, During: a.clock.latency()}
}

// faults is what the audience missed, or had twice or in the wrong order.
func (a *audience) faults() (f Faults) {
	if a != nil {
		f = result(a.receivers, a.publisher.next)
	}
	return f
}

// rest waits, unless ctx ends.
func rest(ctx context.Context, d time.Duration) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}
