package catchup

import (
	"context"
	"fmt"
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
	a.store, a.Viewers = s, NewViewers(s, 12*time.Second)
	return a
}

func watching(url string, viewers, arrived uint32) ViewerCount {
	return ViewerCount{App: 12, URL: url, Object: "o/" + url, Viewers: viewers, Arrived: arrived}
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
