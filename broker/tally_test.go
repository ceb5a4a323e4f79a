package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// watchers join and view an object on a node; they stay without connecting.
func (x *bench) watchers(id string, n int) (all []*peer) {
	x.t.Helper()
	view := x.root(id, channels.ClassView)
	for range n {
		p := x.join("")
		require.True(x.t, p.subscribe(view+"/chat").ok())
		all = append(all, p)
	}
	return all
}

// statsSaid reads all that a channel of statistics of an object keeps.
func (x *bench) statsSaid(id, name string) (said []string) {
	x.t.Helper()
	o, err := x.b.objects.get(context.Background(), x.app, id)
	require.NoError(x.t, err)
	log := store.LogName{Feed: feedOf(o), Path: "/stats/" + name}
	page, err := x.store.Read(context.Background(), log, store.Range{Limits: x.b.kinds.stats[name].limits}, 100_000, 1<<26)
	require.NoError(x.t, err)
	require.False(x.t, page.More)
	for _, e := range page.Entries {
		m, err := catchup.Decode(e)
		require.NoError(x.t, err)
		said = append(said, string(m.Data))
	}
	return said
}

// long keeps sessions alive that never connect.
func long(_ *Options, bo *bayeux.Options) { bo.Timeout, bo.MaxInterval = 24*time.Hour, 30*24*time.Hour }

func longOptions(o *Options, bo *bayeux.Options) {
	long(o, bo)
	o.SessionLife = 31 * 24 * time.Hour
}

// liveAt is what /stats/live says of a sample.
func liveAt(at time.Time, viewers int) string {
	return fmt.Sprintf(`{"time":%d,"viewers":%d}`, at.UnixMilli(), viewers)
}

// sleepTo lets time pass up to a moment, and all that is due then.
func sleepTo(at time.Time) {
	time.Sleep(time.Until(at))
	synctest.Wait()
}

// TestStatsLive: product.md §8.2 and §4, /stats/live: one message a sample with the sum of
// all nodes, a last 0, and then nothing.
func TestStatsLive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleetWith(t, 3, longOptions)
		began := time.Now()
		board := nodes[2].join("")
		control := nodes[0].root("gala", channels.ClassControl)
		require.True(t, board.subscribe(control+"/stats/live").ok())
		var all []*peer
		for i, n := range []int{1, 2, 3} {
			all = append(all, nodes[i].watchers("gala", n)...)
		}
		sleepTo(began.Add(30 * time.Second))
		for _, p := range all {
			require.True(t, p.x.post(p, p.message("/meta/disconnect", ""))[0].ok())
		}
		sleepTo(began.Add(2 * time.Minute))
		want := []string{
			liveAt(began.Add(defaultSample), 6), liveAt(began.Add(2*defaultSample), 6), liveAt(began.Add(3*defaultSample), 0),
		}
		require.Equal(t, want, nodes[0].statsSaid("gala", statsLive))
		var heard []string
		for range 3 {
			board.connectAt(nodes[2], 1)
		}
		for _, d := range board.inbox {
			require.Equal(t, control+"/stats/live", d.Channel)
			heard = append(heard, string(d.Data))
		}
		require.Equal(t, want, heard)
		// The past, by catch-up.
		late := nodes[1].join("")
		require.Equal(t, 3, late.subscribe(control+"/stats/live/catchup/24h").Ext.Catchup.Messages)
	})
}

