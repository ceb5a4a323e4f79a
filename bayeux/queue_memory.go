package bayeux

import (
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// queueMemory knows whether what waits for all sessions together takes more memory than
// it may: then no session is added (security.md §3). It costs nothing while the whole
// heap is smaller than that; else the queues are measured, now and then. A delivery that
// waits for many sessions is there once.
type queueMemory struct {
	mu sync.Mutex // held while measuring
	// guarded by mu
	next time.Time // before that it is not measured again

	full atomic.Bool // what was found
}

// The queues are measured every measureEvery at most, and for no more than a
// measureShare-th of the time.
const (
	measureEvery = 250 * time.Millisecond
	measureShare = 20
)

// heapObjects is what is on the heap, whether it is in use or not collected yet.
const heapObjects = "/memory/classes/heap/objects:bytes"

// queuesFull reports whether the queues are above their bound.
func (v *Server) queuesFull() bool {
	q, most := &v.queues, v.limits().QueueMemory
	if most == 0 {
		return false
	}
	if !q.mu.TryLock() {
		return q.full.Load()
	}
	defer q.mu.Unlock()
	began := time.Now()
	if began.Before(q.next) {
		return q.full.Load()
	}
	heap := []metrics.Sample{{Name: heapObjects}}
	metrics.Read(heap)
	full := int64(heap[0].Value.Uint64()) > most && v.queuedMemory() > most
	q.full.Store(full)
	took := time.Since(began)
	q.next = began.Add(took + max(measureEvery, measureShare*took))
	return full
}

// queuedMemory is what the queues of all sessions take, in bytes.
func (v *Server) queuedMemory() (n int64) {
	counted := map[*Delivery]struct{}{}
	count := func(d *Delivery) {
		if _, is := counted[d]; !is {
			counted[d] = struct{}{}
			n += int64(cap(d.wire)+d.small.Load().cap()) + int64(unsafe.Sizeof(*d))
		}
	}
	for _, s := range v.allSessions() {
		s.mu.Lock()
		for _, d := range s.out.queue.live() {
			count(d)
		}
		for i := range s.out.sent {
			count(s.out.sent[i].d)
		}
		n += int64(cap(s.out.queue.items))*int64(unsafe.Sizeof(uintptr(0))) + int64(cap(s.out.sent))*int64(unsafe.Sizeof(sent{}))
		s.mu.Unlock()
	}
	return n
}
