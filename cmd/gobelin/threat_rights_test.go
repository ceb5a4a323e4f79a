package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// otherPeoples: who somebody is comes from the token alone.
func otherPeoples(v *victim) {
	status, text := v.api("POST", "/v1/objects", `{"object_id":"other","type":"live"}`)
	require.Contains(v.t, []int{200, 201}, status, text)
	bearer := "Authorization: Bearer " + v.token(`"role":"viewer","channel_id":"gala","user_ref":"ann","user_id":"1"`)
	as := func(method, target, body string) int {
		v.t.Helper()
		answer, _ := v.ask(method, target, body, bearer, "Content-Type: application/json")
		return answer.StatusCode
	}
	require.Equal(v.t, 200, as("GET", "/v1/objects/gala", ""))
	for _, r := range [][3]string{
		{"GET", "/v1/objects/other", ""},
		{"POST", "/v1/objects/other/comments", `{"content":"x"}`},
		{"POST", "/v1/objects/other/comments?channel_id=gala&object_id=gala", `{"content":"x","channel_id":"gala","object_id":"gala"}`},
		{"POST", "/v1/objects/gala/publish", `{"channel":"chat","data":1,"role":"admin"}`},
		{"POST", "/v1/objects", `{"type":"live"}`},
		{"GET", "/v1/objects/other/history?channel=chat", ""},
		{"GET", "/v1/objects", ""},
		{"GET", "/v1/connections", ""},
		{"POST", "/v1/tokens/revoke", `{"jti":"x"}`},
		{"DELETE", "/v1/objects/gala", ""},
	} {
		require.Equal(v.t, http.StatusForbidden, as(r[0], r[1], r[2]), "%s %s", r[0], r[1])
	}
	// The name on a comment is the token's.
	answer, text := v.ask("POST", "/v1/objects/gala/comments", `{"content":"hello"}`, bearer, "Content-Type: application/json")
	require.Contains(v.t, []int{200, 201}, answer.StatusCode, text)
	// Other applications' keys open nothing here.
	key := base64.StdEncoding.EncodeToString([]byte("other:" + otherSecret + "-key"))
	_, text = v.ask("GET", "/v1/objects/gala", "", "Authorization: Basic "+key)
	require.NotContains(v.t, text, v.root(channels.ClassView), "an object of the same id is another one")
	// Documents of the application, of its owner and of another user cannot be written.
	for _, channel := range []string{"data/app", "data/owner", "data/user"} {
		id := v.join()
		r := v.one(`{"channel":"` + v.root(channels.ClassView) + "/" + channel + `","clientId":"` + id + `","data":{"x":1,"user_ref":"bob"},"ext":{"token":"` + v.token(`"role":"viewer","channel_id":"other"`) + `"}}`)
		require.False(v.t, r.ok(), channel)
	}
}

// rootsOfOthers: a root is good for one object and one class, in one spelling.
func rootsOfOthers(v *victim) {
	view, control := rootsOf(v)
	other := v.ring.OID(13, "never-made", 0) // of another application
	stranger := "/" + v.ring.Root(other, channels.ClassView, time.Now())
	id := v.join()
	refused := func(root string) {
		v.t.Helper()
		for _, m := range []string{`"channel":"/meta/subscribe","subscription":"` + root + `/chat"`, `"channel":"` + root + `/chat","data":1`} {
			r := v.one(`{"clientId":"` + id + `",` + m + `}`)
			require.False(v.t, r.ok(), root)
			require.Regexp(v.t, `^40[35]:.*:(Forbidden|Invalid) channel$`, r.Error, "one answer for all")
		}
	}
	refused(stranger)
	refused(strings.ToUpper(view))
	refused("/03" + view[3:])                      // the class raised
	refused("/21" + view[3:])                      // another key
	refused(view[:19] + control[19:])              // another's tag
	refused("/" + strings.Repeat("0", 40))         // nobody's
	refused(view + "0")                            // longer
	refused(view[:40])                             // shorter
	refused(view[:3] + stranger[3:19] + view[19:]) // another object, this tag
	for i := 1; i < len(view); i++ {
		digit := map[bool]string{true: "1", false: "0"}[view[i] == '0']
		r := v.one(`{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"` + view[:i] + digit + view[i+1:] + `/chat"}`)
		require.False(v.t, r.ok(), "digit %d", i)
	}
	// A root leads to no other object, however the rest is spelled.
	for _, sub := range []string{"/../" + control[1:] + "/events", "/%2e%2e/x", "/..%2f" + control[1:], "/chat/.." + control, "//events"} {
		require.False(v.t, v.one(`{"channel":"/meta/subscribe","clientId":"`+id+`","subscription":"`+view+sub+`"}`).ok(), sub)
	}
	require.False(v.t, v.one(`{"channel":"/meta/subscribe","clientId":"`+id+`","subscription":"`+view+`/events"}`).ok(), "a viewer's root")
	require.False(v.t, v.one(`{"channel":"`+view+`/chat","clientId":"`+id+`","data":1}`).ok(), "a viewer's root")
	require.True(v.t, v.one(`{"channel":"/meta/subscribe","clientId":"`+id+`","subscription":"`+control+`/events"}`).ok())
}