// TestStatsRights: product.md §4, who may hear /stats/*; S: stats.public.
func TestStatsRights(t *testing.T) {
	for _, public := range []bool{false, true} {
		t.Run(fmt.Sprint("stats.public ", public), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				x := newBench(t, func(o *Options, _ *bayeux.Options) { o.StatsPublic = public })
				view, control := x.root("gala", channels.ClassView), x.root("gala", channels.ClassControl)
				f := func(p *peer, channel, want string) {
					t.Helper()
					if r := p.subscribe(channel); want == "" {
						require.True(t, r.ok(), r.Error)
					} else {
						require.Equal(t, want, r.Error)
					}
				}
				as := func(role, id string) *peer { return x.join(x.ext(map[string]any{"role": role, "channel_id": id})) }
				refusedTo := func(channel string) string { return "403:" + channel + ":Forbidden channel" }
				live := refusedTo(view + "/stats/live")
				past := refusedTo(view + "/stats/live/catchup/1h")
				if public {
					live, past = "", ""
				}
				f(x.join(""), view+"/stats/live", live)
				f(x.join(""), view+"/stats/live/catchup/1h", past)
				f(as("moderator", "gala"), view+"/stats/live", live)
				for _, name := range []string{"minute", "hour", "day"} {
					f(x.join(""), view+"/stats/"+name, refusedTo(view+"/stats/"+name))
					f(as("moderator", "gala"), view+"/stats/"+name, refusedTo(view+"/stats/"+name))
					f(as("broadcaster", "other"), view+"/stats/"+name, refusedTo(view+"/stats/"+name))
					f(as("broadcaster", "gala"), view+"/stats/"+name, "")
					f(x.join(""), control+"/stats/"+name, "")
				}
				f(x.join(""), control+"/stats/live", "")
				f(as("broadcaster", "gala"), view+"/stats/live", "")
				f(x.join(""), control+"/stats/live/catchup/24h", "")
				f(x.join(""), control+"/stats/live/catchup/25h", "413:"+control+"/stats/live/catchup/25h,24h:Catch-up interval too long")
				f(x.join(""), control+"/stats/minute/catchup/360h", "")
				f(x.join(""), control+"/stats/minute/catchup/361h", "413:"+control+"/stats/minute/catchup/361h,360h:Catch-up interval too long")
				f(x.join(""), control+"/stats/hour/catchup/1080h", "")
				f(x.join(""), control+"/stats/hour/catchup/1081h", "413:"+control+"/stats/hour/catchup/1081h,1080h:Catch-up interval too long")
				f(x.join(""), control+"/stats/day/catchup/8760h", "")
				f(x.join(""), control+"/stats/day/catchup/8761h", "413:"+control+"/stats/day/catchup/8761h,8760h:Catch-up interval too long")
				f(x.join(""), control+"/stats/week", "405:"+control+"/stats/week:Invalid channel")
				// Nobody publishes there.
				require.Equal(t, "403:"+control+"/stats/live:Forbidden channel", x.join("").publish(control+"/stats/live", "1", "").Error)
				out := x.b.PublishAll(t.Context(), x.backend(), []Publication{{ObjectID: "gala", Channel: "stats/live", Data: []byte("1")}})
				require.ErrorContains(t, out[0].Err, "nobody may publish to stats/live this way")
			})
		})
	}
}

// TestStatsRows: product.md §8.3 and §8.4 and §4: a row of each minute, hour and day, when
// it has closed, once, on the channels of all objects of its url.
func TestStatsRows(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleetWith(t, 2, longOptions)
		began := time.Now().UTC() // midnight
		url := "stage"
		for _, id := range []string{"gala", "gala-2"} {
			_, _, err := nodes[0].b.objects.create(t.Context(), nodes[0].app, ObjectSpec{ID: id, URL: url})
			require.NoError(t, err)
		}
		nodes[0].watchers("gala", 3)
		row := func(at time.Time, avg, least, most, sum int) string {
			return fmt.Sprintf(`{"app":"demo","video_url":"stage","viewer_count_avg":%d,"viewer_count_min":%d,"viewer_count_max":%d,"viewer_count_sum":%d,"time":%q}`,
				avg, least, most, sum, at.Format(time.DateTime))
		}
		// The minute that has begun has four samples, at 12, 24, 36 and 48 s.
		sleepTo(began.Add(time.Minute + closeAfter - time.Millisecond))
		require.Empty(t, nodes[0].statsSaid("gala", statsMinute))
		sleepTo(began.Add(time.Minute + closeAfter))
		require.Equal(t, []string{row(began, 3, 3, 3, 12)}, nodes[0].statsSaid("gala", statsMinute))
		all := nodes[1].watchers("gala-2", 2)
		sleepTo(began.Add(2*time.Minute - 20*time.Second)) // 60 s: 3; 72, 84, 96 s: 5
		for _, p := range all {
			require.True(t, p.x.post(p, p.message("/meta/disconnect", ""))[0].ok())
		}
		sleepTo(began.Add(2*time.Minute + closeAfter)) // 108 s: 3
		want := []string{row(began, 3, 3, 3, 12), row(began.Add(time.Minute), 4, 3, 5, 21)}
		require.Equal(t, want, nodes[0].statsSaid("gala", statsMinute))
		require.Equal(t, want[1:], nodes[0].statsSaid("gala-2", statsMinute))
		sleepTo(began.Add(time.Hour + closeAfter))
		require.Len(t, nodes[0].statsSaid("gala", statsMinute), 60)
		hour := row(began, 3, 3, 5, 12+21+58*15)
		require.Equal(t, []string{hour}, nodes[0].statsSaid("gala", statsHour))
		require.Equal(t, []string{hour}, nodes[0].statsSaid("gala-2", statsHour))
		rows, _, err := nodes[1].b.stats.Rows(t.Context(), nodes[1].app.ID, []string{url}, store.Hour, began, began.Add(time.Hour), 10)
		require.NoError(t, err)
		require.Len(t, rows, 1)
		require.EqualValues(t, 5, rows[0].Unique(), "sessions (S13)")
		require.Empty(t, nodes[0].statsSaid("gala", statsDay))
		early := nodes[1].watchers("early", 1)[0]
		sleepTo(time.Now().Add(time.Minute))
		require.True(t, nodes[1].post(early, early.message("/meta/disconnect", ""))[0].ok())
		sleepTo(began.Add(day + closeAfter))
		require.Len(t, nodes[0].statsSaid("gala", statsHour), 24)
		require.Len(t, nodes[0].statsSaid("early", statsHour), 1)
		require.Len(t, nodes[0].statsSaid("early", statsDay), 1, "viewed in one hour only")
		require.Equal(t, []string{row(began, 3, 3, 5, 12+21+1438*15)}, nodes[0].statsSaid("gala", statsDay))
		require.Equal(t, []string{row(began, 3, 3, 5, 12+21+1438*15)}, nodes[0].statsSaid("gala-2", statsDay))
	})
}

