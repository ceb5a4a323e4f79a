package brokertest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

const (
	sound  = "/a"
	apart  = 100 * time.Millisecond // between two publications
	travel = 10 * time.Millisecond
	hour   = time.Hour
)

// plant makes a history in which all rules hold: 40 messages of two publishers on
// one channel; "both" has caught up and then listened, "live" came in the middle,
// "first" was live before it caught up, over a link that broke.
func plant() *brokertest.History {
	h := &brokertest.History{Start: time.UnixMilli(1_800_000_000_000), Kept: map[string][]brokertest.Kept{}}
	for i := range 40 {
		sent := time.Duration(i+1) * apart
		p := brokertest.Publication{
			Publisher: i % 2, K: i / 2, Channel: sound, Sum: uint64(1000 + i), Sent: sent, Answered: sent + travel, Outcome: brokertest.OK,
			ID: store.NewPosition(h.Start.Add(sent).UnixMilli(), 1, uint64(i+1)),
		}
		h.Publications = append(h.Publications, p)
		h.Kept[sound] = append(h.Kept[sound], brokertest.Kept{ID: p.ID, Publisher: p.Publisher, K: p.K, Sum: p.Sum})
	}
	asked := 20*apart + apart/2 // 20 messages are there
	both := session("both", asked, hour, 0)
	both.Takes[0].Announced = 20
	live := session("live", asked, 0)
	first := session("first", asked, 0, hour)
	first.Takes[1].Asked = asked + 5*apart // 25 are there, of which 5 came live
	first.Takes[1].Answered = asked + 5*apart + travel
	first.Takes[1].Announced = 20
	first.Links = []brokertest.Link{
		{Transport: "long-polling", From: asked, To: 30*apart + apart/2, Broken: true},
		{Transport: "websocket", From: 31 * apart, To: 100 * apart},
	}
	for i := range 40 {
		receive(h, both, i, 0)
		receive(h, live, i, 0)
		receive(h, first, i, 0)
	}
	// In the order in which they came: five live, the past, the rest.
	r := first.Receipts
	first.Receipts = slices.Concat(r[20:25], r[:20], r[25:])
	// 29 was under way when the link broke, and came again.
	again := first.Receipts[29]
	again.Link, again.At = 1, 31*apart
	first.Receipts = slices.Insert(first.Receipts, 31, again)
	h.Sessions = []*brokertest.Session{both, live, first}
	return h
}

func session(name string, asked time.Duration, intervals ...time.Duration) *brokertest.Session {
	s := &brokertest.Session{Name: name, Drained: true, Links: []brokertest.Link{{Transport: "websocket", From: asked, To: 100 * apart}}}
	for i, d := range intervals {
		s.Takes = append(s.Takes, brokertest.Take{
			Channel: sound, Interval: d, Asked: asked + time.Duration(i), Answered: asked + travel, Tries: 1, Announced: -1,
		})
	}
	return s
}

// receive lets a session have message i, by catch-up if it is from before, where
// it asked for that.
func receive(h *brokertest.History, s *brokertest.Session, i, link int) {
	k := h.Kept[sound][i]
	r := brokertest.Receipt{Channel: sound, ID: k.ID, Publisher: k.Publisher, K: k.K, Sum: k.Sum, At: time.Duration(i+1)*apart + travel, Link: link}
	if i < 20 {
		if len(s.Takes) == 1 {
			return
		}
		r.Interval, r.Replay = hour, true
	}
	if i >= 30 && len(s.Links) > 1 {
		r.Link = 1
	}
	s.Receipts = append(s.Receipts, r)
}

var strict = brokertest.Rules{Settle: 5 * time.Second, Window: 5 * time.Second, Clock: travel}

func TestCheckSound(t *testing.T) {
	r := brokertest.Check(plant(), strict)
	require.True(t, r.Clean(), r.String())
	require.Equal(t, 40, r.OK)
	require.Equal(t, 1, r.Repeats)
	require.Equal(t, 1, r.Breaks)
	require.Equal(t, 3, r.Drained)
}

