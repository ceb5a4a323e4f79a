package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	vectorSecret = "jwt-secret-0123456789abcdef01234"
	vectorToken  = "eyJhbGciOiJIUzI1NiIsImtpZCI6Imp3dC0xIiwidHlwIjoiSldUIn0.eyJpc3MiOiJhcHA6ZGVtbyIsImF1ZCI6ImdvYmVsaW4iLCJzdWIiOiJ1NDIiLCJyb2xlIjoidmlld2VyIiwiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjE3MDAwMDM2MDAsIm9wYXF1ZV91c2VyX2lkIjoiQTE5NTQyMTgiLCJjaGFubmVsX2lkIjoiMjMxNjEzNTcifQ._zYRPrsa44qz27S7DWsAzMXS2G4rhLg9B9-Nz6YIsps"
	header       = `{"alg":"HS256","typ":"JWT"}`
)

var (
	tokenTime = time.Unix(1_700_000_000, 0)
	demoApp   = Application{ID: 7, Name: "demo", AppKey: "demo-app-key", TokenSecret: vectorSecret}
	otherApp  = Application{ID: 8, Name: "other", AppKey: "other-app-key", TokenSecret: "other-token-secret-0123456789abcdef"}
)

func testTokens(rules TokenRules, now *time.Time) *tokens {
	return newTokens([]Account{{Apps: []Application{demoApp, otherApp}}}, rules, true, func() time.Time { return *now })
}

// mint signs any two texts, however wrong they are.
func mint(secret, header, claims string) string { return mintWith(sha256.New, secret, header, claims) }

func mintWith(h func() hash.Hash, secret, header, claims string) string {
	b := base64.RawURLEncoding
	signed := b.EncodeToString([]byte(header)) + "." + b.EncodeToString([]byte(claims))
	m := hmac.New(h, []byte(secret))
	m.Write([]byte(signed))
	return signed + "." + b.EncodeToString(m.Sum(nil))
}

// claimsText returns good claims with more members behind them.
func claimsText(more string) string {
	return fmt.Sprintf(`{"app":"demo","role":"viewer","channel_id":"c1","exp":%d%s}`, tokenTime.Unix()+600, more)
}

func TestTokenVector(t *testing.T) {
	now := tokenTime
	rules := TokenRules{Issuer: "app:demo", Audience: "gobelin"}
	id, err := testTokens(rules, &now).verify("demo", vectorToken)
	require.NoError(t, err)
	require.Equal(t, "demo", id.App.Name)
	require.Equal(t, RoleViewer, id.Role)
	require.Equal(t, "viewer", id.RoleName)
	require.Equal(t, "23161357", id.ChannelID)
	require.Equal(t, "A1954218", id.OpaqueUserID)
	require.Equal(t, int64(1_700_003_600), id.Expires.Unix())

	at := func(seconds int64, good bool) {
		t.Helper()
		now = time.Unix(seconds, 0)
		_, err := testTokens(rules, &now).verify("demo", vectorToken)
		require.Equal(t, good, err == nil, "%d: %v", seconds, err)
	}
	at(1_700_003_629, true)
	at(1_700_003_630, false)
	at(1_699_999_970, true)
	at(1_699_999_969, false) // iat in the future

	now = tokenTime
	for _, rules := range []TokenRules{{Issuer: "app:dem"}, {Audience: "gobelin2"}} {
		_, err := testTokens(rules, &now).verify("demo", vectorToken)
		require.Error(t, err)
	}
	// It has no claim app: who presents it must name the application.
	_, err = testTokens(TokenRules{}, &now).verify("", vectorToken)
	require.Error(t, err)
	_, err = testTokens(TokenRules{}, &now).verify("other", vectorToken)
	require.Error(t, err)
}

