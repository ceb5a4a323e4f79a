package brokertest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/api"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// desk is a broker with all its faces and without a network: one account with one
// application, and another's.
type desk struct {
	t       *testing.T
	b       *broker.Broker
	ring    *channels.Keyring
	wire    *bayeux.Server
	api     http.Handler
	demo    broker.Application
	other   broker.Application
	audit   *observer.ObservedLogs
	signed  int // nonces used
	gala    *broker.Object
	comment string // of gala
}

func newDesk(t *testing.T, change func(*broker.Options)) *desk {
	t.Helper()
	s := memory.New(memory.Options{})
	ring, err := channels.NewKeyring(bytes.Repeat([]byte{0x11}, 32), []channels.RootKey{{Secret: bytes.Repeat([]byte{7}, 32), Sign: true}}, nil)
	require.NoError(t, err)
	d := &desk{
		t: t, ring: ring,
		demo:  broker.Application{ID: 12, Name: "demo", AppKey: "demo-app-key", TokenSecret: "demo-token-secret-0123456789abcdef"},
		other: broker.Application{ID: 13, Name: "other", AppKey: "other-app-key", TokenSecret: "other-token-secret-0123456789abcde"},
	}
	open, err := channels.ParsePattern("/open/**")
	require.NoError(t, err)
	o := broker.Options{
		Store: s, Keyring: ring, Logger: zap.NewNop(),
		Open: []broker.OpenPrefix{{Pattern: open, Publish: "anyone", History: time.Hour}},
		Accounts: []broker.Account{
			{APIKey: "pk_demo_1", APISecret: "k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A", Apps: []broker.Application{d.demo}},
			{APIKey: "pk_other", APISecret: "another secret of an account", Apps: []broker.Application{d.other}},
		},
	}
	if change != nil {
		change(&o)
	}
	d.b, err = broker.New(o)
	require.NoError(t, err)
	d.wire = bayeux.NewServer(d.b, bayeux.Options{Logger: zap.NewNop()})
	core, logs := observer.New(zap.DebugLevel)
	d.audit = logs
	d.api = api.New(d.b.Service(), api.Options{Logger: zap.NewNop(), Audit: zap.New(core).Named("audit")})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.b.Run(ctx) }()
	t.Cleanup(func() {
		stop, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		require.NoError(t, d.wire.Shutdown(stop))
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, s.Close())
	})
	d.gala, _, err = d.b.Service().CreateObject(t.Context(), d.app(), broker.ObjectSpec{ID: "gala"})
	require.NoError(t, err)
	c, err := d.b.Comment(t.Context(), &broker.Identity{App: d.app(), Role: broker.RoleViewer, ChannelID: "gala"}, "gala", broker.CommentDraft{Content: "hi"})
	require.NoError(t, err)
	d.comment = c.ID
	return d
}

func (d *desk) app() *broker.Application { return d.b.Service().Application("demo") }

func (d *desk) root(class channels.Class) string {
	return "/" + d.ring.Root(d.gala.OID, class, time.Now())
}

// token signs claims; "exp" may be among them.
func (d *desk) token(app broker.Application, claims map[string]any) string {
	all := map[string]any{"app": app.Name, "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	text, err := json.Marshal(all)
	require.NoError(d.t, err)
	return mint(sha256.New, app.TokenSecret.Reveal(), `{"alg":"HS256","typ":"JWT"}`, string(text))
}

// mint signs any two texts, however wrong they are.
func mint(h func() hash.Hash, secret, header, claims string) string {
	b := base64.RawURLEncoding
	signed := b.EncodeToString([]byte(header)) + "." + b.EncodeToString([]byte(claims))
	m := hmac.New(h, []byte(secret))
	m.Write([]byte(signed))
	return signed + "." + b.EncodeToString(m.Sum(nil))
}

// post sends one Bayeux message and returns its reply.
func (d *desk) post(message map[string]any) (r struct {
	Successful bool
	Error      string
	ClientID   string
	Advice     map[string]any
},
) {
	d.t.Helper()
	text, err := json.Marshal([]any{message})
	require.NoError(d.t, err)
	req := httptest.NewRequest(http.MethodPost, "/faye", bytes.NewReader(text))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	d.wire.ServeHTTP(w, req)
	var all []json.RawMessage
	require.NoError(d.t, json.Unmarshal(w.Body.Bytes(), &all), w.Body.String())
	for _, one := range all {
		if bytes.Contains(one, []byte(`"successful"`)) {
			require.NoError(d.t, json.Unmarshal(one, &r))
		}
	}
	return r
}

func (d *desk) handshake(token string) string {
	m := map[string]any{"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": []string{"long-polling"}}
	if token != "" {
		m["ext"] = map[string]any{"token": token}
	}
	r := d.post(m)
	require.True(d.t, r.Successful, r.Error)
	return r.ClientID
}

// call sends one HTTP request with headers "Name: value".
func (d *desk) call(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	d.api.ServeHTTP(w, r)
	return w
}

func (d *desk) basic(app broker.Application) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(app.Name+":"+app.AppKey.Reveal()))
}

