package broker

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// topic is a channel that somebody on this node listens to, or has lately: how
// far its log has been handed to the listeners. Only its shard's goroutine moves
// last; everybody who must see it stand still takes mu.
type topic struct {
	shard  *shard
	log    store.LogName
	name   channels.Name
	space  *space
	limits store.Limits // zero for a topic that keeps nothing
	kind   *kind
	lazy   bool // its messages may wait for company
	// flows counts the flows that read the topic.
	flows atomic.Int32

	mu   sync.Mutex
	last store.Position // newest entry handed to the listeners
	gone bool           // its shard has forgotten it: who hears its log now has another
	// moved is closed when last moves, and made by who waits for that.
	moved chan struct{}
	marks marks // where it stood when wildcards came; made with synced
	// looked counts how often the store was asked for what comes after last.
	looked uint64
	forks       // what it handed out and was lost then
	ring   ring // positions handed out of late, where the store is shared
	// numbered are the listeners that get messages with their replay ids (replay.go).
	numbered map[*listener]struct{}

	// guarded by shard.mu
	refs    int   // subscriptions and flows that hold it
	waiting int   // bytes of it in the shard's queue
	road    *road // held while refs is not 0
	missed  bool  // it is to be read from the store
	missing bool  // and as soon as it is synced
	retried bool  // and again in a moment
	synced  bool  // last is known
	touched int64 // unix seconds of the last entry, for the sweep
}

// isLazy reports whether messages of a channel may wait for company.
func (b *Broker) isLazy(name channels.Name) bool {
	return slices.ContainsFunc(b.opt.Lazy, func(p channels.Pattern) bool { return p.Matches(name) })
}

// hand hands one entry to every listener, unless it has been; false: the topic is gone.
// The listeners that the space has by now have a new one, which begins with what was in
// the log when it was made: they would have the entry twice. The caller is the shard's
// goroutine.
func (t *topic) hand(e store.Entry, kept bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.gone && t.last.Before(e.Position) {
		t.deliver(t.shard.hub.b, e, kept)
		t.advance(e.Position, kept)
	}
	return !t.gone
}

// deliver hands one entry to every listener. The caller holds t.mu and is the
// shard's goroutine. A message is encoded once per root in use (security.md §1.7), and
// once more where somebody wants it with its replay id.
func (t *topic) deliver(b *Broker, e store.Entry, kept bool) {
	m, err := catchup.Decode(e)
	if err != nil {
		b.metrics.badRecords.Inc()
		return
	}
	var one encoded // the usual case: a single root, no allocation for the list
	list := one.first[:0]
	t.space.mu.RLock()
	count := t.space.count
	t.space.tree.Match(t.name, func(l *listener, exact bool) {
		if !exact && !l.hears(t.kind) {
			return
		}
		var d *bayeux.Delivery
		numbered := len(t.numbered) > 0 && t.isNumbered(l)
		for i := range list {
			if list[i].prefix == l.prefix && list[i].numbered == numbered {
				d = list[i].delivery
				break
			}
		}
		if d == nil {
			d = newDelivery(l.prefix+t.name.String(), m, form{numbered: numbered, kept: kept, lazy: t.lazy, born: b.bornAt(e.Position)})
			list = append(list, encodedFor{l.prefix, numbered, d})
		}
		l.offer(t, e.Position, d)
	})
	t.space.mu.RUnlock()
	if kept {
		t.marks.note(t.space, b, count, t.last)
	}
}

// advance notes that everything up to p was handed to the listeners. The caller
// holds t.mu and is the shard's goroutine.
func (t *topic) advance(p store.Position, kept bool) {
	t.last = p
	if h := t.shard.hub; h.shared && kept {
		h.ringed.Add(int64(t.ring.push(p, time.Now(), h.ringed.Load() >= allRinged)))
	}
	if t.moved != nil {
		close(t.moved)
		t.moved = nil
	}
}

// patience is how long a catch-up waits for the fan-out; after fannedSoon the topic
// looks into the store instead of waiting for what was announced in vain.
const (
	patience   = 10 * time.Second
	fannedSoon = 100 * time.Millisecond
)

// level returns when all that is in the log now was handed to the listeners: a
// catch-up ends there, and must not miss what was acknowledged before it was asked
// for (security.md §5.3, rule 6). The caller holds no lock.
func (t *topic) level(ctx context.Context, log store.Log) error {
	head, err := log.Head(ctx, t.log, t.limits)
	if err != nil {
		return err
	}
	return t.reach(ctx, head.Last)
}

// reach returns when everything up to p was handed to the listeners. The caller holds no
// lock.
func (t *topic) reach(ctx context.Context, p store.Position) error {
	late, soon := time.NewTimer(patience), time.NewTimer(fannedSoon)
	defer late.Stop()
	defer soon.Stop()
	for {
		t.mu.Lock()
		if !t.last.Before(p) {
			t.mu.Unlock()
			return nil
		}
		if t.moved == nil {
			t.moved = make(chan struct{})
		}
		moved := t.moved
		t.mu.Unlock()
		select {
		case <-moved:
		case <-soon.C:
			t.shard.missed(t)
		case <-late.C:
			return errUnavailable()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// catchUp has the topic look into the store and waits a little for it to move, unless it
// has come to p; errLost if it does not. The caller holds no lock but a flow's.
func (t *topic) catchUp(ctx context.Context, p store.Position) error {
	t.mu.Lock()
	if !t.last.Before(p) {
		t.mu.Unlock()
		return nil
	}
	if t.moved == nil {
		t.moved = make(chan struct{})
	}
	moved := t.moved
	t.mu.Unlock()
	t.shard.missed(t)
	late := time.NewTimer(fannedSoon)
	defer late.Stop()
	select {
	case <-moved:
		return nil
	case <-late.C:
		return errLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

type encodedFor struct {
	prefix   string
	numbered bool
	delivery *bayeux.Delivery
}

type encoded struct{ first [3]encodedFor }

// form is how a message is delivered, beside its name.
type form struct {
	replay   bool // by a catch-up
	numbered bool // with its replay id in its data
	kept     bool
	lazy     bool // in no hurry
	born     time.Time
}

// bornAt returns when the store took a message, by this machine's clock.
func (b *Broker) bornAt(p store.Position) time.Time {
	return time.Now().Add(-b.opt.Store.Now().Sub(p.Time()))
}

// newDelivery encodes a message for a channel (product.md §4, message envelope).
func newDelivery(channel string, m catchup.Message, as form) *bayeux.Delivery {
	var buf [96]byte
	data := m.Data
	if as.numbered {
		data = catchup.AppendEvent(make([]byte, 0, len(m.Data)+96), m.Data, m.Position)
	}
	return bayeux.NewDelivery(bayeux.DeliveryFields{
		Channel: channel,
		ID:      m.Position.String(),
		Data:    data,
		Ext:     m.AppendExt(buf[:0], as.replay),
		Kept:    as.kept,
		Lazy:    as.lazy,
		Born:    as.born,
	})
}
