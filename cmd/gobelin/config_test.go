package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// write puts a configuration file into a folder of the test.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gobelin.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// told returns the faults of a configuration with the file's name shortened.
func told(t *testing.T, text string) []string {
	t.Helper()
	path := write(t, text)
	_, _, fs := load(source{path: path})
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = strings.ReplaceAll(f.String(), path, "file")
	}
	return lines
}

func TestDefaultsHoldTogether(t *testing.T) {
	for _, dev := range []bool{false, true} {
		c, warnings, fs := load(source{dev: dev})
		require.NoError(t, fs.err())
		require.Empty(t, warnings)
		require.Empty(t, c.origins)
		require.Equal(t, dev, c.Sandbox)
		require.Equal(t, dev, len(c.Channels.Open) == 1, "only dev opens anything")
	}
}

// Every default is written as it is shown, so that what `config` prints can be
// pasted into a file.
func TestDefaultsAreShownAsWritten(t *testing.T) {
	c, _, _ := load(source{})
	for _, o := range options {
		require.Equal(t, o.def, showValue(o.field(c)), o.key)
	}
}

func TestTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range options {
		require.False(t, seen[o.key], "%s is there twice", o.key)
		require.False(t, seen[o.env()], "%s is there twice", o.env())
		seen[o.key], seen[o.env()] = true, true
		require.NotEmpty(t, o.doc, o.key)
		require.True(t, o.unit != "" || len(o.choices) > 0, "%s has no unit", o.key)
		require.NotPanics(t, func() { o.field(&config{}) }, o.key)
	}
}

func TestPrecedence(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addOptionFlags(flags, false)
	path := write(t, "bayeux: {timeout: 1s, interval: 2s, idle_ping: 3s}\n")
	t.Setenv("GOBELIN_BAYEUX_INTERVAL", "20ms")
	t.Setenv("GOBELIN_BAYEUX_IDLE_PING", "30ms")
	require.NoError(t, flags.Parse([]string{"--bayeux.idle_ping", "300ms"}))
	c, _, fs := load(source{path: path, flags: flags})
	require.NoError(t, fs.err())
	require.Equal(t, time.Second, c.Bayeux.Timeout, "the file wins over the default")
	require.Equal(t, 20*time.Millisecond, c.Bayeux.Interval, "the environment wins over the file")
	require.Equal(t, 300*time.Millisecond, c.Bayeux.IdlePing, "the flag wins over the environment")
	require.Equal(t, 5*time.Second, c.Bayeux.Ping)
	require.Equal(t, path+":1", c.at("bayeux.timeout").String())
	require.Equal(t, "GOBELIN_BAYEUX_INTERVAL", c.at("bayeux.interval").String())
	require.Equal(t, "--bayeux.idle_ping", c.at("bayeux.idle_ping").String())
	require.Equal(t, "default", c.at("bayeux.ping").String())
}

