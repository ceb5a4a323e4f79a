package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// copied is a log that a copy is tested with.
type copied struct {
	log    store.LogName
	limits store.Limits
}

// RunCopy tests a copy of everything from one store to another: whatever is read
// from the second is what the first reads, and goes on as it would. Both are empty
// and are closed by the caller.
func RunCopy(t *testing.T, from, to store.Copier) {
	logs := original(t, from)
	copyAll(t, from, to)
	sameLogs(t, from, to, logs)
	sameRows(t, from, to)
	samePoints(t, from, to)
	sameGroups(t, to, logs)

	copyAll(t, from, to) // done again it changes nothing
	sameLogs(t, from, to, logs)
	sameRows(t, from, to)
	samePoints(t, from, to)
	sameGroups(t, to, logs)

	goesOn(t, to, logs)
	strangers(t, to, logs[0])
}

// original writes what a copy must bring over.
func original(t testing.TB, s store.Copier) []copied {
	t.Helper()
	day := store.Limits{Age: 24 * time.Hour}
	logs := []copied{
		{store.LogName{Feed: "object", Path: "plain"}, day},
		{store.LogName{Feed: "object", Path: "redacted"}, day},
		{store.LogName{Feed: "", Path: "{a} :\x00\xff"}, store.Limits{Age: store.Forever}},
		{store.LogName{Feed: strings.Repeat("f", store.MaxName), Path: strings.Repeat("p", store.MaxName)}, store.Limits{Age: time.Hour}},
		{store.LogName{Feed: "object", Path: "idle"}, store.Limits{Age: store.Forever, Idle: time.Hour}},
		{store.LogName{Feed: "object", Path: "short"}, store.Limits{Age: time.Hour, Length: 20}},
		{store.LogName{Feed: "object", Path: "anew"}, day},
		{store.LogName{Feed: "object", Path: "last redacted"}, day},
	}
	for _, l := range logs {
		for i := range 300 {
			_, err := Append(s, l.log, l.limits, store.Record{Data: fmt.Appendf(nil, "%d\x00\xff", i)}, store.Record{})
			require.NoError(t, err)
		}
		_, err := Append(s, l.log, l.limits, store.Record{Data: []byte(strings.Repeat("large", 50_000))})
		require.NoError(t, err)
	}
	for i, e := range read(t, s, logs[1]) {
		if i%7 == 3 {
			require.NoError(t, s.Redact(ctx, logs[1].log, e.Position))
		}
	}
	all := read(t, s, logs[7])
	require.NoError(t, s.Redact(ctx, logs[7].log, all[0].Position))
	require.NoError(t, s.Redact(ctx, logs[7].log, all[len(all)-1].Position))
	require.NoError(t, s.Delete(ctx, logs[6].log))
	_, err := Append(s, logs[6].log, day, store.Record{Data: []byte("a new epoch")})
	require.NoError(t, err)
	_, err = Append(s, store.LogName{Feed: "object", Path: "keeps nothing"}, store.Limits{}, store.Record{Data: []byte("x")})
	require.NoError(t, err)

	for i := range 600 {
		put := store.Put{Data: fmt.Appendf(nil, "%d\x00", i)}
		if i%3 == 0 {
			put.TTL = time.Hour
		}
		for range 1 + i%4 {
			_, err := s.Put(ctx, fmt.Sprint("table", i%2), fmt.Sprintf("{key} %d\xff", i), put)
			require.NoError(t, err)
		}
	}
	_, err = s.Put(ctx, "", "x", store.Put{})
	require.NoError(t, err)
	for _, g := range grains {
		for i := range 3 {
			var rows []store.Point
			for n := range 200 {
				rows = append(rows, point(g, copiedSeries[i], s.Now(), n, fmt.Sprint(g, i, n)))
			}
			require.NoError(t, s.PutRows(ctx, g, []time.Duration{seriesKeep * g.Width(), 2 * seriesKeep * g.Width(), store.Forever}[i], rows))
		}
	}
	// One group has settled some, one is where it was put.
	g, placed := readers(logs[0]), store.GroupName{Log: logs[3].log, Name: "placed"}
	got, err := s.Take(ctx, g, logs[0].limits, "a", 20, 1<<20)
	require.NoError(t, err)
	require.NoError(t, s.Settle(ctx, g, places(append(got.Entries[:5:5], got.Entries[7]))))
	require.NoError(t, s.Seek(ctx, placed, read(t, s, logs[3])[99].Position))
	return logs
}

func readers(l copied) store.GroupName { return store.GroupName{Log: l.log, Name: "readers\x00\xff"} }

