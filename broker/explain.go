package broker

import (
	"errors"
	"time"
)

// Explanation says in words what a token is to the broker.
type Explanation struct {
	// Identity is who the token makes of its bearer; nil when it is refused.
	Identity *Identity
	// Check names what failed: "alg", "signature", "exp" …; empty when nothing did.
	Check string
	// Text says what was expected. It never holds a secret, nor anything of the
	// token but its times.
	Text string
}

// ExplainToken checks a token as a broker with these accounts would at now and
// says which check failed, for people who hold the configuration; peers are told
// less (security.md §1.5, §2.3). app is the application named beside the token,
// or "". Revoked tokens are not known here.
func ExplainToken(accounts []Account, rules TokenRules, sandbox bool, app, token string, now time.Time) Explanation {
	return newTokens(accounts, rules, sandbox, func() time.Time { return now }).explain(app, token, now)
}

// explain is ExplainToken for the tokens of a broker.
func (t *tokens) explain(app, token string, now time.Time) Explanation {
	id, err := t.check(app, token)
	var fault *tokenFault
	if errors.As(err, &fault) {
		return Explanation{Check: fault.check, Text: fault.text}
	}
	left := id.Expires.Sub(now).Round(time.Second)
	text := "accepted: role " + id.RoleName + " of application " + id.App.Name
	if id.ChannelID != "" && id.Role < RoleAdmin {
		text += ", for object " + id.ChannelID
	}
	if left > 0 {
		text += "; ends in " + left.String()
	} else {
		text += "; ended, within the leeway of " + tokenLeeway.String()
	}
	return Explanation{Identity: id, Text: text}
}
