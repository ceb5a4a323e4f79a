package broker

import (
	"context"
	"errors"
	"sync"

	"github.com/gobelin-broker/gobelin/store"
)

// A store that was away may have gone back, and what it then says of a session be older
// than what a node has seen: the one where it lives, or one that let go of it of late. Each
// of them finds that out by itself, but not at the same time. So for a while whoever looks
// for a session asks the others first, who write it again if theirs is newer.

// lookup finds the record of a session.
type lookup struct {
	b     *Broker
	key   string
	asked bool // the other nodes, since the store was last away
}

// record returns the record of a session and its version, as loadSession does, when
// nobody has a newer one that the store has lost.
func (l *lookup) record(ctx context.Context) (*sessionRecord, uint64, error) {
	var wait backoff
	for {
		r, version, err := l.b.loadSession(ctx, l.key)
		switch {
		case errors.Is(err, store.ErrUnavailable):
			l.b.nodes.suspect()
			return nil, 0, err
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return nil, 0, err
		case l.b.nodes.turning():
			l.asked = false
			if err := wait.pause(ctx); err != nil {
				return nil, 0, err
			}
		case l.asked || !l.b.nodes.doubtful():
			return r, version, err
		default:
			if err := l.b.recall(ctx, l.key); err != nil {
				return nil, 0, err
			}
			l.asked = true
		}
	}
}

// recall has every node that may live write again what it has of a session and the store
// has not. One that is dead is not waited for.
func (b *Broker) recall(ctx context.Context, key string) error {
	around, err := b.nodes.listAround(ctx)
	if err != nil {
		return err
	}
	var crew sync.WaitGroup
	faults := make([]error, len(around)+1)
	for i, id := range around {
		crew.Go(func() { faults[i] = b.recallFrom(ctx, id, key) })
	}
	faults[len(around)] = b.departed.recall(ctx, key)
	crew.Wait()
	return errors.Join(faults...)
}

func (b *Broker) recallFrom(ctx context.Context, id, key string) error {
	var wait backoff
	for {
		free, answer, err := b.free(ctx, id, letter{Kind: letterRecall, Key: key}, &wait)
		if err != nil || free || answer == letterDone {
			return err
		}
	}
}

// recall carries out a letter: what is being taken up here just now is in the store.
func (m *mail) recall(ctx context.Context, key string) (answer string) {
	m.b.nodes.asked()
	sub, taking := m.b.subscriberOf(key)
	if sub != nil && !taking {
		if m.b.verify(ctx, sub) != nil {
			return letterBusy
		}
		return letterDone
	}
	if m.b.overdue.settle(ctx, key) != nil || m.b.departed.recall(ctx, key) != nil {
		return letterBusy
	}
	return letterDone
}
