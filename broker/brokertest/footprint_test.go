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
	f := footprint{goroutines: all["go_goroutines"], heap: all["go_gc_heap_live_bytes"], sessions: all["gobelin_sessions"]}
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

// trendOf fits a line through the last judged part of the run by least squares.
func trendOf(seen []footprint, figure func(footprint) float64) trend {
	seen = seen[len(seen)-int(math.Ceil(judged*float64(len(seen)))):]
	n := float64(len(seen))
	var meanX, meanY float64
	for _, f := range seen {
		meanX += f.at.Hours() / n
		meanY += figure(f) / n
	}
	if meanY == 0 || n < 3 {
		return trend{}
	}
	var xx, xy, rest float64
	for _, f := range seen {
		xx += (f.at.Hours() - meanX) * (f.at.Hours() - meanX)
		xy += (f.at.Hours() - meanX) * (figure(f) - meanY)
	}
	slope := xy / xx
	for _, f := range seen {
		off := figure(f) - meanY - slope*(f.at.Hours()-meanX)
		rest += off * off
	}
	return trend{perHour: 100 * slope / meanY, unsure: 100 * math.Sqrt(rest/(n-2)/xx) / meanY}
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
	f := func(name string, grows bool, figure func(i int) float64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var seen []footprint
			for i := range 180 { // half an hour
				seen = append(seen, footprint{at: time.Duration(i) * 10 * time.Second, heap: figure(i)})
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