// TestLeaderDies: who adds up dies; another goes on within a sample and a lease, and what
// was missed comes late and once (product.md §8.3).
func TestLeaderDies(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		nodes := newFleetWith(t, 3, longOptions)
		began := time.Now()
		for _, x := range nodes {
			x.watchers("gala", 1)
		}
		leader := func() *bench {
			v, err := nodes[0].store.Get(t.Context(), tableTally, tallyKey)
			require.NoError(t, err)
			var row tallyRow
			require.NoError(t, json.Unmarshal(v.Data, &row))
			for _, x := range nodes {
				if x.b.nodes.id == row.Node {
					return x
				}
			}
			t.Fatal("nobody adds up")
			return nil
		}
		sleepTo(began.Add(14 * time.Second))
		require.Equal(t, []string{liveAt(began.Add(defaultSample), 3)}, nodes[0].statsSaid("gala", statsLive))
		dead := leader()
		dead.link().away.Store(true)
		sleepTo(began.Add(24*time.Second + 2*sampleGrace))
		sleepTo(began.Add(36*time.Second + 2*sampleGrace))
		require.NotSame(t, dead, leader())
		// Its own viewers are missing from the next sample on.
		require.Equal(t, []string{
			liveAt(began.Add(defaultSample), 3), liveAt(began.Add(2*defaultSample), 2), liveAt(began.Add(3*defaultSample), 2),
		}, nodes[0].statsSaid("gala", statsLive))
		dead.link().away.Store(false)
		sleepTo(began.Add(time.Minute + closeAfter))
		require.Equal(t, 1, len(nodes[0].statsSaid("gala", statsMinute)))
		require.Contains(t, nodes[0].statsSaid("gala", statsMinute)[0], `"viewer_count_min":2,"viewer_count_max":3,`)

		// One that stops in order is followed at once.
		stopped := leader()
		for _, x := range nodes {
			if x == stopped {
				x.stop()
			}
		}
		had := len(leaderless(nodes, stopped).statsSaid("gala", statsLive))
		sleepTo(time.Now().Truncate(defaultSample).Add(defaultSample + 2*sampleGrace))
		require.Len(t, leaderless(nodes, stopped).statsSaid("gala", statsLive), had+1)
		stopped.run()
	})
}

// leaderless returns a node that is not the one.
func leaderless(nodes []*bench, not *bench) *bench {
	for _, x := range nodes {
		if x != not {
			return x
		}
	}
	return nil
}

// TestNotMeasured: while the store is away nothing is counted, and that is told apart from
// nobody having been there (product.md §8.5).
func TestNotMeasured(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		x := newFleetWith(t, 1, func(o *Options, bo *bayeux.Options) {
			longOptions(o, bo)
			o.Registerer = reg
		})[0]
		began := time.Now()
		x.watchers("gala", 2)
		sleepTo(began.Add(2*time.Minute + closeAfter + time.Second))
		x.link().away.Store(true)
		sleepTo(began.Add(7*time.Minute - time.Second))
		x.link().away.Store(false)
		sleepTo(began.Add(9*time.Minute + closeAfter))
		measured, err := x.b.stats.Measured(t.Context(), store.Minute, began, began.Add(9*time.Minute))
		require.NoError(t, err)
		var minutes []int
		for _, m := range measured {
			minutes = append(minutes, int(m.Time.Sub(began).Minutes()))
		}
		require.Equal(t, []int{0, 1, 7, 8}, minutes)
		// The clients were let go: after it nobody is there, which is measured.
		require.Len(t, x.statsSaid("gala", statsMinute), 2)
		require.EqualValues(t, 5, total(x.b.metrics.minutesUnmeasured))
		require.NotZero(t, total(x.b.metrics.lostSamples))
	})
}

