package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
)

// answered sends a body that is wrong in some way: the answer is no fault of the
// server's, and comes. It returns the messages of the answer, if it has any.
func (v *victim) answered(body string) []message {
	v.t.Helper()
	status, text := v.post(body)
	require.Contains(v.t, []int{http.StatusOK, http.StatusBadRequest, http.StatusRequestEntityTooLarge}, status, "%.200s", body)
	if status != http.StatusOK {
		return nil
	}
	return messages(v.t, text)
}

func brokenJSON(v *victim) {
	for _, body := range []string{"", " ", "\x00", "{", "[", "[{", "}", `"x"`, "1", "true", "nul", "[1]", `["a"]`, "[[]]", "[[[{}]]]", "{}{}", "[],[]", "\ufeff[]", "//x\n[]", "[{},]", "{,}", "'a'", "NaN", `{"a":01}`, `{"a":"\x"}`, "\xff\xfe[\x00]\x00"} {
		for _, r := range v.answered(body) {
			require.False(v.t, r.ok(), "%q: %s", body, r.raw)
		}
	}
	// A good message, cut and changed everywhere.
	good := `[{"channel":"/members/broken","clientId":"` + strings.Repeat("z", 32) + `","data":{"a":[1,2.5e3,"\u00e9",null,true]},"id":"7"}]`
	for i := range good {
		require.Empty(v.t, v.answered(good[:i]), "cut at %d", i)
		for _, c := range []string{"\x00", "\"", "{", "]", "\\", "\xc3", "9"} {
			for _, r := range v.answered(good[:i] + c + good[i+1:]) {
				require.False(v.t, r.ok())
			}
		}
	}
	// On a socket it is answered, and the socket stays.
	w := v.socket("")
	for _, body := range []string{"", "{", `"x"`, "[1]", "\x00"} {
		require.NotEmpty(v.t, w.say(body)[0].Error, body)
	}
	require.True(v.t, w.say(shake)[0].ok())
}

func depth(v *victim) {
	hears := v.join()
	v.subscribe(hears, "/open/deep")
	for _, levels := range []int{200, 3000, 100_000} {
		for _, pair := range []string{"[]", `{"a":|}`} {
			open, end, _ := strings.Cut(pair, "|")
			if end == "" {
				open, end = "[", "]"
			}
			deep := strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels)
			for _, r := range v.answered(`{"channel":"/open/deep","data":` + deep + `}`) {
				require.False(v.t, r.ok(), levels)
			}
			for _, r := range v.answered(`{"channel":"/open/deep","data":1,"ext":` + deep + `}`) {
				require.False(v.t, r.ok(), levels)
			}
		}
	}
	// No poison: those who come after are heard.
	require.True(v.t, v.one(`{"channel":"/open/deep","data":"after"}`).ok())
	require.Equal(v.t, `"after"`, string(v.hears(hears, 1)[0].Data))
}

func namesAlike(v *victim) {
	hears := v.join()
	v.subscribe(hears, "/members/alike")
	id := v.join()
	good := `"channel":"/members/alike","clientId":"` + id + `","data":1`
	for _, bad := range []string{
		`{` + good + `,"channel":"/members/alike"}`, `{` + good + `,"data":2}`, `{` + good + `,"clientId":"` + id + `"}`,
		`{` + good + `,"\u0063hannel":"/members/alike"}`, `{` + good + `,"\u0064ata":2}`,
		`{"CHANNEL":"/members/alike","clientId":"` + id + `","data":1}`,
		`{"channel":"/members/alike","clientid":"` + id + `","data":1}`,
		`{"channel":"/members/alike","client\u0130d":"` + id + `","data":1}`,
		`{"channel":"/members/alike","cl\u0131entId":"` + id + `","data":1}`,
		`{"channel":"/members/alike","clientId":"` + id + `","Data":1}`,
	} {
		for _, r := range v.answered(bad) {
			require.False(v.t, r.ok(), "%s: %s", bad, r.raw)
		}
	}
	require.Empty(v.t, v.heard(hears))
	// A name that is none of the protocol's stays without effect.
	require.True(v.t, v.one(`{`+good+`,"Data":"2","CHANNEL":"/open/other","\u212aid":"x"}`).ok())
	require.Equal(v.t, "1", string(v.hears(hears, 1)[0].Data))
}

