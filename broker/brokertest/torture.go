package brokertest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
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
	Dir    string // an empty folder, for its data and logs
	Seed   uint64 // of every choice that is made; the schedule of the machine is not one
	Length time.Duration
	// Nodes on Backend; nil: one with a disk store of its own.
	Nodes   int
	Backend *Backend
	// Kills is how often a node is killed and started again meanwhile.
	Kills int
	// StoreKills, Freezes, CutOffs, Rolls, Failovers and Moves are how often the
	// store is killed, stands still for FreezeTime, is taken from one node for
	// CutTime, how often all nodes are stopped in order and started one by one, and
	// how often the store fails over or moves a part of itself.
	StoreKills, Freezes, CutOffs, Rolls, Failovers, Moves int
	FreezeTime, CutTime                                   time.Duration
	// FeedKills cuts the pub/sub connections all the time.
	FeedKills  bool
	Channels   int
	Publishers int // a third over HTTP, over polling and over WebSocket
	Rate       int // publish requests a second, all told
	Joiners    int
	// Polling keeps joiners from WebSockets: each of their requests goes to another
	// node.
	Polling bool
	// Faults cuts, freezes and slows connections of clients.
	Faults bool
	// Patience is how long a client waits for an answer that is not held; 0: 4 s. For
	// one that is held it waits a quarter of that longer.
	Patience time.Duration
	// RetryPublish: a publish over Bayeux that was not answered is sent again with
	// its id, and may be stored once only (decided.md 5).
	RetryPublish bool
	// Durable: sessions outlive the broker, so that one which kept connecting is
	// never unknown.
	Durable bool
	// Beside is called once, with the addresses of the doors, and runs until ctx ends, as
	// the publishers do; nil: nothing.
	Beside func(ctx context.Context, doors []string)
	// Log hears what happens; nil: nobody.
	Log func(format string, args ...any)
	// Trace gets a line for each thing that joiners ask and get, to find out how a
	// fault came about; nil: nobody.
	Trace io.Writer
}

// Hold is how long the broker of a torture holds a connect.
const Hold = 3 * time.Second

// away is how long, beyond Hold, a session of many nodes waits for its client: longer
// than the store may stand still.
const away = 30 * time.Second

// Result is what a torture saw.
type Result struct {
	History  *History
	Lost     int              // sessions that the broker did not know any more
	Faults   map[string]int64 // what the network suffered
	Troubles []string         // answers that nothing explains, and the broker's own errors
	// Unready is how long each node that was cut off took to say so, Recoveries how
	// long all nodes took to be ready after each trouble of the store.
	Unready, Recoveries []time.Duration
	// Forks is what the nodes counted themselves.
	Forks int
	// Gap is the longest time for which a joiner's session had neither an answer nor
	// a delivery, Slowest the longest that a publish took that was answered.
	Gap, Slowest time.Duration
}

