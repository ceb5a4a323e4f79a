package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// mortal is a node's link to the store, which breaks after a number of calls, so that
// its node dies in the midst of what it does.
type mortal struct {
	store.Store
	left atomic.Int64 // calls until it breaks, below 0: it does not
}

func (*mortal) Shared() bool { return true }

func (m *mortal) call() error {
	switch {
	case m.left.Load() < 0:
		return nil
	case m.left.Load() == 0, m.left.Add(-1) < 0:
		m.left.Store(0)
		return store.ErrUnavailable
	}
	return nil
}

func (m *mortal) Get(ctx context.Context, table, key string) (store.Value, error) {
	if err := m.call(); err != nil {
		return store.Value{}, err
	}
	return m.Store.Get(ctx, table, key)
}

func (m *mortal) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	if err := m.call(); err != nil {
		return 0, err
	}
	return m.Store.Put(ctx, table, key, put)
}

func (m *mortal) List(ctx context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	return m.Store.List(ctx, table, prefix, after, limit)
}

func (m *mortal) PutRows(ctx context.Context, grain store.Grain, keep time.Duration, rows []store.Point) error {
	if err := m.call(); err != nil {
		return err
	}
	return m.Store.PutRows(ctx, grain, keep, rows)
}

func (m *mortal) Rows(ctx context.Context, grain store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	if err := m.call(); err != nil {
		return nil, false, err
	}
	return m.Store.Rows(ctx, grain, series, r, limit)
}

func (m *mortal) Submit(log store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	if err := m.call(); err != nil {
		done(store.Appended{}, err)
		return
	}
	m.Store.Submit(log, limits, records, done)
}

// hour is an hour of a cluster whose nodes die at random.
type hour struct {
	t     *testing.T
	rng   *rand.Rand
	nodes []*bench
	up    []bool
	urls  map[string]string // by object
	peers []*peer
	// samples are what Tick gave at each moment, by url; a moment that was not measured
	// is not in it. objects are the same by object.
	samples map[time.Time]map[string]uint32
	objects map[time.Time]map[string]uint32
	deaths  int
}

// TestMinutesAtRandom: nodes die at random during an hour, often in the midst of adding
// up; what is left is what the samples say (product.md §8.3, §8.5). GOBELIN_SEEDS says how
// many hours.
func TestMinutesAtRandom(t *testing.T) {
	seeds := uint64(3)
	if n, err := strconv.ParseUint(os.Getenv("GOBELIN_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { minutesAtRandom(t, seed) })
		})
	}
}

func minutesAtRandom(t *testing.T, seed uint64) {
	h := &hour{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), up: []bool{true, true, true}, urls: map[string]string{},
		samples: map[time.Time]map[string]uint32{}, objects: map[time.Time]map[string]uint32{},
	}
	first := newBench(t, func(o *Options, _ *bayeux.Options) { o.Store = h.link(o.Store) })
	h.nodes = []*bench{first}
	for range 2 {
		x := &bench{t: t, store: first.store, ring: first.ring, options: first.options, wire: first.wire}
		x.options.Store = h.link(first.store)
		x.run()
		t.Cleanup(x.stop)
		h.nodes = append(h.nodes, x)
	}
	for id, url := range map[string]string{"one": "alone", "two": "shared", "three": "shared", "four": ""} {
		_, _, err := first.b.objects.create(t.Context(), first.app, ObjectSpec{ID: id, URL: url})
		require.NoError(t, err)
		if h.urls[id] = url; url == "" {
			h.urls[id] = id
		}
	}
	began := first.store.Now()
	for end := began.Add(time.Hour); first.store.Now().Before(end); {
		h.step()
	}
	for i := range h.nodes {
		h.revive(i)
	}
	time.Sleep(2 * time.Minute) // the newest minutes are closed
	synctest.Wait()
	t.Logf("seed %d: %d deaths, %d samples", seed, h.deaths, len(h.samples))
	require.NotZero(t, h.deaths)
	h.checkMinutes(began)
	h.checkHour(began)
	h.checkSaid()
}

func (h *hour) link(s store.Store) store.Store {
	m := &mortal{Store: s}
	m.left.Store(-1)
	return m
}

