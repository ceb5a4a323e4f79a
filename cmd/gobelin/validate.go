package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/channels"
)

// channelKinds are those whose times can be set (product.md §4); custom is every
// other path below a root.
var channelKinds = []string{"all_json", "all_html", "promoted_json", "promoted_html", "events", "analytics", "data", "stats/live", "stats/minute", "stats/hour", "stats/day", "custom"}

// kindsOf returns the kinds that a map of kinds may name: how long an accumulation is
// kept is accumulate.ttl.
func kindsOf(key string) []string {
	if key == "channels.catchup.max" {
		return append(slices.Clone(channelKinds), "accumulate")
	}
	return channelKinds
}

// validation collects what is wrong with a configuration.
type validation struct {
	c        *config
	fs       faults
	warnings faults
	broken   map[string]bool // keys that could not be read at all
}

// validate checks what no single value shows; before are the faults found on
// reading, which are not told again in other words.
func (c *config) validate(before faults) (warnings, fs faults) {
	v := &validation{c: c, broken: map[string]bool{}}
	for _, f := range before {
		v.broken[f.key] = true
	}
	v.table()
	v.addresses()
	v.store()
	v.sizes()
	v.origins()
	v.open()
	v.ages()
	v.stats()
	v.keys()
	v.classes()
	v.accounts()
	return v.warnings, v.fs
}

func (v *validation) fault(key, format string, args ...any) {
	if !v.broken[key] {
		v.fs.add(v.c.at(key), key, format, args...)
	}
}

// table checks choices and bounds, row by row.
func (v *validation) table() {
	for _, o := range options {
		switch p := o.field(v.c).(type) {
		case *string:
			v.choice(o, *p)
		case *[]string:
			for _, item := range *p {
				v.choice(o, item)
			}
		case *int:
			v.bounds(o, int64(*p), func(n int64) any { return n })
		case *size:
			v.bounds(o, int64(*p), func(n int64) any { return size(n) })
		case *time.Duration:
			v.bounds(o, int64(*p), func(n int64) any { return showDuration(time.Duration(n)) })
		}
	}
}

func (v *validation) choice(o *option, text string) {
	if len(o.choices) > 0 && text != o.def && !slices.Contains(o.choices, text) {
		v.fault(o.key, "%q is none of %s%s", clip(text), strings.Join(o.choices, ", "), suggestion(text, o.choices))
	}
}

func (v *validation) bounds(o *option, n int64, show func(int64) any) {
	switch {
	case n < o.low:
		v.fault(o.key, "must be at least %v, is %v", show(o.low), show(n))
	case o.high > 0 && n > o.high:
		v.fault(o.key, "must be at most %v, is %v", show(o.high), show(n))
	}
}

func (v *validation) addresses() {
	c := v.c
	for _, l := range [][2]string{{"listen", c.Listen}, {"admin.listen", c.AdminListen}} {
		key, address := l[0], l[1]
		if address == "" && key == "admin.listen" {
			continue
		}
		_, port, err := net.SplitHostPort(address)
		if err == nil {
			_, err = net.LookupPort("tcp", port)
		}
		if err != nil {
			v.fault(key, "%q is not host:port, such as 127.0.0.1:8000 or :8000", clip(address))
		}
	}
	if c.AdminListen == c.Listen && c.AdminListen != "" && !strings.HasSuffix(c.Listen, ":0") {
		v.fault("admin.listen", "is the public listener: metrics must not be public")
	}
	if c.AdminToken != "" {
		v.secret(c.at("admin.token"), "admin.token", c.AdminToken)
	}
	v.mount("mount", c.Mount)
	for i, m := range c.Mounts {
		v.mount("mounts", m)
		if m == c.Mount || slices.Contains(c.Mounts[:i], m) {
			v.fault("mounts", "%s is there twice", m)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		v.fault("tls.cert", "tls.cert and tls.key belong together")
	}
	v.acme()
	v.file("tls.cert", c.TLSCert)
	v.file("tls.key", c.TLSKey)
	if c.Bayeux.ClientJS != "builtin" {
		v.file("bayeux.client_js", c.Bayeux.ClientJS)
	}
	if u, err := url.Parse(c.Bayeux.URL); c.Bayeux.URL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		v.fault("bayeux.url", "%q is not a URL such as https://live.example.com/faye", clip(c.Bayeux.URL))
	}
	if u, err := url.Parse(c.Traces.Endpoint); c.Traces.Endpoint != "" && (err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https") {
		v.fault("traces.endpoint", "is not a URL such as http://127.0.0.1:4318, without user and query")
	}
	for _, text := range c.Channels.Lazy {
		if _, err := channels.ParsePattern(text); err != nil {
			v.fault("channels.lazy", "%q is not a pattern such as /stats/**", clip(text))
		}
	}
	if len(c.Bayeux.Transports) == 0 {
		v.fault("bayeux.transports", "names no transport")
	}
}