// run is a torture under way.
type run struct {
	Config
	start    time.Time
	seed     uint64
	fleet    *fleet
	token    string
	channels []string
	every    time.Duration // between two publishes of one publisher
	hold     time.Duration
	slack    time.Duration // how much longer than it is held a connect is waited for
	patience time.Duration
	life     time.Duration // of a session that does not connect
	tasks    sync.WaitGroup
	end      atomic.Pointer[ending] // once nothing more is published
	slowest  atomic.Int64           // ns

	// owned by nemesis
	losses              []Loss
	forks               []Fork
	unready, recoveries []time.Duration
	feedKills           int64 // by the goroutine that does it

	mu       sync.Mutex // guards Trace, too
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

// trace notes one step of a joiner.
func (r *run) trace(who, format string, args ...any) {
	if r.Trace == nil {
		return
	}
	line := fmt.Sprintf("%v %s %s\n", r.now().Round(100*time.Microsecond), who, fmt.Sprintf(format, args...))
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = io.WriteString(r.Trace, line) // whoever reads it sees that it ends
}

// Torture runs publishers and joiners against the real broker, breaks their
// connections, kills the broker, and returns what everybody saw, for Check. An
// error means that the run could not be made.
func Torture(ctx context.Context, c Config) (*Result, error) {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	r := &run{Config: c, seed: c.Seed, hold: Hold, start: time.Now(), life: 2 * Hold, fleet: &fleet{}}
	r.patience = cmp.Or(c.Patience, answerTime)
	r.slack = r.patience / 4
	for i := range c.Channels {
		r.channels = append(r.channels, fmt.Sprintf("/torture/c%d", i))
	}
	r.every = time.Second * time.Duration(c.Publishers) / time.Duration(c.Rate)
	defer r.close()
	if err := r.prepare(); err != nil {
		return nil, err
	}
	for _, one := range r.fleet.doors {
		if err := r.startNode(ctx, one); err != nil {
			return nil, err
		}
	}
	var err error
	if r.token, err = r.fleet.doors[0].node.Token(ctx); err != nil {
		return nil, err
	}
	return r.torture(ctx)
}

// prepare makes the nodes and the doors to them.
func (r *run) prepare() error {
	env := []string{"GOBELIN_BAYEUX_TIMEOUT=" + Hold.String()}
	config := ""
	if r.Backend != nil {
		var err error
		if config, err = writeKeys(r.Dir); err != nil {
			return err
		}
		env = append(env, "GOBELIN_BAYEUX_MAX_INTERVAL="+away.String(), "GOBELIN_DRAIN_TIME=2s", "GOBELIN_LOG_LEVEL="+cmp.Or(os.Getenv("TORTURE_LOG"), "info"))
		r.life = Hold + away
	}
	for n := range max(1, r.Nodes) {
		dir, one := r.Dir, &door{}
		env := append(slices.Clip(env), "GOBELIN_NODE_ID="+nodeName(n))
		r.fleet.doors = append(r.fleet.doors, one)
		var err error
		if one.proxy, err = NewProxy(); err != nil {
			return err
		}
		one.address = one.proxy.Address()
		if r.Backend == nil {
			one.node, err = NewNode(r.Binary, dir, env...)
		} else {
			dir = filepath.Join(dir, fmt.Sprint("node", n))
			if err = os.Mkdir(dir, 0o700); err == nil {
				one.node, err = NewSharedNode(r.Binary, dir, config, r.Backend.URL(n), env...)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *run) close() {
	for _, one := range r.fleet.doors {
		if one.node != nil {
			one.node.Close()
		}
		if one.proxy != nil {
			one.proxy.Close()
		}
	}
}

// startNode starts a node and opens its door. With a shared store a start may fail
// because of that store's troubles: it is tried again, as a supervisor does.
func (r *run) startNode(ctx context.Context, one *door) error {
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := one.node.Start(starting)
		if err == nil {
			break
		}
		if r.Backend == nil || !rest(starting, time.Second) {
			return err
		}
		r.Log("%v: %v", r.now().Round(time.Millisecond), err)
	}
	one.proxy.Aim(one.node.Address())
	one.unready.Store(false)
	one.gone.Store(false)
	return nil
}

// torture is the run from the first publish to the last look at the history.
func (r *run) torture(ctx context.Context) (*Result, error) {
	everything, stop := context.WithCancel(ctx)
	defer stop()
	publishing, cease := context.WithTimeout(everything, r.Length)
	defer cease()
	if r.fleet.many() {
		for _, one := range r.fleet.doors {
			r.tasks.Go(func() { one.look(everything) })
		}
	}
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
	if r.Beside != nil {
		var doors []string
		for _, one := range r.fleet.doors {
			doors = append(doors, one.address)
		}
		senders.Go(func() { r.Beside(publishing, doors) })
	}
	err := r.nemesis(publishing, everything)
	cease()
	for _, one := range r.fleet.doors {
		one.proxy.Heal()
	}
	senders.Wait()
	r.Log("publishers done after %v", r.now().Round(time.Millisecond))
	h := &History{Start: r.start, Losses: r.losses, Forks: r.forks}
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
	return r.result(ctx, h, publishers, joiners)
}

// settling is how long a session that stays may take to hear the rest.
const settling = 30 * time.Second

// readAll reads the history of all channels from the first node, once that is ready: what
// was killed last may just have been started.
func (r *run) readAll(ctx context.Context) (map[string][]Kept, error) {
	ready, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	client := &http.Client{Timeout: answerTime, Transport: &http.Transport{DisableKeepAlives: true}}
	for !r.fleet.doors[0].node.isReady(ready, client) && rest(ready, 20*time.Millisecond) {
	}
	all := map[string][]Kept{}
	for _, name := range r.channels {
		kept, err := readBack(ctx, r.fleet.doors[0].node.Address(), name, "24h")
		for err != nil && rest(ready, retryPause) { // a node that is busy says 503
			kept, err = readBack(ctx, r.fleet.doors[0].node.Address(), name, "24h")
		}
		if err != nil {
			return nil, err
		}
		all[name] = kept
	}
	return all, nil
}

func (r *run) result(ctx context.Context, h *History, publishers []*publisher, joiners []*joiner) (*Result, error) {
	res := &Result{
		History: h, Faults: map[string]int64{}, Unready: r.unready, Recoveries: r.recoveries,
		Slowest: time.Duration(r.slowest.Load()), Troubles: r.troubles,
	}
	for name, n := range map[string]int64{
		"feeds killed": r.feedKills, "nodes passed over": r.fleet.passed.Load(), "requests without a node": r.fleet.nobody.Load(),
	} {
		if n > 0 {
			res.Faults[name] = n
		}
	}
	for _, p := range publishers {
		h.Publications = append(h.Publications, p.all...)
	}
	taken, err := r.takenForDead()
	if err != nil {
		return nil, err
	}
	if len(taken) > 0 {
		res.Faults["nodes taken for dead"] = int64(len(taken))
		h.Losses = append(h.Losses, taken...)
	}
	for _, j := range joiners {
		h.Sessions = append(h.Sessions, j.sessions...)
		res.Lost += j.lost
		for _, s := range j.sessions {
			res.Gap = max(res.Gap, s.Gap)
		}
	}
	for _, one := range r.fleet.doors {
		for name, n := range one.proxy.Counts() {
			res.Faults[name] += n
		}
		said, err := one.node.Troubles()
		if err != nil {
			return nil, err
		}
		res.Troubles = append(res.Troubles, said...)
		if r.fleet.many() {
			for name, metric := range counted {
				n, err := one.node.Metric(ctx, metric)
				if err != nil {
					return nil, err
				}
				if n > 0 {
					res.Faults[name] += int64(n)
				}
			}
		}
		if r.Failovers > 0 {
			forks, err := one.node.Metric(ctx, "gobelin_history_forks_total")
			if err != nil {
				return nil, err
			}
			res.Forks += int(forks)
		}
	}
	return res, nil
}

// counted are figures of the nodes that a report tells, since they last started.
var counted = map[string]string{
	"late polls": "gobelin_late_polls_total", "unanswered letters": "gobelin_unanswered_letters_total", "errands again": "gobelin_repeated_errands_total",
}

// String is the report for people, in one line.
func (r *Result) String() string {
	round := func(all ...time.Duration) []time.Duration {
		for i := range all {
			all[i] = all[i].Round(time.Millisecond)
		}
		return all
	}
	text := fmt.Sprintf("%d sessions lost; longest silence %v, slowest publish %v; not ready after %v, recovered after %v, %d forks; network:",
		r.Lost, round(r.Gap)[0], round(r.Slowest)[0], round(slices.Clone(r.Unready)...), round(slices.Clone(r.Recoveries)...), r.Forks)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		text += fmt.Sprintf(" %s %d,", name, r.Faults[name])
	}
	return strings.TrimSuffix(text, ",")
}
