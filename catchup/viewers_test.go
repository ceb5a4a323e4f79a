package catchup

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
)

var midday = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// audience is the viewer statistics of a store whose clock a test turns.
type audience struct {
	*testing.T
	*Viewers
	store store.Store
	now   time.Time
}

func newAudience(t *testing.T) *audience {
	a := &audience{T: t, now: midday}
	s := memory.New(memory.Options{Now: func() time.Time { return a.now }})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	a.store, a.Viewers = s, NewViewers(s, 12*time.Second, ViewerKeep{})
	return a
}

func watching(url string, viewers, arrived uint32) ViewerCount {
	return ViewerCount{App: 12, URL: url, Object: "o/" + url[:min(len(url), 60)], Viewers: viewers, Arrived: arrived}
}

// tick writes what a node counted at a time, which becomes now.
func (a *audience) tick(node string, at time.Time, counts ...ViewerCount) {
	a.Helper()
	a.now = at
	require.NoError(a, a.PutTick(context.Background(), node, at, counts))
}

// closed closes a minute 5 s after its end.
func (a *audience) closed(minute time.Time) Closed {
	a.Helper()
	if end := minute.Add(65 * time.Second); a.now.Before(end) {
		a.now = end
	}
	c, err := a.CloseMinute(context.Background(), minute)
	require.NoError(a, err)
	require.Zero(a, c.Unlisted)
	return c
}

// rows returns the rows of a URL from a time on.
func (a *audience) rows(url string, g store.Grain, from time.Time) []ViewerRow {
	a.Helper()
	rows, more, err := a.Rows(context.Background(), 12, []string{url}, g, from, a.now.Add(time.Hour), 100_000)
	require.NoError(a, err)
	require.False(a, more)
	return rows
}

func (a *audience) add(samples ...ViewerSample) {
	a.Helper()
	require.NoError(a, a.AddSamples(context.Background(), 12, samples))
}

// TestMinuteOfTheSource is the arithmetic of the source document (S11): five samples
// 10, 10, 20, 30, 30.
func TestMinuteOfTheSource(t *testing.T) {
	a := newAudience(t)
	for i, n := range []uint32{10, 10, 20, 30, 30} {
		a.tick("a", midday.Add(time.Duration(i)*12*time.Second), watching("u", n, 0))
	}
	c := a.closed(midday)
	want := ViewerRow{App: 12, URL: "u", Time: midday, Min: 10, Max: 30, Sum: 100, N: 5, Carried: 10, Seconds: 1200}
	require.Equal(t, []ClosedRow{{want, []string{"o/u"}}}, c.Rows)
	require.Equal(t, Measured{midday, 5, 5, 60}, c.Measured)
	require.Equal(t, []ViewerRow{want}, a.rows("u", store.Minute, midday))
	require.EqualValues(t, 20, want.Avg())
	require.InDelta(t, 20.0, want.Minutes(), 1e-9)
	require.Equal(t, c, a.closed(midday), "again the same")
}

// TestMinuteRow: product.md §8 points 3 and 6.
func TestMinuteRow(t *testing.T) {
	f := func(name string, want *ViewerRow, ticks ...[]uint32) {
		t.Run(name, func(t *testing.T) {
			a := newAudience(t)
			for i, nodes := range ticks {
				for j, n := range nodes {
					a.tick(fmt.Sprint("node", j), midday.Add(time.Duration(i)*12*time.Second), watching("u", n, 0), watching("v", 0, 0))
				}
			}
			c := a.closed(midday)
			if want == nil {
				require.Empty(t, c.Rows)
				require.Empty(t, a.rows("u", store.Minute, midday))
				return
			}
			want.App, want.URL, want.Time = 12, "u", midday
			require.Equal(t, *want, c.Rows[0].ViewerRow)
			require.Len(t, c.Rows, 1, "who had nobody has no row")
			require.Equal(t, []ViewerRow{*want}, a.rows("u", store.Minute, midday))
		})
	}
	f("nodes are summed for each tick", &ViewerRow{Min: 3, Max: 6, Sum: 9, N: 2, Carried: 3, Seconds: 108}, []uint32{1, 2}, []uint32{2, 4})
	f("a tick with nobody counts", &ViewerRow{Min: 0, Max: 4, Sum: 5, N: 3, Carried: 4, Seconds: 60}, []uint32{4}, []uint32{0}, []uint32{1})
	f("nobody: no row", nil, []uint32{0}, []uint32{0})
	f("not measured: no row", nil)
	f("a partial minute", &ViewerRow{Min: 7, Max: 7, Sum: 7, N: 1, Carried: 7, Seconds: 84}, []uint32{7})
}

