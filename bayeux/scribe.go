package bayeux

import "sync"

// scribe writes for a share of the sockets, one after the other, without waiting for
// any: a goroutine for each write would cost a fifth of the write. Where the kernel
// does not take all, or something else has to be waited for, the socket's own writer
// goes on. Its goroutine exists while there is something to write.
type scribe struct {
	// owned by the goroutine
	attempt *attempt
	batch   *batch // what turn works with

	mu      sync.Mutex
	ready   []*socket // each with writing set
	running bool
}

func newScribe() *scribe { return &scribe{attempt: newAttempt(), batch: batches.Get().(*batch)} }

// add has the scribe write for c.
func (q *scribe) add(c *socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ready = append(q.ready, c)
	if !q.running {
		q.running = true
		go q.run()
	}
}

func (q *scribe) run() {
	var now []*socket
	for {
		q.mu.Lock()
		if len(q.ready) == 0 {
			q.running = false
			if cap(q.ready) > mostReady {
				q.ready = nil
			}
			q.mu.Unlock()
			return
		}
		now, q.ready = q.ready, now[:0]
		q.mu.Unlock()
		for i, c := range now {
			now[i] = nil
			if q.turn(c) {
				q.add(c)
			}
		}
	}
}

// mostReady is the longest list of sockets that is kept for the next time.
const mostReady = 1 << 14

// turn writes one batch of c; more: there is another.
func (q *scribe) turn(c *socket) (more bool) {
	passed := false
	defer func() {
		if !more && !passed {
			c.writers.Done()
		}
	}()
	defer c.server.guard("writer", c.abort)
	b := q.batch
	if !c.grab(b) {
		return false
	}
	var rest []byte
	if !c.takesTime(b) {
		var err error
		if c.compose(b); len(b.frames) > 0 {
			rest, err = q.attempt.write(c.line, b.frames)
		}
		if err != nil {
			c.broke(err)
			b.clear()
			return false
		}
		if len(rest) == 0 {
			c.wrote(b)
			return c.more()
		}
	}
	q.batch, passed = batches.Get().(*batch), true
	go c.write(b, rest)
	return false
}
