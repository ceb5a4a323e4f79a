package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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
	// claimTime and claimTries bound for how long a node tries to get hold of a session
	// for which others contend, or whose owner is slow; forwardTime is for how long a
	// message is tried to be carried out where it lives. claimPause is what it waits at first, and mostPause at
	// most.
	claimTime   = (mostUnanswered + 1) * answerIn
	forwardTime = mostUnanswered * answerIn
	// heldTime is for how long it is tried where a node has the session that says that it
	// lives, and does not answer: less than that node remembers what it was asked for.
	heldTime   = 2 * claimTime
	claimTries = 40
	claimPause = 25 * time.Millisecond
	mostPause  = 200 * time.Millisecond
	// mostFreed is how often an owner is asked to let go of a session that another then
	// takes: a connect that came late, of a connection that is gone, must not fight for
	// it with the one that the client waits on.
	mostFreed = 3
	// A session that goes from node to node with every request costs each of them all
	// that it listens to: paceFree times it may at once, then once each paceEach.
	paceFree = 20
	paceEach = 100 * time.Millisecond
	// recentLeft is how far behind a session may be that its new owner's watermark
	// covers.
	recentLeft = 5 * time.Second
)

// leftRecord is what an owner wrote when it let go of a session.
type leftRecord struct {
	Wire   json.RawMessage `json:"wire,omitempty"` // bayeux.Left
	At     int64           `json:"at"`             // up to which everything was handed to the queue, in ms
	Places []placeRecord   `json:"places,omitempty"`
	// Catchups are the places of the record's Unread, in that order.
	Catchups []placeRecord `json:"catchups,omitempty"`
	// Lasts: the client says what of it has arrived, so it holds until the next is written,
	// whoever has the session.
	Lasts bool `json:"lasts,omitempty"`
}

// claimed is a session whose record is ours now.
type claimed struct {
	sessionRecord
	version uint64
	before  *sessionRecord
	left    *leftRecord // what the owner before has left; nil: it could not
	// from is a time of the store's clock, in ms, up to which everything live has
	// reached the client; where left says something it counts.
	from int64
}

