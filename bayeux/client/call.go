package client

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The meta channels.
const (
	metaHandshake   = "/meta/handshake"
	metaConnect     = "/meta/connect"
	metaSubscribe   = "/meta/subscribe"
	metaUnsubscribe = "/meta/unsubscribe"
	metaDisconnect  = "/meta/disconnect"
)

// call is one message that is to be answered. It keeps its id through all the
// links it is sent on.
type call struct {
	channel      string
	subscription string        // of a subscribe or unsubscribe
	data         []byte        // of a publish; nil: none
	extra        string        // further members as JSON, beginning with a comma
	auto         bool          // nobody waits: the client subscribes again by itself
	sub          *Subscription // of a first subscribe

	answered chan outcome // cap 1

	// guarded by Client.mu
	id      string
	seq     uint64
	sent    bool
	unknown int // how often the server did not know the session
}

// outcome is an answer, or why there is none.
type outcome struct {
	reply envelope
	err   error
}

func newCall(channel string) *call { return &call{channel: channel, answered: make(chan outcome, 1)} }

// settle is called by the one who took the call out of pending. It does not block:
// of two answers, which a call that was sent twice may get, the first counts.
func (k *call) settle(o outcome) {
	select {
	case k.answered <- o:
	default:
	}
}

// append writes the call as a message of the session.
func (k *call) append(b []byte, session string) []byte {
	b = appendString(append(b, `{"channel":`...), k.channel)
	if session != "" {
		b = appendString(append(b, `,"clientId":`...), session)
	}
	if k.subscription != "" {
		b = appendString(append(b, `,"subscription":`...), k.subscription)
	}
	if k.data != nil {
		b = append(append(b, `,"data":`...), k.data...)
	}
	b = append(b, k.extra...)
	b = appendString(append(b, `,"id":`...), k.id)
	return append(b, '}')
}

// maxUnknown is how often a call goes out again because the server does not know
// the session it was answered on.
const maxUnknown = 3

// do makes a call that somebody waits for.
func (c *Client) do(ctx context.Context, k *call) (envelope, error) {
	if err := c.start(); err != nil {
		return envelope{}, err
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return envelope{}, fmt.Errorf("client: %s: waiting for room: %w", k.channel, ctx.Err())
	case <-c.done:
		return envelope{}, c.Err()
	}
	defer func() { <-c.slots }()
	c.enqueue(k)
	return c.await(ctx, k)
}

// enqueue gives a call its id and queues it.
func (c *Client) enqueue(k *call) {
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		k.settle(outcome{err: err})
		return
	}
	c.registerLocked(k)
	if k.sub != nil {
		// With its call, or a session that begins between would subscribe twice.
		c.addLocked(k.sub)
	}
	c.outbox = append(c.outbox, k)
	c.mu.Unlock()
	c.wakeWriter()
	c.inbox.stir()
}

func (c *Client) registerLocked(k *call) {
	k.id, k.seq = c.messageIDLocked()
	c.pending[k.id] = k
}

// await waits for the answer. A refusal is an *Error.
func (c *Client) await(ctx context.Context, k *call) (envelope, error) {
	select {
	case o := <-k.answered:
		return c.judge(o)
	case <-ctx.Done():
	}
	c.mu.Lock()
	delete(c.pending, k.id)
	c.mu.Unlock()
	select {
	case o := <-k.answered: // at the last moment
		return c.judge(o)
	default:
		return envelope{}, fmt.Errorf("client: %s: waiting for the answer: %w", k.channel, ctx.Err())
	}
}

func (c *Client) judge(o outcome) (envelope, error) {
	if o.err != nil {
		return envelope{}, o.err
	}
	if !o.reply.successful {
		c.counts.refused.Add(1)
		return o.reply, parseError(o.reply.err)
	}
	return o.reply, nil
}

// waiting reports whether calls wait for answers.
func (c *Client) waiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.pending {
		if k.channel != metaConnect {
			return true
		}
	}
	return false
}

// maxBatch is about how many bytes go into one frame; servers bound theirs.
const maxBatch = 64 << 10

// takeBatch encodes what is queued into one frame, nil when there is nothing to send
// or no session to send it on.
func (c *Client) takeBatch() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ready {
		return nil
	}
	var frame []byte
	n := 0
	for _, k := range c.outbox {
		if len(frame)+len(k.data) > maxBatch && len(frame) > 0 {
			break
		}
		n++
		if c.pending[k.id] != k {
			continue // given up
		}
		if k.sent {
			c.counts.resent.Add(1)
		}
		k.sent = true
		frame = append(frame, ","...)
		frame = k.append(frame, c.session)
	}
	c.outbox = slices.Delete(c.outbox, 0, n)
	if len(c.outbox) == 0 {
		c.outbox = nil
	}
	if len(frame) == 0 {
		return nil
	}
	frame[0] = '['
	return append(frame, ']')
}

func (c *Client) wakeWriter() {
	select {
	case c.work <- struct{}{}:
	default:
	}
}

