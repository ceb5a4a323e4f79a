package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/spf13/cobra"
)

// claimFlags are the claims of product.md §3 that are plain text.
var claimFlags = []struct{ flag, claim, doc string }{
	{"channel", "channel_id", "the object it acts on (roles below admin need one)"},
	{"user", "user_id", "the user's id, shared with the object's owner"},
	{"opaque-user", "opaque_user_id", "the user's id for others"},
	{"user-ref", "user_ref", "your own reference of the user"},
	{"name", "name", "the name shown with what the user writes"},
	{"jti", "jti", "an id by which it can be revoked"},
}

var roleNames = []string{"viewer", "participant", "moderator", "broadcaster", "admin"}

// tokenMaker holds the flags of `token`.
type tokenMaker struct {
	keys      *keySource
	app, role string
	ttl       time.Duration
	tap       bool
	texts     map[string]*string // by claim
}

func newTokenCommand() *cobra.Command {
	m := &tokenMaker{keys: &keySource{}, texts: map[string]*string{}}
	var asJSON bool
	c := &cobra.Command{
		Use:   "token --role ROLE",
		Short: "Make a token (JWT) for a user",
		Long: `Makes a JWT signed with an application's token_secret. It is sent as ext.token of
a handshake, or over HTTP as "Authorization: Bearer <token>".`,
		Example: `  gobelin token --role viewer --channel live-123 --user 42 --ttl 1h
  gobelin token --role admin --config gobelin.yaml --app main --ttl 10m
  gobelin token check "$(gobelin token --role viewer --channel live-123)"`,
		Args: cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			token, err := m.make(time.Now())
			switch {
			case err != nil:
			case asJSON:
				err = printJSON(c.OutOrStdout(), map[string]string{"token": token})
			default:
				_, err = fmt.Fprintln(c.OutOrStdout(), token)
			}
			return err
		}),
	}
	m.keys.flags(c)
	c.PersistentFlags().StringVar(&m.app, "app", "", "application (default: the only one)")
	c.Flags().StringVar(&m.role, "role", "", strings.Join(roleNames, ", "))
	c.Flags().DurationVar(&m.ttl, "ttl", time.Hour, "how long it is good, at most 24h")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	c.Flags().BoolVar(&m.tap, "tap", false, "an admin may listen to /**")
	for _, f := range claimFlags {
		m.texts[f.claim] = c.Flags().String(f.flag, "", f.doc)
	}
	c.AddCommand(newTokenCheckCommand(m.keys, &m.app))
	return c
}

// make returns the token that the flags describe.
func (m *tokenMaker) make(now time.Time) (string, error) {
	if err := roleFault(m.role, *m.texts["channel_id"]); err != nil {
		return "", usage{err}
	}
	if m.ttl < time.Second || m.ttl > 24*time.Hour {
		return "", usage{fmt.Errorf("--ttl must be 1s to 24h, is %v", m.ttl)}
	}
	conf, err := m.keys.load()
	if err != nil {
		return "", err
	}
	app, err := conf.app(m.app)
	if err != nil {
		return "", err
	}
	claims := map[string]any{"role": m.role}
	for claim, text := range m.texts {
		if *text != "" {
			claims[claim] = *text
		}
	}
	if m.tap {
		claims["tap"] = true
	}
	if conf.TokenIssuer != "" {
		claims["iss"] = conf.TokenIssuer
	}
	if conf.TokenAudience != "" {
		claims["aud"] = conf.TokenAudience
	}
	return broker.SignToken(app.application(), claims, m.ttl, now)
}

func roleFault(role, channel string) error {
	for _, r := range roleNames {
		if r == role {
			if channel == "" && role != "admin" {
				return fmt.Errorf("--channel is needed: a %s acts on one object", role)
			}
			return nil
		}
	}
	if role == "" {
		return fmt.Errorf("--role is needed: one of %s", strings.Join(roleNames, ", "))
	}
	return fmt.Errorf("--role %q is none of %s%s", clip(role), strings.Join(roleNames, ", "), suggestion(role, roleNames))
}

func newTokenCheckCommand(keys *keySource, appName *string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check TOKEN",
		Short: "Say whether a token is accepted, or which check it fails",
		Long:  `Checks a token as the server would. "-" reads it from standard input, which keeps it out of the shell's history.`,
		Example: `  gobelin token check eyJhbGciOi…
  pbpaste | gobelin token check - --config gobelin.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(c *cobra.Command, args []string) error {
			token := args[0]
			if token == "-" {
				text, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 64<<10))
				if err != nil {
					return err
				}
				token = string(text)
			}
			conf, err := keys.load()
			if err != nil {
				return err
			}
			if len(conf.apps()) == 0 {
				_, err := conf.app("")
				return err
			}
			rules := broker.TokenRules{Issuer: conf.TokenIssuer, Audience: conf.TokenAudience, Exact: conf.Sandbox}
			said := broker.ExplainToken(conf.accounts(), rules, conf.Sandbox, *appName, strings.TrimSpace(token), time.Now())
			if said.Identity == nil {
				err := failure{error: errors.New("the token is refused"), silent: true}
				return explained(c.OutOrStdout(), fmt.Sprintf("refused: %s: %s\n", said.Check, said.Text), err, asJSON)
			}
			return explained(c.OutOrStdout(), said.Text+"\n", nil, asJSON)
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}
