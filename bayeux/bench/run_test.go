package bench

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFanoutCountsPlantedFaults(t *testing.T) {
	f := func(plan func(int) []int, want Faults) {
		t.Helper()
		r := measure(t, &faulty{plan: plan}, Options{Scenario: Fanout, Subs: 2, Rate: 500}, 40)
		require.Equal(t, want, r.Faults)
		require.Zero(t, r.Refused)
		require.Zero(t, r.Broken)
		require.Equal(t, want == Faults{}, r.Err() == nil)
		require.Positive(t, r.Latency.Count)
		require.LessOrEqual(t, r.Latency.P50, r.Latency.Max)
	}
	f(nil, Faults{})
	f(func(n int) []int {
		if n == 10 {
			return []int{10, 10, 3}
		}
		return []int{n}
	}, Faults{Duplicate: 4})
	f(func(n int) []int {
		switch n {
		case 10:
			return nil
		case 11:
			return []int{11, 10}
		}
		return []int{n}
	}, Faults{Reordered: 2})
}

// A lost message is waited for, in bounded time, and then told.
func TestFanoutCountsLoss(t *testing.T) {
	t.Parallel()
	r := measure(t, &faulty{plan: func(n int) []int {
		if n == 10 || n == 20 {
			return nil
		}
		return []int{n}
	}}, Options{Scenario: Fanout, Subs: 3, Rate: 500}, 40)
	require.Equal(t, Faults{Lost: 6}, r.Faults)
	require.ErrorContains(t, r.Err(), "6 lost")
	require.Contains(t, r.Notes[0], "6 messages did not come")
}

// planted are faults of every kind and the plans that make them, of messages of which
// the tenth is hit.
var planted = []struct {
	plan func(n int) []int
	want Faults
}{
	{nil, Faults{}},
	{func(n int) []int {
		if n == 10 {
			return []int{10, 10}
		}
		return []int{n}
	}, Faults{Duplicate: 1}},
	{func(n int) []int {
		switch n {
		case 10:
			return nil
		case 11:
			return []int{11, 10}
		}
		return []int{n}
	}, Faults{Reordered: 1}},
	{func(n int) []int {
		if n == 10 {
			return nil
		}
		return []int{n}
	}, Faults{Lost: 1}},
}

// times is what n receivers have seen.
func (f Faults) times(n int64) Faults {
	return Faults{Lost: n * f.Lost, Duplicate: n * f.Duplicate, Reordered: n * f.Reordered}
}

func TestLongPollCountsPlantedFaults(t *testing.T) {
	for _, p := range planted[:3] {
		r := measure(t, &faulty{plan: p.plan}, Options{Scenario: LongPoll, Transport: LongPolling, Subs: 2, Rate: 500}, 40)
		require.Equal(t, p.want.times(2), r.Faults)
		require.Zero(t, r.Broken)
	}
}

// Channels have subscribers of their own, and what they hear of others is a fault. The
// messages of one are told apart from those of the next, or a swap would be none.
func TestChannelsCountsPlantedFaults(t *testing.T) {
	o := Options{Scenario: Channels, Channels: 3, Subs: 2, Rate: 500}
	r := measure(t, &faulty{}, o, 40)
	require.Equal(t, Faults{}, r.Faults)
	require.Positive(t, r.Latency.Count)
	r = measure(t, &faulty{plan: planted[1].plan}, o, 40)
	require.Equal(t, Faults{Duplicate: 2}, r.Faults)
	// Two of three messages come to the two subscribers of the first channel as well.
	r = measure(t, &faulty{stray: "/0"}, o, 40)
	strays := 2 * (r.Published - (r.Published+2)/3)
	require.Equal(t, Faults{Duplicate: strays}, r.Faults)
	r = measure(t, &faulty{}, Options{Scenario: Channels, Channels: 3, Subs: 2, Window: 4}, 400)
	require.Equal(t, Faults{}, r.Faults)
}

