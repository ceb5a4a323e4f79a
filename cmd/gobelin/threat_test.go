package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// TestThreats attacks a node in a process of its own, as security.md §4 numbers the
// threats; those that are not here have tests that CONTRIBUTING.md names.
func TestThreats(t *testing.T) {
	v := startVictim(t, noRates)
	t.Run("the victim", func(t *testing.T) { // ends when the parallel ones have, too
		run := func(name string, f func(*victim)) {
			t.Run(name, func(t *testing.T) { f(v.in(t)) })
		}
		t.Run("16 slow headers", func(t *testing.T) { t.Parallel(); slowHeaders(v.in(t)) })
		t.Run("16 a silent socket", func(t *testing.T) { t.Parallel(); silentSocket(v.in(t)) })
		run("01 ids cannot be guessed", idsCannotBeGuessed)
		run("02 ids are not chosen", idsAreNotChosen)
		run("03 near misses of an id", nearMisses)
		run("04 an unknown id", unknownID)
		run("05 one id on two sockets", twoSockets)
		run("06 a stream for a guess", guessedStream)
		run("07 connects for invented ids", inventedIDs)
		run("08 origins", origins)
		run("09 forms of other pages", foreignForms)
		run("10 callbacks", callbacks)
		run("11 12 13 14 frames", badFrames)
		run("14 packed bodies", packedBodies)
		run("15 headers, lengths, pipelines", badRequests)
		run("18 many connects, long ones", manyConnects)
		run("19 batches and lists", longLists)
		run("22 broken JSON", brokenJSON)
		run("23 depth", depth)
		run("24 names twice, names alike", namesAlike)
		run("25 wrong types", wrongTypes)
		run("26 27 data as it was", dataAsItWas)
		run("28 forged members", forgedMembers)
		run("29 meta and service channels", metaAndService)
		run("30 wildcards", wildcards)
		run("31 32 names and their echo", namesAndEcho)
		run("33 intervals", intervals)
		run("38 39 other people's", otherPeoples)
		run("40 roots of others", rootsOfOthers)
		run("41 signed requests, late and again", signedRequests)
		run("43 guesses are answered alike", guesses)
		run("45 log injection", logInjection)
		run("46 what is the operator's", operatorsOnly)
		run("47 paths", paths)
		run("52 methods and hosts", methodsAndHosts)
		run("55 nothing broke", (*victim).unharmed)
	})
}

func idsCannotBeGuessed(v *victim) {
	const many = 1000
	batch := "[" + strings.Repeat(shake+",", 99) + shake + "]"
	var ids []string
	for len(ids) < many {
		for _, r := range v.say(batch) {
			require.True(v.t, r.ok(), r.raw)
			ids = append(ids, r.ClientID)
		}
	}
	require.False(v.t, slices.IsSorted(ids), "no clock, no counter")
	for at := range ids[0] {
		seen := map[byte]bool{}
		for _, id := range ids {
			require.Len(v.t, id, len(ids[0]))
			seen[id[at]] = true
		}
		require.GreaterOrEqual(v.t, len(seen), 16, "position %d has %d characters", at, len(seen))
	}
	require.GreaterOrEqual(v.t, len(ids[0])*4, 128, "bits")
	slices.Sort(ids)
	require.Len(v.t, slices.Compact(slices.Clone(ids)), len(ids))
	for i := range ids[1:] {
		require.NotEqual(v.t, ids[i][:12], ids[i+1][:12], "neighbours")
	}
}

func idsAreNotChosen(v *victim) {
	const mine = "abcdefghijklmnopqrstuvwxyz012345"
	r := v.one(strings.Replace(shake, "{", `{"clientId":"`+mine+`",`, 1))
	require.True(v.t, r.ok())
	require.NotEqual(v.t, mine, r.ClientID)
	require.Contains(v.t, v.one(`{"channel":"/meta/connect","clientId":"`+mine+`","connectionType":"long-polling"}`).Error, "401:")
}