// TestCheckFinds plants one fault at a time: the rule it breaks finds it.
func TestCheckFinds(t *testing.T) {
	const both, live, first = 0, 1, 2
	drop := func(s *brokertest.Session, i int) { s.Receipts = slices.Delete(s.Receipts, i, i+1) }
	swap := func(s *brokertest.Session, i, j int) {
		s.Receipts[i], s.Receipts[j] = s.Receipts[j], s.Receipts[i]
	}
	f := func(name string, rule int, spoil func(h *brokertest.History)) {
		t.Helper()
		t.Run(fmt.Sprintf("%d %s", rule, name), func(t *testing.T) {
			h := plant()
			spoil(h)
			r := brokertest.Check(h, strict)
			require.NotZero(t, r.Breaches[rule], "not found: %s", r)
		})
	}
	f("acknowledged and lost", 1, func(h *brokertest.History) { h.Kept[sound] = slices.Delete(h.Kept[sound], 7, 8) })
	f("stored twice", 1, func(h *brokertest.History) {
		again := h.Kept[sound][39]
		again.ID = store.NewPosition(again.ID.MS()+1, 1, 41)
		h.Kept[sound] = append(h.Kept[sound], again)
	})
	f("one id twice", 1, func(h *brokertest.History) { h.Kept[sound] = append(h.Kept[sound], h.Kept[sound][39]) })
	f("acknowledged with another's id", 1, func(h *brokertest.History) { h.Publications[3].ID = h.Publications[4].ID })
	f("published twice", 1, func(h *brokertest.History) { h.Publications = append(h.Publications, h.Publications[0]) })
	f("refused and stored", 2, func(h *brokertest.History) { h.Publications[9].Outcome = brokertest.Refused })
	f("unknown and stored twice", 2, func(h *brokertest.History) {
		h.Publications[9].Outcome, h.Publications[9].ID = brokertest.Unknown, store.Position{}
		again := h.Kept[sound][9]
		again.ID = store.NewPosition(h.Kept[sound][39].ID.MS()+1, 1, 41)
		h.Kept[sound] = append(h.Kept[sound], again)
	})
	f("one publisher's out of order", 3, func(h *brokertest.History) { exchange(h, 10, 12) })
	f("received out of order", 4, func(h *brokertest.History) { swap(h.Sessions[live], 3, 4) })
	f("replayed out of order", 4, func(h *brokertest.History) { swap(h.Sessions[both], 3, 4) })
	f("live before the past", 4, func(h *brokertest.History) { swap(h.Sessions[both], 19, 20) })
	f("live in the midst of the past", 4, func(h *brokertest.History) { swap(h.Sessions[first], 24, 25) })
	f("live in the midst of the past, which does not come again, as the broker died", 4, func(h *brokertest.History) { torn(h, false, true) })
	f("live in the midst of the past, which comes again", 4, func(h *brokertest.History) { torn(h, true, false) })
	f("twice", 4, func(h *brokertest.History) {
		s := h.Sessions[live]
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("twice after a link that did not break", 4, func(h *brokertest.History) { h.Sessions[first].Links[0].Broken = false })
	f("twice long after", 4, func(h *brokertest.History) { h.Sessions[first].Links[0].To += 10 * time.Second })
	f("three times, as the broker died once", 4, func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{From: 39 * apart, To: 39 * apart}}
		s := h.Sessions[live]
		s.Receipts = append(s.Receipts, s.Receipts[19], s.Receipts[19])
	})
	f("twice, as another node was lost", 4, func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{Node: 1, From: 39 * apart, To: 39 * apart}}
		s := h.Sessions[live]
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("twice, as a node was lost that had it no more", 4, func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{Node: 1, From: 39 * apart, To: 39 * apart}}
		s := h.Sessions[live]
		s.Served = []brokertest.Served{{From: 0, Node: 1}, {From: 38 * apart, Node: 2}}
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("twice, as a node was lost that it was asked for only then", 4, func(h *brokertest.History) { lostUnderway(h, 39*apart+1) })
	f("live before the past, which was refused before it", 4, func(h *brokertest.History) { overtaken(h.Sessions[both], 2*travel) })
	f("live before the past, which was not refused", 4, func(h *brokertest.History) {
		overtaken(h.Sessions[both], 0)
		for i := range h.Sessions[both].Takes {
			h.Sessions[both].Takes[i].Refused = false
		}
	})
	f("twice, as its node had been lost before", 4, func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{From: 0, To: apart}}
		s := h.Sessions[live]
		again := s.Receipts[19]
		again.At += time.Second
		h.Sessions[live].Receipts[19].At += 10 * time.Second
		s.Receipts = append(s.Receipts, again)
	})
	f("lost before the fork", 1, func(h *brokertest.History) { fork(h, 36*apart, 37*apart) })
	f("lost after the fork", 1, func(h *brokertest.History) { fork(h, 30*apart, 38*apart) })
	f("lost before the fork, received", 7, func(h *brokertest.History) { fork(h, 30*apart, 38*apart) })
	f("older, by a pattern", 4, func(h *brokertest.History) { early(h, true) })
	f("older, as the broker died", 4, func(h *brokertest.History) {
		early(h, false)
		h.Losses = []brokertest.Loss{{From: 39 * apart, To: 39 * apart}}
	})
	f("live and by catch-up", 4, func(h *brokertest.History) {
		s := h.Sessions[both]
		again := s.Receipts[19]
		again.Interval, again.Replay = 0, false
		s.Receipts = slices.Insert(s.Receipts, 20, again)
	})
	f("history not in order of ids", 4, func(h *brokertest.History) {
		k := h.Kept[sound]
		k[10], k[11] = k[11], k[10]
	})
	f("dropped", 5, func(h *brokertest.History) { drop(h.Sessions[live], 5) })
	f("dropped at the end", 5, func(h *brokertest.History) { drop(h.Sessions[live], 19) })
	f("dropped at the beginning", 5, func(h *brokertest.History) { drop(h.Sessions[live], 0) })
	f("dropped at the seam", 5, func(h *brokertest.History) { drop(h.Sessions[both], 20) })
	f("dropped in a session cut short", 5, func(h *brokertest.History) {
		h.Sessions[live].Drained = false
		drop(h.Sessions[live], 5)
	})
	f("late in a session cut short", 5, func(h *brokertest.History) {
		s := h.Sessions[live]
		s.Drained = false
		s.Receipts = s.Receipts[:10]
	})
	f("a live subscription that was asked for once, with a gap before the answer", 5, func(h *brokertest.History) { begunTwice(h.Sessions[live], 1, false) })
	f("a pattern, with a gap after the answer", 5, func(h *brokertest.History) {
		begunTwice(h.Sessions[live], 1, true)
		drop(h.Sessions[live], 5)
	})
	f("twice over each of two links, asked for once", 4, func(h *brokertest.History) { overTwoLinks(h.Sessions[both], 1) })
	f("a short catch-up, with a gap, asked for once", 5, func(h *brokertest.History) { outgrown(h, 1, 2, 3, 4, 12, 13, 14) })
	f("of the second of two short ones", 5, func(h *brokertest.History) { outgrown(h, 2, 2, 3, 4, 13, 14) })
	f("of the first of two short ones", 5, func(h *brokertest.History) { outgrown(h, 2, 2, 3, 12, 13, 14) })
	f("a catch-up twice, with a gap, beside live", 5, func(h *brokertest.History) { twice(h.Sessions[both], false) })
	f("past dropped", 6, func(h *brokertest.History) { drop(h.Sessions[both], 0) })
	f("other data", 6, func(h *brokertest.History) { h.Sessions[live].Receipts[2].Sum++ })
	f("data changed in history", 6, func(h *brokertest.History) { h.Kept[sound][2].Sum++ })
	f("older than the interval", 6, func(h *brokertest.History) { narrow(h.Sessions[both], time.Second) })
	f("other number than announced", 6, func(h *brokertest.History) { h.Sessions[both].Takes[0].Announced++ })
	f("stale", 6, func(h *brokertest.History) {
		s := h.Sessions[live]
		old := s.Receipts[0]
		k := h.Kept[sound][19]
		old.ID, old.Publisher, old.K, old.Sum = k.ID, k.Publisher, k.K, k.Sum
		s.Receipts = slices.Insert(s.Receipts, 0, old)
	})
	f("over the wrong name", 6, func(h *brokertest.History) { h.Sessions[live].Receipts[0].Replay = true })
	f("invented", 7, func(h *brokertest.History) {
		h.Sessions[live].Receipts[3].ID = store.NewPosition(1, 2, 3)
	})
	f("not subscribed", 7, func(h *brokertest.History) { h.Sessions[live].Receipts[3].Channel = "/b" })
	f("invented in history", 7, func(h *brokertest.History) { h.Kept[sound][39].K = 77 })
	f("answered before the other was sent, and after it", 8, func(h *brokertest.History) { exchange(h, 10, 11) })
}

