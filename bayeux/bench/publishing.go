package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// publishing is the one publisher of a scenario. In each channel it counts from 0,
// and is known by the channel's number.
type publishing struct {
	run      *run
	session  *session
	channels []string
	next     []int64 // number of the next message, by channel

	batch [][]byte
	data  []byte
}

// publisher joins the session that publishes.
func (r *run) publisher(ctx context.Context, channels []string) (*publishing, error) {
	p := &publishing{run: r, channels: channels, next: make([]int64, len(channels))}
	connects, joined := r.report.Connects, r.joined.Load()
	err := r.join(ctx, 1, func(_ context.Context, _ int, s *session) error {
		p.session = s
		r.listen(s, func(*seen) {})
		return nil
	})
	// It is not one of those that are counted.
	r.report.Connects = connects
	r.joined.Store(joined)
	return p, err
}

// stalled is how long a closed loop waits for a message to reach everybody.
const stalled = 10 * time.Second

// batchMost is how many messages are sent in one request at most.
const batchMost = 50

// closed publishes where a loop gives leave, until ctx ends.
func (p *publishing) closed(ctx context.Context, l *loop) {
	patience := time.NewTimer(stalled)
	defer patience.Stop()
	for {
		patience.Reset(stalled)
		var channel int
		select {
		case <-ctx.Done():
			return
		case <-patience.C:
			p.run.fault(&p.run.broken, fmt.Sprintf("no message reached everybody within %v", stalled))
			return
		case channel = <-l.leave:
		}
		now := p.run.clock.now()
		p.add(channel, now)
		for len(p.batch) < batchMost && len(l.leave) > 0 {
			p.add(<-l.leave, now)
		}
		if !p.flush() {
			return
		}
	}
}

// open publishes Rate messages a second, to one channel after the other, until ctx
// ends.
func (p *publishing) open(ctx context.Context) {
	every := time.Duration(float64(time.Second) / p.run.o.Rate)
	due := p.run.clock.now()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for channel := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		for now := p.run.clock.now(); due <= now && len(p.batch) < batchMost; due += every {
			p.add(channel, due)
			channel = (channel + 1) % len(p.channels)
		}
		if !p.flush() {
			return
		}
		wait.Reset(due - p.run.clock.now())
	}
}

// add puts one message, intended for sent, into the batch.
func (p *publishing) add(channel int, sent time.Duration) {
	m := mark{publisher: channel, seq: p.next[channel], sent: sent}
	p.next[channel]++
	p.data = payload(p.data[:0], p.run.target.anchor, m, p.run.o.Size)
	id := fmt.Sprintf("p%d", p.run.sent.Add(1))
	p.batch = append(p.batch, p.session.publication(p.channels[channel], id, p.data))
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

// loop gives leave to publish to a channel when a message has reached everybody
// there.
type loop struct {
	subs   int64
	around int64          // counts of one channel
	counts []atomic.Int64 // by channel, then by sequence number, around
	leave  chan int       // channels
}

// newLoop returns a loop with room for window messages under way in each channel; 0:
// it gives no leave, which an open loop does not ask for.
func newLoop(channels, window, subs int) *loop {
	around := 2 * max(window, 1)
	l := &loop{
		subs: int64(subs), around: int64(around),
		counts: make([]atomic.Int64, channels*around), leave: make(chan int, channels*max(window, 1)),
	}
	for range window {
		for channel := range channels {
			l.leave <- channel
		}
	}
	return l
}

// arrived counts one arrival at one receiver.
func (l *loop) arrived(m mark) {
	count := &l.counts[int64(m.publisher)*l.around+m.seq%l.around]
	if count.Add(1) < l.subs {
		return
	}
	count.Store(0)
	select {
	case l.leave <- m.publisher:
	default: // an open loop asks for no leave
	}
}
