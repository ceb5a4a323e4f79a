package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// The kinds of Redis there are.
const (
	kindStandalone = "standalone"
	kindSentinel   = "sentinel"
	kindCluster    = "cluster"
)

// maxHosts bounds how many hosts a url names.
const maxHosts = 64

// address is what a url says.
type address struct {
	kind           string
	hosts          []string // host:port; of the sentinels, if kind is sentinel
	user, password string
	db             int
	tls            bool

	// Only with sentinels.
	primary                        string // its name among them
	sentinelUser, sentinelPassword string
}

// Format writes where it is, whatever the verb, and no password.
func (a address) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "%s %v", a.kind, a.hosts) }

// errExposed refuses a Redis that anybody on the way could read and write.
var errExposed = errors.New("redis: the server is on another machine and has neither password nor TLS: put user:password@ into the url, use rediss:// or ?tls=true, or allow it with redis.insecure")

// errEscape is about a url that falls apart in the wrong places. Which part of it
// is the password cannot be known then, so it is not shown.
var errEscape = errors.New("redis: url: in a user or password, write @ as %40, / as %2F, ? as %3F, % as %25")

// parseAddress reads a url, see Open. Errors show nothing that could be a password.
func parseAddress(text string) (address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	var a address
	port := "6379"
	switch {
	case !ok:
		return a, errors.New("redis: url: want redis://, rediss://, redis+sentinel:// or redis+cluster://")
	case scheme == "redis":
		a.kind = kindStandalone
	case scheme == "rediss":
		a.kind, a.tls = kindStandalone, true
	case scheme == "redis+sentinel":
		a.kind, port = kindSentinel, "26379"
	case scheme == "redis+cluster":
		a.kind = kindCluster
	default:
		return a, errors.New("redis: url: unknown scheme, want redis://, rediss://, redis+sentinel:// or redis+cluster://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(path, "@") || strings.Contains(query, "@") {
		return a, errEscape
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := a.credentials(authority[:at]); err != nil {
			return a, err
		}
		authority = authority[at+1:]
	}
	if err := a.addHosts(authority, port); err != nil {
		return a, err
	}
	if err := a.setPath(path); err != nil {
		return a, err
	}
	return a, a.setQuery(query)
}

// credentials reads user:password.
func (a *address) credentials(text string) error {
	user, password, ok := strings.Cut(text, ":")
	u, err1 := url.PathUnescape(user)
	p, err2 := url.PathUnescape(password)
	switch {
	case err1 != nil || err2 != nil || strings.ContainsAny(text, "@"):
		return errEscape
	case !ok || p == "":
		return errors.New("redis: url: no password: before the @ goes user:password, or :password")
	}
	a.user, a.password = u, p
	return nil
}

// addHosts reads host:port,host:port.
func (a *address) addHosts(text, port string) error {
	hosts := strings.Split(text, ",")
	if a.kind == kindStandalone && len(hosts) > 1 {
		return fmt.Errorf("redis: url: %d hosts: several are for redis+sentinel:// and redis+cluster://", len(hosts))
	}
	if len(hosts) > maxHosts {
		return fmt.Errorf("redis: url: %d hosts: at most %d", len(hosts), maxHosts)
	}
	for i, host := range hosts {
		host, ok := hostPort(host, port)
		if !ok {
			return fmt.Errorf("redis: url: host %d: want host:port, such as 127.0.0.1:%s or [::1]:%s", i+1, port, port)
		}
		a.hosts = append(a.hosts, host)
	}
	return nil
}

// hostPort completes host or host:port.
func hostPort(text, port string) (string, bool) {
	host := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 && !strings.HasSuffix(text, "]") {
		host, port = text[:i], text[i+1:]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
		if len(host) != len(inner)-1 || net.ParseIP(host) == nil {
			return "", false
		}
	} else if strings.ContainsAny(host, ":[]") {
		return "", false
	}
	for _, c := range []byte(host) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("/?#%@\\\"'<>{}", c) >= 0 {
			return "", false
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return net.JoinHostPort(host, port), err == nil && n > 0 && host != "" && port[0] != '+'
}

// setPath reads the number of the database, or the name of the primary.
func (a *address) setPath(path string) error {
	switch {
	case a.kind == kindSentinel:
		name, err := url.PathUnescape(path)
		if err != nil || name == "" || strings.Contains(name, "/") {
			return errors.New("redis: url: no name of the primary: want redis+sentinel://host,host/<its name>")
		}
		a.primary = name
	case path == "":
	case a.kind == kindCluster:
		return errors.New("redis: url: a cluster has one database, leave out what follows the /")
	default:
		return a.setDB(path)
	}
	return nil
}

func (a *address) setDB(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return errors.New("redis: url: database: want a number, such as 0")
	}
	a.db = int(n)
	return nil
}

// setQuery reads the parameters.
func (a *address) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errEscape
	}
	for name, v := range values {
		sentinel := a.kind == kindSentinel
		switch {
		case len(v) > 1:
			return fmt.Errorf("redis: url: parameter %.40q: given twice", name)
		case name == "tls":
			on, err := strconv.ParseBool(v[0])
			if err != nil {
				return errors.New("redis: url: tls: want true or false")
			}
			a.tls = a.tls || on
		case name == "db" && a.kind != kindCluster:
			if err := a.setDB(v[0]); err != nil {
				return err
			}
		case name == "sentinel_user" && sentinel:
			a.sentinelUser = v[0]
		case name == "sentinel_password" && sentinel:
			a.sentinelPassword = v[0]
		default:
			return fmt.Errorf("redis: url: parameter %.40q: not known for %s", name, a.kind)
		}
	}
	return nil
}

// exposed reports whether commands cross a network unprotected.
func (a *address) exposed() bool {
	if a.tls || a.password != "" {
		return false
	}
	for _, h := range a.hosts {
		host, _, _ := net.SplitHostPort(h)
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

// String shows where it leads, without credentials.
func (a *address) String() string { return a.kind + " " + strings.Join(a.hosts, ",") }
