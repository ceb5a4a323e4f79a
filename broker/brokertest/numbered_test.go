package brokertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dying is how links die while numbers are heard over them: TORTURE_CUTS says how
// often, TORTURE_KILLS how many nodes go with them.
type dying struct {
	nodes   []*Node
	proxies []*Proxy
	down    []atomic.Bool
	turn    atomic.Uint64
	unsure  float64 // batches of which nothing could be written first; owned by killNodes
	plain   bool    // without the ack extension, over polls, whose peers reset
}

func (d *dying) add(t *testing.T, n *Node) {
	p, err := NewProxy()
	require.NoError(t, err)
	t.Cleanup(p.Close)
	require.NoError(t, n.Start(t.Context()))
	t.Cleanup(n.Close)
	p.Aim(n.Address())
	d.nodes, d.proxies, d.down = append(d.nodes, n), append(d.proxies, p), make([]atomic.Bool, len(d.nodes)+1)
}

// dial goes to the next node that is there, as a load balancer does.
func (d *dying) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	for range d.nodes {
		if n := int(d.turn.Add(1)) % len(d.nodes); !d.down[n].Load() {
			return new(net.Dialer).DialContext(ctx, network, d.proxies[n].Address())
		}
	}
	return nil, errRefused
}

// hearer is one client with the ack extension, and the numbers that it has heard.
type hearer struct {
	name   string
	client *client.Client

	// mu guards heard.
	mu    sync.Mutex
	heard map[string][]int
}

func (h *hearer) hear(m client.Message) {
	var n int
	if json.Unmarshal(m.Data, &n) == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.heard[m.Channel] = append(h.heard[m.Channel], n)
	}
}

func (h *hearer) count(channel string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.heard[channel])
}

func (d *dying) listen(t *testing.T, transport string, i int, channels ...string) *hearer {
	h := &hearer{name: fmt.Sprint(transport, " ", i), heard: map[string][]int{}}
	c, err := client.New(client.Options{
		URL: "http://gobelin/faye", Transport: transport, Dial: d.dial, Ack: !d.plain,
		MinRetry: 20 * time.Millisecond, MaxRetry: 200 * time.Millisecond, Timeout: 2 * time.Second, Ping: 500 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	h.client = c
	for _, channel := range channels {
		_, err := c.Subscribe(t.Context(), channel, h.hear)
		require.NoError(t, err)
	}
	return h
}

// publish says rising numbers on each channel until ctx ends, each until it is taken, and
// returns how many.
func (d *dying) publish(ctx context.Context, t *testing.T, n *Node, channels []string) (said int) {
	c, err := client.New(client.Options{URL: "http://" + n.Address() + "/faye", MinRetry: 20 * time.Millisecond, MaxRetry: 200 * time.Millisecond})
	require.NoError(t, err)
	defer func() { _ = c.Close(context.Background()) }()
	for ; ctx.Err() == nil; said++ {
		for _, channel := range channels {
			_, err := c.Publish(t.Context(), channel, said)
			require.NoError(t, err)
		}
		rest(ctx, 3*time.Millisecond)
	}
	return said
}

// breakLinks breaks as many links as it is told to.
func (d *dying) breakLinks(t *testing.T, rng *rand.Rand, cuts int) {
	kinds := []FaultKind{Cut, Cut, Cut, Close, Freeze, FreezeUp, FreezeDown, HalfUp, HalfDown, SlowDown}
	if d.plain {
		kinds = []FaultKind{Cut}
	}
	broken := 0
	for broken < cuts {
		p := d.proxies[rng.IntN(len(d.proxies))]
		kind := kinds[rng.IntN(len(kinds))]
		broken += p.Break(rng, kind, 1+rng.IntN(3), time.Duration(100+rng.IntN(1500))*time.Millisecond)
		rest(t.Context(), time.Duration(20+rng.IntN(150))*time.Millisecond)
		if rng.IntN(4) == 0 {
			p.Heal()
		}
	}
	for _, p := range d.proxies {
		p.Heal()
	}
}

// killNodes kills all nodes but the first, one after the other, and starts them again.
func (d *dying) killNodes(t *testing.T, kills int, over <-chan struct{}) {
	for k := range kills {
		select {
		case <-over:
			return
		case <-time.After(2 * time.Second):
		}
		n := 1 + k%(len(d.nodes)-1)
		d.noteUnsure(t, n)
		d.down[n].Store(true)
		d.nodes[n].Kill()
		rest(t.Context(), 300*time.Millisecond)
		if !assert.NoError(t, d.nodes[n].Start(t.Context())) {
			return
		}
		d.proxies[n].Aim(d.nodes[n].Address())
		d.down[n].Store(false)
	}
}

// noteUnsure adds what node n counted of batches that it could not write down first.
func (d *dying) noteUnsure(t *testing.T, n int) {
	unsure, err := d.nodes[n].Metric(t.Context(), "gobelin_unsure_batches_total")
	assert.NoError(t, err)
	d.unsure += unsure
}

func fromEnv(t *testing.T, name string, otherwise int) int {
	if text := os.Getenv(name); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err, name)
		return n
	}
	return otherwise
}

