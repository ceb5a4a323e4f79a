package brokertest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/stretchr/testify/require"
)

// TestSignedPublisher is security.md §2.2 with nothing faked: a second use of a
// signature gets the first answer again and is no second message.
func TestSignedPublisher(t *testing.T) {
	d := newDesk(t, nil)
	const target, body = "/v1/objects/gala/publish", `{"channel":"chat","data":{"text":"hi"}}`
	id := func(header string) string {
		t.Helper()
		w := d.call("POST", target, body, header)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var answer struct{ ID string }
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		return answer.ID
	}
	one := d.sign("POST", target, body)
	first := id(one)
	require.Equal(t, first, id(one))
	require.NotEqual(t, first, id(d.sign("POST", target, body)))
	// The nonce counts, not the signature: signed anew a moment later it is the same.
	const kid, secret = "pk_demo_1", "k7Zr0cXn1pQmE3vT5yUb8dWf2gHjLs4A"
	now := time.Now().Unix()
	at := func(seconds int64, n string) string { return d.signWith(kid, secret, seconds, n, "POST", target, body) }
	again := id(at(now, "nonce-used-twice-0"))
	require.Equal(t, again, id(at(now-5, "nonce-used-twice-0")))

	refused := func(header string, status int) {
		t.Helper()
		require.Equal(t, status, d.call("POST", target, body, header).Code, header)
	}
	refused(at(now-302, "nonce-of-the-past-"), 401)
	refused(at(now+302, "nonce-of-the-future"), 401)
	refused(at(now, ""), 400)
	refused(at(now, "short"), 401)
	refused(d.signWith("pk_other", secret, now, "nonce-of-another-0", "POST", target, body), 401)
	refused(d.signWith("pk_nobody", secret, now, "nonce-of-another-0", "POST", target, body), 401)
	refused(d.signWith("pk_other", "another secret of an account", now, "nonce-of-another-0", "POST", target, body), 404)
	refused(d.sign("POST", "/v1/objects/else/publish", body), 401)
	refused(d.sign("POST", target, body+" "), 401)

	var page struct{ Messages []json.RawMessage }
	w := d.call("GET", "/v1/objects/gala/history?channel=chat", "", d.basic(d.demo))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
	require.Len(t, page.Messages, 3)
}

// TestAuditKeepsSecrets: what real calls leave in the audit log opens nothing.
func TestAuditKeepsSecrets(t *testing.T) {
	d := newDesk(t, nil)
	token := d.tokens()["admin"]
	auth := "Authorization: Bearer " + token
	for _, c := range [][3]string{
		{"GET", "/v1/objects/gala/roots", ""},
		{"POST", "/v1/objects/gala/reset-token", `{"grace_minutes":1}`},
		{"DELETE", "/v1/objects/" + d.root(channels.ClassControl)[1:], ""},
		{"DELETE", "/v1/objects/" + token, ""},
		{"DELETE", "/v1/objects/gala/comments/" + d.comment, ""},
		{"POST", "/v1/tokens/revoke", `{"jti":"a-token-to-be-ended"}`},
	} {
		d.call(c[0], c[1], c[2], auth)
	}
	all := d.audit.All()
	require.Len(t, all, 6)
	for _, e := range all {
		text, err := json.Marshal(e.ContextMap())
		require.NoError(t, err)
		for _, secret := range []string{token, token[len(token)-43:], d.root(channels.ClassControl)[1:], "a-token-to-be-ended", d.comment} {
			require.NotContains(t, string(text), secret)
		}
		require.Contains(t, string(text), `"app":"demo"`)
		require.True(t, strings.HasPrefix(e.LoggerName, "audit"))
	}
}
