package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// grains are all there are.
var grains = []store.Grain{store.Second, store.Minute, store.Hour, store.Day}

// seriesKeep is for how long a test keeps rows of each grain, in rows.
const seriesKeep = 300

// point makes a row that begins n rows before a time.
func point(g store.Grain, series string, t time.Time, n int, data string) store.Point {
	return store.Point{Series: series, Time: g.Time(g.Slot(t) - int64(n)), Data: []byte(data)}
}

// putRows writes rows and keeps them for seriesKeep.
func (u *suite) putRows(g store.Grain, rows ...store.Point) {
	u.Helper()
	require.NoError(u, u.s.PutRows(ctx, g, seriesKeep*g.Width(), rows))
}

// kept is a range of all that is kept of a grain.
func (u *suite) kept(g store.Grain) store.SeriesRange {
	return store.SeriesRange{To: u.s.Now().Add(2 * g.Width()), From: u.s.Now().Add(-2 * seriesKeep * g.Width()), Keep: seriesKeep * g.Width()}
}

// rowsOf returns the data of the rows of a range, series by series.
func (u *suite) rowsOf(g store.Grain, r store.SeriesRange, series ...string) [][]string {
	u.Helper()
	rows, more, err := u.s.Rows(ctx, g, series, r, 1_000_000)
	require.NoError(u, err)
	require.False(u, more)
	require.Len(u, rows, len(series))
	out := make([][]string, len(series))
	for i := range rows {
		var last time.Time
		for _, p := range rows[i] {
			require.Equal(u, series[i], p.Series)
			require.True(u, last.Before(p.Time), "in the order of time")
			require.Zero(u, p.Time.UnixNano()%int64(g.Width()))
			last = p.Time
			out[i] = append(out[i], string(p.Data))
		}
	}
	return out
}

// seriesRoundTrip: names, bounds, and writing over.
func (u *suite) seriesRoundTrip() {
	names := []string{"a", "a/b", "", "{a} :\x00\xff", "1.2:a", strings.Repeat("n", store.MaxName), "a\x00"}
	for _, g := range grains {
		for i, name := range names {
			u.putRows(g, point(g, name, u.s.Now(), 1, fmt.Sprint(g, i)), point(g, name, u.s.Now(), 2, ""))
		}
	}
	for _, g := range grains {
		for i, got := range u.rowsOf(g, u.kept(g), names...) {
			require.Equal(u, []string{"", fmt.Sprint(g, i)}, got, "grain %d, %q", g, names[i])
		}
		large := strings.Repeat("\x00\xff", store.MaxPoint/2)
		u.putRows(g, point(g, "a", u.s.Now(), 1, "first"), point(g, "a", u.s.Now(), 1, large))
		require.Equal(u, [][]string{{"", large}, {"", fmt.Sprint(g, 1)}, nil}, u.rowsOf(g, u.kept(g), "a", "a/b", "none"), "the last of two, in place of what was there")
	}
	u.putRows(store.Minute)
	rows, more, err := u.s.Rows(ctx, store.Minute, nil, u.kept(store.Minute), 10)
	require.NoError(u, err)
	require.False(u, more)
	require.Empty(u, rows)
}

// seriesRefused: a row that cannot be kept is refused with all that came along.
func (u *suite) seriesRefused() {
	good := point(store.Minute, "s", u.s.Now(), 1, "x")
	f := func(g store.Grain, bad store.Point, tooLarge bool) {
		u.Helper()
		err := u.s.PutRows(ctx, g, time.Hour, []store.Point{good, bad, good})
		require.Error(u, err)
		if tooLarge {
			require.ErrorIs(u, err, store.ErrTooLarge)
		}
		require.Equal(u, [][]string{nil}, u.rowsOf(store.Minute, u.kept(store.Minute), "s"))
	}
	name, data, off, early, late := good, good, good, good, good
	name.Series = strings.Repeat("n", store.MaxName+1)
	f(store.Minute, name, true)
	data.Data = make([]byte, store.MaxPoint+1)
	f(store.Minute, data, true)
	off.Time = good.Time.Add(time.Second)
	f(store.Minute, off, false)
	early.Time = time.Unix(-60, 0)
	f(store.Minute, early, false)
	late.Time = time.Unix(1<<32+60-(1<<32)%60, 0)
	f(store.Minute, late, false)
	f(0, good, false)
	f(9, good, false)
	_, _, err := u.s.Rows(ctx, 9, []string{"s"}, u.kept(store.Minute), 10)
	require.Error(u, err)
	got := u.rowsOf(store.Minute, u.kept(store.Minute), name.Series)
	require.Equal(u, [][]string{nil}, got, "no such series")
}

