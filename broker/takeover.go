package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// A session lives on one node, the owner in its record. Who gets a connect of a
// session that lives elsewhere asks the owner to let go of it, which then writes down
// where the session stands, and takes the record by its version; an owner that is dead
// or silent is not waited for. Whichever node loses such a race finds another version
// than it knows and drops the session (store.md §5.6, decided.md 17).
const (
	// claimTries bounds how often a node tries to get hold of a session for which
	// others contend; claimPause is what it waits between.
	claimTries = 40
	claimPause = 25 * time.Millisecond
	// recentLeft is how far behind a session may be that its new owner's watermark
	// covers.
	recentLeft = 5 * time.Second
)

// leftRecord is what an owner wrote when it let go of a session.
type leftRecord struct {
	Wire   json.RawMessage `json:"wire,omitempty"` // bayeux.Left
	At     int64           `json:"at"`             // up to which everything was handed to the queue, in ms
	Places []placeRecord   `json:"places,omitempty"`
}

// claimed is a session whose record is ours now.
type claimed struct {
	sessionRecord
	version uint64
	left    *leftRecord // what the owner before has left; nil: it could not
	// from is a time of the store's clock, in ms, up to which everything live has
	// reached the client; where left says something it counts.
	from int64
}

// claim makes this node the owner of a session. Errors: store.ErrNotFound when nobody
// knows the session, refusals, and the store's.
func (b *Broker) claim(ctx context.Context, key string) (*claimed, error) {
	asked := uint64(0) // the version about which the owner said that it knows nothing
	for range claimTries {
		r, version, err := b.loadSession(ctx, key)
		if err != nil {
			return nil, err
		}
		if version != asked {
			free, unknown, err := b.free(ctx, r.Owner, key)
			if err != nil {
				return nil, err
			}
			if unknown {
				asked = version
			}
			if !free {
				continue
			}
		}
		c, err := b.claimRecord(ctx, key, r, version)
		if errors.Is(err, store.ErrConflict) {
			continue // another was faster
		}
		return c, err
	}
	b.metrics.refused("contended session").Inc()
	return nil, errUnavailable()
}

// free sees to it that the owner of a session lets go of it. It is true when there is
// none to ask; after an answer the record has to be looked at again.
func (b *Broker) free(ctx context.Context, owner, key string) (free, unknown bool, err error) {
	alive, err := b.nodes.alive(ctx, owner)
	if err != nil || !alive {
		return !alive, false, err
	}
	answer, err := b.mail.ask(ctx, owner, letter{Kind: letterRelease, Key: key})
	switch {
	case errors.Is(err, errNoAnswer):
		return true, false, nil
	case err != nil:
		return false, false, err
	case answer.Kind == letterUnknown:
		return false, true, nil
	case answer.Kind == letterBusy:
		err = pause(ctx, claimPause)
	}
	return false, false, err
}

// claimRecord writes this node into a record that has a version.
func (b *Broker) claimRecord(ctx context.Context, key string, r *sessionRecord, version uint64) (*claimed, error) {
	c := &claimed{sessionRecord: *r, left: r.Left, from: r.Behind}
	if c.from == 0 {
		at, err := b.nodes.watermark(ctx, r.Owner)
		if err != nil {
			return nil, err
		}
		if at == 0 {
			return nil, fmt.Errorf("broker: claim session: its node is forgotten: %w", store.ErrNotFound)
		}
		c.from = at - keepsUp.Milliseconds()
	}
	c.Owner, c.Left, c.Behind = b.nodes.id, nil, c.from
	if b.opt.Store.Now().UnixMilli()-c.from < recentLeft.Milliseconds() {
		c.Behind = 0 // what our watermark will say is far enough back
	}
	data, err := json.Marshal(&c.sessionRecord)
	if err != nil {
		return nil, err
	}
	c.version, err = b.opt.Store.Put(ctx, tableSession, key, store.Put{Data: data, TTL: b.recordLife(), IfVersion: &version})
	if err != nil {
		return nil, fmt.Errorf("broker: claim session: %w", err)
	}
	return c, nil
}

// subscriberOf returns the session of a record's key if it lives here; taking: it is
// being taken up.
func (b *Broker) subscriberOf(key string) (s *subscriber, taking bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.subscribers[key], b.taking[key] > 0
}

// take notes that a session is being taken up; the caller calls what it returns when
// that is over.
func (b *Broker) take(key string) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taking[key]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.taking[key]--; b.taking[key] == 0 {
			delete(b.taking, key)
		}
	}
}

// Forward is part of bayeux.Resumer: the message is carried out where the session
// lives (decided.md 17).
func (b *Broker) Forward(ctx context.Context, _ bayeux.Peer, m *bayeux.Message) ([]byte, error) {
	key := sessionKey(m.ClientID)
	for range claimTries { // in all a second
		r, _, err := b.loadSession(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil, bayeux.ErrNoSession
		}
		if err != nil {
			return nil, storeRefusal(err, b, "forward")
		}
		if r.Owner == "" && b.opt.Store.Shared() {
			// On its way from one node to another: were it taken here, it could not be
			// told whether what was sent has arrived.
			if pause(ctx, claimPause) != nil {
				return nil, errUnavailable()
			}
			continue
		}
		alive, err := b.nodes.alive(ctx, r.Owner)
		if err != nil {
			return nil, storeRefusal(err, b, "forward")
		}
		if !alive {
			return nil, bayeux.ErrHere
		}
		answer, err := b.mail.ask(ctx, r.Owner, letter{Kind: letterCarry, Key: key, Message: m.Forwarded()})
		switch {
		case errors.Is(err, errNoAnswer):
			return nil, bayeux.ErrHere
		case err != nil:
			return nil, storeRefusal(err, b, "forward")
		case answer.Kind == letterDone && answer.Refusal != nil:
			return nil, answer.Refusal.error()
		case answer.Kind == letterDone:
			return answer.Ext, nil
		}
		// It is on its way from one node to another.
		if err := pause(ctx, claimPause); err != nil {
			return nil, errUnavailable()
		}
	}
	return nil, bayeux.ErrHere
}

// verifySessions looks, after this node could not be sure to be taken for alive, which
// of its sessions others have taken meanwhile, and drops those.
func (b *Broker) verifySessions(ctx context.Context) {
	b.mu.Lock()
	all := make(chan *subscriber, len(b.subscribers))
	for _, s := range b.subscribers {
		all <- s
	}
	b.mu.Unlock()
	close(all)
	done := make(chan struct{})
	for range rememberAtOnce {
		go func() {
			defer func() { done <- struct{}{} }()
			for s := range all {
				r, _, err := b.loadSession(ctx, s.key)
				switch {
				case errors.Is(err, store.ErrNotFound):
					s.session.Close(bayeux.ReasonKicked)
				case err != nil && ctx.Err() == nil:
					b.log.Warn("it is not known whether a session is still here", zap.Error(err))
					s.session.Close(bayeux.ReasonMoved)
				case err == nil && r.Owner != b.nodes.id:
					s.session.Close(bayeux.ReasonMoved)
				}
			}
		}()
	}
	for range rememberAtOnce {
		<-done
	}
}