func TestTokenMustFail(t *testing.T) {
	now := tokenTime
	v := testTokens(TokenRules{}, &now)
	good := mint(vectorSecret, header, claimsText(""))
	_, err := v.verify("", good)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	exp := tokenTime.Unix()

	cases := map[string]string{
		"alg none":               mint(vectorSecret, `{"alg":"none"}`, claimsText("")),
		"alg None":               mint(vectorSecret, `{"alg":"None"}`, claimsText("")),
		"alg none unsigned":      strings.Join(strings.Split(mint(vectorSecret, `{"alg":"none"}`, claimsText("")), ".")[:2], ".") + ".",
		"alg HS512":              mintWith(sha512.New, vectorSecret, `{"alg":"HS512"}`, claimsText("")),
		"alg hs256":              mint(vectorSecret, `{"alg":"hs256"}`, claimsText("")),
		"alg missing":            mint(vectorSecret, `{"typ":"JWT"}`, claimsText("")),
		"alg twice":              mint(vectorSecret, `{"alg":"HS256","alg":"HS256"}`, claimsText("")),
		"Alg beside alg":         mint(vectorSecret, `{"alg":"HS256","Alg":"none"}`, claimsText("")),
		"Kelvin kid":             mint(vectorSecret, `{"alg":"HS256","`+"\u212a"+`id":"x"}`, claimsText("")),
		"crit":                   mint(vectorSecret, `{"alg":"HS256","crit":["exp"]}`, claimsText("")),
		"jku":                    mint(vectorSecret, `{"alg":"HS256","jku":"https://x"}`, claimsText("")),
		"x5u":                    mint(vectorSecret, `{"alg":"HS256","x5u":"https://x"}`, claimsText("")),
		"jwk":                    mint(vectorSecret, `{"alg":"HS256","jwk":{}}`, claimsText("")),
		"typ":                    mint(vectorSecret, `{"alg":"HS256","typ":"JWE"}`, claimsText("")),
		"kid number":             mint(vectorSecret, `{"alg":"HS256","kid":1}`, claimsText("")),
		"header no object":       mint(vectorSecret, `["HS256"]`, claimsText("")),
		"empty signature":        parts[0] + "." + parts[1] + ".",
		"no signature":           parts[0] + "." + parts[1],
		"four parts":             good + ".x",
		"padded":                 good + "=",
		"newline in part":        parts[0] + "." + parts[1] + ".\n" + parts[2],
		"standard alphabet":      parts[0] + "." + parts[1] + "." + strings.Repeat("+", 43),
		"signature cut":          good[:len(good)-2],
		"header of another":      base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + parts[1] + "." + parts[2],
		"claims of another":      parts[0] + "." + strings.Split(mint(vectorSecret, header, claimsText(`,"name":"x"`)), ".")[1] + "." + parts[2],
		"other secret":           mint("other-token-secret-0123456789abcdef", header, claimsText("")),
		"too long":               mint(vectorSecret, header, claimsText(`,"x":"`+strings.Repeat("a", maxToken)+`"`)),
		"exp text":               mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":"viewer","exp":"%d"}`, exp+600)),
		"exp 1e400":              mint(vectorSecret, header, `{"app":"demo","role":"viewer","exp":1e400}`),
		"exp null":               mint(vectorSecret, header, `{"app":"demo","role":"viewer","exp":null}`),
		"exp past":               mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":"viewer","exp":%d}`, exp-30)),
		"exp missing":            mint(vectorSecret, header, `{"app":"demo","role":"viewer"}`),
		"exp far":                mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":"viewer","exp":%d}`, exp+86_431)),
		"Exp only":               mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":"viewer","Exp":%d}`, exp+600)),
		"nbf future":             mint(vectorSecret, header, claimsText(fmt.Sprintf(`,"nbf":%d`, exp+31))),
		"iat future":             mint(vectorSecret, header, claimsText(fmt.Sprintf(`,"iat":%d`, exp+31))),
		"nbf text":               mint(vectorSecret, header, claimsText(`,"nbf":"0"`)),
		"Role beside role":       mint(vectorSecret, header, claimsText(`,"Role":"admin"`)),
		"role twice":             mint(vectorSecret, header, claimsText(`,"role":"admin"`)),
		"role escaped":           mint(vectorSecret, header, claimsText(`,"\u0072ole":"admin"`)),
		"role escaped alone":     mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","\u0072ole":"admin","exp":%d}`, exp+600)),
		"role list":              mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":["admin"],"exp":%d}`, exp+600)),
		"role server":            mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":"server","exp":%d}`, exp+600)),
		"role Admin":             mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","role":"Admin","exp":%d}`, exp+600)),
		"role missing":           mint(vectorSecret, header, fmt.Sprintf(`{"app":"demo","exp":%d}`, exp+600)),
		"long s in user_id":      mint(vectorSecret, header, claimsText(`,"u`+"\u017f"+`er_id":"x"`)),
		"unknown claim twice":    mint(vectorSecret, header, claimsText(`,"x":1,"x":1`)),
		"control character":      mint(vectorSecret, header, claimsText(`,"name":"a\u0000b"`)),
		"long name":              mint(vectorSecret, header, claimsText(`,"name":"`+strings.Repeat("a", 201)+`"`)),
		"user_id number":         mint(vectorSecret, header, claimsText(`,"user_id":7`)),
		"invalid UTF-8":          mint(vectorSecret, header, claimsText(",\"name\":\"\xff\"")),
		"tap for a viewer":       mint(vectorSecret, header, claimsText(`,"tap":true`)),
		"tap number":             mint(vectorSecret, header, claimsText(`,"tap":1`)),
		"app unknown":            mint(vectorSecret, header, fmt.Sprintf(`{"app":"nobody","role":"viewer","exp":%d}`, exp+600)),
		"app missing":            mint(vectorSecret, header, fmt.Sprintf(`{"role":"viewer","exp":%d}`, exp+600)),
		"app of another":         mint(vectorSecret, header, fmt.Sprintf(`{"app":"other","role":"viewer","exp":%d}`, exp+600)),
		"signed with the dummy":  mint(string(v.dummy.secret), header, fmt.Sprintf(`{"app":"nobody","role":"admin","exp":%d}`, exp+600)),
		"claims no object":       mint(vectorSecret, header, `[]`),
		"claims nested too deep": mint(vectorSecret, header, claimsText(`,"x":`+strings.Repeat("[", 99)+strings.Repeat("]", 99))),
		"empty":                  "",
		"dots":                   "..",
	}
	for name, token := range cases {
		id, err := v.verify("", token)
		require.Nil(t, id, name)
		var refusal *Error
		require.ErrorAs(t, err, &refusal, name)
		require.Equal(t, 401, refusal.Status(), name)
		require.NotContains(t, refusal.Text, "demo", name)
		// The explanation names a check, and never the secret.
		x := ExplainToken([]Account{{Apps: []Application{demoApp}}}, TokenRules{}, true, "", token, now)
		require.NotEmpty(t, x.Check, name)
		require.NotContains(t, x.Text, vectorSecret, name)
	}
}

