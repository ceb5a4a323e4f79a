package bayeux

import "time"

// lazy is about the deliveries of an outbox that may wait for company, so that counters
// and the like do not wake every poll (bayeux-cometd.md §2.8). They go with the next that
// may not, with the answer at a connect's timeout, or when their time is over.
type lazy struct {
	urgent int       // deliveries in the queue that may not wait
	until  time.Time // when those that may have waited enough; zero: nothing waits
	over   bool      // they have
}

// add notes n more of a kind of delivery in the queue.
func (z *lazy) add(d *Delivery, n int) {
	if !d.lazy {
		z.urgent += n
	}
}

// due reports whether there is something that may not wait any longer. The caller holds
// mu.
func (s *Session) due() bool {
	o := &s.out
	return o.queue.len() > 0 && (o.lazy.urgent > 0 || o.lazy.over) || s.acks.on && len(o.sent) > 0 || !s.replays.empty()
}

// isDue is due for those who do not hold mu.
func (s *Session) isDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.due()
}

// linger gives a lazy delivery that was queued its time. The caller holds mu.
func (s *Session) linger() {
	z := &s.out.lazy
	if !z.until.IsZero() || z.over || s.timer == nil {
		return
	}
	now := time.Now()
	z.until = now.Add(s.server.options.LazyTimeout)
	s.arm(now)
}

// endLinger returns the link to be woken, if the time of what is lazy is over. The caller
// holds mu.
func (s *Session) endLinger(now time.Time) link {
	z := &s.out.lazy
	if z.until.IsZero() || now.Before(z.until) {
		return nil
	}
	z.until, z.over = time.Time{}, true
	return s.rouse()
}
