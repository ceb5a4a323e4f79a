package broker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// Faye sends a publish again that was not answered, with the same id. Within
// repeatAge such a repeat gets the first answer and is stored once (decided.md 5).
const (
	repeatAge = 2 * time.Minute
	// maxRepeats bounds what a session is remembered by: what was not answered when
	// a link broke is among the newest, since a socket has at most 256 under way.
	maxRepeats = 512
	// repeatScan bounds what is read to find a publish from before a restart.
	repeatScan = 20_000
)

// repeats are a session's publishes of late. Guarded by the subscriber's mu.
type repeats struct {
	byTag map[uint64]*repeat
	order []*repeat // oldest first, from first on
	first int
}

type repeat struct {
	tag     uint64
	at      time.Time
	done    bool
	gone    bool // it failed, and is not in byTag any more
	ack     bayeux.Ack
	waiting []func(bayeux.Ack, error)
}

// publishMark identifies a publish of a session: a hash over clientId, id, channel
// and data, which nobody without the clientId can aim at.
type publishMark [sha256.Size]byte

// tag is what is kept with the message on a store that one node has to itself; 0
// means none.
func (p publishMark) tag() uint64 { return binary.BigEndian.Uint64(p[:]) | 1 }

// nonce lets the store know the publish again, where another node may have taken it
// or this session lived elsewhere when it was first sent.
func (p publishMark) nonce() (n store.Nonce) {
	copy(n[:], p[8:])
	n[0] |= 1
	return n
}

// markOf is the mark of a publish that carries an id.
func markOf(clientID string, m *bayeux.Message) (p publishMark) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(clientID), m.ID, []byte(m.ChannelText), m.Data} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	h.Sum(p[:0])
	return p
}

// repeated reports whether a publish is one of late, and sees to its answer if so.
// Otherwise it returns a done that also answers the repeats that may come.
func (s *subscriber) repeated(tag uint64, done func(bayeux.Ack, error)) (again bool, first func(bayeux.Ack, error)) {
	now := time.Now()
	s.mu.Lock()
	s.repeats.trim(now)
	if r := s.repeats.byTag[tag]; r != nil {
		answered, ack := r.done, r.ack
		if !answered {
			r.waiting = append(r.waiting, done)
		}
		s.mu.Unlock()
		s.b.metrics.repeats.Inc()
		if answered {
			done(ack, nil)
		}
		return true, nil
	}
	r := &repeat{tag: tag, at: now}
	if s.repeats.byTag == nil {
		s.repeats.byTag = make(map[uint64]*repeat)
	}
	s.repeats.byTag[tag] = r
	s.repeats.order = append(s.repeats.order, r)
	s.mu.Unlock()
	return false, func(ack bayeux.Ack, err error) {
		s.mu.Lock()
		waiting := r.waiting
		r.waiting = nil
		if err == nil {
			r.done, r.ack = true, ack
		} else if s.repeats.byTag[tag] == r {
			r.gone = true
			delete(s.repeats.byTag, tag) // it may be tried again
		}
		s.mu.Unlock()
		done(ack, err)
		for _, other := range waiting {
			other(ack, err)
		}
	}
}

// trim forgets what is too old or too many.
func (r *repeats) trim(now time.Time) {
	for r.first < len(r.order) && (len(r.order)-r.first >= maxRepeats || now.Sub(r.order[r.first].at) > repeatAge) {
		old := r.order[r.first]
		if !old.gone {
			delete(r.byTag, old.tag)
		}
		r.order[r.first] = nil
		r.first++
	}
	switch {
	case r.first == len(r.order):
		r.byTag, r.order, r.first = nil, nil, 0 // an idle session holds nothing for it
	case r.first >= maxRepeats: // moved once in maxRepeats publishes
		r.order = r.order[:copy(r.order, r.order[r.first:])]
		r.first = 0
	}
}

// storedBefore looks for a publish that a session made shortly before this node was
// restarted, on a store that it has to itself: its message carries the tag. was is how
// far the node had come, in ms.
func (b *Broker) storedBefore(ctx context.Context, t target, was int64, tag uint64) (catchup.Message, bool) {
	if was == 0 || was >= b.started || !t.kind.limits.Keeps() || b.opt.Store.Shared() {
		return catchup.Message{}, false
	}
	return b.tagged(ctx, t, time.UnixMilli(was).Add(-repeatAge), time.UnixMilli(b.started), tag)
}

// tagged looks for a message that carries a tag, not older than since nor younger than
// until.
func (b *Broker) tagged(ctx context.Context, t target, since, until time.Time, tag uint64) (catchup.Message, bool) {
	span := store.Range{Since: since, Limits: t.kind.limits}
	for read := 0; read < repeatScan; {
		page, err := b.opt.Store.Read(ctx, t.log, span, pageMessages, pageBytes)
		if err != nil {
			return catchup.Message{}, false
		}
		for _, e := range page.Entries {
			if e.Position.Time().After(until) {
				return catchup.Message{}, false
			}
			if m, err := catchup.Decode(e); err == nil && m.Tag == tag {
				return m, true
			}
		}
		if !page.More {
			break
		}
		read += len(page.Entries)
		span.After = page.Entries[len(page.Entries)-1].Position
	}
	return catchup.Message{}, false
}

// taggedLately looks for a message of the last two minutes that carries a tag.
func (b *Broker) taggedLately(ctx context.Context, t target, tag uint64) (catchup.Message, bool) {
	now := b.opt.Store.Now()
	return b.tagged(ctx, t, now.Add(-repeatAge), now, tag)
}

// ackAgain is the ext with which a publish was acknowledged that became m.
func ackAgain(t target, m catchup.Message) []byte {
	if t.kind.scope == "" {
		return t.kind.ackExt(m.Position)
	}
	version, confNum := catchup.ChangeOf(m.Data)
	return dataExt(m.Position, version, confNum)
}
