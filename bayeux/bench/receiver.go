package bench

import "sync"

// receiver is what one session is sent by one publisher.
type receiver struct {
	index     int
	publisher int
	clock     *clock
	// each is called for every message that is new; nil: nothing to do.
	each func(mark)
	// late measures each message; a catch-up does not.
	late bool

	mu sync.Mutex // over long-polling two connections may bring messages
	// guarded by mu
	tally  tally
	others int64 // messages of other publishers, which it did not ask for
	cut    int64 // what came before its road was broken is below
	again  int64 // what is below cut and not below this may come once more
	resent int64 // what did
}

// cutOff: the road is broken. What came by it may come again, once and in order, since
// the server need not know that it has arrived.
func (r *receiver) cutOff() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut, r.again = r.tally.next, 0
}

// take is a sink.
func (r *receiver) take(found *seen) {
	if len(found.marks) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := found.marks[:0]
	for _, m := range found.marks {
		if m.publisher != r.publisher {
			r.others++
			continue
		}
		switch {
		case m.seq >= r.again && m.seq < r.cut && r.tally.has(m.seq):
			r.again = m.seq + 1
			r.resent++
		case r.tally.saw(m.seq):
			fresh = append(fresh, m)
		}
	}
	if r.late {
		r.clock.observe(r.index, fresh)
	}
	r.clock.arrive(len(fresh))
	if r.each != nil {
		for _, m := range fresh {
			r.each(m)
		}
	}
}

// result sums up the faults of receivers when sent messages, by publisher, were sent
// to each. What others were sent counts as twice.
func result(receivers []*receiver, sent []int64) Faults {
	var all Faults
	for _, r := range receivers {
		r.mu.Lock()
		all.add(r.tally.result(sent[r.publisher]))
		all.Duplicate += r.others
		r.mu.Unlock()
	}
	return all
}
