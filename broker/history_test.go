package broker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// past asks for a page and returns its data.
func (x *bench) past(who *Identity, q HistoryQuery) (data []string, page HistoryPage, err error) {
	x.t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	page, err = x.b.History(context.Background(), who, q)
	for _, m := range page.Messages {
		data = append(data, string(m.Data))
	}
	return data, page, err
}

func (x *bench) backend() *Identity { return &Identity{App: x.app, Role: RoleServer} }

func TestHistoryPages(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		var ids []string
		for n := range 10 {
			x.say("gala", "chat", n+1)
			_, page, err := x.past(x.backend(), HistoryQuery{ObjectID: "gala", Channel: "chat"})
			require.NoError(t, err)
			require.Len(t, page.Messages, n+1)
			require.Empty(t, page.Next)
			ids = append(ids, page.Messages[n].ID)
			require.InDelta(t, time.Now().UnixMilli(), page.Messages[n].Time, 5)
			time.Sleep(time.Minute)
		}
		f := func(q HistoryQuery, next, want string) {
			t.Helper()
			q.ObjectID, q.Channel = "gala", "chat"
			got, page, err := x.past(x.backend(), q)
			require.NoError(t, err)
			require.Equal(t, want, strings.Join(got, " "))
			require.Equal(t, next, page.Next)
			require.False(t, page.Truncated)
		}
		f(HistoryQuery{Limit: 3}, ids[7], "8 9 10")
		f(HistoryQuery{Limit: 3, Before: ids[7]}, ids[4], "5 6 7")
		f(HistoryQuery{Limit: 4, Before: ids[4]}, "", "1 2 3 4")
		f(HistoryQuery{Before: ids[0]}, "", "")
		f(HistoryQuery{Limit: 3, After: ids[1]}, ids[4], "3 4 5")
		f(HistoryQuery{Limit: 5, After: ids[4]}, "", "6 7 8 9 10")
		f(HistoryQuery{After: ids[9]}, "", "")
		f(HistoryQuery{Since: "150s"}, "", "9 10")
		f(HistoryQuery{Since: "1h", Limit: 2}, ids[1], "1 2")
		f(HistoryQuery{Since: time.Now().Add(-150 * time.Second).Format(time.RFC3339Nano)}, "", "9 10")
		f(HistoryQuery{Since: time.Now().Add(time.Hour).Format(time.RFC3339)}, "", "")
	})
}

// What a cursor names that is not kept any more is said; what was never given out
// is refused.
func TestHistoryCursors(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, func(o *Options, _ *bayeux.Options) { o.Kinds = map[string]KindOptions{"custom": {Length: 5}} })
		x.say("gala", "chat", numbers(1, 5)...)
		_, page, err := x.past(x.backend(), HistoryQuery{ObjectID: "gala", Channel: "chat"})
		require.NoError(t, err)
		first, last := page.Messages[0].ID, page.Messages[4].ID
		x.say("gala", "chat", numbers(6, 9)...)
		x.say("gala", "other", 1)
		q := func(q HistoryQuery) HistoryQuery { q.ObjectID, q.Channel = "gala", "chat"; return q }
		got, page, err := x.past(x.backend(), q(HistoryQuery{After: last}))
		require.NoError(t, err)
		require.Equal(t, []string{"6", "7", "8", "9"}, got)
		require.False(t, page.Truncated)
		got, page, err = x.past(x.backend(), q(HistoryQuery{After: first}))
		require.NoError(t, err)
		require.Equal(t, []string{"5", "6", "7", "8", "9"}, got)
		require.True(t, page.Truncated, "2 to 4 are gone")
		got, page, err = x.past(x.backend(), q(HistoryQuery{Before: first}))
		require.NoError(t, err)
		require.Empty(t, got)
		require.True(t, page.Truncated)
		_, page, err = x.past(x.backend(), q(HistoryQuery{Since: "1h"}))
		require.NoError(t, err)
		require.True(t, page.Truncated)
		_, page, err = x.past(x.backend(), q(HistoryQuery{}))
		require.NoError(t, err)
		require.False(t, page.Truncated, "the newest were asked for")

		p, err := store.ParsePosition(last)
		require.NoError(t, err)
		forged := store.NewPosition(p.MS(), p.Epoch(), p.N()+1000).String()
		_, other, err := x.past(x.backend(), HistoryQuery{ObjectID: "gala", Channel: "other"})
		require.NoError(t, err)
		for _, bad := range []string{"x", strings.ToLower(last), last + "0", forged, other.Messages[0].ID} {
			for _, query := range []HistoryQuery{{After: bad}, {Before: bad}} {
				_, _, err := x.past(x.backend(), q(query))
				require.Equal(t, 4000, AsError(err).Result, bad)
			}
		}
		for _, bad := range []string{"12x", "0h", "-1", "yesterday", "2026-11-21", "99999999999999999999"} {
			_, _, err := x.past(x.backend(), q(HistoryQuery{Since: bad}))
			require.Equal(t, 4000, AsError(err).Result, bad)
		}
		for _, long := range []string{"25h", "9999999h", "0", "1999-01-01T00:00:00Z"} {
			_, _, err := x.past(x.backend(), q(HistoryQuery{Since: long}))
			require.Equal(t, 4013, AsError(err).Result, long)
		}
		// Older than the channel goes back, though the store still has it.
		time.Sleep(24*time.Hour + time.Minute)
		got, page, err = x.past(x.backend(), q(HistoryQuery{After: last}))
		require.NoError(t, err)
		require.Empty(t, got)
		require.True(t, page.Truncated)
	})
}

