package bench

import "sync"

// receiver is what one session is sent by one publisher, the first.
type receiver struct {
	index int
	clock *clock
	// each is called for every message that is new; nil: nothing to do.
	each func(mark)
	// late measures each message; a catch-up does not.
	late bool

	mu sync.Mutex // over long-polling two connections may bring messages
	// guarded by mu
	tally tally
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
		if m.publisher == 0 && r.tally.saw(m.seq) {
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

// result sums up the faults of receivers when sent messages were sent to each.
func result(receivers []*receiver, sent int64) Faults {
	var all Faults
	for _, r := range receivers {
		r.mu.Lock()
		all.add(r.tally.result(sent))
		r.mu.Unlock()
	}
	return all
}
