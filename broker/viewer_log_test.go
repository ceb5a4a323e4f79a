package broker

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// gallery is a broker that nobody runs, on a store whose clock a test turns: all ticks
// are those of the test.
type gallery struct {
	testing.TB
	*Broker
	clock      atomic.Int64 // ns since 1970; the store reads it, too
	demo, vod  *Application
	ring       *channels.Keyring
	background context.Context
}

func newGallery(t testing.TB, change func(*Options)) *gallery {
	t.Helper()
	g := &gallery{TB: t, background: context.Background()}
	g.turn(noon)
	s := memory.New(memory.Options{Now: g.now})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	var err error
	g.ring, err = channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	o := Options{
		Store: s, Keyring: g.ring, Logger: zap.NewNop(), AutoCreate: true, Now: g.now,
		Accounts: []Account{{CDN: 158, APIKey: "k", APISecret: signatureSecret, Apps: []Application{{ID: 12, Name: "demo"}, {ID: 11, Name: "vod"}}}},
	}
	if change != nil {
		change(&o)
	}
	g.Broker, err = New(o)
	require.NoError(t, err)
	g.demo, g.vod = g.tokens.application("demo"), g.tokens.application("vod")
	return g
}

func (g *gallery) now() time.Time { return time.Unix(0, g.clock.Load()).UTC() }

// turn sets the clock.
func (g *gallery) turn(to time.Time) { g.clock.Store(to.UnixNano()) }

// minute counts a minute, tick by tick: each has the counts of the urls in order.
func (g *gallery) minute(at time.Time, app *Application, urls []string, ticks ...[]uint32) {
	g.Helper()
	for i, counts := range ticks {
		var all []catchup.ViewerCount
		for j, n := range counts {
			all = append(all, catchup.ViewerCount{App: app.ID, URL: urls[j], Object: "o/" + urls[j], Viewers: n})
		}
		g.turn(at.Add(time.Duration(i) * 12 * time.Second))
		require.NoError(g, g.stats.PutTick(g.background, "n1", g.now(), all))
	}
	g.turn(at.Add(65 * time.Second))
	_, err := g.stats.CloseMinute(g.background, at)
	require.NoError(g, err)
}

func (g *gallery) add(app *Application, samples ...catchup.ViewerSample) {
	g.Helper()
	require.NoError(g, g.AddSamples(g.background, app, samples))
}

// log asks and returns each row as "time app url min/avg/max/sum", and what is extended.
func (g *gallery) log(q ViewerQuery) []string {
	g.Helper()
	rows, err := g.ViewerLog(g.background, q)
	require.NoError(g, err)
	out := []string{}
	for _, r := range rows {
		text := fmt.Sprintf("%s %s %s %d/%d/%d/%d", r.Time.UTC().Format("02 15:04"), r.App.Name, r.URL, r.Min, r.Avg(), r.Max, r.Sum)
		if q.Extended {
			text += fmt.Sprintf(" n=%d partial=%t", r.N, r.Partial)
		}
		out = append(out, text)
	}
	return out
}

func urlPattern(t testing.TB, texts ...string) URLPattern {
	p, err := ParseURLPattern(texts)
	require.NoError(t, err)
	return p
}

func TestS8S9S10Window(t *testing.T) {
	f := func(graph int64, start, now string, grain store.Grain, from, to string) {
		t.Helper()
		at := func(s string) time.Time {
			if s == "" {
				return time.Time{}
			}
			v, err := time.Parse(ViewerTime, s)
			require.NoError(t, err)
			return v
		}
		w := windowOf(ViewerQuery{Graph: ViewerGraphs[graph], Start: at(start)}, catchup.ViewerKeep{}.WithDefaults(), at(now))
		require.Equal(t, grain, w.grain)
		require.Equal(t, from, w.from.Format(ViewerTime))
		require.Equal(t, to, w.to.Format(ViewerTime))
	}
	const now = "2026-03-31 12:34:56"
	// S8, S9: without a start until now, with one from there.
	f(1, "", now, store.Minute, "2026-03-31 06:34:56", now)
	f(2, "", now, store.Minute, "2026-03-30 12:34:56", now)
	f(3, "", now, store.Hour, "2026-03-24 12:34:56", now)
	f(4, "", now, store.Day, "2026-03-01 12:34:56", now)
	f(1, "2026-03-31 01:02:03", now, store.Minute, "2026-03-31 01:02:03", "2026-03-31 07:02:03")
	f(3, "2026-03-20 01:02:03", now, store.Hour, "2026-03-20 01:02:03", "2026-03-27 01:02:03")
	f(1, "2027-01-01 00:00:00", now, store.Minute, "2027-01-01 00:00:00", "2027-01-01 06:00:00")
	// S10: by the age of the start, which then begins its row.
	f(1, "2026-03-16 12:34:56", now, store.Minute, "2026-03-16 12:34:56", "2026-03-16 18:34:56")
	f(1, "2026-03-16 12:34:55", now, store.Hour, "2026-03-16 12:00:00", "2026-03-16 18:34:55")
	f(3, "2026-02-14 12:34:56", now, store.Hour, "2026-02-14 12:34:56", "2026-02-21 12:34:56")
	f(3, "2026-02-14 12:34:55", now, store.Day, "2026-02-14 00:00:00", "2026-02-21 12:34:55")
	f(2, "2026-02-14 12:34:55", now, store.Day, "2026-02-14 00:00:00", "2026-02-15 12:34:55")
	f(4, "2020-02-14 12:34:55", now, store.Day, "2020-02-14 12:34:55", "2020-03-15 12:34:55")
}

