package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// supersedeWait is how long a connection that comes again waits for the one that it
// replaces, if that is on another node.
const supersedeWait = time.Second

// ConnectStream serves a connection to a stream until the peer is gone, ctx ends or the
// node stops (product.md V4 to V16). lastEventID, if not "", is the last event that the
// peer has had: where no other connection shares the stream, it goes on right after
// that. Errors, before anything is written: *StreamError with 400, 404 or 422, *Error
// 5003 while the node stops, the store's.
func (b *Broker) ConnectStream(ctx context.Context, a *StreamAccount, id, lastEventID string, sink StreamSink) error {
	r, err := b.connect(ctx, a.account, id, lastEventID, sink)
	if r == nil {
		return err
	}
	defer b.readers.Done()
	if err == nil {
		r.run(ctx)
	}
	b.depart(ctx, r)
	return err
}

// connect makes a connection's reader and joins it to its stream. The caller departs
// from a reader also if there is an error, and calls readers.Done.
func (b *Broker) connect(ctx context.Context, a *account, id, lastEventID string, sink StreamSink) (*reader, error) {
	after, err := parseEventID(lastEventID)
	if err != nil {
		return nil, err
	}
	set, err := b.streams.Load(ctx, a.name)
	if err != nil {
		return nil, err
	}
	if set.Find(id) == nil {
		return nil, errNoStream
	}
	r, err := b.newReader(ctx, a, id, sink)
	if err != nil {
		return nil, err
	}
	if !after.IsZero() {
		b.supersede(ctx, r, after)
	}
	if err := b.join(ctx, r); err != nil {
		return r, err
	}
	return r, b.resume(ctx, r, after)
}

// ReplayQuery says what a connection that reads everything is shown (product.md V17).
type ReplayQuery struct {
	Since             time.Time // of created_at; zero: all
	Resources, Events []string
}

// ReplayStream serves a connection that gets every record kept that the query admits,
// and then what comes, until the peer is gone, ctx ends or the node stops. It shares
// nothing and keeps no place. lastEventID is as in ConnectStream. Errors: *StreamError
// with 400 or 422, as ConnectStream.
func (b *Broker) ReplayStream(ctx context.Context, a *StreamAccount, q ReplayQuery, lastEventID string, sink StreamSink) error {
	after, err := parseEventID(lastEventID)
	if err != nil {
		return err
	}
	for field, filter := range map[string][]string{"resources": q.Resources, "event_types": q.Events} {
		if err := checkFilter(field, filter); err != nil {
			return err
		}
	}
	r, err := b.newReader(ctx, a.account, "", sink)
	if err != nil {
		return err
	}
	defer b.readers.Done()
	r.filter = catchup.RecordFilter{Resources: q.Resources, Events: q.Events, Since: q.Since}
	if !r.live.Before(after) { // else it is from a log that is gone
		r.after = after
	}
	if err = b.join(ctx, r); err == nil {
		r.run(ctx)
	}
	b.depart(ctx, r)
	return err
}

func parseEventID(text string) (store.Position, error) {
	if text == "" {
		return store.Position{}, nil
	}
	p, err := store.ParsePosition(text)
	if err != nil {
		return p, &StreamError{Status: http.StatusBadRequest, Text: "Last-Event-ID is not the id of an event of this stream"}
	}
	return p, nil
}