func TestTokenForgeriesGetOneAnswer(t *testing.T) {
	now := tokenTime
	v := testTokens(TokenRules{}, &now)
	good := mint(vectorSecret, header, claimsText(""))
	for _, token := range []string{"x", good[:len(good)-4] + "AAAA", mint("guess", header, claimsText("")), mint("guess", header, `{"app":"nobody"}`), mint("guess", header, `{"app":"demo","role":"viewer","exp":1}`)} {
		_, err := v.verify("", token)
		require.Equal(t, errUnauthorized, err)
	}
	// Who holds a genuine token is told what is wrong with it.
	_, err := v.verify("", mint(vectorSecret, header, `{"app":"demo","role":"viewer","exp":1}`))
	require.ErrorContains(t, err, "ended at 1970-01-01T00:00:01Z")
}

func TestTokenAccepted(t *testing.T) {
	now := tokenTime
	v := testTokens(TokenRules{Audience: "gobelin"}, &now)
	exp := tokenTime.Unix()
	good := func(app, claims string) *Identity {
		t.Helper()
		id, err := v.verify(app, mint(vectorSecret, header, claims))
		require.NoError(t, err, claims)
		return id
	}
	// Unknown claims, of whatever shape and spelling, are ignored.
	id := good("demo", claimsText(`,"aud":["x","gobelin"],"allowed_stage":"production","https:\/\/x\/y":{"z":[1,1]},"sub":5,"user_id":"","name":"Zoë 😀","user_ref":"r","jti":"j1"`))
	require.Equal(t, "Zoë 😀", id.Name)
	require.Equal(t, "r", id.UserRef)
	require.Equal(t, "j1", id.JTI)
	id = good("", fmt.Sprintf(`{"aud":"gobelin","app":"demo","role":"participant","exp":%d.5,"nbf":%d,"iat":%d}`, exp+86_400, exp+30, exp))
	require.Equal(t, RoleViewer, id.Role)
	require.Equal(t, "participant", id.RoleName)
	for name, role := range map[string]Role{"moderator": RoleModerator, "broadcaster": RoleBroadcaster, "admin": RoleAdmin} {
		id = good("", fmt.Sprintf(`{"aud":"gobelin","app":"demo","role":%q,"exp":%d}`, name, exp+60))
		require.Equal(t, role, id.Role)
	}
	id = good("", fmt.Sprintf(`{"aud":"gobelin","app":"demo","role":"admin","tap":true,"exp":%d}`, exp+60))
	require.True(t, id.Tap)
}

