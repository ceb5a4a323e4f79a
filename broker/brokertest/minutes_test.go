package brokertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/redis"
	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	minutesURL    = "stage"
	minutesSample = time.Second
	// minutesLeast is how long it goes on at least. The short form goes on to the end of
	// the minute if that is not later than minutesMost.
	minutesLeast = 12 * time.Second
	minutesMost  = 20 * time.Second
	// minutesApp is the application of writeKeys.
	minutesApp = 1
)

// TestMinutesOnRedis: three nodes on one Redis count viewers while one after the other is
// killed; the rows of each minute are what the samples say, and so is what the control
// root hears (product.md §8.3, §8.5). MINUTES=3 goes on for whole minutes; without, it
// sees the end of one only where that is near.
func TestMinutesOnRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the real binary for half a minute")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := newCinema(t)
	begun := c.begun // a minute counts from before its first viewer came
	end := begun.Add(minutesLeast).Truncate(time.Minute).Add(time.Minute)
	if minutes, err := strconv.Atoi(os.Getenv("MINUTES")); err == nil && minutes > 0 {
		end = end.Add(time.Duration(minutes-1) * time.Minute)
	} else if end.Sub(begun) > minutesMost {
		end = begun.Add(minutesLeast)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(end.Sub(c.store.Now())))
	defer cancel()
	var crew sync.WaitGroup
	for n := range 12 {
		crew.Go(func() { c.spectate(ctx, n) })
	}
	crew.Go(func() { c.kill(ctx, rand.New(rand.NewPCG(seed, 1))) })
	crew.Go(func() { c.observe(begun, end) })
	crew.Wait()
	// Another adds up where the one was killed that did.
	require.True(t, rest(t.Context(), 8*minutesSample))
	c.checkMinutes(begun, end)
	c.checkLive(end)
}

// cinema is three nodes whose viewers come back after each kill.
type cinema struct {
	t          *testing.T
	nodes      []*Node
	store      *redis.Store
	begun      time.Time // before the first node
	viewers    *catchup.Viewers
	view, feed string
	kills      int
	samples    map[time.Time]uint32 // what Tick gave of moments that were measured
}

func newCinema(t *testing.T) *cinema {
	t.Helper()
	binary := RealBinary(t)
	server, dir := storetest.StartRedis(t), t.TempDir()
	config, err := writeKeys(dir)
	require.NoError(t, err)
	c := &cinema{t: t, samples: map[time.Time]uint32{}}
	c.store, err = redis.Open(t.Context(), server.URL, redis.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.store.Close() })
	c.begun = c.store.Now().UTC()
	for n := range 3 {
		place := filepath.Join(dir, strconv.Itoa(n))
		require.NoError(t, os.Mkdir(place, 0o700))
		node, err := NewSharedNode(binary, place, config, server.URL, "GOBELIN_BAYEUX_TIMEOUT=2s", "GOBELIN_STATS_SAMPLE="+minutesSample.String())
		require.NoError(t, err)
		t.Cleanup(func() {
			node.Close()
			said, err := node.Troubles()
			assert.NoError(t, err)
			assert.Empty(t, said)
		})
		require.NoError(t, node.Start(t.Context()))
		c.nodes = append(c.nodes, node)
	}
	c.viewers = catchup.NewViewers(c.store, minutesSample, catchup.ViewerKeep{})
	c.make()
	return c
}

// make creates the object that is viewed.
func (c *cinema) make() {
	token, err := c.nodes[0].Token(c.t.Context())
	require.NoError(c.t, err)
	p := newPoster(straight(c.nodes[0].Address()), 0)
	defer p.close()
	p.token = token
	b, _, err := p.post(c.t.Context(), "/v1/objects", "make", fmt.Appendf(nil, `{"object_id":"gala","type":"live","url":%q}`, minutesURL), answerTime)
	require.Equal(c.t, statusError(201), err)
	var made struct {
		Object struct {
			View string `json:"realtime_channel"`
		}
	}
	require.NoError(c.t, json.Unmarshal(b, &made))
	c.view = made.Object.View
	require.NotEmpty(c.t, c.view, string(b))
}