// Who may catch up may read, and nobody else (decided.md 25).
func TestHistoryRights(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		for _, channel := range []string{"chat", "a/b", "events", "analytics"} {
			x.say("gala", channel, 1)
		}
		x.say("else", "chat", 1)
		stranger := &Identity{App: &Application{ID: 99, Name: "other"}, Role: RoleServer}
		who := []*Identity{
			nil,
			{App: x.app, Role: RoleViewer, ChannelID: "gala"},
			{App: x.app, Role: RoleModerator, ChannelID: "gala"},
			{App: x.app, Role: RoleBroadcaster, ChannelID: "gala"},
			{App: x.app, Role: RoleAdmin},
			x.backend(), stranger,
		}
		for _, row := range []struct {
			object, channel string
			want            [7]int
		}{
			{"gala", "chat", [7]int{4001, 0, 0, 0, 0, 0, 4004}},
			{"gala", "a/b", [7]int{4001, 0, 0, 0, 0, 0, 4004}},
			{"gala", "all_json", [7]int{4001, 0, 0, 0, 0, 0, 4004}},
			{"gala", "analytics", [7]int{4001, 4003, 4003, 0, 0, 0, 4004}},
			{"gala", "events", [7]int{4001, 4003, 4003, 4004, 4004, 4004, 4004}},
			{"gala", "accumulate", [7]int{4001, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"gala", "accumulate/x", [7]int{4001, 4003, 4003, 0, 0, 0, 4004}},
			{"gala", "data/x", [7]int{4001, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"gala", "a/b/c/d", [7]int{4001, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"gala", "chat/catchup/1h", [7]int{4001, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"gala", "/chat", [7]int{4001, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"gala", "*", [7]int{4001, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"else", "chat", [7]int{4001, 4003, 4003, 4003, 0, 0, 4004}},
			{"nobody", "chat", [7]int{4001, 4003, 4003, 4003, 4004, 4004, 4004}},
			{"", "/open/a", [7]int{}},
			{"", "/mute/a", [7]int{4004, 4004, 4004, 4004, 4004, 4004, 4004}},
			{"", "/elsewhere", [7]int{4003, 4003, 4003, 4003, 4003, 4003, 4003}},
			{"", x.root("gala", channels.ClassView) + "/chat", [7]int{4003, 4003, 4003, 4003, 4003, 4003, 4003}},
			{"", "/meta/x", [7]int{4003, 4003, 4003, 4003, 4003, 4003, 4003}},
			{"", "/open/a/catchup/1h", [7]int{4000, 4000, 4000, 4000, 4000, 4000, 4000}},
			{"", "open", [7]int{4000, 4000, 4000, 4000, 4000, 4000, 4000}},
		} {
			for i, id := range who {
				_, _, err := x.past(id, HistoryQuery{ObjectID: row.object, Channel: row.channel})
				got := 0
				if err != nil {
					got = AsError(err).Result
				}
				require.Equal(t, row.want[i], got, "%s %s as %d: %v", row.object, row.channel, i, err)
			}
		}
		// Reading makes no object.
		_, err := x.b.objects.get(t.Context(), x.app, "nobody")
		require.ErrorIs(t, err, ErrNoObject)
	})
}

// A walk gives all of a stretch in order, whatever its length, as it was when it
// began, and what passes through is what a catch-up brings.
func TestWalkHistory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		p := x.join("")
		require.True(t, p.publish("/open/a", "{\"n\": 12345678901234567890}", `{"binary":{"x":1},"trace":"t"}`).ok())
		for range 2100 {
			require.True(t, p.publish("/open/a", "1", "").ok())
		}
		var all []HistoryMessage
		pages := 0
		err := x.b.WalkHistory(t.Context(), nil, HistoryQuery{Channel: "/open/a"}, func(page HistoryPage) error {
			if pages++; pages == 1 {
				require.True(t, p.publish("/open/a", "2", "").ok())
			}
			all = append(all, page.Messages...)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 3, pages)
		require.Len(t, all, 2101)
		require.Equal(t, `{"n": 12345678901234567890}`, string(all[0].Data))
		require.Equal(t, `{"binary":{"x":1}}`, string(all[0].Ext))
		require.Nil(t, all[1].Ext)
		for i := range all[1:] {
			require.Less(t, all[i].ID, all[i+1].ID)
		}
		// Before: all of what is older. An error of the reader ends it.
		n := 0
		require.NoError(t, x.b.WalkHistory(t.Context(), nil, HistoryQuery{Channel: "/open/a", Before: all[50].ID}, func(page HistoryPage) error {
			n += len(page.Messages)
			return nil
		}))
		require.Equal(t, 50, n)
		enough := errors.New("enough")
		require.ErrorIs(t, x.b.WalkHistory(t.Context(), nil, HistoryQuery{Channel: "/open/a"}, func(HistoryPage) error { return enough }), enough)
		// A channel where nothing was said: one empty page.
		n = 0
		require.NoError(t, x.b.WalkHistory(t.Context(), nil, HistoryQuery{Channel: "/open/silent", Since: "1h"}, func(page HistoryPage) error {
			require.Empty(t, page.Messages)
			n++
			return nil
		}))
		require.Equal(t, 1, n)
		require.Empty(t, x.b.reads)
	})
}

// Nobody waits for a page for ever: its request's end ends it.
func TestHistorySlots(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		x := newBench(t, nil)
		for range historyReads {
			require.NoError(t, x.b.reads.take(t.Context()))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		x.say("gala", "chat", 1)
		_, err := x.b.History(ctx, x.backend(), HistoryQuery{ObjectID: "gala", Channel: "chat", Limit: 1})
		require.Equal(t, 5003, AsError(err).Result)
		x.b.reads.giveBack()
		_, page, err := x.past(x.backend(), HistoryQuery{ObjectID: "gala", Channel: "chat"})
		require.NoError(t, err)
		require.Len(t, page.Messages, 1)
	})
}