// sign makes a Gobelin-Signature with a nonce of its own.
func (d *desk) sign(method, target, body string) string {
	d.signed++
	n := fmt.Sprintf("nonce-number-%08d", d.signed)
	return d.signWith("pk_demo_1", "k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A", time.Now().Unix(), n, method, target, body)
}

func (d *desk) signWith(kid, secret string, at int64, n, method, target, body string) string {
	sum := sha256.Sum256([]byte(body))
	m := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(m, "GOBELIN-HMAC-SHA256\n%d\n%s\n%s\n%s\n%s", at, n, method, target, hex.EncodeToString(sum[:]))
	nonce := ""
	if n != "" {
		nonce = ",n=" + n
	}
	return fmt.Sprintf("Gobelin-Signature: kid=%s,t=%d%s,s=%s", kid, at, nonce, base64.StdEncoding.EncodeToString(m.Sum(nil)))
}

// tokens are those of the matrix, by column.
func (d *desk) tokens() map[string]string {
	t := map[string]string{}
	for _, role := range []string{"viewer", "moderator", "broadcaster", "admin"} {
		t[role] = d.token(d.demo, map[string]any{"role": role, "channel_id": "gala"})
	}
	t["tap"] = d.token(d.demo, map[string]any{"role": "admin", "tap": true})
	t["foreign"] = d.token(d.demo, map[string]any{"role": "broadcaster", "channel_id": "another"})
	t["otherapp"] = d.token(d.other, map[string]any{"role": "admin", "channel_id": "gala"})
	t["expired"] = d.token(d.demo, map[string]any{"role": "admin", "exp": time.Now().Add(-time.Hour).Unix()})
	t["revoked"] = d.token(d.demo, map[string]any{"role": "admin", "jti": "gone"})
	require.NoError(d.t, d.b.Revoke(d.t.Context(), d.app(), "gone", time.Time{}))
	return t
}

