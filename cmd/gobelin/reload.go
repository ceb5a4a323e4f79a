package main

import (
	"context"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// obey reads the configuration anew whenever SIGHUP comes, and looks whether the files of
// the certificate have changed, until ctx ends. It is the one that changes n.config.
func (n *node) obey(ctx context.Context, s source) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	look := time.NewTicker(certificateEvery)
	defer look.Stop()
	for {
		select {
		case <-hangups:
			n.reload(ctx, s)
		case <-look.C:
			n.certificate.look(n.config, n.log)
		case <-ctx.Done():
			return
		}
	}
}

// reload takes over what of a new configuration can change while the node runs, and
// names what cannot. One with faults changes nothing.
func (n *node) reload(ctx context.Context, s source) {
	next, warnings, fs := load(s)
	if err := next.completeKeys(false); len(fs) == 0 && err != nil {
		fs.add(place{}, "keys", "%v", err)
	}
	for _, f := range fs {
		n.log.Error("configuration not taken over", zap.Stringer("fault", f))
	}
	if len(fs) > 0 {
		return
	}
	for _, w := range warnings {
		n.log.Warn("configuration", zap.Stringer("at", w.at), zap.String("key", w.key), zap.String("warning", w.text))
	}
	if n.dev && next.AdminToken == "" {
		next.AdminToken = n.config.AdminToken
	}
	taken := n.adopt(next)
	n.reloadCertificate(next)
	n.reloadAccounts(next)
	n.reloadKeys(ctx, next)
	n.enforce()
	if late := differing(n.config, next); len(late) > 0 {
		n.log.Warn("changed in the configuration, but not before a restart", zap.Strings("keys", late))
	}
	n.log.Info("configuration read again", zap.Strings("changed", taken))
}

// differing returns the keys of the options that two configurations do not have in common.
func differing(a, b *config) []string {
	var keys []string
	for _, o := range options {
		if !same(reflect.ValueOf(o.field(a)), reflect.ValueOf(o.field(b))) {
			keys = append(keys, o.key)
		}
	}
	return keys
}

// adopt copies the options that are live, and returns which of them have changed.
func (n *node) adopt(next *config) (changed []string) {
	for _, o := range options {
		now, then := reflect.ValueOf(o.field(n.config)), reflect.ValueOf(o.field(next))
		if o.live && !same(now, then) {
			now.Elem().Set(then.Elem())
			changed = append(changed, o.key)
		}
	}
	return changed
}

// enforce hands the live options on to whoever goes by them.
func (n *node) enforce() {
	c := n.config
	n.bayeux.Reload(bayeuxOptions(c, nil, n.log))
	n.broker.ReloadLimits(brokerLimits(c))
	n.api.put(apiHandler(c, n.broker, n.metrics, n.tracer, n.log))
	if n.gate != nil {
		n.gate.Renew(c.AdminToken)
	}
}

// reloadCertificate reads the files of the certificate, which may be others although
// their names are the same.
func (n *node) reloadCertificate(next *config) {
	if (next.TLSCert == "") != (n.config.TLSCert == "") {
		return // a listener is with TLS or without
	}
	if err := n.certificate.load(next); err != nil {
		n.log.Error("certificate not taken over", zap.Error(err))
		return
	}
	n.config.TLSCert, n.config.TLSKey = next.TLSCert, next.TLSKey
}

// reloadAccounts takes over new secrets; other accounts and applications wait for a
// restart.
func (n *node) reloadAccounts(next *config) {
	if n.broker.ReloadAccounts(next.accounts()) == nil {
		n.config.Accounts = next.Accounts
	}
}

// same reports whether two values of an option are the same, wherever they are written.
func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		return same(a.Elem(), b.Elem())
	case reflect.Struct:
		if a.Type() == reflect.TypeFor[place]() {
			return true
		}
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			if other := b.MapIndex(key); !other.IsValid() || !same(a.MapIndex(key), other) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}
