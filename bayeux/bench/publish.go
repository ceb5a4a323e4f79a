package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// publish: many sessions publish to channels of their own that nobody hears, each
// with a number of messages that wait for their acknowledgement.
func (r *run) publish(ctx context.Context) error {
	r.report.Unit = "publishes"
	r.report.Setting = fmt.Sprintf("%d publishers, %d in flight each, %d bytes", r.o.Conns, r.o.InFlight, r.o.Size)
	publishers := make([]*publisher, r.o.Conns)
	for i := range publishers {
		publishers[i] = &publisher{run: r, index: i, channel: fmt.Sprintf("%s/publish/%d", r.base, i)}
		if r.o.Transport == API {
			publishers[i].session = &session{road: r.target.openAPI(r.o.Token.Reveal())}
			r.sessions = append(r.sessions, publishers[i].session)
		}
	}
	if r.o.Transport != API {
		if err := r.joinPublishers(ctx, publishers); err != nil {
			return err
		}
	}
	r.during(ctx, func(ctx context.Context) {
		var all sync.WaitGroup
		for _, p := range publishers {
			all.Go(func() { p.run1(ctx) })
		}
		all.Wait()
	})
	r.drain(r.clock, r.sent.Load())
	r.close()
	for _, p := range publishers {
		p.mu.Lock()
		f := p.tally.result(p.next)
		p.mu.Unlock()
		f.Reordered = 0 // answers have ids, not an order
		r.report.Faults.add(f)
	}
	return nil
}

// joinPublishers sets up a session for each.
func (r *run) joinPublishers(ctx context.Context, publishers []*publisher) error {
	return r.join(ctx, len(publishers), func(_ context.Context, i int, s *session) error {
		publishers[i].session = s
		to := publishers[i].acknowledged
		if r.o.Transport == LongPolling {
			to = func(*seen) {} // answers come with the requests
		}
		r.listen(s, to)
		return nil
	})
}

// publisher is one session that publishes. The id of a message is its mark, so the
// acknowledgement carries it back.
type publisher struct {
	run     *run
	session *session
	index   int
	channel string

	mu sync.Mutex
	// guarded by mu
	ended bool
	next  int64
	tally tally
}

// run1 publishes until ctx ends. Over a WebSocket each acknowledgement is followed
// by the next message, else each answer by the next request.
func (p *publisher) run1(ctx context.Context) {
	if p.run.o.Transport != WebSocket {
		for ctx.Err() == nil && p.send(p.run.o.InFlight) {
		}
		return
	}
	if p.send(p.run.o.InFlight) {
		<-ctx.Done()
	}
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
}

// send publishes n messages.
func (p *publisher) send(n int) bool {
	now := p.run.clock.now()
	batch := make([][]byte, n)
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return false
	}
	first := p.next
	p.next += int64(n)
	p.mu.Unlock()
	var data []byte
	for i := range batch {
		m := mark{publisher: p.index, seq: first + int64(i), sent: now}
		if p.run.o.Transport == API {
			data = payload(data[:0], p.run.target.anchor, m, p.run.o.Size)
			batch[i] = entry(p.channel, data)
			continue
		}
		id := string(appendMark(nil, p.run.target.anchor, m))
		// The data carries the mark of another run, or it would be taken for an
		// acknowledgement where a server sends it back.
		data = payload(data[:0], "#unheard0", m, p.run.o.Size)
		batch[i] = p.session.publication(p.channel, id, data)
	}
	p.run.sent.Add(int64(n))
	err := p.session.road.send(batch, func(found *seen) {
		p.run.heed(found)
		p.acknowledged(found)
	})
	if err != nil && !p.run.closing.Load() {
		p.run.fault(&p.run.broken, "publisher: "+err.Error())
	}
	return err == nil
}

// acknowledged is a sink.
func (p *publisher) acknowledged(found *seen) {
	p.mu.Lock()
	fresh := found.marks[:0]
	for _, m := range found.marks {
		if m.publisher == p.index && p.tally.saw(m.seq) {
			fresh = append(fresh, m)
		}
	}
	p.mu.Unlock()
	if len(fresh) == 0 {
		return
	}
	p.run.clock.observe(p.index, fresh)
	p.run.clock.arrive(len(fresh))
	if p.run.o.Transport == WebSocket {
		p.send(len(fresh))
	}
}

// fill publishes n messages for receivers to find later, at most inFlight of them
// unacknowledged, and returns when all are acknowledged.
func (r *run) fill(ctx context.Context, s *session, channel string, n int) error {
	const inFlight = 256
	acks := make(chan int, inFlight)
	count := func(found *seen) {
		if len(found.marks) > 0 {
			acks <- len(found.marks) // there is room: one for each in flight at most
		}
	}
	over := count
	if r.o.Transport == LongPolling {
		over = func(*seen) {}
	}
	r.listen(s, over)
	patience := time.NewTimer(stalled)
	defer patience.Stop()
	var data []byte
	for sent, done := 0, 0; done < n; {
		var batch [][]byte
		for ; sent < n && sent-done < inFlight && len(batch) < batchMost; sent++ {
			m := mark{publisher: 0, seq: int64(sent)}
			id := string(appendMark(nil, r.target.anchor, m))
			data = payload(data[:0], r.target.anchor, m, r.o.Size)
			batch = append(batch, s.publication(channel, id, data))
		}
		if len(batch) > 0 {
			r.sent.Add(int64(len(batch)))
			if err := s.road.send(batch, func(found *seen) { r.heed(found); count(found) }); err != nil {
				return fmt.Errorf("bench: publishing what is to be caught up: %w", err)
			}
			if sent < n && sent-done < inFlight {
				continue
			}
		}
		patience.Reset(stalled)
		select {
		case k := <-acks:
			done += k
		case <-patience.C:
			return fmt.Errorf("bench: publishing what is to be caught up: no acknowledgement within %v", stalled)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