// write sends what is queued on one link until that breaks.
func (c *Client) write(ctx context.Context, l link) error {
	for {
		frame := c.takeBatch()
		if frame == nil {
			select {
			case <-c.work:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := l.send(ctx, frame); err != nil {
			return err
		}
	}
}

// resume queues again, on a new link, what a known session did not answer.
func (c *Client) resume() {
	c.mu.Lock()
	c.outbox = c.unansweredLocked(func(k *call) bool { return true })
	c.ready = true
	c.mu.Unlock()
	c.wakeWriter()
}

// renew begins a session: all subscriptions first, catch-up before live, then
// what else waits. Unsubscribing from a session that is gone has succeeded.
func (c *Client) renew(reply envelope) {
	c.mu.Lock()
	c.session, c.ready = reply.clientID, true
	c.acks.grantLocked(reply.ext)
	c.generation++
	done := c.unansweredLocked(func(k *call) bool { return k.channel == metaUnsubscribe || k.auto })
	for _, k := range done {
		delete(c.pending, k.id)
	}
	subscribes := c.resubscribeLocked()
	queue := append(c.mendLocked(), subscribes...)
	c.outbox = append(queue, c.unansweredLocked(func(k *call) bool { return k.channel != metaSubscribe })...)
	c.mu.Unlock()
	for _, k := range done {
		k.settle(outcome{reply: envelope{successful: true}})
	}
	c.wakeWriter()
}

// unansweredLocked returns the pending calls but for connects and handshakes, in
// the order they were made.
func (c *Client) unansweredLocked(want func(*call) bool) []*call {
	var all []*call
	for _, k := range c.pending {
		if k.channel != metaConnect && k.channel != metaHandshake && want(k) {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *call) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// resubscribeLocked returns a call for every channel subscribed: the one somebody
// waits for, or a new one.
func (c *Client) resubscribeLocked() []*call {
	waited := c.unansweredLocked(func(k *call) bool { return k.channel == metaSubscribe })
	have := map[string]bool{}
	for _, k := range waited {
		have[k.subscription] = true
	}
	queue := waited
	for _, s := range c.subs {
		if have[s.channel] {
			continue
		}
		have[s.channel] = true
		k := newCall(metaSubscribe)
		k.subscription, k.auto = s.channel, true
		c.registerLocked(k)
		queue = append(queue, k)
	}
	for _, k := range queue {
		k.extra = c.replayExtLocked(k.subscription)
	}
	slices.SortStableFunc(queue, func(a, b *call) int { return cmp.Compare(past(a), past(b)) })
	return queue
}

func past(k *call) int {
	if isCatchUp(k.subscription) {
		return 0
	}
	return 1
}

// receive takes a frame: answers to those who wait, messages to the inbox.
func (c *Client) receive(ctx context.Context, frame []byte) error {
	all, err := decodeFrame(frame)
	if err != nil {
		c.counts.malformed.Add(1)
		return err
	}
	var items []item
	var gone error
	var held []outcomeOf // answers to connects: what came with them is taken first
	for _, e := range all {
		switch k := c.answeredBy(e); {
		case k != nil && k.channel == metaConnect:
			held = append(held, outcomeOf{k, e})
		case k != nil:
			if err := c.answer(k, e); err != nil {
				gone = err
			}
		case e.data != nil && e.channel != "" && !strings.HasPrefix(e.channel, "/meta/"):
			items = append(items, item{message: newMessage(e)})
		case !e.isReply:
			c.counts.malformed.Add(1)
		}
	}
	c.heard()
	if len(items) > 0 {
		c.counts.received.Add(int64(len(items)))
		c.noteArrived(items)
		if err := c.inbox.push(ctx, items, c.waiting, func() { c.counts.inboxFull.Add(1) }); err != nil {
			c.restore(held)
			return err
		}
	}
	c.taken(all)
	for _, h := range held {
		_ = c.answer(h.call, h.reply) // of a connect it returns nil
	}
	return gone
}

// outcomeOf is a call with its answer.
type outcomeOf struct {
	call  *call
	reply envelope
}

// restore makes connects unanswered again whose answers did not count.
func (c *Client) restore(held []outcomeOf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range held {
		c.pending[h.call.id] = h.call
	}
}

func newMessage(e envelope) Message {
	m := Message{Channel: e.channel, ID: e.id, Data: e.data, Ext: e.ext}
	if len(e.ext) > 0 {
		m.History, _ = decodeHistory(e.ext)
	}
	return m
}

// answeredBy takes the call that e answers out of pending.
func (c *Client) answeredBy(e envelope) *call {
	if !e.isReply || e.id == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.pending[e.id]
	if k == nil || k.channel != e.channel {
		return nil
	}
	delete(c.pending, k.id)
	return k
}

// answer settles a call, but for an answer that says the session is gone: then
// the call waits for the next one, and the error ends the link.
func (c *Client) answer(k *call, e envelope) error {
	isOwn := k.channel == metaConnect || k.channel == metaHandshake || k.channel == metaDisconnect
	if e.successful && k.channel == metaConnect {
		c.mu.Lock()
		c.contact = time.Now()
		c.mu.Unlock()
	}
	if e.successful || isOwn {
		k.settle(outcome{reply: e})
		return nil
	}
	refusal := parseError(e.err)
	if refusal.unknownSession() {
		c.mu.Lock()
		k.unknown++
		again := k.unknown <= maxUnknown && c.err == nil
		if again {
			c.pending[k.id] = k
		}
		c.mu.Unlock()
		if again {
			c.counts.unknown.Add(1)
			return fmt.Errorf("%w: %w", errSessionGone, refusal)
		}
	}
	k.settle(outcome{reply: e})
	if k.auto && k.channel == metaSubscribe {
		return c.lost(k.subscription, refusal)
	}
	return nil
}
