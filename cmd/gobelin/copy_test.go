package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// during opens a store for the time of do.
func during(t *testing.T, c *config, l location, do func(store.Copier)) {
	t.Helper()
	s, err := c.openCopier(t.Context(), l, false, zap.NewNop())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	do(s)
}

// contents is all that can be read of a store.
func contents(t *testing.T, c *config, l location) (logs map[store.LogName][]store.Entry, rows []store.Item, points [][]store.Point) {
	t.Helper()
	logs = map[store.LogName][]store.Entry{}
	during(t, c, l, func(s store.Copier) {
		require.NoError(t, s.EachLog(t.Context(), func(state store.LogState) error {
			page, err := s.Read(t.Context(), state.Log, store.Range{Limits: store.Limits{Age: store.Forever}}, 10_000, 64<<20)
			logs[state.Log] = page.Entries
			return err
		}))
		var err error
		rows, err = s.List(t.Context(), "table", "", "", 1000)
		require.NoError(t, err)
		points, _, err = s.Rows(t.Context(), store.Minute, []string{"a", "b"}, store.SeriesRange{To: s.Now(), Keep: store.Forever, From: s.Now().Add(-48 * time.Hour)}, 10_000)
		require.NoError(t, err)
	})
	return logs, rows, points
}

// From a folder to Redis and into another folder: the same ids, times and versions.
func TestCopyThereAndBack(t *testing.T) {
	c := testConfig(t)
	first, last := location(t.TempDir()), location(t.TempDir())
	middle := location(storetest.StartRedis(t).URL)
	during(t, c, first, func(s store.Copier) {
		for i := range 200 {
			log := store.LogName{Feed: fmt.Sprint("object", i%7), Path: fmt.Sprint("x", i%50)}
			for range 1 + i*4 {
				_, err := storetest.Append(s, log, store.Limits{Age: 24 * time.Hour}, store.Record{Data: fmt.Append(nil, i)}, store.Record{Data: []byte{0}})
				require.NoError(t, err)
				if i > 20 {
					break
				}
			}
			_, err := s.Put(t.Context(), "table", fmt.Sprint(i%60), store.Put{Data: []byte("x")})
			require.NoError(t, err)
			at := store.Minute.Time(store.Minute.Slot(s.Now()) - int64(1+i*7))
			require.NoError(t, s.PutRows(t.Context(), store.Minute, 360*time.Hour, []store.Point{
				{Series: "a", Time: at, Data: fmt.Append(nil, i)}, {Series: "b", Time: at, Data: []byte{0}},
			}))
		}
	})
	wantLogs, wantRows, wantPoints := contents(t, c, first)
	require.NotEmpty(t, wantLogs)
	require.Len(t, wantPoints[1], 200)
	var said, progress strings.Builder
	copied := func(from, to location, force bool) error {
		return copyStore(t.Context(), c, from, to, force, false, &progress, &said)
	}
	require.NoError(t, copied(first, middle, false))
	require.NoError(t, copied(middle, last, false))
	require.Contains(t, said.String(), fmt.Sprintf("copied %s", count(len(wantLogs), "channel log")))
	logs, rows, points := contents(t, c, last)
	require.Equal(t, wantLogs, logs)
	require.Equal(t, wantRows, rows)
	require.Equal(t, wantPoints, points)

	// A stream's group goes on, and so does what was on its way to it.
	account := store.LogName{Feed: "@account", Path: "records"}
	g, limits := store.GroupName{Log: account, Name: "stream"}, store.Limits{Age: time.Hour}
	again := location(t.TempDir())
	during(t, c, middle, func(s store.Copier) { // copies wait: it is still
		for i := range 6 {
			_, err := storetest.Append(s, account, limits, store.Record{Data: fmt.Append(nil, i)})
			require.NoError(t, err)
		}
		got, err := s.Take(t.Context(), g, limits, "a", 4, 1<<20)
		require.NoError(t, err)
		require.NoError(t, s.Settle(t.Context(), g, []store.Position{got.Entries[0].Position, got.Entries[1].Position}))
		for range 2 {
			_, err = storetest.Append(s, store.LogName{Feed: "object", Path: "x"}, limits,
				store.Record{Data: []byte("copied"), Copy: &store.Copy{To: account, Limits: limits}})
			require.NoError(t, err)
		}
		lag, err := s.Lag(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 2, lag.Waiting)
	})
	require.NoError(t, copied(middle, again, false))
	during(t, c, again, func(s store.Copier) {
		got, err := s.Take(t.Context(), g, limits, "b", 100, 1<<20)
		require.NoError(t, err)
		require.Len(t, got.Entries, 6)
		require.Equal(t, "2", string(got.Entries[0].Data))
		_, data, err := store.Origin(got.Entries[5].Data)
		require.NoError(t, err)
		require.Equal(t, "copied", string(data))
	})

	// A target in use is left alone, unless a copy into it broke off.
	require.ErrorContains(t, copied(first, last, false), "the store is not empty")
	var some store.LogName
	for some = range wantLogs {
		break
	}
	during(t, c, last, func(s store.Copier) {
		require.NoError(t, s.Delete(t.Context(), some))
		_, err := s.Put(t.Context(), tableCopy, rowCopy, store.Put{})
		require.NoError(t, err)
	})
	require.NoError(t, copied(first, last, false))
	logs, _, _ = contents(t, c, last)
	require.Equal(t, wantLogs, logs)

	// With force another epoch of the same name gives way, and what only TO has stays.
	other := store.LogName{Feed: "other", Path: "x"}
	during(t, c, last, func(s store.Copier) {
		require.NoError(t, s.Delete(t.Context(), some))
		for _, log := range []store.LogName{some, other} {
			_, err := storetest.Append(s, log, store.Limits{Age: time.Hour}, store.Record{Data: []byte("another")})
			require.NoError(t, err)
		}
	})
	require.NoError(t, copied(first, last, true))
	logs, _, _ = contents(t, c, last)
	require.Len(t, logs[other], 1)
	delete(logs, other)
	require.Equal(t, wantLogs, logs)
	require.Empty(t, progress.String(), "no progress where there is no terminal")
}