// sameGroups looks whether the groups go on behind what was settled.
func sameGroups(t testing.TB, s store.Copier, logs []copied) {
	t.Helper()
	next := func(g store.GroupName, l copied, i int) {
		t.Helper()
		got, err := s.Take(ctx, g, l.limits, "b", 3, 1<<20)
		require.NoError(t, err)
		require.Equal(t, read(t, s, l)[i:i+3], plain(store.Page{Entries: got.Entries}).Entries)
	}
	next(readers(logs[0]), logs[0], 5)
	next(store.GroupName{Log: logs[3].log, Name: "placed"}, logs[3], 100)
	var names []store.GroupName
	require.NoError(t, s.EachGroup(ctx, func(g store.GroupName) error {
		names = append(names, g)
		return nil
	}))
	require.Len(t, names, 2)
}

// read returns all of a log.
func read(t testing.TB, s store.Store, l copied) []store.Entry {
	t.Helper()
	page, err := s.Read(ctx, l.log, store.Range{Limits: l.limits}, 10_000, 64<<20)
	require.NoError(t, err)
	require.False(t, page.More)
	return plain(page).Entries
}

// plain makes no difference between no data and empty data.
func plain(p store.Page) store.Page {
	for i := range p.Entries {
		if len(p.Entries[i].Data) == 0 {
			p.Entries[i].Data = nil
		}
	}
	return p
}

// copyAll copies in small steps.
func copyAll(t testing.TB, from, to store.Copier) {
	t.Helper()
	require.NoError(t, from.EachLog(ctx, func(l store.LogState) error {
		for after := (store.Position{}); ; {
			records, err := from.Export(ctx, l.Log, after, 37, 100_000)
			if err != nil || len(records) == 0 {
				return err
			}
			if err := to.Import(ctx, l, records); err != nil {
				return err
			}
			after = records[len(records)-1].Position
		}
	}))
	var rows []store.Row
	require.NoError(t, from.EachRow(ctx, func(r store.Row) error {
		rows = append(rows, r)
		return nil
	}))
	require.NoError(t, to.ImportRows(ctx, rows))
	require.NoError(t, from.EachPoints(ctx, func(p store.Points) error {
		return to.PutRows(ctx, p.Grain, p.Keep, p.Rows)
	}))
	require.NoError(t, from.EachGroup(ctx, func(g store.GroupName) error {
		state, err := from.State(ctx, g)
		require.NoError(t, err)
		return to.Seek(ctx, g, state.After)
	}))
}

// copiedSeries are the series that a copy is tested with.
var copiedSeries = []string{"a", "{b} :\x00\xff", strings.Repeat("s", store.MaxName)}

// samePoints compares all rows of series, and how long they are kept.
func samePoints(t testing.TB, from, to store.Copier) {
	t.Helper()
	all := func(s store.Copier) map[string]string {
		out := make(map[string]string)
		require.NoError(t, s.EachPoints(ctx, func(p store.Points) error {
			require.GreaterOrEqual(t, p.Keep, (seriesKeep-1)*p.Grain.Width())
			for _, row := range p.Rows {
				key := fmt.Sprintf("%d %q %d", p.Grain, row.Series, row.Time.Unix())
				require.NotContains(t, out, key, "once")
				out[key] = string(row.Data)
			}
			return nil
		}))
		return out
	}
	want := all(from)
	require.Len(t, want, len(grains)*3*200)
	require.Equal(t, want, all(to))
	for _, g := range grains {
		r := store.SeriesRange{From: from.Now().Add(-250 * g.Width()), To: from.Now().Add(g.Width()), Keep: seriesKeep * g.Width()}
		a, _, err := from.Rows(ctx, g, copiedSeries, r, 10_000)
		require.NoError(t, err)
		b, _, err := to.Rows(ctx, g, copiedSeries, r, 10_000)
		require.NoError(t, err)
		require.Equal(t, a, b)
		require.Len(t, b[2], 200)
	}
}

// sameLogs compares all that can be asked of logs.
func sameLogs(t testing.TB, from, to store.Copier, logs []copied) {
	t.Helper()
	for _, l := range logs {
		want := read(t, from, l)
		require.Equal(t, want, read(t, to, l), "%q", l.log)
		a, err := from.Head(ctx, l.log, l.limits)
		require.NoError(t, err)
		b, err := to.Head(ctx, l.log, l.limits)
		require.NoError(t, err)
		require.Equal(t, a, b, "%q", l.log)
		ranges := []store.Range{{}, {Since: a.Last.Time()}, {After: a.Last}, {UpTo: a.Oldest}}
		if len(want) > 10 {
			ranges = append(ranges, store.Range{After: want[3].Position}, store.Range{After: want[1].Position, UpTo: want[8].Position}, store.Range{Since: want[len(want)/2].Position.Time()})
		}
		for _, r := range ranges {
			r.Limits = l.limits
			x, err := from.Read(ctx, l.log, r, 50, 1<<20)
			require.NoError(t, err)
			y, err := to.Read(ctx, l.log, r, 50, 1<<20)
			require.NoError(t, err)
			require.Equal(t, plain(x), plain(y), "%q %+v", l.log, r)
			n, err := from.Count(ctx, l.log, r)
			require.NoError(t, err)
			m, err := to.Count(ctx, l.log, r)
			require.NoError(t, err)
			require.Equal(t, n, m, "%q %+v", l.log, r)
		}
	}
	names := func(s store.Copier) (all []store.LogName) {
		require.NoError(t, s.EachLog(ctx, func(l store.LogState) error {
			all = append(all, l.Log)
			return nil
		}))
		return all
	}
	require.ElementsMatch(t, names(from), names(to))
	require.Len(t, names(to), len(logs))
}

