package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
)

// keysFile is the file in the store's folder that holds the keys made at first
// start (decided.md 23), in the form of the configuration, so that they can be
// moved there.
const keysFile = "keys.yaml"

// devAccountFile holds the account of dev in its folder.
const devAccountFile = "account.yaml"

// folder returns where the store's files are, "" for a store without any.
func (c *config) folder() string {
	if c.Store == "memory:" {
		return ""
	}
	return c.Store
}

// completeKeys fills in the keys a configuration does not name: those kept in the
// data folder, or new ones, which are kept there (mode 0600); for memory: they
// live as long as the process. With make false, missing keys are an error.
func (c *config) completeKeys(make bool) error {
	if c.Keys.IdentitySecret != "" {
		return nil
	}
	var fs faults
	found, err := c.readFragment(keysFile, &fs)
	if err != nil || len(fs) > 0 {
		return errors.Join(err, fs.err())
	}
	if found && c.Keys.IdentitySecret != "" {
		_, bad := c.validate(nil)
		return bad.err()
	}
	if found {
		return fmt.Errorf("keys: %s: names no keys", filepath.Join(c.folder(), keysFile))
	}
	if !make {
		return noKeys(c)
	}
	c.Keys = keysConfig{IdentitySecret: newSecret(), Roots: []rootKey{{Secret: newSecret(), Sign: true}}}
	return c.writeFragment(keysFile, fmt.Sprintf(
		"# Made at first start. Signed roots depend on these keys: keep them, and keep them private.\nkeys:\n  identity_secret: %s\n  roots:\n  - {kid: 0, secret: %s, sign: true}\n",
		c.Keys.IdentitySecret.Reveal(), c.Keys.Roots[0].Secret.Reveal()))
}

func noKeys(c *config) error {
	if c.folder() == "" {
		return errors.New("keys: the configuration names none, and memory: keeps none: set keys.identity_secret and keys.roots")
	}
	return fmt.Errorf("keys: the configuration names none and %s is not there: the server makes it at its first start", filepath.Join(c.folder(), keysFile))
}

// completeDevAccount gives dev an account of its own where none is configured.
// made says that it is new or was kept, so not the operator's.
func (c *config) completeDevAccount(make bool) (made bool, err error) {
	if len(c.Accounts) > 0 {
		return false, nil
	}
	var fs faults
	found, err := c.readFragment(devAccountFile, &fs)
	if err != nil || len(fs) > 0 {
		return false, errors.Join(err, fs.err())
	}
	if found && len(c.Accounts) > 0 {
		_, bad := c.validate(nil)
		return true, bad.err()
	}
	if !make {
		return false, nil
	}
	app := appConfig{ID: 1, Name: "dev", AppKey: newSecret(), TokenSecret: newSecret()}
	c.Accounts = []accountConfig{{Apps: []appConfig{app}}}
	return true, c.writeFragment(devAccountFile, fmt.Sprintf(
		"# Made by gobelin dev.\naccounts:\n- apps:\n  - {id: 1, name: dev, app_key: %s, token_secret: %s}\n",
		app.AppKey.Reveal(), app.TokenSecret.Reveal()))
}

// readFragment reads a piece of configuration from the store's folder; found is
// false when there is none.
func (c *config) readFragment(name string, fs *faults) (found bool, err error) {
	if c.folder() == "" {
		return false, nil
	}
	path := filepath.Join(c.folder(), name)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode().Perm()&0o077 != 0:
		return false, fmt.Errorf("keys: %s can be read by others (mode %v): chmod 600 it", path, info.Mode().Perm())
	}
	readFile(c, path, fs)
	return true, nil
}

// writeFragment writes a file into the store's folder so that it is there whole
// or not at all; without a folder it does nothing.
func (c *config) writeFragment(name, text string) error {
	if c.folder() == "" {
		return nil
	}
	path := filepath.Join(c.folder(), name)
	if err := os.MkdirAll(c.folder(), 0o700); err != nil {
		return err
	}
	// Only the holder of the store's lock writes here, so what an earlier start
	// left half done may go.
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(temporary, text); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(c.folder())
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// keyring builds the ring of the configuration's keys.
func (c *config) keyring() (*channels.Keyring, error) {
	var keys []channels.RootKey
	for _, k := range c.Keys.Roots {
		keys = append(keys, channels.RootKey{KID: uint8(k.KID), Secret: []byte(k.Secret.Reveal()), Sign: k.Sign})
	}
	return channels.NewKeyring([]byte(c.Keys.IdentitySecret.Reveal()), keys, nil)
}

// accounts returns the tenants as the broker wants them.
func (c *config) accounts() []broker.Account {
	var all []broker.Account
	for _, a := range c.Accounts {
		account := broker.Account{CDN: a.CDN, APIKey: a.APIKey, APISecret: a.APISecret, StreamToken: a.StreamToken}
		for _, app := range a.Apps {
			account.Apps = append(account.Apps, app.application())
		}
		all = append(all, account)
	}
	return all
}

func (a appConfig) application() broker.Application {
	return broker.Application{ID: uint32(a.ID), Name: a.Name, AppKey: a.AppKey, TokenSecret: a.TokenSecret}
}

// app returns the application of that name; without a name, the only one.
func (c *config) app(name string) (appConfig, error) {
	apps := c.apps()
	var names []string
	for _, a := range apps {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	switch {
	case len(apps) == 0:
		return appConfig{}, errors.New("no application: the configuration names none")
	case name == "" && len(apps) == 1:
		return apps[0], nil
	case name == "":
		return appConfig{}, usage{fmt.Errorf("--app is needed: one of %s", strings.Join(names, ", "))}
	}
	return appConfig{}, usage{fmt.Errorf("no application %q; there is %s%s", name, strings.Join(names, ", "), suggestion(name, names))}
}
