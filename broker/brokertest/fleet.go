package brokertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// fleet is what clients see of the nodes: a door to each, as behind a load balancer
// without sticky sessions.
type fleet struct {
	doors []*door
	// passed counts doors that a client was kept from or turned away at, nobody how
	// often none was left.
	passed, nobody atomic.Int64
}

// door is the way to one node, through a Proxy of its own where there are faults to
// be brought about.
type door struct {
	address string // what clients dial
	node    *Node  // nil: nobody looks after it
	proxy   *Proxy // nil: none between
	// unready is what the last look at /readyz said, or that there is no process.
	unready atomic.Bool
	// gone: the nemesis has taken the node away.
	gone atomic.Bool
}

// errRefused: nothing accepts connections where a node should be. A load balancer
// goes to the next.
var errRefused = errors.New("brokertest: fleet: connection refused")

// straight is the fleet of one node at address, with nothing between.
func straight(address string) *fleet {
	return &fleet{doors: []*door{{address: address}}}
}

// many reports whether there is a choice: with one node a client goes there
// whatever it says, and feels its death itself.
func (f *fleet) many() bool { return len(f.doors) > 1 }

// open reports whether the balancer sends anybody through a door.
func (f *fleet) open(d int) bool {
	return !f.many() || !f.doors[d].gone.Load() && !f.doors[d].unready.Load()
}

// dial connects to a door. What lies behind is tried first, because a Proxy takes
// every connection.
func (f *fleet) dial(ctx context.Context, d int) (net.Conn, error) {
	one := f.doors[d]
	var dialer net.Dialer
	if f.many() {
		if one.gone.Load() {
			return nil, errRefused
		}
		probe, err := dialer.DialContext(ctx, "tcp", one.node.Address())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errRefused, err)
		}
		_ = probe.Close()
	}
	return dialer.DialContext(ctx, "tcp", one.address)
}

// walk tries doors from the one whose turn it is, until try says that it went in.
// It reports whether one did.
func (f *fleet) walk(turn uint64, try func(door int) bool) bool {
	n := len(f.doors)
	for i := range n {
		if d := (int(turn%uint64(n)) + i) % n; f.open(d) && try(d) {
			return true
		}
		f.passed.Add(1)
	}
	f.nobody.Add(1)
	return false
}

// lookEvery is how often the balancer asks each node whether it is ready.
const lookEvery = 200 * time.Millisecond

// look keeps unready of a door until ctx ends.
func (d *door) look(ctx context.Context) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for rest(ctx, lookEvery) {
		d.unready.Store(!d.node.isReady(ctx, client))
	}
}

// isReady asks /readyz once.
func (n *Node) isReady(ctx context.Context, client *http.Client) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Address()+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := client.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
