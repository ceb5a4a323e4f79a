package client

import (
	"context"
	"sync"
)

// inbox is the queue between receive and the dispatcher. Its bound holds up the
// one who pushes, and so in the end the server.
type inbox struct {
	maxItems, maxBytes int

	wake chan struct{} // cap 1: there is something

	mu sync.Mutex
	// guarded by mu
	items   []item
	bytes   int
	waiting int           // who waits on room
	room    chan struct{} // closed when who waits for room shall look again
}

// item is a message, or a change of state.
type item struct {
	message Message
	mended  bool // it came by a catch-up channel that stands for its live one
	state   State
	err     error
	isState bool
}

// maxStates bounds the changes of state that wait behind a handler that hangs.
const maxStates = 256

func newInbox(maxItems, maxBytes int) *inbox {
	return &inbox{maxItems: maxItems, maxBytes: maxBytes, wake: make(chan struct{}, 1), room: make(chan struct{})}
}

// push queues messages once there is room; it calls full once if it has to wait.
// stretch tells whether the bound may be passed (up to four times) because a
// handler may be waiting for what is behind. When the link ends meanwhile, what
// was read from it is still taken (up to eight times the bound), since the server
// may believe it arrived; beyond that the error says that it was not.
func (q *inbox) push(ctx context.Context, items []item, stretch func() bool, full func()) error {
	for first := true; ; first = false {
		more := 1
		if stretch() {
			more = 4
		}
		if ctx.Err() != nil {
			more = 8
		}
		room := q.offer(items, more)
		if room == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if first {
			full()
		}
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}

// offer queues the items if the queue holds less than times its bound; if not, it
// returns what is closed when to try again.
func (q *inbox) offer(items []item, times int) (room <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= times*q.maxItems || q.bytes >= times*q.maxBytes {
		q.waiting++
		return q.room
	}
	for _, it := range items {
		q.bytes += len(it.message.Data) + len(it.message.Ext)
	}
	q.items = append(q.items, items...)
	q.signal()
	return nil
}

// pushState queues a change of state; it does not block.
func (q *inbox) pushState(s State, err error) {
	q.mu.Lock()
	if len(q.items) < 8*q.maxItems+maxStates {
		q.items = append(q.items, item{state: s, err: err, isState: true})
	}
	q.mu.Unlock()
	q.signal()
}

// take returns all there is, in order, and makes room.
func (q *inbox) take() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	items := q.items
	q.items, q.bytes = nil, 0
	if items != nil {
		q.stirLocked()
	}
	return items
}

// stir makes those who wait for room look again whether the bound may be passed.
func (q *inbox) stir() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stirLocked()
}

func (q *inbox) stirLocked() {
	if q.waiting > 0 {
		close(q.room)
		q.room = make(chan struct{})
		q.waiting = 0
	}
}

func (q *inbox) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