// seriesRanges: ends are exact, days are those of UTC (store.md §4, item 53).
func (u *suite) seriesRanges() {
	for _, g := range grains {
		now := u.s.Now()
		var rows []store.Point
		for n := range 200 {
			rows = append(rows, point(g, "s", now, n, fmt.Sprint(n)))
		}
		u.putRows(g, rows...)
		f := func(from, to, first, last int, shift time.Duration) {
			u.Helper()
			var want []string
			for n := first; n >= last; n-- {
				want = append(want, fmt.Sprint(n))
			}
			r := store.SeriesRange{From: rows[from].Time.Add(shift), To: rows[to].Time.Add(shift), Keep: store.Forever}
			require.Equal(u, [][]string{want}, u.rowsOf(g, r, "s"), "grain %d from %d to %d", g, from, to)
		}
		f(199, 0, 199, 1, 0)
		f(10, 5, 10, 6, 0)
		f(10, 5, 9, 5, time.Millisecond)
		f(10, 5, 10, 6, -time.Millisecond)
		f(10, 9, 10, 10, 0)
		f(10, 10, 0, 1, 0)
		f(5, 10, 0, 1, 0)
		f(150, 50, 150, 51, 0)
	}
	// Where the day ends in UTC, whatever the time zone of who writes.
	day := store.Day.Time(store.Day.Slot(u.s.Now()))
	zone := time.FixedZone("east", 5*60*60+30*60)
	u.putRows(store.Day, store.Point{Series: "day", Time: day.In(zone), Data: []byte("today")})
	u.putRows(store.Hour,
		store.Point{Series: "day", Time: day.Add(-time.Hour), Data: []byte("last")},
		store.Point{Series: "day", Time: day.In(zone), Data: []byte("first")})
	r := store.SeriesRange{From: day, To: day.Add(24 * time.Hour), Keep: store.Forever}
	require.Equal(u, [][]string{{"today"}}, u.rowsOf(store.Day, r, "day"))
	require.Equal(u, [][]string{{"first"}}, u.rowsOf(store.Hour, r, "day"))
	require.Error(u, u.s.PutRows(ctx, store.Day, store.Forever, []store.Point{{Series: "day", Time: day.Add(-5*time.Hour - 30*time.Minute)}}), "a day that begins elsewhere")
}

// seriesLimit: at most so many rows, in the order of series and time.
func (u *suite) seriesLimit() {
	names := []string{"c", "a", "none", "b"}
	var want []string
	for _, name := range []string{"c", "a", "b"} {
		var rows []store.Point
		for n := 99; n >= 0; n-- {
			rows = append(rows, point(store.Minute, name, u.s.Now(), n, fmt.Sprint(name, n)))
			want = append(want, fmt.Sprint(name, n))
		}
		u.putRows(store.Minute, rows...)
	}
	for _, limit := range []int{-1, 0, 1, 2, 99, 100, 101, 250, 299, 300, 301} {
		rows, more, err := u.s.Rows(ctx, store.Minute, names, u.kept(store.Minute), limit)
		require.NoError(u, err)
		require.Len(u, rows, len(names))
		var got []string
		for _, some := range rows {
			for _, p := range some {
				got = append(got, string(p.Data))
			}
		}
		n := min(max(limit, 1), len(want))
		require.Equal(u, want[:n], got, "limit %d", limit)
		require.Equal(u, n < len(want), more, "limit %d", limit)
	}
}

