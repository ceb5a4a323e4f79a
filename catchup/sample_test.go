package catchup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func sample(url string, at time.Time, count uint32) ViewerSample {
	return ViewerSample{URL: url, Time: at, Count: count}
}

// TestSamples is S14, with the arithmetic of the source document (S11).
func TestSamples(t *testing.T) {
	a := newAudience(t)
	a.now = midday.Add(2 * time.Hour)
	for i, n := range []uint32{10, 10, 20, 30, 30} {
		a.add(sample("u", midday.Add(time.Duration(i)*12*time.Second), n))
	}
	row := ViewerRow{App: 12, URL: "u", Time: midday, Min: 10, Max: 30, Sum: 100, N: 5, Seconds: 1200}
	day := row
	day.Time = midday.Truncate(24 * time.Hour)
	f := func(what string) {
		t.Helper()
		require.Equal(t, []ViewerRow{row}, a.rows("u", store.Minute, midday), what)
		require.Equal(t, []ViewerRow{row}, a.rows("u", store.Hour, midday), what)
		require.Equal(t, []ViewerRow{day}, a.rows("u", store.Day, day.Time), what)
	}
	f("before any hour has closed")
	a.add(sample("u", midday.Add(48*time.Second), 30))
	f("a repeat changes nothing")
	a.closed(a.now)
	f("when the hours have closed")
	a.add(sample("u", midday.Add(48*time.Second), 35), sample("u", midday.Add(12*time.Second+time.Millisecond), 5))
	row.Min, row.Max, day.Min, day.Max = 5, 35, 5, 35
	f("another count of the same second takes its place")
	urls, _, err := a.URLs(context.Background(), 12, midday, a.now, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"u"}, urls)
	measured, err := a.Measured(context.Background(), store.Minute, midday, a.now)
	require.NoError(t, err)
	require.Empty(t, measured, "our nodes did not count")
}

// TestSamplesJoinOurs is S14: a CDN's count adds to ours, whichever came first.
func TestSamplesJoinOurs(t *testing.T) {
	count := func(a *audience) {
		for i, n := range []uint32{1, 2, 3, 2, 2} {
			a.tick("a", midday.Add(time.Duration(i)*12*time.Second), watching("u", n, 0))
		}
		a.closed(midday)
	}
	for _, first := range []string{"ours", "theirs"} {
		t.Run(first+" first", func(t *testing.T) {
			a := newAudience(t)
			if first == "ours" {
				count(a)
			}
			a.now = later(a.now, midday.Add(time.Second))
			a.add(sample("u", midday, 100), sample("u", midday.Add(time.Minute), 50))
			if first == "theirs" {
				count(a)
			}
			ours := ViewerRow{App: 12, URL: "u", Time: midday, Min: 101, Max: 103, Sum: 510, N: 5, Carried: 1, Seconds: 6000 + 120}
			theirs := ViewerRow{App: 12, URL: "u", Time: midday.Add(time.Minute), Min: 50, Max: 50, Sum: 50, N: 1, Seconds: 3000}
			require.Equal(t, []ViewerRow{ours, theirs}, a.rows("u", store.Minute, midday))
			hour := ours
			hour.follow(theirs)
			for _, when := range []string{"open", "closed"} {
				require.Equal(t, []ViewerRow{hour}, a.rows("u", store.Hour, midday), when)
				a.closed(midday.Add(70 * time.Minute))
			}
		})
	}
}

// TestSamplesRefused is S14: what is refused is refused whole.
func TestSamplesRefused(t *testing.T) {
	a := newAudience(t)
	good := sample("u", midday, 1)
	f := func(want error, bad ...ViewerSample) {
		t.Helper()
		require.ErrorIs(t, a.AddSamples(context.Background(), 12, append(bad, good)), want)
		require.Empty(t, a.rows("u", store.Minute, midday.Add(-time.Hour)))
		urls, _, err := a.URLs(context.Background(), 12, midday, midday.Add(time.Hour), 10)
		require.NoError(t, err)
		require.Empty(t, urls)
	}
	f(ErrViewerURL, sample("", midday, 1))
	f(ErrViewerURL, sample(strings.Repeat("u", maxViewerURL+1), midday, 1))
	f(ErrSampleAge, sample("u", midday.Add(-KeepMinutes-time.Second), 1))
	f(ErrSampleAge, sample("u", midday.Add(sampleAhead+time.Second), 1))
	f(ErrSampleAge, sample("u", time.Time{}, 1))
	f(ErrManySamples, make([]ViewerSample, MaxSamples)...)
	a.add()
	a.add(sample("u", midday.Add(-KeepMinutes), 1), sample("u", midday.Add(sampleAhead), 1), sample(strings.Repeat("u", maxViewerURL), midday, 1))
}