// fork takes the last four messages away, as if the store had lost them.
func fork(h *brokertest.History, from, to time.Duration) {
	h.Kept[sound] = h.Kept[sound][:36]
	h.Forks = []brokertest.Fork{{From: from, To: to}}
}

// TestCheckFork: what a fork took away is counted, and nothing else.
func TestCheckFork(t *testing.T) {
	h := plant()
	fork(h, 36*apart, 41*apart)
	r := brokertest.Check(h, strict)
	require.True(t, r.Clean(), r.String())
	require.Equal(t, 4, r.Lost)
	require.Equal(t, 12, r.LostReceipts)
	require.Equal(t, 36, r.Kept)

	f := func(name string, announced int, clean bool, change func(s *brokertest.Session)) {
		t.Helper()
		t.Run(fmt.Sprintf("%s, %d announced", name, announced), func(t *testing.T) {
			h := plant()
			fork(h, 36*apart, 41*apart)
			s := h.Sessions[0]
			s.Takes[0].Answered, s.Takes[0].Announced = 41*apart, announced
			change(s)
			r := brokertest.Check(h, strict)
			require.Equal(t, clean, r.Clean(), r.String())
		})
	}
	// They may have been announced by a catch-up that found them gone; no more than they.
	for announced := 19; announced <= 25; announced++ {
		f("gone", announced, announced >= 20 && announced <= 24, func(*brokertest.Session) {})
	}
	// Or they came by it, and again over the next link, as all that was under way.
	lost := func(s *brokertest.Session, from, link int) {
		for i := from; i < 40; i++ {
			s.Receipts[i].Interval, s.Receipts[i].Replay = hour, true
		}
		s.Links = []brokertest.Link{
			{Transport: "long-polling", From: 20 * apart, To: 41 * apart, Broken: link > 0},
			{Transport: "websocket", From: 41 * apart, To: 100 * apart},
		}
		again := slices.Clone(s.Receipts[from:])
		for i := range again {
			again[i].Link, again[i].At = link, 42*apart
		}
		s.Receipts = append(s.Receipts, again...)
	}
	for announced := 21; announced <= 25; announced++ {
		f("two came twice", announced, announced >= 22 && announced <= 24, func(s *brokertest.Session) { lost(s, 38, 1) })
	}
	f("came twice over one link", 24, false, func(s *brokertest.Session) { lost(s, 36, 0) })
}