func TestAllFaultsAtOnce(t *testing.T) {
	got := told(t, `listen: nowhere
bayeux:
  timout: 5s
  ping: 5
  interval: 1d
  transports: [websocket, websockets]
limits:
  message: 1MB
  queue: 1MiB
limits:
  batch: 3
store: redsi://:sesame@127.0.0.1:6379
channels:
  open:
  - {pattern: demo, publish: anybody, histroy: 24h}
  - {pattern: /meta/**, publish: server}
  retention: {all_jsn: 1h}
keys:
  identity_secret: short
accounts:
- apps:
  - {id: 1, name: "a b", app_key: env:GOBELIN_TEST_ABSENT, token_secret: "changeme-changeme-changeme-changeme"}
timeout: 3s
origins: "*"
`)
	want := []string{
		`file:1: listen: "nowhere" is not host:port, such as 127.0.0.1:8000 or :8000`,
		`file:3: bayeux.timout: unknown key; did you mean bayeux.timeout?`,
		`file:4: bayeux.ping: "5" has no unit: did you mean 5s?`,
		`file:5: bayeux.interval: "1d": there is no unit for days: did you mean 24h?`,
		`file:6: bayeux.transports: "websockets" is none of long-polling, cross-origin-long-polling, callback-polling, websocket, eventsource; did you mean websocket?`,
		`file:8: limits.message: "1MB" is not a size: write it as 512, 64KiB, 1MiB or 2GiB`,
		`file:9: limits.queue: must be at least twice limits.message (1MiB), is 1MiB`,
		`file:10: limits: is there twice, first in line 7`,
		`file:12: store: "redsi://" is none of redis://, rediss://, redis+sentinel://, redis+cluster://; did you mean redis?`,
		`file:15: channels.open[0].histroy: unknown key; did you mean channels.open[0].history?`,
		`file:15: channels.open: "demo" is not a channel or pattern such as /demo/**`,
		`file:15: channels.open: publish: "anybody" is none of anyone, session, server`,
		`file:16: channels.open: /meta/**: /meta and /service belong to the protocol`,
		`file:17: channels.retention.all_jsn: unknown key; did you mean channels.retention.all_json?`,
		`file:19: keys.identity_secret: is 5 bytes, must be at least 32: put in the output of ` + "`openssl rand -base64 32`",
		`keys.roots: is missing: identity_secret and roots belong together`,
		`file:22: accounts[0].apps[0].app_key: environment variable GOBELIN_TEST_ABSENT is not set`,
		`file:22: accounts[0].apps[0]: name: must be of printable ASCII without spaces and colons`,
		`file:22: accounts[0].apps[0].token_secret: is a sample, not a secret: put in the output of ` + "`openssl rand -base64 32`",
		`file:23: timeout: unknown key; did you mean bayeux.timeout?`,
		`file:24: origins: * is what an empty list means: leave it out`,
	}
	require.ElementsMatch(t, want, got)
}

func TestHostileFiles(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		require.Equal(t, want, told(t, text))
	}
	f("a: &a [*a]\n", "file:1: a: unknown key")
	f("listen: &x 127.0.0.1:1\nmount: *x\n", "file:2: mount: aliases are not read")
	f("- a\n", "file:1: must have keys: "+strings.Join(sortedKeys(), ", "))
	f("listen: [a]\n", "file:1: listen: must be one value")
	f("origins: {a: b}\n", "file:1: origins: must be a list")
	f("listen: 127.0.0.1:8000\n---\nlisten: 127.0.0.1:8000\n", "file: holds more than one document")
	f("bayeux: 5s\n", "file:1: bayeux: must have keys: ack, activity, client_js, compression, forward_ext, idle_ping, interval, max_interval, ping, pong_wait, replay, services, timeout, transports, url")
	f("listen: 127.0.0.1:8000\nmount: /v1/x\n", "file:2: mount: /v1/x: /v1 is taken by the server itself")
	f("limits: {batch: 0}\n", "file:1: limits.batch: must be at least 1, is 0")
	f("keys: {identity_secret: "+strings.Repeat("k", 31)+"x, roots: [{kid: 16, secret: "+newSecret().Reveal()+", sign: true}]}\n", "file:1: keys.roots: kid: must be 0 to 15")
	require.Len(t, told(t, "listen: \"\x00\n"), 1)
	require.Empty(t, told(t, ""), "an empty file is no fault")
	require.Empty(t, told(t, "limits:\nbayeux:\n  timeout:\n"), "what is not written is a default")
}

