package catchup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/gobelin-broker/gobelin/store/redis"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// stumbling is a store of which every so many calls fail, some of them after all.
type stumbling struct {
	store.Store
	mu     sync.Mutex
	random *rand.Rand
	every  int
}

var errStumbled = errors.New("stumbled")

// trip says whether to do the call, and what to say of it.
func (s *stumbling) trip() (do bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.random.IntN(s.every) {
	case 0:
		return false, fmt.Errorf("%w: %w", store.ErrUnavailable, errStumbled)
	case 1:
		return true, fmt.Errorf("%w: %w", store.ErrUncertain, errStumbled)
	}
	return true, nil
}

func (s *stumbling) Put(ctx context.Context, table, key string, put store.Put) (v uint64, err error) {
	do, tripped := s.trip()
	if do {
		v, err = s.Store.Put(ctx, table, key, put)
	}
	return v, errors.Join(err, tripped)
}

// PutRows writes some of the rows when it stumbles.
func (s *stumbling) PutRows(ctx context.Context, g store.Grain, keep time.Duration, rows []store.Point) error {
	do, tripped := s.trip()
	if !do {
		rows = rows[:len(rows)/2]
	}
	return errors.Join(s.Store.PutRows(ctx, g, keep, rows), tripped)
}

func (s *stumbling) Rows(ctx context.Context, g store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	if do, _ := s.trip(); !do {
		return nil, false, errStumbled
	}
	return s.Store.Rows(ctx, g, series, r, limit)
}

// TestViewersInTrouble: three nodes close the same minutes at once, out of order, and
// import samples meanwhile, on a store that fails: what is left in the end is what the
// samples say (store.md §4, item 51; product.md §8 point 3).
func TestViewersInTrouble(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	a := newAudience(t)
	a.closed(midday.Add(-time.Minute))
	s := &stumbling{Store: a.store, random: rand.New(rand.NewPCG(seed, 1)), every: 12}
	nodes := []*Viewers{NewViewers(s, 12*time.Second, ViewerKeep{}), NewViewers(s, 12*time.Second, ViewerKeep{}), NewViewers(s, 12*time.Second, ViewerKeep{})}
	insist := func(do func() error) {
		for range 10_000 {
			err := do()
			if err == nil {
				return
			}
			if !errors.Is(err, errStumbled) && !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
				return
			}
		}
		t.Error("no end of trouble")
	}
	want := ledger{}
	const minutes = 130
	for m := range minutes {
		at := midday.Add(time.Duration(m) * time.Minute)
		var samples []ViewerSample
		for i := range 5 {
			a.now = at.Add(time.Duration(i) * 12 * time.Second)
			for node, counts := range want.tick(random, a.now, len(nodes)) {
				insist(func() error { return nodes[node].PutTick(context.Background(), fmt.Sprint("n", node), a.now, counts) })
			}
		}
		samples = append(samples, want.sample(random, at))
		a.now = at.Add(65 * time.Second)
		var closing sync.WaitGroup
		for i, node := range nodes {
			late := at.Add(-time.Duration(i/2) * time.Minute)
			closing.Go(func() {
				insist(func() error { _, err := node.CloseMinute(context.Background(), late); return err })
				insist(func() error { return node.AddSamples(context.Background(), 12, samples) })
				insist(func() error { _, err := node.CloseMinute(context.Background(), at); return err })
			})
		}
		closing.Wait()
	}
	want.check(t, a.Viewers, midday)
}

// ledger is what the rows of a few urls should be: minutes by url, and by time.
type ledger map[string][]ViewerRow

// see notes a sample that stands for some seconds.
func (r ledger) see(url string, at time.Time, n, seconds uint32) {
	row := ViewerRow{App: 12, URL: url, Time: at.Truncate(time.Minute), Min: n, Max: n, Sum: uint64(n), N: 1, Seconds: uint64(n) * uint64(seconds)}
	rows := r[url]
	if last := len(rows) - 1; last >= 0 && rows[last].Time.Equal(row.Time) {
		rows[last].follow(row)
		return
	}
	r[url] = append(rows, row)
}

// tick makes up what some nodes count.
func (r ledger) tick(random *rand.Rand, at time.Time, nodes int) (counts [][]ViewerCount) {
	var a, b uint32
	for range nodes {
		// b is viewed by few: it has minutes without anybody.
		some := []ViewerCount{watching("a", random.Uint32N(100), 0), watching("b", random.Uint32N(20)/19, 0)}
		a, b = a+some[0].Viewers, b+some[1].Viewers
		counts = append(counts, some)
	}
	r.see("a", at, a, 12)
	r.see("b", at, b, 12)
	return counts
}

// sample makes up what was counted elsewhere.
func (r ledger) sample(random *rand.Rand, at time.Time) ViewerSample {
	s := sample("c", at, random.Uint32N(100))
	r.see("c", at, s.Count, 60)
	return s
}