// TestCheckForkPublishedAgain: who was not answered before the fork publishes again after
// it; a catch-up may have announced the first.
func TestCheckForkPublishedAgain(t *testing.T) {
	f := func(announced int, clean bool) {
		t.Helper()
		h := plant()
		h.Forks = []brokertest.Fork{{From: 30 * apart, To: 41 * apart}}
		for i := 38; i < 40; i++ {
			h.Publications[i].Sent = 20 * apart
		}
		h.Sessions[0].Takes[0].Announced = announced
		r := brokertest.Check(h, strict)
		require.Equal(t, clean, r.Clean(), "%d announced: %s", announced, r)
	}
	f(19, false)
	f(20, true)
	f(22, true)
	f(23, false)
}

// exchange lets two messages change places in history, ids and all.
func exchange(h *brokertest.History, i, j int) {
	k := h.Kept[sound]
	k[i].ID, k[j].ID = k[j].ID, k[i].ID
	k[i], k[j] = k[j], k[i]
	h.Publications[i].ID, h.Publications[j].ID = h.Publications[j].ID, h.Publications[i].ID
}

// early lets the message before the first one of the live session come last.
func early(h *brokertest.History, pattern bool) {
	s := h.Sessions[1]
	s.Takes[0].Pattern = pattern
	s.Takes[0].Asked = 20*apart + 5*time.Millisecond
	r := s.Receipts[19]
	k := h.Kept[sound][19]
	r.ID, r.Publisher, r.K, r.Sum = k.ID, k.Publisher, k.K, k.Sum
	s.Receipts = append(s.Receipts, r)
}

// twice lets a session's catch-up have been asked for again when 26 messages were live, of
// which it brought the last three once more, by its own name; dropped: live stood no more.
func twice(s *brokertest.Session, dropped bool) {
	s.Takes[0].Tries, s.Takes[1].Dropped = 2, dropped
	again := slices.Clone(s.Receipts[23:26])
	for i := range again {
		again[i].Interval, again[i].Replay = hour, true
	}
	s.Receipts = slices.Insert(s.Receipts, 26, again...)
}

