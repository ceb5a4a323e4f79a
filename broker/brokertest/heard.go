package brokertest

import (
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// heard is what one session got of one channel: each message once, as the index
// in its history, in the order in which it came.
type heard struct {
	session *Session
	channel *channel
	live    []int
	past    []int // by catch-up
	both    []int
	came    []time.Duration // beside both
	gotLive map[int]int     // index in history → place in both
	gotPast map[int]int
	// torn: a live message came between two of a catch-up, as an index; -1: none. begunAgain:
	// something of a catch-up came again.
	torn       int
	begunAgain bool
	lostPast   int // by catch-up, each once, which a fork took away
	lastPast   int // place in both of the last one by catch-up; -1: none
}

// session checks rules 4 to 7 for one session.
func (c *checker) session(s *Session) {
	c.report.Sessions++
	if s.Drained {
		c.report.Drained++
	}
	for _, l := range s.Links {
		if l.Broken {
			c.report.Breaks++
		}
	}
	all := map[string]*heard{}
	for _, t := range s.Takes {
		if all[t.Channel] == nil {
			all[t.Channel] = &heard{session: s, channel: c.channel(t.Channel), gotLive: map[int]int{}, gotPast: map[int]int{}, torn: -1, lastPast: -1}
		}
	}
	c.receipts(s, all)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		h := all[name]
		c.sequence(h)
		c.complete(h)
	}
}

// receipts sorts what came by channel, and checks each by itself (6, 7) and
// whether it may come again (4).
func (c *checker) receipts(s *Session, all map[string]*heard) {
	came := arrivals{}
	for _, r := range s.Receipts {
		c.report.Receipts++
		h := all[r.Channel]
		if h == nil {
			c.report.fault(7, "%s: %s: %v came without a subscription", s.Name, r.Channel, r.ID)
			continue
		}
		i, there := h.channel.at[r.ID]
		if !there && !c.lost(&r) {
			c.report.fault(7, "%s: %s: %v came and is not in the history", s.Name, r.Channel, r.ID)
			continue
		}
		again := c.again(s, &r, came)
		if !there {
			c.report.LostReceipts++
			if r.Interval > 0 && !again {
				h.lostPast++
			}
			continue
		}
		if k := h.channel.kept[i]; k.Publisher != r.Publisher || k.K != r.K || k.Sum != r.Sum {
			c.report.fault(6, "%s: %s: %v came with other data than the history's", s.Name, r.Channel, r.ID)
		}
		if r.Replay != (r.Interval > 0) {
			c.report.fault(6, "%s: %s: %v came over the wrong name", s.Name, r.Channel, r.ID)
		}
		if again {
			h.begunAgain = h.begunAgain || r.Interval > 0
			continue
		}
		if c.early(h, i, r.At) {
			c.report.Repeats++
			continue
		}
		h.add(i, r.Interval, r.At)
	}
}

// early reports whether a message came late by a pattern that the broker took up
// again: older than the first that came, within what the clocks may differ.
func (c *checker) early(h *heard, i int, at time.Duration) bool {
	t := slices.IndexFunc(h.session.Takes, func(t Take) bool { return t.Channel == h.channel.name && t.Pattern })
	if t < 0 || len(h.live) == 0 || i >= h.live[0] || c.losses(h.session, at, at) == 0 {
		return false
	}
	asked := c.h.Start.Add(h.session.Takes[t].Asked).UnixMilli()
	return h.channel.kept[i].ID.MS() >= asked-c.rules.Clock.Milliseconds()
}

func (h *heard) add(i int, interval, at time.Duration) {
	place := len(h.both)
	h.both, h.came = append(h.both, i), append(h.came, at)
	if interval == 0 {
		h.live = append(h.live, i)
		h.gotLive[i] = place
		return
	}
	if h.lastPast >= 0 && h.lastPast != place-1 && h.torn < 0 {
		h.torn = h.both[place-1]
	}
	h.lastPast = place
	h.past = append(h.past, i)
	h.gotPast[i] = place
}

// sequence checks rule 4: in order, and of live and the past each message by one
// way only.
func (c *checker) sequence(h *heard) {
	ordered := func(what string, list []int) {
		for n := 1; n < len(list); n++ {
			if list[n] < list[n-1] {
				c.report.fault(4, "%s: %s: %s %v came after %v", h.session.Name, h.channel.name, what,
					h.channel.kept[list[n]].ID, h.channel.kept[list[n-1]].ID)
			}
		}
	}
	intervals, liveFirst := h.shape()
	if intervals > 1 {
		// Each asks for its own past, and they overlap (decided.md 6).
		ordered("live", h.live)
		return
	}
	for i := range h.gotLive {
		if _, twice := h.gotPast[i]; twice {
			c.report.fault(4, "%s: %s: %v came live and by catch-up", h.session.Name, h.channel.name, h.channel.kept[i].ID)
		}
	}
	if !liveFirst {
		ordered("one", h.both)
		return
	}
	ordered("live", h.live)
	ordered("replayed", h.past)
	if h.torn >= 0 && !(h.begunAgain && c.lostWithin(h)) {
		c.report.fault(4, "%s: %s: %v came live in the middle of the catch-up", h.session.Name, h.channel.name, h.channel.kept[h.torn].ID)
	}
}

