package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// State is where a Client is in its life.
type State uint8

// The states: Idle until first used, Connecting until the server has answered,
// Connected, Waiting between two attempts, Closed for good.
const (
	Idle State = iota
	Connecting
	Connected
	Waiting
	Closed
)

// String returns the state's name in lower case.
func (s State) String() string {
	return [...]string{"idle", "connecting", "connected", "waiting", "closed"}[s]
}

// Client is one Bayeux session that mends itself; see the package comment. All
// methods may be called by many goroutines at once.
type Client struct {
	o        Options
	idPrefix string        // makes message ids this client's own
	slots    chan struct{} // one for each call that waits
	work     chan struct{} // cap 1: the outbox has something, or may be sent
	inbox    *inbox
	done     chan struct{} // closed when all goroutines but the dispatcher's last have ended
	counts   counters

	runner     runner
	dispatcher dispatcher

	mu sync.Mutex
	// guarded by mu
	state      State
	closing    bool
	err        error
	cancel     context.CancelCauseFunc // nil until started
	session    string                  // clientId; "" without one
	ready      bool                    // session and link are there
	acks       acks
	generation int // rises with each handshake
	seq        uint64
	pending    map[string]*call // by message id
	outbox     []*call          // pending calls to write, in order
	subs       []*Subscription  // in the order they were made
	byChannel  map[string][]*Subscription
	wild       int                 // patterns in byChannel
	kept       map[string]struct{} // channels seen to have a history
	mended     map[string]string   // catch-up channels that stand for a live one
	contact    time.Time           // until when the session is known to have been well
	up         chan struct{}       // closed while connected
}

// Stats are counts since New.
type Stats struct {
	Links, Handshakes   int64 // links opened, handshakes that succeeded
	Received            int64 // messages received
	Repeats             int64 // messages not given to a subscription that had them
	Unmatched           int64 // messages no subscription matched
	Malformed           int64 // frames and messages that could not be read
	Resent              int64 // calls sent again on another link
	Published, Refused  int64 // publishes answered, calls refused
	InboxFull           int64 // times reading stopped for the handlers
	UnknownSessionCalls int64 // calls answered with "unknown client", sent again
}

type counters struct {
	links, handshakes, received, repeats, unmatched, malformed, resent, published, refused, inboxFull, unknown atomic.Int64
}

// New checks the options and returns a client that connects when first used. The
// error lists all that is wrong with them.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{
		o: o, idPrefix: rand.Text()[:10],
		slots: make(chan struct{}, o.MaxCalls), work: make(chan struct{}, 1),
		inbox: newInbox(o.MaxInbox, o.MaxInboxBytes), done: make(chan struct{}),
		pending: map[string]*call{}, byChannel: map[string][]*Subscription{}, kept: map[string]struct{}{}, up: make(chan struct{}),
	}
	c.runner = runner{c: c, hold: defaultHold}
	c.dispatcher = dispatcher{c: c}
	return c, nil
}

// Connect starts the client and waits until it is connected. It returns the
// context's error, or Err when the client has ended.
func (c *Client) Connect(ctx context.Context) error {
	if err := c.start(); err != nil {
		return err
	}
	c.mu.Lock()
	up := c.up
	c.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return fmt.Errorf("client: connect: %w", ctx.Err())
	}
}

// start starts the goroutines once; it fails when the client has ended.
func (c *Client) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.closing {
		return ErrClosed
	}
	if c.cancel == nil {
		ctx, cancel := context.WithCancelCause(context.Background())
		c.cancel = cancel
		go c.live(ctx)
	}
	return nil
}

// live is the life of the client's goroutines.
func (c *Client) live(ctx context.Context) {
	defer close(c.done)
	dispatched := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(dispatched)
		c.dispatcher.run(ended)
	}()
	err := c.runner.run(ctx)
	c.end(err)
	close(ended)
	<-dispatched
}

// end settles everything that still waits.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.closing {
		err = ErrClosed
	}
	c.err, c.session, c.ready = err, "", false
	waiting, subs := c.pending, c.subs
	c.pending, c.outbox, c.subs = map[string]*call{}, nil, nil
	c.mu.Unlock()
	for _, k := range waiting {
		k.settle(outcome{err: err})
	}
	for _, s := range subs {
		s.end(err)
	}
	cause := err
	if errors.Is(err, ErrClosed) {
		cause = nil
	}
	c.setState(Closed, cause)
}

// Close tells the server goodbye within ctx, then ends the client and waits for
// its goroutines, so for the handler that is running too. Waiting calls return
// ErrClosed. The error is the context's, when that ended first; the client is then
// ending all the same.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	cancel, ready := c.cancel, c.ready
	if cancel == nil && first {
		c.err, c.state = ErrClosed, Closed
		close(c.done)
	}
	c.mu.Unlock()
	if cancel != nil && first {
		if ready {
			c.disconnect(ctx)
		}
		cancel(ErrClosed)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("client: close: %w", ctx.Err())
	}
}

// disconnect sends /meta/disconnect and waits for the answer, but not for long:
// the server forgets a session that does not come back anyway.
func (c *Client) disconnect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, min(c.o.Timeout, 5*time.Second))
	defer cancel()
	k := newCall(metaDisconnect)
	c.enqueue(k)
	_, _ = c.await(ctx, k)
}

// State returns where the client is now.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// SessionID returns the session's clientId, "" without one. It is a secret of the
// session.
func (c *Client) SessionID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Done is closed when the client has ended, by Close or because the server said
// so; Err then tells why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil until the client has ended, then ErrClosed, or an error that
// wraps ErrStopped and, where the server gave words, an *Error.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Stats returns what was counted so far.
func (c *Client) Stats() Stats {
	n := &c.counts
	return Stats{
		Links: n.links.Load(), Handshakes: n.handshakes.Load(), Received: n.received.Load(), Repeats: n.repeats.Load(),
		Unmatched: n.unmatched.Load(), Malformed: n.malformed.Load(), Resent: n.resent.Load(), Published: n.published.Load(),
		Refused: n.refused.Load(), InboxFull: n.inboxFull.Load(), UnknownSessionCalls: n.unknown.Load(),
	}
}

// setState notes a change and tells OnState, in order with the messages.
func (c *Client) setState(s State, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changeLocked(s, err)
}

// changeLocked queues the change under the lock, so that two goroutines cannot
// tell theirs in the wrong order.
func (c *Client) changeLocked(s State, err error) {
	if c.state == s || c.state == Closed {
		return
	}
	if s == Connected {
		close(c.up)
	} else if c.state == Connected {
		c.up = make(chan struct{})
	}
	c.state = s
	c.inbox.pushState(s, err)
}

// heard notes that the server lives: on a link that resumes a session, the first
// thing it says makes the client connected.
func (c *Client) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready && c.state == Connecting {
		c.changeLocked(Connected, nil)
	}
}

// messageIDLocked returns the next id: letters and digits only, and this client's own
// across its sessions.
func (c *Client) messageIDLocked() (string, uint64) {
	c.seq++
	return c.idPrefix + strconv.FormatUint(c.seq, 36), c.seq
}