// claim makes this node the owner of a session, for a connect, or for an errand whose
// session lives nowhere. Errors: store.ErrNotFound when nobody knows the session,
// bayeux.ErrLate when a newer connect has come elsewhere, refusals, and the store's.
func (b *Broker) claim(ctx context.Context, key string, m *bayeux.Message) (*claimed, error) {
	o := m.Ordinal()
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	if err := b.overdue.settle(ctx, key); err != nil {
		return nil, err
	}
	asked := uint64(0) // the version about which the owner said that it knows nothing
	freed := 0         // how often an owner has let go of it for us
	look := lookup{b: b, key: key}
	var wait backoff
	for range claimTries {
		r, version, err := look.record(ctx)
		if err != nil {
			return nil, err
		}
		if version != asked {
			free, answer, err := b.free(ctx, r.Owner, letter{Kind: letterRelease, Key: key, Connect: o, Errand: m.Errand}, &wait)
			if err != nil {
				return nil, err
			}
			switch answer {
			case letterUnknown:
				asked = version
			case letterDone:
				freed++
			}
			if freed > mostFreed {
				break // whoever takes it each time has the newer connect
			}
			if !free {
				continue
			}
		}
		if err := b.inTurn(ctx, key, r, version, o); err != nil {
			return nil, err
		}
		if err := b.pace(ctx, r); err != nil {
			return nil, err
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
// none to ask; after an answer, which is given, the record has to be looked at again.
func (b *Broker) free(ctx context.Context, owner string, l letter, wait *backoff) (free bool, answer string, err error) {
	alive, err := b.nodes.alive(ctx, owner)
	if err != nil || !alive {
		return !alive, "", err
	}
	asked := time.Now()
	a, err := b.mail.ask(ctx, owner, l)
	switch {
	case errors.Is(err, errNoAnswer):
		return b.nodes.mute(ctx, owner, asked), "", nil
	case errors.Is(err, errDeaf):
		return false, "", nil
	case err != nil:
		return false, a.Kind, err
	case a.Kind == letterLate:
		err = bayeux.ErrLate
	case a.Kind == letterBusy:
		err = wait.pause(ctx)
	}
	return false, a.Kind, err
}

// inTurn returns bayeux.ErrLate for a connect that is older than the newest of a session
// that lives nowhere, and counts it in the record, so that a client whose numbers begin
// anew is served in the end.
func (b *Broker) inTurn(ctx context.Context, key string, r *sessionRecord, version uint64, o bayeux.Ordinal) error {
	if r.Left == nil {
		return nil
	}
	wire, late := bayeux.Overtaken(r.Left.Wire, o)
	if !late {
		return nil
	}
	counted, left := *r, *r.Left
	left.Wire, counted.Left, counted.Seq = wire, &left, r.Seq+1
	data, err := json.Marshal(&counted)
	if err == nil {
		_, err = b.opt.Store.Put(ctx, tableSession, key, store.Put{Data: data, TTL: b.recordLife(), IfVersion: &version})
	}
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("broker: count a late connect: %w", err)
	}
	return bayeux.ErrLate
}

// backoff is the pauses of who tries again and again.
type backoff time.Duration

func (w *backoff) pause(ctx context.Context) error {
	*w = max(backoff(claimPause), min(2**w, backoff(mostPause)))
	return pause(ctx, time.Duration(*w))
}

// pace notes in a record that its session moves, and waits if it does so too fast.
func (b *Broker) pace(ctx context.Context, r *sessionRecord) error {
	now, each := b.opt.Store.Now().UnixMilli(), paceEach.Milliseconds()
	r.Paced = max(r.Paced, now) + each
	ahead := r.Paced - now - paceFree*each
	if ahead <= 0 {
		return nil
	}
	b.metrics.paced.Inc()
	return pause(ctx, time.Duration(min(ahead, each))*time.Millisecond)
}

// claimRecord writes this node into a record that has a version.
func (b *Broker) claimRecord(ctx context.Context, key string, r *sessionRecord, version uint64) (*claimed, error) {
	c := &claimed{sessionRecord: *r, left: r.Left, from: r.Behind}
	if c.from == 0 && r.Left != nil && r.Owner == "" {
		c.from = r.Left.At
	}
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
	if lasting := r.Left.lasting(c.from); lasting != nil {
		c.left = lasting
	}
	c.Owner, c.Left, c.Behind, c.Seq = b.nodes.id, r.Left.lasting(0), c.from, r.Seq+1
	if b.opt.Store.Now().UnixMilli()-c.from < recentLeft.Milliseconds() {
		c.Behind = 0 // what our watermark will say is far enough back
	}
	data, err := json.Marshal(&c.sessionRecord)
	if err != nil {
		return nil, err
	}
	c.version, err = b.opt.Store.Put(ctx, tableSession, key, store.Put{Data: data, TTL: b.recordLife(), IfVersion: &version})
	switch {
	case err == nil:
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull):
		return nil, fmt.Errorf("broker: claim session: %w", err)
	default: // it may have been written
		b.putBack(key, r, c.from, 0)
		return nil, fmt.Errorf("broker: claim session: %w", err)
	}
	c.before = r
	if r.Owner != "" && b.nodes.beats(ctx, r.Owner) {
		b.mail.tell(r.Owner, letter{Kind: letterMoved, Key: key})
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

// take makes the caller the only one of this node who takes a session up, and has it
// let go where it lives here already, behind another mount; the caller calls what it
// returns when that is over. Errors: 503 when it does not end in time, bayeux.ErrLate as
// of claim.
func (b *Broker) take(ctx context.Context, key string, m *bayeux.Message) (done func(), err error) {
	var wait backoff
	for range claimTries {
		b.mu.Lock()
		s := b.subscribers[key]
		_, taking := b.taking[key]
		if s == nil && !taking {
			b.taking[key] = b.opt.Store.Now().UnixMilli()
			b.mu.Unlock()
			return func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				delete(b.taking, key)
			}, nil
		}
		b.mu.Unlock()
		if s != nil && !taking {
			if m.Errand != "" {
				return nil, bayeux.ErrLate // only a connect takes it away
			}
			within, cancel := context.WithTimeout(ctx, obeyIn)
			_, err := s.session.Release(within, m.Ordinal())
			cancel()
			switch {
			case errors.Is(err, bayeux.ErrLate):
				return nil, err
			case err == nil:
				continue
			}
		}
		if wait.pause(ctx) != nil {
			break
		}
	}
	b.metrics.refused("contended session").Inc()
	return nil, errUnavailable()
}

// Forward is part of bayeux.Resumer: the message is carried out where the session
// lives (decided.md 17).
func (b *Broker) Forward(ctx context.Context, _ bayeux.Peer, m *bayeux.Message) ([]byte, error) {
	message := m.Forwarded()
	if len(message) > mostCarried {
		b.metrics.refused("forward too large").Inc()
		return nil, &bayeux.Error{Code: 413, Text: "Message too large"}
	}
	select {
	case b.mail.forwards <- struct{}{}:
		defer func() { <-b.mail.forwards }()
	default:
		b.metrics.refused("forward").Inc()
		return nil, errUnavailable()
	}
	key := sessionKey(m.ClientID)
	if err := b.overdue.settle(ctx, key); err != nil {
		return nil, storeRefusal(err, b, "forward")
	}
	if m.Errand == "" { // else it was carried out elsewhere perhaps, as the same one
		m.Errand = b.newErrand()
	}
	within, cancel := context.WithTimeout(ctx, heldTime)
	defer cancel()
	look, asked := lookup{b: b, key: key}, uint64(0)
	held := false // by a node that has its lease and does not answer
	var wait backoff
	for began := time.Now(); within.Err() == nil && (held || time.Since(began) < forwardTime); {
		r, version, err := look.record(within)
		switch {
		case err != nil && within.Err() != nil:
			continue
		case errors.Is(err, store.ErrNotFound):
			return nil, bayeux.ErrNoSession
		case err != nil:
			return nil, storeRefusal(err, b, "forward")
		case version == asked && version != 0:
			return nil, bayeux.ErrHere
		case r.Owner != "" || !b.opt.Store.Shared():
			ext, kind, err := b.carryOut(ctx, r.Owner, letter{Kind: letterCarry, Key: key, Message: message, Errand: m.Errand})
			if err != nil || kind == letterDone {
				return ext, err
			}
			if kind == letterUnknown {
				asked = version
			}
			held = kind == letterBusy
		default:
			held = false
		}
		// It is on its way from one node to another. Were it taken here, it could not be
		// told whether what was sent has arrived.
		_ = wait.pause(within)
	}
	if held || ctx.Err() != nil {
		// It may live there on a socket, which is not taken from a client that does not
		// connect: it asks again.
		b.metrics.refused("busy session").Inc()
		return nil, errUnavailable()
	}
	return nil, bayeux.ErrHere
}

// carryOut has the owner of a session carry a message out, and returns the reply's
// ext, or how it answered otherwise: letterBusy also where it did not and has its lease.
// bayeux.ErrHere: there is nobody who could.
func (b *Broker) carryOut(ctx context.Context, owner string, l letter) (ext []byte, kind string, err error) {
	alive, err := b.nodes.alive(ctx, owner)
	if err != nil {
		return nil, "", storeRefusal(err, b, "forward")
	}
	var answer letter
	asked := time.Now()
	s, taking := b.subscriberOf(l.Key)
	switch err = errNoAnswer; {
	case alive:
		answer, err = b.mail.ask(ctx, owner, l)
	case owner == b.nodes.id && s != nil && !taking: // behind another mount
		answer, err = b.mail.carry(ctx, s, l), nil
	}
	switch {
	case errors.Is(err, errNoAnswer):
		if dead := !alive || b.nodes.mute(ctx, owner, asked); dead && !b.nodes.beats(ctx, owner) {
			return nil, "", bayeux.ErrHere
		}
		return nil, letterBusy, nil
	case errors.Is(err, errDeaf):
		return nil, letterBusy, nil
	case err != nil:
		return nil, "", storeRefusal(err, b, "forward")
	case answer.Kind == letterDone && answer.Refusal != nil:
		return nil, letterDone, answer.Refusal.error()
	}
	return answer.Ext, answer.Kind, nil
}

// verify looks whether a session is still this node's, and drops it if not. A record
// that the store has set back is written again.
func (b *Broker) verify(ctx context.Context, s *subscriber) error {
	r, _, err := b.loadSession(ctx, s.key)
	switch {
	case errors.Is(err, store.ErrNotFound) && !b.nodes.lateTurned():
		if !b.nodes.doubtful() {
			s.session.Close(bayeux.ReasonKicked)
		} // else it shows when the record is written next
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case err != nil, s.ahead(r):
		b.nodes.wentBack()
		if err := s.save(ctx); err != nil && !errors.Is(err, errMoved) {
			return err
		}
	case r.Owner != b.nodes.id:
		s.session.Close(bayeux.ReasonMoved)
	}
	return nil
}

// stillHere returns nil if the session may go on here: others may have taken it while
// this node could not say that it lives, or did not read what they asked it for. Errors: 503
// when that cannot be told.
func (b *Broker) stillHere(ctx context.Context, s *subscriber) error {
	doubts := b.doubts.Load()
	leased, _, _ := b.nodes.leased()
	heard := leased && b.mail.hears(answerIn)
	if heard && s.sure.Load() == doubts {
		return nil
	}
	if err := b.verify(ctx, s); err != nil {
		return storeRefusal(err, b, "connect")
	}
	if heard {
		s.sure.Store(doubts)
	}
	return nil
}

// verifySessions looks, after this node could not be sure to be taken for alive or to
// hear of it, which of its sessions others have taken meanwhile, and drops those.
func (b *Broker) verifySessions(ctx context.Context) {
	b.mu.Lock()
	all := make(chan *subscriber, len(b.subscribers))
	for _, s := range b.subscribers {
		all <- s
	}
	b.mu.Unlock()
	close(all)
	var crew sync.WaitGroup
	for range rememberAtOnce {
		crew.Go(func() {
			for s := range all {
				if ctx.Err() != nil {
					return // each looks for itself when its client comes
				}
				if err := b.verify(ctx, s); err != nil && ctx.Err() == nil {
					b.log.Warn("it is not known whether a session is still here", zap.Error(err))
					s.session.Close(bayeux.ReasonMoved)
				}
			}
		})
	}
	crew.Wait()
}