// TestS11TheSourcesRow: 10, 10, 20, 30, 30 are on average 20 and together 100, minute
// after minute, hour and day.
func TestS11TheSourcesRow(t *testing.T) {
	g := newGallery(t, nil)
	g.minute(noon, g.demo, []string{"a/b.mp4"}, []uint32{10}, []uint32{10}, []uint32{20}, []uint32{30}, []uint32{30})
	q := ViewerQuery{Apps: []*Application{g.demo}, URLs: urlPattern(t, "a/b.mp4"), Graph: ViewerGraphs[1], Start: noon}
	require.Equal(t, []string{"01 12:00 demo a/b.mp4 10/20/30/100"}, g.log(q))
	g.minute(noon.Add(time.Minute), g.demo, []string{"a/b.mp4"}, []uint32{5})
	q.Graph = ViewerGraphs[3]
	require.Equal(t, []string{"01 12:00 demo a/b.mp4 5/18/30/105"}, g.log(q))
	q.Graph, q.Start = ViewerGraphs[4], noon.Truncate(day)
	require.Equal(t, []string{"01 00:00 demo a/b.mp4 5/18/30/105"}, g.log(q))
	// S9: rows begin on or after starttime; nothing is there before or in the future.
	for _, start := range []time.Time{noon.Add(time.Second), noon.Add(-7 * time.Hour), noon.Add(1000 * day)} {
		q.Graph, q.Start = ViewerGraphs[1], start
		want := []string{}
		if start.Equal(noon.Add(time.Second)) {
			want = []string{"01 12:01 demo a/b.mp4 5/5/5/5"}
		}
		require.Equal(t, want, g.log(q), start)
	}
}

// TestS12Order: one row for each application, url and time, by time first.
func TestS12Order(t *testing.T) {
	g := newGallery(t, nil)
	g.minute(noon, g.vod, []string{"b", "a"}, []uint32{1, 2})
	g.turn(noon.Add(3 * time.Minute))
	g.add(g.demo, catchup.ViewerSample{URL: "b", Time: noon, Count: 3}, catchup.ViewerSample{URL: "c", Time: noon.Add(-time.Minute), Count: 4})
	q := ViewerQuery{Apps: []*Application{g.vod, g.demo}, Graph: ViewerGraphs[1]}
	require.Equal(t, []string{
		"01 11:59 demo c 4/4/4/4", "01 12:00 demo b 3/3/3/3", "01 12:00 vod a 2/2/2/2", "01 12:00 vod b 1/1/1/1",
	}, g.log(q))
	// S6, S7: of the applications and urls that are asked for.
	q.Apps = q.Apps[:1]
	require.Len(t, g.log(q), 2)
	q.URLs = urlPattern(t, "b|*z", "nothing")
	require.Equal(t, []string{"01 12:00 vod b 1/1/1/1"}, g.log(q))
	q.URLs = urlPattern(t, "A")
	require.Empty(t, g.log(q))
}

