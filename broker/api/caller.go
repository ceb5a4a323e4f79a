package api

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/gobelin-broker/gobelin/broker"
)

// signatureHeader signs a request (security.md §2.2).
const signatureHeader = "Gobelin-Signature"

// nonceKey is the context's key for the nonce of a signed request.
type nonceKey struct{}

// vouchedKey is the context's key for a caller whom somebody else has found out.
type vouchedKey struct{}

// WithCaller returns a request whose caller whoever serves it has found out by means of
// its own, such as the gate of the operator's console. Credentials in its headers do not
// count, nor is it charged to anybody's rate. Streams and signed queries have none but
// their own credentials.
func WithCaller(r *http.Request, who *broker.Identity) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), vouchedKey{}, who))
}

// identify verifies the caller's credential and charges the request to it; who
// has none, or a bad one, is charged by address. nil: none was given.
func (a *api) identify(rt route, r *http.Request) (*broker.Identity, error) {
	if rt.open {
		return nil, a.chargeAddress(r)
	}
	if rt.consumer {
		return nil, a.consumer(r)
	}
	if who, known := r.Context().Value(vouchedKey{}).(*broker.Identity); known {
		return who, nil
	}
	headers := r.Header.Values("Authorization")
	signatures := r.Header.Values(signatureHeader)
	switch {
	case len(headers) > 1 || len(signatures) > 1:
		return nil, badRequest("more than one Authorization or %s header", signatureHeader)
	case len(headers) == 1 && len(signatures) == 1:
		return nil, badRequest("either Authorization or %s, not both", signatureHeader)
	case len(signatures) == 1:
		return a.signer(rt, r, signatures[0])
	case len(headers) == 0:
		return nil, a.chargeAddress(r)
	}
	who, err := a.service.Authorize(headers[0])
	if err != nil {
		if limited := a.chargeAddress(r); limited != nil {
			return nil, limited
		}
		return nil, err
	}
	if a.limiter == nil {
		return who, nil
	}
	return who, a.limiter.request(credentialKey(who, headers[0]))
}

// chargeAddress charges the request r to where it comes from.
func (a *api) chargeAddress(r *http.Request) error {
	if a.limiter == nil {
		return nil
	}
	return a.limiter.request(addressKey(a.ClientAddr(r)))
}

// signer verifies a signed request, whose body it has to read for that. What changes
// something may be signed where a second use can be known, and then has a nonce.
func (a *api) signer(rt route, r *http.Request, header string) (*broker.Identity, error) {
	// Charged before the work: a body is read and hashed for whoever sends one.
	if err := a.chargeAddress(r); err != nil {
		return nil, err
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if !reads && !rt.signed {
		return nil, &broker.Error{Result: 4001, Text: "unauthorized: a signature is taken for publishing and reading only"}
	}
	body, err := a.readBody(r)
	if err != nil {
		return nil, err
	}
	who, nonce, err := a.service.AuthorizeSigned(broker.SignedRequest{
		Header: header, Method: r.Method, Target: r.RequestURI, Body: body, App: r.URL.Query().Get("app"),
	})
	switch {
	case err != nil:
		return nil, err
	case !reads && nonce == "":
		return nil, badRequest("%s must have n, 16 to 64 characters, to publish", signatureHeader)
	case !reads && r.Header.Get("Idempotency-Key") != "":
		return nil, badRequest("n of %s is the Idempotency-Key", signatureHeader)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	*r = *r.WithContext(context.WithValue(r.Context(), nonceKey{}, nonce))
	return who, nil
}

// signedNonce returns the nonce of a signed request as an Idempotency-Key that no
// header can be, "" for a request that is not signed.
func signedNonce(r *http.Request) string {
	nonce, _ := r.Context().Value(nonceKey{}).(string)
	if nonce == "" {
		return ""
	}
	return "\x00signed\x00" + nonce
}

// bill returns who pays for the answer to r, whose caller is who; nil: nobody does.
func (a *api) bill(rt route, r *http.Request, who *broker.Identity) *bill {
	if a.limiter == nil || r.Context().Value(vouchedKey{}) != nil {
		return nil
	}
	key := addressKey(a.ClientAddr(r))
	switch h := r.Header.Get("Authorization"); {
	case rt.consumer:
		key = hashKey("t", r.URL.Query().Get("token"))
	case h != "" && who != nil:
		key = credentialKey(who, h)
	}
	return &bill{bucket: a.limiter.find(key), gone: r.Context().Done()}
}

// chargePublish charges n messages to the caller of r, who.
func (a *api) chargePublish(r *http.Request, who *broker.Identity, n int) error {
	if a.limiter == nil || r.Context().Value(vouchedKey{}) != nil {
		return nil
	}
	key := addressKey(a.ClientAddr(r))
	if h := r.Header.Get("Authorization"); h != "" && who != nil {
		key = credentialKey(who, h)
	}
	return a.limiter.publish(key, n)
}
