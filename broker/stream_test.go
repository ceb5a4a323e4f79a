package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestRestingStream: a connection that has nothing to write and nothing to settle holds
// nothing of what it wrote.
func TestRestingStream(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s", Resources: []string{"shown"}})
		c := x.connect(s.ID, "")
		x.file("shown", "1", "2")
		x.file("hidden", "3")
		r := x.streamAccount().account.desk.here()[0]
		require.False(t, r.oldest().IsZero())
		pass(x.b.opt.Streams.Redelivery + x.b.opt.Streams.Poke + 2*settleEvery)
		require.True(t, r.oldest().IsZero())
		c.leave() // from here on nobody else looks at its fields
		require.Zero(t, r.count)
		require.Nil(t, r.page)
		require.Nil(t, r.silent)
		require.Nil(t, r.unsettled)
	})
}

// TestV1V2V3Streams: making, naming and removing streams, and what is refused.
func TestV1V2V3Streams(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		ctx, a := context.Background(), x.streamAccount()
		require.Nil(t, x.b.StreamAccount(""))
		require.Nil(t, x.b.StreamAccount(streamToken+" "))
		refused := func(status int, field string, spec StreamSpec) {
			t.Helper()
			_, err := x.b.CreateStream(ctx, a, spec)
			var refusal *StreamError
			require.ErrorAs(t, err, &refusal)
			require.Equal(t, []any{status, field}, []any{refusal.Status, refusal.Field})
		}
		one := x.stream(StreamSpec{Name: "one", Resources: []string{"summary"}, StartDate: "2026-01-31"})
		require.Regexp(t, "^[0-9a-f]{24}$", one.ID)
		require.Equal(t, []string{"summary"}, one.Resources)
		refused(422, "name", StreamSpec{})
		refused(422, "name", StreamSpec{Name: "one"})
		refused(422, "name", StreamSpec{Name: strings.Repeat("x", 201)})
		refused(422, "name", StreamSpec{Name: "a\nb"})
		refused(422, "start_date", StreamSpec{Name: "x", StartDate: "2022-02-29"})
		refused(422, "resource_filter", StreamSpec{Name: "x", Resources: []string{""}})
		refused(422, "resource_filter", StreamSpec{Name: "x", Resources: make([]string, 51)})
		refused(422, "event_type_filter", StreamSpec{Name: "x", Events: []string{"noise"}})
		for _, name := range []string{"two", "three", "four", "five"} {
			pass(time.Millisecond)
			x.stream(StreamSpec{Name: name, Events: []string{"data", "rule"}})
		}
		refused(422, "", StreamSpec{Name: "six"})

		all, total, err := x.b.Streams(ctx, a, 1, 2)
		require.NoError(t, err)
		require.Equal(t, 5, total)
		require.Equal(t, []string{"four", "three"}, []string{all[0].Name, all[1].Name})
		renamed, err := x.b.RenameStream(ctx, a, one.ID, "uno")
		require.NoError(t, err)
		require.Equal(t, "uno", renamed.Name)
		require.True(t, renamed.Updated.After(one.Updated))
		_, err = x.b.RenameStream(ctx, a, one.ID, "two")
		require.Equal(t, errStreamNameUsed, err)
		_, err = x.b.RenameStream(ctx, a, "0123", "new")
		require.Equal(t, errNoStream, err)

		c := x.connect(one.ID, "")
		_, _, err = x.b.DeleteStream(ctx, a, one.ID)
		require.Equal(t, errStreamInUse, err)
		c.leave()
		gone, at, err := x.b.DeleteStream(ctx, a, one.ID)
		require.NoError(t, err)
		require.Equal(t, "uno", gone.Name)
		require.False(t, at.IsZero())
		_, err = x.b.Stream(ctx, a, one.ID)
		require.Equal(t, errNoStream, err)
		require.Equal(t, errNoStream, x.b.ConnectStream(ctx, a, one.ID, "", c))
	})
}

// TestV6Pokes: one at once, then one every five seconds, also when there are events.
func TestV6Pokes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "")
		require.Equal(t, []Poke{{At: x.store.Now(), Stream: s.ID, Members: 1, Max: 3}}, c.seen().pokes)
		for range 30 {
			pass(time.Second)
			x.file("a", "1")
		}
		require.Len(t, c.seen().pokes, 7)
		other := x.connect(s.ID, "")
		pass(5 * time.Second)
		require.Equal(t, 2, c.seen().pokes[7].Members)
		c.leave()
		other.leave()
	})
}

