package bayeux

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestForwarded(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		o := Options{}.withDefaults()
		ms, err := decode([]byte(in), &o.Limits)
		require.NoError(t, err)
		require.Nil(t, ms[0].fault)
		b := ms[0].Forwarded()
		require.Equal(t, want, string(b))
		m, err := ParseForwarded(b)
		require.NoError(t, err)
		require.Empty(t, m.ClientID)
		require.Equal(t, ms[0].Subscription, m.Subscription)
		require.Equal(t, ms[0].AdviceTimeout, m.AdviceTimeout)
		require.Equal(t, ms[0].Ext, m.Ext)
		require.Equal(t, ms[0].kind, m.kind)
	}
	f(`{"id":7,"clientId":"secret","channel":"/meta/subscribe","subscription":["/x", "/y"],"ext":{"token": "t"},"data":5,"other":1}`,
		`{"channel":"/meta/subscribe","id":7,"subscription":["/x", "/y"],"ext":{"token": "t"}}`)
	f(`{"channel":"/meta/unsubscribe","clientId":"secret","subscription":"/<"}`, `{"channel":"/meta/unsubscribe","subscription":"/<"}`)
	f(`{"channel":"/meta/disconnect","id":"a","clientId":"secret"}`, `{"channel":"/meta/disconnect","id":"a"}`)
	f(`{"channel":"/meta/connect","clientId":"secret","connectionType":"eventsource","advice":{"timeout":1}}`,
		`{"channel":"/meta/connect","connectionType":"eventsource","advice":{"timeout":1}}`)
}

func TestParseForwardedIsStrict(t *testing.T) {
	for _, bad := range []string{
		"", "null", "[]", "x", `{}`, ` {"channel":"/meta/disconnect"}`, `{"channel":"/meta/disconnect"} `, `{"channel":"/meta/disconnect"}{}`,
		`{"channel":"/meta/disconnect","clientId":"x"}`, `{"channel":"/meta/disconnect","data":1}`, `{"channel":"/meta/disconnect","new":1}`,
		`{"channel":"/meta/disconnect","channel":"/meta/disconnect"}`, `{"channel":"/meta/disconnect","error":"x"}`,
		`{"channel":"/meta/handshake"}`, `{"channel":"/meta/connect","connectionType":"websocket"}`, `{"channel":"/x"}`, `{"channel":"/meta/other"}`,
		`{"id":1,"channel":"/meta/disconnect"}`, `{"channel":"/meta/subscribe","subscription":[1]}`, "{\"channel\":\"/meta/disconnect\",\"id\":\"\xff\"}",
		`{"channel":"/meta/disconnect","ext":{"a":"` + strings.Repeat("x", mostForwarded) + `"}}`,
	} {
		_, err := ParseForwarded([]byte(bad))
		require.ErrorIs(t, err, errForwarded, "%.80s", bad)
	}
}

func FuzzParseForwarded(f *testing.F) {
	for _, s := range []string{
		`{"channel":"/meta/subscribe","id":7,"subscription":["/x","/y"],"ext":{"token":"t"}}`,
		`{"channel":"/meta/connect","connectionType":"eventsource","advice":{"timeout":1}}`,
		`{"channel":"/meta/disconnect","id":"\u0000"}`, `[{"channel":"/meta/disconnect"}]`, `{"channel":"/x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseForwarded(b)
		if err != nil {
			return
		}
		if !m.forwards() || m.ClientID != "" || m.Data != nil || m.fault != nil || string(m.Forwarded()) != string(b) {
			t.Fatalf("%q was read as %+v", b, m)
		}
		// Whatever passes here is a message that a client may send.
		o := Options{}.withDefaults()
		o.Limits.Depth, o.Limits.SubscriptionList = hardDepth, mostForwarded
		if ms, err := decode(b, &o.Limits); err != nil || len(ms) != 1 || ms[0].fault != nil {
			t.Fatalf("%q cannot come from a client: %v", b, err)
		}
	})
}

func TestDeliveryTellsItsChannelAndID(t *testing.T) {
	f := func(channel, id, data string) {
		t.Helper()
		d := NewDelivery(DeliveryFields{Channel: channel, ID: id, Data: []byte(data)})
		require.Equal(t, channel, d.Channel())
		require.Equal(t, id, d.ID())
	}
	f("/x", "", `{"id":"not this"}`)
	f("/a/catchup/6h", "01HZ", `"\"id\":\"x\""`)
	f(`/a&b"\`, "<é\n>", "")
}

func BenchmarkForwarded(b *testing.B) {
	text := []byte(`{"channel":"/meta/subscribe","id":7,"subscription":["/x","/y"],"ext":{"token":"` + strings.Repeat("t", 300) + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		m, err := ParseForwarded(text)
		if err != nil {
			b.Fatal(err)
		}
		_ = m.Forwarded()
	}
}

func TestMessagesThatAreForwarded(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + connects("a", "1") + `
			at two
			open b websocket
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":["/x","/y"],"id":7,"ext":{"echo":{"n":1}}}
			b< {"channel":"/meta/subscribe","clientId":"${a}","subscription":["/x","/y"],"id":7,"successful":true,"ext":{"n":1}}
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/forbidden"}
			b< {"error":"403:/forbidden:Forbidden channel"}
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/a b"}
			b< {"error":"405:/a b:Invalid channel"}
			b> {"channel":"/meta/subscribe","clientId":"${a}","id":8}
			b< {"error":"402:subscription:Missing required parameter","id":8}
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/panic"}
			b< {"error":"500::Internal server error"}
			b> {"channel":"/meta/unsubscribe","clientId":"${a}","subscription":"/y"}
			b< {"channel":"/meta/unsubscribe","successful":true}
			# a publish takes nothing over
			b> {"channel":"/x","clientId":"${a}","data":1}
			b< {"channel":"/x","successful":true}
			a< [{"data":1},{"id":"1"}]
			` + connects("a", "2") + `
			b> {"channel":"/meta/disconnect","clientId":"${a}","id":9}
			b< {"channel":"/meta/disconnect","clientId":"${a}","id":9,"successful":true}
			a< {"id":"2","advice":{"reconnect":"none"}}
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/x"}
			b< {"error":"401:${a}:Unknown client"}
			b> {"channel":"/meta/disconnect","clientId":"${a}"}
			b< {"error":"401:${a}:Unknown client"}
			b> []
			b< []
		`)
		require.Equal(t, []string{ReasonDisconnect}, w.closed)
		one, two := w.one.Stats(), w.two.Stats()
		require.Equal(t, int64(5), one.Carried)
		require.Equal(t, int64(7), two.Forwarded)
		require.Equal(t, int64(1), one.Panics)
		require.Zero(t, two.Resumed)
	})
}

