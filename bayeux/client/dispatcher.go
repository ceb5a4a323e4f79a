package client

import "slices"

// dispatcher calls the handlers. All of it is owned by its goroutine.
type dispatcher struct {
	c       *Client
	matched []*Subscription
	older   []bool // matched[i] was subscribed again by a later session
	had     seen   // by any subscription
	recent  recent
}

// run hands out what comes until ended is closed and the rest is handed out; of
// a client that was closed, of the rest only the changes of state.
func (d *dispatcher) run(ended <-chan struct{}) {
	for {
		items := d.c.inbox.take()
		if len(items) > 0 {
			d.handOut(items)
			continue
		}
		select {
		case <-d.c.inbox.wake:
		case <-ended:
			d.handOut(d.c.inbox.take())
			return
		}
	}
}

func (d *dispatcher) handOut(items []item) {
	for i := range items {
		switch it := &items[i]; {
		case !it.isState:
			d.deliver(&it.message, it.mended)
		case d.c.o.OnState != nil:
			d.c.o.OnState(it.state, it.err)
		}
		items[i] = item{} // a long queue shall not hold frames already handled
	}
}

// deliver gives a message to every subscription it is for that has not had it.
func (d *dispatcher) deliver(m *Message, mended bool) {
	if !d.match(m.Channel) {
		return
	}
	id := m.History.ID
	if id == "" {
		id = m.ID
	}
	p, placed := parsePosition(id)
	if !placed {
		for _, s := range d.matched {
			s.handler(*m)
		}
		return
	}
	base := baseChannel(m.Channel)
	fresh, alone := d.had.take(base, p)
	repeat := !fresh || alone && d.recent.add(base, p)
	for i, s := range d.matched {
		if mended && !s.misses(m.Channel, id) {
			continue
		}
		// A subscription made in this session is given whatever it has not had
		// itself: its replay was asked for. One subscribed again is replayed what
		// its base channel had before.
		if fresh, _ := s.had.take(base, p); !fresh || repeat && d.older[i] {
			d.c.counts.repeats.Add(1)
			continue
		}
		if s.first == "" {
			s.first = id
		}
		s.handler(*m)
	}
}

// match finds the subscriptions; false: none, or the client is being closed.
func (d *dispatcher) match(channel string) bool {
	c := d.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	clear(d.matched)
	d.matched = c.matchLocked(d.matched[:0], channel)
	d.older = slices.Grow(d.older[:0], len(d.matched))
	for _, s := range d.matched {
		d.older = append(d.older, s.generation < c.generation)
	}
	if len(d.matched) == 0 {
		c.counts.unmatched.Add(1)
		return false
	}
	return true
}
