package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// The secrets of a victim. Each has a mark of its own, so that what leaks is told by name.
const (
	identitySecret = "mark-identity-Kq7Zr0cXn1pQmE3vT5yUb8dWf2g"
	rootSecret     = "mark-rootkey-Vb3LpQ9sXe6RtY1uIoP0aSdFgHj"
	serverKey      = "mark-appkey-Zx8CvB5nMq2WeR7tYuI4oPaSdFg"
	tokenSecret    = "mark-tokensecret-Hj6KlZ1xCvB9nMqW3eRtYuI"
	otherSecret    = "mark-othersecret-Pl0OkM9ijN8uhB7ygV6tfC5"
	apiSecret      = "mark-apisecret-Qa1Zw2Sx3Ed4Cr5Fv6Tg7Bh8"
	streamSecret   = "mark-streamtoken-Ny7Mu8Ji9Ko0Lp1Za2Xs3C"
	adminSecret    = "mark-admintoken-Rf4Vt5Gb6Yh7Nu8Jm9Ik0Ol"
)

const victimYAML = `listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0, token: ` + adminSecret + `}
log: {level: debug, format: json, access: true}
drain: {time: 50ms}
bayeux: {timeout: 2s, max_interval: 10m}
keys: {identity_secret: ` + identitySecret + `, roots: [{kid: 0, secret: ` + rootSecret + `, sign: true}]}
accounts:
- {cdn: 158, api_key: pk_demo, api_secret: ` + apiSecret + `, stream_token: ` + streamSecret + `, apps: [{id: 12, name: demo, app_key: ` + serverKey + `, token_secret: ` + tokenSecret + `}]}
- {cdn: 159, apps: [{id: 13, name: other, app_key: ` + otherSecret + `-key, token_secret: ` + otherSecret + `}]}
channels: {open: [{pattern: /open/**, publish: anyone, history: 1h}, {pattern: /members/**, publish: session, history: 1h}]}
`

// noRates takes the rates away: many tests come from one address.
const noRates = "limits: {sessions_per_ip: 0, handshakes_per_ip: 0, requests_per_session: 0, publish_per_session: 0, requests_per_credential: 0, publish_per_credential: 0, read_per_credential: 0}\n"

// transcript is what a process said; others write while a test reads.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *transcript) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// victim is a broker in a process of its own, configured as for production, that tests
// attack from outside.
type victim struct {
	t           *testing.T
	config      string // path
	address     string // host:port of the public listener
	admin       string // URL
	cmd         *exec.Cmd
	out, errors *transcript
	ended       chan struct{} // closed when the process has ended
	ring        *channels.Keyring
	gala        channels.OID // of the object "gala" of demo
	nonces      int
}

// startVictim runs one until the test ends; more is added to its configuration.
func startVictim(t *testing.T, more string) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{t: t, config: filepath.Join(dir, "gobelin.yaml"), out: new(transcript), errors: new(transcript), ended: make(chan struct{})}
	if !strings.Contains(more, "store:") {
		more += "store: " + filepath.Join(dir, "data") + "\ndisk: {floor: 64MiB}\n"
	}
	require.NoError(t, os.WriteFile(v.config, []byte(victimYAML+more), 0o600))
	v.cmd = exec.Command("gobelin", "serve", "--config", v.config)
	v.cmd.Dir, v.cmd.Stderr = dir, v.errors
	out, err := v.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, v.cmd.Start())
	ready := make(chan []string, 1)
	go func() {
		defer close(v.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			_, _ = v.out.Write(append(lines.Bytes(), '\n'))
			if m := regexp.MustCompile(`^ready http://(\S+)/faye admin (\S+)`).FindStringSubmatch(lines.Text()); m != nil {
				ready <- m
			}
		}
		_ = v.cmd.Wait()
	}()
	t.Cleanup(v.stop)
	select {
	case m := <-ready:
		v.address, v.admin = m[1], m[2]
	case <-v.ended:
		t.Fatalf("ended at once: %s", v.errors.String())
	case <-time.After(time.Minute):
		t.Fatalf("not ready: %s", v.errors.String())
	}
	v.ring, err = channels.NewKeyring([]byte(identitySecret), []channels.RootKey{{Secret: []byte(rootSecret), Sign: true}}, nil)
	require.NoError(t, err)
	v.gala = v.ring.OID(12, "gala", 0)
	status, text := v.api("POST", "/v1/objects", `{"object_id":"gala","type":"live"}`)
	require.Contains(t, []int{http.StatusOK, http.StatusCreated}, status, text)
	return v
}