// TestV7V18Order: each stream gets everything its filter admits, in the order in which
// it came, from the oldest record on.
func TestV7V18Order(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		var want []string
		for i := range 700 {
			x.file([]string{"a", "b"}[i%2], fmt.Sprint(i))
			want = append(want, fmt.Sprint([]string{"a", "b"}[i%2], " ", i))
		}
		all := x.connect(x.stream(StreamSpec{Name: "all"}).ID, "")
		some := x.connect(x.stream(StreamSpec{Name: "some", Resources: []string{"b", "c"}}).ID, "")
		require.Equal(t, want, all.take())
		require.Len(t, some.take(), 350)
		x.file("c", "x", "y")
		x.file("a", "z")
		require.Equal(t, []string{"c x", "c y", "a z"}, all.take())
		require.Equal(t, []string{"c x", "c y"}, some.take())
		all.leave()
		some.leave()
	})
}

// TestV13StartDate: records created before are not shown.
func TestV13StartDate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		x.fileText(`{"type":"a","log_id":"old","created_at":"2026-01-30T23:59:59Z"}`)
		x.fileText(`{"type":"a","log_id":"new","created_at":"2026-01-31T00:00:00Z"}`)
		x.fileText(`{"type":"a","log_id":"never","created_at":"2022-02-29T00:00:00Z"}`)
		s := x.stream(StreamSpec{Name: "s", StartDate: "2026-01-31"})
		c := x.connect(s.ID, "")
		// The bubble began in 2000, so a record without a day is older.
		require.Equal(t, events("a", "new"), c.take())
		c.leave()
	})
}

// TestV13Checkpoint: the place of a stream is kept for a time, seven days, after its last
// connection has ended; then it begins anew.
func TestV13Checkpoint(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		require.Equal(t, 7*day, StreamOptions{}.withDefaults().CheckpointTTL)
		x := newStreams(t, func(o *Options) { o.Streams.CheckpointTTL = time.Hour })
		s := x.stream(StreamSpec{Name: "s"})
		x.file("a", "1", "2")
		c := x.connect(s.ID, "")
		require.Equal(t, events("a", "1", "2"), c.take())
		pass(2 * time.Hour) // connected: nothing lapses
		c.leave()
		x.file("a", "3")
		pass(59 * time.Minute)
		c = x.connect(s.ID, "")
		require.Equal(t, events("a", "3"), c.take())
		pass(time.Minute)
		c.leave()
		pass(61 * time.Minute)
		x.file("a", "4")
		c = x.connect(s.ID, "")
		require.Equal(t, events("a", "1", "2", "3", "4"), c.take())
		c.leave()
		// A restart of the node changes nothing of it.
		pass(time.Minute)
		x.stop()
		x.run()
		c = x.connect(s.ID, "")
		require.Equal(t, events("a", "1", "2", "3", "4"), c.take(), "younger than the window when the connection ended")
		pass(time.Minute)
		c.leave()
		x.requireSettled(s.ID)
	})
}

// TestV14Redelivery: an event counts as delivered once a write ten seconds later has
// succeeded.
func TestV14Redelivery(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "") // pokes at 0, 5, 10, …
		pass(time.Second)
		x.file("a", "1") // at 1: the poke of 15 settles it
		pass(6 * time.Second)
		x.file("a", "2") // at 7
		pass(10 * time.Second)
		require.Equal(t, events("a", "1", "2"), c.take())
		c.leave() // at 17
		c = x.connect(s.ID, "")
		require.Equal(t, events("a", "2"), c.take())
		// A write that fails settles nothing.
		c.mu.Lock()
		c.broken = errors.New("gone")
		c.mu.Unlock()
		pass(time.Minute)
		require.NoError(t, <-c.ended)
		c = x.connect(s.ID, "")
		require.Equal(t, events("a", "2"), c.take())
		pass(15 * time.Second)
		c.leave()
		x.requireSettled(s.ID)
	})
}