func wrongTypes(v *victim) {
	id := v.join()
	values := []string{"null", "true", "0", "-1", "1e400", "1e-400", "99999999999999999999999999", `""`, `"x"`, "[]", "[null]", "{}", `{"a":1}`, `["a","b"]`, `"` + strings.Repeat("x", 5000) + `"`}
	kinds := []map[string]string{
		{"channel": `"/meta/handshake"`, "version": `"1.0"`, "supportedConnectionTypes": `["long-polling"]`, "minimumVersion": `"1.0"`, "id": `"1"`, "ext": `{}`, "advice": `{"timeout":0}`},
		{"channel": `"/meta/connect"`, "clientId": `"` + id + `"`, "connectionType": `"long-polling"`, "advice": `{"timeout":0}`, "id": `"1"`, "ext": `{}`},
		{"channel": `"/meta/subscribe"`, "clientId": `"` + id + `"`, "subscription": `"/open/types"`, "id": `"1"`, "ext": `{}`},
		{"channel": `"/members/types"`, "clientId": `"` + id + `"`, "data": "1", "id": `"1"`, "ext": `{}`},
	}
	// Without these, or with one that is none, nothing succeeds.
	needed := map[string]bool{"channel": true, "clientId": true, "connectionType": true, "version": true, "supportedConnectionTypes": true, "subscription": true}
	for _, kind := range kinds {
		for changed := range kind {
			for _, value := range values {
				var members []string
				for name, usual := range kind {
					text := map[bool]string{true: value, false: usual}[name == changed]
					if kind["channel"] == `"/meta/connect"` && name == "advice" && changed != "advice" {
						text = usual
					}
					members = append(members, `"`+name+`":`+text)
				}
				if changed == "advice" && kind["connectionType"] != "" {
					continue // it would be held, see 18
				}
				for _, r := range v.answered("{" + strings.Join(members, ",") + "}") {
					if needed[changed] && changed != "version" && !(strings.HasPrefix(changed, "su") && strings.HasPrefix(value, "[")) {
						require.False(v.t, r.ok(), "%s %s=%.40s: %.200s", kind["channel"], changed, value, r.raw)
					}
				}
			}
		}
	}
}

func dataAsItWas(v *victim) {
	hears := v.join()
	v.subscribe(hears, "/open/raw")
	for _, data := range []string{
		"9007199254740993", "12345678901234567890123456789", "1.10", "1e22", "-0", "1E+2", "1e400", `"\/\u00e9\ud83d\ude00"`, `" <>&'\u2028 "`, `{"b":1,"a":2,"b":3}`, "null", "false", `{ "a" : [ 1 , 2 ] }`,
		`{"__proto__":{"admin":true},"constructor":{"prototype":{"x":1}},"toString":1}`,
	} {
		require.True(v.t, v.one(`{"channel":"/open/raw","data":`+data+`}`).ok(), data)
		require.Contains(v.t, v.hears(hears, 1)[0].raw, `"data":`+data, "byte for byte")
	}
}

func forgedMembers(v *victim) {
	hears := v.join()
	v.subscribe(hears, "/members/forged")
	id := v.join()
	forge := func(more string) message {
		return v.one(`{"channel":"/members/forged","clientId":"` + id + `","data":1,"id":"mine","advice":{"reconnect":"none"},"successful":true,"subscription":"/a","timestamp":"never","ext":{"secret":"x","history":{"id":"forged"}},"connectionType":"websocket","x":1` + more + `}`)
	}
	require.False(v.t, forge(`,"error":"500::x"`).ok(), "what says of itself that it failed is not published")
	r := forge("")
	require.True(v.t, r.ok(), r.raw)
	got := v.hears(hears, 1)[0].raw
	for _, forged := range []string{"advice", "successful", `"error"`, "subscription", "never", "secret", "forged\"", id, `"x"`, "connectionType"} {
		require.NotContains(v.t, strings.ReplaceAll(got, "/members/forged", ""), forged, got)
	}
}

func metaAndService(v *victim) {
	hears := v.join()
	id := v.join()
	for _, name := range []string{
		"/meta", "/meta/", "/meta/subscribe/x", "/meta/subscribe/", "/meta/connectx", "/meta/handshake/x", "/meta/publish", "/meta/*", "/meta/**",
		"/META/subscribe", "/Meta/handshake", "/meta//subscribe", "meta/subscribe", "/meta/subscribe ", "/meta/subscribe\\u0000", "/\\u006deta/x",
	} {
		r := v.answered(`{"channel":"` + name + `","clientId":"` + id + `","subscription":"/open/never","data":1,"connectionType":"long-polling","version":"1.0","supportedConnectionTypes":["long-polling"]}`)
		for _, m := range r {
			require.False(v.t, m.ok(), "%s: %s", name, m.raw)
			require.Empty(v.t, m.ClientID[:0]+strings.ReplaceAll(m.ClientID, id, ""), "no session is made by %s", name)
		}
		sub := v.one(`{"channel":"/meta/subscribe","clientId":"` + hears + `","subscription":"` + name + `"}`)
		require.False(v.t, sub.ok(), name)
	}
	for _, name := range []string{"/service/x", "/service/*", "/service/**", "/service"} {
		require.False(v.t, v.one(`{"channel":"/meta/subscribe","clientId":"`+hears+`","subscription":"`+name+`"}`).ok(), name)
	}
	v.subscribe(hears, "/open/**")
	_ = v.answered(`{"channel":"/service/x","clientId":"` + id + `","data":"private"}`)
	require.True(v.t, v.one(`{"channel":"/open/last","data":"public"}`).ok())
	for _, m := range v.hears(hears, 1) {
		require.Equal(v.t, `"public"`, string(m.Data))
	}
}

