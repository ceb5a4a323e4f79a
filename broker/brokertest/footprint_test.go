package brokertest

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/require"
)

// footprint is what a running broker holds at a moment (security.md §5.3, R11).
type footprint struct {
	at         time.Duration // since the first
	goroutines float64
	heap       float64 // bytes that the last collection left
	files      float64 // descriptors, without those of connections to Redis
	pool       float64 // connections to Redis, ours among them
	memory     float64 // resident, bytes
	keys       float64 // of its Redis; 0 without
	lasting    float64 // those of them that do not go by themselves within minutes
	sessions   float64
	received   float64 // messages, ever
	said       float64 // messages a second, since the one before
}

// String is one line for people.
func (f footprint) String() string {
	return fmt.Sprintf("%6.0fs  %5.0f sessions %5.0f goroutines %7.2f MiB heap %7.1f MiB resident %5.0f descriptors and %3.0f to Redis %6.0f keys, %5.0f of them lasting",
		f.at.Seconds(), f.sessions, f.goroutines, f.heap/(1<<20), f.memory/(1<<20), f.files, f.pool, f.keys, f.lasting)
}

// footprint looks at the running broker, and at its Redis if it has one.
func (n *Node) footprint(ctx context.Context, redis *storetest.Redis) (footprint, error) {
	all, err := n.metrics(ctx)
	if err != nil {
		return footprint{}, err
	}
	f := footprint{goroutines: all["go_goroutines"], heap: all["go_gc_heap_live_bytes"], sessions: all["gobelin_sessions"], received: all["gobelin_received_messages_total"]}
	memory, err := n.Memory()
	if err != nil {
		return footprint{}, err
	}
	f.memory = float64(memory)
	open, err := os.ReadDir("/proc/" + strconv.Itoa(n.cmd.Process.Pid) + "/fd")
	if err != nil {
		return footprint{}, fmt.Errorf("brokertest: footprint: %w", err)
	}
	f.files = float64(len(open))
	if redis == nil {
		return f, nil
	}
	text, err := redis.Command("INFO")
	if err != nil {
		return footprint{}, fmt.Errorf("brokertest: footprint: %w", err)
	}
	for name, figure := range map[string]*float64{"connected_clients:": &f.pool, "db0:keys=": &f.keys} {
		if _, rest, told := strings.Cut(text, name); told {
			digits := rest[:strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })]
			if *figure, err = strconv.ParseFloat(digits, 64); err != nil {
				return footprint{}, fmt.Errorf("brokertest: footprint: %w", err)
			}
		}
	}
	f.files -= f.pool
	return f, nil
}

// trend is how a figure goes up or down, as a straight line through all that was seen.
type trend struct {
	perHour float64 // in percent of the mean
	unsure  float64 // the standard error of perHour
}

// judged is the share of a run, at its end, that trends are taken from.
const judged = 0.8

// trendOf fits a line through the last judged part of the run by least squares, a point a
// minute. What a figure owes to how many sessions there were, and to how much they said, is
// taken from it first: a machine that gets less to do lets more of them in.
func trendOf(seen []footprint, figure func(footprint) float64) trend {
	seen = seen[len(seen)-int(math.Ceil(judged*float64(len(seen)))):]
	var x, y, sessions, said []float64
	for from := 0; from < len(seen); {
		to := from + 1
		for to < len(seen) && seen[to].at/time.Minute == seen[from].at/time.Minute {
			to++
		}
		n := float64(to - from)
		var point [4]float64
		for _, f := range seen[from:to] {
			for k, v := range [4]float64{f.at.Hours(), figure(f), f.sessions, f.said} {
				point[k] += v / n
			}
		}
		x, y, sessions, said = append(x, point[0]), append(y, point[1]), append(sessions, point[2]), append(said, point[3])
		from = to
	}
	_, mean := centred(x), centred(y)
	if mean == 0 || len(x) < 6 {
		return trend{}
	}
	free := float64(len(x) - 2)
	for _, cause := range [][]float64{sessions, said} {
		if of := centred(cause); dot(cause, cause) > 1e-9*(1+of*of) {
			for _, other := range [][]float64{x, y, said} {
				if &other[0] != &cause[0] {
					without(other, cause)
				}
			}
			free--
		}
	}
	slope := without(y, x)
	return trend{perHour: 100 * slope / mean, unsure: 100 * math.Sqrt(dot(y, y)/free/dot(x, x)) / mean}
}