// TestS10Age: what is older than its rows are kept is answered with coarser ones.
func TestS10Age(t *testing.T) {
	g := newGallery(t, nil)
	g.minute(noon, g.demo, []string{"a"}, []uint32{7}, []uint32{9})
	g.minute(noon.Add(12*time.Hour-time.Minute), g.demo, nil, nil) // with which the day is over
	q := ViewerQuery{Apps: []*Application{g.demo}, Graph: ViewerGraphs[1], Start: noon.Add(-time.Minute)}
	f := func(age time.Duration, want string) {
		t.Helper()
		g.turn(q.Start.Add(age))
		require.Equal(t, []string{want}, g.log(q))
	}
	f(15*day, "01 12:00 demo a 7/8/9/16")
	f(15*day+time.Second, "01 12:00 demo a 7/8/9/16") // the row of the hour
	f(45*day, "01 12:00 demo a 7/8/9/16")
	f(45*day+time.Second, "01 00:00 demo a 7/8/9/16")
	f(3000*day, "01 00:00 demo a 7/8/9/16")
	q.Start = noon.Add(30 * time.Minute)
	g.turn(q.Start.Add(15*day + time.Second))
	require.Equal(t, []string{"01 12:00 demo a 7/8/9/16"}, g.log(q), "the hour that 12:30 is in")
}

// TestS13FillAndPartial: nobody there is told apart from not measured.
func TestS13FillAndPartial(t *testing.T) {
	g := newGallery(t, nil)
	g.minute(noon, g.demo, []string{"a"}, []uint32{4}, []uint32{4}, []uint32{4}, []uint32{4}, []uint32{4})
	g.minute(noon.Add(time.Minute), g.demo, nil, nil, nil, nil, nil, nil) // measured, nobody there
	// 12:02 is not measured.
	g.minute(noon.Add(3*time.Minute), g.demo, []string{"b"}, []uint32{1}, []uint32{1})
	q := ViewerQuery{Apps: []*Application{g.demo}, Graph: ViewerGraphs[1], Start: noon, Fill: true, Extended: true}
	require.Equal(t, []string{
		"01 12:00 demo a 4/4/4/20 n=5 partial=false", "01 12:00 demo b 0/0/0/0 n=5 partial=false",
		"01 12:01 demo a 0/0/0/0 n=5 partial=false", "01 12:01 demo b 0/0/0/0 n=5 partial=false",
		"01 12:03 demo a 0/0/0/0 n=2 partial=true", "01 12:03 demo b 1/1/1/2 n=2 partial=true",
	}, g.log(q))
	// A url that is named is filled, too: nobody watched it.
	q.URLs = urlPattern(t, "c")
	require.Len(t, g.log(q), 3)
	// The hour is not over; and it was not measured whole when it is.
	q.URLs, q.Graph, q.Fill = urlPattern(t, "a"), ViewerGraphs[3], false
	require.Equal(t, []string{"01 12:00 demo a 4/4/4/20 n=5 partial=true"}, g.log(q))
	g.turn(noon.Add(25 * time.Hour))
	require.Equal(t, []string{"01 12:00 demo a 4/4/4/20 n=5 partial=true"}, g.log(q))
	// What was only reported from outside is whole once its time is over.
	g.add(g.vod, catchup.ViewerSample{URL: "a", Time: noon.Add(10 * time.Hour), Count: 3})
	q.Apps, q.Graph = []*Application{g.vod}, ViewerGraphs[1]
	q.Start = noon.Add(9 * time.Hour)
	require.Equal(t, []string{"01 22:00 vod a 3/3/3/3 n=1 partial=false"}, g.log(q))
}

// TestS14Samples: counts of others; a repeat changes nothing, and what cannot be taken
// is refused with what to do, all of it.
func TestS14Samples(t *testing.T) {
	g := newGallery(t, nil)
	var minute []catchup.ViewerSample
	for i, n := range []uint32{10, 10, 20, 30, 30} {
		minute = append(minute, catchup.ViewerSample{URL: "a", Time: noon.Add(time.Duration(i)*12*time.Second - 2*time.Hour), Count: n})
	}
	q := ViewerQuery{Apps: []*Application{g.demo}, Graph: ViewerGraphs[1]}
	for range 2 {
		g.add(g.demo, minute...)
		require.Equal(t, []string{"01 10:00 demo a 10/20/30/100"}, g.log(q))
	}
	f := func(s catchup.ViewerSample, words string) {
		t.Helper()
		err := g.AddSamples(g.background, g.demo, []catchup.ViewerSample{{URL: "new", Time: g.now().Add(-time.Hour), Count: 1}, s})
		var refusal *Error
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, 4000, refusal.Result)
		require.Contains(t, refusal.Text, words)
		for _, row := range g.log(q) {
			require.NotContains(t, row, "new")
		}
	}
	f(catchup.ViewerSample{URL: "a", Time: noon.Add(2 * time.Minute)}, "in the future")
	f(catchup.ViewerSample{URL: "", Time: noon}, "url must be 1 to")
	f(catchup.ViewerSample{URL: "a\x1b[2J", Time: noon}, "without control characters")

	// History, of which hours or days are kept.
	g.add(g.demo, catchup.ViewerSample{URL: "old", Time: noon.Add(-20 * day), Count: 3}, catchup.ViewerSample{URL: "older", Time: noon.Add(-100 * day), Count: 4})
	q.Start = noon.Add(-20*day - time.Hour)
	require.Equal(t, []string{"09 12:00 demo old 3/3/3/3"}, g.log(q))
	q.Start = noon.Add(-100 * day)
	require.Equal(t, []string{"21 00:00 demo older 4/4/4/4"}, g.log(q))
	// A day that was counted before its minutes went is as it is.
	g.turn(noon.Add(17 * day))
	q.Start = time.Time{}
	f(catchup.ViewerSample{URL: "a", Time: noon.Add(-2 * time.Hour), Count: 9}, "counted before")
}