// seriesKept: what is older than Keep is not shown, to the row, by grain (store.md §4,
// item 52); what is kept longer than others of its grain stays.
func (u *suite) seriesKept() {
	for _, g := range grains {
		now := g.Time(g.Slot(u.s.Now()))
		var rows []store.Point
		for n := range 250 {
			rows = append(rows, point(g, "s", now, n, fmt.Sprint(n)))
		}
		u.putRows(g, rows...)
		require.NoError(u, u.s.PutRows(ctx, g, store.Forever, []store.Point{point(g, "ever", now, 400, "x")}))
		for _, keep := range []int{0, 1, 7, 100, 249} {
			r := store.SeriesRange{To: now.Add(g.Width()), Keep: time.Duration(keep) * g.Width()}
			r.From = rows[249].Time
			got := u.rowsOf(g, r, "s")[0]
			// The clock may have gone on by a row or two.
			oldest := rows[0].Time
			if len(got) > 0 {
				oldest = rows[len(got)-1].Time
			}
			require.False(u, oldest.Before(now.Add(-r.Keep)), "grain %d, kept %d: %d rows", g, keep, len(got))
			require.GreaterOrEqual(u, len(got), min(max(keep-3, 0), 250), "grain %d, kept %d", g, keep)
		}
		r := store.SeriesRange{From: now.Add(-500 * g.Width()), To: now, Keep: store.Forever}
		require.Equal(u, [][]string{{"x"}}, u.rowsOf(g, r, "ever"))
	}
}

// seriesTogether: many who write the same rows leave one of each (store.md §4, item 51:
// sums are right whatever the order and the node, since rows are written over).
func (u *suite) seriesTogether() {
	const writers, rows = 8, 500
	now := u.s.Now()
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			order := r.Perm(rows)
			for some := range slices.Chunk(order, 100) {
				var points []store.Point
				for _, i := range some {
					points = append(points, point(store.Minute, fmt.Sprint("s", i%50), now, i/50, fmt.Sprint(i)))
				}
				if err := u.s.PutRows(ctx, store.Minute, time.Hour, points); err != nil {
					u.Error(err)
				}
			}
		})
	}
	writing.Wait()
	for s := range 50 {
		var want []string
		for n := 9; n >= 0; n-- {
			want = append(want, fmt.Sprint(n*50+s))
		}
		require.Equal(u, [][]string{want}, u.rowsOf(store.Minute, u.kept(store.Minute), fmt.Sprint("s", s)))
	}
}

// seriesMany: a minute of very many series is one call.
func (u *suite) seriesMany() {
	const many = 25_000
	now := u.s.Now()
	points := make([]store.Point, many)
	names := make([]string, many)
	for i := range points {
		names[i] = fmt.Sprint("many/", i)
		points[i] = point(store.Minute, names[i], now, 1, names[i])
	}
	u.putRows(store.Minute, points...)
	for i, got := range u.rowsOf(store.Minute, u.kept(store.Minute), names...) {
		require.Equal(u, []string{names[i]}, got)
	}
}

// seriesFull: rows are refused while there is no room, reads go on.
func (u *suite) seriesFull() {
	if u.o.FillUp == nil {
		u.Skip("the backend cannot be made full")
	}
	before := point(store.Minute, "s", u.s.Now(), 2, "before")
	u.putRows(store.Minute, before)
	free := u.o.FillUp(u, u.s)
	err := u.s.PutRows(ctx, store.Minute, time.Hour, []store.Point{point(store.Minute, "s", u.s.Now(), 1, strings.Repeat("x", 500))})
	require.ErrorIs(u, err, store.ErrFull)
	require.Equal(u, [][]string{{"before"}}, u.rowsOf(store.Minute, u.kept(store.Minute), "s"))
	free()
	require.Eventually(u, func() bool {
		return u.s.PutRows(ctx, store.Minute, time.Hour, []store.Point{point(store.Minute, "s", before.Time, -1, "after")}) == nil
	}, patience, time.Millisecond)
	require.Equal(u, [][]string{{"before", "after"}}, u.rowsOf(store.Minute, u.kept(store.Minute), "s"))
}

