package memory

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// submit is one call of Submit on its way.
type submit struct {
	log     store.LogName
	limits  store.Limits
	records []store.Record
	done    func(store.Appended, error)

	// set by the committer
	out store.Appended
	err error
}

// Submit appends records; see store.Log. What does not fit into the queue is
// settled at once with store.ErrUnavailable.
func (s *Store) Submit(name store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	size := 0
	err := name.Validate()
	for i := range records {
		size += len(records[i].Data) + entryOverhead
		if records[i].HasCopy() {
			size += len(records[i].Copy.Data)
		}
		if bad := records[i].Validate(); bad != nil {
			err = bad
		}
	}
	if err == nil {
		err = s.queue.Push(&submit{log: name, limits: limits, records: records, done: done}, size)
	}
	if err != nil {
		done(store.Appended{}, fmt.Errorf("memory: append: %w", err))
	}
}

// commit is the committer: it takes what was submitted, places it, and tells
// watchers first and publishers after.
func (s *Store) commit() {
	var subs []*submit
	var tails []store.Tail
	for {
		var more bool
		if subs, more = s.queue.Take(subs[:0], maxTake); !more {
			return
		}
		n := 0
		for _, u := range subs {
			n += len(u.records)
		}
		tails = make([]store.Tail, 0, n) // anew, for watchers may keep them
		s.clock.Begin()
		s.mu.Lock()
		for _, u := range subs {
			if u.err = s.place(u, &tails); u.err != nil {
				u.err = fmt.Errorf("memory: append: %w", u.err)
			}
		}
		s.mu.Unlock()
		s.feeds.Announce(tails)
		s.clock.Settle()
		for i, u := range subs {
			u.done(u.out, u.err)
			subs[i] = nil
		}
	}
}

// place gives the records of u their positions; mu is held.
func (s *Store) place(u *submit, tails *[]store.Tail) error {
	u.out.Positions = make([]store.Position, len(u.records))
	u.out.Prior = make([]bool, len(u.records))
	if need := u.cost(); need > 0 && !s.room(need) {
		u.out = store.Appended{}
		return store.ErrFull
	}
	if !u.limits.Keeps() {
		s.placeLive(u, tails)
	} else {
		s.placeKept(u, tails)
	}
	for i := range u.records {
		if r := &u.records[i]; r.HasCopy() && !u.out.Prior[i] {
			a := s.opened(r.Copy.To, r.Copy.Limits)
			a.add(r.Copied(u.out.Positions[i]), tails)
			a.close()
		}
	}
	return nil
}

// placeKept puts the records of u into their log; mu is held.
func (s *Store) placeKept(u *submit, tails *[]store.Tail) {
	a := s.opened(u.log, u.limits)
	for i := range u.records {
		r := &u.records[i]
		if p, ok := s.seen(u.log, r.Nonce); ok {
			u.out.Positions[i], u.out.Prior[i] = p, true
			continue
		}
		p := a.add(r.Data, tails)
		s.remember(u.log, r, p)
		u.out.Positions[i] = p
	}
	a.close()
}

// appending is a log while records are put behind its end; mu is held.
type appending struct {
	s      *Store
	name   store.LogName
	limits store.Limits
	l      *log           // nil: there is none yet
	prev   store.Position // newest of what was there before l
}

// opened returns a log to append to, without what was idle.
func (s *Store) opened(name store.LogName, limits store.Limits) appending {
	a := appending{s: s, name: name, limits: limits, l: s.logs[name]}
	if a.l != nil && window.Idle(limits, a.l.last(), s.clock.Now()) {
		a.prev = a.l.last()
		s.drop(name, a.l)
		a.l = nil
	}
	return a
}

// add puts a record behind the end and returns its position.
func (a *appending) add(data []byte, tails *[]store.Tail) store.Position {
	before, p := store.Position{}, store.Position{}
	if a.l == nil {
		a.l, p = a.s.begin(a.name, a.prev)
	} else {
		before = a.l.last()
		p = store.NewPosition(a.s.kept(a.name, before), before.Epoch(), before.N()+1)
	}
	e := store.Entry{Position: p, Data: data}
	a.l.entries = append(a.l.entries, entry{Entry: e})
	a.s.grow(a.l, entryOverhead+int64(len(data)))
	*tails = append(*tails, store.Tail{Log: a.name, Prev: before, Kept: true, Entry: e})
	return p
}

// close trims what has grown too long.
func (a *appending) close() {
	if a.l == nil {
		return
	}
	a.l.limits = a.limits
	if over := len(a.l.entries) - a.limits.Length; a.limits.Length > 0 && over > max(32, a.limits.Length/2) {
		a.s.bytes -= a.l.trim(a.s.clock.Now())
	}
}

