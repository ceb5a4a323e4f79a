package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// wanderer is a session that goes about between nodes that come and go.
type wanderer struct {
	*peer
	rng    *rand.Rand
	nodes  []*bench
	last   string   // its newest connect, for when the answer was lost
	acks   bool     // it has the ack extension
	batch  string   // and has had the answer of that number
	lossy  bool     // answers are lost now and then
	fresh  bool     // and it says so in another connect, as CometD's client does
	lost   int      // answers in a row; a server does not repeat one without end
	given  []string // connects that were answered, of which copies may be on their way
	denied int
	drop   string // its newest unsubscribe
}

// connect goes to some node. An answer that is lost takes its deliveries along; the
// client then sends the same connect again, perhaps elsewhere.
func (w *wanderer) connect(hold int) {
	w.x.t.Helper()
	if w.last == "" {
		ext := ""
		if w.acks {
			ext = fmt.Sprintf(`,"ext":{"ack":%s}`, w.batch)
		}
		w.last = w.message("/meta/connect", fmt.Sprintf(`,"connectionType":"long-polling","advice":{"timeout":%d}`+ext, hold))
	}
	had := len(w.inbox)
	r := w.at(w.nodes[w.rng.IntN(len(w.nodes))], w.last)
	switch {
	case !r.ok():
		require.Equal(w.x.t, "503::Service unavailable", r.Error)
		w.denied++ // over HTTP it says 503, too, so the same connect is sent again
		time.Sleep(100 * time.Millisecond)
	case w.lossy && w.lost < 2 && w.rng.IntN(8) == 0:
		w.lost++
		w.inbox = w.inbox[:had]
		switch {
		case w.acks && w.rng.IntN(2) == 0:
			w.last = "" // another connect, as CometD's client sends it
		case w.fresh:
			w.last = w.message("/meta/connect", `,"connectionType":"long-polling","advice":{"timeout":0}`)
		}
	default:
		w.given, w.last, w.lost = append(w.given, w.last), "", 0
		if r.Ext.Ack != nil {
			w.batch = string(r.Ext.Ack)
		}
	}
	if w.lossy && len(w.given) > 0 && w.rng.IntN(6) == 0 {
		w.copied()
	}
}

// copied sends a connect that was answered once more, by a connection that is gone: its
// answer is lost.
func (w *wanderer) copied() {
	had := len(w.inbox)
	old := w.given[max(0, len(w.given)-1-w.rng.IntN(3))]
	r := w.at(w.nodes[w.rng.IntN(len(w.nodes))], old)
	require.True(w.x.t, r.ok() || r.Error == "503::Service unavailable", r.Error)
	w.inbox = w.inbox[:had]
}

// changes drops a subscription in some rounds, and takes it again some rounds later: what was
// said meanwhile is due. Of what dropped it a copy comes late, and undoes nothing.
func (w *wanderer) changes(round int, channel string) {
	ask := func(message string) {
		for !w.at(w.nodes[w.rng.IntN(len(w.nodes))], message).ok() {
			time.Sleep(100 * time.Millisecond)
		}
	}
	what := fmt.Sprintf(`,"subscription":%q`, channel)
	switch round % 12 {
	case 5:
		w.drop = w.message("/meta/unsubscribe", what)
		ask(w.drop)
	case 8:
		ask(w.message("/meta/subscribe", what))
	case 10:
		ask(w.drop)
	}
}

// TestMovesAtRandom publishes while sessions go about, by name, by wildcard and with
// catch-ups, with queues that are often too short and answers that are lost, between
// nodes that stop and, for odd seeds, die. Copies of connects come late. GOBELIN_SEEDS says
// how many.
func TestMovesAtRandom(t *testing.T) {
	seeds := uint64(8)
	if n, err := strconv.ParseUint(os.Getenv("GOBELIN_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { movesAtRandom(t, seed, false) })
		})
		// With the ack extension answers are lost and nodes die, and nothing comes twice.
		t.Run(fmt.Sprint("ack, seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { movesAtRandom(t, seed, true) })
		})
	}
}

const (
	movesPast = 30 // messages on each channel before
	movesLive = 40 // that each node publishes on each channel
)

var movesOn = []string{"chat", "comments", "reactions"}

