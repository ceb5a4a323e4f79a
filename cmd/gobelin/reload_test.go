package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// writePair puts a certificate with a serial number into a folder.
func writePair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
}

// reloading is a node that runs with a configuration file and obeys SIGHUP.
type reloading struct {
	t    *testing.T
	dir  string
	n    *node
	logs *observer.ObservedLogs
}

// startReloading runs a node until the test ends; text is added to what its file needs.
func startReloading(t *testing.T, text string) *reloading {
	t.Helper()
	x := &reloading{t: t, dir: t.TempDir()}
	x.write(text)
	writePair(t, x.dir, 1)
	from := source{path: filepath.Join(x.dir, "gobelin.yaml")}
	c, _, fs := load(from)
	require.NoError(t, fs.err())
	core, logs := observer.New(zapcore.InfoLevel)
	x.logs = logs
	var err error
	x.n, err = openNode(t.Context(), c, zap.New(core), false)
	require.NoError(t, err)
	// Until the node hears it, SIGHUP would end the test.
	hears := make(chan os.Signal, 1)
	signal.Notify(hears, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	serving, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- x.n.run(ctx, func() { close(serving) }, func(ctx context.Context) { x.n.obey(ctx, from) })
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		signal.Stop(hears)
	})
	<-serving
	return x
}

// write puts the file there.
func (x *reloading) write(text string) {
	x.t.Helper()
	text = strings.Join([]string{
		"listen: 127.0.0.1:0", `store: "memory:"`, "drain: {time: 10ms}",
		"tls: {cert: " + x.dir + "/cert, key: " + x.dir + "/key}", text,
	}, "\n")
	require.NoError(x.t, os.WriteFile(filepath.Join(x.dir, "gobelin.yaml"), []byte(text), 0o600))
}