// begin starts an epoch of a log, whose newest position so far is prev.
func (s *Store) begin(name store.LogName, prev store.Position) (*log, store.Position) {
	if v := s.live[name]; v != nil && prev.Before(v.last) {
		prev = v.last
	}
	ms := s.clock.Epoch(prev)
	l := &log{start: store.NewPosition(ms, rand.Uint32(), uint64(ms))}
	s.hold(name, l)
	return l, l.start
}

// hold makes l the log of that name; mu is held.
func (s *Store) hold(name store.LogName, l *log) {
	s.logs[name] = l
	if s.paths[name.Feed] == nil {
		s.paths[name.Feed] = make(map[string]*log)
	}
	s.paths[name.Feed][name.Path] = l
	s.grow(l, logOverhead+int64(len(name.Feed)+len(name.Path)))
}

// kept returns the ms of the next record of a log that has one: it is later than
// what the log announced meanwhile without keeping it.
func (s *Store) kept(name store.LogName, last store.Position) int64 {
	if v := s.live[name]; v != nil && last.Before(v.last) {
		return s.clock.After(v.last)
	}
	return s.clock.Next()
}

// placeLive gives records positions that nobody can read back.
func (s *Store) placeLive(u *submit, tails *[]store.Tail) {
	v := s.live[u.log]
	for i := range u.records {
		var before, p store.Position
		var newest store.Position // of what the log keeps
		if l := s.logs[u.log]; l != nil {
			newest = l.last()
		}
		switch {
		case v == nil:
			v = s.newLive(u.log)
			ms := s.clock.Epoch(newest)
			p = store.NewPosition(ms, rand.Uint32(), uint64(ms))
		default:
			before = v.last
			ms := s.clock.Next()
			if before.Before(newest) {
				ms = s.clock.After(newest)
			}
			p = store.NewPosition(ms, before.Epoch(), before.N()+1)
		}
		v.last = p
		u.out.Positions[i] = p
		*tails = append(*tails, store.Tail{
			Log: u.log, Prev: before,
			Entry: store.Entry{Position: p, Data: u.records[i].Data},
		})
	}
}

// maxLive bounds the logs that keep nothing and of which the last position is
// remembered, since publishers make their names up. One that falls out begins a
// new epoch.
const maxLive = 100_000

func (s *Store) newLive(name store.LogName) *live {
	if len(s.live) >= maxLive {
		for other, v := range s.live { // any one
			s.clock.Forget(v.last.MS())
			delete(s.live, other)
			break
		}
	}
	v := &live{}
	s.live[name] = v
	return v
}

// marked is the record that a nonce marked, and for how long that is remembered.
type marked struct {
	at   store.Position
	life time.Duration
}

func (m marked) forgotten(now time.Time) bool { return now.Sub(m.at.Time()) > m.life }

// seen returns the position of the record that a nonce marked; mu is held.
func (s *Store) seen(name store.LogName, n store.Nonce) (store.Position, bool) {
	if n == (store.Nonce{}) {
		return store.Position{}, false
	}
	m, ok := s.nonces[name][n]
	return m.at, ok && !m.forgotten(s.clock.Now())
}

// remember notes that r lies at p; mu is held.
func (s *Store) remember(name store.LogName, r *store.Record, p store.Position) {
	if r.Nonce == (store.Nonce{}) {
		return
	}
	m := s.nonces[name]
	if m == nil {
		m = make(map[store.Nonce]marked)
		s.nonces[name] = m
	}
	if _, again := m[r.Nonce]; !again {
		s.bytes += nonceOverhead
	}
	life := r.Remember
	if life <= 0 {
		life = store.NonceLife
	}
	m[r.Nonce] = marked{p, life}
}

func (s *Store) grow(l *log, n int64) {
	l.bytes += n
	s.bytes += n
}

// drop forgets a log whole, but not its nonces; mu is held.
func (s *Store) drop(name store.LogName, l *log) {
	s.clock.Forget(l.last().MS())
	s.bytes -= l.bytes
	delete(s.logs, name)
	delete(s.paths[name.Feed], name.Path)
	if len(s.paths[name.Feed]) == 0 {
		delete(s.paths, name.Feed)
	}
}

// cost is what the submit takes at most, 0 for what keeps nothing.
func (u *submit) cost() int64 {
	var n int64
	if u.limits.Keeps() {
		n = logOverhead
	}
	for i := range u.records {
		r := &u.records[i]
		if u.limits.Keeps() {
			n += entryOverhead + int64(len(r.Data))
			if r.Nonce != (store.Nonce{}) {
				n += nonceOverhead
			}
		}
		if r.HasCopy() {
			data := r.Copy.Data
			if data == nil {
				data = r.Data
			}
			n += logOverhead + entryOverhead + int64(len(store.Position{})+len(data))
		}
	}
	return n
}
