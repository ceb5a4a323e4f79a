package brokertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is a TCP proxy that breaks what goes through it: connections are cut,
// frozen, half-closed and slowed down, each direction by itself.
type Proxy struct {
	listener net.Listener
	target   atomic.Pointer[string]
	closing  chan struct{}
	all      sync.WaitGroup
	count    [faultKinds]atomic.Int64

	mu    sync.Mutex
	pipes map[*pipe]struct{}
}

// pipe is one connection through a Proxy.
type pipe struct {
	client, server *net.TCPConn
	up, down       flow
}

// flow is one direction of a pipe.
type flow struct {
	rest  atomic.Int64 // no byte goes before this, in ns since 1970
	pause atomic.Int64 // ns after each kilobyte
}

// FaultKind is what a Proxy can do to a connection.
type FaultKind int

const (
	// Cut resets both sides: what was under way is lost.
	Cut FaultKind = iota
	// Close ends both sides in order.
	Close
	// FreezeUp and FreezeDown hold the bytes of one direction back, Freeze both.
	FreezeUp
	FreezeDown
	Freeze
	// HalfUp ends the direction to the broker, HalfDown that to the client.
	HalfUp
	HalfDown
	// SlowUp and SlowDown let one direction trickle.
	SlowUp
	SlowDown

	faultKinds = int(SlowDown) + 1
)

// String names the kind.
func (k FaultKind) String() string {
	return [...]string{"cut", "close", "freeze up", "freeze down", "freeze", "half-close up", "half-close down", "slow up", "slow down"}[k]
}

// NewProxy listens on a free port of this machine. The target is set with Aim.
func NewProxy() (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("brokertest: proxy: %w", err)
	}
	p := &Proxy{listener: l, closing: make(chan struct{}), pipes: map[*pipe]struct{}{}}
	p.all.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens, as host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Aim sets where connections that come from now on go; "" refuses them.
func (p *Proxy) Aim(target string) { p.target.Store(&target) }

// Close cuts everything and returns when nothing of it runs any more.
func (p *Proxy) Close() {
	close(p.closing)
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.pipes {
		c.cut()
	}
	p.mu.Unlock()
	p.all.Wait()
}

// Counts tells how often each fault was brought about.
func (p *Proxy) Counts() map[string]int64 {
	m := map[string]int64{}
	for k := range faultKinds {
		m[FaultKind(k).String()] = p.count[k].Load()
	}
	return m
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		client := c.(*net.TCPConn)
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	defer client.Close()
	target := p.target.Load()
	if target == nil || *target == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", *target)
	cancel()
	if err != nil {
		return
	}
	server := c.(*net.TCPConn)
	defer server.Close()
	one := &pipe{client: client, server: server}
	p.mu.Lock()
	p.pipes[one] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.pipes, one)
	}()
	select {
	case <-p.closing:
		return
	default:
	}
	var both sync.WaitGroup
	both.Go(func() { p.carry(server, client, &one.up) })
	both.Go(func() { p.carry(client, server, &one.down) })
	both.Wait()
}

// carry copies one direction until it ends, and then ends it on the other side. A
// direction that is reset takes the other with it.
func (p *Proxy) carry(to, from *net.TCPConn, f *flow) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			part := len(b)
			if pause := f.pause.Load(); pause > 0 {
				part = min(part, 1<<10)
				if !p.sleep(time.Duration(pause)) {
					return
				}
			}
			for rest := f.rest.Load() - time.Now().UnixNano(); rest > 0; rest = f.rest.Load() - time.Now().UnixNano() {
				if !p.sleep(time.Duration(rest)) {
					return
				}
			}
			if _, err := to.Write(b[:part]); err != nil {
				_ = from.Close()
				return
			}
			b = b[part:]
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				_ = to.CloseWrite()
			} else {
				_ = to.Close()
			}
			return
		}
	}
}

func (p *Proxy) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.closing:
		return false
	}
}

func (c *pipe) cut() {
	// Linger 0 makes it a reset, so that bytes under way are lost.
	_ = c.client.SetLinger(0)
	_ = c.server.SetLinger(0)
	_ = c.client.Close()
	_ = c.server.Close()
}

// Break brings a fault of a kind about on at most n connections of rng's choice;
// d is how long it lasts, where it does. It returns how many it met.
func (p *Proxy) Break(rng *rand.Rand, kind FaultKind, n int, d time.Duration) int {
	p.mu.Lock()
	all := make([]*pipe, 0, len(p.pipes))
	for c := range p.pipes {
		all = append(all, c)
	}
	p.mu.Unlock()
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	all = all[:min(n, len(all))]
	for _, c := range all {
		c.suffer(kind, d)
	}
	p.count[kind].Add(int64(len(all)))
	return len(all)
}

// suffer brings one fault about. What is slow stays slow until it is broken
// otherwise or healed.
func (c *pipe) suffer(kind FaultKind, d time.Duration) {
	until := time.Now().Add(d).UnixNano()
	switch kind {
	case Cut:
		c.cut()
	case Close:
		_ = c.client.Close()
		_ = c.server.Close()
	case FreezeUp:
		c.up.rest.Store(until)
	case FreezeDown:
		c.down.rest.Store(until)
	case Freeze:
		c.up.rest.Store(until)
		c.down.rest.Store(until)
	case HalfUp:
		_ = c.server.CloseWrite()
	case HalfDown:
		_ = c.client.CloseWrite()
	case SlowUp:
		c.up.pause.Store(int64(slowPause))
	case SlowDown:
		c.down.pause.Store(int64(slowPause))
	}
}

// slowPause after each kilobyte is about 50 kB/s: slow, but not so slow that the
// broker takes it for dead.
const slowPause = 20 * time.Millisecond

// Heal ends all that lasts.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pipes {
		for _, f := range []*flow{&c.up, &c.down} {
			f.rest.Store(0)
			f.pause.Store(0)
		}
	}
}
