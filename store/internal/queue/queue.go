package queue

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// Queue is a bounded queue of T in the order of the pushes.
type Queue[T any] struct {
	// Patient, set before the first Take, is for a committer whose commits are dear. Whoever
	// is woken runs before all that are ready on its core, so that of a thousand who are
	// about to push each would have a commit of its own, one after the other: a patient Take
	// lets them push first (gobelin bench publish, and bench storm --fresh).
	Patient bool

	maxItems int
	maxBytes int
	wake     chan struct{} // holds one token while items may be waiting

	mu      sync.Mutex
	items   []entry[T]
	bytes   int
	refused uint64
	closed  bool
}

type entry[T any] struct {
	item  T
	bytes int
}

// New returns a queue that holds at most maxItems of together maxBytes. One item
// alone always fits.
func New[T any](maxItems, maxBytes int) *Queue[T] {
	return &Queue[T]{maxItems: maxItems, maxBytes: maxBytes, wake: make(chan struct{}, 1)}
}

// Push appends item. Errors: store.ErrUnavailable (wrapped) when it does not
// fit, store.ErrClosed after Close.
func (q *Queue[T]) Push(item T, bytes int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return store.ErrClosed
	}
	if len(q.items) >= q.maxItems || (len(q.items) > 0 && q.bytes+bytes > q.maxBytes) {
		q.refused++
		return fmt.Errorf("queue: %d waiting, %d bytes: %w", len(q.items), q.bytes, store.ErrUnavailable)
	}
	q.items = append(q.items, entry[T]{item, bytes})
	q.bytes += bytes
	q.signal()
	return nil
}

// Take waits until something is there and appends it to dst, in order, at most
// limit items. It returns false when the queue is closed and empty. One
// goroutine takes.
func (q *Queue[T]) Take(dst []T, limit int) ([]T, bool) {
	for {
		q.mu.Lock()
		n := min(len(q.items), limit)
		for _, e := range q.items[:n] {
			dst = append(dst, e.item)
			q.bytes -= e.bytes
		}
		rest := copy(q.items, q.items[n:])
		clear(q.items[rest:])
		q.items = q.items[:rest]
		if rest > 0 {
			q.signal()
		}
		closed := q.closed
		q.mu.Unlock()
		if n > 0 {
			return dst, true
		}
		if closed {
			return dst, false
		}
		<-q.wake
		if q.Patient {
			runtime.Gosched()
		}
	}
}

// Close refuses what is pushed from now on; what waits is still taken.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

// Len returns how many items wait.
func (q *Queue[T]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// Refused returns how many pushes did not fit since the start; the owner's sweep
// reports it.
func (q *Queue[T]) Refused() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.refused
}

// signal leaves a token for the taker; guarded by mu.
func (q *Queue[T]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
