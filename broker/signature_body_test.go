package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/signed"
	"github.com/stretchr/testify/require"
)

// bodySigners verifies bodies of two accounts, one of which has a number.
func bodySigners(now *time.Time) *tokens {
	return newTokens([]Account{
		{CDN: 158, APIKey: "pk_demo_1", APISecret: signatureSecret, Apps: []Application{demoApp}},
		{APIKey: "pk_two", APISecret: "another secret of 32 bytes......", Apps: []Application{otherApp}},
	}, TokenRules{}, true, func() time.Time { return *now })
}

// signBody signs with the first account's secret.
func signBody(t testing.TB, text string) []byte {
	t.Helper()
	sent, err := signed.Sign([]byte(text), []byte(signatureSecret))
	require.NoError(t, err)
	return sent
}

func failedCheck(t *testing.T, v *tokens, sent []byte) (check BodyCheck, text string) {
	t.Helper()
	_, err := v.body(sent)
	if err == nil {
		return 0, ""
	}
	var f *BodyFault
	require.ErrorAs(t, err, &f)
	return f.Check, f.Text
}

func TestS3Timestamp(t *testing.T) {
	const sentAt = 1_700_000_000
	sent := signBody(t, `{"command":"viewer.log","api_key":"pk_demo_1","timestamp":1700000000,"cdn":158}`)
	f := func(now int64, want BodyCheck) {
		t.Helper()
		at := time.Unix(now, 0)
		check, _ := failedCheck(t, bodySigners(&at), sent)
		require.Equal(t, want, check, now-sentAt)
	}
	f(sentAt, 0)
	f(sentAt+300, 0)
	f(sentAt-300, 0)
	f(sentAt+301, CheckTimestamp)
	f(sentAt-301, CheckTimestamp)
	at := time.Unix(sentAt, 0)
	for _, timestamp := range []string{`"1699999999"`, `1700000000`} {
		check, text := failedCheck(t, bodySigners(&at), signBody(t, `{"api_key":"pk_demo_1","timestamp":`+timestamp+`,"cdn":158}`))
		require.Zero(t, check, text)
	}
	for _, timestamp := range []string{`1.7e9`, `1700000000.0`, `"soon"`, `null`, `""`, `[]`, `9223372036854775807`, `-9223372036854775808`, `99999999999999999999`} {
		check, _ := failedCheck(t, bodySigners(&at), signBody(t, `{"api_key":"pk_demo_1","timestamp":`+timestamp+`,"cdn":158}`))
		require.Equal(t, CheckTimestamp, check, timestamp)
	}
}

// TestS4Order: a body that fails several checks is refused by the first.
func TestS4Order(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v := bodySigners(&now)
	good := `"api_key":"pk_demo_1","timestamp":1700000000,"cdn":158`
	bad := strings.NewReplacer("pk_demo_1", "pk_nobody", "1700000000", "1", "158", "159")
	altered := func(sent []byte) []byte { return []byte(strings.Replace(string(sent), `"x":1`, `"x":2`, 1)) }
	f := func(what string, sent []byte, want BodyCheck) {
		t.Helper()
		check, text := failedCheck(t, v, sent)
		require.Equal(t, want, check, "%s: %s", what, text)
	}
	f("good", signBody(t, `{`+good+`}`), 0)
	f("no JSON, nothing right", []byte(`{`+bad.Replace(good)), CheckJSON)
	f("a member twice", []byte(`{"a":1,"a":1}`), CheckJSON)
	f("array", []byte(`[1]`), CheckJSON)
	f("key before signature", altered(signBody(t, `{"x":1,`+bad.Replace(good)+`}`)), CheckKey)
	f("cdn before signature", altered(signBody(t, `{"x":1,`+strings.Replace(good, "158", "159", 1)+`}`)), CheckKey)
	f("cdn missing", signBody(t, `{"api_key":"pk_demo_1","timestamp":1700000000}`), CheckKey)
	f("key missing", signBody(t, `{"timestamp":1700000000,"cdn":158}`), CheckKey)
	f("key of another type", signBody(t, `{"api_key":7,"timestamp":1700000000,"cdn":158}`), CheckKey)
	f("signature before timestamp", altered(signBody(t, `{"x":1,`+strings.Replace(good, "1700000000", "1", 1)+`}`)), CheckSignature)
	f("signature missing", []byte(`{`+good+`}`), CheckSignature)
	f("signature twice", []byte(`{`+good+`,"signature":"","signature":""}`), CheckSignature)
	f("another account's secret", []byte(strings.Replace(string(signBody(t, `{`+good+`}`)), "pk_demo_1", "pk_two", 1)), CheckKey)
	f("timestamp missing", signBody(t, `{"api_key":"pk_demo_1","cdn":158}`), CheckTimestamp)
}

