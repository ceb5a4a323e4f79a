package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// errSessionGone ends a link whose session the server does not know.
var errSessionGone = errors.New("client: session gone")

// defaultHold is how long a connect is held by a server that does not say.
const defaultHold = time.Minute

// runner keeps the session: it opens one link after the other, handshakes and
// connects. All of it is owned by its goroutine.
type runner struct {
	c          *Client
	failures   int // since the last connect that succeeded
	interval   time.Duration
	hold       time.Duration
	unanswered *call // the connect of long-polling that was not answered
}

// run returns when ctx ends or the server says stop.
func (r *runner) run(ctx context.Context) error {
	web, free := httpClient(&r.c.o)
	defer free()
	for {
		began := time.Now()
		err := r.attempt(ctx, func() (link, error) { return open(ctx, &r.c.o, web, r.c.receive) })
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, ErrStopped) {
			r.c.o.Logger.Warn("stopped", zap.Error(err))
			return err
		}
		if errors.Is(err, errSessionGone) {
			r.drop()
		}
		if time.Since(began) > r.c.o.MaxRetry {
			r.failures = 0
		}
		wait := max(r.backoff(), r.interval)
		r.c.o.Logger.Info("link lost", zap.Error(err), zap.Duration("retry_in", wait))
		r.c.setState(Waiting, err)
		if !sleep(ctx, wait) {
			return context.Cause(ctx)
		}
	}
}

// attempt is the life of one link; the error is what ended it.
func (r *runner) attempt(ctx context.Context, open func() (link, error)) error {
	r.c.setState(Connecting, nil)
	l, err := open()
	if err != nil {
		return err
	}
	r.c.counts.links.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.serve(ctx)) })
	wg.Go(func() { cancel(r.c.write(ctx, l)) })
	// A read or write that hangs ends with the link, not with its deadline.
	wg.Go(func() { <-ctx.Done(); l.close() })
	cancel(r.converse(ctx, l))
	r.c.mu.Lock()
	r.c.ready = false
	r.c.mu.Unlock()
	wg.Wait()
	return context.Cause(ctx)
}

// backoff returns the wait after one more failure: doubling, between half and
// whole at random, so that many clients do not come back at once.
func (r *runner) backoff() time.Duration {
	d := r.c.o.MinRetry << min(r.failures, 20)
	r.failures++
	if d <= 0 || d > r.c.o.MaxRetry {
		d = r.c.o.MaxRetry
	}
	return d/2 + rand.N(d/2+1)
}

// drop forgets the session; the next link begins with a handshake.
func (r *runner) drop() {
	r.forgetConnect()
	r.c.mu.Lock()
	r.c.session = ""
	r.c.mu.Unlock()
}

func (r *runner) forgetConnect() {
	if k := r.unanswered; k != nil {
		r.c.mu.Lock()
		delete(r.c.pending, k.id)
		r.c.mu.Unlock()
		r.unanswered = nil
	}
}

// converse handshakes where there is no session, and then connects again and
// again.
func (r *runner) converse(ctx context.Context, l link) error {
	known := r.c.SessionID() != ""
	if known {
		r.c.resume()
	} else if err := r.handshake(ctx, l); err != nil {
		return err
	}
	for first := true; ; first = false {
		if err := r.connect(ctx, l, known && first); err != nil {
			return err
		}
		r.failures = 0
		if r.interval > 0 && !sleep(ctx, r.interval) {
			return context.Cause(ctx)
		}
	}
}

func (r *runner) handshake(ctx context.Context, l link) error {
	k := newCall(metaHandshake)
	k.extra = `,"version":"1.0","minimumVersion":"1.0","supportedConnectionTypes":["` + r.c.o.Transport + `"]`
	k.extra += r.c.o.handshakeExt()
	r.register(k)
	reply, err := r.exchange(ctx, l.send, k, r.c.o.Timeout)
	if err != nil {
		return err
	}
	if err := r.heed(reply, "handshake"); err != nil {
		return err
	}
	if reply.clientID == "" || len(reply.clientID) > 1024 {
		return errors.New("client: handshake: no usable clientId in the answer")
	}
	r.c.counts.handshakes.Add(1)
	r.c.renew(reply)
	r.c.setState(Connected, nil)
	return nil
}

// connect makes one /meta/connect and waits while the server holds it. On the
// first of a link for a known session (again) WebSocket asks for an answer at
// once, to learn that the link works; long-polling repeats, as it was, the
// connect that was not answered, which says that the answer did not arrive
// (decided.md 4).
func (r *runner) connect(ctx context.Context, l link, again bool) error {
	hold := r.hold
	k := r.unanswered
	r.unanswered = nil
	if k == nil {
		k = newCall(metaConnect)
		k.extra = `,"connectionType":"` + r.c.o.Transport + `"`
		if again && r.c.o.Transport == WebSocket {
			k.extra += `,"advice":{"timeout":0}`
			hold = 0
		}
		k.extra += r.c.acknowledgement()
		r.register(k)
	}
	send := func(ctx context.Context, frame []byte) error { return l.poll(ctx, frame, hold) }
	reply, err := r.exchange(ctx, send, k, r.c.o.Timeout+hold)
	if err != nil {
		if r.c.o.Transport == LongPolling && !errors.Is(err, errSessionGone) {
			select {
			case <-k.answered: // with deliveries that were not taken
			default:
			}
			r.unanswered = k
			r.c.mu.Lock()
			r.c.pending[k.id] = k
			r.c.mu.Unlock()
		}
		return err
	}
	return r.heed(reply, "connect")
}

func (r *runner) register(k *call) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.registerLocked(k)
}

// exchange sends one message of the runner and waits for its answer. After an
// error the call is not pending any more.
func (r *runner) exchange(ctx context.Context, send func(context.Context, []byte) error, k *call, limit time.Duration) (envelope, error) {
	forget := func() {
		r.c.mu.Lock()
		defer r.c.mu.Unlock()
		delete(r.c.pending, k.id)
	}
	frame := append(k.append([]byte{'['}, r.c.SessionID()), ']')
	sent, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("client: %s: no answer within %v", strings.TrimPrefix(k.channel, "/meta/"), limit))
	defer cancel()
	if err := send(sent, frame); err != nil {
		forget()
		return envelope{}, err
	}
	select {
	case o := <-k.answered:
		return o.reply, o.err
	case <-sent.Done():
		forget()
		return envelope{}, context.Cause(sent)
	}
}

// heed takes the advice of an answer and says how to go on: nil, ErrStopped,
// errSessionGone, or an error after which the same is tried again.
func (r *runner) heed(e envelope, what string) error {
	reconnect := ""
	if a := e.advice; a != nil {
		reconnect = a.reconnect
		if a.interval >= 0 {
			r.interval = a.interval
		}
		if a.timeout >= 0 {
			r.hold = a.timeout
		}
	}
	var refusal *Error
	cause := fmt.Errorf("client: %s: answered", what)
	if !e.successful {
		refusal = parseError(e.err)
		cause = refusal
	}
	switch {
	case reconnect == "none":
		return fmt.Errorf("%w: %s: %w", ErrStopped, what, cause)
	case what == "connect" && (reconnect == "handshake" || refusal != nil && refusal.unknownSession()):
		return fmt.Errorf("%w: %w", errSessionGone, cause)
	case refusal != nil:
		return refusal
	}
	return nil
}

// sleep waits; false: ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
