package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// subscribeBatch is how many channels one SUBSCRIBE names: a server with
	// 100,000 of them in one command stands still.
	subscribeBatch = 512
	// Between two connections of a line passes minBackoff, and twice that after
	// each that came to nothing, up to maxBackoff.
	minBackoff = 50 * time.Millisecond
	maxBackoff = time.Second
	// After silence without anything received, a line publishes to itself, and if
	// that is not heard within echo either it is deaf. Together they stay below the
	// 20 s of store.md §4.
	silence  = 9 * time.Second
	echo     = 9 * time.Second
	listenAt = 500 * time.Millisecond // how often these are looked at
	// settleAgain is after which time counters that could not be read are read again.
	settleAgain = 250 * time.Millisecond
)

var (
	errDeaf  = errors.New("nothing was heard, not even an own message")
	errMoved = errors.New("the slot moved to another node")
)

// line is one connection that listens, and what follows it when it breaks. On a
// cluster each partition has one, to the node that has its slot.
type line struct {
	s    *Store
	p    int // partition of the probe
	wake chan struct{}
	some rate.Sometimes

	heard atomic.Int64 // when anything was received last, by the clock's local ns

	mu       sync.Mutex
	channels map[string]*channel // guarded by mu; by name
	changed  []*channel          // guarded by mu; to be looked at by ask
	settling []*channel          // guarded by mu; confirmed, counter not read
	broken   error               // guarded by mu; nil while connected, or nothing is wanted
	since    time.Time           // guarded by mu; when it broke
	breaks   uint64              // guarded by mu; how often
	closed   bool                // guarded by mu
}

func newLine(s *Store, p int) *line {
	return &line{
		s: s, p: p, wake: make(chan struct{}, 1), channels: make(map[string]*channel),
		some: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

func (l *line) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run keeps the line connected while anything is wanted.
func (l *line) run(ctx context.Context) {
	backoff := minBackoff
	for ctx.Err() == nil {
		if !l.wanted() {
			select {
			case <-ctx.Done():
			case <-l.wake:
			}
			continue
		}
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.breakOff(err) {
			backoff = minBackoff
		} else {
			backoff = min(2*backoff, maxBackoff)
		}
		if c, ok := l.s.client.(*goredis.ClusterClient); ok {
			c.ReloadState(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff/2 + rand.N(backoff/2)):
		}
	}
}

// wanted reports whether anybody listens.
func (l *line) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.channels) > 0
}

// breakOff tells the watchers that the connection is gone, and reports whether it
// had ever come about.
func (l *line) breakOff(err error) (was bool) {
	err = fmt.Errorf("redis: watch: %w: %w", store.ErrUnavailable, err)
	l.mu.Lock()
	was = l.broken == nil && l.heard.Load() != 0
	if l.broken == nil {
		l.since = time.Now()
	}
	l.broken = err
	l.breaks++
	down := l.unlive()
	l.mu.Unlock()
	l.heard.Store(0)
	l.some.Do(func() { l.s.log.Warn("redis: a connection that listens broke", zap.Error(err)) })
	for _, a := range down {
		a.lost(err)
	}
	return was
}

// recover notes that the connection works; mu is held.
func (l *line) recover() { l.broken = nil }

// deafAfter is for how long a line may be broken before the store is called ill: it is
// mended in 50 ms as a rule, and a node that turned its clients away for that would make
// the trouble worse. It is below the 3 s in which a node that is cut off must say so.
const deafAfter = 2 * time.Second

// health returns since when nothing is heard, and why.
func (l *line) health() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil || time.Since(l.since) < deafAfter {
		return nil
	}
	return fmt.Errorf("redis: nothing is heard since %s: %w", l.since.UTC().Format(time.RFC3339), l.broken)
}

// connect listens over one connection until it breaks, and returns why.
func (l *line) connect(ctx context.Context) error {
	ctx, end := newOnce(ctx)
	defer end()
	var ps *goredis.PubSub
	if l.s.cluster {
		ps = l.s.client.SSubscribe(ctx)
	} else {
		ps = l.s.client.Subscribe(ctx)
	}
	defer func() { _ = ps.Close() }()
	// The probe is subscribed first: its confirmation shows that the line works, and
	// its name leads to the node of the partition.
	if err := l.subscribe(ctx, ps, []string{l.s.keys.probe(l.p)}); err != nil {
		return err
	}
	l.requeue()
	l.heard.Store(l.s.clock.local())
	var receiving sync.WaitGroup
	var received error
	receiving.Go(func() {
		defer end()
		received = l.receive(ctx, ps)
	})
	err := l.tend(ctx, ps)
	_ = ps.Close() // ends receive
	receiving.Wait()
	if err == nil {
		err = received
	}
	return err
}

