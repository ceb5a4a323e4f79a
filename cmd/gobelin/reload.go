package main

import (
	"context"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"syscall"

	"go.uber.org/zap"
)

// obey reads the configuration anew whenever SIGHUP comes, until ctx ends.
func (n *node) obey(ctx context.Context, s source) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			n.reload(ctx, s)
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
	// The files may be others although their names are the same.
	if err := n.certificate.load(next); err != nil {
		n.log.Error("certificate not taken over", zap.Error(err))
	} else {
		n.config.TLSCert, n.config.TLSKey = next.TLSCert, next.TLSKey
	}
	n.retireKeys(ctx, next)
	var late []string
	for _, o := range options {
		if !same(reflect.ValueOf(o.field(n.config)), reflect.ValueOf(o.field(next))) {
			late = append(late, o.key)
		}
	}
	if len(late) > 0 {
		n.log.Warn("changed in the configuration, but not before a restart", zap.Strings("keys", late))
	}
	n.log.Info("configuration read again")
}

// retireKeys refuses the roots of keys that are not in the next configuration any more
// (security.md §1.8), and takes back those that it refused and that are there again,
// with the secret they had. What else changed about keys waits for a restart.
func (n *node) retireKeys(ctx context.Context, next *config) {
	stays := map[int]rootKey{}
	for _, k := range next.Keys.Roots {
		stays[k.KID] = k
	}
	var left, gone []rootKey
	for _, k := range n.config.Keys.Roots {
		_, there := stays[k.KID]
		if there || k.Sign {
			left = append(left, k)
			continue
		}
		if err := n.broker.RetireKey(ctx, uint8(k.KID)); err != nil {
			n.log.Error("key not retired", zap.Int("kid", k.KID), zap.Error(err))
			left = append(left, k)
			continue
		}
		gone = append(gone, k)
	}
	for _, k := range n.retired {
		again, there := stays[k.KID]
		switch {
		case !there:
			gone = append(gone, k)
			continue
		case again.Secret != k.Secret:
			n.log.Error("a key was retired under this number: give the new one another", zap.Int("kid", k.KID))
			gone = append(gone, k)
			continue
		}
		if err := n.broker.RestoreKey(ctx, uint8(k.KID)); err != nil {
			n.log.Error("key not taken back", zap.Int("kid", k.KID), zap.Error(err))
			gone = append(gone, k)
			continue
		}
		n.log.Info("roots of a key that was retired are good again", zap.Int("kid", k.KID))
		left = append(left, k)
	}
	slices.SortFunc(left, func(a, b rootKey) int { return a.KID - b.KID })
	n.config.Keys.Roots, n.retired = left, gone
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
