package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// What every node must hear is written to one log that all follow: within a second
// it is known everywhere, also where pub/sub was broken. A node that was cut off for
// longer than noticeLimits reads anew what its caches hold.
var (
	noticeLog    = store.LogName{Feed: "@nodes", Path: "notices"}
	noticeLimits = store.Limits{Age: 10 * time.Minute, Length: 100_000}
)

// Tables of what notices tell; a node that starts, or was cut off, reads them.
const (
	tableRevoked = "revoked" // "<app>/<jti>" → until, RFC 3339; expires with the token
	tableRetired = "retired" // kid → when, RFC 3339
	// tableSuspended has "<app>" → suspension.
	tableSuspended = "suspended"
)

// notice is one entry of the log; one field is set.
type notice struct {
	Object  *announcement `json:"object,omitempty"`
	Revoked *revocation   `json:"revoked,omitempty"`
	Retired *uint8        `json:"retired,omitempty"`
	// Conference is the feed of an object that has a new conference.
	Conference string      `json:"conference,omitempty"`
	Suspended  *suspension `json:"suspended,omitempty"`
	Ended      string      `json:"ended,omitempty"` // the key of a session
	// Restored is a key that was retired and is good again.
	Restored *uint8 `json:"restored,omitempty"`
	// Streams is the name of an account whose streams have other connections now.
	Streams    string      `json:"streams,omitempty"`
	Superseded *superseded `json:"superseded,omitempty"`
	// Rewrote is a log of which records were taken away.
	Rewrote *store.LogName `json:"rewrote,omitempty"`
}

// revocation is a token that is not taken any more.
type revocation struct {
	App   uint32    `json:"app"`
	JTI   string    `json:"jti"`
	Until time.Time `json:"until"`
}

// post writes a notice for all nodes, and waits for nothing.
func (b *Broker) post(n notice) {
	b.submit(n, func(err error) {
		if err != nil {
			b.log.Warn("a notice was not passed on to other nodes; they find out when they next look", zap.Error(err))
		}
	})
}

// tell writes a notice that nobody may miss, and waits until it is kept; else whoever
// asked for it has to do so again.
func (b *Broker) tell(ctx context.Context, n notice) error {
	kept := make(chan error, 1)
	b.submit(n, func(err error) { kept <- err })
	select {
	case err := <-kept:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *Broker) submit(n notice, done func(error)) {
	data, err := json.Marshal(n)
	if err != nil {
		done(err)
		return
	}
	b.opt.Store.Submit(noticeLog, noticeLimits, []store.Record{{Data: data}}, func(_ store.Appended, err error) { done(err) })
}

// notices follows the log of notices.
func (b *Broker) notices() *follower {
	return &follower{
		store: b.opt.Store, log: noticeLog, limits: noticeLimits, logger: b.log,
		entry: func(ctx context.Context, e store.Entry) { b.hearNotice(ctx, e.Data) },
		sees: func(yes bool) {
			b.objects.heed(yes)
			b.pages.heed(yes)
			if yes {
				b.reload()
				b.attendance.recheck()
				b.recheckStreams()
			}
		},
	}
}

func (b *Broker) hearNotice(_ context.Context, data []byte) {
	var n notice
	if err := json.Unmarshal(data, &n); err != nil {
		b.log.Error("a notice that cannot be read", zap.Error(err))
		return
	}
	switch {
	case n.Object != nil:
		b.objects.announced(*n.Object)
	case n.Revoked != nil:
		b.revoked(*n.Revoked)
	case n.Retired != nil:
		b.retired(*n.Retired)
	case n.Conference != "":
		b.attendance.opened(n.Conference)
	case n.Suspended != nil:
		b.suspend(*n.Suspended)
	case n.Ended != "":
		b.ended(n.Ended)
	case n.Streams != "":
		b.hearStreams(n.Streams)
	case n.Superseded != nil:
		b.hearSuperseded(*n.Superseded)
	case n.Rewrote != nil:
		b.pages.forget(*n.Rewrote)
	case n.Restored != nil && *n.Restored <= channels.MaxKID:
		b.retiredKeys.And(^(uint32(1) << *n.Restored))
	}
}

// reload asks that the deny lists are read anew; Run does.
func (b *Broker) reload() {
	select {
	case b.listing <- struct{}{}:
	default:
	}
}

// keepLists reads the deny lists whenever reload asks for it, until ctx ends.
func (b *Broker) keepLists(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.listing:
		}
		for {
			err := b.loadDenied(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			b.log.Warn("revoked tokens could not be read; it is tried again", zap.Error(err))
			if pause(ctx, time.Second) != nil {
				return
			}
		}
	}
}

// pause waits, or returns the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loadDenied reads the deny lists.
func (b *Broker) loadDenied(ctx context.Context) error {
	for after := ""; ; {
		items, err := b.opt.Store.List(ctx, tableRevoked, "", after, 500)
		if err != nil {
			return fmt.Errorf("broker: revoked tokens: %w", err)
		}
		for _, it := range items {
			after = it.Key
			app, jti, ok := strings.Cut(it.Key, "/")
			n, err := strconv.ParseUint(app, 10, 32)
			until, bad := time.Parse(time.RFC3339, string(it.Data))
			if !ok || errors.Join(err, bad) != nil {
				b.log.Error("a row of the revoked tokens that cannot be read")
				continue
			}
			b.revoked(revocation{App: uint32(n), JTI: jti, Until: until})
		}
		if len(items) < 500 {
			break
		}
	}
	items, err := b.opt.Store.List(ctx, tableRetired, "", "", channels.MaxKID+1)
	if err != nil {
		return fmt.Errorf("broker: retired keys: %w", err)
	}
	for _, it := range items {
		if kid, err := strconv.ParseUint(it.Key, 10, 8); err == nil {
			b.retired(uint8(kid))
		}
	}
	return b.loadSuspended(ctx)
}