// TestSamplesDaysOld is S14: the oldest that are taken make minutes, hours and days.
func TestSamplesDaysOld(t *testing.T) {
	a := newAudience(t)
	a.closed(midday)
	a.closed(midday.Add(30*24*time.Hour + 17*time.Minute))
	oldest := a.now.Add(-KeepMinutes).Truncate(time.Minute).Add(time.Minute)
	var samples []ViewerSample
	for i := range MaxSamples {
		samples = append(samples, sample("u", oldest.Add(time.Duration(i)*time.Minute), uint32(i)))
	}
	a.add(samples...)
	require.Len(t, a.rows("u", store.Minute, time.Time{}), MaxSamples)
	var sum uint64
	for _, g := range []store.Grain{store.Hour, store.Day} {
		sum = 0
		for _, r := range a.rows("u", g, oldest.Add(-48*time.Hour)) {
			sum += r.Sum
		}
		require.EqualValues(t, MaxSamples*(MaxSamples-1)/2, sum)
	}
	// An hour of which the first minutes are shown no more is still whole when a sample comes late.
	a.now = a.now.Add(30 * time.Minute)
	before := a.rows("u", store.Hour, oldest.Add(-48*time.Hour))[0]
	a.add(sample("u", before.Time.Add(59*time.Minute+30*time.Second), 7))
	after := a.rows("u", store.Hour, oldest.Add(-48*time.Hour))[0]
	require.Equal(t, before.Sum+7, after.Sum)
}

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
	nodes := []*Viewers{NewViewers(s, 12*time.Second), NewViewers(s, 12*time.Second), NewViewers(s, 12*time.Second)}
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
	urls := []string{"a", "b", "c"}
	want := map[string]*ViewerRow{}
	see := func(url string, m int, n uint32, seconds uint64) {
		key := fmt.Sprint(url, m)
		if want[key] == nil {
			want[key] = &ViewerRow{App: 12, URL: url, Time: midday.Add(time.Duration(m) * time.Minute), Min: n}
		}
		r := want[key]
		r.Min, r.Max = min(r.Min, n), max(r.Max, n)
		r.Sum, r.N, r.Seconds = r.Sum+uint64(n), r.N+1, r.Seconds+seconds
	}
	const minutes = 130
	for m := range minutes {
		at := midday.Add(time.Duration(m) * time.Minute)
		var samples []ViewerSample
		for i := range 5 {
			a.now = at.Add(time.Duration(i) * 12 * time.Second)
			sums := make([]uint32, 2)
			for _, node := range nodes {
				counts := []ViewerCount{watching(urls[0], random.Uint32N(100), 0), watching(urls[1], random.Uint32N(3), 0)}
				for j := range sums {
					sums[j] += counts[j].Viewers
				}
				insist(func() error { return node.PutTick(context.Background(), fmt.Sprintf("%p", node), a.now, counts) })
			}
			for j, n := range sums {
				see(urls[j], m, n, uint64(n)*12)
			}
		}
		n := random.Uint32N(100)
		samples = append(samples, sample("c", at, n))
		see("c", m, n, uint64(n)*60)
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
	for _, url := range urls {
		var all []ViewerRow
		for m := range minutes {
			if r := want[fmt.Sprint(url, m)]; r.Max > 0 || url == "c" {
				r.Carried = 0
				all = append(all, *r)
			}
		}
		strip := func(rows []ViewerRow) []ViewerRow {
			for i := range rows {
				rows[i].Carried = 0
			}
			return rows
		}
		require.Equal(t, all, strip(a.rows(url, store.Minute, midday)), url)
		require.Equal(t, foldRows(all, store.Hour), strip(a.rows(url, store.Hour, midday)), url)
		require.Equal(t, foldRows(all, store.Day), strip(a.rows(url, store.Day, midday.Truncate(day))), url)
	}
}
