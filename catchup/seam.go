package catchup

import (
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// KeepCover is how long after the last of its subscriptions has gone a session's
// cover of a channel is remembered, so that a page that drops and takes a
// subscription again has no gap (store.md §5.3).
const KeepCover = 30 * time.Second

// Seam divides one channel between replay and live, for one session: entries up
// to the seam reach it only by replay, entries after it only live (store.md §5.3,
// the cover). All calls are made under the lock that keeps the channel's newest
// position, given as last, from moving. The zero Seam has covered nothing.
type Seam struct {
	live  bool
	start store.Position // live began after this one

	covered bool           // while not live: everything up to end was delivered,
	end     store.Position // or is certainly going to be;
	resumes bool           // and the part after start was, live

	replays int       // catch-up subscriptions that stand
	idle    time.Time // when the last subscription went; zero while one stands
}

// SeamState is a Seam as it is kept with a session's record.
type SeamState struct {
	Live    bool           `json:"live,omitempty"`
	Start   store.Position `json:"start"`
	Covered bool           `json:"covered,omitempty"`
	End     store.Position `json:"end"`
	Resumes bool           `json:"resumes,omitempty"`
	Replays int            `json:"replays,omitempty"`
}

// State returns what Restore makes the same Seam of; how long it has been idle is
// not kept.
func (s *Seam) State() SeamState {
	return SeamState{Live: s.live, Start: s.start, Covered: s.covered, End: s.end, Resumes: s.resumes, Replays: s.replays}
}

// Restore makes s what it was when st was taken; now begins its idle time.
func (s *Seam) Restore(st SeamState, now time.Time) {
	*s = Seam{live: st.Live, start: st.Start, covered: st.Covered, end: st.End, resumes: st.Resumes, replays: st.Replays}
	s.rest(now)
}

// Live says whether the live subscription stands.
func (s *Seam) Live() bool { return s.live }

// Subscribe makes the channel live and returns the position after which live
// entries are due: last, or where an earlier catch-up ended. Is that before last, then
// the stretch up to last is still to be delivered, before anything newer; is it after
// last, then what comes up to there was delivered by another node. A repeat changes
// nothing (again is true; decided.md 6).
func (s *Seam) Subscribe(last store.Position, now time.Time) (from store.Position, again bool) {
	if s.live {
		return last, true
	}
	from = last
	goesOn := s.covered && !s.lapsed(now)
	if goesOn {
		from = s.end
	}
	if !goesOn || !s.resumes {
		s.start = from
	}
	s.live, s.covered, s.idle = true, false, time.Time{}
	return from, false
}

// Begin makes the channel live from a position known otherwise: a wildcard
// subscription has heard the channel since.
func (s *Seam) Begin(start store.Position) {
	if !s.live {
		s.live, s.start, s.covered, s.idle = true, start, false, time.Time{}
	}
}

// Rewind makes the channel live from a position that the client names: everything after
// it comes live, whatever came before and how. One that is live goes back to it, and
// never forward.
func (s *Seam) Rewind(start store.Position) {
	if !s.live || start.Before(s.start) {
		s.start = start
	}
	s.live, s.covered, s.idle = true, false, time.Time{}
}

// Catchup takes a catch-up subscription and returns the end of its replay: where
// live began, or, without live, last, from which a later live subscription then
// goes on.
func (s *Seam) Catchup(last store.Position) (upTo store.Position) {
	s.replays++
	s.idle = time.Time{}
	if s.live {
		return s.start
	}
	s.covered, s.end, s.resumes = true, last, false
	return last
}

// Withdraw undoes Catchup, which returned upTo and before which the Seam was was: the catch-up
// is refused, and what it was to bring is due as it was before. The subscriptions of the same
// request have been undone, and it is forgotten.
func (s *Seam) Withdraw(was Seam, upTo store.Position) {
	if was.live || s.live || !s.covered || s.end != upTo {
		return
	}
	s.covered, s.start, s.end, s.resumes = was.covered, was.start, was.end, was.resumes
	if s.replays == 0 {
		s.idle = was.idle
	}
}

// Unsubscribe ends the live subscription; delivered is the newest position that
// was delivered or is queued.
func (s *Seam) Unsubscribe(delivered store.Position, now time.Time) {
	if !s.live {
		return
	}
	s.live = false
	s.covered, s.end, s.resumes = true, delivered, true
	s.rest(now)
}

// Undeliver says that of what was covered nothing after last has arrived, or will: a
// live subscription that comes back goes on there.
func (s *Seam) Undeliver(last store.Position) {
	if !s.live && s.covered && last.Before(s.end) {
		s.end = last
	}
}

// Forget takes n catch-up subscriptions away.
func (s *Seam) Forget(n int, now time.Time) {
	s.replays = max(0, s.replays-n)
	s.rest(now)
}

func (s *Seam) rest(now time.Time) {
	if !s.live && s.replays == 0 && s.idle.IsZero() {
		s.idle = now
	}
}

func (s *Seam) lapsed(now time.Time) bool {
	return !s.idle.IsZero() && now.Sub(s.idle) > KeepCover
}

// Done reports whether nothing depends on the Seam any more.
func (s *Seam) Done(now time.Time) bool {
	return !s.live && s.replays == 0 && (!s.covered || s.lapsed(now))
}
