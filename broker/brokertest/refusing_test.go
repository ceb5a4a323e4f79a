package brokertest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/require"
)

// patient is how long something may take that takes a moment on an idle machine.
const patient = 40 * time.Second

// refused is what publishers were told, and what they wrote down of it.
type refused struct {
	t       *testing.T
	node    *Node
	post    *poster
	id      string // of a session
	channel string
	k       int
	said    string       // to the last of them
	ok      map[int]bool // what was acknowledged
	no      map[int]bool // what was refused
}

// newRefused opens a session on a running node.
func newRefused(t *testing.T, node *Node, channel string) *refused {
	t.Helper()
	r := &refused{t: t, node: node, post: newPoster(straight(node.Address()), 0), channel: channel, ok: map[int]bool{}, no: map[int]bool{}}
	t.Cleanup(r.post.close)
	var err error
	r.post.token, err = node.Token(t.Context())
	require.NoError(t, err)
	ms, _, err := r.post.exchange(t.Context(), handshakeBody("h"), answerTime)
	require.NoError(t, err)
	r.id, err = handshaken(ms)
	require.NoError(t, err)
	return r
}

// bayeux publishes one message over the session and returns the error, "" for none.
func (r *refused) bayeux() string {
	r.t.Helper()
	r.k++
	body := fmt.Appendf(nil, `[{"channel":%q,"clientId":%q,"data":{"p":0,"k":%d},"id":"b%d"}]`, r.channel, r.id, r.k, r.k)
	answer, _, err := r.post.post(r.t.Context(), mount, "", body, patient)
	// The status is 503 where all of a batch says so.
	if status, is := err.(statusError); !is || status != http.StatusServiceUnavailable {
		require.NoError(r.t, err)
	}
	ms, err := parseMessages(answer)
	require.NoError(r.t, err, "%s", answer)
	require.Len(r.t, ms, 1)
	r.said = ms[0].Error
	r.note(ms[0].Error == "", strings.HasPrefix(ms[0].Error, "504"))
	return ms[0].Error
}

