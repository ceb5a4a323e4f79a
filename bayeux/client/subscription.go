package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// Subscription is one handler on one channel or pattern.
type Subscription struct {
	c       *Client
	channel string
	handler func(Message)
	done    chan struct{}
	// byReplayID: made by SubscribeFrom.
	byReplayID bool

	// owned by the dispatcher
	had   seen
	first string // the first message with a position that it was given

	// guarded by Client.mu
	generation int   // the session it was made in; later ones subscribed it again
	replayID   int64 // from where a later one goes on, if byReplayID

	// set before Subscribe returns, not changed later
	catchUp *CatchUp

	once sync.Once
	err  error // set before done is closed
}

// Subscribe subscribes a channel, a pattern (/a/*, /a/**) or a catch-up channel
// (X/catchup/6h, product.md §4) and waits for the server's word. handler is called
// for each message, one at a time; the first ones perhaps before Subscribe
// returns. The subscription lives through reconnects until Unsubscribe, Close, or
// a refusal by a later session (see Subscription.Done). The error is an *Error
// when the server refused, else the context's, ErrClosed or ErrStopped.
func (c *Client) Subscribe(ctx context.Context, channel string, handler func(Message)) (*Subscription, error) {
	return c.subscribe(ctx, &Subscription{c: c, channel: channel, handler: handler, done: make(chan struct{})})
}

func (c *Client) subscribe(ctx context.Context, s *Subscription) (*Subscription, error) {
	if s.channel == "" || s.handler == nil {
		return nil, errors.New("client: subscribe: want a channel and a handler")
	}
	k := newCall(metaSubscribe)
	k.subscription = s.channel
	k.sub = s
	if s.byReplayID {
		k.extra = replayExt(s.channel, s.replayID)
	}
	reply, err := c.do(ctx, k)
	if err != nil {
		// The server may have taken it all the same.
		if last := c.remove(s); last && ctx.Err() != nil {
			c.forget(s.channel)
		}
		s.end(err)
		return nil, err
	}
	s.catchUp = decodeCatchUp(reply.ext)
	return s, nil
}

// addLocked begins to hand messages to s.
func (c *Client) addLocked(s *Subscription) {
	s.generation = c.generation
	if !c.ready {
		s.generation++ // the session to come
	}
	c.subs = append(c.subs, s)
	c.byChannel[s.channel] = append(c.byChannel[s.channel], s)
	if isPattern(s.channel) {
		c.wild++
	}
}

// Channel returns what was subscribed.
func (s *Subscription) Channel() string { return s.channel }

// CatchUp returns what the server said of the past; nil for a channel that is not
// a catch-up channel, or of a server that knows none.
func (s *Subscription) CatchUp() *CatchUp { return s.catchUp }

// Done is closed when the subscription has ended.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns why the subscription ended, nil while it lives and after
// Unsubscribe; an *Error when a later session refused it.
func (s *Subscription) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Unsubscribe ends the subscription; the server is told when it was the last one
// on its channel, and its answer awaited. A message that is being handled may
// still be handled after.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	last := s.c.remove(s)
	s.end(nil)
	if !last {
		return nil
	}
	k := newCall(metaUnsubscribe)
	k.subscription = s.channel
	_, err := s.c.do(ctx, k)
	return err
}

func (s *Subscription) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
	})
}

// remove takes s out; last: it was there, and the last one on its channel.
func (c *Client) remove(s *Subscription) (last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.byChannel[s.channel]
	i := slices.Index(list, s)
	if i < 0 {
		return false
	}
	c.subs = slices.DeleteFunc(c.subs, func(t *Subscription) bool { return t == s })
	if isPattern(s.channel) {
		c.wild--
	}
	// A new slice: the dispatcher may be reading the old one.
	if list = slices.Concat(list[:i], list[i+1:]); len(list) > 0 {
		c.byChannel[s.channel] = list
		return false
	}
	delete(c.byChannel, s.channel)
	return true
}

// forget tells the server of a channel nobody waits for any more.
func (c *Client) forget(channel string) {
	c.mu.Lock()
	room := len(c.pending) < 2*c.o.MaxCalls
	c.mu.Unlock()
	if !room {
		return // costs messages that nobody matches, which are counted
	}
	k := newCall(metaUnsubscribe)
	k.subscription, k.auto = channel, true
	c.enqueue(k)
}

// lost deals with a channel that a new session did not take back: what may pass
// is tried again with another session, else its subscriptions end.
func (c *Client) lost(channel string, refusal *Error) error {
	if refusal.temporary() {
		return fmt.Errorf("%w: subscribing again: %w", errSessionGone, refusal)
	}
	c.mu.Lock()
	list := c.byChannel[channel]
	c.mu.Unlock()
	if len(list) == 0 {
		return nil // it was to mend a channel, or is not wanted any more
	}
	c.o.Logger.Warn("subscription lost", zap.String("channel", channel), zap.Error(refusal))
	for _, s := range list {
		c.remove(s)
		s.end(refusal)
	}
	return nil
}

func isPattern(channel string) bool { return strings.HasSuffix(channel, "*") }

// matchLocked appends to list the subscriptions that a message on channel is for
// (bayeux-faye.md §5): the name itself, one level's "*", and every "**" above.
func (c *Client) matchLocked(list []*Subscription, channel string) []*Subscription {
	list = append(list, c.byChannel[channel]...)
	if c.wild == 0 {
		return list
	}
	for i, level := len(channel), 0; ; level++ {
		i = strings.LastIndexByte(channel[:i], '/')
		if i < 0 {
			return list
		}
		if level == 0 {
			list = append(list, c.byChannel[channel[:i]+"/*"]...)
		}
		list = append(list, c.byChannel[channel[:i]+"/**"]...)
	}
}
