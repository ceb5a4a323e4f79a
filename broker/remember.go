package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// What the loss of a node costs: a session that keeps up is resumed as of keepsUp
// before its node's last watermark, so at most that much comes again, with the same
// ids. One that is further behind has its own position in its record. The watermark
// is written after the records, so that it never is ahead of what they know.
const (
	// rememberEvery is how often sessions are looked at and the watermark is moved.
	rememberEvery = time.Second
	// keepsUp is within what time a session that needs no position of its own has
	// everything; it is above the time a ping batch takes (decided.md 4). One that is
	// fallsBehind behind gets a position of its own.
	keepsUp     = 10 * time.Second
	fallsBehind = 8 * time.Second
	// behindEvery is how often the position of one that stays behind is written.
	behindEvery = 30 * time.Second
	// afterLife is how long a record outlives the session's own life, so that it
	// need not be touched with each connect.
	afterLife = 10 * time.Minute
	// mostUnread bounds the catch-ups under way of one session: each is in its record.
	mostUnread = 1024
	// rememberAtOnce bounds the records written at the same time.
	rememberAtOnce = 64
)

// remembered is what a subscriber keeps to be taken up again. It is guarded by the
// subscriber's mu, but for saving.
type remembered struct {
	// saving is held while a record is written, so that an older one never follows
	// a newer. It is taken before mu.
	saving sync.Mutex

	record  sessionRecord
	version uint64    // of the record as it was written; 0: not yet. Guarded by saving
	written uint64    // its Seq, likewise
	saved   time.Time // when that was; zero: never
	dirty   bool
	unread  []*unread
	// introduced are the rooms in which the session's user is shown, and since when that
	// is written; guarded by saving.
	introduced map[string]time.Time

	// Everything live up to safe has reached the client; when it has the first
	// markQueued deliveries, everything up to markAt has.
	safe, markAt int64
	markQueued   uint64
	marked       bool
	wrote        time.Time // when Behind was last written
}

// unread is a catch-up under way.
type unread struct {
	unreadRecord
	// ended: all of it was queued, as one of the first queued deliveries.
	ended  bool
	queued uint64
	place  *placeRecord // as of when the record's Left was made; nil: it began since
	was    catchup.Seam // of its channel when it was asked for, should it be refused
}

// noteSubscriptions writes down what the session listens to. The caller is one of
// its handler calls.
func (s *subscriber) noteSubscriptions() {
	s.attend()
	s.view()
	var patterns []patternRecord
	var topics []topicRecord
	var rooms []string
	for _, l := range s.listeners {
		if l.oid != (channels.OID{}) && !slices.Contains(rooms, l.space.feed) {
			rooms = append(rooms, l.space.feed)
		}
		for p := range l.patterns {
			if l.besides() {
				continue // comes back with the object's own
			}
			name := l.prefix + p.String()
			patterns = append(patterns, patternRecord{Pattern: name, Grade: grade(l.grade.Load()), Since: s.patternSince[name]})
		}
		for t, sm := range l.seams {
			r := topicRecord{Channel: l.prefix + t.name.String(), Grade: grade(l.grade.Load()), User: l.user, Exact: sm.exact, Numbered: sm.numbered, Seam: sm.State()}
			if len(sm.channels) > 0 {
				r.Catchups = make(map[string]int, len(sm.channels))
				for name, n := range sm.channels {
					r.Catchups[name] = n
				}
			}
			topics = append(topics, r)
		}
	}
	counts := s.session.Counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory.record.Counts = s.memory.record.Counts || counts
	s.memory.record.Patterns, s.memory.record.Topics, s.memory.record.Rooms = patterns, topics, rooms
	s.memory.record.Tap, s.memory.record.Ends = s.tap, 0
	if !s.ends.IsZero() {
		s.memory.record.Ends = s.ends.UnixMilli()
	}
	s.memory.dirty = true
}

// errMoved: another node has the session, or it has ended there.
var errMoved = errors.New("broker: the session is not here any more")

// save writes the record and waits until it is kept. errMoved: another node has taken
// the session; then it is closed here.
func (s *subscriber) save(ctx context.Context) error {
	m := &s.memory
	m.saving.Lock()
	defer m.saving.Unlock()
	data, err := s.marshal()
	s.mu.Lock()
	gone := s.closed
	s.mu.Unlock()
	if gone {
		return nil
	}
	if err == nil {
		err = s.write(ctx, data)
	}
	if err != nil {
		s.mu.Lock()
		m.dirty = true
		s.mu.Unlock()
		return fmt.Errorf("broker: keep session: %w", err)
	}
	s.b.metrics.sessionRecords.Inc()
	s.introduce(ctx)
	return nil
}

// marshal returns the record as it is now; nothing of it is to be written then. The
// caller holds saving.
func (s *subscriber) marshal() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.memory
	m.record.Unread = m.record.Unread[:0]
	var places []placeRecord
	for _, u := range m.unread {
		m.record.Unread = append(m.record.Unread, u.unreadRecord)
		p := placeRecord{Channel: u.Channel, Lags: true}
		if u.place != nil {
			p = *u.place
		}
		places = append(places, p)
	}
	if m.record.Left != nil {
		m.record.Left.Catchups = places
	}
	m.dirty, m.saved = false, time.Now()
	m.record.Seq = m.written + 1
	return json.Marshal(&m.record)
}

