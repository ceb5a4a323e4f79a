package catchup

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/gobelin-broker/gobelin/store/storetest"
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
	f(ErrSampleAge, sample("u", midday.Add(sampleAhead+time.Second), 1))
	f(ErrSampleAge, sample("u", time.Time{}, 1))
	f(ErrManySamples, make([]ViewerSample, MaxSamples)...)
	a.add()
	a.add(sample("u", time.Unix(0, 0), 1), sample("u", midday.Add(sampleAhead), 1), sample(strings.Repeat("u", maxViewerURL), midday, 1))
}

// TestSamplesDaysOld is S14: the oldest that are taken make minutes, hours and days.
func TestSamplesDaysOld(t *testing.T) {
	a := newAudience(t)
	a.closed(midday)
	a.closed(midday.Add(30*24*time.Hour + 17*time.Minute))
	oldest := a.now.Add(-ViewerKeep{}.WithDefaults().Minutes).Truncate(time.Minute).Add(time.Minute)
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

// TestSamplesOfHistory is S14 and S10: what is too old for minutes makes hours and a day,
// what is too old for hours a day, and nothing that was counted is lost or counted twice.
func TestSamplesOfHistory(t *testing.T) {
	a := newAudience(t)
	a.tick("a", midday, watching("ours", 3, 0))
	a.closed(midday)
	a.add(sample("theirs", midday, 3))
	a.closed(midday.Add(time.Hour))
	a.now = midday.Add(20 * 24 * time.Hour)
	require.ErrorIs(t, a.AddSamples(context.Background(), 12, []ViewerSample{sample("u", midday.Add(4*24*time.Hour), 3)}), store.ErrUnavailable, "an outage: wait until somebody has closed that day")
	a.closed(midday.Add(60 * 24 * time.Hour))
	f := func(age time.Duration, hours int) {
		t.Helper()
		at := a.now.Add(-age).Truncate(time.Minute)
		url := age.String()
		add := func() {
			for i := range 3 { // in several calls, the last one again
				a.add(sample(url, at.Add(time.Duration(i)*time.Minute), uint32(10*i)))
				a.add(sample(url, at.Add(time.Duration(i)*time.Minute), uint32(10*i)), sample("other", at, 5))
			}
		}
		add()
		want := ViewerRow{App: 12, URL: url, Time: at.Truncate(day), Max: 20, Sum: 30, N: 3, Seconds: 1800}
		check := func() {
			t.Helper()
			require.Empty(t, a.rows(url, store.Minute, at))
			require.Equal(t, []ViewerRow{want}, a.rows(url, store.Day, at.Truncate(day)))
			require.Len(t, a.rows(url, store.Hour, at.Truncate(time.Hour)), hours)
			urls, _, err := a.URLs(context.Background(), 12, at, at.Add(time.Hour), 10)
			require.NoError(t, err)
			require.Contains(t, urls, url)
		}
		check()
		a.now = a.now.Add(20 * 24 * time.Hour)
		add()
		hours = min(hours, len(a.rows(url, store.Hour, at.Truncate(time.Hour))))
		check()
		a.now = a.now.Add(-20 * 24 * time.Hour)
	}
	f(16*24*time.Hour+3*time.Hour, 1)
	f(30*24*time.Hour, 1)
	f(200*24*time.Hour, 0)
	f(5*365*24*time.Hour, 0)

	for _, url := range []string{"ours", "theirs"} {
		refused := []ViewerSample{sample("new", a.now.Add(-70*24*time.Hour), 1), sample(url, midday, 1)}
		require.ErrorIs(t, a.AddSamples(context.Background(), 12, refused), ErrSampleAge, "what was counted is not known by the minute any more")
		require.EqualValues(t, 3, a.rows(url, store.Day, midday.Truncate(day))[0].Sum)
		require.Empty(t, a.rows("new", store.Day, midday.Add(-100*24*time.Hour)), "refused whole")
	}
}

// TestSamplesGoPast is S14: what was imported of a past day can be added to as long as all
// of it is kept, and is left alone after.
func TestSamplesGoPast(t *testing.T) {
	clock := storetest.NewClock()
	s, err := disk.Open(t.Context(), t.TempDir(), disk.Options{Now: clock.Now, Floor: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	v := NewViewers(s, 12*time.Second, ViewerKeep{})
	at := clock.Now().Add(-100 * 24 * time.Hour)
	add := func(i int) error {
		return v.AddSamples(t.Context(), 12, []ViewerSample{sample("u", at.Add(time.Duration(i)*time.Minute), 5)})
	}
	sum := func() uint64 {
		rows, _, err := v.Rows(t.Context(), 12, []string{"u"}, store.Day, at.Truncate(day), at.Add(day), 10)
		require.NoError(t, err)
		return rows[0].Sum
	}
	require.NoError(t, add(0))
	clock.Turn(40 * 24 * time.Hour)
	require.NoError(t, add(1), "which keeps the first one as long")
	clock.Turn(40 * 24 * time.Hour)
	require.NoError(t, add(1))
	require.EqualValues(t, 10, sum())
	// As if the first one had gone already.
	require.NoError(t, v.AddSamples(t.Context(), 12, []ViewerSample{sample("v", at, 5)}))
	row := ViewerRow{App: 12, URL: "v", Time: at.Truncate(day), Max: 5, Sum: 10, N: 2}
	require.NoError(t, v.put(t.Context(), countedSeries, store.Day, []ViewerRow{row}))
	require.ErrorIs(t, v.AddSamples(t.Context(), 12, []ViewerSample{sample("v", at, 5)}), ErrSampleAge)
}
