package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
)

// keysFile is the file in the store's folder that holds the keys made at first
// start (decided.md 23), in the form of the configuration, so that they can be
// moved there.
const keysFile = "keys.yaml"

// devAccountFile holds the account of dev in its folder.
const devAccountFile = "account.yaml"

// devFolder is where dev keeps its secrets when its store is a Redis: two dev
// nodes on one machine find the same there (experience.md §1.5).
const devFolder = ".gobelin"

// folder returns where the secrets are that were made at first start: the store's
// folder, with dev on Redis one of their own; "" where there is none.
func (c *config) folder() string {
	if c.Store.kind() == kindDisk {
		return string(c.Store)
	}
	return c.secrets
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
	if !make || c.folder() == "" && c.Store.kind() == kindRedis {
		return noKeys(c)
	}
	c.Keys.IdentitySecret, c.Keys.Roots = newSecret(), []rootKey{{Secret: newSecret(), Sign: true}}
	err = c.writeFragment(keysFile, fmt.Sprintf(
		"# Made at first start. Signed roots depend on these keys: keep them, and keep them private.\nkeys:\n  identity_secret: %s\n  roots:\n  - {kid: 0, secret: %s, sign: true}\n",
		c.Keys.IdentitySecret.Reveal(), c.Keys.Roots[0].Secret.Reveal()))
	if errors.Is(err, os.ErrExist) { // another node was first
		c.Keys.IdentitySecret, c.Keys.Roots = "", nil
		return c.completeKeys(false)
	}
	return err
}

// keysOnRedis says why keys are not made there (decided.md 23).
const keysOnRedis = "with a store on Redis all nodes need the same keys, so none are made at first start: set keys.identity_secret and keys.roots (gobelin init makes some)"

func noKeys(c *config) error {
	if c.Store.kind() == kindRedis && c.folder() == "" {
		return errors.New("keys: " + keysOnRedis)
	}
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
	account := accountConfig{CDN: 1, APIKey: "dev", APISecret: newSecret(), Apps: []appConfig{app}}
	c.Accounts = []accountConfig{account}
	err = c.writeFragment(devAccountFile, fmt.Sprintf(
		"# Made by gobelin dev.\naccounts:\n- cdn: 1\n  api_key: dev\n  api_secret: %s\n  apps:\n  - {id: 1, name: dev, app_key: %s, token_secret: %s}\n",
		account.APISecret.Reveal(), app.AppKey.Reveal(), app.TokenSecret.Reveal()))
	if errors.Is(err, os.ErrExist) { // another node was first
		c.Accounts = nil
		return c.completeDevAccount(false)
	}
	return true, err
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

// fragmentWait bounds how long a start waits for another one that is writing the
// same file; beyond it the other has died over it.
const fragmentWait = 2 * time.Second

// writeFragment writes a file into the folder of secrets so that it is there whole
// or not at all; without a folder it does nothing. fs.ErrExist: it is there already,
// another node wrote it meanwhile.
func (c *config) writeFragment(name, text string) error {
	if c.folder() == "" {
		return nil
	}
	path := filepath.Join(c.folder(), name)
	if err := os.MkdirAll(c.folder(), 0o700); err != nil {
		return err
	}
	// On Redis two nodes may start at once: who makes the temporary file writes.
	temporary := path + ".new"
	if err := writeNew(temporary, text); err != nil {
		if _, e := os.Lstat(temporary); e != nil && !errors.Is(e, fs.ErrNotExist) {
			return errors.Join(err, e)
		}
		if err := awaitFragment(path, temporary); err != nil {
			return err
		}
		if err := writeNew(temporary, text); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(path); err == nil {
		return errors.Join(fs.ErrExist, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(c.folder())
}

// awaitFragment waits until who holds the temporary file has written the other:
// fs.ErrExist. What a start that died left half done is removed: nil.
func awaitFragment(path, temporary string) error {
	beat := time.NewTicker(10 * time.Millisecond)
	defer beat.Stop()
	for end := time.Now().Add(fragmentWait); time.Now().Before(end); <-beat.C {
		if _, err := os.Lstat(path); err == nil {
			return fs.ErrExist
		}
	}
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
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
	periods := map[channels.Class]time.Duration{}
	for _, k := range c.Keys.Classes {
		if _, is := broker.BuiltInClass(k.Name); !is {
			periods[channels.Class(k.Number)] = k.Period
		}
	}
	return channels.NewKeyring([]byte(c.Keys.IdentitySecret.Reveal()), keys, periods)
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