// write puts the record where the session still is ours. The caller holds saving.
func (s *subscriber) write(ctx context.Context, data []byte) error {
	m := &s.memory
	return s.fenced(ctx, func() error {
		version, err := s.b.opt.Store.Put(ctx, tableSession, s.key, store.Put{Data: data, TTL: s.b.recordLife(), IfVersion: &m.version})
		if err == nil {
			m.version, m.written = version, m.written+1
		}
		return err
	})
}

// fenced does what changes the record if it has the version that is known, and again
// with the one that adopt finds: after the store has gone back, others write it as well
// for a while (departed.go). The caller holds saving.
func (s *subscriber) fenced(ctx context.Context, change func() error) error {
	var rivals []string
	for range claimTries {
		err := change()
		if err == nil {
			for _, rival := range rivals {
				s.b.mail.tell(rival, letter{Kind: letterMoved, Key: s.key})
			}
		}
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		rival, err := s.adopt(ctx)
		if err != nil {
			return err
		}
		if rival != "" && !slices.Contains(rivals, rival) {
			rivals = append(rivals, rival)
		}
	}
	s.b.metrics.refused("contended session").Inc()
	return errUnavailable()
}

// adopt takes the version of a record that another write of ours, whose outcome was
// not known, has left, or to which the store has gone back when it lost its newest: Seq
// rises, so nobody has written after us; rival is who has it then, and will not
// once we write. errMoved if it is another's. The caller holds saving.
func (s *subscriber) adopt(ctx context.Context) (rival string, err error) {
	r, version, err := s.b.loadSession(ctx, s.key)
	switch {
	case errors.Is(err, store.ErrNotFound) && s.b.nodes.lateTurned():
		s.b.metrics.recordForks.Inc()
		s.memory.version = 0 // the store does not know that it began
		return "", nil
	case errors.Is(err, store.ErrNotFound) && s.b.nodes.doubtful():
		return "", fmt.Errorf("%w: it may have gone back: %w", store.ErrUnavailable, err)
	case errors.Is(err, store.ErrNotFound):
		s.session.Close(bayeux.ReasonKicked) // it was ended elsewhere, or has expired
		return "", errMoved
	case err != nil:
		return "", err
	case r.Seq < s.memory.written:
		s.b.metrics.recordForks.Inc()
		s.b.nodes.wentBack()
		if r.Owner != s.b.nodes.id {
			rival = r.Owner
		}
	case r.Owner != s.b.nodes.id:
		s.session.Close(bayeux.ReasonMoved)
		return "", errMoved
	}
	s.memory.version = version
	return rival, nil
}

// ahead reports whether this node has written a newer record than r.
func (s *subscriber) ahead(r *sessionRecord) bool {
	s.memory.saving.Lock()
	defer s.memory.saving.Unlock()
	return r.Seq < s.memory.written
}

func (b *Broker) recordLife() time.Duration { return b.opt.SessionLife + afterLife }

// erase forgets the record of a session that has ended.
func (s *subscriber) erase(ctx context.Context) {
	m := &s.memory
	m.saving.Lock()
	defer m.saving.Unlock()
	s.takeLeaves(ctx)
	err := s.fenced(ctx, func() error { return s.b.opt.Store.Remove(ctx, tableSession, s.key, &m.version) })
	if err != nil && !errors.Is(err, errMoved) {
		s.b.log.Warn("the record of a session that ended stays until it expires", zap.Error(err))
	}
}

// look moves the session's marks on and reports whether its record has to be
// written. fanned is the time up to which everything was queued.
func (s *subscriber) look(fanned int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleLandings()
	m, flows := &s.memory, s.flows
	queued, arrived := s.session.Progress() // after flows: what one has brought at its end counts
	switch {
	case flows > 0:
		m.marked = false // something waits behind a replay: nothing to conclude
	case m.marked && arrived >= m.markQueued:
		m.safe, m.marked = m.markAt, false
		fallthrough
	case !m.marked:
		m.marked, m.markAt, m.markQueued = true, max(fanned, m.safe), queued
	}
	rest := m.unread[:0]
	for _, u := range m.unread {
		if u.ended && arrived >= u.queued {
			m.dirty = true
			continue
		}
		rest = append(rest, u)
	}
	m.unread = rest
	behind := int64(0)
	if fanned-m.safe > fallsBehind.Milliseconds() {
		behind = m.safe
	}
	switch {
	case (behind == 0) != (m.record.Behind == 0), behind > m.record.Behind && time.Since(m.wrote) > behindEvery:
		m.record.Behind, m.wrote, m.dirty = behind, time.Now(), true
	}
	return m.dirty || time.Since(m.saved) > m.renew(s.b.recordLife())
}