// TestViewerRowsBound: an answer that would be too large is refused, not cut short.
func TestViewerRowsBound(t *testing.T) {
	g := newGallery(t, nil)
	urls := make([]string, 200)
	counts := make([]uint32, len(urls))
	for i := range urls {
		urls[i], counts[i] = fmt.Sprintf("u%03d", i), 1
	}
	start := noon.Add(-24 * time.Hour)
	for at := start; at.Before(noon); at = at.Add(time.Hour) {
		g.minute(at, g.demo, urls, counts)
	}
	for at := start.Add(time.Minute); at.Before(start.Add(18 * time.Hour)); at = at.Add(time.Minute) {
		g.minute(at, g.demo, nil, nil) // nobody there
	}
	g.turn(noon)
	q := ViewerQuery{Apps: []*Application{g.demo}, Graph: ViewerGraphs[2]}
	require.Len(t, g.log(q), 24*200)
	q.Fill = true
	_, err := g.ViewerLog(g.background, q)
	require.Equal(t, errTooManyRows, err)
	q.URLs = urlPattern(t, "u00*")
	require.NotEmpty(t, g.log(q))
}

func TestViewerChartRights(t *testing.T) {
	f := func(public bool, want map[channels.Class]bool) {
		t.Helper()
		g := newGallery(t, func(o *Options) { o.StatsPublic = public })
		o, _, err := g.objects.create(g.background, g.demo, ObjectSpec{ID: "show", Name: "The show", URL: "a", Type: TypeLive})
		require.NoError(t, err)
		g.minute(noon, g.demo, []string{"a"}, []uint32{4})
		g.minute(noon.Add(time.Minute), g.demo, nil, nil)
		for class, allowed := range want {
			c, err := g.ViewerChart(g.background, g.ring.Root(o.OID, class, g.now()), ViewerGraphs[1])
			if !allowed {
				require.Equal(t, ErrNoObject, err, class)
				continue
			}
			require.NoError(t, err, class)
			require.Equal(t, "The show", c.Title())
			require.Equal(t, time.Minute, c.Step)
			require.Len(t, c.Rows, 2)
			require.EqualValues(t, 4, c.Rows[0].Max)
			require.Zero(t, c.Rows[1].Max)
			require.True(t, c.From.Equal(g.now().Add(-6*time.Hour)) && c.To.Equal(g.now()))
		}
		// Altered, of an object that is not there, no root at all: one answer.
		root := []byte(g.ring.Root(o.OID, channels.ClassControl, g.now()))
		root[39] ^= 1
		stranger := newGallery(t, nil)
		there, err := stranger.objects.ensure(stranger.background, stranger.demo, "another")
		require.NoError(t, err)
		for _, bad := range []string{string(root), stranger.ring.Root(there.OID, channels.ClassControl, g.now()), "", "nonsense", "../x"} {
			_, err := g.ViewerChart(g.background, bad, ViewerGraphs[1])
			require.Equal(t, ErrNoObject, err, bad)
		}
		require.NoError(t, g.DeleteObject(g.background, g.demo, "show"))
		_, err = g.ViewerChart(g.background, g.ring.Root(o.OID, channels.ClassControl, g.now()), ViewerGraphs[1])
		require.Equal(t, ErrNoObject, err)
	}
	f(false, map[channels.Class]bool{channels.ClassControl: true, channels.ClassView: false, channels.ClassDaily: false, channels.ClassGuest: false, channels.ClassIngest: false})
	f(true, map[channels.Class]bool{channels.ClassControl: true, channels.ClassView: true, channels.ClassDaily: true, channels.ClassGuest: false, channels.ClassIngest: false})
}
