package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/spf13/cobra"
)

// signer is the account that a verb signs as.
type signer struct {
	key    string
	Secret broker.Secret // exported, as fmt shows other fields raw
	cdn    int
	apps   []string // names of its applications; nil where they are not known
}

// signerSource are the flags of verbs that sign: an account's key and secret, or the
// configuration that has them.
type signerSource struct {
	keys        keySource
	key, secret string
	cdn         int
}

func (s *signerSource) flags(c *cobra.Command) {
	s.keys.flags(c)
	c.Flags().StringVar(&s.key, "key", "", "the account's api_key (default: $GOBELIN_API_KEY, or the only one of the configuration)")
	c.Flags().StringVar(&s.secret, "secret", "", "where its api_secret is: env:NAME, file:PATH, or - for standard input (default: $GOBELIN_API_SECRET, or the configuration)")
	c.Flags().IntVar(&s.cdn, "cdn", 0, "the account's number, where the configuration is not read")
}

// Names of the environment for who has no configuration at hand.
const (
	envAPIKey    = "GOBELIN_API_KEY"
	envAPISecret = "GOBELIN_API_SECRET"
)

// load returns the account; in is read only where the secret is there.
func (s *signerSource) load(in io.Reader) (signer, error) {
	key := s.key
	if key == "" {
		key = os.Getenv(envAPIKey)
	}
	source := s.secret
	if source == "" && os.Getenv(envAPISecret) != "" {
		source = "env:" + envAPISecret
	}
	if source == "" {
		return s.configured(key)
	}
	if key == "" {
		return signer{}, usage{fmt.Errorf("--key (or $%s) is needed: it says whose secret that is", envAPIKey)}
	}
	secret, err := readSource(source, in)
	if err != nil {
		return signer{}, usage{fmt.Errorf("--secret %w", err)}
	}
	return signer{key: key, Secret: secret, cdn: s.cdn}, nil
}

// readSource reads a secret from where it is, never from the flag itself: who lists this
// machine's processes sees those.
func readSource(source string, in io.Reader) (broker.Secret, error) {
	switch {
	case source == "-":
		text, err := io.ReadAll(io.LimitReader(in, maxSecretFile))
		if err != nil {
			return "", err
		}
		secret := strings.TrimRight(string(text), "\r\n")
		if secret == "" {
			return "", errors.New("is empty")
		}
		return broker.Secret(secret), nil
	case strings.HasPrefix(source, "env:"), strings.HasPrefix(source, "file:"):
		return readSecret(source)
	}
	return "", errors.New("must say where the secret is, env:NAME, file:PATH or -, and not be the secret: others on this machine can read a command line")
}

// configured returns an account of the configuration.
func (s *signerSource) configured(key string) (signer, error) {
	c, err := s.keys.load()
	if err != nil {
		return signer{}, err
	}
	var known []string
	for _, a := range c.Accounts {
		if a.APIKey == "" {
			continue
		}
		if a.APIKey == key {
			found := signer{key: a.APIKey, Secret: a.APISecret, cdn: a.CDN}
			for _, app := range a.Apps {
				found.apps = append(found.apps, app.Name)
			}
			return found, nil
		}
		known = append(known, a.APIKey)
	}
	switch {
	case len(known) == 0:
		return signer{}, errors.New("no account with an api_key: name a configuration that has one with --config, or give --key and --secret")
	case key == "" && len(known) == 1:
		return s.configured(known[0])
	case key == "":
		return signer{}, usage{fmt.Errorf("--key is needed: one of %s", strings.Join(known, ", "))}
	}
	return signer{}, usage{fmt.Errorf("no account has the api_key %q%s", clip(key), suggestion(key, known))}
}
