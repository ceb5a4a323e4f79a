package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The times of a token (security.md §2.3).
const (
	// maxTokenAge is how far ahead exp may be: a stolen token ends by itself.
	maxTokenAge = 24 * time.Hour
	// tokenLeeway is how far the clocks of issuer and broker may be apart.
	tokenLeeway = 30 * time.Second
)

// Bounds of what a peer can make the verifier work on or hold.
const (
	maxToken         = 8 << 10        // bytes of a JWT (security.md §2.3)
	maxAuthorization = maxToken + 300 // bytes of an Authorization header
	maxRevoked       = 100_000        // tokens of one application on the deny list
)

// errUnauthorized is the one answer to a credential that is not genuine: it does
// not say whether application, key or signature was wrong.
var errUnauthorized = &Error{Result: 4001, Text: "unauthorized: the credential was not accepted"}

// errRevokedFull: the deny list holds maxRevoked tokens of the application that have not
// ended. What one application revokes takes no room from another.
// Rotating the application's token_secret ends all of them.
var errRevokedFull = &Error{Result: 5003, Text: "too many revoked tokens; rotate the token secret"}

// tokens verifies the credentials of product.md §3. Its methods may be called by
// many goroutines at once.
type tokens struct {
	dummy   *appKeys // does the work of an application that is not there
	rules   TokenRules
	sandbox bool
	now     func() time.Time
	secrets atomic.Pointer[secrets] // changed by renew

	mu      sync.Mutex
	revoked map[uint32]map[string]time.Time // guarded by mu; until when, by application and jti
}

// secrets are what credentials are verified with.
type secrets struct {
	apps map[string]*appKeys
	keys map[string]*accountKeys // by api_key
}

// appKeys are the secrets of one application.
type appKeys struct {
	app    *Application // nil in the dummy; its own secrets are those of the start
	secret []byte       // of its tokens
	usable bool         // the secret is good enough to verify with
	server [sha256.Size]byte
	basic  bool // it has a server key
}

// newTokens returns a verifier for the applications of accounts. Secrets that
// CheckTokenSecret refuses verify nothing. now judges the times of tokens.
func newTokens(accounts []Account, rules TokenRules, sandbox bool, now func() time.Time) *tokens {
	t := &tokens{
		dummy:   &appKeys{secret: []byte("no application has this secret 32")},
		rules:   rules,
		sandbox: sandbox,
		now:     now,
		revoked: map[uint32]map[string]time.Time{},
	}
	t.renew(accounts, accounts)
	return t
}

// renew verifies with the secrets of next from now on, which differs from accounts in
// them alone: who is verified is an application of accounts, which others hold, too.
func (t *tokens) renew(accounts, next []Account) {
	s := &secrets{apps: map[string]*appKeys{}, keys: map[string]*accountKeys{}}
	for i := range accounts {
		if a := &next[i]; a.APIKey != "" && a.APISecret != "" {
			s.keys[a.APIKey] = &accountKeys{account: &accounts[i], secret: []byte(a.APISecret.Reveal())}
		}
		for j := range accounts[i].Apps {
			app := &next[i].Apps[j]
			s.apps[app.Name] = &appKeys{
				app:    &accounts[i].Apps[j],
				secret: []byte(app.TokenSecret.Reveal()),
				usable: CheckTokenSecret(app.TokenSecret, t.sandbox) == nil,
				server: sha256.Sum256([]byte(app.AppKey.Reveal())),
				basic:  app.AppKey != "",
			}
		}
	}
	t.secrets.Store(s)
}

// app returns the secrets of the application of that name, nil where there is none.
func (t *tokens) app(name string) *appKeys { return t.secrets.Load().apps[name] }

// account returns the secrets of the account with that api_key, nil where there is none.
func (t *tokens) account(key string) *accountKeys { return t.secrets.Load().keys[key] }