// requeue has everything that is wanted subscribed anew.
func (l *line) requeue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ch := range l.channels {
		l.change(ch)
	}
}

// receive takes what comes until the connection breaks. Receive is given no
// deadline: a line that only listens is quiet for as long as nothing is said.
func (l *line) receive(ctx context.Context, ps *goredis.PubSub) error {
	for {
		got, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		l.heard.Store(l.s.clock.local())
		switch m := got.(type) {
		case *goredis.Message:
			l.message(m.Channel, m.Payload)
		case *goredis.Subscription:
			switch m.Kind {
			case "subscribe", "ssubscribe":
				l.confirmed(m.Channel)
			case "unsubscribe", "sunsubscribe":
				// A slot that leaves a node takes its subscriptions with it, and
				// this connection can get none of them again (store.md §3.7).
				if !l.ended(m.Channel) {
					return errMoved
				}
			}
		}
	}
}

// tend subscribes and unsubscribes as is wished, settles what was confirmed, and
// finds out whether the line is deaf. It returns nil when ctx ends.
func (l *line) tend(ctx context.Context, ps *goredis.PubSub) error {
	tick := time.NewTicker(listenAt)
	defer tick.Stop()
	var probed int64
	for {
		l.mu.Lock()
		subscribe, unsubscribe := l.ask()
		l.mu.Unlock()
		if err := l.subscribe(ctx, ps, subscribe); err != nil {
			return err
		}
		if err := l.unsubscribe(ctx, ps, unsubscribe); err != nil {
			return err
		}
		again := l.settleAll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-again:
		case <-tick.C:
			if err := l.listen(ctx, &probed); err != nil {
				return err
			}
		}
	}
}

// subscribe asks for channels; confirmations come to receive.
func (l *line) subscribe(ctx context.Context, ps *goredis.PubSub, names []string) error {
	for len(names) > 0 {
		n := min(len(names), subscribeBatch)
		ask := ps.Subscribe
		if l.s.cluster {
			ask = ps.SSubscribe
		}
		if err := ask(ctx, names[:n]...); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

func (l *line) unsubscribe(ctx context.Context, ps *goredis.PubSub, names []string) error {
	for len(names) > 0 {
		n := min(len(names), subscribeBatch)
		ask := ps.Unsubscribe
		if l.s.cluster {
			ask = ps.SUnsubscribe
		}
		if err := ask(ctx, names[:n]...); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// settleAll reads the counters of what was confirmed, so that it can go live. It
// returns a timer if that has to be tried again.
func (l *line) settleAll(ctx context.Context) (again <-chan time.Time) {
	l.mu.Lock()
	channels := l.settling
	l.settling = nil
	l.mu.Unlock()
	if len(channels) == 0 {
		return nil
	}
	flags := make([]string, len(channels))
	found, err := l.s.raise(ctx, wides(channels))
	if err == nil {
		var counts []uint64
		if counts, err = l.s.counts(ctx, channels); err == nil {
			i := 0
			for j, ch := range channels {
				if ch.feed == "" {
					flags[j] = found[i]
					i++
				}
			}
			l.settle(channels, counts, flags)
			return nil
		}
	}
	l.some.Do(func() { l.s.log.Warn("redis: what was said so far cannot be read", zap.Error(err)) })
	l.mu.Lock()
	l.settling = append(l.settling, channels...)
	l.mu.Unlock()
	return time.After(settleAgain)
}

// listen publishes to the line itself if it was quiet for long, and returns an
// error if even that is not heard. The message goes through the primary: a PING
// would be answered by a server that is not one any more (store.md §3.4).
func (l *line) listen(ctx context.Context, probed *int64) error {
	now, heard := l.s.clock.local(), l.heard.Load()
	switch {
	case *probed > heard:
		if now-*probed > int64(echo) {
			return errDeaf
		}
	case now-heard > int64(silence):
		*probed = now
		publish := l.s.client.Publish
		if l.s.cluster {
			publish = l.s.client.SPublish
		}
		// If it fails nothing is heard either, and that is what counts.
		_ = publish(ctx, l.s.keys.probe(l.p), "")
	}
	return nil
}

// odd tells of a message that is not ours.
func (l *line) odd(name string, err error) {
	l.some.Do(func() {
		l.s.log.Warn("redis: somebody else publishes on our channels", zap.String("channel", name), zap.Error(err))
	})
}

// close tells all watchers that it is over.
func (l *line) close() {
	l.mu.Lock()
	l.closed = true
	down := l.unlive()
	l.mu.Unlock()
	for _, a := range down {
		a.lost(store.ErrClosed)
	}
}