// centred takes the mean from each, and returns it.
func centred(all []float64) (mean float64) {
	for _, v := range all {
		mean += v / float64(len(all))
	}
	for i := range all {
		all[i] -= mean
	}
	return mean
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// without takes from all what cause explains of it, and returns by how much it goes with it.
func without(all, cause []float64) (slope float64) {
	slope = dot(all, cause) / dot(cause, cause)
	for i := range all {
		all[i] -= slope * cause[i]
	}
	return slope
}

// most is how much a figure may grow, in percent an hour.
const most = 1.0

// grows reports whether t is more than may be, by more than chance explains.
func (t trend) grows() bool { return t.perHour-3*t.unsure > most }

// String is the trend for people.
func (t trend) String() string {
	return fmt.Sprintf("%+.2f ± %.2f %% an hour", t.perHour, t.unsure)
}

// TestTrend: a leak is found in figures that go up and down, and none where there is none;
// what the first fifth of a run brings is no leak.
func TestTrend(t *testing.T) {
	sessions := func(i int) float64 { return 60 + float64(i)/30 + 10*math.Sin(float64(i)/15) }
	said := func(i int) float64 { return 200 + float64(i)/15 + 30*math.Cos(float64(i)/8) }
	f := func(name string, grows bool, figure func(i int) float64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var seen []footprint
			for i := range 180 { // half an hour
				seen = append(seen, footprint{at: time.Duration(i) * 10 * time.Second, heap: figure(i), sessions: sessions(i), said: said(i)})
			}
			is := trendOf(seen, func(f footprint) float64 { return f.heap })
			require.Equal(t, grows, is.grows(), is.String())
		})
	}
	swing := func(i int) float64 { return 100 * math.Sin(float64(i*i)) }
	f("flat", false, func(int) float64 { return 1000 })
	f("nothing", false, func(int) float64 { return 0 })
	f("up and down", false, func(i int) float64 { return 1000 + swing(i) })
	f("less", false, func(i int) float64 { return 1000 - float64(i) })
	f("half a percent an hour", false, func(i int) float64 { return 1000 * (1 + 0.005*float64(i)/360) })
	f("two percent an hour", true, func(i int) float64 { return 1000 * (1 + 0.02*float64(i)/360) })
	f("one each 10 s among swings", true, func(i int) float64 { return 1000 + float64(i) + swing(i) })
	f("as the sessions do", false, func(i int) float64 { return 100 + 10*sessions(i) + swing(i)/10 })
	f("beside the sessions", true, func(i int) float64 { return 100 + 10*sessions(i) + float64(i) + swing(i)/10 })
	f("as what is said does", false, func(i int) float64 { return 1000 + 3*said(i) })
	f("beside what is said", true, func(i int) float64 { return 1000 + 3*said(i) + float64(i) })
	f("warm after five minutes", false, func(i int) float64 { return 1000 + 10*float64(min(i, 30)) + swing(i) })
}

// TestTrendIsALine: the figures are those of the line.
func TestTrendIsALine(t *testing.T) {
	var seen []footprint
	for i := range 100 {
		seen = append(seen, footprint{at: time.Duration(i) * time.Minute, keys: 50 + float64(i)})
	}
	is := trendOf(seen, func(f footprint) float64 { return f.keys })
	// 60 an hour, of a mean of 50 + 59.5 over minutes 20 to 99.
	require.InDelta(t, 100*60/109.5, is.perHour, 1e-9)
	require.InDelta(t, 0, is.unsure, 1e-6)
}