func movesAtRandom(t *testing.T, seed uint64, acks bool) {
	rng := rand.New(rand.NewPCG(seed, 1))
	nodes := newFleetWith(t, 4, func(_ *Options, bo *bayeux.Options) {
		bo.Limits.QueueMessages = 4 + rng.IntN(60)
	})
	root := nodes[0].root("gala", channels.ClassView)
	for n := range movesPast {
		for _, c := range movesOn {
			nodes[0].say("gala", c, n)
		}
	}
	time.Sleep(10 * time.Millisecond) // what was in the ms of a wildcard may come by it
	dies := seed%2 == 1
	var all []*wanderer
	for i, names := range [][]string{
		{"/chat", "/chat/catchup/1h", "/comments", "/comments/catchup/1h"},
		{"/**"},
		{"/*", "/chat/catchup/1h", "/reactions/catchup/1h"},
	} {
		ext := ""
		if acks {
			ext = `{"ack":true}`
		}
		w := &wanderer{peer: nodes[i].join(ext), rng: rng, nodes: nodes, lossy: !dies || acks, fresh: rng.IntN(2) == 0, acks: acks, batch: "0"}
		require.True(t, w.at(nodes[rng.IntN(4)], w.message("/meta/subscribe", fmt.Sprintf(`,"subscription":["%s%s"]`, root, strings.Join(names, `","`+root)))).ok())
		all = append(all, w)
	}
	publishing := publishAtRandom(t, nodes, seed)
	for round := range 60 {
		for _, w := range all {
			w.connect(rng.IntN(60) + 1)
		}
		all[0].changes(round, root+"/comments")
		time.Sleep(time.Duration(rng.IntN(3)) * 20 * time.Millisecond)
		// The fourth node has no publishers.
		if round%15 == 14 {
			if dies {
				nodes[3].die()
			} else {
				nodes[3].stop()
			}
			nodes[3].run()
		}
	}
	publishing.Wait()
	time.Sleep(time.Second)
	for i, w := range all {
		w.lossy = false
		for had, denied := -1, -1; had < len(w.inbox) || denied < w.denied; {
			had, denied = len(w.inbox), w.denied
			for range 4 {
				w.connect(50)
			}
		}
		w.check(t, i, root, dies && !acks)
	}
}

// publishAtRandom publishes on three of the nodes.
func publishAtRandom(t *testing.T, nodes []*bench, seed uint64) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i, x := range nodes[:3] {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(i)+2))
			who := &Identity{App: x.app, Role: RoleServer}
			for n := range movesLive {
				for _, c := range movesOn {
					out := x.b.PublishAll(context.Background(), who, []Publication{{ObjectID: "gala", Channel: c, Data: fmt.Appendf(nil, "%d", 1000*(i+1)+n)}})
					if out[0].Err != nil {
						t.Error(out[0].Err)
					}
				}
				time.Sleep(time.Duration(1+rng.IntN(7)) * 10 * time.Millisecond)
			}
		})
	}
	return &wg
}

// check counts what came: all of it, in order, and nothing twice unless a node died.
func (w *wanderer) check(t *testing.T, i int, root string, died bool) {
	t.Helper()
	ids := map[string][]string{}
	for _, d := range w.inbox {
		ids[d.Channel] = append(ids[d.Channel], d.Ext.History.ID)
	}
	want := [][]string{{"chat", "comments"}, movesOn, movesOn}[i]
	past := [][]string{{"chat", "comments"}, nil, {"chat", "reactions"}}[i]
	count := func(channel string, n int) {
		got := ids[channel]
		if !died {
			require.True(t, slices.IsSorted(got), "session %d: in order on %s", i, channel)
			require.Equal(t, len(got), len(slices.Compact(slices.Clone(got))), "session %d: none twice on %s", i, channel)
		}
		slices.Sort(got)
		require.Equal(t, n, len(slices.Compact(got)), "session %d: none lost on %s", i, channel)
		delete(ids, channel)
	}
	for _, c := range want {
		count(root+"/"+c, 3*movesLive)
	}
	for _, c := range past {
		count(root+"/"+c+"/catchup/1h", movesPast)
	}
	require.Empty(t, ids)
}