// hold is short, so that a poll on a dead link is given up soon.
const hold = "GOBELIN_BAYEUX_TIMEOUT=2s"

// TestAckOnADyingLink: bayeux-cometd.md §2.1. Over links that are cut, frozen and
// half-closed at random, nothing is lost, nothing comes twice, all is in order; also not to
// the client itself, which could tell by the ids.
func TestAckOnADyingLink(t *testing.T) {
	d := &dying{}
	n, err := NewNode(RealBinary(t), t.TempDir(), hold, "GOBELIN_BAYEUX_MAX_INTERVAL=1m")
	require.NoError(t, err)
	d.add(t, n)
	d.run(t, fromEnv(t, "TORTURE_CUTS", 40), 0)
}

// TestAckOverDyingNodes is the same with three nodes on one Redis, of which two are killed
// again and again. What a node could not write down before it died the client knows by
// its id.
func TestAckOverDyingNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the real binary")
	}
	binary, server := RealBinary(t), storetest.StartRedis(t, "--appendfsync", "always")
	keys, err := writeKeys(t.TempDir())
	require.NoError(t, err)
	d := &dying{}
	for range 3 {
		n, err := NewSharedNode(binary, t.TempDir(), keys, "redis://"+server.Addr, hold, "GOBELIN_BAYEUX_MAX_INTERVAL=1m")
		require.NoError(t, err)
		d.add(t, n)
	}
	d.run(t, fromEnv(t, "TORTURE_CUTS", 30), fromEnv(t, "TORTURE_KILLS", 3))
}

// TestPollsWhosePeersReset: bayeux-cometd.md §0.3. Without the extension nothing is lost
// either, over polls whose peers reset; what came twice the client knows by its id.
func TestPollsWhosePeersReset(t *testing.T) {
	d := &dying{plain: true}
	n, err := NewNode(RealBinary(t), t.TempDir(), hold, "GOBELIN_BAYEUX_MAX_INTERVAL=1m")
	require.NoError(t, err)
	d.add(t, n)
	d.run(t, fromEnv(t, "TORTURE_CUTS", 40), 0)
}

func (d *dying) run(t *testing.T, cuts, kills int) {
	seed := uint64(fromEnv(t, "TORTURE_SEED", int(time.Now().UnixNano()&0xffffffff)))
	t.Logf("TORTURE_SEED=%d", seed)
	channels := []string{"/open/a", "/open/b"}
	var all []*hearer
	for i := range 3 {
		all = append(all, d.listen(t, client.LongPolling, i, channels...))
		if !d.plain {
			all = append(all, d.listen(t, client.WebSocket, i, channels...))
		}
	}
	all = append(all, d.listen(t, client.LongPolling, 9, "/open/**"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var said int
	var publishing, killing sync.WaitGroup
	publishing.Go(func() { said = d.publish(ctx, t, d.nodes[0], channels) })
	over := make(chan struct{})
	killing.Go(func() { d.killNodes(t, kills, over) })
	d.breakLinks(t, rand.New(rand.NewPCG(seed, 1)), cuts)
	if kills == 0 {
		close(over)
	}
	killing.Wait()
	stop()
	publishing.Wait()
	for n := range d.nodes {
		d.noteUnsure(t, n)
	}
	for _, h := range all {
		for _, channel := range channels {
			require.Eventually(t, func() bool { return h.count(channel) >= said }, 30*time.Second, 50*time.Millisecond,
				"%s: %d of %d on %s", h.name, h.count(channel), said, channel)
		}
	}
	var links, repeats int64
	for _, h := range all {
		h.mu.Lock()
		for _, channel := range channels {
			for i, n := range h.heard[channel] {
				require.Equal(t, i, n, "%s: not in order on %s", h.name, channel)
			}
		}
		h.mu.Unlock()
		st := h.client.Stats()
		links += st.Links
		repeats += st.Repeats
		assert.Equal(t, int64(1), st.Handshakes, "%s: its session was lost", h.name)
	}
	if !d.plain && d.unsure == 0 {
		assert.Zero(t, repeats, "clients had to drop what came twice")
	}
	t.Logf("%d numbers on each channel to %d clients over %d links; %d came twice and were known by their ids; %v batches unsure; faults: %v", said, len(all), links, repeats, d.unsure, d.proxies[0].Counts())
}