// TestAvgRoundsHalfUp: product.md §8 point 3.
func TestAvgRoundsHalfUp(t *testing.T) {
	f := func(sum uint64, n, want uint32) {
		t.Helper()
		require.Equal(t, want, ViewerRow{Sum: sum, N: n}.Avg())
	}
	f(5, 2, 3)
	f(4, 3, 1)
	f(5, 3, 2)
	f(0, 5, 0)
	f(7, 5, 1)
	f(8, 5, 2)
	f(1<<40, 1<<20, 1<<20)
	f(0, 0, 0)
}

// TestHoursAndDays: product.md §8 point 4: folded, visible, and growing.
func TestHoursAndDays(t *testing.T) {
	a := newAudience(t)
	day := midday.Truncate(24 * time.Hour)
	a.now = midday.Add(-time.Minute)
	a.closed(midday.Add(-time.Minute)) // nobody counted
	var sum uint64
	for m := range 75 {
		at := midday.Add(time.Duration(m) * time.Minute)
		for i := range 5 {
			n := uint32(m + i)
			sum += uint64(n)
			a.tick("a", at.Add(time.Duration(i)*12*time.Second), watching("u", n, min(1, n)))
		}
		c := a.closed(at)
		hours := a.rows("u", store.Hour, day)
		require.Len(t, hours, 1+m/60, "minute %d", m)
		days := a.rows("u", store.Day, day)
		require.Len(t, days, 1)
		require.Equal(t, sum, days[0].Sum, "the day grows")
		require.EqualValues(t, 5*(m+1), days[0].N)
		require.Equal(t, day, days[0].Time)
		if m == 59 {
			require.Equal(t, []ClosedRow{{hours[0], []string{"o/u"}}}, c.Hours)
			require.Equal(t, []ClosedRow{{days[0], []string{"o/u"}}}, c.Days)
			require.Equal(t, ViewerRow{App: 12, URL: "u", Time: midday, Min: 0, Max: 63, Sum: sum, N: 300, Arrived: 299, Carried: 0, Seconds: sum * 12}, hours[0])
			again := a.closed(at)
			require.Equal(t, c, again)
		} else {
			require.Empty(t, c.Hours)
		}
	}
	hours := a.rows("u", store.Hour, day)
	minutes := a.rows("u", store.Minute, day)
	require.Len(t, minutes, 75)
	require.Equal(t, foldRows(minutes, store.Hour), hours, "numbers add up from minute to hour")
	require.Equal(t, foldRows(hours, store.Day), a.rows("u", store.Day, day))
	measured, err := a.Measured(context.Background(), store.Hour, day, a.now)
	require.NoError(t, err)
	require.Equal(t, []Measured{{midday, 300, 300, 3600}, {midday.Add(time.Hour), 75, 75, 900}}, measured)
	measured, err = a.Measured(context.Background(), store.Day, day, a.now)
	require.NoError(t, err)
	require.Equal(t, []Measured{{day, 375, 375, 4500}}, measured)
}

// TestUnique is S13's unique_sessions: arrivals are counted once, whoever was there
// before the bucket too.
func TestUnique(t *testing.T) {
	a := newAudience(t)
	// Minute 0: 3 come, 1 more comes at each tick. Minute 1: nobody comes, all stay; then
	// they are on another node. Minute 2: all go, but for the first tick.
	for i := range 5 {
		arrived := uint32(1)
		if i == 0 {
			arrived = 3
		}
		a.tick("a", midday.Add(time.Duration(i)*12*time.Second), watching("u", uint32(3+i), arrived))
	}
	first := a.closed(midday).Rows[0]
	require.EqualValues(t, 7, first.Unique())
	require.Zero(t, first.Carried)
	next := midday.Add(time.Minute)
	for i := range 5 {
		a.tick([]string{"a", "b"}[i/3], next.Add(time.Duration(i)*12*time.Second), watching("u", 7, 0))
	}
	require.EqualValues(t, 7, a.closed(next).Rows[0].Unique())
	next = next.Add(time.Minute)
	for i := range 5 {
		a.tick("b", next.Add(time.Duration(i)*12*time.Second), watching("u", uint32(7*max(1-i, 0)), 0))
	}
	require.EqualValues(t, 7, a.closed(next).Rows[0].Unique())
	for m := 3; m < 60; m++ {
		a.tick("b", midday.Add(time.Duration(m)*time.Minute))
		a.closed(midday.Add(time.Duration(m) * time.Minute))
	}
	hour := a.rows("u", store.Hour, midday)[0]
	require.EqualValues(t, 7, hour.Unique(), "not 21")
	require.EqualValues(t, 15, hour.N, "minutes without viewers have no row")
}