// TestV15LastEventID: right after that event, whatever the checkpoint says, forward and
// back; one of another log is no place.
func TestV15LastEventID(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s"})
		x.file("a", "1", "2", "3")
		c := x.connect(s.ID, "")
		ids := c.seen().ids
		c.leave()
		c = x.connect(s.ID, ids[1])
		require.Equal(t, events("a", "3"), c.take())
		pass(time.Minute)
		c.leave()
		c = x.connect(s.ID, ids[0])
		require.Equal(t, events("a", "2", "3"), c.take())
		// The peer comes again before its broken connection is noticed.
		again := x.connect(s.ID, ids[1])
		require.NoError(t, <-c.ended)
		require.Equal(t, 1, x.membersOf(s.ID))
		require.Equal(t, events("a", "3"), again.take())
		x.file("a", "4")
		require.Equal(t, events("a", "4"), again.take())
		again.leave()
		c = x.connect(s.ID, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ")
		require.Equal(t, events("a", "3", "4"), c.take(), "from the checkpoint")
		c.leave()
		var refusal *StreamError
		require.ErrorAs(t, x.b.ConnectStream(context.Background(), x.streamAccount(), s.ID, "x", c), &refusal)
		require.Equal(t, 400, refusal.Status)
	})
}

// TestV16Sharing: three connections share a stream, each event goes to one of them; what
// one did not settle goes to the others when it ends.
func TestV16Sharing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s"})
		var all []*consumer
		for range 3 {
			all = append(all, x.connect(s.ID, ""))
		}
		err := x.b.ConnectStream(context.Background(), x.streamAccount(), s.ID, "", &consumer{})
		require.Equal(t, errManyMembers, err)
		require.Equal(t, 3, x.membersOf(s.ID))
		for i := range 100 {
			x.file("a", fmt.Sprint(i))
		}
		got := map[string]int{}
		shares := 0
		for _, c := range all {
			mine := c.take()
			if len(mine) > 0 {
				shares++
			}
			for _, e := range mine {
				got[e]++
			}
		}
		require.Len(t, got, 100)
		for e, n := range got {
			require.Equal(t, 1, n, e)
		}
		// All that is out comes again to the last one, in order.
		all[0].leave()
		all[1].leave()
		require.Equal(t, 1, x.membersOf(s.ID))
		again := all[2].take()
		require.True(t, len(again) > 0 || shares == 1)
		pass(30 * time.Second)
		require.Empty(t, all[2].take())
		all[2].leave()
		x.requireSettled(s.ID)
	})
}

// TestSlowReader: who does not read is waited for; one page waits for it and nothing is
// lost.
func TestSlowReader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "")
		hold := make(chan struct{})
		c.mu.Lock()
		c.hold = hold
		c.mu.Unlock()
		var want []string
		for i := range 1000 {
			x.file("a", fmt.Sprint(i))
			want = append(want, fmt.Sprint("a ", i))
		}
		pass(3 * time.Hour)
		state, err := x.b.opt.Store.State(context.Background(), (&catchup.Stream{ID: s.ID}).Group("158"))
		require.NoError(t, err)
		held := 0
		for _, n := range state.Held {
			held += n
		}
		require.LessOrEqual(t, held, readerRecords)
		require.Equal(t, 1, x.membersOf(s.ID))
		require.Greater(t, x.b.streamFigures().Behind, 2*time.Hour)
		c.mu.Lock()
		c.hold = nil
		c.mu.Unlock()
		close(hold)
		synctest.Wait()
		require.Equal(t, want, c.take())
		pass(time.Minute)
		c.leave()
		x.requireSettled(s.ID)
	})
}

// TestV12Shutdown: connections end in order, no more begin, what is due is settled.
func TestV12Shutdown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "")
		x.file("a", "1")
		pass(16 * time.Second)
		x.file("a", "2")
		x.b.EndStreams()
		require.NoError(t, <-c.ended)
		require.Equal(t, errEnding, x.b.ConnectStream(context.Background(), x.streamAccount(), s.ID, "", c))
		x.stop()
		x.run()
		require.Equal(t, 0, x.membersOf(s.ID))
		c = x.connect(s.ID, "")
		require.Equal(t, events("a", "2"), c.take())
		c.leave()
	})
}