func sameRows(t testing.TB, from, to store.Copier) {
	t.Helper()
	for _, table := range []string{"table0", "table1", "", "none"} {
		want, err := from.List(ctx, table, "", "", 1000)
		require.NoError(t, err)
		got, err := to.List(ctx, table, "", "", 1000)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].Expires.UnixMilli(), got[i].Expires.UnixMilli())
			require.Equal(t, want[i].Version, got[i].Version)
			require.Equal(t, want[i].Key, got[i].Key)
			require.Equal(t, string(want[i].Data), string(got[i].Data))
		}
	}
}

// goesOn appends to what was copied: the next places come after, in the same epoch.
func goesOn(t testing.TB, s store.Copier, logs []copied) {
	t.Helper()
	for _, l := range logs {
		before, err := s.Head(ctx, l.log, l.limits)
		require.NoError(t, err)
		a, err := Append(s, l.log, l.limits, store.Record{Data: []byte("next")})
		require.NoError(t, err)
		p := a.Positions[0]
		require.True(t, before.Last.Before(p))
		require.Equal(t, before.Last.Epoch(), p.Epoch())
		require.Equal(t, before.Last.N()+1, p.N())
		page, err := s.Read(ctx, l.log, store.Range{After: before.Last, Limits: l.limits}, 10, 1<<20)
		require.NoError(t, err)
		require.Equal(t, store.Page{Entries: []store.Entry{{Position: p, Data: []byte("next")}}}, page)
	}
	spoke, _, err := s.Spoke(ctx, store.AllFeeds, s.Now().Add(-store.SpokeFor), 100)
	require.NoError(t, err)
	for _, l := range logs {
		require.Contains(t, spoke, l.log)
	}
	version := uint64(2)
	v, err := s.Put(ctx, "table1", "{key} 1\xff", store.Put{IfVersion: &version})
	require.NoError(t, err)
	require.EqualValues(t, 3, v)
}

// strangers are imports that are refused and change nothing.
func strangers(t testing.TB, s store.Copier, l copied) {
	t.Helper()
	before := read(t, s, l)
	last := before[len(before)-1].Position
	var state store.LogState
	require.NoError(t, s.EachLog(ctx, func(other store.LogState) error {
		if other.Log == l.log {
			state = other
		}
		return nil
	}))
	require.Equal(t, last, state.Last)
	at := func(ms int64, epoch uint32, n uint64, size int) store.Copied {
		return store.Copied{Entry: store.Entry{Position: store.NewPosition(ms, epoch, n), Data: make([]byte, size)}}
	}
	next := at(last.MS(), last.Epoch(), last.N()+1, 1)
	f := func(what string, state store.LogState, records ...store.Copied) {
		t.Helper()
		require.Error(t, s.Import(ctx, state, records), what)
		require.Equal(t, before, read(t, s, l), what)
	}
	f("a gap", state, at(last.MS(), last.Epoch(), last.N()+2, 1))
	f("a gap inside", state, next, at(last.MS(), last.Epoch(), last.N()+3, 1))
	f("back in time", state, next, at(last.MS()-1, last.Epoch(), last.N()+2, 1))
	f("two epochs", state, next, at(last.MS(), last.Epoch()+1, last.N()+2, 1))
	f("too large", state, at(last.MS(), last.Epoch(), last.N()+1, store.MaxRecord+1))
	other := state
	other.Start = store.NewPosition(state.Start.MS(), state.Start.Epoch()+1, state.Start.N())
	f("another epoch", other, at(last.MS(), last.Epoch()+1, last.N()+1, 1))
	require.ErrorIs(t, s.Import(ctx, other, []store.Copied{at(last.MS(), last.Epoch()+1, last.N()+1, 1)}), store.ErrConflict)
	state.Log.Path = strings.Repeat("x", store.MaxName+1)
	require.ErrorIs(t, s.Import(ctx, state, []store.Copied{next}), store.ErrTooLarge)
	require.ErrorIs(t, s.ImportRows(ctx, []store.Row{{Table: state.Log.Path, Item: store.Item{Value: store.Value{Version: 1}}}}), store.ErrTooLarge)
	require.Error(t, s.ImportRows(ctx, []store.Row{{Table: "none"}}))
	gone := store.Value{Version: 1, Expires: s.Now().Add(-time.Second)}
	require.NoError(t, s.ImportRows(ctx, []store.Row{{Table: "none", Item: store.Item{Key: "k", Value: gone}}}))
	_, err := s.Get(ctx, "none", "k")
	require.ErrorIs(t, err, store.ErrNotFound)
}
