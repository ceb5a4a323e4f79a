package broker

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const signatureSecret = "k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A"

var signedExample = SignedRequest{
	Header: "kid=pk_demo_1,t=1700000000,n=7f3c9a1e5b2d4860,s=W6LUQDTOtWfGh3tRrYhh6P5sgYp/ISp1D0rrgngh+B4=",
	Method: "POST", Target: "/api/v1/publish", Body: []byte(`{"channel":"/video/123/all_json","data":{"text":"hi"}}`),
}

func signers(now *time.Time) *tokens {
	return newTokens([]Account{
		{APIKey: "pk_demo_1", APISecret: signatureSecret, Apps: []Application{demoApp}},
		{APIKey: "pk_two", APISecret: signatureSecret, Apps: []Application{{ID: 20, Name: "one"}, {ID: 21, Name: "two"}}},
		{APIKey: "pk_bare", Apps: []Application{otherApp}},
	}, TokenRules{}, true, func() time.Time { return *now })
}

// TestSignatureVector is the vector of security.md §2.2.
func TestSignatureVector(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	who, nonce, err := signers(&now).signed(signedExample)
	require.NoError(t, err)
	require.Equal(t, "7f3c9a1e5b2d4860", nonce)
	require.Equal(t, RoleServer, who.Role)
	require.Equal(t, "demo", who.App.Name)
	at := func(seconds int64, good bool) {
		t.Helper()
		now = time.Unix(seconds, 0)
		_, _, err := signers(&now).signed(signedExample)
		require.Equal(t, good, err == nil, seconds)
		if !good {
			require.Equal(t, 4001, AsError(err).Result)
		}
	}
	at(1_700_000_300, true)
	at(1_700_000_301, false)
	at(1_699_999_700, true)
	at(1_699_999_699, false)
}

func TestSignatureMustFail(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v := signers(&now)
	refused := func(what string, change func(*SignedRequest)) {
		t.Helper()
		r := signedExample
		change(&r)
		_, _, err := v.signed(r)
		require.Equal(t, errUnauthorized, AsError(err), what)
	}
	refused("method", func(r *SignedRequest) { r.Method = "PUT" })
	refused("target", func(r *SignedRequest) { r.Target += "?app=demo" })
	refused("body", func(r *SignedRequest) { r.Body = append([]byte(" "), r.Body...) })
	refused("no body", func(r *SignedRequest) { r.Body = nil })
	header := signedExample.Header
	for old, with := range map[string]string{
		"kid=pk_demo_1":          "kid=pk_demo_2",
		"kid=pk_demo_1,":         "",
		"kid=":                   "KID=",
		"pk_demo_1":              "pk_bare",
		"t=1700000000":           "t=01700000000",
		"t=17":                   "t=+17",
		"1700000000":             "1700000001",
		"n=7f3c9a1e5b2d4860":     "n=7f3c9a1e5b2d4861",
		"n=7f3c9a1e5b2d4860,":    "",
		"7f3c9a1e5b2d4860":       "7f3c9a1e5b2d486",
		"7f3c9a1e5b2d4860,":      strings.Repeat("7", 65) + ",",
		",n=":                    ", n=",
		"+B4=":                   "+B5=",
		"s=W6LUQDTOtWfGh3tRrYhh": "s=W6LUQDTOtWf\nGh3tRrYhh",
		"B4=":                    "B4",
		"W6LUQ":                  "w6LUQ",
		"+B4=,":                  "+B4=,x=1",
	} {
		refused(old+" → "+with, func(r *SignedRequest) {
			r.Header = strings.Replace(header, old, with, 1) + map[bool]string{true: ",x=1"}[old == "+B4=,"]
		})
	}
	refused("empty", func(r *SignedRequest) { r.Header = "" })
	refused("empty n", func(r *SignedRequest) { r.Header = strings.Replace(header, "7f3c9a1e5b2d4860", "", 1) })
	refused("URL alphabet", func(r *SignedRequest) { r.Header = strings.NewReplacer("/", "_", "+", "-").Replace(header) })
	refused("long", func(r *SignedRequest) { r.Header = header + strings.Repeat(" ", 600) })
	refused("twice", func(r *SignedRequest) { r.Header = header + "," + header })
}

// TestSignatureApplication: an account that has several applications says which.
func TestSignatureApplication(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v := signers(&now)
	sign := func(app string) (*Identity, error) {
		r := SignedRequest{Method: "GET", Target: "/v1/objects?app=" + app, App: app}
		s := signature{kid: "pk_two", t: "1700000000"}
		r.Header = fmt.Sprintf("kid=pk_two,t=1700000000,s=%s", base64.StdEncoding.EncodeToString(s.sign([]byte(signatureSecret), r)))
		who, nonce, err := v.signed(r)
		require.Empty(t, nonce)
		return who, err
	}
	who, err := sign("two")
	require.NoError(t, err)
	require.Equal(t, uint32(21), who.App.ID)
	for _, bad := range []string{"", "demo", "three"} {
		_, err = sign(bad)
		require.Equal(t, 4000, AsError(err).Result, bad)
	}
}

func FuzzParseSignature(f *testing.F) {
	f.Add(signedExample.Header)
	f.Add("kid=a,t=1,s=W6LUQDTOtWfGh3tRrYhh6P5sgYp/ISp1D0rrgngh+B4=")
	f.Fuzz(func(t *testing.T, header string) {
		s, ok := parseSignature(header)
		if !ok {
			return
		}
		n := ""
		if s.n != "" {
			n = ",n=" + s.n
		}
		require.Equal(t, header, "kid="+s.kid+",t="+s.t+n+",s="+base64.StdEncoding.EncodeToString(s.mac), "one spelling")
	})
}

func BenchmarkSigned(b *testing.B) {
	now := time.Unix(1_700_000_000, 0)
	v := signers(&now)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := v.signed(signedExample); err != nil {
			b.Fatal(err)
		}
	}
}
