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

func newTokenCommand() *cobra.Command {
	keys := &keySource{}
	var appName, role string
	var ttl time.Duration
	var tap bool
	texts := map[string]*string{}
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
			if err := roleFault(role, *texts["channel_id"]); err != nil {
				return usage{err}
			}
			if ttl < time.Second || ttl > 24*time.Hour {
				return usage{fmt.Errorf("--ttl must be 1s to 24h, is %v", ttl)}
			}
			conf, err := keys.load()
			if err != nil {
				return err
			}
			app, err := conf.app(appName)
			if err != nil {
				return err
			}
			claims := map[string]any{"role": role}
			for claim, text := range texts {
				if *text != "" {
					claims[claim] = *text
				}
			}
			if tap {
				claims["tap"] = true
			}
			if conf.TokenIssuer != "" {
				claims["iss"] = conf.TokenIssuer
			}
			if conf.TokenAudience != "" {
				claims["aud"] = conf.TokenAudience
			}
			token, err := broker.SignToken(app.application(), claims, ttl, time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), token)
			return nil
		}),
	}
	keys.flags(c)
	c.PersistentFlags().StringVar(&appName, "app", "", "application (default: the only one)")
	c.Flags().StringVar(&role, "role", "", strings.Join(roleNames, ", "))
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good, at most 24h")
	c.Flags().BoolVar(&tap, "tap", false, "an admin may listen to /**")
	for _, f := range claimFlags {
		texts[f.claim] = c.Flags().String(f.flag, "", f.doc)
	}
	c.AddCommand(newTokenCheckCommand(keys, &appName))
	return c
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
	return &cobra.Command{
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
			rules := broker.TokenRules{Issuer: conf.TokenIssuer, Audience: conf.TokenAudience}
			said := broker.ExplainToken(conf.accounts(), rules, conf.Sandbox, *appName, strings.TrimSpace(token), time.Now())
			if said.Identity == nil {
				fmt.Fprintf(c.OutOrStdout(), "refused: %s: %s\n", said.Check, said.Text)
				return failure{error: errors.New("the token is refused"), silent: true}
			}
			fmt.Fprintln(c.OutOrStdout(), said.Text)
			return nil
		}),
	}
}