// lostWithin reports whether the node was lost that had the session while a catch-up was
// under way: the next one goes on as of the record, where the live messages before it may
// stand that the one before had brought after a part of it.
func (c *checker) lostWithin(h *heard) bool {
	return len(h.past) > 0 && c.losses(h.session, h.came[h.gotPast[h.past[0]]], h.came[h.lastPast]) > 0
}

// shape tells how many intervals were asked for, and whether live began before the first
// of them: it was asked for before, or of one list it was taken and the past was not, which
// was asked for again. One may count twice that was asked for again (Take.Dropped).
func (h *heard) shape() (intervals int, liveFirst bool) {
	seen := map[time.Duration]bool{}
	again, dropped, refused := false, false, false
	live, past := Take{Asked: math.MaxInt64}, Take{Asked: math.MaxInt64}
	for _, t := range h.session.Takes {
		switch {
		case t.Channel != h.channel.name:
		case t.Interval > 0:
			seen[t.Interval] = true
			if t.Asked < past.Asked {
				past = t
			}
			again = again || t.Tries > 1
			refused = refused || t.Refused
		default:
			dropped = dropped || t.Dropped
			if t.Asked < live.Asked {
				live = t
			}
		}
	}
	intervals = len(seen)
	if again && dropped {
		intervals++
	}
	overtook := refused && live.Answered > 0 && (past.Answered == 0 || live.Answered < past.Answered)
	return intervals, (live.Asked < past.Asked || overtook) && len(seen) > 0
}

// complete checks rules 5 and 6: nothing between is missing, and the stretch
// reaches as far as the subscriptions promise, and no further.
func (c *checker) complete(h *heard) {
	intervals, _ := h.shape()
	if intervals <= 1 {
		// Of one that was cut short the past may have ended anywhere.
		c.holes(h, "live", h.live)
		c.holes(h, "by catch-up", h.past)
	}
	if h.session.Drained {
		c.holes(h, "in all", h.both)
	}
	earliest := time.Duration(-1)
	for i := range h.session.Takes {
		t := &h.session.Takes[i]
		if t.Channel != h.channel.name {
			continue
		}
		if earliest < 0 || t.Asked < earliest {
			earliest = t.Asked
		}
	}
	for i := range h.session.Takes {
		t := &h.session.Takes[i]
		if t.Channel != h.channel.name || t.Answered == 0 {
			continue
		}
		if t.Interval == 0 {
			c.live(h, t, earliest)
		} else {
			c.past(h, t)
		}
	}
}

func (c *checker) holes(h *heard, what string, list []int) {
	if len(list) == 0 {
		return
	}
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	for n := 1; n < len(sorted); n++ {
		missing := 0
		for i := sorted[n-1] + 1; i < sorted[n]; i++ {
			if !c.outgrown(h, i, sorted[n]) && !c.unpromised(h, i) {
				missing++
			}
		}
		if missing > 0 {
			c.report.fault(5, "%s: %s: %d missing %s between %v and %v (drained: %v)", h.session.Name, h.channel.name,
				missing, what, h.channel.kept[sorted[n-1]].ID, h.channel.kept[sorted[n]].ID, h.session.Drained)
		}
	}
}

// outgrown reports whether message i belongs to no catch-up, though next, by catch-up, stands
// after it: a catch-up that was asked for again, since its answer was lost, begins its
// interval before it is carried out again, and the first ended when that was.
func (c *checker) outgrown(h *heard, i, next int) bool {
	place, past := h.gotPast[next]
	return past && slices.ContainsFunc(h.session.Takes, func(t Take) bool {
		ms := time.Duration(h.channel.kept[i].ID.MS()-c.h.Start.UnixMilli()) * time.Millisecond
		return t.Channel == h.channel.name && t.Interval > 0 && t.Tries > 1 &&
			ms > t.Asked-c.rules.Clock && ms < h.came[place]-t.Interval+c.rules.Clock
	})
}

// unpromised reports whether message i was said before the answer to a live subscription that
// was asked for more than once, or to a pattern, which the broker itself may carry out again
// elsewhere: it may have begun, been given up with where it began, and begun again.
func (c *checker) unpromised(h *heard, i int) bool {
	p := h.channel.pubs[i]
	return p != nil && slices.ContainsFunc(h.session.Takes, func(t Take) bool {
		return t.Channel == h.channel.name && t.Interval == 0 && (t.Tries > 1 || t.Pattern) && (t.Answered == 0 || p.Sent < t.Answered)
	})
}

