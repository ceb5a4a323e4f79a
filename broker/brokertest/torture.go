package brokertest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// Config says what a torture does.
type Config struct {
	Binary string // the real broker
	Dir    string // an empty folder, for its data and log
	Seed   uint64 // of every choice that is made; the schedule of the machine is not one
	Length time.Duration
	// Kills is how often the broker is killed and started again meanwhile.
	Kills      int
	Channels   int
	Publishers int // a third over HTTP, over polling and over WebSocket
	Rate       int // publish requests a second, all told
	Joiners    int
	// Faults cuts, freezes and slows connections.
	Faults bool
	// RetryPublish: a publish over Bayeux that was not answered is sent again with
	// its id, and may be stored once only (decided.md 5).
	RetryPublish bool
	// Durable: sessions outlive the broker, so that one which kept connecting is
	// never unknown.
	Durable bool
	// Log hears what happens; nil: nobody.
	Log func(format string, args ...any)
}

// Hold is how long the broker of a torture holds a connect.
const Hold = 3 * time.Second

// Result is what a torture saw.
type Result struct {
	History  *History
	Lost     int              // sessions that the broker did not know any more
	Faults   map[string]int64 // what the network suffered
	Troubles []string         // answers that nothing explains, and the broker's own errors
}

// run is a torture under way.
type run struct {
	Config
	start    time.Time
	seed     uint64
	proxy    *Proxy
	node     *Node
	token    string
	channels []string
	every    time.Duration // between two publishes of one publisher
	hold     time.Duration
	tasks    sync.WaitGroup
	end      atomic.Pointer[ending] // once nothing more is published
	losses   []time.Duration        // owned by nemesis

	mu       sync.Mutex
	troubles []string
}

// ending is what joiners wait for at the end.
type ending struct {
	at       time.Duration
	newest   map[string]store.Position
	deadline time.Time
}

func (r *run) now() time.Duration { return time.Since(r.start) }

// rng is a source of choices of its own for each part of the run.
func (r *run) rng(part uint64) *rand.Rand { return rand.New(rand.NewPCG(r.seed, part)) }

// trouble notes an answer that nothing explains.
func (r *run) trouble(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.troubles) < 100 {
		r.troubles = append(r.troubles, fmt.Sprintf(format, args...))
	}
}

// Torture runs publishers and joiners against the real broker, breaks their
// connections, kills the broker, and returns what everybody saw, for Check. An
// error means that the run could not be made.
func Torture(ctx context.Context, c Config) (*Result, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	r := &run{Config: c, seed: c.Seed, hold: Hold, start: time.Now()}
	for i := range c.Channels {
		r.channels = append(r.channels, fmt.Sprintf("/torture/c%d", i))
	}
	r.every = time.Second * time.Duration(c.Publishers) / time.Duration(c.Rate)
	var err error
	if r.proxy, err = NewProxy(); err != nil {
		return nil, err
	}
	defer r.proxy.Close()
	if r.node, err = NewNode(c.Binary, c.Dir, "GOBELIN_BAYEUX_TIMEOUT="+Hold.String()); err != nil {
		return nil, err
	}
	defer r.node.Close()
	if err := r.startNode(ctx); err != nil {
		return nil, err
	}
	if r.token, err = r.node.Token(ctx); err != nil {
		return nil, err
	}
	return r.torture(ctx)
}

func (r *run) startNode(ctx context.Context) error {
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := r.node.Start(starting); err != nil {
		return err
	}
	r.proxy.Aim(r.node.Address())
	return nil
}