func TestCatchUpCountsPlantedFaults(t *testing.T) {
	t.Parallel()
	o := Options{Scenario: CatchUp, Conns: 3, Messages: 40}
	for _, p := range planted {
		past := p.plan
		if past == nil {
			past = func(n int) []int { return []int{n} }
		}
		f := &faulty{past: past}
		if p.want.Lost == 0 {
			r := whole(t, f, o)
			require.Equal(t, p.want.times(3), r.Faults)
			require.EqualValues(t, 3, r.Latency.Count)
			continue
		}
		// Those who miss something wait for it until they are told to end.
		opts := f.serving(t, o)
		r, err := Run(t.Context(), opts)
		require.NoError(t, err)
		require.Equal(t, p.want.times(3), r.Faults)
		require.Nil(t, r.Latency, "nobody has everything")
	}
}

// Who listens beside a herd has faults of its own.
func TestHerdCountsPlantedFaults(t *testing.T) {
	o := Options{Scenario: Herd, Conns: 3, Messages: 40, Subs: 2, Rate: 500, Duration: 50 * time.Millisecond}
	as := func(n int) []int { return []int{n} }
	r := whole(t, &faulty{past: as}, o)
	require.Equal(t, Faults{}, r.Faults)
	require.EqualValues(t, 3, r.Latency.Count)
	require.Positive(t, r.Live.Before.Count)
	require.Greater(t, r.Published, int64(40))
	r = whole(t, &faulty{past: planted[1].plan}, o)
	require.Equal(t, Faults{Duplicate: 3}, r.Faults)
	r = whole(t, &faulty{past: as, plan: func(n int) []int {
		if n == 45 {
			return []int{45, 45}
		}
		return []int{n}
	}}, o)
	require.Equal(t, Faults{Duplicate: 2}, r.Faults)
}

// A storm counts those who come back, how, and what they miss.
func TestStorm(t *testing.T) {
	t.Parallel()
	o := Options{Scenario: Storm, Conns: 5, Wait: time.Minute, Duration: time.Millisecond}
	f := func(s *faulty, transport string, fresh bool, want Back) {
		t.Helper()
		o := o
		o.Transport, o.Fresh = transport, fresh
		r := whole(t, s, o)
		require.Equal(t, Faults{}, r.Faults, "%s: %+v %+v", transport, r.Back, r.Notes)
		require.EqualValues(t, 5, r.Count)
		require.EqualValues(t, 5, r.Latency.Count)
		want.Seconds = r.Back.Seconds
		// Who comes before all has been said is told to come later.
		require.GreaterOrEqual(t, r.Back.Deferred, want.Deferred)
		require.Equal(t, want.Tries+r.Back.Deferred, r.Back.Tries)
		want.Tries, want.Deferred = r.Back.Tries, r.Back.Deferred
		require.Equal(t, want, *r.Back)
	}
	for _, transport := range []string{WebSocket, LongPolling} {
		f(&faulty{storm: true}, transport, false, Back{Resumed: 5, Tries: 5})
		f(&faulty{storm: true, deferred: 3}, transport, false, Back{Resumed: 5, Tries: 5, Deferred: 3})
	}
	f(&faulty{storm: true, resumed: func(n int, _ *faultySession) bool { return n >= 2 }}, WebSocket, false,
		Back{Resumed: 3, Handshaken: 2, Tries: 5, Deferred: 2, Missed: 2 * away})
	o.Fresh = true
	r := whole(t, &faulty{}, o)
	require.EqualValues(t, 5, r.Back.Handshaken)
	require.LessOrEqual(t, r.Back.Missed, int64(5*away), "who comes early hears what is said while others are away")
	require.Equal(t, Faults{}, r.Faults)
	r = whole(t, &faulty{}, Options{Scenario: Storm, Conns: 2, Wait: time.Minute, Duration: 20 * time.Millisecond, Subs: 2, Rate: 500})
	require.Positive(t, r.Live.Before.Count)
}

