package main

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"
)

// reloadKeys makes the keys of the next configuration those that sign and verify: new
// ones are added, another one may sign, and the roots of those that are gone are refused
// on every node (security.md §1.8). One that was refused and is there again, with the
// secret it had, is taken back. The identity secret and the secret under a number cannot
// change: the first would rename every object, the second pass for a retired key.
func (n *node) reloadKeys(ctx context.Context, next *config) {
	now := &n.config.Keys
	if next.Keys.IdentitySecret != now.IdentitySecret {
		return
	}
	var ring, gone []rootKey
	for _, k := range next.Keys.Roots {
		if err := n.mayVerify(ctx, k); err != nil {
			n.log.Error("keys not taken over", zap.Int("kid", k.KID), zap.Error(err))
			return
		}
		ring = append(ring, k)
	}
	for _, k := range now.Roots {
		if keyOf(next.Keys.Roots, k.KID) == nil {
			k.Sign = false
			gone = append(gone, k)
		}
	}
	// Those that go verify until every node has been told.
	all := *n.config
	all.Keys.Roots = slices.Concat(ring, gone)
	if err := n.exchangeRing(&all); err != nil {
		n.log.Error("keys not taken over", zap.Error(err))
		return
	}
	now.Roots = ring
	for _, k := range gone {
		if err := n.broker.RetireKey(ctx, uint8(k.KID)); err != nil {
			n.log.Error("key not retired: it verifies until this is tried again", zap.Int("kid", k.KID), zap.Error(err))
			now.Roots = append(now.Roots, k)
			continue
		}
		n.retired = append(n.retired, k)
	}
	slices.SortFunc(now.Roots, func(a, b rootKey) int { return a.KID - b.KID })
	if err := n.exchangeRing(n.config); err != nil {
		n.log.Error("keys not taken over", zap.Error(err))
	}
}

// exchangeRing makes the keys of a configuration those of the broker.
func (n *node) exchangeRing(c *config) error {
	ring, err := c.keyring()
	if err == nil {
		n.broker.ReloadKeyring(ring)
	}
	return err
}

// mayVerify reports whether a key of the next configuration may be in the ring; one that
// was retired by this node is taken back for that.
func (n *node) mayVerify(ctx context.Context, k rootKey) error {
	if had := keyOf(n.config.Keys.Roots, k.KID); had != nil {
		if had.Secret != k.Secret {
			return errors.New("its secret is another one: roots of the one before could not be told from its own; give the new one a number of its own")
		}
		return nil
	}
	switch had := keyOf(n.retired, k.KID); {
	case had == nil && !n.broker.KeyRetired(uint8(k.KID)):
		return nil
	case had == nil || had.Secret != k.Secret:
		return errors.New("a key was retired under this number: give the new one another")
	}
	if err := n.broker.RestoreKey(ctx, uint8(k.KID)); err != nil {
		return err
	}
	n.retired = slices.DeleteFunc(n.retired, func(r rootKey) bool { return r.KID == k.KID })
	n.log.Info("roots of a key that was retired are good again", zap.Int("kid", k.KID))
	return nil
}

// keyOf returns the key of a number, nil where there is none.
func keyOf(keys []rootKey, kid int) *rootKey {
	for i := range keys {
		if keys[i].KID == kid {
			return &keys[i]
		}
	}
	return nil
}