// hang sends SIGHUP until something has been logged of it, and returns that.
func (x *reloading) hang(text string) observer.LoggedEntry {
	x.t.Helper()
	x.logs.TakeAll()
	beat := time.NewTicker(200 * time.Millisecond)
	defer beat.Stop()
	for end := time.Now().Add(patience); x.logs.FilterMessageSnippet(text).Len() == 0; <-beat.C { // it may not hear yet
		require.True(x.t, time.Now().Before(end), "%q is not among %v", text, x.logs.All())
		require.NoError(x.t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	}
	return x.logs.FilterMessageSnippet(text).All()[0]
}

// serial is that of the certificate that is shown.
func (x *reloading) serial() int64 {
	x.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(x.n.url("public"), "https://"), &tls.Config{InsecureSkipVerify: true})
	require.NoError(x.t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// rootsYAML is a configuration of keys: each is a number, with a star the one that
// signs, and after a slash what its secret is made of.
func rootsYAML(keys ...string) string {
	var rows []string
	for _, k := range keys {
		head, secret, own := strings.Cut(k, "/")
		kid := strings.TrimSuffix(head, "*")
		if !own {
			secret = kid
		}
		rows = append(rows, fmt.Sprintf("{kid: %s, secret: %s, sign: %t}", kid, strings.Repeat("signing-"+secret+"-", 5), strings.HasSuffix(head, "*")))
	}
	return "keys: {identity_secret: " + strings.Repeat("identity", 5) + ", roots: [" + strings.Join(rows, ", ") + "]}\n"
}

// SIGHUP exchanges the certificate and names what waits for a restart; a configuration
// with faults changes nothing.
func TestReload(t *testing.T) {
	const admin = "admin: {listen: 127.0.0.1:0}\nsandbox: true\n"
	x := startReloading(t, admin+rootsYAML("0*"))
	require.EqualValues(t, 1, x.serial())
	writePair(t, x.dir, 2)
	x.write(admin + rootsYAML("0*") + "bayeux: {timeout: 3s}\nlimts: {}\n")
	x.hang("configuration not taken over")
	require.EqualValues(t, 1, x.serial())

	x.write(admin + rootsYAML("0*") + "bayeux: {timeout: 3s}\nlimits: {batch: 7, history: 5}\naccounts: [{apps: [{id: 9, name: new, app_key: one, token_secret: two}]}]\n")
	read := x.hang("configuration read again")
	require.EqualValues(t, 2, x.serial())
	require.Equal(t, []any{"limits.batch"}, read.ContextMap()["changed"])
	late := x.logs.FilterMessageSnippet("not before a restart").All()
	require.NotEmpty(t, late)
	require.Equal(t, []any{"bayeux.timeout", "accounts", "limits.history"}, sorted(late[0].ContextMap()["keys"], "bayeux.timeout", "accounts", "limits.history"))

	require.NoError(t, os.WriteFile(filepath.Join(x.dir, "cert"), []byte("broken"), 0o600))
	x.hang("certificate not taken over")
	require.EqualValues(t, 2, x.serial())
}

// sorted returns a list in the order given, so that the order of the table is free.
func sorted(list any, order ...any) []any {
	all, _ := list.([]any)
	slices.SortFunc(all, func(a, b any) int { return slices.Index(order, a) - slices.Index(order, b) })
	return all
}

// The files of the certificate are looked at without any signal.
func TestCertificateFilesChange(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, 1)
	conf := &config{TLSCert: filepath.Join(dir, "cert"), TLSKey: filepath.Join(dir, "key")}
	core, logs := observer.New(zapcore.InfoLevel)
	log := zap.New(core)
	c := &certificate{}
	require.NoError(t, c.load(conf))
	shown := func() int64 { return c.current.Load().Leaf.SerialNumber.Int64() }
	c.look(conf, log)
	require.Zero(t, logs.Len(), "nothing has changed")

	// Half of a pair is there first.
	before, err := os.ReadFile(conf.TLSKey)
	require.NoError(t, err)
	writePair(t, dir, 2)
	later, err := os.ReadFile(conf.TLSKey)
	require.NoError(t, err)
	touch := func(name string, text []byte, at time.Duration) {
		require.NoError(t, os.WriteFile(name, text, 0o600))
		when := time.Now().Add(at)
		require.NoError(t, os.Chtimes(name, when, when))
	}
	touch(conf.TLSKey, before, time.Second)
	c.look(conf, log)
	require.EqualValues(t, 1, shown())
	require.Equal(t, 1, logs.FilterMessageSnippet("cannot be taken").Len())
	c.look(conf, log)
	require.Equal(t, 1, logs.Len(), "told once")
	touch(conf.TLSKey, later, 2*time.Second)
	c.look(conf, log)
	require.EqualValues(t, 2, shown())
	require.Equal(t, 1, logs.FilterMessageSnippet("exchanged").Len())
	require.NoError(t, os.Remove(conf.TLSKey))
	c.look(conf, log)
	require.EqualValues(t, 2, shown())
}

// A key comes and signs, another goes, and one that went comes back.
func TestReloadKeys(t *testing.T) {
	const rest = "admin: {listen: 127.0.0.1:0}\nsandbox: true\nchannels: {open: [{pattern: /**, publish: anyone}]}\naccounts: [{apps: [{id: 1, name: main, app_key: key, token_secret: two}]}]\n"
	x := startReloading(t, rest+rootsYAML("0*"))
	root := func() string {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, x.n.url("public")+"/v1/objects", strings.NewReader(`{"object_id":"gala"}`))
		require.NoError(t, err)
		r.SetBasicAuth("main", "key")
		r.Header.Set("Content-Type", "application/json")
		answer, err := insecure.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		found := regexp.MustCompile(`"realtime_channel":"(/[0-9a-f]{40})"`).FindSubmatch(text)
		require.NotNil(t, found, "%s", text)
		return string(found[1])
	}
	require.Equal(t, "/0", root()[:2])
	x.write(rest + rootsYAML("0", "1*"))
	x.hang("configuration read again")
	require.Equal(t, "/1", root()[:2])
	require.False(t, x.n.broker.KeyRetired(0))

	x.write(rest + rootsYAML("1*"))
	x.hang("retired key are refused")
	require.True(t, x.n.broker.KeyRetired(0))
	refused := func(why string, keys ...string) {
		t.Helper()
		x.write(rest + rootsYAML(keys...))
		e := x.hang("keys not taken over")
		require.Contains(t, e.ContextMap()["error"], why)
		require.Equal(t, "/1", root()[:2])
	}
	refused("a key was retired under this number", "0/other", "1*")
	refused("its secret is another one", "1*/other")
	x.write(rest + rootsYAML("0*", "1"))
	x.hang("are good again")
	require.Equal(t, "/0", root()[:2])
	x.write(rest + strings.Replace(rootsYAML("0", "1*"), "identityidentity", "identity-another", 1))
	e := x.hang("not before a restart")
	require.Contains(t, e.ContextMap()["keys"], "keys.identity_secret")
	require.Equal(t, "/0", root()[:2])
}

