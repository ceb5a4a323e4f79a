package broker

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/gobelin-broker/gobelin/bayeux"
)

// A subscribe that came to another node is an errand of that node: where the session
// lives it is carried out, and noted in the session's record together with what it
// changed. If the answer comes too late, the session is taken over and the message carried
// out again, but what is noted is not: a catch-up would come twice, and a late
// unsubscribe undo what followed.
const (
	// errandLife is for how long an errand is remembered, in ms: longer than anybody asks
	// again, or a letter is carried out, or a copy of a message is under way that its client
	// has given up: it may wait on a link that stands still, and then for heldTime.
	errandLife = 4 * int64(letterLife/1e6)
	// mostErrands bounds those of one session; a client that has more than that under way
	// at once, by other nodes, may get a catch-up twice.
	mostErrands = 32
)

// errand is one that was carried out, or a message that came where the session lives: of
// both a copy may be on its way that its client sent again, or gave up.
type errand struct {
	ID  string          `json:"id,omitempty"`
	At  int64           `json:"at"` // by the store's clock, in ms
	Ext json.RawMessage `json:"ext,omitempty"`
	// Mark stands for the message's own id, Of for what it asks for; 0: it has no id.
	Mark uint64 `json:"mark,omitempty"`
	Of   uint64 `json:"of,omitempty"`
}

// marksOf returns an errand's Mark and Of.
func marksOf(m *bayeux.Message) (mark, of uint64) {
	if len(m.ID) == 0 {
		return 0, 0
	}
	sum := func(parts ...string) uint64 {
		h := fnv.New64a()
		for _, p := range parts {
			_, _ = h.Write([]byte(p))
			_, _ = h.Write([]byte{0})
		}
		return h.Sum64()
	}
	return sum(string(m.ID)), sum(append([]string{m.ChannelText}, m.Subscription...)...)
}

// undone reports whether an unsubscribe is a copy of one that was carried out: carried out
// again it would undo what its client has asked for since. Of a client that uses its ids
// again only the last message with an id counts. Where one copy comes another may follow, so
// the errand is remembered for as long again.
func (s *subscriber) undone(m *bayeux.Message) bool {
	mark, of := marksOf(m)
	if mark == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range slices.Backward(s.memory.record.Errands) {
		if e.Mark != mark {
			continue
		}
		if e.Of == of {
			s.memory.record.Errands = slices.Clone(s.memory.record.Errands) // a record may be being written
			s.memory.record.Errands[i].At = s.b.opt.Store.Now().UnixMilli()
		}
		return e.Of == of
	}
	return false
}

// newErrand returns an id that no other node or message has.
func (b *Broker) newErrand() string { return fmt.Sprintf("%s/%d", b.nodes.id, b.mail.errands.Add(1)) }

// carriedOut reports whether a message was carried out before, and how it was answered.
func (s *subscriber) carriedOut(m *bayeux.Message) (ext []byte, again bool) {
	if m.Errand == "" {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.memory.record.Errands {
		if e.ID == m.Errand {
			s.b.metrics.errandsAgain.Inc()
			return e.Ext, true
		}
	}
	return nil, false
}

// noteErrand notes that a message is carried out with the next record that is written.
func (s *subscriber) noteErrand(m *bayeux.Message, ext []byte) {
	mark, of := marksOf(m)
	if m.Errand == "" && mark == 0 {
		return
	}
	now := s.b.opt.Store.Now().UnixMilli()
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(s.memory.record.Errands), func(e errand) bool { return now-e.At > errandLife })
	rest = append(rest, errand{ID: m.Errand, At: now, Ext: ext, Mark: mark, Of: of})
	s.memory.record.Errands = rest[max(0, len(rest)-mostErrands):]
}

// dropErrand: it was undone.
func (s *subscriber) dropErrand(m *bayeux.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark, of := marksOf(m)
	s.memory.record.Errands = slices.DeleteFunc(slices.Clone(s.memory.record.Errands), func(e errand) bool {
		return e.ID == m.Errand && e.Mark == mark && e.Of == of
	})
}
