package storetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// Dropper stands between clients and a Redis and does what networks do: it loses
// live messages, replies and connections, and it stops.
//
//	client ──► reader ──► server    each connection has two goroutines, ended by
//	client ◄── writer ◄── server    Cut, Close, or either side
//
// It reads the protocol, of version 2 and 3. Addresses that servers give away
// (Sentinel, Cluster) lead past it.
type Dropper struct {
	// Addr is where it listens, "127.0.0.1:12345".
	Addr string

	target   string
	listener net.Listener
	running  sync.WaitGroup
	dropped  atomic.Int64

	mu     sync.Mutex
	thawed *sync.Cond // of mu: frozen or closed has changed, or connections were cut
	links  map[*link]bool
	share  float64
	random *rand.Rand
	lose   []string // commands of which the next reply is lost
	mute   bool
	frozen bool
	closed bool
}

// link is one client's connection and the one to the server that it stands for.
type link struct {
	client, server net.Conn

	// guarded by Dropper.mu

	cut        bool
	subscribed bool     // replies are not matched with commands any more
	asked      []string // commands without a reply so far
}

// NewDropper listens on a free port of 127.0.0.1 and passes on to target,
// "127.0.0.1:6379", which need not be there yet.
func NewDropper(target string) (*Dropper, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("storetest: dropper: %w", err)
	}
	d := &Dropper{
		Addr: l.Addr().String(), target: target, listener: l,
		links: make(map[*link]bool), random: rand.New(rand.NewPCG(0, 0)),
	}
	d.thawed = sync.NewCond(&d.mu)
	d.running.Go(d.accept)
	return d, nil
}

// Drop loses from now on a share, from 0 to 1, of what the server publishes to
// subscribed connections: messages, not the confirmations of subscriptions. The
// same seed chooses in the same way.
func (d *Dropper) Drop(share float64, seed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.share, d.random = share, rand.New(rand.NewPCG(seed, 1))
}

// Dropped returns how many messages were lost so far.
func (d *Dropper) Dropped() int64 { return d.dropped.Load() }

// Mute loses from now on, or stops losing, all that the server says on subscribed
// connections, confirmations too: they are open, and deaf.
func (d *Dropper) Mute(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mute = on
}

// LoseReply loses the next reply to a command ("EVALSHA"; "": any), and with it the
// connection: the server has done it and the client cannot know. Each call loses
// one more. Commands on subscribed connections have no replies.
func (d *Dropper) LoseReply(command string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose = append(d.lose, strings.ToUpper(command))
}

// Cut ends all connections; new ones are taken.
func (d *Dropper) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for l := range d.links {
		d.end(l)
	}
}

// Freeze stops passing on in both directions, or goes on with it. While frozen,
// connections can be made and stay open; what comes waits.
func (d *Dropper) Freeze(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.frozen = on
	d.thawed.Broadcast()
}

// Close ends all connections and the listening, and waits for its goroutines.
func (d *Dropper) Close() error {
	d.mu.Lock()
	d.closed = true
	for l := range d.links {
		d.end(l)
	}
	d.thawed.Broadcast()
	d.mu.Unlock()
	err := d.listener.Close()
	d.running.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("storetest: dropper: %w", err)
	}
	return nil
}

// end closes both sides of a link; mu is held.
func (d *Dropper) end(l *link) {
	l.cut = true
	delete(d.links, l)
	_ = l.client.Close()
	_ = l.server.Close()
	d.thawed.Broadcast()
}

func (d *Dropper) accept() {
	for {
		client, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.running.Go(func() { d.link(client) })
	}
}

// link connects a client with the server, until either goes.
func (d *Dropper) link(client net.Conn) {
	server, err := net.Dial("tcp", d.target)
	if err != nil {
		_ = client.Close()
		return
	}
	l := &link{client: client, server: server}
	d.mu.Lock()
	d.links[l] = true
	if d.closed {
		d.end(l)
	}
	d.mu.Unlock()
	d.running.Go(func() { d.pass(l, client, server, d.request) })
	d.pass(l, server, client, d.answer)
}

// pass hands frames on from one side to the other. look says whether to.
func (d *Dropper) pass(l *link, from io.Reader, to io.Writer, look func(*link, frame) bool) {
	r := bufio.NewReader(from)
	for {
		f, err := readFrame(r)
		if err != nil {
			break
		}
		d.mu.Lock()
		for d.frozen && !d.closed && !l.cut {
			d.thawed.Wait()
		}
		on := look(l, f)
		gone := l.cut
		d.mu.Unlock()
		if gone {
			return
		}
		if !on {
			continue
		}
		if _, err := to.Write(f.raw); err != nil {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(l)
}

// request notes a client's command; mu is held.
func (d *Dropper) request(l *link, f frame) bool {
	if len(f.texts) == 0 {
		return true
	}
	name := strings.ToUpper(f.texts[0])
	if strings.HasSuffix(name, "SUBSCRIBE") {
		l.subscribed, l.asked = true, nil
	}
	if !l.subscribed {
		l.asked = append(l.asked, name)
	}
	return true
}

// answer decides on what the server says; mu is held.
func (d *Dropper) answer(l *link, f frame) bool {
	if l.subscribed && d.mute {
		return false
	}
	if message(l, f) {
		if d.random.Float64() < d.share {
			d.dropped.Add(1)
			return false
		}
		return true
	}
	if f.kind == '>' || l.subscribed || len(l.asked) == 0 {
		return true
	}
	name := l.asked[0]
	l.asked = l.asked[1:]
	for i, lost := range d.lose {
		if lost == "" || lost == name {
			d.lose = append(d.lose[:i:i], d.lose[i+1:]...)
			d.end(l)
			return false
		}
	}
	return true
}

// message reports whether f is something published, and no confirmation or reply.
func message(l *link, f frame) bool {
	if f.kind != '>' && !(f.kind == '*' && l.subscribed) || len(f.texts) < 3 {
		return false
	}
	switch f.texts[0] {
	case "message", "smessage", "pmessage":
		return true
	}
	return false
}