// insecure takes any certificate.
var insecure = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// Secrets, limits, origins and the operator's token change while the node runs.
func TestReloadSecretsAndLimits(t *testing.T) {
	conf := func(appKey, token, more string) string {
		return "admin: {listen: 127.0.0.1:0, token: " + strings.Repeat(token, 10) + "}\nsandbox: true\nchannels: {open: [{pattern: /**, publish: anyone}]}\n" +
			"accounts: [{apps: [{id: 1, name: main, app_key: " + appKey + ", token_secret: three}]}]\n" + more + rootsYAML("0*")
	}
	x := startReloading(t, conf("one", "old-", ""))
	ask := func(method, url, body string, change func(*http.Request)) *http.Response {
		t.Helper()
		r, err := http.NewRequest(method, url, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		change(r)
		answer, err := insecure.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer
	}
	app := func(key string) int {
		return ask("GET", x.n.url("public")+"/v1/objects", "", func(r *http.Request) { r.SetBasicAuth("main", key) }).StatusCode
	}
	console := func(token string) int {
		return ask("GET", x.n.url("admin")+"/console/overview", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.Repeat(token, 10)) }).StatusCode
	}
	origin := func(path string) string {
		return ask("POST", x.n.url("public")+path, `[{"channel":"/a","data":1},{"channel":"/a","data":2}]`, func(r *http.Request) { r.Header.Set("Origin", "https://b.example") }).Header.Get("Access-Control-Allow-Origin")
	}
	batch := func() int {
		return ask("POST", x.n.url("public")+"/faye", `[{"channel":"/a","data":1},{"channel":"/a","data":2}]`, func(*http.Request) {}).StatusCode
	}
	require.Equal(t, []int{200, 401, 200, 401, 200}, []int{app("one"), app("two"), console("old-"), console("new-"), batch()})
	require.Equal(t, "https://b.example", origin("/faye"))
	require.Equal(t, "*", origin("/v1/publish"))

	x.write(conf("two", "new-", "limits: {batch: 1}\norigins: [\"https://a.example\"]\n"))
	read := x.hang("configuration read again")
	require.ElementsMatch(t, []any{"admin.token", "origins", "limits.batch"}, read.ContextMap()["changed"])
	require.Empty(t, x.logs.FilterMessageSnippet("not before a restart").All())
	require.Equal(t, []int{401, 200, 401, 200, 413}, []int{app("one"), app("two"), console("old-"), console("new-"), batch()})
	require.Empty(t, origin("/faye"))
	require.Empty(t, origin("/v1/publish"))
	for _, e := range x.logs.All() {
		require.NotContains(t, fmt.Sprint(e.Message, e.ContextMap()), "new-new-", "no secret is logged")
	}
}