func (h *hour) linkOf(i int) *mortal { return h.nodes[i].options.Store.(*mortal) }

// step is what happens between two samples, and the sample.
func (h *hour) step() {
	at := h.nodes[0].store.Now().UTC().Truncate(defaultSample).Add(defaultSample)
	for range h.rng.IntN(4) {
		h.roam()
		time.Sleep(time.Duration(h.rng.IntN(2000)) * time.Millisecond)
	}
	time.Sleep(time.Until(at) - time.Millisecond)
	switch i := h.rng.IntN(len(h.nodes)); {
	case !h.up[i]:
		h.revive(i)
	case h.rng.IntN(5) == 0:
		// It dies a few calls from now on: before the sample, or while it adds up.
		h.linkOf(i).left.Store(int64(h.rng.IntN(40)))
	}
	time.Sleep(time.Until(at.Add(2 * sampleGrace)))
	h.note(at)
	// Whose link has broken is dead.
	for i := range h.nodes {
		if h.up[i] && h.linkOf(i).left.Load() >= 0 && h.rng.IntN(2) == 0 {
			h.kill(i)
		}
	}
}

func (h *hour) kill(i int) {
	h.linkOf(i).left.Store(0)
	h.nodes[i].stop()
	h.up[i] = false
	h.deaths++
}

func (h *hour) revive(i int) {
	if !h.up[i] {
		h.linkOf(i).left.Store(-1)
		h.nodes[i].run()
		h.up[i] = true
		return
	}
	h.linkOf(i).left.Store(-1)
}

// note writes down what was counted at a moment.
func (h *hour) note(at time.Time) {
	counts, nodes, err := catchup.NewViewers(h.nodes[0].store, defaultSample, catchup.ViewerKeep{}).Tick(h.t.Context(), at)
	require.NoError(h.t, err)
	if nodes == 0 {
		return
	}
	h.samples[at], h.objects[at] = map[string]uint32{}, map[string]uint32{}
	for _, c := range counts {
		h.samples[at][c.URL] += c.Viewers
		h.objects[at][c.Object] += c.Viewers
	}
}

// roam lets somebody come, go, or connect somewhere.
func (h *hour) roam() {
	var up []*bench
	for i, x := range h.nodes {
		if h.up[i] && h.linkOf(i).left.Load() < 0 {
			up = append(up, x)
		}
	}
	if len(up) == 0 {
		return
	}
	x := up[h.rng.IntN(len(up))]
	if len(h.peers) < 5 || h.rng.IntN(4) == 0 {
		p := x.join("")
		h.peers = append(h.peers, p)
		id := []string{"one", "two", "three", "four"}[h.rng.IntN(4)]
		require.True(h.t, p.subscribe(x.root(id, channels.ClassView)+"/chat").ok())
		return
	}
	for i := len(h.peers) - 1; i >= 0; i-- {
		p := h.peers[i]
		if h.rng.IntN(12) == 0 || !p.connectAt(x, 1).ok() {
			h.peers = append(h.peers[:i], h.peers[i+1:]...) // it is gone without a word
		}
	}
}

// reference is the row that the samples of a bucket make: every moment measured counts,
// if there was anybody at all.
func (h *hour) reference(url string, from time.Time, width time.Duration) (r catchup.ViewerRow, any bool) {
	for at, counts := range h.samples {
		if at.Before(from) || !at.Before(from.Add(width)) {
			continue
		}
		n := counts[url]
		any = any || n > 0
		if r.N == 0 || n < r.Min {
			r.Min = n
		}
		r.Max, r.Sum, r.N = max(r.Max, n), r.Sum+uint64(n), r.N+1
	}
	return r, any
}

func (h *hour) rows(url string, grain store.Grain, from, to time.Time) map[time.Time]catchup.ViewerRow {
	rows, more, err := h.nodes[0].b.stats.Rows(h.t.Context(), h.nodes[0].app.ID, []string{url}, grain, from, to, 1000)
	require.NoError(h.t, err)
	require.False(h.t, more)
	all := map[time.Time]catchup.ViewerRow{}
	for _, r := range rows {
		all[r.Time.UTC()] = r
	}
	return all
}