// narrow lets a session have asked for a shorter past.
func narrow(s *brokertest.Session, d time.Duration) {
	s.Takes[0].Interval = d
	for i := range s.Receipts {
		if s.Receipts[i].Interval > 0 {
			s.Receipts[i].Interval = d
		}
	}
}

// outgrown lets a session ask for a short past alone, and again a second later, since the
// answer was lost: it gets what stands in came.
func outgrown(h *brokertest.History, tries int, came ...int) {
	short := 3 * apart
	s := session("short", 5*apart+apart/2, short)
	s.Takes[0].Answered, s.Takes[0].Tries = 15*apart+apart/2+travel, tries
	for _, i := range came {
		k := h.Kept[sound][i]
		s.Receipts = append(s.Receipts, brokertest.Receipt{
			Channel: sound, Interval: short, Replay: true, ID: k.ID, Publisher: k.Publisher, K: k.K, Sum: k.Sum, At: s.Takes[0].Answered,
		})
	}
	h.Sessions = append(h.Sessions, s)
}

// begunTwice lets a session have a message of a live subscription that was answered three
// messages later, and nothing between.
func begunTwice(s *brokertest.Session, tries int, pattern bool) {
	s.Takes[0].Tries, s.Takes[0].Pattern = tries, pattern
	s.Takes[0].Answered = s.Takes[0].Asked + 4*apart
	s.Receipts = slices.Delete(s.Receipts, 1, 4)
}

// overTwoLinks lets a session have its past twice over a link that breaks, and then twice
// over the next.
func overTwoLinks(s *brokertest.Session, tries int) {
	s.Takes[0].Tries = tries
	past := slices.Clone(s.Receipts[:20])
	var again []brokertest.Receipt
	for link := range 2 {
		for range 2 {
			for _, r := range past {
				r.Link = link
				again = append(again, r)
			}
		}
	}
	from := s.Links[0].From
	s.Links = []brokertest.Link{{Transport: "websocket", From: from, To: 20*apart + apart/2, Broken: true}, {Transport: "websocket", From: 20*apart + apart/2, To: 100 * apart}}
	rest := s.Receipts[20:]
	for i := range rest {
		rest[i].Link = 1
	}
	s.Receipts = append(again, rest...)
}

// lostUnderway lets a session have a message twice, as a node was lost whose answer comes
// three messages later, to what it was asked at a time.
func lostUnderway(h *brokertest.History, asked time.Duration) {
	h.Losses = []brokertest.Loss{{Node: 1, From: 39 * apart, To: 39 * apart}}
	s := h.Sessions[1]
	s.Served = []brokertest.Served{{From: 0, Node: 0}, {From: 42 * apart, Node: 1, Asked: asked}, {From: 43 * apart, Node: 0}}
	s.Receipts = append(s.Receipts, s.Receipts[19])
}

// overtaken lets a session have its first live message before all of the past, since of
// the list that asked for both the past was refused at first; late is how much later live
// was answered than that.
func overtaken(s *brokertest.Session, late time.Duration) {
	for i := range s.Takes {
		if t := &s.Takes[i]; t.Interval > 0 {
			t.Tries, t.Refused = 2, true
			t.Answered += travel
		} else {
			t.Answered += late
		}
	}
	first := s.Receipts[20]
	s.Receipts = slices.Insert(slices.Delete(s.Receipts, 20, 21), 0, first)
}

// torn lets a session have a live message in the midst of the past that it asked for later;
// again: the past came as far as that before, died: the broker has.
func torn(h *brokertest.History, again, died bool) {
	s := h.Sessions[2]
	r := s.Receipts
	for i := range r[:25] {
		r[i].At = 26 * apart
	}
	before := slices.Clone(r[5:10])
	s.Receipts = slices.Concat(r[:4], r[5:10], r[4:5], r[10:])
	if again {
		s.Receipts = slices.Insert(s.Receipts, 10, before...)
	}
	if died {
		h.Losses = []brokertest.Loss{{From: 26 * apart, To: 26 * apart}}
	}
}