// Of those who resume, what was said while they were away may not be missing, and what
// they had before may come once more, but not twice.
func TestStormCountsPlantedFaults(t *testing.T) {
	t.Parallel()
	f := func(want Faults, resent int64, change func(s *faultySession)) {
		t.Helper()
		r := whole(t, &faulty{storm: true, resumed: func(n int, s *faultySession) bool {
			if n == 0 {
				change(s)
			}
			return true
		}}, Options{Scenario: Storm, Conns: 1, Wait: time.Minute, Duration: time.Millisecond})
		require.Equal(t, want, r.Faults)
		require.Equal(t, resent, r.Back.Resent)
	}
	first := fmtDelivery
	f(Faults{}, 0, func(*faultySession) {})
	f(Faults{Lost: 1}, 0, func(s *faultySession) { s.queue = s.queue[1:] })
	f(Faults{Duplicate: 1}, 0, func(s *faultySession) { s.queue = append(s.queue, s.queue[2]) })
	f(Faults{Reordered: 1}, 0, func(s *faultySession) { s.queue[0], s.queue[1] = s.queue[1], s.queue[0] })
	f(Faults{}, 1, func(s *faultySession) { s.queue = slices.Insert(s.queue, 0, first(s.queue[0])) })
	f(Faults{Duplicate: 1}, 1, func(s *faultySession) {
		s.queue = slices.Insert(s.queue, 0, first(s.queue[0]), first(s.queue[0]))
	})
}

// fmtDelivery makes of the message after the first one that first one.
func fmtDelivery(second []byte) []byte {
	b := slices.Clone(second)
	at := bytes.IndexByte(b, '#') + anchorSize + publisherDigits
	copy(b[at:], appendHex(nil, 0, seqDigits))
	return b
}

// The session of one who does not come back in time is told.
func TestStormTellsWhoStaysAway(t *testing.T) {
	r := whole(t, &faulty{deferred: 1 << 20}, Options{Scenario: Storm, Conns: 2, Wait: 50 * time.Millisecond, Duration: time.Millisecond})
	require.EqualValues(t, 1, r.Broken)
	require.ErrorContains(t, r.Err(), "figures do not count")
	require.Contains(t, r.Notes[0], "2 clients did not come back")
}

// Over the API each message has a result of its own.
func TestPublishByAPI(t *testing.T) {
	t.Parallel()
	o := Options{Scenario: Publish, Transport: API, Conns: 2, InFlight: 4}
	r := measure(t, &faulty{}, o, 100)
	require.NoError(t, r.Err())
	require.Positive(t, r.Latency.Count)
	r = measure(t, &faulty{refuse: func(n int) bool { return n == 7 }}, o, 100)
	require.Equal(t, int64(1), r.Refused)
	require.Contains(t, r.Notes[0], "403:x:planted")
	// A result too few: nobody knows of which message.
	r = measure(t, &faulty{plan: planted[3].plan}, Options{Scenario: Publish, Transport: API, Conns: 1, InFlight: 4}, 11)
	require.EqualValues(t, 1, r.Broken)
	require.EqualValues(t, 4, r.Lost)
	require.Contains(t, strings.Join(r.Notes, " "), "3 results for 4 messages")
}

// The form of the JSON is promised.
func TestReportJSON(t *testing.T) {
	l := &Latency{}
	text, err := json.Marshal(&Report{
		Interrupted: true, Latency: l, Live: &Live{Before: l, During: l}, Back: &Back{}, Server: &Server{}, Notes: []string{""},
	})
	require.NoError(t, err)
	latency := `{"count":0,"p50_us":0,"p90_us":0,"p99_us":0,"p99_9_us":0,"max_us":0}`
	require.JSONEq(t, `{"version":0,"scenario":"","url":"","transport":"","setting":"","interrupted":true,
		"seconds":0,"unit":"","count":0,"per_second":0,"latency":`+latency+`,
		"published":0,"lost":0,"duplicate":0,"reordered":0,"refused":0,"broken":0,
		"live":{"before":`+latency+`,"during":`+latency+`},
		"back":{"seconds":0,"resumed":0,"handshaken":0,"tries":0,"deferred":0,"resent":0,"missed":0},
		"connects_per_second":0,
		"server":{"cpu_seconds":0,"cpu_seconds_per_million":0,"rss_before":0,"rss_after":0,"rss_peak":0,"rss_per_connection":0},
		"generator":{"cpu_seconds":0,"share":0,"cores":0},"notes":[""]}`, string(text))
}

