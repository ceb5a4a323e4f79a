package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// A client with the ack extension says of each answer whether it has it, by a number.
// So what is about to go to it is written down first, by that number, and the loss of
// the node between loses nothing and brings nothing twice: whoever takes the session up
// hears from the client itself how far it is. It costs a write of the session's record
// for each answer that brings messages which are kept.
const (
	// batchWait bounds that write. Where it fails the answer goes all the same: a loss
	// of the node before the next one may bring it twice.
	batchWait = 2 * time.Second
	// lateFor is for how long what a wildcard has brought is named: everything older is
	// before Left.At, whatever the rounds of remembering had to wait for.
	lateFor = time.Minute
)

var _ bayeux.BatchHandler = (*subscriber)(nil)

// brought is how far wildcards have brought channels lately, by their names; it is owned
// by the handler's calls.
type brought map[string]broughtUpTo

type broughtUpTo struct {
	after store.Position
	at    time.Time
}

// Batch is part of bayeux.BatchHandler.
func (s *subscriber) Batch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, batchWait)
	defer cancel()
	left, places, at := s.standing(ctx, true)
	catchups := s.catchups(left)
	s.noteSubscriptions()
	s.mu.Lock()
	s.stand(&leftRecord{Wire: left.Wire, At: at, Places: s.broughtBy(left, places), Lasts: true}, catchups)
	s.mu.Unlock()
	if err := s.save(ctx); err != nil && !errors.Is(err, errMoved) {
		s.b.metrics.unsureBatches.Inc()
		s.b.log.Debug("a session's record could not be written before a batch", zap.Error(err))
	}
}

// broughtBy adds to places how far wildcards have brought channels of late, and notes
// what they bring now. Whether there is more, who takes the session up has to look: this
// node may be behind.
func (s *subscriber) broughtBy(left bayeux.Left, places []placeRecord) []placeRecord {
	now := time.Now()
	if s.brought == nil {
		s.brought = brought{}
	}
	maps.DeleteFunc(s.brought, func(_ string, b broughtUpTo) bool { return now.Sub(b.at) > lateFor })
	for _, d := range slices.Concat(left.Sent, left.Queued) {
		p, err := store.ParsePosition(d.ID())
		had, there := s.brought[d.Channel()]
		if err == nil && d.Kept() && had.after.Before(p) && (there || len(s.brought) < standingMost) {
			s.brought[d.Channel()] = broughtUpTo{p, now}
		}
	}
	named := make(map[string]bool, len(places))
	for i := range places {
		p := &places[i]
		if named[p.Channel] = true; p.After.IsZero() {
			p.After, p.Lags = s.brought[p.Channel].after, true
		}
	}
	for channel, b := range s.brought {
		if !named[channel] && s.wildlyHears(channel) {
			places = append(places, placeRecord{Channel: channel, After: b.after, Lags: true})
		}
	}
	return places
}

// broughtBefore notes what another node has brought, which this one's rounds may be
// behind of. What that had only queued, or what did not arrive, this one brings.
func (s *subscriber) broughtBefore(left *leftRecord, arrived bool) {
	s.brought = brought{}
	for _, p := range left.Places {
		if _, under := p.first(arrived); !under && !p.After.IsZero() && len(s.brought) < standingMost {
			s.brought[p.Channel] = broughtUpTo{p.After, time.Now()}
		}
	}
}

// lasting returns what a living session wrote of itself, with At no earlier than from,
// up to which everything live has reached its client; nil if it wrote nothing that
// lasts.
func (l *leftRecord) lasting(from int64) *leftRecord {
	if l == nil || !l.Lasts {
		return nil
	}
	one := *l
	one.At = max(one.At, from)
	return &one
}
