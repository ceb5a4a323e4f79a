package broker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// TestCatchupsMove asks for one catch-up several times and goes on at other nodes in the
// midst of them: each comes whole and once.
func TestCatchupsMove(t *testing.T) {
	for seed := range seeds(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 2))
				nodes := newFleetWith(t, 3, func(_ *Options, bo *bayeux.Options) {
					bo.Limits.QueueMessages = 4 + rng.IntN(12)
				})
				live := nodes[0].root("gala", channels.ClassView) + "/chat"
				var want []string
				for n := range 40 {
					nodes[0].say("gala", "chat", n)
					want = append(want, fmt.Sprint(n))
				}
				time.Sleep(time.Second)
				p := nodes[0].join("")
				require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
				for range 3 {
					require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live+"/catchup/1h"))).ok())
					for range rng.IntN(5) {
						require.True(t, p.connectAt(nodes[rng.IntN(3)], 1+rng.IntN(20)).ok())
					}
				}
				require.Equal(t, slices.Repeat(want, 3), dataOf(p.pollAround(nodes)))
			})
		})
	}
}

// TestUnsubscribedMoves gives a channel up and takes it again around a move, while its
// catch-up stands: what was under way comes then, and nothing twice.
func TestUnsubscribedMoves(t *testing.T) {
	for seed := range seeds(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 3))
				nodes := newFleet(t, 3)
				live := nodes[0].root("gala", channels.ClassView) + "/chat"
				p := nodes[0].join("")
				require.True(t, p.at(nodes[0], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":[%q,%q]`, live, live+"/catchup/1h"))).ok())
				var want []string
				var got []string
				take := func() {
					for _, d := range p.inbox {
						got = append(got, string(d.Data))
					}
					p.inbox = nil
				}
				for n := range 30 {
					nodes[rng.IntN(3)].say("gala", "chat", n)
					want = append(want, fmt.Sprint(n))
					switch rng.IntN(4) {
					case 0:
						require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/unsubscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
					case 1:
						require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
					default:
						require.True(t, p.connectAt(nodes[rng.IntN(3)], 1+rng.IntN(20)).ok())
					}
					take()
				}
				require.True(t, p.at(nodes[rng.IntN(3)], p.message("/meta/subscribe", fmt.Sprintf(`,"subscription":%q`, live))).ok())
				got = append(got, dataOf(p.pollAround(nodes))...)
				require.Equal(t, want, got)
			})
		})
	}
}

// dataOf takes the channels from what poll returns.
func dataOf(texts []string) (data []string) {
	for _, text := range texts {
		var channel, d string
		_, _ = fmt.Sscan(text, &channel, &d)
		data = append(data, d)
	}
	return data
}

// seeds returns how many seeds a simulation takes: few, or GOBELIN_SEEDS.
func seeds(few uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv("GOBELIN_SEEDS"), 10, 64); err == nil {
		return n
	}
	return few
}