// owes notes that what was said after p is due live, though all of the session's other
// channels may be further: a subscription goes on where it was dropped, or where a catch-up
// ended. A node that takes the session over when this one is lost begins there.
func (s *subscriber) owes(p store.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, at := &s.memory, p.MS()
	if at >= m.safe {
		return
	}
	m.safe, m.marked = at, false
	if m.record.Behind != 0 || s.b.fanned.Load()-at > fallsBehind.Milliseconds() {
		m.record.Behind, m.wrote, m.dirty = at, time.Now(), true
	}
}

// renew is after what time a record is written again though nothing has changed: up
// to half its life, but not all at once of sessions that came at once.
func (m *remembered) renew(life time.Duration) time.Duration {
	spread := life / 8
	return life/2 - time.Duration(uint64(m.saved.UnixNano())*0x9e3779b97f4a7c15>>1)%spread
}

// replayed: all of a catch-up is queued; the record names it until it has arrived.
func (s *subscriber) replayed(u *unread) {
	queued, _ := s.session.Progress()
	s.mu.Lock()
	defer s.mu.Unlock()
	u.ended, u.queued = true, queued
}

// dropUnread: the client does not want a catch-up any more, or it was undone. The next
// record does not name it, so that nobody begins it again.
func (s *subscriber) dropUnread(u *unread) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory.unread = slices.DeleteFunc(s.memory.unread, func(other *unread) bool { return other == u })
	s.memory.dirty = true
}

// rememberSessions is one round: the records of sessions, then the watermark.
func (b *Broker) rememberSessions(ctx context.Context) {
	at, moved := b.hub.fanned()
	at = max(at, b.started-1) // before its first round the hub knows of none
	b.fanned.Store(at)
	b.mu.Lock()
	all := make([]*subscriber, 0, len(b.subscribers))
	for _, s := range b.subscribers {
		all = append(all, s)
	}
	b.mu.Unlock()
	room := make(chan struct{}, rememberAtOnce)
	var wg sync.WaitGroup
	var failed atomic.Int64
	var last atomic.Pointer[error]
	for _, s := range all {
		if b.opt.EndOnExpiry && s.ended(b.opt.Now()) {
			s.session.Close(bayeux.ReasonKicked)
			continue
		}
		if !s.look(at) {
			continue
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			if err := s.save(ctx); err != nil && !errors.Is(err, errMoved) {
				failed.Add(1)
				last.Store(&err)
			}
		})
	}
	wg.Wait()
	if n := failed.Load(); n > 0 && ctx.Err() == nil {
		b.log.Warn("records of sessions could not be written; they are tried again", zap.Int64("sessions", n), zap.Error(*last.Load()))
	}
	b.overdue.settleAll(ctx)
	b.advanced = b.advanced || moved
	if at = b.mayWrite(at); b.advanced && failed.Load() == 0 && len(all) > 0 && at > b.nodes.at.Load() {
		b.advanced = false
		b.nodes.at.Store(at)
		b.nodes.moved.Store(true)
	}
}

// leave writes the record of a session that goes on elsewhere or after a restart:
// where it stands, exactly, and that it lives nowhere now. Its handler is called no
// more.
func (s *subscriber) leave(ctx context.Context) {
	left, places, at := s.standing(ctx, false)
	catchups := s.catchups(left)
	s.noteSubscriptions()
	m := &s.memory
	s.mu.Lock()
	m.record.Owner, m.record.Behind = "", max(m.safe, reached(places, at))
	s.stand(&leftRecord{Wire: left.Wire, At: at, Places: places, Lasts: left.Numbered}, catchups)
	s.mu.Unlock()
	err := errBarred
	if !s.b.overdue.barred() {
		err = s.save(ctx)
	}
	s.b.log.Debug("a session left", zap.String("session", s.key[:12]), zap.Int("sent", len(left.Sent)), zap.Int("queued", len(left.Queued)),
		zap.Int64("at", at), zap.ByteString("wire", left.Wire), zap.Error(err))
	if errors.Is(err, errMoved) {
		return
	}
	if err == nil {
		if s.b.opt.Store.Shared() {
			s.departed()
		}
		return
	}
	s.b.log.Debug("a session's record could not be written when it left; it is tried again", zap.Error(err))
	m.saving.Lock()
	defer m.saving.Unlock()
	data, err := s.marshal()
	if err != nil {
		s.b.log.Error("a session's record cannot be written", zap.Error(err))
		return
	}
	s.b.overdue.add(s.key, data, m.version, m.written)
}

// departed keeps the record with which the session left, as it was written.
func (s *subscriber) departed() {
	m := &s.memory
	m.saving.Lock()
	defer m.saving.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, err := json.Marshal(&m.record); err == nil {
		s.b.departed.keep(s.key, data, m.written)
	}
}

// errBarred: the store is not asked, since it has just not answered.
var errBarred = fmt.Errorf("broker: not tried: %w", store.ErrUnavailable)

// mayWrite returns the watermark that may be written where at has been reached: what
// sessions have had that are being taken up, or that left and are not written down,
// is known by nothing else.
func (b *Broker) mayWrite(at int64) int64 {
	at = b.overdue.bound(at)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, since := range b.taking {
		at = min(at, since)
	}
	return at
}

var _ bayeux.Resumer = (*Broker)(nil)