// TestS5CDN: by either name, equal if both are there, as a number or a text of one.
func TestS5CDN(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	f := func(cdn string, want BodyCheck) {
		t.Helper()
		check, _ := failedCheck(t, bodySigners(&now), signBody(t, `{"api_key":"pk_demo_1","timestamp":1700000000`+cdn+`}`))
		require.Equal(t, want, check, cdn)
	}
	f(`,"cdn":158`, 0)
	f(`,"cdn_id":158`, 0)
	f(`,"cdn":158,"cdn_id":"158"`, 0)
	f(`,"cdn":158,"cdn_id":159`, CheckKey)
	f(`,"cdn":0`, CheckKey)
	f(`,"cdn":158.0`, CheckKey)
	f(``, CheckKey)
	numberless, err := signed.Sign([]byte(`{"api_key":"pk_two","timestamp":1700000000}`), []byte("another secret of 32 bytes......"))
	require.NoError(t, err)
	check, _ := failedCheck(t, bodySigners(&now), numberless)
	require.Zero(t, check)
}

// TestS3Alterations: whatever byte of a signed body is changed, it is refused, and by
// no accident of its time or key alone.
func TestS3Alterations(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	v := bodySigners(&now)
	sent := signBody(t, `{"command":"viewer.log","api_key":"pk_demo_1","timestamp":1700000000,"cdn":158,"app":"demo","url":"a\/b"}`)
	body, err := v.body(sent)
	require.NoError(t, err)
	require.Equal(t, "pk_demo_1", body.Account.APIKey)
	require.Equal(t, `"a\/b"`, string(body.Member("url")))
	require.Nil(t, body.Member("signature"))
	for i := range sent {
		for _, bit := range []byte{1, 0x20} {
			changed := []byte(string(sent))
			changed[i] ^= bit
			_, err := v.body(changed)
			require.Error(t, err, "%q", changed)
		}
	}
}

func TestSignRequest(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	r := signedExample
	header, err := SignRequest(r, "pk_demo_1", signatureSecret, "7f3c9a1e5b2d4860", now)
	require.NoError(t, err)
	require.Equal(t, signedExample.Header, header)
	r = SignedRequest{Method: "GET", Target: "/v1/history?channel=/a"}
	r.Header, err = SignRequest(r, "pk_demo_1", signatureSecret, "", now)
	require.NoError(t, err)
	_, nonce, err := signers(&now).signed(r)
	require.NoError(t, err)
	require.Empty(t, nonce)
	for key, nonce := range map[string]string{"": "", "a,b": "", "k": "short", "pk_demo_1": strings.Repeat("é", 16)} {
		_, err = SignRequest(r, key, signatureSecret, nonce, now)
		require.Error(t, err, "%q %q", key, nonce)
	}
}

func FuzzSignedBody(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	v := bodySigners(&now)
	f.Add(`{"command":"viewer.log","api_key":"pk_demo_1","timestamp":1700000000,"cdn":158}`)
	f.Add(`{"cdn_id":"158", "timestamp":"1700000000" ,"api_key":"pk_demo_1"}`)
	f.Add(fmt.Sprintf(`{"api_key":%q}`, strings.Repeat("k", 300)))
	f.Fuzz(func(t *testing.T, text string) {
		var fault *BodyFault
		if _, err := v.body([]byte(text)); err != nil {
			require.True(t, errors.As(err, &fault))
			require.NotEmpty(t, fault.Text)
			return
		}
		require.Contains(t, text, "signature") // nothing unsigned is taken
	})
}