// TestStreamAccounts: what names a log and opens it is one account's.
// What is kept must hold together with what it is made of, and what is sent with it.
func TestKeepsAndDocuments(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		require.Equal(t, append([]string{}, want...), told(t, text))
	}
	f("stats: {keep: {minute: 24h, hour: 24h}}\ndata: {max_document: 1KiB}\n")
	f("stats: {keep: {minute: 1200h}}\n", "stats.keep.hour: must be at least stats.keep.minute (1200h), is 1080h: days are made of hours")
	f("stats: {keep: {minute: 1h}}\n", "file:1: stats.keep.minute: must be at least 24h, is 1h")
	f("limits: {message: 64KiB}\n", "data.max_document: must be at most limits.message (64KiB), is 100KiB: a change of it is one message")
	f("data: {max_document: 2MiB}\n", "file:1: data.max_document: must be at most 1MiB, is 2MiB", "file:1: data.max_document: must be at most limits.message (1MiB), is 2MiB: a change of it is one message")
	c, _, fs := load(source{path: write(t, "store: 'memory:'\nstats: {keep: {minute: 48h, hour: 72h}}\ndata: {max_document: 2KiB}\n")})
	require.Empty(t, fs)
	require.NoError(t, c.completeKeys(true))
	metrics, err := broker.NewExposition()
	require.NoError(t, err)
	o, err := brokerOptions(c, nil, metrics, zap.NewNop())
	require.NoError(t, err)
	require.Equal(t, catchup.ViewerKeep{Minutes: 48 * time.Hour, Hours: 72 * time.Hour}, o.StatsKeep)
	require.Equal(t, 2048, o.MaxDocument)
}

// Classes of roots: what is built in can only be lowered.
func TestRootClasses(t *testing.T) {
	f := func(row string, want ...string) {
		t.Helper()
		for i := range want {
			want[i] = "file:3: keys.classes." + want[i]
		}
		require.Equal(t, append([]string{}, want...), told(t, "keys:\n  classes:\n    "+row+"\n"))
	}
	f("partner: {number: 6, level: broadcaster, subscribe: false, publish: all, catchup_max: 0s, period: 60s}")
	f("guest: {subscribe: false}")
	f("view: {catchup_max: 1h}")
	f("partner: {number: 5}", "partner: number must be 6 to 14: the digit of its roots, never to be given to another class")
	f("partner: {level: viewer}", "partner: number must be 6 to 14: the digit of its roots, never to be given to another class")
	f("partner: {number: -3}", "partner: number must be 6 to 14: the digit of its roots, never to be given to another class")
	f("partner: {number: 6, level: admin}", `partner: level: "admin" is none of viewer, moderator, broadcaster`)
	f("partner: {number: 6, publish: custm}", `partner: publish: "custm" is none of none, custom, all; did you mean custom?`)
	f("partner: {number: 6, catchup_max: -1h}", "partner: catchup_max: must be at least 0s, is -1h0m0s")
	f("partner: {number: 6, period: 1s}", "partner: period: must be whole seconds from 1m to 8784h, or 0s for never, is 1s")
	f("Partner: {number: 6}", "Partner: a class is called by a small letter and up to 31 small letters, digits, dashes and underscores")
	f("{a: {number: 6}, b: {number: 6}}", "b: number 6 is that of a, too")
	f("{a: {number: 6}, a: {number: 7}}", "a: is there twice, first in line 3")
	f("guest: {catchup_max: 1h}", "guest: a built-in class can be given fewer rights, not more: make a class with a name of its own")
	f("view: {level: broadcaster}", "view: a built-in class can be given fewer rights, not more: make a class with a name of its own")
	f("daily: {period: 1h}", "daily.period: unknown key")
	f("view: {rights: all}", "view.rights: unknown key")
	require.Equal(t, []string{"file:1: keys.classes: must have keys: "}, told(t, "keys: {classes: [a]}\n"))
}