// TestLateSample: a node that stood still writes nothing for times gone by.
func TestLateSample(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, longOptions)
		x.watchers("gala", 1)
		at := time.Now().Add(time.Second)
		time.Sleep(time.Second + sampleGrace)
		s := newSampler(x.b)
		s.sample(t.Context(), at)
		_, nodes, err := x.b.stats.Tick(t.Context(), at)
		require.NoError(t, err)
		require.Zero(t, nodes)
		require.EqualValues(t, 1, total(x.b.metrics.lostSamples))
		s.sample(t.Context(), time.Now())
		counts, nodes, err := x.b.stats.Tick(t.Context(), time.Now())
		require.NoError(t, err)
		require.Equal(t, 1, nodes)
		require.Equal(t, uint32(1), counts[0].Viewers)
	})
}

// TestLateClose: all nodes are down when a minute ends; it is closed when one is back, of
// the samples that are still there.
func TestLateClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, longOptions)
		began := time.Now()
		x.watchers("gala", 2)
		sleepTo(began.Add(110 * time.Second))
		x.stop()
		sleepTo(began.Add(130 * time.Second))
		x.run()
		sleepTo(began.Add(150 * time.Second))
		said := x.statsSaid("gala", statsMinute)
		require.Len(t, said, 2)
		require.Contains(t, said[1], `"viewer_count_avg":2,"viewer_count_min":2,"viewer_count_max":2,"viewer_count_sum":10,`)
		// Nobody came back: a last 0 was said.
		live := x.statsSaid("gala", statsLive)
		require.Equal(t, liveAt(began.Add(132*time.Second), 0), live[len(live)-1])
	})
}

// TestOutages: the hour and the day in which all nodes went down close when one is back.
func TestOutages(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, longOptions)
		began := time.Now().UTC()
		x.watchers("gala", 2)
		sleepTo(began.Add(10*time.Minute + 6*time.Second))
		x.stop()
		sleepTo(began.Add(90 * time.Minute))
		x.run()
		sleepTo(began.Add(93 * time.Minute))
		hours := x.statsSaid("gala", statsHour)
		require.Len(t, hours, 1)
		require.Contains(t, hours[0], `"viewer_count_avg":2,"viewer_count_min":2,"viewer_count_max":2,"viewer_count_sum":98,"time":"2000-01-01 00:00:00"`)
		x.watchers("gala", 1)
		sleepTo(began.Add(100 * time.Minute))
		x.stop()
		sleepTo(began.Add(26 * time.Hour))
		x.run()
		sleepTo(began.Add(26*time.Hour + 3*time.Minute))
		require.Len(t, x.statsSaid("gala", statsHour), 2)
		days := x.statsSaid("gala", statsDay)
		require.Len(t, days, 1)
		// The minute that had ended just before is lost with its samples.
		require.Contains(t, days[0], `"viewer_count_min":0,"viewer_count_max":2,"viewer_count_sum":127,"time":"2000-01-01 00:00:00"`)
	})
}

// TestViewerStatsRecords: product.md §5.4 and V8, V9: streams get hour rows when the hour
// closes, and the day row again each hour with the same id and a new checksum.
func TestViewerStatsRecords(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, bo *bayeux.Options) {
			longOptions(o, bo)
			o.Accounts[0].CDN, o.Accounts[0].StreamToken = 158, streamToken
		})
		began := time.Now().UTC()
		for id, url := range map[string]string{"one": "alone", "two": "shared", "three": "shared"} {
			_, _, err := x.b.objects.create(t.Context(), x.app, ObjectSpec{ID: id, URL: url})
			require.NoError(t, err)
			x.watchers(id, 1)
		}
		_, err := x.b.objects.reset(t.Context(), x.app, "one", day) // its topic is another name now
		require.NoError(t, err)
		st := x.stream(StreamSpec{Name: "warehouse", Resources: []string{viewersRecord}})
		c := x.connect(st.ID, "")
		defer c.leave()
		sleepTo(began.Add(time.Hour + closeAfter - time.Millisecond))
		require.Empty(t, c.take())
		sleepTo(began.Add(time.Hour + closeAfter + time.Second))
		first := c.take()
		require.ElementsMatch(t, []string{
			"viewer_stats hour/2000-01-01T00:00:00Z", "viewer_stats hour/2000-01-01T00:00:00Z",
			"viewer_stats day/2000-01-01T00:00:00Z", "viewer_stats day/2000-01-01T00:00:00Z",
		}, first)
		days := map[any]any{} // by id, their checksums
		records := c.seen().records
		for _, r := range records {
			data := r["data"].(map[string]any)
			object := map[any]any{"alone": "one", "shared": ""}[data["video_url"]]
			require.Equal(t, object, r["object_id"], "%v", r)
			require.Equal(t, "demo", data["app"])
			require.EqualValues(t, map[any]int{"alone": 299, "shared": 2 * 299}[data["video_url"]], data["viewer_count_sum"])
			if r["log_id"] == "day/2000-01-01T00:00:00Z" {
				days[r["id"]] = r["checksum"]
			}
		}
		require.Len(t, days, 2)
		sleepTo(began.Add(2*time.Hour + closeAfter + time.Second))
		require.Len(t, c.take(), 4)
		again := 0
		for _, r := range c.seen().records[len(records):] {
			if before, there := days[r["id"]]; there {
				require.NotEqual(t, before, r["checksum"])
				again++
			}
		}
		require.Equal(t, 2, again)
	})
}