// TestNotMeasured: product.md §8 point 5: nobody there is told from not counted.
func TestNotMeasured(t *testing.T) {
	a := newAudience(t)
	for m := range 6 {
		at := midday.Add(time.Duration(m) * time.Minute)
		switch m {
		case 1, 2: // the store was away
		case 3:
			a.tick("a", at)
		default:
			a.tick("a", at, watching("u", 1, 0))
		}
		c := a.closed(at)
		require.Equal(t, m == 1 || m == 2, c.Measured == Measured{})
	}
	measured, err := a.Measured(context.Background(), store.Minute, midday, midday.Add(time.Hour))
	require.NoError(t, err)
	var minutes []int
	for _, m := range measured {
		minutes = append(minutes, int(m.Time.Sub(midday)/time.Minute))
		require.EqualValues(t, 1, m.Ticks)
		require.EqualValues(t, 12, m.Seconds, "not whole")
	}
	require.Equal(t, []int{0, 3, 4, 5}, minutes)
	require.Len(t, a.rows("u", store.Minute, midday), 3)
}

// TestClosedLate: product.md §8 points 3 and 5: what was closed with all ticks is left
// alone when some have gone, and what nobody closed is closed from what is left.
func TestClosedLate(t *testing.T) {
	a := newAudience(t)
	for i := range 5 {
		a.tick("a", midday.Add(time.Duration(i)*12*time.Second), watching("u", uint32(10*i), 0))
	}
	whole := a.closed(midday)
	a.now = midday.Add(2*time.Minute + 30*time.Second) // three ticks are left
	c := a.closed(midday)
	require.Empty(t, c.Rows)
	require.Equal(t, whole.Measured, c.Measured)
	require.EqualValues(t, 100, a.rows("u", store.Minute, midday)[0].Sum)
	a.now = midday.Add(time.Hour)
	c = a.closed(midday)
	require.Empty(t, c.Rows)
	require.Equal(t, whole.Measured, c.Measured, "the ticks have gone, the row has not")

	later := midday.Add(2 * time.Hour)
	for i := range 5 {
		a.tick("a", later.Add(time.Duration(i)*12*time.Second), watching("u", uint32(10*i), 0))
	}
	a.now = later.Add(2*time.Minute + 30*time.Second)
	c = a.closed(later)
	require.EqualValues(t, 2, c.Measured.Ticks)
	require.EqualValues(t, 70, c.Rows[0].Sum)
	require.Equal(t, c.Rows[0].ViewerRow, a.rows("u", store.Minute, later)[0])
}

// TestLateMinuteOfClosedHour: a minute that is closed after its hour is in the hour.
func TestLateMinuteOfClosedHour(t *testing.T) {
	a := newAudience(t)
	minute := func(m int) time.Time { return midday.Add(time.Duration(m) * time.Minute) }
	a.tick("a", minute(57), watching("u", 5, 0))
	require.Empty(t, a.closed(minute(57)).Hours)
	a.tick("a", minute(58).Add(48*time.Second), watching("u", 5, 0))
	a.tick("a", minute(59), watching("u", 5, 0))
	require.Len(t, a.closed(minute(59)).Hours, 1)
	require.EqualValues(t, 10, a.rows("u", store.Hour, midday)[0].Sum)
	require.Len(t, a.closed(minute(58)).Hours, 1)
	require.EqualValues(t, 15, a.rows("u", store.Hour, midday)[0].Sum)
	require.EqualValues(t, 15, a.rows("u", store.Day, midday.Truncate(24*time.Hour))[0].Sum)
	measured, err := a.Measured(context.Background(), store.Hour, midday, a.now)
	require.NoError(t, err)
	require.EqualValues(t, 3, measured[0].Ticks)
}

// TestHoursOfAnOutage: hours that nobody closed are closed later, with what there is.
func TestHoursOfAnOutage(t *testing.T) {
	a := newAudience(t)
	a.tick("a", midday, watching("u", 5, 0))
	a.closed(midday)
	a.now = midday.Add(30 * time.Hour)
	require.EqualValues(t, 5, a.rows("u", store.Hour, midday)[0].Sum, "before anybody closes it")
	require.EqualValues(t, 5, a.rows("u", store.Day, midday.Truncate(24*time.Hour))[0].Sum)
	at := a.now.Truncate(time.Minute)
	a.tick("a", at, watching("u", 7, 0))
	c := a.closed(at)
	require.Len(t, c.Hours, 1)
	require.Equal(t, midday, c.Hours[0].Time)
	require.EqualValues(t, 5, a.rows("u", store.Hour, midday)[0].Sum)
	require.Len(t, a.rows("u", store.Day, midday.Truncate(24*time.Hour)), 2)
}