// newReader makes a reader and lets it hear of records; the caller calls depart, and
// then readers.Done.
func (b *Broker) newReader(ctx context.Context, a *account, stream string, sink StreamSink) (*reader, error) {
	if !b.readers.add() {
		return nil, errEnding
	}
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // it never fails
	r := &reader{
		b: b, account: a, id: hex.EncodeToString(raw[:]), stream: stream, sink: sink,
		woken: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	head, err := b.opt.Store.Head(ctx, a.log, a.limits)
	if err == nil {
		r.live = head.Last
		err = a.desk.enter(b.opt.Store, r)
	}
	if err != nil {
		b.readers.Done()
		return nil, fmt.Errorf("broker: stream: %w", err)
	}
	if b.readers.ending() { // it may have come after the others were told
		r.end()
	}
	return r, nil
}

// join writes the reader into the row of its account.
func (b *Broker) join(ctx context.Context, r *reader) error {
	a := r.account
	me := catchup.StreamMember{ID: r.id, Node: b.nodes.id, Since: r.live, Seen: b.opt.Store.Now().UnixMilli()}
	var dead []holder
	var lapsed *store.GroupName
	set, err := b.streams.Change(ctx, a.name, func(set *catchup.StreamSet) (bool, error) {
		if r.among(set) != nil { // by an attempt whose outcome was not known
			return false, nil
		}
		dead, lapsed = b.prune(ctx, a, set), nil
		if r.stream == "" {
			if len(set.Replays) >= maxReplays {
				return false, errManyReplays
			}
			set.Replays = append(set.Replays, me)
			return true, nil
		}
		s := set.Find(r.stream)
		switch {
		case s == nil:
			return false, errNoStream
		case len(s.Members) >= b.opt.Streams.MaxConnections:
			return false, errManyMembers
		case len(s.Members) == 0 && s.Ended != 0 && me.Seen-s.Ended >= b.opt.Streams.CheckpointTTL.Milliseconds():
			old := s.Group(a.name)
			lapsed = &old
			s.Generation++ // from the beginning (V13)
		}
		s.Members, s.Ended = append(s.Members, me), 0
		return true, nil
	})
	if err != nil {
		return err
	}
	if s := set.Find(r.stream); s != nil {
		r.group, r.filter = s.Group(a.name), s.Filter()
		for _, m := range s.Members {
			if m.Since.Before(r.live) {
				r.live = m.Since // connection events since then are no past
			}
		}
	}
	a.desk.note(set)
	r.joined.Store(true) // a row from before does not end it any more
	b.tellStreams(a)
	if lapsed != nil {
		b.dropGroup(ctx, *lapsed)
	}
	if err := b.giveBack(ctx, dead); err != nil {
		return err
	}
	return b.releaseOrphans(ctx, r)
}

// releaseOrphans has connections give back what they held that are in no row any more,
// since their node died when it had taken them for gone.
func (b *Broker) releaseOrphans(ctx context.Context, r *reader) error {
	if r.stream == "" {
		return nil
	}
	// In this order: who holds something was in the row before it took that.
	state, err := b.opt.Store.State(ctx, r.group)
	if err != nil {
		return err
	}
	if len(state.Held) == 0 {
		return nil
	}
	set, err := b.streams.Load(ctx, r.account.name)
	if err != nil {
		return err
	}
	s := set.Find(r.stream)
	if s == nil {
		return errNoStream
	}
	for id := range state.Held {
		if s.Member(id) < 0 {
			if err := b.opt.Store.Leave(ctx, r.group, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// supersede ends the connection that the peer had before, which may not have been
// found to be dead yet: it is the one that wrote the event that the peer had last.
func (b *Broker) supersede(ctx context.Context, r *reader, last store.Position) {
	b.endWriterOf(ctx, r.account, r.stream, last)
	elsewhere := func() bool {
		set, err := b.streams.Load(ctx, r.account.name)
		s := set.Find(r.stream)
		return err == nil && s != nil && slices.ContainsFunc(b.living(ctx, r.account, s.Members), func(m catchup.StreamMember) bool { return m.Node != b.nodes.id })
	}
	if !b.opt.Store.Shared() || !elsewhere() {
		return
	}
	b.post(notice{Superseded: &superseded{Account: r.account.name, Stream: r.stream, Last: last}})
	for deadline := time.Now().Add(supersedeWait); time.Now().Before(deadline) && elsewhere(); {
		if pause(ctx, supersedeWait/20) != nil {
			return
		}
	}
}

// superseded is a connection that some node has and that its peer has left: the one
// that wrote an event.
type superseded struct {
	Account string         `json:"account"`
	Stream  string         `json:"stream"`
	Last    store.Position `json:"last"`
}

// hearSuperseded is told by another node.
func (b *Broker) hearSuperseded(s superseded) {
	for _, a := range b.accounts.all {
		if a.name != s.Account || len(a.desk.here()) == 0 || !b.readers.add() {
			continue
		}
		go func() { // it takes the store's time
			defer b.readers.Done()
			b.endWriterOf(context.Background(), a, s.Stream, s.Last)
		}()
	}
}

// endWriterOf ends the connection of this node that wrote a record.
func (b *Broker) endWriterOf(ctx context.Context, a *account, stream string, p store.Position) {
	for _, r := range a.desk.here() {
		if r.stream != stream || !r.joined.Load() || !r.wrote(p) {
			continue
		}
		b.metrics.superseded.Inc()
		b.depart(ctx, r) // its own goroutine may be stuck in a write
	}
}

// resume begins right after an event, if the reader has the stream for itself.
func (b *Broker) resume(ctx context.Context, r *reader, after store.Position) error {
	if after.IsZero() || r.account.desk.members(r.stream) != 1 {
		return nil
	}
	if r.live.Before(after) {
		return nil // from a log that is gone
	}
	return b.opt.Store.Seek(ctx, r.group, after)
}

// depart ends a reader: it settles what is due, gives back the rest, and goes from the
// row. Called again, it does nothing that was done. What the store does not take is
// done later.
func (b *Broker) depart(ctx context.Context, r *reader) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	r.close()
	r.account.desk.exit(r)
	if !r.departing.CompareAndSwap(false, true) {
		return
	}
	if err := b.leave(ctx, r); err != nil {
		b.log.Warn("a connection to a stream ended, and the store does not know yet; it is tried again", zap.Error(err))
	}
}

// leave is what depart does in the store. A reader that it fails for is kept at the
// desk for the next try.
func (b *Broker) leave(ctx context.Context, r *reader) (err error) {
	d := r.account.desk
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			d.gone[r.id] = r
		} else {
			delete(d.gone, r.id)
		}
	}()
	if r.stream != "" && r.joined.Load() {
		if at, _ := r.due(); len(at) > 0 {
			if err := b.opt.Store.Settle(ctx, r.group, at); err != nil {
				return err
			}
		}
		if err := b.opt.Store.Leave(ctx, r.group, r.id); err != nil {
			return err
		}
	}
	set, err := b.streams.Change(ctx, r.account.name, func(set *catchup.StreamSet) (bool, error) {
		if r.among(set) == nil {
			return false, nil
		}
		r.remove(set, b.opt.Store.Now())
		return true, nil
	})
	if err != nil {
		return err
	}
	d.note(set)
	d.wake()
	b.tellStreams(r.account)
	return nil
}

// remove takes the reader from a row that it is in.
func (r *reader) remove(set *catchup.StreamSet, now time.Time) {
	me := func(m catchup.StreamMember) bool { return m.ID == r.id }
	if r.stream == "" {
		set.Replays = slices.DeleteFunc(set.Replays, me)
		return
	}
	s := set.Find(r.stream)
	if s.Members = slices.DeleteFunc(s.Members, me); len(s.Members) == 0 {
		s.Ended = now.UnixMilli()
	}
}

// EndStreams ends all connections to streams, and lets no more begin: the node stops.
// Their peers connect again, elsewhere or later (product.md V12).
func (b *Broker) EndStreams() {
	b.readers.end()
	for _, a := range b.accounts.all {
		for _, r := range a.desk.here() {
			r.end()
		}
	}
}
