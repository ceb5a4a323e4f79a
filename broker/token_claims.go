package broker

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker/exact"
)

// maxClaim bounds the text of a claim, in bytes: it goes into every entry its
// bearer writes (security.md §2.3).
const maxClaim = 200

// tokenDepth bounds the nesting of claims; those that count are not nested.
const tokenDepth = 16

// The claims that are texts, and the others that count. What is like one of them
// by a careless reading is refused, everything else ignored (product.md §3).
var (
	textClaims  = []string{"app", "role", "channel_id", "opaque_user_id", "user_id", "user_ref", "name", "jti", "iss"}
	timeClaims  = []string{"exp", "nbf", "iat"}
	otherClaims = []string{"aud", "tap"}
	knownClaims = slices.Concat(textClaims, timeClaims, otherClaims)
	// headerNames are those of a header that count; refusedNames ask the broker
	// to trust the token about its own key, or not to ignore something.
	headerNames  = []string{"alg", "typ", "kid"}
	refusedNames = []string{"crit", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "b64", "zip", "enc"}
	knownHeaders = slices.Concat(headerNames, refusedNames)
)

// parsedToken is a token whose form is right; nothing in it can be trusted yet.
type parsedToken struct {
	signed    string // the first two parts, as they were signed
	signature []byte
	claims    claims
}

// claims are the claims that count.
type claims struct {
	text map[string]string
	time map[string]int64 // seconds since 1970
	aud  []string
	tap  bool
}

// parseToken takes a JWT apart without trusting anything in it: three parts in
// strict base64url, a header for HS256, and claims of the right types under
// names spelled exactly and once (security.md §2.3).
func parseToken(token string) (*parsedToken, *tokenFault) {
	if len(token) > maxToken {
		return nil, &tokenFault{check: "length", text: fmt.Sprintf("must be at most %d bytes", maxToken)}
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, &tokenFault{check: "form", text: "must be three parts joined by dots"}
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = decodeBase64URL(part); err != nil || len(raw[i]) == 0 {
			return nil, &tokenFault{check: "form", text: fmt.Sprintf("part %d must be base64url without padding", i+1)}
		}
	}
	if fault := checkHeader(raw[0]); fault != nil {
		return nil, fault
	}
	c, fault := decodeClaims(raw[1])
	if fault != nil {
		return nil, fault
	}
	return &parsedToken{signed: token[:len(token)-len(parts[2])-1], signature: raw[2], claims: c}, nil
}

// decodeBase64URL takes one spelling only: the standard decoder skips CR and LF
// even when strict.
func decodeBase64URL(s string) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return nil, errors.New("broker: base64url: character outside the alphabet")
		}
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

// exactMembers reads the members of a part of a token; known names must be
// written exactly, without escapes, once.
func exactMembers(part string, text []byte, known []string) ([]exact.Member, *tokenFault) {
	members, err := exact.Members(text, tokenDepth)
	if err != nil {
		return nil, &tokenFault{check: part, text: "must be one JSON object without duplicates: " + strings.TrimPrefix(err.Error(), "exact: ")}
	}
	for _, m := range members {
		for _, name := range known {
			if exact.Folds(m.Name, name) && (m.Name != name || m.Escaped) {
				return nil, &tokenFault{check: part, text: "a name must be spelled exactly " + name}
			}
		}
	}
	return members, nil
}

// checkHeader accepts HS256 and nothing else. kid is allowed: an application has
// one key, so it selects nothing.
func checkHeader(text []byte) *tokenFault {
	members, fault := exactMembers("header", text, knownHeaders)
	if fault != nil {
		return fault
	}
	alg := ""
	for _, m := range members {
		if slices.Contains(refusedNames, m.Name) {
			return &tokenFault{check: "header", text: m.Name + " is not allowed"}
		}
		if !slices.Contains(headerNames, m.Name) {
			continue
		}
		s, err := exact.Text(m.Value)
		if err != nil || len(s) > maxClaim {
			return &tokenFault{check: "header", text: fmt.Sprintf("%s must be a string of at most %d bytes", m.Name, maxClaim)}
		}
		switch {
		case m.Name == "alg":
			alg = s
		case m.Name == "typ" && !strings.EqualFold(s, "JWT"):
			return &tokenFault{check: "typ", text: "must be JWT"}
		}
	}
	if alg != "HS256" {
		return &tokenFault{check: "alg", text: "must be HS256"}
	}
	return nil
}

// decodeClaims reads the claims that count and checks their types.
func decodeClaims(text []byte) (claims, *tokenFault) {
	c := claims{text: map[string]string{}, time: map[string]int64{}}
	members, fault := exactMembers("claims", text, knownClaims)
	if fault != nil {
		return c, fault
	}
	for _, m := range members {
		if fault := c.take(m); fault != nil {
			return c, fault
		}
	}
	return c, nil
}