// seriesModel writes random rows and compares random ranges with a model.
func (u *suite) seriesModel(seed uint64) {
	u.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	names := []string{"a", "b", "b/", "c"}
	model := make(map[store.Grain]map[string]map[int64]string)
	for _, g := range grains {
		model[g] = make(map[string]map[int64]string)
		for _, name := range names {
			model[g][name] = make(map[int64]string)
		}
	}
	steps := int(number("STORETEST_STEPS", 600)) / 2
	for step := range steps {
		g := grains[r.IntN(len(grains))]
		switch k := r.IntN(100); {
		case k < 45:
			var rows []store.Point
			for range 1 + r.IntN(20) {
				p := point(g, names[r.IntN(len(names))], u.s.Now(), r.IntN(seriesKeep-5), fmt.Sprint(step, r.IntN(100)))
				rows = append(rows, p)
				model[g][p.Series][g.Slot(p.Time)] = string(p.Data)
			}
			u.putRows(g, rows...)
		case k < 80 || u.o.OwnClock:
			u.seriesCheck(r, g, names, model[g])
		case k < 88:
			u.clock.Turn(time.Duration(r.ExpFloat64() * 20 * float64(g.Width())))
		case k < 92 && u.restart != nil:
			u.restart()
		case k < 100 && u.o.Sweep != nil:
			u.o.Sweep(u, u.s)
		}
	}
	for _, g := range grains {
		u.seriesCheck(r, g, names, model[g])
	}
}

// seriesCheck compares a random range. No row in it may have gone.
func (u *suite) seriesCheck(r *rand.Rand, g store.Grain, names []string, model map[string]map[int64]string) {
	u.Helper()
	now := u.s.Now()
	oldest := r.IntN(seriesKeep - 3)
	from, to := g.Time(g.Slot(now)-int64(oldest)), g.Time(g.Slot(now)+1-int64(r.IntN(oldest+1)))
	got := u.rowsOf(g, store.SeriesRange{From: from, To: to, Keep: (seriesKeep - 2) * g.Width()}, names...)
	for i, name := range names {
		var want []string
		for _, slot := range slices.Sorted(maps.Keys(model[name])) {
			if t := g.Time(slot); !t.Before(from) && t.Before(to) {
				want = append(want, model[name][slot])
			}
		}
		require.Equal(u, want, got[i], "grain %d, %q from %s to %s", g, name, from, to)
	}
}

// seriesSwept: what nobody keeps any more goes, by grain, and the rest stays.
func (u *suite) seriesSwept() {
	now := u.s.Now()
	for _, g := range grains {
		u.putRows(g, point(g, "s", now, 1, "x"))
		require.NoError(u, u.s.PutRows(ctx, g, store.Forever, []store.Point{point(g, "s", now, 0, "ever")}))
	}
	all := store.SeriesRange{From: now.Add(-48 * time.Hour), To: now.Add(time.Second), Keep: store.Forever}
	for _, d := range []time.Duration{time.Minute, 10 * time.Minute, 6 * time.Hour, 14 * 24 * time.Hour, 400 * 24 * time.Hour} {
		u.clock.Turn(d)
		if u.o.Sweep != nil {
			u.o.Sweep(u, u.s)
		}
		for _, g := range grains {
			got := u.rowsOf(g, all, "s")[0]
			require.Contains(u, got, "ever", "grain %d after %s", g, u.s.Now().Sub(now))
			if u.s.Now().Sub(now) < (seriesKeep-1)*g.Width() {
				require.Len(u, got, 2, "grain %d after %s", g, u.s.Now().Sub(now))
			}
		}
	}
}