func TestAuthorization(t *testing.T) {
	now := tokenTime
	v := testTokens(TokenRules{}, &now)
	token := mint(vectorSecret, header, claimsText(""))
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	check := func(h string, want Role) {
		t.Helper()
		id, err := v.authorization(h)
		if want == RoleNone {
			require.Equal(t, errUnauthorized, err, h)
			return
		}
		require.NoError(t, err, h)
		require.Equal(t, want, id.Role)
	}
	check("Bearer "+token, RoleViewer)
	check("bearer  "+token, RoleViewer)
	check("demo "+token, RoleViewer)
	check("other "+token, RoleNone)
	check("nobody "+token, RoleNone)
	check(token, RoleNone)
	check("", RoleNone)
	check("Bearer ", RoleNone)
	check(basic("demo:demo-app-key"), RoleServer)
	check("basic"+basic("demo:demo-app-key")[5:], RoleServer)
	check(basic("demo:demo-app-keyx"), RoleNone)
	check(basic("demo:"), RoleNone)
	check(basic("demo"), RoleNone)
	check(basic("nobody:"), RoleNone)
	check(basic("other:demo-app-key"), RoleNone)
	check("Basic !!!", RoleNone)
	check("Bearer "+strings.Repeat("a", maxAuthorization), RoleNone)

	// An application without a server key has none, also not the empty one.
	none := newTokens([]Account{{Apps: []Application{{ID: 1, Name: "a", TokenSecret: vectorSecret}}}}, TokenRules{}, true, time.Now)
	_, err := none.basic("a", "")
	require.Equal(t, errUnauthorized, err)
}

func TestWeakSecretsVerifyNothing(t *testing.T) {
	bad := func(s Secret, sandbox, good bool) {
		t.Helper()
		require.Equal(t, good, CheckTokenSecret(s, sandbox) == nil, s.Reveal())
		now := tokenTime
		v := newTokens([]Account{{Apps: []Application{{ID: 1, Name: "demo", TokenSecret: s}}}}, TokenRules{}, sandbox, func() time.Time { return now })
		_, err := v.verify("", mint(s.Reveal(), header, claimsText("")))
		require.Equal(t, good, err == nil, s.Reveal())
	}
	bad("", true, false)
	bad("short", false, false)
	bad("short", true, true)
	bad(vectorSecret, false, false)
	bad("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A", true, false)
	bad("1f0e9d8c7b6a59483726150413223140", false, true)
}

func TestRevoke(t *testing.T) {
	now := tokenTime
	v := testTokens(TokenRules{}, &now)
	token := mint(vectorSecret, header, claimsText(`,"jti":"j1"`))
	_, err := v.verify("", token)
	require.NoError(t, err)
	require.NoError(t, v.revoke(otherApp.ID, "j1", now.Add(time.Hour)))
	_, err = v.verify("", token)
	require.NoError(t, err, "another application's token")
	require.NoError(t, v.revoke(demoApp.ID, "j1", now.Add(600*time.Second)))
	_, err = v.verify("", token)
	require.ErrorContains(t, err, "revoked")
	now = now.Add(629 * time.Second) // within the leeway after exp
	_, err = v.verify("", token)
	require.ErrorContains(t, err, "revoked")
	require.Error(t, v.revoke(demoApp.ID, "", now))
	require.Error(t, v.revoke(demoApp.ID, strings.Repeat("j", 201), now))

	for i := range maxRevoked {
		require.NoError(t, v.revoke(99, fmt.Sprint(i), now.Add(time.Minute)))
	}
	require.Equal(t, errRevokedFull, v.revoke(99, "one more", now.Add(time.Minute)))
	require.NoError(t, v.revoke(99, "7", now.Add(2*time.Minute)), "it is there")
	require.NoError(t, v.revoke(98, "one more", now.Add(time.Minute)), "another application has room of its own")
	now = now.Add(time.Hour) // those end, and there is room
	require.NoError(t, v.revoke(99, "one more", now.Add(time.Minute)))
	require.Len(t, v.revoked[99], 1)
}

