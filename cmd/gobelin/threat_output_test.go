package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// marks are what no output may have: the secrets, and forms of them.
func marks(more ...string) map[string]string {
	all := map[string]string{}
	add := func(name, text string) {
		all[name] = text
		all[name+" in base64"] = strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(text)), "=")[:20]
		all[name+" in hex"] = hex.EncodeToString([]byte(text))[:30]
	}
	for _, secret := range []string{identitySecret, rootSecret, serverKey, tokenSecret, otherSecret, apiSecret, streamSecret, adminSecret, redisPassword} {
		add(secret[:12], secret[5:])
	}
	for i, text := range more {
		all[fmt.Sprintf("credential %d", i)] = text
	}
	return all
}

const redisPassword = "mark-redispass-Gh7Jk8Lq9Wz0Xe1Cr2Vt3Bn"

// leaks are the marks that a text has, with what is around them.
func leaks(text string, marks map[string]string) (found []string) {
	for name, mark := range marks {
		if at := strings.Index(text, mark); at >= 0 {
			found = append(found, fmt.Sprintf("%s: …%s…", name, text[max(0, at-200):min(len(text), at+len(mark)+50)]))
		}
	}
	return found
}

// clean: a text has none of the marks.
func clean(t *testing.T, where, text string, marks map[string]string) {
	t.Helper()
	for _, leak := range leaks(text, marks) {
		t.Errorf("%s has %s", where, leak)
	}
}

// verb runs a verb of the program and returns both outputs.
func (v *victim) verb(in string, env []string, args ...string) (out, errors string) {
	v.t.Helper()
	c := exec.CommandContext(v.t.Context(), "gobelin", args...)
	c.Dir, c.Stdin = v.t.TempDir(), strings.NewReader(in)
	c.Env = append(os.Environ(), env...)
	var o, e strings.Builder
	c.Stdout, c.Stderr = &o, &e
	_ = c.Run() // some are to fail
	return o.String(), e.String()
}

func (v *victim) configText() string {
	text, err := os.ReadFile(v.config)
	require.NoError(v.t, err)
	return string(text)
}

// TestThreat44NothingLeaks runs everything with secrets that have marks, and looks for
// these, and for whole roots, tokens and signatures, in all that comes out.
func TestThreat44NothingLeaks(t *testing.T) {
	v := startVictim(t, noRates)
	view, control := rootsOf(v)
	good := v.token(`"role":"admin","jti":"a-jti-that-is-revoked"`)
	tail := good[len(good)-43:]
	header := v.signed(time.Now().Unix(), v.nonce(), "POST", "/v1/objects/gala/publish", `{"channel":"chat","data":1}`)
	_, signature, _ := strings.Cut(header, ",s=")
	id := v.join()
	all := marks(view[1:], control[1:], tail, signature, id)
	secrets := marks(tail, signature)
	require.Len(t, leaks(view+control+good+header+id+v.configText()+redisPassword, all), 5+9, "what is there is found")

	answers := v.everything(view, control, good, header, id)
	clean(t, "an answer over HTTP", answers, secrets)
	_, metrics := v.ask("GET", v.admin+"/metrics", "")
	clean(t, "/metrics", metrics, all)
	t.Run("verbs", func(t *testing.T) { v.in(t).verbs(good, all) })
	t.Run("dev", func(t *testing.T) { devKeepsSecrets(t) })

	// The dump of a crash has the stacks of all goroutines.
	require.NoError(t, v.cmd.Process.Signal(syscall.SIGQUIT))
	<-v.ended
	text := v.out.String() + v.errors.String()
	require.Contains(t, text, "SIGQUIT")
	require.Contains(t, text, "goroutine ")
	clean(t, "the log", text, all)
	require.Contains(t, text, "token refused", "what was tried is in the log")
}