// in returns the same victim for a part of a test.
func (v *victim) in(t *testing.T) *victim {
	same := *v
	same.t = t
	return &same
}

// stop ends the process in order and looks at what it left.
func (v *victim) stop() {
	select {
	case <-v.ended:
		return
	default:
	}
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-v.ended:
	case <-time.After(time.Minute):
		_ = v.cmd.Process.Kill()
		v.t.Error("it does not end")
	}
}

// root is a channel's first segment, for gala.
func (v *victim) root(class channels.Class) string {
	return "/" + v.ring.Root(v.gala, class, time.Now())
}

// token makes one of the application demo, claims as JSON without braces.
func (v *victim) token(claims string) string {
	b := base64.RawURLEncoding
	text := b.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		b.EncodeToString(fmt.Appendf(nil, `{"app":"demo","exp":%d,%s}`, time.Now().Add(time.Hour).Unix(), claims))
	m := hmac.New(sha256.New, []byte(tokenSecret))
	m.Write([]byte(text))
	return text + "." + b.EncodeToString(m.Sum(nil))
}

// signed makes the header of a signed request at a time.
func (v *victim) signed(at int64, nonce, method, target, body string) string {
	sum := sha256.Sum256([]byte(body))
	m := hmac.New(sha256.New, []byte(apiSecret))
	fmt.Fprintf(m, "GOBELIN-HMAC-SHA256\n%d\n%s\n%s\n%s\n%s", at, nonce, method, target, hex.EncodeToString(sum[:]))
	return fmt.Sprintf("Gobelin-Signature: kid=pk_demo,t=%d,n=%s,s=%s", at, nonce, base64.StdEncoding.EncodeToString(m.Sum(nil)))
}

func (v *victim) nonce() string { v.nonces++; return fmt.Sprintf("nonce-of-a-test-%06d", v.nonces) }

var attacker = &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// ask sends one request with headers "Name: value".
func (v *victim) ask(method, target, body string, headers ...string) (*http.Response, string) {
	v.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = "http://" + v.address + target
	}
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	require.NoError(v.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	answer, err := attacker.Do(r)
	require.NoError(v.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(v.t, err)
	require.Empty(v.t, answer.Header.Values("Set-Cookie"), "there are no cookies")
	return answer, string(text)
}

// api asks the HTTP API with the server key.
func (v *victim) api(method, target, body string, headers ...string) (int, string) {
	v.t.Helper()
	key := base64.StdEncoding.EncodeToString([]byte("demo:" + serverKey))
	answer, text := v.ask(method, target, body, append([]string{"Authorization: Basic " + key, "Content-Type: application/json"}, headers...)...)
	return answer.StatusCode, text
}

// message is what came back of Bayeux.
type message struct {
	Channel, ClientID, Error, Subscription string
	Successful                             *bool
	Advice                                 map[string]any
	ID, Data, Ext                          json.RawMessage
	raw                                    string
}

func (m message) ok() bool { return m.Successful != nil && *m.Successful }

func messages(t *testing.T, text string) (all []message) {
	t.Helper()
	var raws []json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &raws), text)
	for _, raw := range raws {
		m := message{raw: string(raw)}
		_ = json.Unmarshal(raw, &m) // a list of subscriptions is none
		all = append(all, m)
	}
	return all
}

// post sends JSON to the mount.
func (v *victim) post(body string) (int, string) {
	v.t.Helper()
	answer, text := v.ask("POST", "/faye", body, "Content-Type: application/json")
	return answer.StatusCode, text
}