// sampleSecrets stand in documentation, so everybody has them.
var sampleSecrets = []string{"jwt-secret-0123456789abcdef01234"}

// CheckTokenSecret says why tokens cannot be signed with s (security.md §2.3), or
// returns nil. With sandbox, short and sample secrets are taken.
func CheckTokenSecret(s Secret, sandbox bool) error {
	text := s.Reveal()
	switch {
	case text == "":
		return errors.New("broker: token secret: is empty")
	case strings.HasPrefix(text, "-----BEGIN"):
		// A public key is no secret, and a private one must not be shared.
		return errors.New("broker: token secret: is a PEM key; HS256 needs a random text")
	case sandbox:
		return nil
	case len(text) < 32:
		return fmt.Errorf("broker: token secret: %d bytes; must be at least 32", len(text))
	}
	for _, sample := range sampleSecrets {
		if text == sample {
			return errors.New("broker: token secret: is the sample of the documentation")
		}
	}
	return nil
}

// application returns the application of that name, or nil.
func (t *tokens) application(name string) *Application {
	if k := t.app(name); k != nil {
		return k.app
	}
	return nil
}

// applicationByID returns the application of that number, or nil.
func (t *tokens) applicationByID(id uint32) *Application {
	for _, k := range t.secrets.Load().apps {
		if k.app.ID == id {
			return k.app
		}
	}
	return nil
}

// authorization verifies an Authorization header: "<app> <jwt>", "Bearer <jwt>" or
// "Basic <base64>" (product.md §3). Errors are *Error with result 4001.
func (t *tokens) authorization(header string) (*Identity, error) {
	scheme, rest, found := strings.Cut(header, " ")
	if !found || len(header) > maxAuthorization {
		return nil, errUnauthorized
	}
	rest = strings.Trim(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return t.verify("", rest)
	case strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return nil, errUnauthorized
		}
		user, password, found := strings.Cut(string(raw), ":")
		if !found {
			return nil, errUnauthorized
		}
		return t.basic(user, password)
	}
	return t.verify(scheme, rest)
}

// basic verifies an application's server key, in the same time for every user
// and password. Errors are *Error with result 4001.
func (t *tokens) basic(user, password string) (*Identity, error) {
	k := t.app(user)
	if k == nil {
		k = t.dummy
	}
	sum := sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(sum[:], k.server[:]) != 1 || !k.basic {
		return nil, errUnauthorized
	}
	return &Identity{App: k.app, Role: RoleServer, RoleName: "server"}, nil
}

// verify returns the identity in a JWT. app is the application's name as the
// caller gave it, "" to take the claim; where both are given they must be equal.
// Errors are *Error with result 4001: for a token that is not genuine always the
// same, for a genuine one with what is wrong.
func (t *tokens) verify(app, token string) (*Identity, error) {
	id, err := t.check(app, token)
	if err == nil {
		return id, nil
	}
	var fault *tokenFault
	if errors.As(err, &fault) && fault.genuine {
		return nil, &Error{Result: 4001, Text: "unauthorized: " + fault.text}
	}
	return nil, errUnauthorized
}

// tokenFault says which check a token failed and what was expected.
type tokenFault struct {
	check, text string
	genuine     bool // the signature was right, so its holder may be told
}

func (f *tokenFault) Error() string { return "broker: token: " + f.check + ": " + f.text }