func TestSignToken(t *testing.T) {
	token, err := SignToken(demoApp, map[string]any{"role": "broadcaster", "channel_id": "c1"}, time.Hour, tokenTime)
	require.NoError(t, err)
	now := tokenTime
	id, err := testTokens(TokenRules{}, &now).verify("", token)
	require.NoError(t, err)
	require.Equal(t, RoleBroadcaster, id.Role)
	require.Equal(t, "c1", id.ChannelID)
	x := ExplainToken([]Account{{Apps: []Application{demoApp}}}, TokenRules{}, true, "", token, tokenTime)
	require.Empty(t, x.Check)
	require.Equal(t, "accepted: role broadcaster of application demo, for object c1; ends in 1h0m0s", x.Text)

	bad := func(claims map[string]any, ttl time.Duration) {
		t.Helper()
		_, err := SignToken(demoApp, claims, ttl, tokenTime)
		require.Error(t, err)
	}
	bad(map[string]any{"role": "boss"}, time.Hour)
	bad(map[string]any{"role": "viewer"}, 25*time.Hour)
	bad(map[string]any{"role": "viewer"}, 0)
	bad(map[string]any{"role": "viewer", "name": "a\nb"}, time.Hour)
	bad(map[string]any{"role": "viewer", "f": func() {}}, time.Hour)
}

func TestExplainToken(t *testing.T) {
	explain := func(app, token, check string, rules TokenRules) {
		t.Helper()
		x := ExplainToken([]Account{{Apps: []Application{demoApp}}}, rules, true, app, token, tokenTime)
		require.Equal(t, check, x.Check, x.Text)
	}
	explain("demo", vectorToken, "", TokenRules{})
	explain("", vectorToken, "app", TokenRules{})
	explain("x", vectorToken, "app", TokenRules{})
	explain("demo", vectorToken+"=", "form", TokenRules{})
	explain("demo", vectorToken[:len(vectorToken)-4]+"AAAA", "signature", TokenRules{})
	explain("demo", vectorToken, "iss", TokenRules{Issuer: "x"})
	explain("demo", vectorToken, "aud", TokenRules{Audience: "x"})
	x := ExplainToken([]Account{{Apps: []Application{demoApp}}}, TokenRules{}, false, "demo", vectorToken, tokenTime)
	require.Equal(t, "secret", x.Check)
}

func FuzzParseToken(f *testing.F) {
	f.Add(header, claimsText(""))
	f.Add(`{"alg":"HS256","kid":"x"}`, claimsText(`,"Role":"admin"`))
	f.Add(header, `{"exp":1e400,"aud":["a",1],"tap":true}`)
	f.Add(header, "{\"name\":\"\\ud800\"}")
	now := tokenTime
	v := testTokens(TokenRules{}, &now)
	f.Fuzz(func(t *testing.T, header, claims string) {
		id, err := v.verify("", mint(vectorSecret, header, claims))
		if err != nil {
			require.Nil(t, id)
			return
		}
		// Whoever gets in is what a strict reader of the claims says as well.
		var c struct {
			App  string `json:"app"`
			Role string `json:"role"`
		}
		var all map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(claims), &all))
		require.NoError(t, json.Unmarshal(all["role"], &c.Role))
		require.NoError(t, json.Unmarshal(all["app"], &c.App))
		require.Equal(t, c.Role, id.RoleName)
		require.Equal(t, "demo", c.App)
		require.Equal(t, roleOf(c.Role), id.Role)
	})
}

func BenchmarkVerify(b *testing.B) {
	now := tokenTime
	v := testTokens(TokenRules{}, &now)
	token := mint(vectorSecret, header, claimsText(""))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.verify("", token); err != nil {
			b.Fatal(err)
		}
	}
}

func TestExactTokens(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	accounts := []Account{{Apps: []Application{{ID: 7, Name: "demo", TokenSecret: "demo-token-secret-0123456789abcdef"}}}}
	token, err := SignToken(accounts[0].Apps[0], map[string]any{"role": "viewer", "channel_id": "a"}, time.Hour, now)
	require.NoError(t, err)
	f := func(exact bool, late time.Duration, want bool) {
		t.Helper()
		tokens := newTokens(accounts, TokenRules{Exact: exact}, false, func() time.Time { return now.Add(time.Hour + late) })
		_, err := tokens.verify("demo", token)
		require.Equal(t, want, err == nil)
	}
	f(false, 29*time.Second, true)
	f(false, 30*time.Second, false)
	f(true, -time.Second, true)
	f(true, 0, false)
}
