package broker

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"hash"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/signed"
	"github.com/stretchr/testify/require"
)

// TestThreat42CredentialsTakeEqualWork counts the hashes of each check: an unknown key,
// account or application costs what a wrong signature costs.
func TestThreat42CredentialsTakeEqualWork(t *testing.T) {
	made := 0
	crypto.RegisterHash(crypto.SHA256, func() hash.Hash { made++; return sha256.New() })
	defer crypto.RegisterHash(crypto.SHA256, sha256.New)
	now := time.Unix(1_700_000_000, 0)
	v := signers(&now)
	count := func(f func() error, good bool) int {
		t.Helper()
		before := made
		err := f()
		require.Equal(t, good, err == nil, "%v", err)
		return made - before
	}
	header := func(h string) func() error {
		return func() error {
			r := signedExample
			r.Header = h
			_, _, err := v.signed(r)
			return err
		}
	}
	want := count(header(signedExample.Header), true)
	require.Equal(t, 2, want, "an HMAC is two hashes")
	for _, bad := range []string{
		strings.Replace(signedExample.Header, "pk_demo_1", "pk_nobody", 1), strings.Replace(signedExample.Header, "B4=", "B8=", 1),
		strings.Replace(signedExample.Header, "t=17", "t=27", 1), "", "kid=pk_demo_1", "kid=pk_nobody,t=1,s=x", strings.Repeat("x", 10_000),
	} {
		require.Equal(t, want, count(header(bad), false), bad)
	}

	app := Application{ID: 1, Name: "demo", TokenSecret: "a secret of more than thirty-two bytes"}
	tokens := newTokens([]Account{{Apps: []Application{app, {ID: 2, Name: "weak", TokenSecret: "short"}}}}, TokenRules{}, false, func() time.Time { return now })
	good, err := SignToken(app, map[string]any{"role": "admin"}, time.Hour, now)
	require.NoError(t, err)
	token := func(app, text string) func() error {
		return func() error {
			_, err := tokens.verify(app, text)
			return err
		}
	}
	want = count(token("", good), true)
	require.Equal(t, 2, want)
	foreign, err := SignToken(Application{Name: "nobody", TokenSecret: app.TokenSecret}, map[string]any{"role": "admin"}, time.Hour, now)
	require.NoError(t, err)
	weak, err := SignToken(Application{Name: "weak", TokenSecret: app.TokenSecret}, map[string]any{"role": "admin"}, time.Hour, now)
	require.NoError(t, err)
	for i, bad := range []string{good[:len(good)-2] + "AA", good + "A", foreign, weak, "", "x", "a.b.c", strings.Repeat("x", 10_000), "eyJhbGciOiJub25lIn0.e30.", good[1:]} {
		require.Equal(t, want, count(token("", bad), false), fmt.Sprint(i, " ", bad[:min(len(bad), 50)]))
	}
	require.Equal(t, want, count(token("other", good), false), "an application that is not the token's")

	sent, err := signed.Sign([]byte(`{"command":"viewer.log","api_key":"k","timestamp":1}`), []byte("secret"))
	require.NoError(t, err)
	body, err := signed.Parse(sent)
	require.NoError(t, err)
	for _, secret := range []string{"secret", "another"} {
		require.Equal(t, 2, count(func() error { return body.Verify([]byte(secret)) }, secret == "secret"))
	}
}
