package bayeux

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func testLimits() *Limits {
	l := Options{}.withDefaults().Limits
	return &l
}

func one(t *testing.T, text string) *Message {
	t.Helper()
	ms, err := decode([]byte(text), testLimits())
	require.NoError(t, err)
	require.Len(t, ms, 1)
	return ms[0]
}

func TestDecodeFaults(t *testing.T) {
	check := func(text, fault string) {
		t.Helper()
		m := one(t, text)
		if fault == "" {
			require.Nil(t, m.fault, text)
			return
		}
		require.NotNil(t, m.fault, text)
		require.Equal(t, fault, m.fault.Error(), text)
	}
	const bad = "400:FIELD:Malformed message"
	wrong := map[string][]string{
		"clientId":                 {`1`, `true`, `{}`, `[]`, `"` + strings.Repeat("x", 256) + `"`},
		"id":                       {`true`, `{}`, `[]`, `"` + strings.Repeat("x", 256) + `"`, strings.Repeat("1", 256)},
		"ext":                      {`1`, `"x"`, `[]`, `true`},
		"version":                  {`1`, `{}`},
		"minimumVersion":           {`1.0`},
		"supportedConnectionTypes": {`"websocket"`, `{}`, `["a",1]`, `[null]`, `[` + strings.Repeat(`"a",`, maxTypes) + `"a"]`},
		"connectionType":           {`1`, `["a"]`},
		"subscription":             {`1`, `{}`, `true`, `["/a",1]`, `[["/a"]]`, `[` + strings.Repeat(`"/a",`, 100) + `"/a"]`},
		"advice":                   {`1`, `"x"`, `[]`, `{"timeout":"5"}`, `{"timeout":true}`, `{"interval":{}}`},
		"error":                    {`1`, `"` + strings.Repeat("x", maxError) + `"`},
	}
	for field, values := range wrong {
		for _, v := range values {
			check(`{"channel":"/meta/handshake","`+field+`":`+v+`}`, strings.Replace(bad, "FIELD", field, 1))
		}
		check(`{"channel":"/meta/handshake","`+field+`":null}`, "")
		check(`{"channel":"/a","`+field+`":null,"`+field+`":null}`, "400:"+field+":Malformed message")
		// Another case, a look-alike: no field of the protocol.
		check(`{"`+strings.ToUpper(field)+`":7}`, "")
		check(`{"`+strings.ReplaceAll(field, "s", "ſ")+`x":7}`, "")
		// The same name, otherwise spelt, for a reader that unescapes.
		check(`{"\u00`+hexByte(field[0])+field[1:]+`":"x"}`, "400:name:Malformed message")
	}
	for _, channel := range []string{`1`, `["/a"]`, `{}`, `true`} {
		check(`{"channel":`+channel+`,"data":1}`, "405::Invalid channel")
	}
	check(`{"channel":"/a","data":1,"channel":"/b"}`, "400:channel:Malformed message")
	check(`{"channel":"/a","data":1,"data":1}`, "400:data:Malformed message")
	check(`{"channel":"/a","\u0078":1,"x":2,"x":3}`, "") // not of the protocol
	check(`{"\ud800":1}`, "")
}

func hexByte(c byte) string { return string([]byte{hexDigits[c>>4], hexDigits[c&15]}) }