// signedRequests: 300 seconds are the window, and a second use is the first again.
func signedRequests(v *victim) {
	const target = "/v1/objects/gala/publish"
	send := func(header, target, body string) (int, string) {
		answer, text := v.ask("POST", target, body, header, "Content-Type: application/json")
		return answer.StatusCode, text
	}
	body := func(n int) string { return fmt.Sprintf(`{"channel":"signed","data":%d}`, n) }
	for off, want := range map[int64]int{-3600: 401, -310: 401, -290: 200, 0: 200, 290: 200, 310: 401, 1 << 40: 401} { // the exact second: TestSignatureVector
		status, text := send(v.signed(time.Now().Unix()+off, v.nonce(), "POST", target, body(1)), target, body(1))
		require.Equal(v.t, want, status, "%d s: %s", off, text)
	}
	at, nonce := time.Now().Unix(), v.nonce()
	header := v.signed(at, nonce, "POST", target, body(2))
	_, first := send(header, target, body(2))
	_, again := send(header, target, body(2))
	require.Equal(v.t, first, again, "the first answer again")
	status, _ := send(header, target, body(3))
	require.Equal(v.t, 401, status, "another body")
	status, _ = send(header, target+"?x=1", body(2))
	require.Equal(v.t, 401, status, "another target")
	status, _ = send(v.signed(at, nonce, "POST", target, body(4)), target, body(4))
	require.Contains(v.t, []int{400, 409, 422}, status, "the nonce of another request")
	_, text := v.api("GET", "/v1/objects/gala/history?channel=signed", "")
	require.Equal(v.t, 1, strings.Count(text, `"data":2`), text)
	require.Zero(v.t, strings.Count(text, `"data":3`)+strings.Count(text, `"data":4`))
}

