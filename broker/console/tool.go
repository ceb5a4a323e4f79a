package console

import (
	"context"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
)

// claims are the members of a token that are plain text (product.md §3).
type claims struct {
	Role         string `json:"role"`
	ChannelID    string `json:"channel_id"`
	UserID       string `json:"user_id"`
	OpaqueUserID string `json:"opaque_user_id"`
	UserRef      string `json:"user_ref"`
	Name         string `json:"name"`
	JTI          string `json:"jti"`
}

// makeToken: POST token {"app","role","seconds", and what else of the claims}, a token as
// the application's own backend would sign it.
func makeToken(_ context.Context, c *Console, a asked) (any, error) {
	var body struct {
		App     string `json:"app"`
		Seconds int64  `json:"seconds"`
		claims
	}
	if err := a.into(&body); err != nil {
		return nil, err
	}
	if body.Seconds < 1 || body.Seconds > int64(longToken/time.Second) {
		return nil, badRequest("seconds must be 1 to 86400: a token lives a day at most")
	}
	if body.Role != "admin" && body.ChannelID == "" {
		return nil, badRequest("channel_id is needed: a " + body.Role + " acts on one object")
	}
	all := map[string]any{"role": body.Role}
	for name, text := range map[string]string{
		"channel_id": body.ChannelID, "user_id": body.UserID, "opaque_user_id": body.OpaqueUserID,
		"user_ref": body.UserRef, "name": body.Name, "jti": body.JTI,
	} {
		if text != "" {
			all[name] = text
		}
	}
	token, err := c.opt.Broker.SignToken(body.App, all, time.Duration(body.Seconds)*time.Second)
	return map[string]string{"token": token}, err
}

// verdictView says what a token or a root is.
type verdictView struct {
	Good bool `json:"good"`
	// Check names what failed.
	Check string `json:"check"`
	Text  string `json:"text"`
	// App and ObjectID are those of the object that a root leads to now.
	App      string `json:"app"`
	ObjectID string `json:"object"`
}

// checkToken: POST token/check {"token"[,"app"]}, what it is, or which check it fails.
func checkToken(_ context.Context, c *Console, a asked) (any, error) {
	var body struct {
		App   string `json:"app"`
		Token string `json:"token"`
	}
	if err := a.into(&body); err != nil {
		return nil, err
	}
	said := c.opt.Broker.ExplainToken(body.App, strings.TrimSpace(body.Token))
	return verdictView{Good: said.Identity != nil, Check: said.Check, Text: said.Text}, nil
}

// checkRoot: POST root/check {"root"}, what it is, or why it fails.
func checkRoot(ctx context.Context, c *Console, a asked) (any, error) {
	var body struct {
		Root string `json:"root"`
	}
	if err := a.into(&body); err != nil {
		return nil, err
	}
	root, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(body.Root), "/"), "/")
	v := verdictView{}
	if v.Text, v.Good = c.opt.ExplainRoot(root); !v.Good {
		return v, nil
	}
	o, err := c.opt.Broker.ObjectOf(ctx, root)
	switch refusal := broker.AsError(err); {
	case err == nil:
		v.App, v.ObjectID = o.App.Name, o.ID
	case refusal.Result == broker.ErrNoObject.Result:
		v.Good, v.Text = false, v.Text+"\nbut it leads to no object: that was never made, was deleted, or its roots were reset"
	default:
		return nil, err
	}
	return v, nil
}

// drain: POST drain, hands the node's clients over and stops it.
func drain(_ context.Context, c *Console, _ asked) (any, error) {
	c.opt.Drain()
	return done, nil
}