func nearMisses(v *victim) {
	id := v.join()
	connect := func(id string) message {
		return v.one(`{"channel":"/meta/connect","connectionType":"long-polling","advice":{"timeout":0},"clientId":"` + id + `"}`)
	}
	near := []string{strings.ToUpper(id), id + "0", id[1:], " " + id, id + " ", id + `\u0000`, `\t` + id, id + `\n`, id[:len(id)-1], ""}
	for i := range id {
		near = append(near, id[:i]+map[bool]string{true: "b", false: "a"}[id[i] == 'a']+id[i+1:])
	}
	for _, miss := range near {
		require.False(v.t, connect(miss).ok(), "%q for %q", miss, id)
	}
	require.True(v.t, connect(id).ok())
	require.True(v.t, v.one(`{"channel":"/meta/disconnect","clientId":"`+id+`"}`).ok())
	require.Contains(v.t, connect(id).Error, "401:", "after the disconnect")
}

func unknownID(v *victim) {
	const id = "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"
	for _, m := range []string{
		`"channel":"/meta/connect","connectionType":"long-polling"`, `"channel":"/meta/subscribe","subscription":"/open/a"`,
		`"channel":"/meta/unsubscribe","subscription":"/open/a"`, `"channel":"/meta/disconnect"`, `"channel":"/members/a","data":1`,
	} {
		r := v.one(`{"clientId":"` + id + `",` + m + `}`)
		require.Equal(v.t, "401:"+id+":Unknown client", r.Error)
		require.False(v.t, r.ok())
		if strings.Contains(m, "/meta/connect") {
			require.Equal(v.t, "handshake", r.Advice["reconnect"])
		}
	}
	hears := v.join()
	v.subscribe(hears, "/members/a")
	for _, none := range []string{"", `"clientId":null,`, `"clientId":"",`} {
		require.False(v.t, v.one(`{`+none+`"channel":"/members/a","data":1}`).ok())
	}
	require.Empty(v.t, v.heard(hears))
}

func twoSockets(v *victim) {
	first, thief := v.socket(""), v.socket("")
	r := first.say(shake)
	id := r[0].ClientID
	connect := `[{"channel":"/meta/connect","clientId":"` + id + `","connectionType":"websocket"}]`
	require.True(v.t, first.say(`[{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"/open/one"}]`)[0].ok())
	first.send(frame(finalText, connect))
	require.True(v.t, thief.say(connect)[0].ok())
	op, text := first.next()
	require.Equal(v.t, 1, op)
	require.True(v.t, messages(v.t, text)[0].ok(), "what the first one waited for is answered")
	thief.send(frame(finalText, connect))
	require.True(v.t, v.one(`{"channel":"/open/one","data":"once"}`).ok())
	for text = ""; !strings.Contains(text, "once"); {
		op, text = thief.next()
		require.Equal(v.t, 1, op)
	}
	for _, m := range messages(v.t, text) {
		require.True(v.t, m.Successful != nil || !strings.Contains(m.raw, id), "no delivery has the id: %s", m.raw)
	}
	first.send(frame(finalText, "[]"))
	_, text = first.next()
	require.Equal(v.t, "[]", text, "the first one hears nothing of it")
	require.NotContains(v.t, v.errors.String(), id)
}

func guessedStream(v *victim) {
	before := v.metric("gobelin_sessions", "")
	for _, guess := range []string{"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "", "a/b", "..", "%00", strings.Repeat("a", 5000)} {
		answer, _ := v.ask("GET", "/faye/"+guess, "", "Accept: text/event-stream")
		require.Equal(v.t, http.StatusNotFound, answer.StatusCode, guess)
	}
	require.LessOrEqual(v.t, v.metric("gobelin_sessions", ""), before)
}

func inventedIDs(v *victim) {
	before := v.metric("gobelin_sessions", "")
	for i := range 20 {
		var batch []string
		for j := range 100 {
			batch = append(batch, fmt.Sprintf(`{"channel":"/meta/connect","connectionType":"long-polling","clientId":"invented%024d"}`, 100*i+j))
		}
		for _, r := range v.say("[" + strings.Join(batch, ",") + "]") {
			require.Contains(v.t, r.Error, "401:")
		}
	}
	require.LessOrEqual(v.t, v.metric("gobelin_sessions", ""), before)
}