// TestCheckAllows: what the promises do not exclude is no fault.
func TestCheckAllows(t *testing.T) {
	f := func(name string, change func(h *brokertest.History)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			h := plant()
			change(h)
			r := brokertest.Check(h, strict)
			require.True(t, r.Clean(), r.String())
		})
	}
	f("unknown and stored", func(h *brokertest.History) {
		h.Publications[9].Outcome, h.Publications[9].ID, h.Publications[9].Answered = brokertest.Unknown, store.Position{}, 0
	})
	f("unknown and not stored", func(h *brokertest.History) {
		h.Publications = append(h.Publications, brokertest.Publication{Publisher: 0, K: 20, Channel: sound, Sent: apart})
	})
	f("refused and not stored", func(h *brokertest.History) {
		h.Publications = append(h.Publications, brokertest.Publication{Publisher: 0, K: 20, Channel: sound, Sent: apart, Answered: 2 * apart, Outcome: brokertest.Refused})
	})
	f("replayed again, as it was asked for again", func(h *brokertest.History) {
		s := h.Sessions[0]
		s.Takes[0].Tries = 2
		s.Receipts = slices.Insert(s.Receipts, 20, s.Receipts[:20]...)
	})
	f("a live subscription that was asked for twice, with a gap before the answer", func(h *brokertest.History) { begunTwice(h.Sessions[1], 2, false) })
	f("a pattern, with a gap before the answer", func(h *brokertest.History) { begunTwice(h.Sessions[1], 1, true) })
	f("twice, as the node was lost whose answer was on its way", func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{Node: 1, From: 39 * apart, To: 39 * apart}}
		s := h.Sessions[1]
		s.Served = []brokertest.Served{{From: 0, Node: 0}, {From: 39*apart + travel, Node: 1}, {From: 42 * apart, Node: 0}}
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("twice, as the node was lost whose answer was read long after", func(h *brokertest.History) { lostUnderway(h, 38*apart) })
	f("live before the past, which was refused at first", func(h *brokertest.History) { overtaken(h.Sessions[0], 0) })
	f("replayed again, all of it once more over the next link", func(h *brokertest.History) { overTwoLinks(h.Sessions[0], 2) })
	f("a short catch-up, with a gap, as it was asked for again", func(h *brokertest.History) { outgrown(h, 2, 2, 3, 4, 12, 13, 14) })
	f("a catch-up twice, with a gap, as live was given up between", func(h *brokertest.History) { twice(h.Sessions[0], true) })
	f("live in the midst of the past, which comes again, as the broker died", func(h *brokertest.History) { torn(h, true, true) })
	f("twice, as the broker died", func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{From: 35 * apart, To: 35 * apart}}
		s := h.Sessions[1]
		s.Receipts = append(s.Receipts, s.Receipts[15:]...)
	})
	f("twice, as every node was lost", func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{Node: -1, From: 35 * apart, To: 41 * apart}}
		s := h.Sessions[1]
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("twice, as the node was lost to which it had gone", func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{Node: 2, From: 39 * apart, To: 39 * apart}}
		s := h.Sessions[1]
		s.Served = []brokertest.Served{{From: 0, Node: 1}, {From: 38 * apart, Node: 2}, {From: 40 * apart, Node: 0}}
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("twice, as the node was lost that had it, while another answered", func(h *brokertest.History) {
		h.Losses = []brokertest.Loss{{Node: 1, From: 39 * apart, To: 39 * apart}}
		s := h.Sessions[1]
		s.Served = []brokertest.Served{{From: 0, Node: 1}, {From: 38 * apart, Node: 2, Maybe: true}, {From: 40 * apart, Node: 0}}
		s.Receipts = append(s.Receipts, s.Receipts[19])
	})
	f("a moment older, by a pattern, as the broker died", func(h *brokertest.History) {
		early(h, true)
		h.Losses = []brokertest.Loss{{From: 39 * apart, To: 39 * apart}}
	})
	f("cut short in the past", func(h *brokertest.History) {
		s := h.Sessions[0]
		s.Drained, s.Links[0].To, s.Receipts = false, 23*apart, s.Receipts[:10]
	})
	f("a subscription that was never answered", func(h *brokertest.History) {
		s := h.Sessions[1]
		s.Takes[0].Answered, s.Receipts = 0, nil
	})
}

func BenchmarkCheck(b *testing.B) {
	h := plant()
	b.ReportAllocs()
	for b.Loop() {
		if r := brokertest.Check(h, strict); !r.Clean() {
			b.Fatal(r)
		}
	}
}