// acme checks what certificates of a CA need.
func (v *validation) acme() {
	a := &v.c.ACME
	if len(a.Domains) == 0 {
		for key, text := range map[string]string{"tls.acme.cache": a.Cache, "tls.acme.email": a.Email, "tls.acme.http": a.HTTP} {
			if text != "" {
				v.fault(key, "says nothing without tls.acme.domains")
			}
		}
		return
	}
	if v.c.TLSCert != "" {
		v.fault("tls.acme.domains", "tls.cert is there, too: one of them is enough")
	}
	for _, d := range a.Domains {
		if !domainForm.MatchString(d) || net.ParseIP(d) != nil {
			v.fault("tls.acme.domains", "%q is not a domain such as live.example.com, in small letters and without *", clip(d))
		}
	}
	if a.folder(v.c) == "" {
		v.fault("tls.acme.cache", "is needed where the store is no folder")
	}
	if _, _, err := net.SplitHostPort(a.HTTP); a.HTTP != "" && err != nil {
		v.fault("tls.acme.http", "%q is not host:port, such as :80", clip(a.HTTP))
	}
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		v.fault("tls.acme.directory", "%q is not a URL such as %s", clip(a.Directory), letsEncrypt)
	}
}

var domainForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$`)

// reserved are paths the server uses itself.
var reserved = []string{"/v1", "/api", "/streams", "/replay", "/stable", "/stats", "/try", "/metrics", "/healthz", "/readyz", "/console", "/admin"}

func (v *validation) mount(key, path string) {
	name, err := channels.Parse(path)
	switch {
	case err != nil:
		v.fault(key, "%q is not a path such as /faye", clip(path))
	case slices.Contains(reserved, "/"+name.First()):
		v.fault(key, "%s: /%s is taken by the server itself", path, name.First())
	}
}

func (v *validation) file(key, path string) {
	if path == "" {
		return
	}
	if info, err := os.Stat(path); err != nil {
		v.fault(key, "%s: %s", path, cause(err))
	} else if !info.Mode().IsRegular() {
		v.fault(key, "%s: is not a file", path)
	}
}

func (v *validation) store() {
	c := v.c
	if text := c.Store.fault(); text != "" {
		v.fault("store", "%s", text)
	}
	switch kind := c.Store.kind(); {
	case c.Ack == "" || kind == "":
	case kind == kindDisk && c.Ack != ackFsync:
		v.fault("durability.ack", "a folder is always fsynced before an acknowledgement: leave it out, or say fsync")
	case kind == kindMemory && c.Ack != ackStored:
		v.fault("durability.ack", "memory: keeps nothing beyond the end: leave it out")
	}
	if !prefixForm.MatchString(c.Redis.Prefix) {
		v.fault("redis.prefix", "%q must be 1 to 32 letters, digits, dots, dashes or underscores", clip(c.Redis.Prefix))
	}
	if c.Node.ID != "" {
		if text := nameFault(strings.ReplaceAll(c.Node.ID, ":", "-")); text != "" {
			v.fault("node.id", "%s", text)
		}
	}
	if u, err := url.Parse(c.Node.Advertise); c.Node.Advertise != "" && (err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
		v.fault("node.advertise", "is not a URL such as http://10.0.0.5:8001")
	}
}

// prefixForm keeps braces, by which a cluster finds the slot, and wildcards, by
// which an ACL tells keys apart, out of the prefix.
var prefixForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// What durability.ack can be (decided.md, experience.md §3).
const (
	ackStored  = "stored"
	ackFsync   = "fsync"
	ackReplica = "replica"
)

// leastFloor is the smallest floor that keeps the engine from meeting the disk's end.
const leastFloor = size(64 << 20)

// sizes checks numbers against each other (decided.md 2).
func (v *validation) sizes() {
	l := &v.c.Limits
	// The engine prepares its files tens of MiB ahead, between two looks at the disk.
	if f := v.c.DiskFloor; f > 0 && f < leastFloor {
		v.fault("disk.floor", "must be 0 or at least %v, is %v: the store writes ahead by as much", leastFloor, f)
	}
	if l.Queue < 2*l.Message {
		v.fault("limits.queue", "must be at least twice limits.message (%v), is %v", l.Message, l.Queue)
	}
	if l.Body < l.Message {
		v.fault("limits.body", "must be at least limits.message (%v), is %v", l.Message, l.Body)
	}
	if d := v.c.Data.MaxDocument; d > l.Message {
		v.fault("data.max_document", "must be at most limits.message (%v), is %v: a change of it is one message", l.Message, d)
	}
	if l.Backlog < l.Message {
		v.fault("limits.backlog", "must be at least limits.message (%v), is %v", l.Message, l.Backlog)
	}
}

func (v *validation) origins() {
	for _, o := range v.c.Origins {
		u, err := url.Parse(o)
		switch {
		case o == "*":
			v.fault("origins", "* is what an empty list means: leave it out")
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" || u.RawQuery != "" || u.User != nil:
			v.fault("origins", "%q is not an origin such as https://example.com", clip(o))
		}
	}
	for _, p := range v.c.TrustedProxies {
		prefix, err := parsePrefix(p)
		if err != nil {
			v.fault("trusted_proxies", "%q is not an address or network such as 10.0.0.0/8", clip(p))
		} else if prefix.Bits() == 0 {
			v.warn("trusted_proxies", "%s believes everybody: each peer chooses its own address", p)
		}
	}
}

func (v *validation) warn(key, format string, args ...any) {
	v.warnings.add(v.c.at(key), key, format, args...)
}

// parsePrefix reads a network, or an address as a network of one.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func (v *validation) open() {
	seen := map[string]bool{}
	for _, o := range v.c.Channels.Open {
		at := o.at
		switch pattern, err := channels.ParsePattern(o.Pattern); {
		case o.Pattern == "":
			v.fs.add(at, "channels.open", "has no pattern")
		case err != nil:
			v.fs.add(at, "channels.open", "%q is not a channel or pattern such as /demo/**", clip(o.Pattern))
		case pattern.First() == "meta" || pattern.First() == "service":
			v.fs.add(at, "channels.open", "%s: /meta and /service belong to the protocol", o.Pattern)
		case seen[o.Pattern]:
			v.fs.add(at, "channels.open", "%s is there twice", o.Pattern)
		}
		seen[o.Pattern] = true
		who := []string{"anyone", "session", "server"}
		if !slices.Contains(who, o.Publish) {
			v.fs.add(at, "channels.open", "publish: %q is none of %s%s", clip(o.Publish), strings.Join(who, ", "), suggestion(o.Publish, who))
		}
		if o.History < 0 {
			v.fs.add(at, "channels.open", "history: must be at least 0s, is %v", o.History)
		}
	}
}

func (v *validation) ages() {
	for _, group := range []struct {
		key  string
		ages map[string]kindAge
	}{{"channels.retention", v.c.Channels.Retention}, {"channels.catchup.max", v.c.Channels.CatchupMax}} {
		for _, kind := range kindsOf(group.key) {
			if age, ok := group.ages[kind]; ok && age.Age <= 0 {
				v.fs.add(age.at, group.key+"."+kind, "must be more than 0s, is %v", age.Age)
			}
		}
	}
}

func (v *validation) stats() {
	if d := v.c.Stats.Sample; d > 0 && (time.Minute%d != 0 || d%time.Millisecond != 0) {
		v.fault("stats.sample", "%v does not divide a minute into equal parts: use 12s, 10s, 5s, 1s or the like", d)
	}
	if k := v.c.Stats.Keep; k.Hours < k.Minutes {
		v.fault("stats.keep.hour", "must be at least stats.keep.minute (%s), is %s: days are made of hours", showDuration(k.Minutes), showDuration(k.Hours))
	}
}

// secret checks one secret; required says it may not be empty.
func (v *validation) secret(at place, key string, s broker.Secret) {
	if v.broken[key] {
		return
	}
	if s == "" {
		v.fs.add(at, key, "is missing")
		return
	}
	if strings.HasPrefix(s.Reveal(), "-----BEGIN") {
		v.fs.add(at, key, "is a PEM key, not a shared secret")
		return
	}
	if text := secretFault(s); text != "" {
		if v.c.Sandbox {
			v.warnings.add(at, key, "%s", text)
			return
		}
		v.fs.add(at, key, "%s: put in the output of `openssl rand -base64 32`", text)
	}
}

func (v *validation) keys() {
	k := &v.c.Keys
	if k.IdentitySecret == "" && len(k.Roots) == 0 {
		if v.c.Store.kind() == kindRedis && v.c.folder() == "" && !v.broken["keys"] {
			v.fault("keys", "%s", keysOnRedis)
		}
		return // else made at first start (decided.md 23)
	}
	v.secret(v.c.at("keys.identity_secret"), "keys.identity_secret", k.IdentitySecret)
	if len(k.Roots) == 0 {
		v.fault("keys.roots", "is missing: identity_secret and roots belong together")
		return
	}
	signing, seen := 0, map[int]bool{}
	for i, r := range k.Roots {
		switch {
		case r.KID < 0 || r.KID > 15:
			v.fs.add(r.at, "keys.roots", "kid: must be 0 to 15")
		case seen[r.KID]:
			v.fs.add(r.at, "keys.roots", "kid %d is there twice", r.KID)
		}
		seen[r.KID] = true
		if r.Sign {
			signing++
		}
		v.secret(r.at, fmt.Sprintf("keys.roots[%d].secret", i), r.Secret)
		if r.Secret != "" && r.Secret == k.IdentitySecret {
			v.fs.add(r.at, "keys.roots", "secret: is the identity secret; each must have its own")
		}
	}
	if signing != 1 {
		v.fault("keys.roots", "%d have sign: true, must be exactly one", signing)
	}
}

func (v *validation) accounts() {
	ids, names := map[int]bool{}, map[string]bool{}
	cdns, keys := map[int]bool{}, map[string]bool{}
	for i, a := range v.c.Accounts {
		v.analyst(fmt.Sprintf("accounts[%d]", i), a, cdns, keys)
		if len(a.Apps) == 0 {
			v.fs.add(a.at, "accounts", "an account without apps does nothing")
		}
		for j, app := range a.Apps {
			key := fmt.Sprintf("accounts[%d].apps[%d]", i, j)
			if app.ID < 0 || app.ID > 1<<32-1 {
				v.fs.add(app.at, key, "id: must be a number from 0 to 4294967295")
			} else if ids[app.ID] {
				v.fs.add(app.at, key, "id %d is there twice", app.ID)
			}
			if text := nameFault(app.Name); text != "" {
				v.fs.add(app.at, key, "name: %s", text)
			} else if names[app.Name] {
				v.fs.add(app.at, key, "name %s is there twice", app.Name)
			}
			ids[app.ID], names[app.Name] = true, true
			v.secret(app.at, key+".app_key", app.AppKey)
			v.secret(app.at, key+".token_secret", app.TokenSecret)
			if app.AppKey != "" && app.AppKey == app.TokenSecret {
				v.fs.add(app.at, key, "app_key and token_secret must differ")
			}
		}
	}
	v.streamAccounts()
}

// analyst checks what an account signs with; cdns and keys are those of others, to which
// it adds its own.
func (v *validation) analyst(at string, a accountConfig, cdns map[int]bool, keys map[string]bool) {
	switch {
	case a.CDN < 0:
		v.fs.add(a.at, at, "cdn: must be at least 0")
	case a.CDN > 0 && cdns[a.CDN]:
		v.fs.add(a.at, at, "cdn %d is there twice", a.CDN)
	}
	cdns[a.CDN] = true
	switch text := nameFault(a.APIKey); {
	case a.APIKey == "" && a.APISecret == "":
		return
	case a.APIKey == "":
		v.fs.add(a.at, at, "api_key: is missing: it says whose api_secret signs")
	case text != "" || strings.Contains(a.APIKey, ","):
		v.fs.add(a.at, at, "api_key: must be at most 64 printable ASCII characters without spaces, colons and commas")
	case keys[a.APIKey]:
		v.fs.add(a.at, at, "api_key %s is there twice", a.APIKey)
	}
	keys[a.APIKey] = true
	v.secret(a.at, at+".api_secret", a.APISecret)
}

// streamAccounts checks what accounts with streams need: a log has one name for ever,
// and a token one account.
func (v *validation) streamAccounts() {
	tokens := map[broker.Secret]bool{}
	for i, a := range v.c.Accounts {
		if a.StreamToken == "" {
			continue
		}
		key := fmt.Sprintf("accounts[%d]", i)
		if a.CDN <= 0 {
			v.fs.add(a.at, key, "cdn: a number above 0 is needed beside stream_token: it names the log of the account's records, never give it to another account")
		}
		if tokens[a.StreamToken] {
			v.fs.add(a.at, key, "stream_token: another account has it, too")
		}
		tokens[a.StreamToken] = true
		v.secret(a.at, key+".stream_token", a.StreamToken)
	}
}

// nameFault says what is wrong with an application's name. It is the user of
// HTTP Basic and a word of an Authorization header.
func nameFault(name string) string {
	if name == "" {
		return "is missing"
	}
	if len(name) > 64 {
		return "is longer than 64 bytes"
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return "must be of printable ASCII without spaces and colons"
		}
	}
	return ""
}