func TestStreamAccounts(t *testing.T) {
	token := func() string { return newSecret().Reveal() }
	account := func(id int, more string) string {
		return fmt.Sprintf("- {%s, apps: [{id: %d, name: app%d, app_key: %q, token_secret: %q}]}\n", more, id, id, token(), token())
	}
	f := func(text string, want ...string) {
		t.Helper()
		require.ElementsMatch(t, want, told(t, "accounts:\n"+text))
	}
	same := token()
	require.Empty(t, told(t, "accounts:\n"+account(1, "cdn: 1, stream_token: "+strconv.Quote(token()))+account(2, "cdn: 2, stream_token: "+strconv.Quote(token()))))
	f(account(1, "stream_token: "+strconv.Quote(same)), "file:2: accounts[0]: cdn: a number above 0 is needed beside stream_token: it names the log of the account's records, never give it to another account")
	f(account(1, "cdn: 1, stream_token: "+strconv.Quote(same))+account(2, "cdn: 1, stream_token: "+strconv.Quote(same)),
		"file:3: accounts[1]: stream_token: another account has it, too", "file:3: accounts[1]: cdn 1 is there twice")
	f(account(1, "cdn: 1, stream_token: short"), "file:2: accounts[0].stream_token: is 5 bytes, must be at least 32: put in the output of `openssl rand -base64 32`")
}