// got reports whether the session has a message, by whatever name.
func (h *heard) got(i int) bool {
	_, live := h.gotLive[i]
	_, past := h.gotPast[i]
	return live || past
}

// live checks one live subscription: what was sent after its answer is received,
// by a drained session all of it, by another what was acknowledged long enough
// before its link ended; what was acknowledged before anything was asked for does
// not come live.
func (c *checker) live(h *heard, t *Take, earliest time.Duration) {
	s := h.session
	from := sort.Search(len(h.channel.ours), func(i int) bool { return h.channel.ours[i].Sent > t.Answered })
	end := s.end()
	for _, p := range h.channel.ours[from:] {
		if p.Sent > end {
			break
		}
		if p.Outcome != OK || !s.Drained && !s.connected(p.Sent, p.Answered+c.rules.Settle) {
			continue
		}
		i, kept := h.channel.at[p.ID]
		if kept && !h.got(i) {
			c.report.fault(5, "%s: %s: %v (%v) was sent after the subscription and is missing (drained: %v)", s.Name, h.channel.name,
				p.ID, operation{p.Publisher, p.K}, s.Drained)
		}
	}
	for _, i := range h.live {
		if p := h.channel.pubs[i]; p != nil && p.Outcome == OK && p.Answered+c.rules.Lag < earliest {
			c.report.fault(6, "%s: %s: %v is older than the subscription and came live", s.Name, h.channel.name, p.ID)
		}
	}
}

// connected reports whether one link stood from from to to.
func (s *Session) connected(from, to time.Duration) bool {
	i := sort.Search(len(s.Links), func(i int) bool { return s.Links[i].To >= to })
	return i < len(s.Links) && s.Links[i].From <= from
}

// end is when the last link ended.
func (s *Session) end() time.Duration {
	if len(s.Links) == 0 {
		return 0
	}
	return s.Links[len(s.Links)-1].To
}

// past checks one catch-up: nothing from before the interval, all of it for a
// drained session, and as many as were announced.
func (c *checker) past(h *heard, t *Take) {
	s := h.session
	since := func(at time.Duration) int64 { return c.h.Start.Add(at - t.Interval).UnixMilli() }
	oldest := since(t.Asked) - c.rules.Clock.Milliseconds()
	for _, i := range h.past {
		if id := h.channel.kept[i].ID; id.MS() < oldest {
			c.report.fault(6, "%s: %s: %v is older than the %v asked for", s.Name, h.channel.name, id, t.Interval)
		}
	}
	if !s.Drained {
		return
	}
	begin := since(t.Answered) + c.rules.Clock.Milliseconds()
	end := c.h.Start.Add(t.Asked).UnixMilli() + c.rules.Clock.Milliseconds()
	kept := h.channel.kept
	for i := sort.Search(len(kept), func(i int) bool { return kept[i].ID.MS() >= begin }); i < len(kept) && kept[i].ID.MS() <= end; i++ {
		k, p := kept[i], h.channel.pubs[i]
		if p != nil && p.Outcome == OK && p.Answered < t.Asked && !h.got(i) {
			c.report.fault(6, "%s: %s: %v belongs to the catch-up of %v and is missing", s.Name, h.channel.name, k.ID, t.Interval)
		}
	}
	c.announced(h, t)
}

// announced checks that as many came by a catch-up as its answer said, where there was
// one catch-up and one answer: fewer only of what a fork took away.
func (c *checker) announced(h *heard, t *Take) {
	missing := t.Announced - len(h.past) - h.lostPast
	if intervals, _ := h.shape(); intervals > 1 || t.Tries != 1 || t.Announced < 0 || missing == 0 {
		return
	}
	if gone := c.gone(h, t.Answered) - h.lostPast; missing < 0 || missing > gone {
		c.report.fault(6, "%s: %s: %d were announced, %d came by catch-up beside %d that a fork took away, which may have taken %d more",
			h.session.Name, h.channel.name, t.Announced, len(h.past), h.lostPast, gone)
	}
}

// gone is how many messages a catch-up that was answered at to may have announced before
// a fork took them away. Who was not answered published them again after it: they are in
// the history under another id, from after the fork began.
func (c *checker) gone(h *heard, to time.Duration) (n int) {
	for _, p := range h.channel.ours {
		if p.Sent >= to || !c.forked(p) {
			continue
		}
		i := slices.Index(h.channel.pubs, p)
		if i < 0 || c.afterFork(h.channel.kept[i].ID) {
			n++
		}
	}
	return n
}

// afterFork reports whether a message that is kept was taken since a fork began.
func (c *checker) afterFork(id store.Position) bool {
	return slices.ContainsFunc(c.h.Forks, func(f Fork) bool { return id.MS() > c.h.Start.Add(f.From).UnixMilli() })
}