func origins(v *victim) {
	for origin, allowed := range map[string]bool{"https://evil.example": true, "null": false, "file://": false, "chrome-extension://abc": false} {
		for _, method := range []string{"POST", "OPTIONS"} {
			answer, _ := v.ask(method, "/faye", shake, "Content-Type: application/json", "Origin: "+origin)
			want := map[bool]string{true: origin}[allowed]
			require.Equal(v.t, want, answer.Header.Get("Access-Control-Allow-Origin"), "%s %s", method, origin)
			require.Equal(v.t, map[bool]string{true: "true"}[allowed], answer.Header.Get("Access-Control-Allow-Credentials"))
			require.Contains(v.t, strings.Join(answer.Header.Values("Vary"), ","), "Origin")
		}
		answer, _ := v.ask("GET", "/v1/objects/gala", "", "Origin: "+origin)
		require.Contains(v.t, []string{"", "*"}, answer.Header.Get("Access-Control-Allow-Origin"))
		require.Empty(v.t, answer.Header.Get("Access-Control-Allow-Credentials"), "/v1 is for credentials in headers")
		answer, _ = v.ask("GET", v.admin+"/metrics", "", "Origin: "+origin)
		require.Empty(v.t, answer.Header.Get("Access-Control-Allow-Origin"))
	}
}

func foreignForms(v *victim) {
	hears := v.join()
	v.subscribe(hears, "/members/form")
	const publish = `{"channel":"/members/form","data":"forged","id":"1"}`
	form := url.Values{"message": {publish}}.Encode()
	for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain"} {
		_, text := v.ask("POST", "/faye", form, "Content-Type: "+kind, "Origin: https://evil.example")
		require.False(v.t, messages(v.t, text)[0].ok(), "without a session nothing is published")
		answer, _ := v.ask("POST", "/faye", publish, "Content-Type: "+kind)
		require.Equal(v.t, http.StatusBadRequest, answer.StatusCode, "JSON under another name is not taken")
	}
	for _, kind := range []string{"multipart/form-data; boundary=x", "application/xml", "image/png"} {
		answer, _ := v.ask("POST", "/faye", publish, "Content-Type: "+kind)
		require.Equal(v.t, http.StatusUnsupportedMediaType, answer.StatusCode, kind)
	}
	_, text := v.ask("GET", query(publish, "cb"), "")
	require.Contains(v.t, text, `"successful":false`)
	require.Empty(v.t, v.heard(hears))
}