// TestRightsMatrixBayeux is security.md §2.4 and the table of product.md §4 over
// Bayeux: every asker × every operation. The first five ask by a root alone, the
// others with a token and the view root. "+" granted, "3" 403, "4" 404, "T" the token
// is refused.
func TestRightsMatrixBayeux(t *testing.T) {
	d := newDesk(t, nil)
	askers := strings.Fields("view guest control ingest daily viewer moderator broadcaster admin tap foreign otherapp expired revoked")
	classes := map[string]channels.Class{
		"view": channels.ClassView, "guest": channels.ClassGuest, "control": channels.ClassControl, "ingest": channels.ClassIngest, "daily": channels.ClassDaily,
	}
	tokens := d.tokens()
	table := []struct{ operation, want string }{
		//                               view guest control ingest daily | viewer moderator broadcaster admin tap | foreign otherapp expired revoked
		{"subscribe all_json", "                      + + + 3 +   + + + + +   + + T T"},
		{"subscribe all_html", "                      + + + 3 +   + + + + +   + + T T"},
		{"subscribe promoted_json", "                 + + + 3 +   + + + + +   + + T T"},
		{"subscribe promoted_html", "                 + + + 3 +   + + + + +   + + T T"},
		{"subscribe chat", "                          + + + 3 +   + + + + +   + + T T"},
		{"subscribe a/b/c", "                         + + + 3 +   + + + + +   + + T T"},
		{"subscribe *", "                             + + + 3 +   + + + + +   + + T T"},
		{"subscribe **", "                            + + + 3 +   + + + + +   + + T T"},
		{"subscribe events", "                        3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe analytics", "                     3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe presence", "                      3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe stats/live", "                    3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe stats/minute", "                  3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe stats/hour", "                    3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe stats/day", "                     3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe stats/live/catchup/24h", "        3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe stats/minute/catchup/360h", "     3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe all_json/catchup/24h", "          + 3 + 3 +   + + + + +   + + T T"},
		{"subscribe all_html/catchup/24h", "          + 3 + 3 +   + + + + +   + + T T"},
		{"subscribe promoted_json/catchup/24h", "     + 3 + 3 +   + + + + +   + + T T"},
		{"subscribe promoted_html/catchup/24h", "     + 3 + 3 +   + + + + +   + + T T"},
		{"subscribe chat/catchup/24h", "              + 3 + 3 +   + + + + +   + + T T"},
		{"subscribe analytics/catchup/24h", "         3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"subscribe events/catchup/1h", "             3 3 4 3 3   3 3 4 4 4   3 3 T T"},
		{"subscribe presence/catchup/1h", "           3 3 4 3 3   3 3 4 4 4   3 3 T T"},
		{"subscribe /**", "                           3 3 3 3 3   3 3 3 3 +   3 3 T T"},
		{"subscribe /*", "                            3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"subscribe /@12/**", "                       3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"subscribe /open/x", "                       + + + + +   + + + + +   + + T T"},
		{"publish chat", "                            3 3 + + 3   3 3 + + +   3 3 T T"},
		{"publish a/b/c", "                           3 3 + + 3   3 3 + + +   3 3 T T"},
		{"publish events", "                          3 3 + 3 3   3 3 + + +   3 3 T T"},
		{"publish analytics", "                       3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish presence", "                        3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish stats/live", "                      3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish all_json", "                        3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish all_html", "                        3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish promoted_json", "                   3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish promoted_html", "                   3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish chat/catchup/1h", "                 3 3 3 3 3   3 3 3 3 3   3 3 T T"},
		{"publish /open/x", "                         + + + + +   + + + + +   + + T T"},
	}
	for _, row := range table {
		t.Run(row.operation, func(t *testing.T) {
			verb, channel, _ := strings.Cut(row.operation, " ")
			want := strings.Fields(row.want)
			require.Len(t, want, len(askers))
			for i, asker := range askers {
				root, isRoot := classes[asker]
				if !isRoot {
					root = channels.ClassView
				}
				name := channel
				if name[0] != '/' {
					name = d.root(root) + "/" + channel
				}
				m := map[string]any{"clientId": d.handshake(""), "id": "1"}
				if verb == "subscribe" {
					m["channel"], m["subscription"] = "/meta/subscribe", name
				} else {
					m["channel"], m["data"] = name, map[string]any{"event": "x"}
				}
				if !isRoot {
					m["ext"] = map[string]any{"token": tokens[asker]}
				}
				r := d.post(m)
				got := "?"
				switch {
				case r.Successful:
					got = "+"
				case r.Error == "403:token:Invalid token":
					got = "T"
				case r.Error == "403:"+name+":Forbidden channel":
					got = "3"
				case r.Error == "404:"+name+":Catch-up not supported":
					got = "4"
				}
				require.Equal(t, want[i], got, "%s: %s: %s", asker, row.operation, r.Error)
			}
		})
	}
}

// TestRightsMatrixHTTP is the same for HTTP: every asker × every endpoint of this part.
// A digit is the status: 1 is 401, 2 is 200 or 201, 3 is 403, 4 is 404.
func TestRightsMatrixHTTP(t *testing.T) {
	d := newDesk(t, nil)
	tokens := d.tokens()
	askers := strings.Fields("none viewer moderator broadcaster admin server signed foreign otherapp expired revoked")
	table := []struct{ request, body, want string }{
		//                                  none viewer moderator broadcaster admin server signed foreign otherapp expired revoked
		{"POST /v1/objects", `{"type":"live"}`, "                                       1 3 3 3 2 2 1 3 2 1 1"},
		{"GET /v1/objects", "", "                                                       1 3 3 3 2 2 2 3 2 1 1"},
		{"GET /v1/objects/gala", "", "                                                  1 2 2 2 2 2 2 3 4 1 1"},
		{"PATCH /v1/objects/gala", `{"name":"x"}`, "                                    1 3 3 3 2 2 1 3 4 1 1"},
		{"DELETE /v1/objects/never", "", "                                              1 3 3 3 4 4 1 3 4 1 1"},
		{"POST /v1/objects/gala/reset-token", `{"grace_minutes":60}`, "                 1 3 3 3 2 2 1 3 4 1 1"},
		{"GET /v1/objects/gala/roots", "", "                                            1 3 3 3 2 2 2 3 4 1 1"},
		{"GET /v1/objects/gala/presence", "", "                                         1 3 3 2 2 2 2 3 4 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"chat","data":1}`, "              1 3 3 2 2 2 2 3 4 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"events","data":{"event":"x"}}`, "1 3 3 2 2 2 2 3 4 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"analytics","data":{}}`, "        1 3 3 3 3 2 2 3 3 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"all_json","data":{}}`, "         1 3 3 3 3 3 3 3 3 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"promoted_html","data":{}}`, "    1 3 3 3 3 3 3 3 3 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"presence","data":{}}`, "         1 3 3 3 3 3 3 3 3 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"chat/catchup/1h","data":{}}`, "  1 3 3 3 3 3 3 3 3 1 1"},
		{"POST /v1/objects/gala/comments", `{"content":"hi"}`, "                        1 2 2 2 2 2 1 3 4 1 1"},
		{"POST /v1/objects/gala/comments/CID/promote", "", "                            1 3 2 2 2 2 1 3 4 1 1"},
		{"DELETE /v1/objects/gala/comments/CID", "", "                                  1 3 2 2 2 2 1 3 4 1 1"},
		{"GET /v1/objects/gala/history?channel=chat", "", "                             1 2 2 2 2 2 2 3 4 1 1"},
		{"GET /v1/objects/gala/history?channel=analytics", "", "                        1 3 3 2 2 2 2 3 4 1 1"},
		{"GET /v1/objects/gala/history?channel=events", "", "                           1 3 3 4 4 4 4 3 4 1 1"},
		{"GET /v1/objects/gala/history?channel=presence", "", "                         1 3 3 4 4 4 4 3 4 1 1"},
		{"GET /v1/objects/gala/history?channel=stats/live", "", "                       1 3 3 2 2 2 2 3 4 1 1"},
		{"GET /v1/objects/gala/history?channel=stats/day", "", "                        1 3 3 2 2 2 2 3 4 1 1"},
		{"POST /v1/objects/gala/publish", `{"channel":"stats/live","data":{}}`, "       1 3 3 3 3 3 3 3 3 1 1"},
		{"GET /v1/history?channel=/open/x", "", "                                       2 2 2 2 2 2 2 2 2 1 1"},
		{"GET /v1/connections", "", "                                                   1 3 3 3 2 2 2 3 2 1 1"},
		{"DELETE /v1/connections/" + strings.Repeat("0", 40), "", "                     1 3 3 3 4 4 1 3 4 1 1"},
		{"DELETE /v1/connections?user_ref=nobody", "", "                                1 3 3 3 2 2 1 3 2 1 1"},
		{"POST /v1/tokens/revoke", `{"jti":"some"}`, "                                  1 3 3 3 2 2 1 3 2 1 1"},
		{"GET /api/live/list?app=demo", "", "                                           2 2 2 2 2 2 2 2 3 1 1"},
		{"GET /api/photo/list?app=demo", "", "                                          2 2 2 2 2 2 2 2 3 1 1"},
		{"GET /api/live/realtime?live_id=gala", "", "                                   1 3 3 3 2 2 2 3 4 1 1"},
		{"GET /api/live/log?live_id=gala", "", "                                        1 3 2 2 2 2 2 3 4 1 1"},
	}
	for _, row := range table {
		t.Run(row.request+" "+row.body, func(t *testing.T) {
			method, target, _ := strings.Cut(strings.ReplaceAll(row.request, "CID", d.comment), " ")
			want := strings.Fields(row.want)
			require.Len(t, want, len(askers))
			for i, asker := range askers {
				var headers []string
				switch asker {
				case "none":
				case "server":
					headers = []string{d.basic(d.demo)}
				case "signed":
					headers = []string{d.sign(method, target, row.body)}
				default:
					headers = []string{"Authorization: Bearer " + tokens[asker]}
				}
				w := d.call(method, target, row.body, headers...)
				got := map[int]string{200: "2", 201: "2", 401: "1", 403: "3", 404: "4"}[w.Code]
				require.Equal(t, want[i], got, "%s: %d %s", asker, w.Code, w.Body)
			}
		})
	}
}

// TestTokenMustFailEverywhere is the list of security.md §2.3, over HTTP, in a
// handshake and in one message.
func TestTokenMustFailEverywhere(t *testing.T) {
	d := newDesk(t, nil)
	secret, head := d.demo.TokenSecret.Reveal(), `{"alg":"HS256","typ":"JWT"}`
	exp := time.Now().Add(time.Hour).Unix()
	claims := func(format string, args ...any) string {
		return fmt.Sprintf(`{"app":"demo","channel_id":"gala",`+format+`}`, args...)
	}
	good := mint(sha256.New, secret, head, claims(`"role":"admin","exp":%d`, exp))
	parts := strings.Split(good, ".")
	another := strings.Split(mint(sha256.New, secret, `{"alg":"HS256"}`, claims(`"role":"admin","exp":%d`, exp)), ".")
	bad := map[string]string{
		"empty": "", "text": "x.y.z", "alg none": mint(sha256.New, secret, `{"alg":"none"}`, claims(`"role":"admin","exp":%d`, exp)),
		"alg None":          mint(sha256.New, secret, `{"alg":"None"}`, claims(`"role":"admin","exp":%d`, exp)),
		"alg HS512":         mint(sha512.New, secret, `{"alg":"HS512"}`, claims(`"role":"admin","exp":%d`, exp)),
		"empty signature":   parts[0] + "." + parts[1] + ".",
		"no signature":      parts[0] + "." + parts[1],
		"header of another": another[0] + "." + parts[1] + "." + parts[2],
		"exp text":          mint(sha256.New, secret, head, claims(`"role":"admin","exp":"%d"`, exp)),
		"exp 1e400":         mint(sha256.New, secret, head, claims(`"role":"admin","exp":1e400`)),
		"exp past":          mint(sha256.New, secret, head, claims(`"role":"admin","exp":%d`, exp-7200)),
		"exp missing":       mint(sha256.New, secret, head, claims(`"role":"admin"`)),
		"exp far":           mint(sha256.New, secret, head, claims(`"role":"admin","exp":%d`, exp+30*3600)),
		"Role beside role":  mint(sha256.New, secret, head, claims(`"role":"viewer","Role":"admin","exp":%d`, exp)),
		"two roles":         mint(sha256.New, secret, head, claims(`"role":"viewer","role":"admin","exp":%d`, exp)),
		"role escaped":      mint(sha256.New, secret, head, claims(`"\u0072ole":"admin","exp":%d`, exp)),
		"role list":         mint(sha256.New, secret, head, claims(`"role":["admin"],"exp":%d`, exp)),
		"role server":       mint(sha256.New, secret, head, claims(`"role":"server","exp":%d`, exp)),
		"jku":               mint(sha256.New, secret, `{"alg":"HS256","jku":"https://x"}`, claims(`"role":"admin","exp":%d`, exp)),
		"crit":              mint(sha256.New, secret, `{"alg":"HS256","crit":["exp"]}`, claims(`"role":"admin","exp":%d`, exp)),
		"other's secret":    mint(sha256.New, d.other.TokenSecret.Reveal(), head, claims(`"role":"admin","exp":%d`, exp)),
		"unknown app":       mint(sha256.New, secret, head, fmt.Sprintf(`{"app":"nobody","role":"admin","exp":%d}`, exp)),
		"tap of a viewer":   mint(sha256.New, secret, head, claims(`"role":"viewer","tap":true,"exp":%d`, exp)),
		"too long":          good + strings.Repeat("A", 9000),
	}
	try := func(token string) (status int, shake, message string) {
		status = d.call("GET", "/v1/objects", "", "Authorization: Bearer "+token).Code
		r := d.post(map[string]any{"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": []string{"long-polling"}, "ext": map[string]any{"token": token}})
		if shake = r.Error; !r.Successful {
			require.Equal(t, "none", r.Advice["reconnect"], "else Faye tries for ever")
		}
		r = d.post(map[string]any{"channel": "/meta/subscribe", "clientId": d.handshake(""), "subscription": d.root(channels.ClassView) + "/chat", "ext": map[string]any{"token": token}})
		return status, shake, r.Error
	}
	status, shake, message := try(good)
	require.Equal(t, 200, status)
	require.Empty(t, shake+message)
	for name, token := range bad {
		t.Run(name, func(t *testing.T) {
			status, shake, message := try(token)
			require.Equal(t, 401, status)
			require.Equal(t, "403:token:Invalid token", shake)
			require.Equal(t, "403:token:Invalid token", message)
		})
	}
	for _, token := range []any{1, nil, []string{good}, map[string]any{"t": good}} {
		r := d.post(map[string]any{"channel": "/meta/subscribe", "clientId": d.handshake(""), "subscription": d.root(channels.ClassView) + "/chat", "ext": map[string]any{"token": token}})
		require.Equal(t, "403:token:Invalid token", r.Error, "%v", token)
	}
}

// TestBasicServer is HTTP Basic of backends (product.md §3).
func TestBasicServer(t *testing.T) {
	d := newDesk(t, nil)
	try := func(text string, want int) {
		t.Helper()
		got := d.call("GET", "/v1/objects", "", "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(text))).Code
		require.Equal(t, want, got, text)
	}
	try("demo:demo-app-key", 200)
	for _, bad := range []string{"demo:", "demo", ":", ":demo-app-key", "demo:demo-app-key ", "demo:Demo-app-key", "other:demo-app-key", "nobody:demo-app-key", "demo:demo-token-secret-0123456789abcdef"} {
		try(bad, 401)
	}
	require.Equal(t, 401, d.call("GET", "/v1/objects", "", "Authorization: Basic ***").Code)
}

// TestRootsOfEveryClass: what REST hands out works, and as its class says
// (security.md §1.4).
func TestRootsOfEveryClass(t *testing.T) {
	d := newDesk(t, nil)
	var answer struct {
		Roots []struct {
			Class     string
			Channel   string `json:"realtime_channel"`
			ExpiresAt int64  `json:"expires_at"`
		}
	}
	w := d.call("GET", "/v1/objects/gala/roots", "", d.basic(d.demo))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	want := map[string]channels.Class{
		"view": channels.ClassView, "guest": channels.ClassGuest, "control": channels.ClassControl, "ingest": channels.ClassIngest, "daily": channels.ClassDaily,
	}
	require.Len(t, answer.Roots, len(want))
	for _, r := range answer.Roots {
		require.Equal(t, d.root(want[r.Class]), r.Channel, r.Class)
		if r.Class == "daily" {
			left := time.Until(time.Unix(r.ExpiresAt, 0))
			require.Greater(t, left, 23*time.Hour)
			require.LessOrEqual(t, left, 48*time.Hour)
		} else {
			require.Zero(t, r.ExpiresAt)
		}
	}
	w = d.call("GET", "/v1/objects/gala/roots?class=guest", "", d.basic(d.demo))
	answer.Roots = nil
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	require.Len(t, answer.Roots, 1)
	require.Equal(t, 400, d.call("GET", "/v1/objects/gala/roots?class=nope", "", d.basic(d.demo)).Code)
}
