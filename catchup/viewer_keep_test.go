package catchup

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// Rows that are kept for other times than usual, and then for longer: minutes that are
// gone do not come back, and a day of them cannot be folded from a few late samples.
func TestViewerKeep(t *testing.T) {
	a := newAudience(t)
	short := ViewerKeep{Minutes: 24 * time.Hour, Hours: 72 * time.Hour}
	a.Viewers = NewViewers(a.store, 12*time.Second, short)
	for h := range 8 * 24 {
		at := midday.Add(time.Duration(h)*time.Hour + 59*time.Minute)
		a.tick("a", at, watching("u", 5, 0))
		a.closed(at)
	}
	require.Len(t, a.rows("u", store.Minute, time.Time{}), 24)
	require.Len(t, a.rows("u", store.Hour, time.Time{}), 71, "and not the one that began before")
	require.Len(t, a.rows("u", store.Day, time.Time{}), 9)

	a.Viewers = NewViewers(a.store, 12*time.Second, ViewerKeep{})
	before := a.rows("u", store.Day, time.Time{})
	old := a.now.Add(-6 * 24 * time.Hour).Truncate(time.Minute)
	require.ErrorIs(t, a.AddSamples(t.Context(), 12, []ViewerSample{sample("u", old, 1)}), ErrSampleAge)
	require.Equal(t, before, a.rows("u", store.Day, time.Time{}), "the day is what it was")
	a.add(sample("u", a.now.Truncate(time.Minute), 1))

	// Days after the change have all minutes for as long as is said now.
	for range 6 * 24 {
		a.now = a.now.Add(time.Hour)
		a.tick("a", a.now, watching("u", 5, 0))
		a.closed(a.now.Truncate(time.Minute))
	}
	late := a.now.Add(-4 * 24 * time.Hour).Truncate(time.Minute)
	a.add(sample("u", late, 7))
	day := a.rows("u", store.Day, late.Truncate(24*time.Hour))[0]
	require.EqualValues(t, 25, day.N, "24 minutes that were counted, and one more")
}

func TestViewerKeepValid(t *testing.T) {
	require.NoError(t, ViewerKeep{}.WithDefaults().Validate())
	require.NoError(t, ViewerKeep{Minutes: 90 * 24 * time.Hour}.WithDefaults().Validate(), "hours go on as long")
	require.Error(t, ViewerKeep{Minutes: time.Hour}.WithDefaults().Validate())
	require.Error(t, ViewerKeep{Hours: 72 * time.Hour}.WithDefaults().Validate(), "hours shorter than minutes")
}