func callbacks(v *victim) {
	for _, name := range []string{"alert(1)//", "a;b", "CWS\x07\x0e000", "a\nb", "<script>", "a[0]", "%", strings.Repeat("a", 129)} {
		answer, text := v.ask("GET", query(shake, name), "")
		require.Equal(v.t, http.StatusBadRequest, answer.StatusCode, name)
		require.NotContains(v.t, text, name)
	}
	answer, text := v.ask("GET", query(`{"channel":"/open/cb","data":1,"id":"\u2028"}`, "a.b$"), "")
	require.True(v.t, strings.HasPrefix(text, "/**/a.b$("), text)
	require.NotContains(v.t, text, "\u2028")
	require.Equal(v.t, "text/javascript; charset=utf-8", answer.Header.Get("Content-Type"))
	require.Equal(v.t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
	require.Contains(v.t, answer.Header.Get("Content-Disposition"), "attachment")
}

func packedBodies(v *victim) {
	for _, coding := range []string{"gzip", "deflate", "br", "identity, gzip"} {
		answer, _ := v.ask("POST", "/faye", "\x1f\x8b\x08\x00", "Content-Type: application/json", "Content-Encoding: "+coding)
		require.Equal(v.t, http.StatusUnsupportedMediaType, answer.StatusCode, coding)
		status, _ := v.api("POST", "/v1/objects", "\x1f\x8b\x08\x00", "Content-Encoding: "+coding)
		require.Equal(v.t, http.StatusBadRequest, status, coding)
	}
}

func badRequests(v *victim) {
	before := v.metric("gobelin_published_total", "")
	const body = `{"channel":"/open/smuggled","data":1}`
	post := func(headers, body string) string {
		return "POST /faye HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + headers + "\r\n" + body
	}
	check := func(what, text string, want ...int) {
		v.t.Helper()
		answer := v.raw(text)
		require.Contains(v.t, want, status(answer), "%s: %.200q", what, answer)
	}
	check("a header of 64 KiB", "GET /faye HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n", 431)
	check("1,000 headers", "GET /faye HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("X-Y: 0123456789abcdef0123456789\r\n", 1000)+"\r\n", 431)
	check("a target of 64 KiB", "GET /"+strings.Repeat("x", 64<<10)+" HTTP/1.1\r\nHost: h\r\n\r\n", 414, 431)
	check("a length beyond the limit", post("Content-Length: 99999999\r\nConnection: close\r\n", ""), 413)
	check("two lengths", post(fmt.Sprintf("Content-Length: %d\r\nContent-Length: 0\r\n", len(body)), body), 400)
	check("a negative length", post("Content-Length: -1\r\n", body), 400)
	check("a length with a sign", post("Content-Length: +10\r\n", body), 400)
	check("another coding", post("Transfer-Encoding: xchunked\r\n", body), 400, 501)
	check("a bad chunk", post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "zz\r\n"+body), 400)
	check("a space before the colon", post(fmt.Sprintf("Content-Length : %d\r\n", len(body)), body), 400)
	check("no host", "GET /faye HTTP/1.1\r\n\r\n", 400)
	check("two hosts", "GET /faye HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400)
	check("HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 505)
	// Length and chunks: the chunks count, as RFC 9112 §6.3 has it.
	check("a length beside chunks", post(fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n", len(body)+5), "0\r\n\r\n"+body), 400)
	require.Equal(v.t, before, v.metric("gobelin_published_total", ""), "nothing was stored")

	// Answers of a pipeline come in order.
	var pipeline strings.Builder
	for i := range 50 {
		text := fmt.Sprintf(`{"channel":"/open/line","data":1,"id":"n%d"}`, i)
		fmt.Fprint(&pipeline, post(fmt.Sprintf("Content-Length: %d\r\n%s", len(text), map[bool]string{true: "Connection: close\r\n"}[i == 49]), text))
	}
	answer := v.raw(pipeline.String())
	for i := range 50 {
		id := fmt.Sprintf(`"id":"n%d"`, i)
		at := strings.Index(answer, id)
		require.GreaterOrEqual(v.t, at, 0, id)
		answer = answer[at+len(id):]
	}
}

// slowHeaders and silentSocket wait for the other side's deadlines.
func slowHeaders(v *victim) {
	conn := v.dial()
	defer conn.Close()
	_, err := io.WriteString(conn, "GET /faye HTTP/1.1\r\nHost: h\r\nX-Slow")
	require.NoError(v.t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(v.t, err, "closed before this side's deadline")
	require.Contains(v.t, []int{0, 400, 408}, status(string(answer)))
}

func silentSocket(v *victim) {
	w := v.socket("")
	w.closed()
	_, err := w.conn.Read(make([]byte, 1))
	require.ErrorIs(v.t, err, io.EOF, "closed before this side's deadline")
}

func manyConnects(v *victim) {
	id := v.join()
	var open sync.WaitGroup
	answered := make(chan message, 20)
	for range cap(answered) {
		open.Go(func() {
			r, err := attacker.Post("http://"+v.address+"/faye", "application/json",
				strings.NewReader(`{"channel":"/meta/connect","clientId":"`+id+`","connectionType":"long-polling","advice":{"timeout":1e15}}`))
			if err != nil {
				return
			}
			defer r.Body.Close()
			text, _ := io.ReadAll(r.Body)
			answered <- message{raw: string(text)}
		})
	}
	for range cap(answered) - 1 {
		<-answered
	}
	require.LessOrEqual(v.t, v.metric("gobelin_held_requests", ""), 1.0)
	open.Wait() // within bayeux.timeout, however much longer was asked for
	require.Len(v.t, answered, 1)
}

func longLists(v *victim) {
	status, _ := v.post("[" + strings.Repeat(`{"channel":"/open/x","data":1},`, 100) + `{"channel":"/open/x","data":1}]`)
	require.Equal(v.t, http.StatusRequestEntityTooLarge, status)
	id := v.join()
	subscribe := func(first, n int) message {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"/open/list/%d"`, first+i))
		}
		return v.one(`{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":[` + strings.Join(list, ",") + `]}`)
	}
	require.False(v.t, subscribe(0, 101).ok())
	for first := 0; first < 500; first += 100 {
		require.True(v.t, subscribe(first, 100).ok())
	}
	require.True(v.t, subscribe(500, 12).ok())
	require.False(v.t, subscribe(512, 1).ok(), "513 subscriptions")
}

// rootsOf returns the root of gala in each class that a test needs.
func rootsOf(v *victim) (view, control string) {
	return v.root(channels.ClassView), v.root(channels.ClassControl)
}