func TestDecodeRefusesTheWhole(t *testing.T) {
	refused := func(text string, want error) {
		t.Helper()
		ms, err := decode([]byte(text), testLimits())
		require.ErrorIs(t, err, want, text)
		require.Nil(t, ms)
	}
	for _, text := range []string{
		``, ` `, `"x"`, `true`, `7`, `nul`, `null null`, `{`, `[`, `[{}`, `{}{}`, `[{}]x`, `[{},]`, `{"a":1,}`, `{"a"}`, `{a:1}`,
		`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":1e}`, `{"a":-}`, `{"a":NaN}`, `{"a":"` + "\n" + `"}`, `{"a":"\x"}`, `{"a":"\u12"}`,
		`{"a":'b'}`, "\ufeff{}", `{"a":tru}`, `[,]`, `{"a":1 "b":2}`, `{"a":"\`, "{\"a\":\"\x00\"}",
	} {
		refused(text, errMalformed)
	}
	for _, text := range []string{"\xff", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xed\xa0\x80\"}", "{}\xfe"} {
		refused(text, errUTF8)
	}
	refused("["+strings.Repeat("{},", 100)+"{}]", errBatch)
	deep := func(n int) string { return `{"data":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
	refused(deep(128), errMalformed)
	refused(deep(1_000_000), errMalformed)
	require.Nil(t, one(t, deep(127)).fault)
	refused("["+deep(127)+"]", errMalformed)
}

func TestDecodeBatches(t *testing.T) {
	count := func(text string, want int) {
		t.Helper()
		ms, err := decode([]byte(text), testLimits())
		require.NoError(t, err, text)
		require.Len(t, ms, want, text)
	}
	count(`null`, 0)
	count(`[]`, 0)
	count(`[null,null]`, 0)
	count(" \t\r\n{} ", 1)
	count(`[{},null,7,"x",[[]]]`, 4)
	count("["+strings.Repeat("{},", 99)+"{}]", 100)
	ms, err := decode([]byte(`[7,{"channel":"/a","data":1}]`), testLimits())
	require.NoError(t, err)
	require.Equal(t, "400::Malformed message", ms[0].fault.Error())
	require.Nil(t, ms[1].fault)
}

func TestDecodeKeepsWhatWasSent(t *testing.T) {
	body := []byte(`{"channel":"\/a","id":1.50e3,"data": {"n":12345678901234567890, "x":"\u2028"} ,"ext":{"k":"v\u00e9","token":"t","token":"u"},"clientId":"c\u0031"}`)
	ms, err := decode(body, testLimits())
	require.NoError(t, err)
	clear(body) // it shares no memory
	m := ms[0]
	require.Nil(t, m.fault)
	require.Equal(t, "/a", m.ChannelText)
	require.False(t, m.Channel.IsZero())
	require.Equal(t, `1.50e3`, string(m.ID))
	require.Equal(t, `{"n":12345678901234567890, "x":"\u2028"}`, string(m.Data))
	require.Equal(t, "c1", m.ClientID)
	k, ok := m.ExtString("k")
	require.True(t, ok)
	require.Equal(t, "vé", k)
	k, _ = m.ExtString("token")
	require.Equal(t, "t", k)
	require.Nil(t, m.ExtValue("none"))
	_, ok = one(t, `{"ext":{"a":1}}`).ExtString("a")
	require.False(t, ok)

	m = one(t, `{"channel":"/meta/subscribe","subscription":["/a","/b"],"advice":{"timeout":1.9,"interval":-5,"x":[]}}`)
	require.Equal(t, []string{"/a", "/b"}, m.Subscription)
	require.True(t, m.SubscriptionList)
	require.Equal(t, int64(1), m.AdviceTimeout)
	require.Equal(t, int64(0), m.AdviceInterval)
	m = one(t, `{"channel":"/meta/connect","advice":{"timeout":1e999}}`)
	require.Equal(t, int64(maxAdvice), m.AdviceTimeout)
	require.Equal(t, int64(-1), m.AdviceInterval)
	require.Equal(t, "null", string(one(t, `{"channel":"/a","data":null}`).Data))
}

func TestIDs(t *testing.T) {
	for id, want := range map[string]string{
		`"a"`: `"a"`, `1`: `1`, `-7.5`: `-7.5`, `1e2`: `1e2`, `""`: "", `0`: "", `-0`: "", `0.00`: "", `0e9`: "", `false`: "", `null`: "",
		`12345678901234567890123`: `12345678901234567890123`,
	} {
		m := one(t, `{"channel":"/a","id":`+id+`}`)
		require.Nil(t, m.fault, id)
		require.Equal(t, want, string(m.ID), id)
	}
}

func TestKinds(t *testing.T) {
	for channel, want := range map[string]kind{
		"/meta/handshake": kindHandshake, "/meta/connect": kindConnect, "/meta/subscribe": kindSubscribe,
		"/meta/unsubscribe": kindUnsubscribe, "/meta/disconnect": kindDisconnect, "/meta": kindMeta, "/meta/": kindMeta,
		"/meta/subscribe/x": kindMeta, "/meta/Connect": kindMeta, "/metadata": kindPublish, "/Meta/connect": kindPublish, "": kindPublish,
	} {
		require.Equal(t, want, kindOf(channel), channel)
	}
}

func TestLimitsOfMessages(t *testing.T) {
	l := testLimits()
	l.Message, l.Channel, l.Segments = 10, 20, 3
	ms, err := decode([]byte(`[{"channel":"/a","data":"12345678"},{"channel":"/a","data":"123456789"},{"channel":"/a/b/c/d","data":1},{"channel":"/`+strings.Repeat("a", 20)+`","data":1},{"channel":"/a/b/c","data":1}]`), l)
	require.NoError(t, err)
	require.Nil(t, ms[0].fault)
	require.Equal(t, "413::Message too large", ms[1].fault.Error())
	require.True(t, ms[2].Channel.IsZero())
	require.True(t, ms[3].Channel.IsZero())
	require.False(t, ms[4].Channel.IsZero())
}

func TestErrorText(t *testing.T) {
	check := func(e *Error, want string) { t.Helper(); require.Equal(t, want, e.Error()) }
	check(ErrForbidden("/a/*"), "403:/a/*:Forbidden channel")
	check(ErrInvalidChannel("/a b"), "405:/a b:Invalid channel")
	check(ErrInvalidChannel("/a:b"), "405::Invalid channel")
	check(ErrInvalidChannel("<script>"), "405::Invalid channel")
	check(ErrInvalidChannel("/\u00e9"), "405::Invalid channel")
	check(ErrInvalidChannel("/"+strings.Repeat("a", 255)), "405::Invalid channel")
	check(&Error{Code: 301, Args: []string{"a", "b,c", "d"}, Text: "x"}, "301:a,d:x")
	check(errMissing("data"), "402:data:Missing required parameter")
	check(errUnknownClient("x\ny"), "401::Unknown client")
}

// FuzzDecode compares with encoding/json: what is taken is JSON, and its fields are
// those that another reader finds.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`[]`, `null`, `{}`, `[null,7,{"channel":"/a","data":{"x":[1,2e-3,"\ud83d\ude00"]},"id":"1","clientId":"c"}]`,
		`{"channel":"/meta/connect","connectionType":"websocket","advice":{"timeout":0},"ext":{"ack":-1},"id":7}`,
		`{"channel":"/meta/handshake","version":"1.0","minimumVersion":"0.9","supportedConnectionTypes":["a","b"],"error":"x"}`,
		`{"channel":"/meta/subscribe","subscription":["/a","/b/**"],"\u0063hannel":"/c"}`, `{"a":"\ud800","data":null}`, "{\"a\":\"\xff\"}",
		// What other readers are careless about (security.md §6).
		`{"CHANNEL":"/meta/handshake","channel":"/a","clientid":"x","clientId":"y","data":9007199254740993}`,
		"{\"channel\":\"/a\",\"da\u0074a\":1,\"\u212aid\":1,\"\u017fuccessful\":true,\"data\":1e999}",
		`{"channel":"/a","data":1,"data":2}`, `{"channel":"/a","\u0064ata":1,"data":2}`, `{"channel":"/a","id":1e999,"advice":{"timeout":1e999}}`,
		"\ufeff{}", `{"channel":"/a","data":{"__proto__":{},"constructor":1}}`, `{"channel":"/a","data":"\u2028\udc00\ud800"}`, "[{}\x00]",
	} {
		f.Add([]byte(seed))
	}
	l := testLimits()
	f.Fuzz(func(t *testing.T, body []byte) {
		sent := append([]byte{}, body...)
		ms, err := decode(body, l)
		if err != nil {
			if json.Valid(body) && utf8.Valid(body) && len(body) < 100 && body[firstOf(body)] == '{' {
				t.Fatalf("refused valid JSON: %v: %s", err, body)
			}
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("took what is no JSON: %q", body)
		}
		clear(body)
		compare(t, ms, reference(t, sent))
	})
}