func wildcards(v *victim) {
	view, control := rootsOf(v)
	id := v.join()
	for _, pattern := range []string{
		"/*", "/**", view[:20] + "*", view[:20] + "/**", "/*/chat", "/**/chat", view + "/**/x", view + "/*/x", view + "/a*", view + "/***", view + "/**/catchup/1h",
		view + "/*/catchup/1h", "/@12/**", "/members*", "/members/**/x", "/members/*x", "**", "*", "/**/", "/members/**/*", control[:5] + "**",
	} {
		r := v.one(`{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"` + pattern + `"}`)
		require.False(v.t, r.ok(), pattern)
		require.Regexp(v.t, `^40[35]:`, r.Error, pattern)
	}
	// One bad name spoils the list, and nothing of it stands.
	require.False(v.t, v.one(`{"channel":"/meta/subscribe","clientId":"`+id+`","subscription":["/open/good","/**"]}`).ok())
	require.True(v.t, v.one(`{"channel":"/open/good","data":1}`).ok())
	require.Empty(v.t, v.heard(id))
	for _, pattern := range []string{"/open/*", "/open/**", "/members/**", view + "/*", control + "/**"} {
		require.False(v.t, v.one(`{"channel":"`+pattern+`","clientId":"`+id+`","data":1}`).ok(), pattern)
	}
}

func namesAndEcho(v *victim) {
	id := v.join()
	names := []string{
		"", "/", "//", "a", "/a/", "/a//b", "a/b", "/a b", "/a:b", "/a;b", "/a,b", "/a?b", "/a#b", "/a%2fb", "/a\\\\b", "/a.b", "/..", "/../a", "/a/./b", "/a\\u0000", "/a\\n", "/a\\t", "/\\u00e9", "/\\u202e", "/a{b}", "/a[b]", "/a<b>", "/a'b", "/a\\\"b", "/a|b", "/a^b", "/a`b", "/a&b", "/a=b", "/a+b",
		"/a\\u2028b", "/<script>alert(1)</script>", "/a\\r\\nSet-Cookie: x", "\\ud800", "/" + strings.Repeat("a", 255), strings.Repeat("/a", 127), strings.Repeat("/a", 9), "/" + strings.Repeat("a", 64<<10), strings.Repeat("/a", 1000), "/" + strings.Repeat("a!", 20_000),
	}
	for _, name := range names {
		for _, m := range []string{`"channel":"/meta/subscribe","subscription":"` + name + `"`, `"channel":"/meta/unsubscribe","subscription":"` + name + `"`, `"channel":"` + name + `","data":1`} {
			for _, r := range v.answered(`{"clientId":"` + id + `",` + m + `}`) {
				require.False(v.t, r.ok(), "%.80s", m)
				require.Less(v.t, len(r.Error), 400)
				require.Regexp(v.t, `^\d{3}:[A-Za-z0-9 !~()$@/*._-]*(,[A-Za-z0-9 !~()$@/*._-]*)*:[A-Za-z ,]+$`, r.Error, "%.80s", m)
			}
		}
	}
}

func intervals(v *victim) {
	view, _ := rootsOf(v)
	id := v.join()
	for _, interval := range []string{
		"0h", "00h", "01h", "-1h", "+1h", " 1h", "1 h", "1", "h", "1d", "1H", "1hh", "1h1m", "1.5h", "1e3h", "0x1h", "99999999h", "9223372036854775807s", "18446744073709551616s", "\\u0661h",
		strings.Repeat("9", 60_000) + "h", "999999h", "25h", "0n", "-1n", "99999999n", "..", "*",
	} {
		r := v.one(fmt.Sprintf(`{"channel":"/meta/subscribe","clientId":"%s","subscription":"%s/all_json/catchup/%s"}`, id, view, interval))
		require.False(v.t, r.ok(), "%.40s", interval)
		require.Regexp(v.t, `^4\d\d:`, r.Error)
	}
	for _, place := range []string{view + "/catchup", view + "/catchup/1h", view + "/chat/catchup", view + "/chat/catchup/1h/x", "/open/catchup/1h/catchup/1h", "/catchup/1h"} {
		require.False(v.t, v.one(`{"channel":"/meta/subscribe","clientId":"`+id+`","subscription":"`+place+`"}`).ok(), place)
		require.False(v.t, v.one(`{"channel":"`+place+`","clientId":"`+id+`","data":1}`).ok(), place)
	}
	v.subscribe(id, view+"/all_json/catchup/24h")
}