// spectate views the object until ctx ends, over one node as long as that lives.
func (c *cinema) spectate(ctx context.Context, n int) {
	for id := ""; rest(ctx, 50*time.Millisecond); n++ {
		p := newPoster(straight(c.nodes[n%len(c.nodes)].Address()), 0)
		for k := 0; ctx.Err() == nil; k++ {
			if id == "" {
				id = c.begin(ctx, p)
			}
			if id == "" {
				break
			}
			body := fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"long-polling","id":"%d"}]`, id, k)
			ms, _, err := p.exchange(ctx, body, 2*answerTime)
			if err != nil {
				break
			}
			if len(ms) > 0 && ms[0].unknown() {
				id = ""
			}
		}
		p.close()
	}
}

// begin makes a session that views; empty if that cannot be done.
func (c *cinema) begin(ctx context.Context, p *poster) string {
	ms, _, err := p.exchange(ctx, handshakeBody("h"), answerTime)
	if err != nil {
		return ""
	}
	id, err := handshaken(ms)
	if err != nil {
		return ""
	}
	body := fmt.Appendf(nil, `[{"channel":"/meta/subscribe","clientId":%q,"subscription":%q,"id":"s"}]`, id, c.view+"/chat")
	if ms, _, err = p.exchange(ctx, body, answerTime); err != nil || len(ms) == 0 || ms[0].failed() {
		return ""
	}
	return id
}

// kill kills a node every few seconds and starts it again.
func (c *cinema) kill(ctx context.Context, rng *rand.Rand) {
	for rest(ctx, time.Duration(1500+rng.IntN(3000))*time.Millisecond) {
		n := c.nodes[rng.IntN(len(c.nodes))]
		n.Kill()
		c.kills++
		rest(ctx, time.Duration(rng.IntN(3000))*time.Millisecond)
		if err := n.Start(c.t.Context()); !assert.NoError(c.t, err) {
			return
		}
	}
}

// observe reads what was counted at each moment, a while later: what is written in time
// has come by then.
func (c *cinema) observe(from, to time.Time) {
	for at := from.Truncate(minutesSample).Add(minutesSample); at.Before(to); at = at.Add(minutesSample) {
		for c.store.Now().Before(at.Add(3 * minutesSample)) {
			if !rest(c.t.Context(), minutesSample/4) {
				return
			}
		}
		counts, nodes, err := c.viewers.Tick(c.t.Context(), at)
		if !assert.NoError(c.t, err) || nodes == 0 {
			continue
		}
		c.samples[at] = 0
		for _, one := range counts {
			c.samples[at] += one.Viewers
			c.feed = "o/" + one.Object
		}
	}
}

// checkMinutes compares the rows of the minutes that have ended with the samples.
func (c *cinema) checkMinutes(from, to time.Time) {
	rows, more, err := c.viewers.Rows(c.t.Context(), minutesApp, []string{minutesURL}, store.Minute, from.Truncate(time.Minute), to, 1000)
	require.NoError(c.t, err)
	require.False(c.t, more)
	got := map[time.Time]catchup.ViewerRow{}
	for _, r := range rows {
		got[r.Time.UTC()] = r
	}
	want := map[time.Time]catchup.ViewerRow{}
	for at, n := range c.samples {
		r := want[at.Truncate(time.Minute)]
		if r.N == 0 || n < r.Min {
			r.Min = n
		}
		r.Max, r.Sum, r.N = max(r.Max, n), r.Sum+uint64(n), r.N+1
		want[at.Truncate(time.Minute)] = r
	}
	require.NotEmpty(c.t, want)
	c.t.Logf("%d samples, %d kills", len(c.samples), c.kills)
	for m, w := range want {
		if w.Max == 0 || m.Add(time.Minute).After(to) {
			continue
		}
		g := got[m]
		c.t.Logf("%s: %d samples, %d to %d viewers", m.Format(time.TimeOnly), g.N, g.Min, g.Max)
		assert.Equal(c.t, [4]uint64{uint64(w.Min), uint64(w.Max), w.Sum, uint64(w.N)}, [4]uint64{uint64(g.Min), uint64(g.Max), g.Sum, uint64(g.N)}, "%v", m)
	}
	require.NotZero(c.t, c.kills)
}

// checkLive: each sample was said once, in order, with its number.
func (c *cinema) checkLive(to time.Time) {
	page, err := c.store.Read(c.t.Context(), store.LogName{Feed: c.feed, Path: "/stats/live"}, store.Range{Limits: store.Limits{Age: time.Hour}}, 10_000, 1<<24)
	require.NoError(c.t, err)
	last, told := int64(0), 0
	for _, e := range page.Entries {
		m, err := catchup.Decode(e)
		require.NoError(c.t, err)
		var said struct {
			Time    int64
			Viewers uint32
		}
		require.NoError(c.t, json.Unmarshal(m.Data, &said))
		assert.Greater(c.t, said.Time, last)
		last = said.Time
		at := time.UnixMilli(said.Time).UTC()
		if !at.Before(to) {
			continue
		}
		n, measured := c.samples[at]
		assert.True(c.t, measured, "%v was said and not measured", at)
		assert.Equal(c.t, n, said.Viewers, "%v", at)
		told++
	}
	viewed := 0
	for _, n := range c.samples {
		if n > 0 {
			viewed++
		}
	}
	assert.GreaterOrEqual(c.t, told, viewed)
}
