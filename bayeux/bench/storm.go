package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// storm: many sessions are cut off in the same moment, and all come back at once, as
// when a proxy or a network breaks. Each resumes its session, or, where the server does
// not know it any more, or Fresh says so, shakes hands anew. A message is said before,
// some while they are away, and one at the end: who resumed must have all of them.
func (r *run) storm(ctx context.Context) error {
	r.report.Unit = "sessions"
	how := "resuming"
	if r.o.Fresh {
		how = "with new handshakes"
	}
	r.report.Setting = fmt.Sprintf("%d clients come back, %s", r.o.Conns, how)
	if r.o.Subs > 0 {
		r.report.Setting += fmt.Sprintf("; beside them %d subscribers, %g messages/s", r.o.Subs, r.o.Rate)
	}
	w := &wreck{run: r, channel: r.base + "/storm", ends: newClock()}
	a, err := w.embark(ctx)
	if err != nil {
		return err
	}
	a.begin(ctx)
	w.founder(ctx)
	a.end()
	r.close()
	w.sum()
	r.report.Faults.add(a.faults())
	return nil
}

// wreck is what a storm makes of a channel's listeners.
type wreck struct {
	run       *run
	channel   string
	publisher *publishing
	castaways []*castaway
	ends      *clock // counts those who have the last message

	back                atomic.Int64
	resumed, handshaken atomic.Int64
	tries, deferred     atomic.Int64
}

// castaway is one client that is cut off.
type castaway struct {
	wreck    *wreck
	session  *session
	receiver *receiver
	renewed  bool // it has a new session: what was said before is missed, not lost
}

// away is how many messages are said while all are cut off.
const away = 3

// last is the number of the message at the end.
const last = 1 + away

// embark joins all, with the audience, and says the first message.
func (w *wreck) embark(ctx context.Context) (*audience, error) {
	r := w.run
	a, err := r.audience(ctx, r.base+"/live", 0)
	if err != nil {
		return nil, err
	}
	w.castaways = make([]*castaway, r.o.Conns)
	err = r.join(ctx, r.o.Conns, func(ctx context.Context, i int, s *session) error {
		if _, err := s.subscribe(ctx, w.channel); err != nil {
			return err
		}
		c := &castaway{wreck: w, session: s, receiver: &receiver{index: i, clock: r.clock}}
		c.receiver.each = func(m mark) {
			if m.seq == last {
				w.ends.arrive(1)
			}
		}
		w.castaways[i] = c
		r.listen(s, c.receiver.take)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if w.publisher, err = r.publisher(ctx, []string{w.channel}); err != nil {
		return nil, err
	}
	w.say(1)
	r.drain(r.clock, int64(r.o.Conns))
	return a, nil
}

// say publishes n messages.
func (w *wreck) say(n int) {
	for range n {
		w.publisher.add(0, w.run.clock.now())
	}
	w.publisher.flush()
}

// founder cuts all off and waits until they are back, and have the last message.
func (w *wreck) founder(ctx context.Context) {
	r := w.run
	r.joined.Store(0)
	r.start()
	ctx, cancel := context.WithTimeout(ctx, r.o.Wait)
	defer cancel()
	for _, c := range w.castaways {
		c.cutOff()
	}
	w.say(away)
	var all sync.WaitGroup
	for _, c := range w.castaways {
		all.Go(func() { c.comeBack(ctx) })
	}
	all.Wait()
	r.end()
	if n := int64(r.o.Conns) - w.back.Load(); n > 0 {
		r.fault(&r.broken, fmt.Sprintf("%d clients did not come back within %v", n, r.o.Wait))
	}
	w.say(1)
	r.drain(w.ends, w.back.Load())
}

// sum tells how it went, once all roads have ended.
func (w *wreck) sum() {
	r := w.run
	b := &Back{
		Seconds: (r.window.ended - r.window.began).Seconds(),
		Resumed: w.resumed.Load(), Handshaken: w.handshaken.Load(), Tries: w.tries.Load(), Deferred: w.deferred.Load(),
	}
	r.window.count1 = r.window.count0 + w.back.Load()
	for _, c := range w.castaways {
		f := c.receiver.tally.result(w.publisher.next[0])
		f.Duplicate += c.receiver.others
		if c.renewed {
			b.Missed += f.Lost
			f.Lost = 0
		}
		b.Resent += c.receiver.resent
		r.report.Faults.add(f)
	}
	r.report.Back = b
}

// cutOff breaks the client's road without a goodbye.
func (c *castaway) cutOff() {
	c.session.cut.Store(true)
	c.session.road.close()
	c.receiver.cutOff()
}

// comeBack tries until the client is back, with pauses as the server advises.
func (c *castaway) comeBack(ctx context.Context) {
	r := c.wreck.run
	for known := !r.o.Fresh; ; {
		c.wreck.tries.Add(1)
		err := c.try(ctx, known)
		if err == nil {
			r.joined.Add(1)
			c.wreck.back.Add(1)
			r.clock.observe(c.receiver.index, []mark{{sent: r.window.began}})
			return
		}
		wait, forget, told := advice(err)
		if told {
			c.wreck.deferred.Add(1)
		}
		known = known && !forget
		rest(ctx, wait)
		if ctx.Err() != nil {
			return
		}
	}
}

// try comes back on a new road; known: with the session that it had.
func (c *castaway) try(ctx context.Context, known bool) error {
	r := c.wreck.run
	road, err := r.target.open(ctx)
	if err != nil {
		return err
	}
	s := &session{road: road, transport: c.session.transport, id: c.session.id}
	s.connects.Store(c.session.connects.Load())
	if known {
		err = s.resume(ctx, c.receiver.take)
	} else {
		err = c.renew(ctx, s)
	}
	if err != nil {
		road.close()
		return err
	}
	if known {
		c.wreck.resumed.Add(1)
	} else {
		c.wreck.handshaken.Add(1)
	}
	r.mu.Lock()
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
	r.listen(s, c.receiver.take)
	return nil
}

// renew shakes hands and subscribes again.
func (c *castaway) renew(ctx context.Context, s *session) error {
	c.renewed = true
	if err := s.handshake(ctx, c.wreck.run.o.Token.Reveal()); err != nil {
		return err
	}
	_, err := s.subscribe(ctx, c.wreck.channel)
	return err
}

// A client that is told nothing waits for between leastPause and twice that.
const leastPause = 500 * time.Millisecond

// advice is what a client does after an error: how long it waits, and whether it
// forgets its session; told: the server said so.
func advice(err error) (wait time.Duration, forget, told bool) {
	wait = leastPause + rand.N(leastPause)
	if said, is := errors.AsType[refusal](err); is {
		if said.Advice.Interval > 0 {
			wait = time.Duration(min(said.Advice.Interval, 60_000) * float64(time.Millisecond))
		}
		return wait, said.Advice.Reconnect == "handshake", true
	}
	if said, is := errors.AsType[*statusError](err); is {
		return max(wait, said.after), false, true
	}
	return wait, false, false
}
