package broker

import (
	"context"
	"errors"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

var _ bayeux.Handler = (*Broker)(nil)

// Handshake is part of bayeux.Handler: a session with a token that does not hold
// is refused for good, so that clients do not try it again and again
// (product.md §3).
func (b *Broker) Handshake(ctx context.Context, s *bayeux.Session, m *bayeux.Message) (bayeux.SessionHandler, error) {
	identity, err := b.messageIdentity(m)
	if err != nil {
		return nil, err
	}
	if identity != nil {
		if err := b.refuseSuspended(identity.App, "token"); err != nil {
			return nil, err
		}
	}
	sub := b.newSubscriber(s, identity)
	if err := sub.save(ctx); err != nil {
		return nil, storeRefusal(err, b, "handshake")
	}
	b.remember(sub)
	return sub, nil
}

func (b *Broker) newSubscriber(s *bayeux.Session, identity *Identity) *subscriber {
	sub := &subscriber{b: b, session: s, key: sessionKey(s.ID()), identity: identity}
	sub.memory.record.Owner, sub.memory.record.Identity = b.nodes.id, recordOf(identity)
	sub.limit(identity)
	sub.sure.Store(b.doubts.Load())
	sub.memory.safe = b.opt.Store.Now().UnixMilli()
	sub.memory.record.Came = sub.memory.safe
	return sub
}

// remember lets a session be found by withdrawals, rounds and other nodes.
func (b *Broker) remember(s *subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribers[s.key] = s
}

// Publish is part of bayeux.Handler: a message of a session that lives elsewhere is
// taken in its name, without taking it over (decided.md 17). One without a session is
// taken on an open prefix where anyone may publish, or with a token of its own; else
// the refusal says what is missing (bayeux-faye.md §14).
func (b *Broker) Publish(ctx context.Context, _ bayeux.Peer, m *bayeux.Message, done func(bayeux.Ack, error)) {
	identity, err := b.messageIdentity(m)
	if err != nil {
		done(bayeux.Ack{}, err)
		return
	}
	a := asker{message: identity, now: b.opt.Now()}
	if m.ClientID != "" {
		away, err := b.absent(ctx, m.ClientID)
		switch {
		case err == nil:
			a.session = away.identity
			if _, calls := service(m.ChannelText); calls {
				done(b.call(ctx, m, a))
				return
			}
			b.publishAway(ctx, m, a, away, done)
			return
		case !errors.Is(err, store.ErrNotFound):
			done(bayeux.Ack{}, storeRefusal(err, b, "publish"))
			return
		}
	}
	if _, calls := service(m.ChannelText); calls && m.ClientID == "" {
		done(b.call(ctx, m, a))
		return
	} else if calls {
		done(bayeux.Ack{}, errUnknownClient(m.ClientID))
		return
	}
	if identity == nil {
		t, err := b.openTarget(m.Channel)
		if err != nil || t.open.Publish != publishAnyone {
			b.metrics.refused("publish").Inc()
			if m.ClientID == "" {
				done(bayeux.Ack{}, &bayeux.Error{Code: 402, Args: []string{"clientId"}, Text: "Missing required parameter"})
			} else {
				done(bayeux.Ack{}, errUnknownClient(m.ClientID))
			}
			return
		}
	}
	b.publishMessage(ctx, m, a, false, known{}, done)
}

func errUnknownClient(id string) error {
	return &bayeux.Error{Code: 401, Args: []string{id}, Text: "Unknown client"}
}

// messageIdentity verifies the token of a message; nil without one. A bad token is
// 403: clients read 401 and 402 as an unknown session (product.md §3).
func (b *Broker) messageIdentity(m *bayeux.Message) (*Identity, error) {
	if len(m.Ext) == 0 {
		return nil, nil
	}
	if m.ExtValue("token") == nil {
		return nil, nil
	}
	text, ok := m.ExtString("token")
	if ok {
		id, err := b.tokens.verify("", text)
		if err == nil {
			return id, nil
		}
		b.log.Debug("token refused", zap.Error(err))
	}
	b.metrics.refused("token").Inc()
	return nil, &bayeux.Error{Code: 403, Args: []string{"token"}, Text: "Invalid token", Advice: &bayeux.Advice{Reconnect: "none"}}
}

// forget drops a session that has closed.
func (b *Broker) forget(s *subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subscribers[s.key] == s {
		delete(b.subscribers, s.key)
	}
}