// check compares with all that v has from a time on.
func (r ledger) check(t *testing.T, v *Viewers, from time.Time) {
	t.Helper()
	for url, minutes := range r {
		minutes = slices.DeleteFunc(minutes, func(r ViewerRow) bool { return r.Max == 0 && url != "c" })
		require.NotEmpty(t, minutes)
		for _, g := range []store.Grain{store.Minute, store.Hour, store.Day} {
			got, _, err := v.Rows(context.Background(), 12, []string{url}, g, from.Truncate(g.Width()), v.store.Now(), 1_000_000)
			require.NoError(t, err)
			for i := range got {
				got[i].Carried = 0 // sessions are none here
			}
			want := minutes
			if g != store.Minute {
				want = foldRows(minutes, g)
			}
			require.Equal(t, want, got, "%s, grain %d", url, g)
		}
	}
}

// TestViewersOnStores: three nodes that share a store of each kind close the same minutes
// at once, and import samples: the rows are those of the ledger (store.md §4, item 51).
func TestViewersOnStores(t *testing.T) {
	onRedis := func(url string) func(t *testing.T) store.Store {
		return func(t *testing.T) store.Store {
			s, err := redis.Open(t.Context(), url, redis.Options{})
			require.NoError(t, err)
			return s
		}
	}
	f := func(name string, nodes int, open func(t *testing.T) store.Store) {
		t.Run(name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			var viewers []*Viewers
			for range nodes {
				s := open(t)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				viewers = append(viewers, NewViewers(s, 12*time.Second, ViewerKeep{}))
			}
			const minutes = 125
			first := viewers[0].store.Now().UTC().Truncate(time.Minute).Add(-minutes * time.Minute)
			want := ledger{}
			random := rand.New(rand.NewPCG(seed, 0))
			for m := range minutes {
				at := first.Add(time.Duration(m) * time.Minute)
				want.minute(t, random, at, viewers)
			}
			want.check(t, viewers[0], first)
			urls, _, err := viewers[0].URLs(t.Context(), 12, first, viewers[0].store.Now(), 10)
			require.NoError(t, err)
			require.Equal(t, []string{"a", "b", "c"}, urls)
		})
	}
	f("memory", 1, func(*testing.T) store.Store { return memory.New(memory.Options{}) })
	f("disk", 1, func(t *testing.T) store.Store {
		s, err := disk.Open(t.Context(), t.TempDir(), disk.Options{Floor: -1})
		require.NoError(t, err)
		return s
	})
	f("redis", 3, onRedis(storetest.StartRedis(t).URL))
	f("cluster", 3, onRedis(storetest.StartCluster(t).URL))
}

// minute has the nodes count, then close the minute at once.
func (r ledger) minute(t *testing.T, random *rand.Rand, at time.Time, nodes []*Viewers) {
	t.Helper()
	for i := range 5 {
		tick := at.Add(time.Duration(i) * 12 * time.Second)
		for node, counts := range r.tick(random, tick, len(nodes)) {
			require.NoError(t, nodes[node].PutTick(t.Context(), fmt.Sprint("n", node), tick, counts))
		}
	}
	s := r.sample(random, at)
	var closing sync.WaitGroup
	for _, v := range nodes {
		closing.Go(func() {
			if _, err := v.CloseMinute(t.Context(), at); err != nil {
				t.Error(err)
			}
		})
	}
	if err := nodes[0].AddSamples(t.Context(), 12, []ViewerSample{s}); err != nil {
		t.Error(err)
	}
	closing.Wait()
}

// interrupted lets something happen once, right before rows of a grain are written.
type interrupted struct {
	store.Store
	grain store.Grain
	once  func()
}

func (s *interrupted) PutRows(ctx context.Context, g store.Grain, keep time.Duration, rows []store.Point) error {
	if do := s.once; g == s.grain && do != nil {
		s.once = nil
		do()
	}
	return s.Store.PutRows(ctx, g, keep, rows)
}

// TestFoldsMeet: a node folds an hour, and before it writes what it has read, another one
// imports a sample of that hour, folds and writes: the sample stays in hour and day,
// also where the two fold different hours of a day.
func TestFoldsMeet(t *testing.T) {
	for _, g := range []store.Grain{store.Minute, store.Hour, store.Day} {
		for _, hours := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, %d hours apart", g.Width(), hours), func(t *testing.T) {
				a := newAudience(t)
				a.closed(midday.Add(2*time.Hour - time.Minute))
				other := NewViewers(a.store, 12*time.Second, ViewerKeep{})
				s := &interrupted{Store: a.store, grain: g}
				s.once = func() {
					late := sample("u", midday.Add(time.Duration(hours)*time.Hour+30*time.Second), 7)
					require.NoError(t, other.AddSamples(context.Background(), 12, []ViewerSample{late}))
				}
				v := NewViewers(s, 12*time.Second, ViewerKeep{})
				require.NoError(t, v.AddSamples(context.Background(), 12, []ViewerSample{sample("u", midday, 5)}))
				require.Nil(t, s.once, "it was interrupted")
				var sum uint64
				for _, r := range a.rows("u", store.Hour, midday) {
					sum += r.Sum
				}
				require.EqualValues(t, 12, sum)
				stored, err := a.read(context.Background(), countedSeries, 12, []string{"u"}, store.Day, stretch{midday.Truncate(day), midday}, store.Forever)
				require.NoError(t, err)
				require.EqualValues(t, 12, stored[0][0].Sum)
			})
		}
	}
}
