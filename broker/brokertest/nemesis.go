package brokertest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Bounds of what the nemesis does and waits for.
const (
	// feedsKilled is how often pub/sub connections are cut, where they are.
	feedsKilled = 40 * time.Millisecond
	// recovery is how long nodes may take until they are ready after a fault has
	// passed; later is a trouble.
	recovery = 30 * time.Second
	// tailLost is how long the replica hears nothing before the primary dies.
	tailLost = 700 * time.Millisecond
	// orderly bounds an orderly stop.
	orderly = 30 * time.Second
)

// event is one thing the nemesis does, alone.
type event struct {
	name string
	do   func(ctx context.Context, rng *rand.Rand) error
}

// events returns what is going to happen, in the order in which it does.
func (r *run) events(rng *rand.Rand) []event {
	var all []event
	add := func(n int, name string, do func(ctx context.Context, rng *rand.Rand) error) {
		for range n {
			all = append(all, event{name, do})
		}
	}
	add(r.Kills, "kill -9 of a node", r.kill)
	add(r.StoreKills, "kill -9 of the store", r.killStore)
	add(r.Freezes, "the store stands still", r.freeze)
	add(r.CutOffs, "a node is cut off from the store", r.cutOff)
	add(r.Rolls, "every node is stopped and started, one by one", r.roll)
	add(r.Failovers, "failover, the tail is lost", r.failover)
	add(r.Moves, "a part of the store moves", r.move)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// nemesis breaks things until ctx ends, and heals the nodes at last.
func (r *run) nemesis(ctx, all context.Context) error {
	var small sync.WaitGroup
	if r.Faults {
		small.Go(func() { r.breakLinks(ctx) })
	}
	if r.FeedKills {
		small.Go(func() { r.killFeeds(ctx) })
	}
	defer small.Wait()
	rng := r.rng(1)
	events := r.events(rng)
	for i, e := range events {
		// They are spread over the run.
		at := r.Length * time.Duration(2*i+1) / time.Duration(2*len(events))
		if !rest(ctx, at-r.now()) {
			break
		}
		begun := r.now()
		if err := e.do(all, rng); err != nil {
			return err
		}
		r.Log("%v: %s, passed after %v", begun.Round(time.Millisecond), e.name, (r.now() - begun).Round(time.Millisecond))
	}
	<-ctx.Done()
	return nil
}

// breakLinks breaks connections of clients.
func (r *run) breakLinks(ctx context.Context) {
	rng := r.rng(2)
	for rest(ctx, 100*time.Millisecond+time.Duration(rng.Int64N(int64(500*time.Millisecond)))) {
		kind := FaultKind(rng.IntN(faultKinds))
		d := 100*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond)))
		if rng.IntN(4) == 0 {
			d = Hold + r.slack + time.Second // longer than a client waits
		}
		one := r.fleet.doors[rng.IntN(len(r.fleet.doors))]
		n := one.proxy.Break(rng, kind, 1+rng.IntN(8), d)
		r.Log("%v: %v for %v on %d connections", r.now().Round(time.Millisecond), kind, d.Round(time.Millisecond), n)
		if rng.IntN(5) == 0 {
			one.proxy.Heal()
		}
	}
}

func (r *run) killFeeds(ctx context.Context) {
	for rest(ctx, feedsKilled) {
		// Between a kill of the store and its start there is nobody to ask.
		if r.Backend.KillFeeds() == nil {
			r.feedKills++
		}
	}
}

// loss notes that what node n held, or all nodes with -1, may have been lost
// between from and now.
func (r *run) loss(n int, from time.Duration) {
	r.losses = append(r.losses, Loss{Node: n, From: from, To: r.now()})
}

func (r *run) kill(ctx context.Context, rng *rand.Rand) error {
	n := rng.IntN(len(r.fleet.doors))
	one := r.fleet.doors[n]
	one.node.Kill()
	r.loss(n, r.now())
	one.gone.Store(true)
	one.proxy.Aim("")
	rest(ctx, time.Duration(rng.Int64N(int64(300*time.Millisecond))))
	return r.startNode(ctx, one)
}

// recovered waits until every node is ready again.
func (r *run) recovered(ctx context.Context, after string) {
	begun := r.now()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for n, one := range r.fleet.doors {
		for !one.node.isReady(ctx, client) && ctx.Err() == nil {
			if r.now()-begun > recovery {
				r.trouble("node %d is not ready %v after %s", n, recovery, after)
				return
			}
			rest(ctx, 20*time.Millisecond)
		}
	}
	r.recoveries = append(r.recoveries, r.now()-begun)
}

func (r *run) killStore(ctx context.Context, rng *rand.Rand) error {
	from := r.now()
	if err := r.Backend.Kill(); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	rest(ctx, 100*time.Millisecond+time.Duration(rng.Int64N(int64(1500*time.Millisecond))))
	if err := r.Backend.Restart(); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	r.recovered(ctx, "the store was back")
	r.loss(everyNode, from)
	return nil
}

func (r *run) freeze(ctx context.Context, _ *rand.Rand) error {
	from := r.now()
	if err := r.Backend.Freeze(); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	rest(ctx, r.FreezeTime)
	if err := r.Backend.Thaw(); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	r.recovered(ctx, "the store went on")
	r.loss(everyNode, from)
	return nil
}

// cutOff takes the store away from one node, and notes when that node says so.
func (r *run) cutOff(ctx context.Context, rng *rand.Rand) error {
	n := rng.IntN(len(r.fleet.doors))
	from := r.now()
	if err := r.Backend.CutOff(n, true); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	// Its word counts, not that it is slow to give it.
	client := &http.Client{Timeout: r.CutTime, Transport: &http.Transport{DisableKeepAlives: true}}
	for r.fleet.doors[n].node.isReady(ctx, client) && r.now()-from < r.CutTime && rest(ctx, 10*time.Millisecond) {
	}
	r.unready = append(r.unready, r.now()-from)
	rest(ctx, from+r.CutTime-r.now())
	if err := r.Backend.CutOff(n, false); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	r.recovered(ctx, "it had the store again")
	r.loss(n, from)
	return nil
}

// roll stops every node in order and starts it again, one by one. Nothing counts as
// lost: that is what the order is for.
func (r *run) roll(ctx context.Context, _ *rand.Rand) error {
	for n, one := range r.fleet.doors {
		stopping, cancel := context.WithTimeout(ctx, orderly)
		err := one.node.Stop(stopping)
		cancel()
		if err != nil {
			r.trouble("node %d: %v", n, err)
		}
		one.gone.Store(true)
		one.proxy.Aim("")
		if err := r.startNode(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// failover loses what the store acknowledged after its replica was cut off.
func (r *run) failover(ctx context.Context, _ *rand.Rand) error {
	from := r.now()
	err := r.Backend.CutReplica()
	rest(ctx, tailLost)
	if err == nil {
		err = r.Backend.Failover()
	}
	if err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	r.recovered(ctx, "the failover")
	r.loss(everyNode, from)
	r.forks = append(r.forks, Fork{From: from, To: r.now()})
	return nil
}

func (r *run) move(context.Context, *rand.Rand) error {
	if err := r.Backend.Move(); err != nil {
		return fmt.Errorf("brokertest: nemesis: %w", err)
	}
	return nil
}