// TestV10V11Connections: connection events are seen by who is there, and never again.
func TestV10V11Connections(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		joined := `{"connection":{"type":"create","id":"1"}}`
		s := x.stream(StreamSpec{Name: "s", Resources: []string{"a"}})
		silent := x.stream(StreamSpec{Name: "silent", Events: []string{"data"}})
		x.fileText(joined)
		c, q := x.connect(s.ID, ""), x.connect(silent.ID, "")
		require.Empty(t, c.take())
		x.file("a", "1")
		first := c.lastID()
		x.fileText(joined)
		x.fileText(`{"connection":{"type":"delete","id":"1"}}`)
		require.Equal(t, []string{"a 1", "connection create", "connection delete"}, c.take())
		require.Equal(t, []string{"a 1"}, q.take())
		c.leave()
		c = x.connect(s.ID, "")
		require.Equal(t, []string{"a 1"}, c.take(), "redelivered")
		c.leave()
		c = x.connect(s.ID, first)
		require.Empty(t, c.take(), "resumed")
		c.leave()
		q.leave()
		r := x.replay(ReplayQuery{}, "")
		require.Equal(t, []string{"a 1"}, r.take())
		x.fileText(joined)
		require.Empty(t, r.take())
		r.leave()
	})
}

// replay begins to read everything.
func (x *bench) replay(q ReplayQuery, lastEventID string) *consumer {
	c := &consumer{x: x, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() { c.ended <- x.b.ReplayStream(ctx, x.streamAccount(), q, lastEventID, c) }()
	synctest.Wait()
	return c
}

// TestV17Replay: everything kept, then live, five at a time, without a checkpoint.
func TestV17Replay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newStreams(t, nil)
		x.file("a", "1")
		pass(time.Hour)
		since := x.store.Now()
		x.file("a", "2")
		x.file("b", "3")
		r := x.replay(ReplayQuery{}, "")
		require.Equal(t, []string{"a 1", "a 2", "b 3"}, r.take())
		require.Equal(t, Poke{At: x.store.Now(), Max: 3}, r.seen().pokes[0])
		late := x.replay(ReplayQuery{Since: since, Resources: []string{"a"}}, "")
		require.Equal(t, []string{"a 2"}, late.take())
		id := ""
		x.file("a", "4")
		require.Equal(t, []string{"a 4"}, late.take())
		id = r.lastID()
		all := []*consumer{r, late, x.replay(ReplayQuery{}, ""), x.replay(ReplayQuery{Events: []string{"connection"}}, ""), x.replay(ReplayQuery{}, id)}
		require.Empty(t, all[3].take())
		require.Empty(t, all[4].take())
		require.Len(t, all[2].take(), 4)
		require.Equal(t, errManyReplays, x.b.ReplayStream(context.Background(), x.streamAccount(), ReplayQuery{}, "", r))
		for _, c := range all {
			c.leave()
		}
		r = x.replay(ReplayQuery{}, "")
		require.Len(t, r.take(), 4)
		r.leave()
	})
}

// TestStreamMetrics: an operator sees connections, what they were sent, and how far they
// and the copies are behind.
func TestStreamMetrics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		x := newStreams(t, func(o *Options) { o.Registerer = registry })
		s := x.stream(StreamSpec{Name: "s"})
		c := x.connect(s.ID, "")
		x.file("a", "1", "2")
		c.leave()
		c = x.connect(s.ID, "")
		pass(6 * time.Second)
		families, err := registry.Gather()
		require.NoError(t, err)
		got := map[string]float64{}
		for _, f := range families {
			if m := f.GetMetric()[0]; strings.HasPrefix(f.GetName(), "gobelin_stream_") {
				got[strings.TrimPrefix(f.GetName(), "gobelin_stream_")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
		require.InDelta(t, 6, got["checkpoint_age_seconds"], 1)
		delete(got, "checkpoint_age_seconds")
		require.Equal(t, map[string]float64{
			"connections": 1, "events_total": 4, "redelivered_events_total": 2, "records_total": 2, "records_waiting": 0,
			"records_waiting_age_seconds": 0, "faults_total": 0, "superseded_total": 0, "lost_visits_total": 0,
		}, got)
		c.leave()
	})
}