// say sends messages, or one, that must be answered as messages.
func (v *victim) say(body string) []message {
	v.t.Helper()
	status, text := v.post(body)
	require.Equal(v.t, http.StatusOK, status, text)
	return messages(v.t, text)
}

// one sends one message and returns its reply.
func (v *victim) one(body string) message {
	v.t.Helper()
	all := v.say(body)
	require.NotEmpty(v.t, all, body)
	return all[0]
}

const shake = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"]}`

// join returns the clientId of a new session.
func (v *victim) join() string {
	v.t.Helper()
	r := v.one(shake)
	require.True(v.t, r.ok(), r.raw)
	return r.ClientID
}

// subscribe must succeed.
func (v *victim) subscribe(id, channel string) {
	v.t.Helper()
	r := v.one(`{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"` + channel + `"}`)
	require.True(v.t, r.ok(), r.raw)
}

// heard returns what a session has been sent so far, without holding the connect.
func (v *victim) heard(id string) (deliveries []message) {
	v.t.Helper()
	for _, m := range v.say(`{"channel":"/meta/connect","clientId":"` + id + `","connectionType":"long-polling","advice":{"timeout":0}}`) {
		if m.Successful == nil {
			deliveries = append(deliveries, m)
		} else {
			require.True(v.t, m.ok(), m.raw)
		}
	}
	return deliveries
}

// hears waits until a session has been sent n deliveries, and returns them.
func (v *victim) hears(id string, n int) (all []message) {
	v.t.Helper()
	for end := time.Now().Add(time.Minute); len(all) < n && time.Now().Before(end); {
		for _, m := range v.say(`{"channel":"/meta/connect","clientId":"` + id + `","connectionType":"long-polling"}`) {
			if m.Successful == nil {
				all = append(all, m)
			}
		}
	}
	require.Len(v.t, all, n)
	return all
}

// metric is the sum over the labels of what the node shows; labels is part of them, or "".
func (v *victim) metric(name, labels string) (sum float64) {
	v.t.Helper()
	_, text := v.ask("GET", v.admin+"/metrics", "")
	found := false
	for line := range strings.Lines(text) {
		rest, ours := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ours || rest == "" || rest[0] != '{' && rest[0] != ' ' || !strings.Contains(rest, labels) {
			continue
		}
		n, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		require.NoError(v.t, err)
		sum, found = sum+n, true
	}
	require.True(v.t, found, "no metric %s with %s", name, labels)
	return sum
}

// unharmed: the node serves, had no panic, and answered nobody as if it were broken.
func (v *victim) unharmed() {
	v.t.Helper()
	require.True(v.t, v.one(`{"channel":"/open/still","data":"here"}`).ok())
	require.Zero(v.t, v.metric("gobelin_panics_total", ""))
	for line := range strings.Lines(v.errors.String()) {
		var entry struct{ Level, Msg string }
		require.NoError(v.t, json.Unmarshal([]byte(line), &entry), "each line of the log is one entry: %q", line)
		require.NotEqual(v.t, "error", entry.Level, line)
	}
}

// raw sends bytes and returns all that comes until the victim closes, or a minute has gone.
func (v *victim) raw(text string) string {
	v.t.Helper()
	conn := v.dial()
	defer conn.Close()
	_, _ = io.WriteString(conn, text) // it may have closed before the end
	answer, _ := io.ReadAll(conn)     // a reset is an end, too
	return string(answer)
}

// dial opens a connection with a deadline.
func (v *victim) dial() net.Conn {
	v.t.Helper()
	conn, err := net.Dial("tcp", v.address)
	require.NoError(v.t, err)
	require.NoError(v.t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

// status is that of the first line of an answer; 0 where there is none.
func status(answer string) int {
	var n int
	_, _ = fmt.Sscanf(answer, "HTTP/1.1 %d", &n)
	return n
}

// query makes the target of a JSONP request.
func query(message, callback string) string {
	return "/faye?" + url.Values{"message": {message}, "jsonp": {callback}}.Encode()
}