// Revoke refuses a token of an application from now on, on every node within a
// second, and ends the sessions that were made with it. until is the token's exp; a
// zero time is the longest a token can live. Errors: *Error with result 4000 for a
// jti that cannot be one, 5003 when the deny list is full, and the store's.
func (b *Broker) Revoke(ctx context.Context, app *Application, jti string, until time.Time) error {
	// A later time would be kept for nothing, and one of five digits not be read again.
	if last := b.opt.Now().Add(maxTokenAge + tokenLeeway); until.IsZero() || until.After(last) {
		until = last
	}
	r := revocation{App: app.ID, JTI: jti, Until: until.UTC()}
	if err := b.tokens.revoke(r.App, r.JTI, r.Until); err != nil {
		return err
	}
	key := revokedKey(r.App, r.JTI)
	ttl := max(time.Second, until.Sub(b.opt.Now())+2*tokenLeeway)
	put := store.Put{Data: []byte(r.Until.Format(time.RFC3339)), TTL: ttl}
	if _, err := b.opt.Store.Put(ctx, tableRevoked, key, put); err != nil {
		return fmt.Errorf("broker: revoke: %w", err)
	}
	b.revoked(r)
	if err := b.tell(ctx, notice{Revoked: &r}); err != nil {
		return fmt.Errorf("broker: revoke: other nodes do not know yet: %w", err)
	}
	return nil
}

func revokedKey(app uint32, jti string) string {
	return strconv.FormatUint(uint64(app), 10) + "/" + jti
}

// revoked denies a token here and ends what was made with it.
func (b *Broker) revoked(r revocation) {
	if err := b.tokens.revoke(r.App, r.JTI, r.Until); err != nil {
		b.log.Warn("a revoked token was not noted", zap.Error(err))
	}
	b.endSessions(func(s *subscriber) bool {
		return s.identity != nil && s.identity.JTI == r.JTI && s.identity.App.ID == r.App
	})
}

// RetireKey refuses every root that was signed with a key, on every node within a
// second and for good, and ends the subscriptions by them (security.md §1.8): it is
// for a key that was removed from the configuration. The key that signs cannot go.
func (b *Broker) RetireKey(ctx context.Context, kid uint8) error {
	if kid > channels.MaxKID || kid == b.keyring().Signing() {
		return fmt.Errorf("broker: retire key %d: it signs, or cannot be a key", kid)
	}
	put := store.Put{Data: []byte(b.opt.Now().UTC().Format(time.RFC3339))}
	if _, err := b.opt.Store.Put(ctx, tableRetired, strconv.Itoa(int(kid)), put); err != nil {
		return fmt.Errorf("broker: retire key %d: %w", kid, err)
	}
	b.retired(kid)
	if err := b.tell(ctx, notice{Retired: &kid}); err != nil {
		return fmt.Errorf("broker: retire key %d: other nodes do not know yet: %w", kid, err)
	}
	return nil
}

// KeyRetired reports whether the roots of a key are refused.
func (b *Broker) KeyRetired(kid uint8) bool {
	return kid <= channels.MaxKID && b.retiredKeys.Load()&(1<<kid) != 0
}

// RestoreKey takes a retired key back on every node that has it: it is in the
// configuration again. Errors are the store's; then it may be done again.
func (b *Broker) RestoreKey(ctx context.Context, kid uint8) error {
	if err := b.opt.Store.Remove(ctx, tableRetired, strconv.Itoa(int(kid)), nil); err != nil {
		return fmt.Errorf("broker: restore key %d: %w", kid, err)
	}
	if kid <= channels.MaxKID {
		b.retiredKeys.And(^(uint32(1) << kid))
	}
	if err := b.tell(ctx, notice{Restored: &kid}); err != nil {
		return fmt.Errorf("broker: restore key %d: other nodes do not know yet: %w", kid, err)
	}
	return nil
}

// retired refuses the roots of a key here and ends what listens by them.
func (b *Broker) retired(kid uint8) {
	if kid > channels.MaxKID {
		return
	}
	if kid == b.keyring().Signing() {
		b.log.Error("a key that other nodes have retired signs here: give all nodes one configuration", zap.Uint8("kid", kid))
		return
	}
	if b.retiredKeys.Or(1<<kid)&(1<<kid) != 0 {
		return
	}
	b.log.Info("roots of a retired key are refused from now on", zap.Uint8("kid", kid))
	b.endSessions(func(s *subscriber) bool { return s.usesKey(kid) })
}

// endSessions ends every session of this node that which picks; their clients
// handshake again and get the refusals that are due.
func (b *Broker) endSessions(which func(*subscriber) bool) {
	b.mu.Lock()
	var all []*subscriber
	for _, s := range b.subscribers {
		if which(s) {
			all = append(all, s)
		}
	}
	b.mu.Unlock()
	for _, s := range all {
		s.session.Close(bayeux.ReasonKicked)
	}
}