// Who lives nowhere is resumed by what would be forwarded.
func TestAForwardThatResumes(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a\n" + hello("a") + listen("a", "/x"))
		w.home(w.Value("a")).session.Close(ReasonMoved)
		w.Run(`
			deliver /x 0
			at two
			open b
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/y","id":"1"}
			b< {"id":"1","successful":true}
			deliver /y 1
			` + whose("b", "a", "2") + `
			b< [{"data":0},{"data":1},{"id":"2"}]
		`)
		require.Equal(t, 1, w.two.Sessions())
	})
}

// A session that lived nowhere when a subscribe came for it, and lives elsewhere when that
// would resume it, is not taken from there: its client has connected, perhaps by a socket
// that would go on, and would get again what it has got.
func TestAForwardThatFollows(t *testing.T) {
	across(t, Options{}, func(t *testing.T, w *talk) {
		w.Run("open a websocket\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
			deliver /x 1
			a< {"data":1}
		`)
		w.unseen = mostFollowed - 1
		w.Run(`
			at two
			open b
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/y","id":"s"}
			b< {"id":"s","successful":true}
			deliver /y 2
			a< {"data":2}
		`)
		w.unseen = mostFollowed
		w.Run(`
			b> {"channel":"/meta/unsubscribe","clientId":"${a}","subscription":"/y","id":"u"}
			b< status 503
			deliver /y 3
			a< {"data":3}
			a> {"channel":"/meta/disconnect","clientId":"${a}"}
			a< {"channel":"/meta/disconnect","successful":true}
			a< {"id":"1"}
			a< closed 1000
		`)
		require.Equal(t, []string{ReasonDisconnect}, w.closed)
		require.Zero(t, w.two.Stats().Resumed)
		require.Zero(t, w.two.Stats().Late)
	})
}

// A subscribe that resumes a session does not tell whether the answer before has arrived:
// the connect that follows does, here or after one more move.
func TestAForwardThatResumesDuringAnAnswer(t *testing.T) {
	for name, c := range map[string]string{
		"the next connect":            whose("b", "a", "2") + `b< [{"data":2},{"id":"2"}]`,
		"the next connect, elsewhere": "at one\n" + connects("a", "2") + `a< [{"data":2},{"id":"2"}]`,
		"the same connect": whose("b", "a", "1") + `b< [{"data":1},{"id":"1"}]
			` + whose("b", "a", "2") + `b< [{"data":2},{"id":"2"}]`,
		"the same connect, elsewhere": "at one\n" + connects("a", "1") + `a< [{"data":1},{"id":"1"}]
			` + connects("a", "2") + `a< [{"data":2},{"id":"2"}]`,
		"timeout 0 and alone": `
			b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","id":"2","advice":{"timeout":0}}
			b< [{"data":1},{"data":2},{"id":"2"}]`,
		"a socket": `
			open c websocket
			` + whose("c", "a", "2") + `c< [{"data":2},{"id":"2"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			across(t, Options{}, func(t *testing.T, w *talk) {
				w.Run("open a\n" + hello("a") + listen("a", "/x") + connects("a", "1") + `
					deliver /x 1
					a< [{"data":1},{"id":"1"}]
					deliver /x 2
				`)
				w.home(w.Value("a")).session.Close(ReasonMoved)
				synctest.Wait()
				w.Begin(`
					at two
					open b
					b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/y","id":"s"}
					b< {"id":"s","successful":true}
				`)
				s, _ := w.two.Session(w.Value("a"))
				queued, arrived := s.Progress()
				require.Equal(t, [2]uint64{2, 0}, [2]uint64{queued, arrived})
				w.Begin(c)
			})
		})
	}
}

// Messages that name no session here are throttled by address.
func TestForwardedMessagesAreThrottled(t *testing.T) {
	across(t, Options{Limits: Limits{RequestsPerSession: 1, RequestBurst: 5}}, func(t *testing.T, w *talk) {
		w.Begin("open a\n" + hello("a") + "at two\nopen b websocket\n")
		start := time.Now()
		for i := range 8 {
			w.Begin(fmt.Sprintf(`b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/x","id":"s%d"}`, i))
		}
		w.Run("wait 2999ms\nb< *\nquiet\nwait 1ms\nb< {\"id\":\"s7\"}")
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, int64(3), w.two.Stats().Throttled)
	})
}
