package client

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDecodeFrame(t *testing.T) {
	f := func(in string, want ...envelope) {
		t.Helper()
		got, err := decodeFrame([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	raw := func(s string) []byte { return []byte(s) }
	var none []envelope
	f(` [ ] `, none...)
	f(`{"channel":"/a","data":null}`, envelope{channel: "/a", data: raw(`null`)})
	f(`[{"channel":"/a","data":{"x":[1,"]}\""]}} , {"id":"1","channel":"\/b","successful":true}]`,
		envelope{channel: "/a", data: raw(`{"x":[1,"]}\""]}`)}, envelope{channel: "/b", id: "1", isReply: true, successful: true})
	f(`[{"Channel":"/a","channel":"/b","DATA":1,"data" : 2 ,"id":7}]`, envelope{channel: "/b", data: raw(`2`), id: "7"})
	f(`[{"channel":"/a","error":"403::x","successful":false,"clientId":"c","ext":{"a":1}}]`,
		envelope{channel: "/a", err: "403::x", isReply: true, clientID: "c", ext: raw(`{"a":1}`)})
	f(`[{"channel":7,"successful":"true"}]`, envelope{channel: "7", isReply: true})
	f(`[{"channel":"/m","advice":{"reconnect":"retry","interval":1500,"timeout":1e99}}]`,
		envelope{channel: "/m", advice: &advice{"retry", 1500 * time.Millisecond, maxHold}})
	f(`[{"channel":"/m","advice":{"interval":-5,"timeout":"1"}},{"channel":"/m","advice":"none"}]`,
		envelope{channel: "/m", advice: &advice{"", -1, -1}}, envelope{channel: "/m"})
	for _, bad := range []string{``, ` `, `1`, `"a"`, `[1]`, `[null]`, `[[]]`, `[{]`, `{"channel":"/a"`, "[{\"channel\":\"/\xff\"}]"} {
		_, err := decodeFrame([]byte(bad))
		require.ErrorIs(t, err, errMalformed, bad)
	}
}

func TestDecodeExt(t *testing.T) {
	h, ok := decodeHistory([]byte(`{"history":{"id":"X","ts":1700000000123,"replay":true}}`))
	require.True(t, ok)
	require.Equal(t, History{ID: "X", TS: time.UnixMilli(1700000000123), Replay: true}, h)
	for _, none := range []string{``, `1`, `{}`, `{"history":1}`, `{"history":{}}`} {
		_, ok := decodeHistory([]byte(none))
		require.False(t, ok, none)
	}
	require.Equal(t, &CatchUp{Messages: 3, Truncated: true}, decodeCatchUp([]byte(`{"catchup":{"truncated":true,"messages":3}}`)))
	require.Nil(t, decodeCatchUp([]byte(`{"catchup":[]}`)))
}

func TestParseError(t *testing.T) {
	f := func(in string, want Error) { t.Helper(); require.Equal(t, &want, parseError(in)) }
	f("403:/a,/b:Forbidden channel", Error{403, []string{"/a", "/b"}, "Forbidden channel"})
	f("500::Internal server error", Error{500, nil, "Internal server error"})
	f("400::with: colons: in it", Error{400, nil, "with: colons: in it"})
	for _, odd := range []string{"", "what", "403:x", "40:x:y", "4x3:x:y", "000::x", "-03::x"} {
		f(odd, Error{Text: odd})
	}
	require.Equal(t, "client: refused: 403 Forbidden channel (/a)", parseError("403:/a:Forbidden channel").Error())
}

func TestBaseChannel(t *testing.T) {
	f := func(in, want string) { t.Helper(); require.Equal(t, want, baseChannel(in)) }
	f("/a/b/catchup/6h", "/a/b")
	f("/a/b", "/a/b")
	f("/catchup/6h", "/catchup/6h")
	f("/a/catchup", "/a/catchup")
	f("", "")
}

// FuzzDecodeFrame: what is taken agrees with encoding/json, and nothing panics.
func FuzzDecodeFrame(f *testing.F) {
	for _, s := range []string{`[]`, `{"channel":"/a","data":1}`, `[{"channel":"/a","ext":{"history":{"id":"1","ts":2}},"data":"\ud83d\ude00"}]`, `[{"channel":"/m","advice":{"interval":1.5}}]`, `[{"id":1,"id":"2"}]`, `[[`, `{"a":"\"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeFrame(b)
		var want []map[string]json.RawMessage
		one := map[string]json.RawMessage{}
		bad := json.Unmarshal(b, &want) != nil
		if bad && json.Unmarshal(b, &one) == nil && one != nil {
			want, bad = []map[string]json.RawMessage{one}, false
		}
		if err != nil {
			return
		}
		require.False(t, bad)
		require.Len(t, got, len(want))
		for i, e := range got {
			require.Equal(t, bytes.TrimSpace(want[i]["data"]), e.data)
			require.Equal(t, bytes.TrimSpace(want[i]["ext"]), e.ext)
			decodeHistory(e.ext)
			decodeCatchUp(e.ext)
		}
	})
}

func BenchmarkReceive(b *testing.B) {
	c, err := New(Options{URL: "http://x/faye", MaxInbox: 1 << 30, MaxInboxBytes: 1 << 40})
	require.NoError(b, err)
	s := &Subscription{c: c, handler: func(Message) {}}
	c.byChannel["/chat/room"] = []*Subscription{s}
	var frames [][]byte
	for i := range 1000 {
		id := testID(7, uint64(i))
		frames = append(frames, []byte(`[{"channel":"/chat/room","data":{"text":"a message of ordinary length, as people write them","n":1},"id":"`+id+`","ext":{"history":{"id":"`+id+`","ts":1700000000123}}}]`))
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(frames[0])))
	i := 0
	for b.Loop() {
		if i%1000 == 0 {
			c.dispatcher.had, s.had, c.dispatcher.recent = seen{}, seen{}, recent{}
		}
		if err := c.receive(b.Context(), frames[i%1000]); err != nil {
			b.Fatal(err)
		}
		c.dispatcher.handOut(c.inbox.take())
		i++
	}
	require.Zero(b, c.counts.repeats.Load())
}