func TestPublishCountsRefusals(t *testing.T) {
	r := measure(t, &faulty{refuse: func(n int) bool { return n == 7 }}, Options{Scenario: Publish, Conns: 2, InFlight: 4}, 100)
	require.Zero(t, r.Faults)
	require.Equal(t, int64(1), r.Refused)
	require.ErrorContains(t, r.Err(), "1 refused")
	require.Contains(t, r.Notes[0], "403:x:planted")
}

func TestCatchUpTellsAServerWithout(t *testing.T) {
	server := httptest.NewServer(&faulty{sessions: map[string]*faultySession{}})
	defer server.Close()
	_, err := Run(t.Context(), Options{
		Scenario: CatchUp, URL: server.URL, Transport: WebSocket, Channel: "/bench", Size: 100, Conns: 1, Messages: 1, Since: "1h",
	})
	require.ErrorIs(t, err, ErrNoCatchUp)
}

func TestOptionsAreChecked(t *testing.T) {
	f := func(change func(*Options), want string) {
		t.Helper()
		o := Options{Scenario: Fanout, URL: "http://127.0.0.1:1/", Transport: WebSocket, Channel: "/bench", Size: 128, Subs: 1, Window: 1, Duration: time.Second}
		change(&o)
		_, err := Run(t.Context(), o)
		require.ErrorIs(t, err, ErrOptions)
		require.ErrorContains(t, err, want)
	}
	f(func(o *Options) { o.Scenario = "x" }, `no scenario "x"`)
	f(func(o *Options) { o.Transport = "x" }, "transport must be")
	f(func(o *Options) { o.Channel = "x" }, "channel: ")
	f(func(o *Options) { o.Size = MinSize - 1 }, "size must be")
	f(func(o *Options) { o.Subs = 0 }, "subs must be")
	f(func(o *Options) { o.Rate = 1 }, "one of window and rate")
	f(func(o *Options) { o.Window = 0 }, "one of window and rate")
	f(func(o *Options) { o.Window, o.Rate = 0, 1e7 }, "rate must be")
	f(func(o *Options) { o.Duration = 0 }, "duration must be")
	f(func(o *Options) { o.URL = "ftp://x" }, "not http")
	f(func(o *Options) { o.URL = "http:///x" }, "no host")
	f(func(o *Options) { o.Scenario = Publish }, "conns must be")
	f(func(o *Options) { o.Scenario = CatchUp }, "since must be")
	f(func(o *Options) { o.Transport = API }, "can only publish")
	f(func(o *Options) { o.Token = "a\r\nb" }, "token must be one line")
	f(func(o *Options) { o.Scenario, o.Channels = Channels, 0 }, "channels must be")
	f(func(o *Options) { o.Scenario, o.Channels, o.Subs = Channels, 1001, 1000 }, "channels times subs")
	f(func(o *Options) { o.Scenario, o.Channels, o.Window = Channels, 1001, 1000 }, "channels times window")
	f(func(o *Options) { o.Scenario, o.Conns, o.Messages, o.Since = Herd, 1, 1, "1h" }, "rate must be")
	f(func(o *Options) { o.Scenario, o.Conns, o.Messages, o.Since, o.Subs = Herd, 1, 1, "1h", 0 }, "subs must be")
	f(func(o *Options) { o.Scenario = Storm }, "wait must be")
}

// What waited is charged: the latency of a message is from when it was due.
func TestLatencyIsFromTheIntendedTime(t *testing.T) {
	c := newClock()
	c.zero = time.Now().Add(-time.Second)
	c.measureFrom(100 * time.Millisecond)
	c.observe(0, []mark{{sent: 50 * time.Millisecond}, {sent: 100 * time.Millisecond}})
	l := c.latency()
	require.Equal(t, int64(1), l.Count, "what was sent while warming up does not count")
	require.GreaterOrEqual(t, l.P50, int64(890_000))
}
