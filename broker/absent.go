package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
)

// A publish of a session that lives elsewhere costs a look at its record; what that
// says is used for absentFor, so a publisher that goes round the nodes reads one row a
// second on each. absentKept bounds those that are remembered.
const (
	absentFor  = time.Second
	absentKept = 10_000
)

// absent is a session that does not live on this node.
type absent struct {
	identity *Identity
	was      int64 // how far its node had come, on a store that is not shared
	read     time.Time
}

// absents are the sessions of other nodes that publish by this one.
type absents struct {
	mu    sync.Mutex
	byKey map[string]absent
}

// absent returns a session that lives elsewhere; store.ErrNotFound if there is none.
func (b *Broker) absent(ctx context.Context, clientID string) (absent, error) {
	key := sessionKey(clientID)
	b.absents.mu.Lock()
	a, there := b.absents.byKey[key]
	b.absents.mu.Unlock()
	if there && time.Since(a.read) < absentFor && !b.denied(a.identity) {
		return a, nil
	}
	r, _, err := b.loadSession(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		within, cancel := context.WithTimeout(ctx, forwardTime)
		defer cancel()
		look := lookup{b: b, key: key}
		r, _, err = look.record(within)
	}
	if err != nil {
		return absent{}, err
	}
	a = absent{read: time.Now()}
	if r.Identity != nil {
		if a.identity = r.Identity.identity(b.tokens); a.identity == nil {
			return absent{}, fmt.Errorf("broker: session: its application is gone: %w", store.ErrNotFound)
		}
		if b.denied(a.identity) {
			return absent{}, fmt.Errorf("broker: session: its token was revoked: %w", store.ErrNotFound)
		}
	}
	if !b.opt.Store.Shared() {
		if a.was, err = b.nodes.watermark(ctx, r.Owner); err != nil {
			return absent{}, err
		}
	}
	b.absents.keep(key, a)
	return a, nil
}

// denied reports whether an identity was made with a token that was revoked since.
func (b *Broker) denied(id *Identity) bool {
	return id != nil && b.tokens.isRevoked(id.App.ID, id.JTI)
}

func (s *absents) keep(key string, a absent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = make(map[string]absent)
	}
	if len(s.byKey) >= absentKept {
		for old, v := range s.byKey { // those of no use first, else any
			if time.Since(v.read) > absentFor || len(s.byKey) >= absentKept {
				delete(s.byKey, old)
			}
		}
	}
	s.byKey[key] = a
}

// publishAway takes a publish of a session that lives elsewhere. What comes twice is
// known by the store, whichever node has it first.
func (b *Broker) publishAway(ctx context.Context, m *bayeux.Message, a asker, away absent, done func(bayeux.Ack, error)) {
	var k known
	if len(m.ID) > 0 {
		mark := markOf(m.ClientID, m)
		if b.answerBefore(ctx, m, a, away.was, mark.tag(), done) {
			return
		}
		k.nonce, k.change, k.maybe = mark.nonce(), mark.tag(), true
	}
	b.publishMessage(ctx, m, a, true, k, done)
}

// answerBefore answers a publish that was stored before a restart, and reports whether
// it was.
func (b *Broker) answerBefore(ctx context.Context, m *bayeux.Message, a asker, was int64, tag uint64, done func(bayeux.Ack, error)) bool {
	t, err := b.publication(ctx, m.Channel, a, true)
	if err != nil {
		return false
	}
	stored, found := b.storedBefore(ctx, t, was, tag)
	if found {
		b.metrics.repeats.Inc()
		done(bayeux.Ack{Ext: ackAgain(t, stored)}, nil)
	}
	return found
}
