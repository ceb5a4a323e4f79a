package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// location is where a store is: a folder, memory:, or the URL of a Redis. It may
// hold a password, so every formatting hides that.
type location string

// The kinds of store, as the console and `serve` name them.
const (
	kindDisk   = "disk"
	kindMemory = "memory"
	kindRedis  = "redis"
)

const inMemory location = "memory:"

// redisSchemes are those of store/redis.
var redisSchemes = []string{"redis", "rediss", "redis+sentinel", "redis+cluster"}

// hidden stands for what must not be shown, as broker.Secret has it.
const hidden = "***"

// readLocation resolves a location as it is written: file:<path> and env:<NAME>
// keep a password out of the file, as with secrets.
func readLocation(written string) (location, error) {
	if !strings.HasPrefix(written, "file:") && !strings.HasPrefix(written, "env:") {
		return location(written), nil
	}
	s, err := readSecret(written)
	return location(s.Reveal()), err
}

// kind returns which backend keeps it, "" where that cannot be told.
func (l location) kind() string {
	scheme, _, ok := strings.Cut(string(l), "://")
	switch {
	case l == inMemory:
		return kindMemory
	case ok && slices.Contains(redisSchemes, scheme):
		return kindRedis
	case ok, l == "", l == "memory", schemeForm.MatchString(string(l)):
		return ""
	}
	return kindDisk
}

// schemeForm finds what was meant as a URL and is not one; no folder is called so
// by chance.
var schemeForm = regexp.MustCompile(`^[a-z][a-z+]+:`)

// reveal returns the location with its password, for the backend alone.
func (l location) reveal() string { return string(l) }

// String returns the location without passwords. What cannot be taken apart is
// shown by its scheme alone: it is not known where the password is.
func (l location) String() string {
	scheme, rest, ok := strings.Cut(string(l), "://")
	if begin := schemeForm.FindString(string(l)); !ok && begin != "" && l != inMemory {
		return begin + hidden
	}
	if !ok {
		return string(l)
	}
	a, err := parseAuthority(rest)
	if err != nil {
		return clip(scheme) + "://" + hidden
	}
	return scheme + "://" + a.shown()
}

// Format writes String whatever the verb, for %#v and %d would show what that hides.
func (l location) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, l.String()) }

// MarshalText keeps passwords from JSON and YAML.
func (l location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// authority is a URL of Redis behind its scheme: user:password@hosts/path?query.
// It is taken apart by hand, since net/url takes one host.
type authority struct {
	user    string
	secured bool // there is a password
	hosts   []string
	path    string // with its slash
	query   string // without its question mark
}

var (
	hostForm  = regexp.MustCompile(`^(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)
	errNoHost = errors.New("names no host, such as redis://127.0.0.1:6379")
)

// parseAuthority reads what follows the scheme. Its errors hold no part of it.
func parseAuthority(text string) (a authority, err error) {
	text, a.query, _ = strings.Cut(text, "?")
	if i := strings.IndexByte(text, '/'); i >= 0 {
		text, a.path = text[:i], text[i:]
	}
	if strings.ContainsAny(a.path+a.query, "@") {
		return a, errors.New("has an @ behind the hosts: characters other than letters and digits of a password are written as %40 and so on")
	}
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		a.user, _, a.secured = strings.Cut(text[:i], ":")
		text = text[i+1:]
	}
	if text == "" {
		return a, errNoHost
	}
	a.hosts = strings.Split(text, ",")
	for _, h := range a.hosts {
		if !hostForm.MatchString(h) {
			return a, errors.New("has a host that is none: write host:port, and characters other than letters and digits of a password as %2F and so on")
		}
	}
	return a, nil
}

// shown returns the authority as it may be printed.
func (a authority) shown() string {
	var b strings.Builder
	if a.user != "" || a.secured {
		if a.secured {
			b.WriteString(a.user + ":")
		}
		b.WriteString(hidden + "@") // without a colon it may be a password in the wrong place
	}
	b.WriteString(strings.Join(a.hosts, ",") + a.path)
	if a.query == "" {
		return b.String()
	}
	separator := "?"
	for pair := range strings.SplitSeq(a.query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if strings.Contains(strings.ToLower(name), "pass") {
			value = hidden
		}
		b.WriteString(separator + name + "=" + value)
		separator = "&"
	}
	return b.String()
}

// fault says what is wrong with a location, "" when nothing is as far as its form
// tells. No part that may be a password is in it.
func (l location) fault() string {
	scheme, rest, isURL := strings.Cut(string(l), "://")
	switch {
	case l == "":
		return "is empty: name a folder, memory: or a Redis such as redis://127.0.0.1:6379"
	case l.kind() == kindDisk, l == inMemory:
		return ""
	case !isURL:
		return fmt.Sprintf("%q is neither a folder nor memory: nor a URL with ://", clip(l.String()))
	case l.kind() != kindRedis:
		return fmt.Sprintf("%q is none of %s%s", clip(scheme)+"://", strings.Join(redisSchemes, "://, ")+"://", suggestion(scheme, redisSchemes))
	}
	a, err := parseAuthority(rest)
	switch {
	case err != nil:
		return err.Error()
	case len(a.hosts) > 1 && (scheme == "redis" || scheme == "rediss"):
		return fmt.Sprintf("%s:// takes one host, these are %d: redis+sentinel:// and redis+cluster:// take several", scheme, len(a.hosts))
	case scheme == "redis+sentinel" && strings.Trim(a.path, "/") == "":
		return "names no primary: redis+sentinel://host:26379,host:26379/<its name>"
	case scheme == "redis+cluster" && strings.Trim(a.path, "/") != "":
		return "has a path: a cluster has one database"
	}
	return ""
}
