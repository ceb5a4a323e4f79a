package client_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/client"
	"github.com/stretchr/testify/require"
)

// numbered is data with a replay id, as a server puts it in.
func numbered(n int) string { return fmt.Sprintf(`{"event":{"replayId":%d},"n":%d}`, 100+n, n) }

func replayIDs(t *testing.T, b *box) (ids []int64) {
	t.Helper()
	for _, m := range b.messages() {
		id, ok := m.ReplayID()
		require.True(t, ok)
		ids = append(ids, id)
	}
	return ids
}

// A subscription by replay id goes on behind the newest that came, in a new session, too.
func TestSubscribeFrom(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		for n := range 3 {
			f.deliver("/x/y", numbered(n))
		}
		var all, rest, fresh box
		_, err := c.SubscribeFrom(t.Context(), "/x/y", client.ReplayAll, all.put)
		require.NoError(t, err)
		_, err = c.SubscribeFrom(t.Context(), "/x/z", 105, rest.put)
		require.NoError(t, err)
		_, err = c.SubscribeFrom(t.Context(), "/x/w", client.ReplayNew, fresh.put)
		require.NoError(t, err)
		f.deliver("/x/y", numbered(3))
		time.Sleep(time.Second)
		require.Equal(t, []int64{100, 101, 102, 103}, replayIDs(t, &all))

		f.forget()
		f.deliver("/x/y", numbered(4))
		f.deliver("/x/z", numbered(6))
		f.breakLinks()
		time.Sleep(time.Minute)
		f.deliver("/x/y", numbered(5))
		f.deliver("/x/w", numbered(7))
		time.Sleep(time.Second)
		require.Equal(t, []int64{100, 101, 102, 103, 104, 105}, replayIDs(t, &all))
		require.Equal(t, []int64{106}, replayIDs(t, &rest))
		require.Equal(t, []int64{107}, replayIDs(t, &fresh))
		var exts []string
		for _, m := range f.of("/meta/subscribe") {
			exts = append(exts, string(m.Ext))
		}
		require.Equal(t, []string{
			`{"replay":{"/x/y":-2}}`, `{"replay":{"/x/z":105}}`, `{"replay":{"/x/w":-1}}`,
			`{"replay":{"/x/y":103}}`, `{"replay":{"/x/z":105}}`, `{"replay":{"/x/w":-1}}`,
		}, exts, "and no catch-up to mend them")
	})
}

// Of several on one channel the new session goes on behind the one that has least.
func TestSubscribeFromTwice(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var a, b, plain box
		for _, from := range []int64{client.ReplayNew, 150, 120} {
			_, err := c.SubscribeFrom(t.Context(), "/x/y", from, a.put)
			require.NoError(t, err)
		}
		_, err := c.Subscribe(t.Context(), "/x/y", plain.put)
		require.NoError(t, err)
		_, err = c.SubscribeFrom(t.Context(), "/x/all", client.ReplayAll, b.put)
		require.NoError(t, err)
		_, err = c.SubscribeFrom(t.Context(), "/x/all", 170, b.put)
		require.NoError(t, err)
		before := len(f.of("/meta/subscribe"))
		f.forget()
		f.breakLinks()
		time.Sleep(time.Minute)
		subs := f.of("/meta/subscribe")[before:]
		require.Len(t, subs, 2)
		require.Equal(t, `{"replay":{"/x/y":120}}`, string(subs[0].Ext))
		require.Equal(t, `{"replay":{"/x/all":-2}}`, string(subs[1].Ext))
	})
}

func TestSubscribeFromRefused(t *testing.T) {
	both(t, func(t *testing.T, f *fake, c *client.Client) {
		var got box
		_, err := c.SubscribeFrom(t.Context(), "/x/y", 404, got.put)
		var refusal *client.Error
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, 400, refusal.Code)
		require.Contains(t, refusal.Text, "{404}")
		for _, bad := range []string{"/x/*", "/x/**", "/x/y/catchup/1h", ""} {
			_, err := c.SubscribeFrom(t.Context(), bad, 1, got.put)
			require.Error(t, err, bad)
		}
		_, err = c.SubscribeFrom(t.Context(), "/x/y", -3, got.put)
		require.Error(t, err)

		// An id that a later session does not know any more ends the subscription.
		sub, err := c.SubscribeFrom(t.Context(), "/x/z", 1, got.put)
		require.NoError(t, err)
		f.deliver("/x/z", `{"event":{"replayId":404}}`)
		time.Sleep(time.Second)
		f.forget()
		f.breakLinks()
		time.Sleep(time.Minute)
		require.ErrorAs(t, sub.Err(), &refusal)
		require.Equal(t, 400, refusal.Code)
	})
}

func TestReplayID(t *testing.T) {
	f := func(data string, want int64, ok bool) {
		t.Helper()
		id, is := client.Message{Data: json.RawMessage(data)}.ReplayID()
		require.Equal(t, ok, is, data)
		if ok {
			require.Equal(t, want, id, data)
		}
	}
	f(`{"event":{"replayId":55,"createdDate":"x"},"payload":1}`, 55, true)
	f(`{"payload":1, "event" : { "replayId" : 1763715600123 } }`, 1763715600123, true)
	for _, none := range []string{`{}`, `[]`, `5`, `"event"`, `{"event":5}`, `{"event":{}}`, `{"event":{"replayId":"5"}}`, `{"event":{"replayId":-1}}`, `{"event":{"replayId":1.5}}`, `null`} {
		f(none, 0, false)
	}
}
