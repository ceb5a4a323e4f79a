package broker

import (
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/gobelin-broker/gobelin/channels"
)

// errAccounts: an account is part of the names of logs, an application of every root.
var errAccounts = errors.New("broker: reload accounts: there are others: only their secrets and api_keys can change before a restart")

// ReloadLimits takes over new limits from the next message on, with their defaults:
// Message, Batch, Depth, Subscriptions, Channel and Segments. History, Objects and
// Backlog stay what they are until a restart.
func (b *Broker) ReloadLimits(l Limits) {
	l = l.withDefaults()
	now := b.limits()
	l.History, l.Objects, l.Backlog = now.History, now.Objects, now.Backlog
	b.bounds.Store(&l)
}

// limits are those of now. They are not to be changed.
func (b *Broker) limits() *Limits { return b.bounds.Load() }

// ReloadKeyring makes another ring sign and verify roots, from the next one on. Its
// identity secret must be that of before: with another one every object would have
// other roots. A key that is gone must be retired by RetireKey: the roots that
// subscriptions were made with are not looked at again.
func (b *Broker) ReloadKeyring(k *channels.Keyring) { b.ring.Store(k) }

// keyring is the one of now.
func (b *Broker) keyring() *channels.Keyring { return b.ring.Load() }

// ReloadAccounts takes over new secrets, api_keys and stream_tokens of the accounts there
// are, from the next request on; sessions keep the rights they have. It errs, and
// changes nothing, where there are other accounts or applications than before, or where
// another account has streams.
func (b *Broker) ReloadAccounts(all []Account) error {
	if !sameAccounts(b.opt.Accounts, all) {
		return errAccounts
	}
	b.tokens.renew(b.opt.Accounts, all)
	b.accounts.renew(all)
	return nil
}

// sameAccounts reports whether two lists differ in what may change alone.
func sameAccounts(a, b []Account) bool {
	return slices.EqualFunc(a, b, func(a, b Account) bool {
		return a.CDN == b.CDN && (a.StreamToken == "") == (b.StreamToken == "") &&
			slices.EqualFunc(a.Apps, b.Apps, func(a, b Application) bool { return a.ID == b.ID && a.Name == b.Name })
	})
}

// renew puts new stream_tokens in force, of the accounts that there are.
func (a *accounts) renew(all []Account) {
	i := 0
	for _, account := range all {
		if account.StreamToken != "" {
			sum := sha256.Sum256([]byte(account.StreamToken.Reveal()))
			a.all[i].token.Store(&sum)
			i++
		}
	}
}
