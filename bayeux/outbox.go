package bayeux

import "slices"

// outbox is what waits for one session, and what was handed to a connection and
// is not known to have arrived. It is guarded by its session's mu.
type outbox struct {
	queue deque
	bytes int // of queue
	lazy  lazy
	// queued counts what was ever put in.
	queued uint64
	// sent is in order; a connection that breaks gives it back to the front of
	// queue (decided.md 4).
	sent      []sent
	sentBytes int
	sentBy    link // the connection that sent was handed to, maybe on another server
	// answered: the poll that took sent has begun to write it. Before that no connect
	// can tell that it arrived.
	answered bool
}

// sent is a delivery on its way.
type sent struct {
	d     *Delivery
	batch uint32 // the ping whose pong says that it arrived; 0 for polls
}

// fits reports whether d may be queued. An empty queue takes anything, so that a
// message above the bound is not stuck for ever.
func (o *outbox) fits(d *Delivery, l *Limits) bool {
	n := o.queue.len()
	return n == 0 || n < l.QueueMessages && o.bytes+d.Size() <= l.Queue
}

// progress returns how many were ever put in, and how many have gone for good.
func (o *outbox) progress() (queued, arrived uint64) {
	return o.queued, o.queued - uint64(o.queue.len()) - uint64(len(o.sent))
}

func (o *outbox) push(d *Delivery) {
	o.queued++
	o.queue.push(d)
	o.bytes += d.Size()
	o.lazy.add(d, 1)
}

// evict drops the oldest deliveries that are not kept until d fits, and returns
// how many; the queue may still be too full if all the rest is kept.
func (o *outbox) evict(d *Delivery, l *Limits) (dropped int) {
	for !o.fits(d, l) && !o.queue.at(0).kept {
		old := o.queue.pop()
		o.bytes -= old.Size()
		o.lazy.add(old, -1)
		dropped++
	}
	if o.fits(d, l) {
		return dropped
	}
	// Something kept is in front: one pass over the rest.
	left := o.queue.live()
	kept := left[:0]
	n := len(left)
	for _, q := range left {
		full := n >= l.QueueMessages || o.bytes+d.Size() > l.Queue
		if full && !q.kept {
			o.bytes -= q.Size()
			o.lazy.add(q, -1)
			dropped++
			n--
			continue
		}
		kept = append(kept, q)
	}
	o.queue.cut(len(kept))
	return dropped
}

// room reports whether the queue is below half of its bounds, so that a replay
// may be read, and how many messages it may bring.
func (o *outbox) room(l *Limits) (int, bool) {
	n := o.queue.len()
	if n >= (l.QueueMessages+1)/2 || o.bytes >= l.Queue/2 {
		return 0, false
	}
	return max(1, min(pageMessages, l.QueueMessages-n)), true
}

// take moves deliveries of at most about most bytes (one at least), and count, from the
// queue to sent and appends them to ds. Nothing is taken beyond the window: as much may
// be under way as may be queued.
func (o *outbox) take(ds []*Delivery, by link, batch uint32, most, count int, l *Limits) []*Delivery {
	o.sent = slices.Grow(o.sent, max(0, min(o.queue.len(), count, l.QueueMessages-len(o.sent))))
	for taken := 0; o.queue.len() > 0 && count > 0; count-- {
		d := o.queue.at(0)
		if taken > 0 && taken+d.Size() > most || o.shut(d.Size(), l) {
			break
		}
		o.queue.pop()
		o.bytes -= d.Size()
		o.lazy.add(d, -1)
		o.sent = append(o.sent, sent{d, batch})
		o.sentBytes += d.Size()
		taken += d.Size()
		ds = append(ds, d)
	}
	if o.queue.len() == 0 {
		o.lazy = lazy{}
	}
	o.sentBy, o.answered = by, false
	return ds
}

// waiting is how many are in the queue, or would be had no poll taken what it does not
// write any more.
func (o *outbox) waiting() int {
	n := o.queue.len()
	if _, polled := o.sentBy.(*poll); polled && !o.answered {
		n += len(o.sent)
	}
	return n
}

// takeBack returns what a poll took and does not write any more.
func (o *outbox) takeBack() {
	if _, polled := o.sentBy.(*poll); polled && !o.answered {
		o.putBack()
	}
}

// shut reports whether n more bytes may not be under way.
func (o *outbox) shut(n int, l *Limits) bool {
	return len(o.sent) > 0 && (len(o.sent) >= l.QueueMessages || o.sentBytes+n > l.Queue)
}

// halfway reports whether half of the window is used.
func (o *outbox) halfway(l *Limits) bool {
	return len(o.sent) >= (l.QueueMessages+1)/2 || o.sentBytes >= l.Queue/2
}

// arrived forgets what was sent up to the ping batch.
func (o *outbox) arrived(batch uint32) {
	n := 0
	for n < len(o.sent) && int32(o.sent[n].batch-batch) <= 0 {
		o.sentBytes -= o.sent[n].d.Size()
		n++
	}
	rest := copy(o.sent, o.sent[n:])
	clear(o.sent[rest:])
	o.sent = o.sent[:rest]
	if rest == 0 {
		o.acknowledge()
	}
}

// acknowledge forgets all that was sent.
func (o *outbox) acknowledge() {
	if cap(o.sent) > 16 {
		o.sent = nil // an idle session holds no memory for it
	} else {
		clear(o.sent)
		o.sent = o.sent[:0]
	}
	o.sentBytes = 0
	o.sentBy, o.answered = nil, false
}

// putBack returns what was sent to the front of the queue, in order. It may then
// be above its bounds, by at most as much again.
func (o *outbox) putBack() int {
	n := len(o.sent)
	if n == 0 {
		return 0
	}
	o.queue.unshift(o.sent)
	for _, s := range o.sent {
		o.lazy.add(s.d, 1)
	}
	o.lazy.over = true
	o.bytes += o.sentBytes
	o.acknowledge()
	return n
}

// deque is a queue of deliveries that holds little memory when empty.
type deque struct {
	items []*Delivery
	head  int
}

func (q *deque) len() int           { return len(q.items) - q.head }
func (q *deque) at(i int) *Delivery { return q.items[q.head+i] }
func (q *deque) live() []*Delivery  { return q.items[q.head:] }
func (q *deque) cut(n int)          { clear(q.items[q.head+n:]); q.items = q.items[:q.head+n] }

func (q *deque) push(d *Delivery) {
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, d)
}

func (q *deque) pop() *Delivery {
	d := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head == len(q.items) {
		q.head = 0
		if q.items = q.items[:0]; cap(q.items) > 16 {
			q.items = nil
		}
	}
	return d
}

func (q *deque) unshift(front []sent) {
	items := make([]*Delivery, 0, len(front)+q.len())
	for _, s := range front {
		items = append(items, s.d)
	}
	q.items, q.head = append(items, q.live()...), 0
}