// everything asks all kinds of things, with good credentials and bad ones at every
// place, and returns what was answered.
func (v *victim) everything(view, control, token, header, id string) string {
	var answers strings.Builder
	ask := func(method, target, body string, headers ...string) {
		v.t.Helper()
		answer, text := v.ask(method, target, body, headers...)
		fmt.Fprintln(&answers, answer.Status, answer.Header, text)
	}
	const jsonType = "Content-Type: application/json"
	wrong := token[:len(token)-4] + "AAAA"
	for _, channel := range []string{view + "/chat", control + "/events", view + "/chat/catchup/99h", view + "/data/user", strings.ToUpper(control) + "/x"} {
		for _, credential := range []string{"", token, wrong} {
			ext := map[bool]string{true: "", false: `,"ext":{"token":"` + credential + `"}`}[credential == ""]
			ask("POST", "/faye", `[{"channel":"/meta/subscribe","clientId":"`+id+`","subscription":"`+channel+`"`+ext+`},{"channel":"`+channel+`","clientId":"`+id+`","data":{"event":"x"}`+ext+`}]`, jsonType)
		}
	}
	ask("GET", query(strings.Replace(shake, "{", `{"ext":{"token":"`+wrong+`"},`, 1), "cb"), "")
	ask("GET", "/faye"+view+"?token="+token, "", "Accept: text/event-stream")
	for _, authorization := range []string{"Bearer " + token, "Bearer " + wrong, "demo " + wrong, "Basic " + base64.StdEncoding.EncodeToString([]byte("demo:"+serverKey)), "Basic " + base64.StdEncoding.EncodeToString([]byte("demo:"+otherSecret)), "Bearer " + adminSecret} {
		for _, r := range [][3]string{
			{"GET", "/v1/objects/gala", ""},
			{"GET", "/v1/objects" + control, ""},
			{"DELETE", "/v1/objects" + control, ""},
			{"POST", "/v1/objects/gala/publish?token=" + token, `{"channel":"chat","data":1}`},
			{"POST", "/v1/objects/gala/publish", `{"channel":`},
			{"POST", "/v1/publish", `{"messages":[{"channel":"` + view + `/chat","data":1}]}`},
			{"GET", "/v1/objects/gala/history?channel=chat&since=" + token, ""},
			{"POST", "/v1/tokens/revoke", `{"jti":"a-jti-to-end"}`},
			{"GET", "/v1/connections", ""},
			{"GET", "/v1/data/app?object_id=gala", ""},
			{"POST", "/v1/nothing" + control, "{}"},
		} {
			ask(r[0], r[1], r[2], "Authorization: "+authorization, jsonType)
			ask(r[0], v.admin+"/console/api"+r[1], r[2], "Authorization: "+authorization, jsonType)
		}
	}
	ask("POST", "/v1/objects/gala/publish", `{"channel":"chat","data":1}`, header, jsonType)
	ask("POST", "/v1/objects/gala/publish", `{"channel":"chat","data":2}`, header, jsonType)
	for _, t := range []string{streamSecret, "wrong" + streamSecret, token} {
		ask("GET", "/streams?token="+t, "")
		ask("POST", "/streams?token="+t, `{"x":`)
		ask("GET", "/streams/none/connect?token="+t, "")
	}
	ask("POST", "/stable/", `{"command":"viewer.log","api_key":"pk_demo","timestamp":1,"signature":"`+strings.Repeat("A", 43)+`="}`, jsonType)
	ask("POST", v.admin+"/admin/nothing", "", "Authorization: Bearer "+adminSecret)
	ask("POST", v.admin+"/admin/backup", "", "Authorization: Bearer wrong"+adminSecret)
	for _, path := range []string{"/console/", "/console/api/overview", "/readyz", "/healthz"} {
		ask("GET", v.admin+path, "", "Authorization: Bearer "+adminSecret)
	}
	w := v.socket("Authorization: Bearer " + token + "\r\n")
	fmt.Fprintln(&answers, w.say(strings.Replace(shake, "{", `{"ext":{"token":"`+wrong+`"},`, 1))[0].raw)
	ask("POST", "/faye", `{"channel":"/meta/disconnect","clientId":"`+id+`"}`, jsonType)
	return answers.String()
}