// firstOf returns where the text begins, after white space; 0 if nowhere.
func firstOf(body []byte) int {
	for i, c := range body {
		if !strings.ContainsRune(" \t\r\n", rune(c)) {
			return i
		}
	}
	return 0
}

// reference decodes with encoding/json; elements that are no objects are nil.
func reference(t *testing.T, body []byte) []map[string]json.RawMessage {
	var list []json.RawMessage
	if body[firstOf(body)] != '[' {
		list = []json.RawMessage{body}
	} else if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	var ms []map[string]json.RawMessage
	for _, raw := range list {
		if string(raw[firstOf(raw):]) == "null" || strings.TrimSpace(string(raw)) == "null" {
			continue
		}
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			m = nil
		}
		ms = append(ms, m)
	}
	return ms
}

func compare(t *testing.T, got []*Message, want []map[string]json.RawMessage) {
	if len(got) != len(want) {
		t.Fatalf("%d messages, not %d", len(got), len(want))
	}
	for i, m := range got {
		if m.fault != nil {
			continue // refused; nothing of it is used
		}
		w := want[i]
		text := func(name, has string) {
			var s string
			_ = json.Unmarshal(w[name], &s)
			if s != has {
				t.Fatalf("%s is %q, not %q", name, has, s)
			}
		}
		text("channel", m.ChannelText)
		text("clientId", m.ClientID)
		text("version", m.Version)
		text("minimumVersion", m.MinimumVersion)
		text("connectionType", m.ConnectionType)
		text("error", m.Error)
		raw := func(name string, has []byte) {
			is := w[name]
			if name != "data" && string(is) == "null" {
				is = nil
			}
			if strings.TrimSpace(string(is)) != string(has) {
				t.Fatalf("%s is %q, not %q", name, has, is)
			}
		}
		raw("data", m.Data)
		raw("ext", m.Ext)
		if len(m.ID) > 0 {
			raw("id", m.ID)
		}
		var types []string
		_ = json.Unmarshal(w["supportedConnectionTypes"], &types)
		if strings.Join(types, "\x00") != strings.Join(m.SupportedConnectionTypes, "\x00") {
			t.Fatalf("types are %q, not %q", m.SupportedConnectionTypes, types)
		}
		// The reply must be JSON, whatever came.
		if r := (reply{m: m, clientID: m.ClientID, err: m.Error}).encode(); !json.Valid(r) {
			t.Fatalf("a reply that is no JSON: %s", r)
		}
	}
}

