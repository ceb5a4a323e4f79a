package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// fanout: one publishes to a channel that all are subscribed to. In a closed loop
// a message is followed by another when all have it; in an open one a clock says
// when.
func (r *run) fanout(ctx context.Context) error {
	channel := r.base + "/fanout"
	size := "window " + fmt.Sprint(r.o.Window)
	if r.o.Rate > 0 {
		size = fmt.Sprintf("%g messages/s", r.o.Rate)
	}
	r.report.Unit = "deliveries"
	r.report.Setting = fmt.Sprintf("%d subscribers, %s, %d bytes", r.o.Subs, size, r.o.Size)
	loop := newLoop(r.o.Window, r.o.Subs)
	receivers := make([]*receiver, r.o.Subs)
	err := r.join(ctx, r.o.Subs, func(ctx context.Context, i int, s *session) error {
		if _, err := s.subscribe(ctx, channel); err != nil {
			return err
		}
		receivers[i] = &receiver{index: i, clock: r.clock, late: true, each: loop.arrived}
		r.listen(s, receivers[i].take)
		return nil
	})
	if err != nil {
		return err
	}
	var out *session
	connects := r.report.Connects
	err = r.join(ctx, 1, func(_ context.Context, _ int, s *session) error {
		out = s
		r.listen(s, func(*seen) {})
		return nil
	})
	if err != nil {
		return err
	}
	r.report.Connects = connects
	r.joined.Store(int64(r.o.Subs))
	p := &publishing{run: r, session: out, channel: channel}
	r.during(ctx, func(ctx context.Context) {
		if r.o.Rate > 0 {
			p.open(ctx)
			return
		}
		p.closed(ctx, loop)
	})
	r.drain(r.sent.Load() * int64(r.o.Subs))
	r.close()
	r.report.Faults = result(receivers, r.sent.Load())
	return nil
}

// during warms up, then measures while work goes on, and ends it.
func (r *run) during(ctx context.Context, work func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, r.o.WarmUp+r.o.Duration)
	defer cancel()
	done := make(chan struct{})
	r.enter("warming up")
	warm := time.NewTimer(r.o.WarmUp)
	defer warm.Stop()
	go func() {
		defer close(done)
		work(ctx)
	}()
	select {
	case <-warm.C:
	case <-done: // a server that gave up while warming up is still reported
	}
	r.start()
	select {
	case <-ctx.Done():
	case <-done:
	}
	r.end()
	cancel()
	<-done
}

// loop gives leave to publish when a message has reached everybody.
type loop struct {
	subs   int64
	counts []atomic.Int64 // by sequence number, around
	leave  chan struct{}
}

func newLoop(window, subs int) *loop {
	l := &loop{subs: int64(subs), counts: make([]atomic.Int64, 2*max(window, 1)), leave: make(chan struct{}, max(window, 1))}
	for range window {
		l.leave <- struct{}{}
	}
	return l
}

// arrived counts one arrival at one receiver.
func (l *loop) arrived(m mark) {
	count := &l.counts[m.seq%int64(len(l.counts))]
	if count.Add(1) < l.subs {
		return
	}
	count.Store(0)
	select {
	case l.leave <- struct{}{}:
	default: // an open loop asks for no leave
	}
}

// publishing is the one publisher of a fan-out.
type publishing struct {
	run     *run
	session *session
	channel string
	batch   [][]byte
	data    []byte
}

// stalled is how long a closed loop waits for a message to reach everybody.
const stalled = 10 * time.Second

// batchMost is how many messages are sent in one request at most.
const batchMost = 50

func (p *publishing) closed(ctx context.Context, l *loop) {
	patience := time.NewTimer(stalled)
	defer patience.Stop()
	for {
		patience.Reset(stalled)
		select {
		case <-ctx.Done():
			return
		case <-patience.C:
			p.run.fault(&p.run.broken, fmt.Sprintf("no message reached everybody within %v", stalled))
			return
		case <-l.leave:
		}
		n := 1
		for ; n < batchMost && len(l.leave) > 0; n++ {
			<-l.leave
		}
		now := p.run.clock.now()
		for range n {
			p.add(now)
		}
		if !p.flush() {
			return
		}
	}
}

func (p *publishing) open(ctx context.Context) {
	every := time.Duration(float64(time.Second) / p.run.o.Rate)
	due := p.run.clock.now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		for now := p.run.clock.now(); due <= now && len(p.batch) < batchMost; due += every {
			p.add(due)
		}
		if !p.flush() {
			return
		}
		wait.Reset(due - p.run.clock.now())
	}
}

// add puts one message, intended for sent, into the batch.
func (p *publishing) add(sent time.Duration) {
	seq := p.run.sent.Add(1) - 1
	p.data = payload(p.data[:0], p.run.target.anchor, mark{seq: seq, sent: sent}, p.run.o.Size)
	p.batch = append(p.batch, p.session.publication(p.channel, fmt.Sprintf("p%d", seq), p.data))
}

// flush sends the batch; false when the road has ended.
func (p *publishing) flush() bool {
	if len(p.batch) == 0 {
		return true
	}
	err := p.session.road.send(p.batch, p.run.heed)
	clear(p.batch)
	p.batch = p.batch[:0]
	if err != nil {
		p.run.fault(&p.run.broken, "publisher: "+err.Error())
	}
	return err == nil
}
