package broker

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker/signed"
)

// signatureWindow is how far the time of a signature may be from the broker's
// (security.md §2.2).
const signatureWindow = 300 * time.Second

// Bounds of a Gobelin-Signature header.
const (
	maxSignature      = 512 // bytes
	maxSignatureKID   = 200
	minSignatureNonce = 16
	maxSignatureNonce = 64
)

// SignedRequest is what a Gobelin-Signature is about (security.md §2.2).
type SignedRequest struct {
	// Header is the header's value: kid=…,t=…[,n=…],s=….
	Header string
	// Method and Target are those of the request line, as sent.
	Method, Target string
	Body           []byte
	// App names the application; "" for the only one of the account.
	App string
}

// accountKeys sign for a whole account.
type accountKeys struct {
	account *Account
	secret  []byte
}

// signature is a header, taken apart.
type signature struct {
	kid, t, n string
	mac       []byte
}

// signed verifies a signed request. Every failure gives one answer after the same
// work; only the holder of the secret is told what else is missing.
func (t *tokens) signed(r SignedRequest) (who *Identity, nonce string, err error) {
	s, formed := parseSignature(r.Header)
	k := t.account(s.kid)
	secret := t.dummy.secret
	if k != nil {
		secret = k.secret
	}
	good := hmac.Equal(s.sign(secret, r), s.mac)
	if !good || !formed || k == nil {
		return nil, "", errUnauthorized
	}
	seconds, err := strconv.ParseInt(s.t, 10, 64)
	if err != nil {
		return nil, "", errUnauthorized
	}
	if d := t.now().Sub(time.Unix(seconds, 0)); d < -signatureWindow || d > signatureWindow {
		return nil, "", &Error{Result: 4001, Text: "unauthorized: t must be within 300 seconds of the broker's clock"}
	}
	app := k.application(r.App)
	if app == nil {
		return nil, "", &Error{Result: 4000, Text: "the parameter app must name an application of the account that signs"}
	}
	return &Identity{App: t.application(app.Name), Role: RoleServer, RoleName: "server"}, s.n, nil
}

// SignRequest returns the Gobelin-Signature of a request with an account's api_key and
// api_secret: r.Header and r.App do not count. nonce is 16 to 64 characters of
// A-Z a-z 0-9 _ -, or "" for a request that only reads. It errs for a key or nonce that
// no header can have.
func SignRequest(r SignedRequest, apiKey string, secret Secret, nonce string, at time.Time) (string, error) {
	s := signature{kid: apiKey, t: strconv.FormatInt(at.Unix(), 10), n: nonce}
	header := "kid=" + s.kid + ",t=" + s.t
	if nonce != "" {
		header += ",n=" + nonce
	}
	header += ",s=" + base64.StdEncoding.EncodeToString(s.sign([]byte(secret.Reveal()), r))
	if _, ok := parseSignature(header); !ok {
		return "", fmt.Errorf("broker: sign request: api_key must be 1 to %d characters without a comma, a nonce %d to %d of A-Z a-z 0-9 _ -",
			maxSignatureKID, minSignatureNonce, maxSignatureNonce)
	}
	return header, nil
}

// application returns one of the account's applications, or nil.
func (k *accountKeys) application(name string) *Application {
	apps := k.account.Apps
	if name == "" && len(apps) == 1 {
		return &apps[0]
	}
	for i := range apps {
		if apps[i].Name == name && name != "" {
			return &apps[i]
		}
	}
	return nil
}

// sign returns the HMAC of the six lines.
func (s signature) sign(secret []byte, r SignedRequest) []byte {
	body := sha256.Sum256(r.Body)
	h := hmac.New(crypto.SHA256.New, secret)
	h.Write([]byte(strings.Join([]string{"GOBELIN-HMAC-SHA256", s.t, s.n, r.Method, r.Target, hex.EncodeToString(body[:])}, "\n")))
	return h.Sum(nil)
}

// parseSignature reads kid=…,t=…[,n=…],s=… in this order; there is one spelling of
// everything. ok is false for what is not so; the parts are then good for nothing.
func parseSignature(header string) (s signature, ok bool) {
	if len(header) > maxSignature {
		return signature{}, false
	}
	parts := strings.Split(header, ",")
	if len(parts) == 3 {
		parts = append(parts[:2:2], "n=", parts[2])
	} else if len(parts) == 4 && parts[2] == "n=" {
		return signature{}, false
	}
	if len(parts) != 4 {
		return signature{}, false
	}
	var values [4]string
	for i, name := range []string{"kid=", "t=", "n=", "s="} {
		v, there := strings.CutPrefix(parts[i], name)
		if !there {
			return signature{}, false
		}
		values[i] = v
	}
	s = signature{kid: values[0], t: values[1], n: values[2]}
	mac, ok := signed.ReadMAC(values[3])
	if !ok {
		return signature{}, false
	}
	s.mac = mac
	if s.kid == "" || len(s.kid) > maxSignatureKID || len(s.t) == 0 || len(s.t) > 12 || len(s.t) > 1 && s.t[0] == '0' {
		return signature{}, false
	}
	if s.n != "" && (len(s.n) < minSignatureNonce || len(s.n) > maxSignatureNonce) {
		return signature{}, false
	}
	return s, only(s.t, "0123456789") && only(s.n, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
}

// only reports whether s has no byte outside an alphabet.
func only(s, alphabet string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(alphabet, r) })
}