func TestDeliveryEncoding(t *testing.T) {
	d := NewDelivery(DeliveryFields{Channel: "/a", ID: "i\"<\u00e9", Data: []byte(`{"x":1e400}`), Ext: []byte(`{"k":1}`), Kept: true})
	require.Equal(t, "{\"channel\":\"/a\",\"data\":{\"x\":1e400},\"id\":\"i\\\"\\u003cé\",\"ext\":{\"k\":1}}", string(d.Bytes()))
	require.Equal(t, "["+string(d.Bytes())+"]", string(d.text()))
	require.Equal(t, len(d.text()), d.Size())
	require.True(t, d.Kept())
	require.Equal(t, `{"channel":"/b","data":null}`, string(NewDelivery(DeliveryFields{Channel: "/b"}).Bytes()))
	data := []byte(`"x"`)
	d = NewDelivery(DeliveryFields{Channel: "/b", Data: data})
	clear(data)
	require.Equal(t, `{"channel":"/b","data":"x"}`, string(d.Bytes()))
}

func FuzzText(f *testing.F) {
	f.Add("a\"\\\n\x00<>&\u2028\U0001f600")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return
		}
		var back string
		if err := json.Unmarshal(appendText(nil, s), &back); err != nil || back != s {
			t.Fatalf("%q became %q: %v", s, back, err)
		}
	})
}

// FuzzCallbackName: what is let through as a callback name cannot hold anything else.
func FuzzCallbackName(f *testing.F) {
	for _, s := range []string{"a", "a.b", "$", "_1", "1", "a..b", "a.", ".a", "alert(1)", "a[0]", "a\u2028", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !callbackName(s) {
			return
		}
		for _, part := range strings.Split(s, ".") {
			if part == "" || '0' <= part[0] && part[0] <= '9' || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$") != "" {
				t.Fatalf("took %q", s)
			}
		}
	})
}
