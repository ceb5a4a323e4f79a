package bayeux

import (
	"context"
	"sync"
	"time"
)

// patience is what a server that stops has with peers that send or read slowly: when it
// ends, what is being read and written is cut.
type patience struct {
	mu    sync.Mutex
	ended bool
	busy  map[slow]struct{} // what is being read and written
}

// slow is a connection that is read, or written.
type slow struct {
	conn    deadlines
	written bool
}

// deadlines are those of a connection, or of a request on it.
type deadlines interface {
	SetReadDeadline(by time.Time) error
	SetWriteDeadline(by time.Time) error
}

// begin is called when the deadline of what follows is set, and end behind it; cut is
// true when the deadline is none of the caller's any more.
func (p *patience) begin(s slow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		s.cut()
		return
	}
	p.busy[s] = struct{}{}
}

func (p *patience) end(s slow) (cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.busy, s)
	return p.ended
}

// lose ends it.
func (p *patience) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for s := range p.busy {
		s.cut()
	}
}

func (s slow) cut() {
	if s.written {
		_ = s.conn.SetWriteDeadline(time.Now())
	} else {
		_ = s.conn.SetReadDeadline(time.Now())
	}
}

// requestContext is the context of an HTTP request that ends with the server, too. Most
// messages wait for nothing: the two are brought together when somebody waits.
type requestContext struct {
	context.Context
	server context.Context

	mu     sync.Mutex
	over   bool
	joined context.Context // nil: nobody has waited
	cancel func()          // of joined
}

func (c *requestContext) waited() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined == nil && !c.over {
		ctx, cancel := context.WithCancel(c.Context)
		leave := context.AfterFunc(c.server, cancel)
		c.joined, c.cancel = ctx, func() { leave(); cancel() }
	}
	if c.joined == nil {
		return c.Context // which ends with the request
	}
	return c.joined
}

// Done is part of context.Context.
func (c *requestContext) Done() <-chan struct{} { return c.waited().Done() }

// Value is part of context.Context. What is derived asks it for the context to follow.
func (c *requestContext) Value(key any) any {
	c.mu.Lock()
	from := c.joined
	c.mu.Unlock()
	if from == nil {
		from = c.Context
	}
	return from.Value(key)
}

// Err is part of context.Context: as soon as somebody waits, it says what Done does.
func (c *requestContext) Err() error {
	c.mu.Lock()
	joined := c.joined
	c.mu.Unlock()
	if joined != nil {
		return joined.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	return c.server.Err()
}

// end is called when the request is over.
func (c *requestContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.cancel != nil {
		c.cancel()
	}
}