// check does the work of verify. The order is that of security.md §2.3: form,
// names, signature, and only then what the claims say.
func (t *tokens) check(app, token string) (*Identity, error) {
	parsed, fault := parseToken(token)
	if fault != nil {
		t.burn(token)
		return nil, fault
	}
	name := parsed.claims.text["app"]
	switch {
	case name == "":
		name = app
	case app != "" && app != name:
		t.burn(token)
		return nil, &tokenFault{check: "app", text: "the claim app differs from the application named beside the token"}
	}
	k := t.app(name)
	if k == nil || !k.usable {
		k = t.dummy
	}
	if !k.genuine(parsed) {
		switch {
		case name == "":
			return nil, &tokenFault{check: "app", text: "the claim app is missing and no application is named beside the token"}
		case t.app(name) == nil:
			return nil, &tokenFault{check: "app", text: "no application of that name is configured"}
		case k == t.dummy:
			return nil, &tokenFault{check: "secret", text: "the application's token_secret is too weak to be used: 32 random bytes are needed"}
		}
		return nil, &tokenFault{check: "signature", text: "must be HMAC-SHA256 of the first two parts with the application's token_secret"}
	}
	id, fault := parsed.claims.identity(k.app, t.rules, t.now())
	if fault != nil {
		fault.genuine = true
		return nil, fault
	}
	if t.isRevoked(k.app.ID, id.JTI) {
		return nil, &tokenFault{check: "jti", text: "the token was revoked", genuine: true}
	}
	return id, nil
}

// burn does the work of a signature check on a token refused before one.
func (t *tokens) burn(token string) {
	t.dummy.genuine(&parsedToken{signed: token[:min(len(token), maxToken)]})
}

// genuine reports whether the token was signed with the application's secret. The
// comparison takes the same time for every signature.
func (k *appKeys) genuine(p *parsedToken) bool {
	err := jwt.SigningMethodHS256.Verify(p.signed, p.signature, k.secret)
	return err == nil && k.app != nil
}

// revoke puts a token of an application on the deny list, where it counts for that one
// only: a jti is its issuer's; until is its exp, or the
// longest a token can live where that is not known. errRevokedFull when there is
// no room.
func (t *tokens) revoke(app uint32, jti string, until time.Time) error {
	if jti == "" || len(jti) > maxClaim {
		return &Error{Result: 4000, Text: fmt.Sprintf("jti must be 1 to %d bytes", maxClaim)}
	}
	now := t.now()
	until = until.Add(tokenLeeway) // as long as the token would be taken
	if last := now.Add(maxTokenAge + 2*tokenLeeway); until.After(last) {
		until = last
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.revoked[app]
	if list == nil {
		list = map[string]time.Time{}
		t.revoked[app] = list
	}
	if _, there := list[jti]; !there && len(list) >= maxRevoked {
		maps.DeleteFunc(list, func(_ string, end time.Time) bool { return !now.Before(end) })
		if len(list) >= maxRevoked {
			return errRevokedFull
		}
	}
	if until.After(list[jti]) {
		list[jti] = until
	}
	return nil
}

// isRevoked reports whether a token is on the deny list.
func (t *tokens) isRevoked(app uint32, jti string) bool {
	if jti == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.revoked[app]
	until, there := list[jti]
	if !there {
		return false
	}
	if !t.now().Before(until) {
		delete(list, jti)
		return false
	}
	return true
}

// SignToken makes a JWT (HS256) for an application: claims are as product.md §3
// names them, app and exp are added. ttl is at most 24 hours. What the broker
// would refuse is an error here.
func SignToken(app Application, claims map[string]any, ttl time.Duration, now time.Time) (string, error) {
	if ttl <= 0 || ttl > maxTokenAge {
		return "", fmt.Errorf("broker: sign token: ttl %v: must be above 0 and at most %v", ttl, maxTokenAge)
	}
	all := jwt.MapClaims{}
	for name, value := range claims {
		all[name] = value
	}
	all["app"] = app.Name
	all["exp"] = now.Add(ttl).Unix()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(app.TokenSecret.Reveal()))
	if err != nil {
		return "", fmt.Errorf("broker: sign token: %w", err)
	}
	t := newTokens([]Account{{Apps: []Application{app}}}, TokenRules{}, true, func() time.Time { return now })
	if _, err := t.check("", token); err != nil {
		// Rules of the broker are not known here: every other check is made.
		return "", fmt.Errorf("broker: sign token: %w", err)
	}
	return token, nil
}
