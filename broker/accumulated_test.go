package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/stretchr/testify/require"
)

// An admin reads all objects by time, page after page, and a cursor goes on there (M4).
func TestM4AccumulatedOfAll(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Accumulate.Page = 7 })
		admin, q := x.roleOf(RoleAdmin, "", ""), AccumulationQuery{Name: "mood"}
		var want []string
		for n := range 60 {
			data := fmt.Sprintf(`{"n":%d}`, n)
			x.give(fmt.Sprint("show", n*7%5), "mood", data)
			x.give("show1", "other", `{"no":1}`)
			want = append(want, data)
			if n%6 == 5 {
				time.Sleep(time.Duration(n) * 100 * time.Millisecond) // six in one ms
			} else {
				time.Sleep(time.Millisecond)
			}
		}
		var got []string
		seen := map[string]bool{}
		var last int64
		for {
			data, views, end, err := x.take(admin, q)
			require.NoError(t, err)
			require.LessOrEqual(t, len(data), 7)
			got = append(got, data...)
			for _, v := range views {
				require.GreaterOrEqual(t, v.Observed, last)
				last = v.Observed
			}
			q.After = end.Cursor
			for _, d := range data {
				require.False(t, seen[d], d)
				seen[d] = true
			}
			if !end.Truncated {
				require.Equal(t, last, end.Latest)
				break
			}
		}
		require.Equal(t, want, got)
		data, _ := x.taken(admin, q)
		require.Empty(t, data)
		x.give("show9", "mood", `{"first":"of its object"}`)
		data, _ = x.taken(admin, q)
		require.Equal(t, []string{`{"first":"of its object"}`}, data)

		// A cursor is good for the same query only.
		for _, other := range []AccumulationQuery{{Name: "other", After: q.After}, {Name: "mood", ChannelID: "show1", After: q.After}, {Name: "mood", After: q.After + "A"}, {Name: "mood", After: "01KAHVBV3VBWX93GG00000001A"}, {Name: "mood", After: "\n"}} {
			_, _, _, err := x.take(admin, other)
			require.Equal(t, 4000, AsError(err).Result)
		}
		// Without pages, and one object's.
		q = AccumulationQuery{Name: "mood", Whole: true}
		data, end := x.taken(admin, q)
		require.Len(t, data, 61)
		require.False(t, end.Truncated)
		data, _ = x.taken(admin, AccumulationQuery{Name: "mood", ChannelID: "show1", Whole: true})
		require.Len(t, data, 12)
		// An object that was deleted is not read any more.
		require.NoError(t, x.b.objects.delete(context.Background(), x.app, "show1"))
		data, _ = x.taken(admin, q)
		require.Len(t, data, 49)
	})
}

// A page is 8 MiB at most.
func TestAccumulatedPageBytes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		blob := `{"a":"` + strings.Repeat("x", 60<<10) + `"}`
		for range 150 {
			x.give("show", "big", blob)
		}
		caster, q := x.roleOf(RoleBroadcaster, "show", ""), AccumulationQuery{Name: "big", ChannelID: "show"}
		total := 0
		for {
			size := 0
			end, err := x.b.Accumulated(context.Background(), caster, q, func(entries []catchup.Entry) error {
				for _, e := range entries {
					size += len(e.AppendJSON(nil)) + 1
					total++
				}
				return nil
			})
			require.NoError(t, err)
			require.LessOrEqual(t, size, accumulationPage)
			q.After = end.Cursor
			if !end.Truncated {
				break
			}
			require.Greater(t, size, accumulationPage*9/10)
		}
		require.Equal(t, 150, total)
	})
}

// The entry of an accumulation read as history over HTTP has its shape, too, for those
// who may read it.
func TestAccumulationHistory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		at := x.give("show", "m", `{"n":1}`)
		page, err := x.b.History(context.Background(), x.backend(), HistoryQuery{ObjectID: "show", Channel: "accumulate/m", Limit: 10})
		require.NoError(t, err)
		require.Len(t, page.Messages, 1)
		require.JSONEq(t, fmt.Sprintf(`{"observed":%d,"channel_id":"show","opaque_user_id":"U1","user_id":"","data":{"n":1}}`, at), string(page.Messages[0].Data))
	})
}