// take reads one claim.
func (c *claims) take(m exact.Member) *tokenFault {
	switch {
	case slices.Contains(textClaims, m.Name):
		s, err := exact.Text(m.Value)
		if err != nil || len(s) > maxClaim || !plain(s) {
			return &tokenFault{check: m.Name, text: fmt.Sprintf("%s must be a string of at most %d bytes without control characters", m.Name, maxClaim)}
		}
		c.text[m.Name] = s
	case slices.Contains(timeClaims, m.Name):
		at, err := exact.Seconds(m.Value)
		if err != nil {
			return &tokenFault{check: m.Name, text: m.Name + " must be a number of seconds since 1970"}
		}
		c.time[m.Name] = at
	case m.Name == "tap":
		tap, err := exact.Bool(m.Value)
		if err != nil {
			return &tokenFault{check: "tap", text: "tap must be true or false"}
		}
		c.tap = tap
	case m.Name == "aud":
		aud, err := audience(m.Value)
		if err != nil {
			return &tokenFault{check: "aud", text: "aud must be a string or a list of strings"}
		}
		c.aud = aud
	}
	return nil
}

// audience reads aud, which may be one text or several (RFC 7519 §4.1.3).
func audience(value []byte) ([]string, error) {
	if s, err := exact.Text(value); err == nil {
		return []string{s}, nil
	}
	elements, err := exact.Elements(value, 16)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range elements {
		s, err := exact.Text(e)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// identity checks what the claims say and returns who that is.
func (c claims) identity(app *Application, rules TokenRules, now time.Time) (*Identity, *tokenFault) {
	expires, fault := c.checkTimes(now, rules.leeway())
	if fault != nil {
		return nil, fault
	}
	if rules.Issuer != "" && c.text["iss"] != rules.Issuer {
		return nil, &tokenFault{check: "iss", text: fmt.Sprintf("iss must be %q", rules.Issuer)}
	}
	if rules.Audience != "" && !slices.Contains(c.aud, rules.Audience) {
		return nil, &tokenFault{check: "aud", text: fmt.Sprintf("aud must be or contain %q", rules.Audience)}
	}
	role := roleOf(c.text["role"])
	if role == RoleNone {
		return nil, &tokenFault{check: "role", text: "role must be viewer, participant, moderator, broadcaster or admin"}
	}
	if c.tap && role != RoleAdmin {
		return nil, &tokenFault{check: "tap", text: "tap is for role admin only"}
	}
	return &Identity{
		App: app, Role: role, RoleName: c.text["role"], ChannelID: c.text["channel_id"],
		UserID: c.text["user_id"], OpaqueUserID: c.text["opaque_user_id"], UserRef: c.text["user_ref"], Name: c.text["name"],
		JTI: c.text["jti"], Tap: c.tap, Expires: expires,
	}, nil
}

// leeway is how far the clocks of issuer and broker may be apart.
func (r TokenRules) leeway() time.Duration {
	if r.Exact {
		return 0
	}
	return tokenLeeway
}

// checkTimes checks exp against now, with a leeway, and nbf and iat, and returns exp.
func (c claims) checkTimes(now time.Time, leeway time.Duration) (expires time.Time, fault *tokenFault) {
	exp, there := c.time["exp"]
	if !there {
		return expires, &tokenFault{check: "exp", text: "exp is required"}
	}
	expires = time.Unix(exp, 0)
	switch {
	case !now.Before(expires.Add(leeway)):
		return expires, &tokenFault{check: "exp", text: "the token ended at " + expires.UTC().Format(time.RFC3339)}
	case expires.After(now.Add(maxTokenAge + tokenLeeway)):
		return expires, &tokenFault{check: "exp", text: fmt.Sprintf("exp must be at most %d hours ahead", maxTokenAge/time.Hour)}
	}
	for _, name := range []string{"nbf", "iat"} {
		if at, there := c.time[name]; there && time.Unix(at, 0).After(now.Add(tokenLeeway)) {
			return expires, &tokenFault{check: name, text: name + " is in the future: " + time.Unix(at, 0).UTC().Format(time.RFC3339)}
		}
	}
	return expires, nil
}

// roleOf returns the role that a token may have by this name, else RoleNone:
// server is a key's alone.
func roleOf(name string) Role {
	switch name {
	case "viewer", "participant":
		return RoleViewer
	case "moderator":
		return RoleModerator
	case "broadcaster":
		return RoleBroadcaster
	case "admin":
		return RoleAdmin
	}
	return RoleNone
}
