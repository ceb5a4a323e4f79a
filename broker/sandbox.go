package broker

import "time"

// sandboxTokenLife is how long a token of the sandbox lives: a day of trying out.
const sandboxTokenLife = 12 * time.Hour

// sandboxToken signs a token for an application as its backend would (product.md §5.1,
// M14). Errors: *Error with 4004 outside of a sandbox and for an application that is not
// there, 4000 for claims that no token may have.
func (b *Broker) sandboxToken(app, channelID, role, userID string) (string, error) {
	if !b.opt.Sandbox {
		return "", &Error{Result: 4004, Text: "no such endpoint"}
	}
	claims := map[string]any{"role": role, "channel_id": channelID, "user_id": userID, "opaque_user_id": ""}
	if userID != "" {
		claims["opaque_user_id"] = "U" + userID
	}
	return b.signToken(app, claims, sandboxTokenLife)
}
