package broker

import (
	"sync"
	"sync/atomic"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
)

// topic is a channel that somebody on this node listens to, or has lately: how
// far its log has been handed to the listeners. Only its shard's goroutine moves
// last; everybody who must see it stand still takes mu.
type topic struct {
	log    store.LogName
	name   channels.Name
	space  *space
	limits store.Limits // zero for a topic that keeps nothing
	kind   *kind
	// flows counts the flows that read the topic.
	flows atomic.Int32

	mu    sync.Mutex
	last  store.Position // newest entry handed to the listeners
	marks marks          // where it stood when wildcards came; made with synced

	// guarded by shard.mu
	refs    int   // subscriptions and flows that hold it
	waiting int   // bytes of it in the shard's queue
	missed  bool  // entries of it were left out of the queue
	synced  bool  // last is known
	touched int64 // unix seconds of the last entry, for the sweep
}

// deliver hands one entry to every listener. The caller holds t.mu and is the
// shard's goroutine. A message is encoded once per root in use (security.md §1.7).
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
		for i := range list {
			if list[i].prefix == l.prefix {
				d = list[i].delivery
				break
			}
		}
		if d == nil {
			d = newDelivery(l.prefix+t.name.String(), m, false, kept)
			list = append(list, encodedFor{l.prefix, d})
		}
		l.offer(t, d)
	})
	t.space.mu.RUnlock()
	if kept {
		t.marks.note(t.space, b, count, t.last)
	}
}

type encodedFor struct {
	prefix   string
	delivery *bayeux.Delivery
}

type encoded struct{ first [3]encodedFor }

// newDelivery encodes a message for a channel (product.md §4, message envelope).
func newDelivery(channel string, m catchup.Message, replay, kept bool) *bayeux.Delivery {
	var buf [96]byte
	return bayeux.NewDelivery(bayeux.DeliveryFields{
		Channel: channel,
		ID:      m.Position.String(),
		Data:    m.Data,
		Ext:     m.AppendExt(buf[:0], replay),
		Kept:    kept,
	})
}