// TestTickAgain: product.md §8 point 6: a repeated tick overwrites.
func TestTickAgain(t *testing.T) {
	a := newAudience(t)
	for _, n := range []uint32{9, 4} {
		a.tick("a", midday, watching("u", n, 0))
	}
	a.tick("b", midday, watching("u", 1, 1), ViewerCount{App: 12, URL: "u", Object: "other", Viewers: 2})
	counts, nodes, err := a.Tick(context.Background(), midday)
	require.NoError(t, err)
	require.Equal(t, 2, nodes)
	require.Equal(t, []ViewerCount{watching("u", 5, 1), {App: 12, URL: "u", Object: "other", Viewers: 2}}, counts)
	counts, nodes, err = a.Tick(context.Background(), midday.Add(12*time.Second))
	require.NoError(t, err)
	require.Zero(t, nodes)
	require.Empty(t, counts)
	c := a.closed(midday)
	require.EqualValues(t, 7, c.Rows[0].Sum, "two objects with the same url add up")
	require.Equal(t, []string{"o/u", "other"}, c.Rows[0].Objects)
}

// TestApplicationsAreApart: the same url in two applications is two series, and so are
// urls that look alike.
func TestApplicationsAreApart(t *testing.T) {
	a := newAudience(t)
	long := strings.Repeat("u", maxViewerURL)
	counts := []ViewerCount{watching("u", 1, 0), watching("u\x00", 2, 0), watching(long, 3, 0), watching(long[1:], 4, 0), {App: 13, URL: "u", Object: "x", Viewers: 5}}
	a.tick("a", midday, counts...)
	a.closed(midday)
	for _, c := range counts {
		rows, _, err := a.Rows(context.Background(), c.App, []string{c.URL}, store.Minute, midday, a.now, 10)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.EqualValues(t, c.Viewers, rows[0].Sum)
		require.Equal(t, c.URL, rows[0].URL)
	}
	urls, more, err := a.URLs(context.Background(), 12, midday, a.now, 10)
	require.NoError(t, err)
	require.False(t, more)
	require.Equal(t, []string{"u", "u\x00", long[1:], long}, urls)
	urls, more, err = a.URLs(context.Background(), 12, midday, a.now, 3)
	require.NoError(t, err)
	require.True(t, more)
	require.Len(t, urls, 3)
	urls, _, err = a.URLs(context.Background(), 12, midday.Add(-48*time.Hour), midday.Add(-24*time.Hour), 3)
	require.NoError(t, err)
	require.Empty(t, urls, "not on those days")
	_, _, err = a.URLs(context.Background(), 12, time.Time{}, midday, 3)
	require.Error(t, err)
}

// TestRetention is S10's: minutes 15 days, hours 45 days, days for ever.
func TestRetention(t *testing.T) {
	a := newAudience(t)
	var last time.Time
	for d := range 60 {
		for h := range 3 {
			at := midday.Add(time.Duration(d)*24*time.Hour + time.Duration(h)*time.Hour + 59*time.Minute)
			a.tick("a", at, watching("u", uint32(d+1), 0))
			a.closed(at)
			last = at
		}
	}
	f := func(g store.Grain, keep time.Duration, want int) {
		t.Helper()
		rows := a.rows("u", g, time.Time{})
		require.Len(t, rows, want)
		require.False(t, rows[0].Time.Before(a.now.Add(-keep)))
		require.Equal(t, last.Truncate(g.Width()), rows[len(rows)-1].Time)
	}
	f(store.Minute, ViewerKeep{}.WithDefaults().Minutes, 15*3)
	f(store.Hour, ViewerKeep{}.WithDefaults().Hours, 45*3)
	f(store.Day, 61*24*time.Hour, 60)
	require.Empty(t, a.rows("u", store.Minute, a.now.Add(time.Minute)))
	rows, more, err := a.Rows(context.Background(), 12, []string{"none", "u", "u"}, store.Day, time.Time{}, a.now, 70)
	require.NoError(t, err)
	require.True(t, more)
	require.Len(t, rows, 70)
}