// http publishes one message by the HTTP API and returns the status.
func (r *refused) http() int {
	r.t.Helper()
	r.k++
	body := fmt.Sprintf(`{"messages":[{"channel":%q,"data":{"p":0,"k":%d}}]}`, r.channel, r.k)
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.node.Address()+"/v1/publish", strings.NewReader(body))
	require.NoError(r.t, err)
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Authorization", "Bearer "+r.post.token)
	answer, err := (&http.Client{Timeout: patient, Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
	require.NoError(r.t, err)
	defer answer.Body.Close()
	status := answer.StatusCode
	said, err := io.ReadAll(answer.Body)
	require.NoError(r.t, err)
	if status == http.StatusServiceUnavailable {
		require.NotEmpty(r.t, answer.Header.Get("Retry-After"))
	}
	if status == http.StatusOK { // of a batch each has its own
		var batch struct{ Results []struct{ Result int } }
		require.NoError(r.t, json.Unmarshal(said, &batch))
		require.Len(r.t, batch.Results, 1, "%s", said)
		if n := batch.Results[0].Result; n != 0 {
			status = n/1000*100 + n%10 // 5007 is 507
		}
	}
	r.said = fmt.Sprint(status, " ", string(said))
	r.note(status == http.StatusOK, status == http.StatusGatewayTimeout)
	return status
}

func (r *refused) note(ok, unknown bool) {
	switch {
	case ok:
		r.ok[r.k] = true
	case !unknown:
		r.no[r.k] = true
	}
}

// until calls cond until it is true, and returns how long that took.
func (r *refused) until(what string, cond func() bool) time.Duration {
	r.t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(r.t.Context(), patient)
	defer cancel()
	for !cond() {
		require.True(r.t, rest(ctx, 20*time.Millisecond), "%s; last: %s", what, r.said)
	}
	return time.Since(begun)
}

// readiness is what /readyz says, with its status.
func (r *refused) readiness() (int, string) { return r.get("/readyz") }

func (r *refused) get(path string) (int, string) {
	r.t.Helper()
	answer, err := (&http.Client{Timeout: patient, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + r.node.Address() + path)
	require.NoError(r.t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(r.t, err)
	return answer.StatusCode, string(b)
}

// check: what was acknowledged is in the history once, what was refused is not.
func (r *refused) check() {
	r.t.Helper()
	kept, err := readBack(r.t.Context(), r.node.Address(), r.channel, "1h")
	require.NoError(r.t, err)
	times := map[int]int{}
	for _, one := range kept {
		times[one.K]++
	}
	for k := range r.ok {
		require.Equal(r.t, 1, times[k], "message %d was acknowledged", k)
	}
	for k := range r.no {
		require.Zero(r.t, times[k], "message %d was refused", k)
	}
}

// operator is a connection to Redis that stays what it is, whatever others may do.
type operator struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// do sends one command and expects that it succeeds.
func (o *operator) do(words ...string) {
	o.t.Helper()
	require.NoError(o.t, o.conn.SetDeadline(time.Now().Add(patient)))
	_, err := fmt.Fprint(o.conn, strings.Join(words, " "), "\r\n")
	require.NoError(o.t, err)
	line, err := o.in.ReadString('\n')
	require.NoError(o.t, err)
	require.NotEqual(o.t, byte('-'), line[0], "%v: %s", words, line)
}

// TestRedisRefuses: security.md §5.3, R6. Whatever Redis answers instead of taking a
// write, publishers are told exactly that nothing was stored, the node says why it is not
// ready, and is again, by itself, once Redis takes writes.
func TestRedisRefuses(t *testing.T) {
	binary, dir := RealBinary(t), t.TempDir()
	home := t.TempDir()
	server := storetest.StartRedis(t, "--save", "3600 1000000", "--rdbcompression", "no", "--enable-debug-command", "local", "--enable-protected-configs", "local", "--dir", home)
	config, err := writeKeys(dir)
	require.NoError(t, err)
	node, err := NewSharedNode(binary, dir, config, server.URL, "GOBELIN_BAYEUX_MAX_INTERVAL=10m")
	require.NoError(t, err)
	t.Cleanup(node.Close)
	require.NoError(t, node.Start(t.Context()))
	r := newRefused(t, node, "/refused/a")
	conn, err := net.Dial("tcp", server.Addr)
	require.NoError(t, err)
	defer conn.Close()
	o := &operator{t, conn, bufio.NewReader(conn)}
	// What takes half a minute to load, unless it is let go; Redis answers after each.
	for i := range 300 {
		o.do("SET", "other:"+strconv.Itoa(i), strings.Repeat("x", 2<<10))
	}

	unavailable := "503::Service unavailable"
	for _, one := range []struct {
		word, bayeux string
		status       int
		reason       string
		begin, end   func()
	}{
		{"OOM", "507::Store full", 507, "memory is full", func() { o.do("CONFIG SET maxmemory 1") }, func() { o.do("CONFIG SET maxmemory 0") }},
		{"READONLY", unavailable, 503, "is a replica", func() { o.do("REPLICAOF 127.0.0.1 1") }, func() { o.do("REPLICAOF NO ONE") }},
		{
			"MISCONF", unavailable, 503, "cannot write to its disk",
			func() {
				o.do("CONFIG SET dir /proc")
				o.do("BGSAVE")
			},
			func() {
				o.do("CONFIG SET dir", home)
				o.do("BGSAVE")
			},
		},
		{"NOPERM", unavailable, 503, "ACL forbids", func() { o.do("ACL SETUSER default -eval -evalsha") }, func() { o.do("ACL SETUSER default +eval +evalsha") }},
		{
			"NOAUTH", unavailable, 503, "wants a password",
			func() {
				o.do("CONFIG SET requirepass secret")
				o.do("CLIENT KILL TYPE normal")
				o.do("CLIENT KILL TYPE pubsub")
			},
			func() { o.do(`CONFIG SET requirepass ""`) },
		},
		{
			"LOADING", unavailable, 503, "loading",
			func() {
				o.do("CONFIG SET loading-process-events-interval-bytes 1024")
				o.do("CONFIG SET key-load-delay 100000")
				_, err := fmt.Fprint(o.conn, "DEBUG RELOAD\r\n")
				require.NoError(t, err)
			},
			func() {
				_, err := server.Command("CONFIG", "SET", "key-load-delay", "0")
				require.NoError(t, err)
				require.NoError(t, o.conn.SetDeadline(time.Now().Add(patient)))
				line, err := o.in.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, "+OK\r\n", line)
			},
		},
	} {
		t.Run(one.word, func(t *testing.T) {
			r.t, o.t = t, t
			r.until("publishes are taken", func() bool { return r.bayeux() == "" })
			one.begin()
			// What was under way may have been anything but acknowledged and lost.
			r.until("a publish is refused", func() bool { return r.bayeux() == one.bayeux })
			r.until("a request is refused", func() bool { return r.http() == one.status })
			said := ""
			r.until("the node says why it is not ready", func() bool {
				var status int
				status, said = r.readiness()
				return status == http.StatusServiceUnavailable && strings.Contains(said, one.reason)
			})
			one.end()
			took := r.until("publishes are taken again", func() bool { return r.bayeux() == "" && r.http() == http.StatusOK })
			took += r.until("the node is ready again", func() bool {
				status, _ := r.readiness()
				return status == http.StatusOK
			})
			_, metrics := r.get("/metrics")
			require.Contains(t, metrics, fmt.Sprintf("gobelin_store_errors_total{cause=%q}", strings.ToLower(one.word)))
			t.Logf("back after %v; it had said: %s", took.Round(time.Millisecond), said)
		})
		r.t, o.t = t, t
	}
	r.check()
	said, err := node.Troubles()
	require.NoError(t, err)
	require.Empty(t, said)
}
