package bayeux

import (
	"strings"
	"testing"

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