func (h *hour) checkMinutes(began time.Time) {
	some := 0
	for _, url := range []string{"alone", "shared", "four"} {
		rows := h.rows(url, store.Minute, began, began.Add(time.Hour))
		for m := began; m.Before(began.Add(time.Hour)); m = m.Add(time.Minute) {
			want, any := h.reference(url, m, time.Minute)
			got, there := rows[m.UTC()]
			require.Equal(h.t, any, there, "%s %v", url, m)
			if !any {
				continue
			}
			some++
			require.Equal(h.t, [4]uint64{uint64(want.Min), uint64(want.Max), want.Sum, uint64(want.N)},
				[4]uint64{uint64(got.Min), uint64(got.Max), got.Sum, uint64(got.N)}, "%s %v", url, m)
		}
	}
	require.Greater(h.t, some, 60)
}

// checkHour: hours and days are the fold of their minutes (product.md §8.4).
func (h *hour) checkHour(began time.Time) {
	for _, url := range []string{"alone", "shared", "four"} {
		for _, grain := range []store.Grain{store.Hour, store.Day} {
			var want catchup.ViewerRow
			for _, r := range h.rows(url, store.Minute, began, began.Add(grain.Width())) {
				if want.N == 0 || r.Min < want.Min {
					want.Min = r.Min
				}
				want.Max, want.Sum, want.N = max(want.Max, r.Max), want.Sum+r.Sum, want.N+r.N
			}
			got := h.rows(url, grain, began, began.Add(grain.Width()))[began.UTC()]
			require.Equal(h.t, [4]uint64{uint64(want.Min), uint64(want.Max), want.Sum, uint64(want.N)},
				[4]uint64{uint64(got.Min), uint64(got.Max), got.Sum, uint64(got.N)}, "%s %v", url, grain)
		}
	}
}

// checkSaid: the channels say every row and every sample once, in order.
func (h *hour) checkSaid() {
	x := h.nodes[0]
	for id, url := range h.urls {
		o, err := x.b.objects.get(h.t.Context(), x.app, id)
		require.NoError(h.t, err)
		feed := feedOf(o)
		var live []struct {
			Time    int64
			Viewers uint32
		}
		h.said(feed, statsLive, &live)
		last := int64(0)
		for _, m := range live {
			require.Greater(h.t, m.Time, last, "%s: in order, once", id)
			last = m.Time
			at := time.UnixMilli(m.Time).UTC()
			counts, measured := h.objects[at]
			if at.After(h.lastNoted()) {
				continue
			}
			require.True(h.t, measured, "%s %v", id, at)
			require.Equal(h.t, counts[feed[len(objectFeed):]], m.Viewers, "%s %v", id, at)
		}
		told := map[int64]bool{}
		for _, m := range live {
			told[m.Time] = true
		}
		for at, counts := range h.objects {
			if counts[feed[len(objectFeed):]] > 0 {
				require.True(h.t, told[at.UnixMilli()], "%s %v was not said", id, at)
			}
		}
		var minutes []rowFields
		h.said(feed, statsMinute, &minutes)
		seen := map[string]bool{}
		for _, m := range minutes {
			require.Equal(h.t, url, m.VideoURL)
			require.False(h.t, seen[m.Time], "%s %s twice", id, m.Time)
			seen[m.Time] = true
		}
	}
}

func (h *hour) lastNoted() (last time.Time) {
	for at := range h.samples {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// said reads all that a channel of statistics keeps, into a pointer to a slice.
func (h *hour) said(feed, name string, into any) {
	page, err := h.nodes[0].store.Read(h.t.Context(), store.LogName{Feed: feed, Path: "/stats/" + name},
		store.Range{Limits: h.nodes[0].b.kinds.stats[name].limits}, 10_000, 1<<24)
	require.NoError(h.t, err)
	require.False(h.t, page.More)
	text := []byte("[")
	for i, e := range page.Entries {
		m, err := catchup.Decode(e)
		require.NoError(h.t, err)
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, m.Data...)
	}
	require.NoError(h.t, json.Unmarshal(append(text, ']'), into))
}