// torture is the run from the first publish to the last look at the history.
func (r *run) torture(ctx context.Context) (*Result, error) {
	everything, stop := context.WithCancel(ctx)
	defer stop()
	publishing, cease := context.WithTimeout(everything, r.Length)
	defer cease()
	publishers := make([]*publisher, r.Publishers)
	var senders sync.WaitGroup
	for i := range publishers {
		p := newPublisher(r, i)
		publishers[i] = p
		way := [...]func(until, ctx context.Context){p.overHTTP, p.overPolling, p.overSocket}[i%3]
		senders.Go(func() { way(publishing, everything) })
	}
	joiners := make([]*joiner, r.Joiners)
	var listeners sync.WaitGroup
	for i := range joiners {
		joiners[i] = newJoiner(r, i)
		listeners.Go(func() {
			// They come one after the other, the last in the middle of the run.
			if rest(everything, time.Duration(i)*r.Length/time.Duration(2*r.Joiners)) {
				joiners[i].listen(everything)
			}
		})
	}
	err := r.nemesis(publishing, everything)
	cease()
	r.proxy.Heal()
	senders.Wait()
	r.Log("publishers done after %v", r.now().Round(time.Millisecond))
	h := &History{Start: r.start, Losses: r.losses}
	if err == nil {
		h.Kept, err = r.readAll(everything)
	}
	if err == nil {
		last := map[string]store.Position{}
		for name, kept := range h.Kept {
			if len(kept) > 0 {
				last[name] = kept[len(kept)-1].ID
			}
		}
		r.end.Store(&ending{at: r.now(), newest: last, deadline: time.Now().Add(settling)})
		listeners.Wait()
	}
	stop()
	listeners.Wait()
	r.tasks.Wait()
	r.Log("joiners done after %v", r.now().Round(time.Millisecond))
	if err != nil {
		return nil, err
	}
	return r.result(h, publishers, joiners)
}

// settling is how long a session that stays may take to hear the rest.
const settling = 30 * time.Second

func (r *run) readAll(ctx context.Context) (map[string][]Kept, error) {
	all := map[string][]Kept{}
	for _, name := range r.channels {
		kept, err := readBack(ctx, r.node.Address(), name, "24h")
		if err != nil {
			return nil, err
		}
		all[name] = kept
	}
	return all, nil
}

func (r *run) result(h *History, publishers []*publisher, joiners []*joiner) (*Result, error) {
	res := &Result{History: h, Faults: r.proxy.Counts()}
	for _, p := range publishers {
		h.Publications = append(h.Publications, p.all...)
	}
	for _, j := range joiners {
		h.Sessions = append(h.Sessions, j.sessions...)
		res.Lost += j.lost
	}
	said, err := r.node.Troubles()
	res.Troubles = append(r.troubles, said...)
	return res, err
}

// nemesis breaks things until ctx ends, and heals the broker at last.
func (r *run) nemesis(ctx, all context.Context) error {
	rng := r.rng(1)
	kills := r.Kills
	for ctx.Err() == nil {
		if !rest(ctx, 100*time.Millisecond+time.Duration(rng.Int64N(int64(500*time.Millisecond)))) {
			break
		}
		// The kills are spread over the run.
		done := r.Kills - kills
		if kills > 0 && r.now() > r.Length*time.Duration(2*done+1)/time.Duration(2*r.Kills) {
			kills--
			if err := r.kill(all, rng); err != nil {
				return err
			}
			continue
		}
		if !r.Faults {
			continue
		}
		kind := FaultKind(rng.IntN(faultKinds))
		d := 100*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond)))
		if rng.IntN(4) == 0 {
			d = Hold + holdSlack + time.Second // longer than a client waits
		}
		n := r.proxy.Break(rng, kind, 1+rng.IntN(8), d)
		r.Log("%v: %v for %v on %d connections", r.now().Round(time.Millisecond), kind, d.Round(time.Millisecond), n)
		if rng.IntN(5) == 0 {
			r.proxy.Heal()
		}
	}
	return nil
}

func (r *run) kill(ctx context.Context, rng *rand.Rand) error {
	at := time.Now()
	r.node.Kill()
	r.losses = append(r.losses, r.now())
	r.proxy.Aim("")
	rest(ctx, time.Duration(rng.Int64N(int64(300*time.Millisecond))))
	if err := r.startNode(ctx); err != nil {
		return err
	}
	r.Log("%v: kill -9, ready again after %v", r.now().Round(time.Millisecond), time.Since(at).Round(time.Millisecond))
	return nil
}

// String is the report for people, in one line.
func (r *Result) String() string {
	text := fmt.Sprintf("%d sessions lost; network:", r.Lost)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		text += fmt.Sprintf(" %s %d,", name, r.Faults[name])
	}
	return strings.TrimSuffix(text, ",")
}