// stepping is a store whose clock is set.
type stepping struct {
	store.Store
	by atomic.Int64
}

func (s *stepping) Now() time.Time { return s.Store.Now().Add(time.Duration(s.by.Load())) }

// TestClockSteps: product.md §8.6: the clock is set back or forward, and viewers are counted
// on at once, by what it says now.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var s *stepping
				x := newBench(t, func(o *Options, bo *bayeux.Options) {
					longOptions(o, bo)
					s = &stepping{Store: o.Store}
					o.Store = s
				})
				x.watchers("gala", 2)
				time.Sleep(3*time.Minute + 6*time.Second)
				had := total(x.b.metrics.samples)
				live := len(x.statsSaid("gala", statsLive))
				s.by.Store(int64(step))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				require.GreaterOrEqual(t, total(x.b.metrics.samples)-had, int64(9))
				said := x.statsSaid("gala", statsLive)
				require.GreaterOrEqual(t, len(said)-live, 9)
				require.Equal(t, liveAt(s.Now().Truncate(defaultSample), 2), said[len(said)-1])
				minute := s.Now().Truncate(time.Minute).Add(-time.Minute).UTC()
				rows := x.statsSaid("gala", statsMinute)
				require.Contains(t, rows[len(rows)-1], minute.Format(time.DateTime))
			})
		})
	}
}

func TestStatsSampleDividesAMinute(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		err := checkSample(d)
		if want == "" {
			require.NoError(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	for _, d := range []time.Duration{12 * time.Second, time.Second, 100 * time.Millisecond, time.Millisecond, time.Minute, 10 * time.Second} {
		f(d, "")
	}
	for _, d := range []time.Duration{-time.Second, 7 * time.Second, 2 * time.Minute, time.Microsecond, 1500 * time.Microsecond} {
		f(d, "it must divide a minute")
	}
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		o := x.options
		o.StatsSample = 7 * time.Second
		_, err := New(o)
		require.ErrorContains(t, err, "a sample each 7s")
	})
}

// counting counts the calls of a store.
type counting struct {
	store.Store
	mu    sync.Mutex
	calls map[string]int
}

func (c *counting) note(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[call]++
}

func (c *counting) taken() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = map[string]int{}
	return calls
}

func (c *counting) Get(ctx context.Context, table, key string) (store.Value, error) {
	c.note("Get " + table)
	return c.Store.Get(ctx, table, key)
}

func (c *counting) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	c.note("Put " + table)
	return c.Store.Put(ctx, table, key, put)
}

func (c *counting) List(ctx context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	c.note("List " + table)
	return c.Store.List(ctx, table, prefix, after, limit)
}

// TestSampleIsOneCall: however many objects have viewers, a node's count is one call to
// the store.
func TestSampleIsOneCall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var c *counting
		x := newBench(t, func(o *Options, bo *bayeux.Options) {
			longOptions(o, bo)
			c = &counting{Store: o.Store, calls: map[string]int{}}
			o.Store = c
		})
		for n := range 300 {
			x.watchers(fmt.Sprint("room", n), 1)
		}
		at := time.Now().Add(time.Second)
		sleepTo(at)
		c.taken()
		newSampler(x.b).sample(t.Context(), at)
		require.Equal(t, map[string]int{"Put viewer ticks": 1}, c.taken())
		counts, _, err := x.b.stats.Tick(t.Context(), at)
		require.NoError(t, err)
		require.Len(t, counts, 300)
	})
}