func sortedKeys() []string {
	keys := keysBelow("")
	for i := range keys {
		for j := range keys[:i] {
			if keys[i] < keys[j] {
				keys[i], keys[j] = keys[j], keys[i]
			}
		}
	}
	return keys
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GOBELIN_CHANNELS_OPEN", "[{pattern: /demo/**, publish: session, history: 90ms}]")
	t.Setenv("GOBELIN_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
	t.Setenv("GOBELIN_ACCOUNTS", "[{apps: [{id: 3, name: live, app_key: one, token_secret: two}]}]")
	t.Setenv("GOBELIN_SANDBOX", "true")
	t.Setenv("GOBELIN_BAYEUX_TIMOUT", "2s")
	t.Setenv("GOBELIN_SERVICE_HOST", "10.0.0.1") // of an orchestrator
	c, warnings, fs := load(source{})
	require.NoError(t, fs.err())
	require.Equal(t, 90*time.Millisecond, c.Channels.Open[0].History)
	require.Equal(t, []string{"10.0.0.0/8", "::1"}, c.TrustedProxies)
	require.Len(t, c.proxies(), 2)
	require.Equal(t, "live", c.apps()[0].Name)
	lines := warnings.Error()
	require.Contains(t, lines, "GOBELIN_BAYEUX_TIMOUT: no such option; did you mean GOBELIN_BAYEUX_TIMEOUT?")
	require.Contains(t, lines, "accounts[0].apps[0].app_key: is 3 bytes, must be at least 32")
	require.NotContains(t, lines, "SERVICE_HOST")

	t.Setenv("GOBELIN_SANDBOX", "false")
	_, _, fs = load(source{})
	require.Len(t, fs, 2, "outside the sandbox short secrets are refused")
}

func TestSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("from the file\n"), 0o600))
	t.Setenv("GOBELIN_TEST_SECRET", "from the environment")
	f := func(written, want string) {
		t.Helper()
		got, err := readSecret(written)
		require.NoError(t, err)
		require.Equal(t, want, got.Reveal())
	}
	f("as it is", "as it is")
	f("file:"+path, "from the file")
	f("env:GOBELIN_TEST_SECRET", "from the environment")
	f("hex:00ff10", "\x00\xff\x10")
	f("base64:AAEC", "\x00\x01\x02")
	for _, bad := range []string{"hex:0g", "base64:***", "env:GOBELIN_TEST_ABSENT", "file:" + path + ".absent", "hex:"} {
		_, err := readSecret(bad)
		require.Error(t, err, bad)
	}
	for _, sample := range []string{
		strings.Repeat("\x11", 32), "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f",
		"jwt-secret-0123456789abcdef01234", "this-is-an-example-secret-of-32-bytes",
	} {
		s, err := readSecret(sample)
		require.NoError(t, err)
		require.Equal(t, "is a sample, not a secret", secretFault(s), sample)
	}
	for range 100 {
		require.Empty(t, secretFault(newSecret()))
	}
}

// What init writes has no fault, neither as it is nor with every comment taken
// away, so that its lines can be used as they stand.
func TestInitialFile(t *testing.T) {
	text := initialFile("main")
	require.Empty(t, told(t, text))
	all := regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`).ReplaceAllString(text, "$1$2")
	require.Empty(t, told(t, all))
	for _, o := range options {
		name := o.key[strings.LastIndex(o.key, ".")+1:]
		require.Regexp(t, `(?m)^ *#?`+name+`:`, text, o.key)
	}
	require.NotEqual(t, text, initialFile("main"), "secrets are new each time")
}

func TestSizes(t *testing.T) {
	f := func(text string, want size, shown string) {
		t.Helper()
		got, err := parseSize(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, shown, got.String())
	}
	f("0", 0, "0")
	f("512", 512, "512")
	f("512B", 512, "512")
	f("64KiB", 64<<10, "64KiB")
	f("1024KiB", 1<<20, "1MiB")
	f("2 GiB", 2<<30, "2GiB")
	f("1537", 1537, "1537")
	for _, bad := range []string{"", "-1", "1MB", "1.5MiB", "9223372036854775807GiB", "KiB", "1 mib"} {
		_, err := parseSize(bad)
		require.Error(t, err, bad)
	}
}

func TestSuggestion(t *testing.T) {
	f := func(written, want string) {
		t.Helper()
		require.Equal(t, want, suggestion(written, []string{"timeout", "transports", "ping"}))
	}
	f("timout", "; did you mean timeout?")
	f("tiemout", "; did you mean timeout?")
	f("Transport", "; did you mean transports?")
	f("pign", "; did you mean ping?")
	f("x", "")
	f("completely", "")
	f("", "")
}

// A secret is never printed: not by `config`, not in a fault.
func TestSecretsAreNotShown(t *testing.T) {
	const planted = "planted-0aZ9-planted-0aZ9-planted-0aZ9"
	path := write(t, "keys: {identity_secret: "+planted+", roots: [{kid: 1, secret: "+planted+"}]}\naccounts: [{apps: [{id: 1, name: a, app_key: "+planted+", token_secret: "+planted+"}]}]\n")
	var out, errs strings.Builder
	run(t.Context(), []string{"config", "--config", path}, strings.NewReader(""), &out, &errs)
	run(t.Context(), []string{"config", "--json", "--config", path}, strings.NewReader(""), &out, &errs)
	run(t.Context(), []string{"check", "--config", path}, strings.NewReader(""), &out, &errs)
	require.Contains(t, out.String(), "***")
	require.Contains(t, errs.String(), "app_key and token_secret must differ")
	require.NotContains(t, out.String()+errs.String(), planted)
}

// README's table is this one. UPDATE_README=1 writes it.
func TestReadmeTable(t *testing.T) {
	requireTable(t, "../../README.md", "config", markdownTable(), "TestReadmeTable")
}

// requireTable holds what stands in a document between the marks of that name against
// a table that test made; with UPDATE_README=1 it is written there.
func requireTable(t *testing.T, path, mark, want, test string) {
	t.Helper()
	begin, end := "<!-- "+mark+" -->", "<!-- /"+mark+" -->"
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, closed := strings.Cut(rest, end)
	require.True(t, ok && closed, "%s has no marks %s for the table", path, begin)
	want = "\n" + want
	if table != want && os.Getenv("UPDATE_README") != "" {
		require.NoError(t, os.WriteFile(path, []byte(before+begin+want+end+after), 0o644))
		return
	}
	require.Equal(t, want, table, "UPDATE_README=1 go test ./cmd/gobelin -run %s writes it", test)
}

func FuzzConfig(f *testing.F) {
	f.Add(initialFile("main"))
	f.Add("channels: {open: [{pattern: /**, publish: anyone}]}")
	f.Add("a: &a\n  <<: *a\n")
	f.Add("keys: {roots: [{kid: 1e3, secret: hex:zz}]}")
	f.Fuzz(func(t *testing.T, text string) {
		// No file: or env: from a fuzzer.
		if strings.Contains(text, "file:") || strings.Contains(text, "env:") {
			t.Skip()
		}
		path := filepath.Join(t.TempDir(), "f.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		c, _, fs := load(source{path: path})
		if fs.err() == nil && c.Keys.IdentitySecret != "" {
			_, err := c.keyring()
			require.NoError(t, err, "what is valid makes a keyring")
		}
	})
}

// What an account signs with is checked like every other secret, and is its own.
func TestAccountKeys(t *testing.T) {
	f := func(accounts string, want ...string) {
		t.Helper()
		apps := 0
		text := regexp.MustCompile(`APPS`).ReplaceAllStringFunc(accounts, func(string) string {
			apps++
			return fmt.Sprintf("apps: [{id: %d, name: n%d, app_key: %s, token_secret: %s}]", apps, apps, newSecret().Reveal(), newSecret().Reveal())
		})
		require.ElementsMatch(t, want, told(t, "store: ./data\naccounts:\n"+strings.ReplaceAll(text, "SECRET", newSecret().Reveal())))
	}
	f("- {cdn: 158, api_key: k1, api_secret: SECRET, APPS}\n- {cdn: 159, api_key: k2, api_secret: SECRET, APPS}\n- {APPS}\n- {APPS}")
	f("- {api_key: k1, APPS}", "file:3: accounts[0].api_secret: is missing")
	f("- {api_secret: SECRET, APPS}", "file:3: accounts[0]: api_key: is missing: it says whose api_secret signs")
	f("- {api_key: k1, api_secret: short, APPS}", "file:3: accounts[0].api_secret: is 5 bytes, must be at least 32: put in the output of `openssl rand -base64 32`")
	f("- {api_key: 'a,b', api_secret: SECRET, APPS}", "file:3: accounts[0]: api_key: must be at most 64 printable ASCII characters without spaces, colons and commas")
	f("- {cdn: 1, api_key: k1, api_secret: SECRET, APPS}\n- {cdn: 1, api_key: k1, api_secret: SECRET, APPS}",
		"file:4: accounts[1]: api_key k1 is there twice", "file:4: accounts[1]: cdn 1 is there twice")
	f("- {cdn: -1, APPS}", "file:3: accounts[0]: cdn: must be at least 0")
}

// FuzzScalar: what is taken for a size, a duration or a network is the same when it is
// written as it is shown; what a refusal proposes instead would be taken.
func FuzzScalar(f *testing.F) {
	for _, s := range []string{
		"1MiB", "512", " 7 KiB", "-1", "9223372036854775807", "8589934592GiB", "1MB", "0x10", "45s", "1h30m", "45", "2d", "0.5e3", "NaN", "Inf",
		"384307168202282326d", "-5", "1e999", "10.0.0.0/8", "::1", "fe80::1%eth0", "::ffff:1.2.3.4/96", "10.0.0.1/33", "+1", "1_000",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseSize(text); err == nil {
			require.GreaterOrEqual(t, int64(n), int64(0))
			again, err := parseSize(n.String())
			require.NoError(t, err)
			require.Equal(t, n, again)
		}
		d, err := parseDuration(text)
		if err == nil {
			again, err := parseDuration(d.String())
			require.NoError(t, err)
			require.Equal(t, d, again)
		} else if _, hint, proposed := strings.Cut(err.Error(), "did you mean "); proposed {
			_, err := parseDuration(strings.TrimSuffix(hint, "?"))
			require.NoError(t, err, hint)
		}
		if p, err := parsePrefix(text); err == nil {
			again, err := parsePrefix(p.String())
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	})
}