// guesses: who guesses learns nothing of what was wrong.
func guesses(v *victim) {
	good := v.token(`"role":"admin"`)
	head, rest, _ := strings.Cut(good, ".")
	claims, tag, _ := strings.Cut(rest, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	var answers []string
	for _, credential := range []string{
		"Bearer x", "Bearer " + none + "." + claims + ".", "Bearer " + none + "." + claims + "." + tag, "Bearer " + head + "." + claims + ".", "Bearer " + head + "." + claims + "." + strings.Repeat("A", 43),
		"Bearer " + good + "=", basic("demo:wrong"), basic("nobody:" + serverKey), basic("demo:"), basic(":" + serverKey), basic("demo"), "Digest x", "demo x", basic("other:" + serverKey),
	} {
		answer, text := v.ask("GET", "/v1/objects", "", "Authorization: "+credential)
		require.Equal(v.t, http.StatusUnauthorized, answer.StatusCode, credential)
		answers = append(answers, text)
	}
	for _, text := range answers {
		require.Equal(v.t, answers[0], text, "one answer for all")
	}
	require.Positive(v.t, v.metric("gobelin_http_answers_total", `code="401"`), "they are counted")
	before := v.metric("gobelin_refused_total", `what="token"`)
	r := v.one(strings.Replace(shake, "{", `{"ext":{"token":"`+good+`x"},`, 1))
	require.Contains(v.t, r.Error, "403:")
	require.NotContains(v.t, r.raw, tag)
	require.Equal(v.t, before+1, v.metric("gobelin_refused_total", `what="token"`))
}

// logInjection sends what would begin lines, or end quotes, in a log.
func logInjection(v *victim) {
	const forged = "x\r\n{\"level\":\"error\",\"msg\":\"forged\"}\r\n\x1b[2J\u2028"
	quoted := strings.NewReplacer("\r", `\r`, "\n", `\n`, `"`, `\"`, "\x1b", `\u001b`).Replace(forged)
	id := v.join()
	for _, m := range []string{
		`{"channel":"/` + quoted + `","data":1}`, `{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"/` + quoted + `"}`,
		`{"channel":"/meta/connect","clientId":"` + quoted + `","connectionType":"` + quoted + `"}`, `{"channel":"/open/log","data":1,"id":"` + quoted + `","error":"` + quoted + `"}`,
		strings.Replace(shake, "{", `{"ext":{"token":"`+quoted+`"},`, 1),
	} {
		_ = v.answered(m)
	}
	for _, target := range []string{"/v1/objects/%0d%0a%7b%22level%22:%22error%22%7d", "/faye/%0aforged", "/v1/objects?token=%0aforged"} {
		v.ask("GET", target, "", "User-Agent: \"forged\"", "X-Forwarded-For: \"}{\\n", "Authorization: Bearer {\"forged\"")
	}
	v.raw("GET /faye\x1b[2J\x00 HTTP/1.1\r\nHost: \"}\r\n\r\n")
	status, _ := v.api("DELETE", "/v1/objects/"+strings.Repeat("%1b%5b2J", 30), "")
	require.Contains(v.t, []int{400, 404}, status)
	text := v.errors.String()
	require.NotContains(v.t, text, "\x1b")
	require.NotContains(v.t, text, "\u2028")
	require.NotContains(v.t, text, "\n{\"level\":\"error\"")
}

// operatorsOnly: nothing of the operator's is on the public port, nor on the other
// without the token.
func operatorsOnly(v *victim) {
	for _, path := range []string{
		"/metrics", "/healthz", "/readyz", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/console/", "/console", "/admin", "/admin/backup", "/admin/drain", "/admin/secrets", "/try/", "/config", "/.git/config", "/gobelin.yaml",
	} {
		for _, method := range []string{"GET", "POST"} {
			answer, text := v.ask(method, path, "")
			require.Equal(v.t, http.StatusNotFound, answer.StatusCode, path)
			require.NotContains(v.t, text, "gobelin_")
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/profile", "/debug/vars", "/config"} {
		answer, _ := v.ask("GET", v.admin+path, "")
		require.Equal(v.t, http.StatusNotFound, answer.StatusCode, path)
	}
	answer, _ := v.ask("POST", v.admin+"/admin/backup", "")
	require.Contains(v.t, []int{401, 404, 405}, answer.StatusCode)
}

func paths(v *victim) {
	for _, path := range []string{
		"/faye/../metrics", "/faye/..%2f..%2fetc/passwd", "/faye/%2e%2e/x.js", "//etc/passwd", "/faye/client.js/../../x", "/faye/client.js%00", "/FAYE/client.js", "/faye/Client.js", "/faye/client.js.map",
		"/try/../go.mod", "/v1/../metrics", "/v1/..//evil.example/", "/v1//evil.example", "/v1/objects/../../metrics", "/console/../../gobelin.yaml", "/faye\\client.js", "/faye/.", "/openapi.json/..",
	} {
		answer := v.raw("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		require.Contains(v.t, []int{307, 400, 401, 404, 405}, status(answer), path)
		require.NotRegexp(v.t, `Location: (//|http)`, answer, "no way to another host")
		for _, found := range []string{"root:", "gobelin_", "module ", "keys:"} {
			require.NotContains(v.t, answer, found, path)
		}
	}
}

func methodsAndHosts(v *victim) {
	for _, method := range []string{"TRACE", "PUT", "DELETE", "PATCH", "HEAD", "CONNECT", "PROPFIND", "get", "FOO"} {
		answer := v.raw(method + " /faye HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-Secret: reflected\r\nContent-Length: 0\r\n\r\n")
		require.Contains(v.t, []int{400, 404, 405, 501}, status(answer), method)
		require.NotContains(v.t, answer, "reflected")
	}
	for _, line := range []string{"OPTIONS * HTTP/1.1", "CONNECT h:80 HTTP/1.1", "GET http://evil.example/metrics HTTP/1.1", "GET faye HTTP/1.1", "GET  /faye HTTP/1.1", "GET /faye HTTP/9.9", "GET /faye", "\x16\x03\x01\x02\x00\x01"} {
		answer := v.raw(line + "\r\nHost: h\r\nConnection: close\r\n\r\n")
		require.Contains(v.t, []int{0, 400, 404, 405, 505}, status(answer), line)
	}
	for _, host := range []string{"evil.example", "a b", "h\"><script>", "[::1", "", "localhost:99999"} {
		answer := v.raw("GET /v1/<script> HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		require.Contains(v.t, []int{400, 401, 404}, status(answer), host)
		require.NotContains(v.t, strings.ToLower(answer), "<script>")
	}
}