// verbs runs those of the program that know secrets, so that they work and so that they
// fail. What root, token and sign print is what they are for.
func (v *victim) verbs(token string, marks map[string]string) {
	t := v.t
	url := "http://" + v.address
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	text := v.configText()
	require.NoError(t, os.WriteFile(broken, []byte(strings.NewReplacer("token: mark", "tokn: mark", "cdn: 158", "cdn: x", "sign: true", "sign: "+rootSecret).Replace(text)+"limits: {batch: "+rootSecret[:3]+"}\n  : :\n"), 0o600))
	doubtful := filepath.Join(t.TempDir(), "doubtful.yaml")
	require.NoError(t, os.WriteFile(doubtful, []byte(strings.NewReplacer("token: mark", "tokn: mark", "cdn: 158", "cdn: x", "token_secret: "+otherSecret, "token_secret: "+otherSecret+"-key").Replace(text)), 0o600))
	redis := "redis://user:" + redisPassword + "@127.0.0.1:1"
	env := []string{"TOKEN=" + token, "ADMIN=" + adminSecret, "WRONG=wrong-" + adminSecret, "SECRET=" + apiSecret}
	quiet := func(args ...string) {
		t.Helper()
		out, errors := v.verb("", env, args...)
		clean(t, "gobelin "+args[0], out+errors, marks)
	}
	for _, config := range []string{v.config, broken, doubtful} {
		quiet("config", "--config", config)
		quiet("config", "--json", "--config", config)
		quiet("check", "--offline", "--json", "--config", config)
		quiet("stats", "--config", config, "--url", url)
	}
	quiet("check", "--config", v.config)
	quiet("check", "--offline", "--config", v.config, "--store", redis)
	quiet("serve", "--config", broken)
	quiet("serve", "--config", v.config, "--store", "redis://user:"+redisPassword+"@x@127.0.0.1:1")
	quiet("copy", v.t.TempDir(), redis)
	quiet("doctor", "--config", v.config, "--listen", "127.0.0.1:0", "--store", "memory:")
	quiet("config", "--store", redis, "--config", v.config)
	quiet("stats", "--key", "pk_demo", "--secret", "env:SECRET", "--cdn", "158", "--app", "demo", "--url", url)
	quiet("stats", "--key", "pk_demo", "--secret", "env:WRONG", "--cdn", "158", "--app", "demo", "--url", url)
	quiet("doctor", "--config", v.config, "--listen", "127.0.0.1:0", "--store", redis)
	quiet("copy", redis, t.TempDir())
	quiet("sign", "--key", "pk_demo", "--secret", apiSecret) // not from a flag
	quiet("top", "--admin", v.admin, "--token", "env:ADMIN", "--count", "1", "--json")
	quiet("top", "--admin", v.admin, "--token", "env:WRONG", "--count", "1")
	quiet("drain", "--admin", v.admin, "--token", "env:WRONG")
	quiet("backup", filepath.Join(t.TempDir(), "b.tar"), "--admin", v.admin, "--token", "env:ADMIN")
	quiet("backup", filepath.Join(t.TempDir(), "b.tar"), "--admin", v.admin, "--token", adminSecret)
	quiet("pub", "/open/x", "1", "--url", url+"/faye", "--token", "env:TOKEN")
	quiet("pub", "/members/x", "{", "--url", url+"/faye", "--token", token)
	quiet("pub", "/open/x", "1", "--url", url+"/faye", "--token", token+"x")
	quiet("bench", "publish", "--conns", "1", "--duration", "100ms", "--warm-up", "0s", "--url", url+"/faye", "--token", "env:TOKEN", "--channel", "/open/bench", "--json")
	for _, args := range [][]string{
		{"root", "gala", "--config", v.config, "--app", "none"},
		{"token", "--role", "viewer", "--config", v.config},
		{"token", "check", token + "x", "--config", v.config},
		{"root", "check", v.root(channels.ClassControl)[1:40] + "x", "--config", v.config},
		{"sign", "--key", "none", "--config", v.config},
	} {
		_, errors := v.verb("{}", env, args...)
		clean(t, "gobelin "+strings.Join(args[:1], " "), errors, marks)
	}
}

// devKeepsSecrets: dev prints the account it has made, and nothing of its keys; of what
// it was given it prints nothing.
func devKeepsSecrets(t *testing.T) {
	dir := t.TempDir()
	c := exec.CommandContext(t.Context(), "gobelin", "dev", "--no-demo", "--listen", "127.0.0.1:0", "--data", dir)
	c.Env = append(os.Environ(), "GOBELIN_ADMIN_TOKEN="+adminSecret, "GOBELIN_LOG_LEVEL=debug")
	said := new(transcript)
	c.Stdout, c.Stderr = said, said
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "dev mode:") }, time.Minute, 20*time.Millisecond)
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	_ = c.Wait()
	all := map[string]string{"the token it was given": adminSecret}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || filepath.Base(file) != keysFile {
			continue
		}
		for _, word := range strings.FieldsFunc(string(text), func(r rune) bool { return strings.ContainsRune(" \n,{}\":", r) }) {
			if len(word) >= 32 {
				all["a key of "+filepath.Base(file)] = word
			}
		}
	}
	require.Greater(t, len(all), 1, "%v", files)
	clean(t, "dev", said.String(), all)
}
