package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// rooms is the load test of CometD: each client is in some of the rooms and publishes
// to them, too; everybody in a room gets what is said there, who said it included. A
// clock says when a batch is due, whose client and room are drawn by lot
// (bayeux-cometd.md §4, Performance).
func (r *run) rooms(ctx context.Context) error {
	r.report.Unit = "deliveries"
	r.report.Setting = fmt.Sprintf("%d clients, %d rooms, %d rooms each, %g messages/s in batches of %d, %d bytes",
		r.o.Conns, r.o.Rooms, r.o.Each, r.o.Rate, r.o.Batch, r.o.Size)
	h := newHouse(r)
	err := r.join(ctx, r.o.Conns, func(ctx context.Context, i int, s *session) error {
		g := h.guests[i]
		g.session = s
		for _, room := range g.rooms {
			if _, err := s.subscribe(ctx, h.channel(room)); err != nil {
				return err
			}
		}
		r.listen(s, g.take)
		return nil
	})
	if err != nil {
		return err
	}
	h.open()
	r.during(ctx, h.converse)
	h.shut()
	r.drain(r.clock, h.due)
	r.close()
	r.report.Faults = h.faults()
	return nil
}

// house is all rooms and who is in them.
type house struct {
	run    *run
	guests []*guest
	inside [][]*guest // by room
	said   []int64    // messages of each voice; owned by converse
	due    int64      // deliveries that they make; likewise

	speakers [speaking]chan speech
	talk     sync.WaitGroup
}

// guest is one client in its rooms. What it says in one of them is a voice: a
// publisher of its own, with numbers without a gap, as order is promised for that.
type guest struct {
	house   *house
	index   int
	rooms   []int
	session *session

	mu sync.Mutex // over long-polling two connections may bring messages
	// guarded by mu
	heard map[int]*tally // by voice
}

// speech is a batch that is due.
type speech struct {
	guest *guest
	voice int
	room  int
	first int64 // number of its first message
	due   time.Duration
}

// speaking is how many batches are sent at once; those of one client are sent one
// after the other. speechesWait is how many may wait for each.
const (
	speaking     = 32
	speechesWait = 4096
)

func newHouse(r *run) *house {
	h := &house{run: r, inside: make([][]*guest, r.o.Rooms), said: make([]int64, r.o.Conns*r.o.Each)}
	for i := range r.o.Conns {
		// The same rooms in every run.
		lot := rand.New(rand.NewPCG(uint64(i), 1))
		g := &guest{house: h, index: i, rooms: lot.Perm(r.o.Rooms)[:r.o.Each], heard: map[int]*tally{}}
		h.guests = append(h.guests, g)
		for _, room := range g.rooms {
			h.inside[room] = append(h.inside[room], g)
		}
	}
	return h
}

func (h *house) channel(room int) string { return fmt.Sprintf("%s/room/%d", h.run.base, room) }

// open starts those who send.
func (h *house) open() {
	for i := range h.speakers {
		h.speakers[i] = make(chan speech, speechesWait)
		h.talk.Go(func() {
			for s := range h.speakers[i] {
				h.say(s)
			}
		})
	}
}

// shut ends them once everything is said.
func (h *house) shut() {
	for _, c := range h.speakers {
		close(c)
	}
	h.talk.Wait()
}

// converse draws who speaks, and where, until ctx ends.
func (h *house) converse(ctx context.Context) {
	o := &h.run.o
	every := time.Duration(float64(time.Second) * float64(o.Batch) / o.Rate)
	lot := rand.New(rand.NewPCG(2, 3))
	wait := time.NewTimer(0)
	defer wait.Stop()
	for due := h.run.clock.now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		for now := h.run.clock.now(); due <= now; due += every {
			g := h.guests[lot.IntN(len(h.guests))]
			slot := lot.IntN(len(g.rooms))
			s := speech{guest: g, voice: g.index*o.Each + slot, room: g.rooms[slot], due: due}
			s.first = h.said[s.voice]
			select {
			case h.speakers[g.index%speaking] <- s:
			case <-ctx.Done():
				return
			}
			h.said[s.voice] += int64(o.Batch)
			h.due += int64(o.Batch) * int64(len(h.inside[s.room]))
			h.run.sent.Add(int64(o.Batch))
		}
		wait.Reset(due - h.run.clock.now())
	}
}

// say sends a batch in one frame.
func (h *house) say(s speech) {
	batch := make([][]byte, h.run.o.Batch)
	var data []byte
	for i := range batch {
		m := mark{publisher: s.voice, seq: s.first + int64(i), sent: s.due}
		data = payload(data[:0], h.run.target.anchor, m, h.run.o.Size)
		batch[i] = s.guest.session.publication(h.channel(s.room), fmt.Sprintf("v%d.%d", s.voice, m.seq), data)
	}
	err := s.guest.session.road.send([][]byte{bytes.Join(batch, []byte{','})}, func(found *seen) {
		h.run.heed(found)
		s.guest.take(found)
	})
	if err != nil && !h.run.closing.Load() {
		h.run.fault(&h.run.broken, "client: "+err.Error())
	}
}

// take is a sink.
func (g *guest) take(found *seen) {
	if len(found.marks) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	fresh := found.marks[:0]
	for _, m := range found.marks {
		t := g.heard[m.publisher]
		if t == nil {
			t = &tally{}
			g.heard[m.publisher] = t
		}
		if t.saw(m.seq) {
			fresh = append(fresh, m)
		}
	}
	g.house.run.clock.observe(g.index, fresh)
	g.house.run.clock.arrive(len(fresh))
}

// faults sums up what everybody missed of what was said in their rooms, or had twice or
// in the wrong order, or had of other rooms, which counts as twice.
func (h *house) faults() (all Faults) {
	for _, g := range h.guests {
		g.mu.Lock()
		for _, room := range g.rooms {
			for _, other := range h.inside[room] {
				voice := other.index*h.run.o.Each + slices.Index(other.rooms, room)
				t := g.heard[voice]
				if t == nil {
					t = &tally{}
				}
				delete(g.heard, voice)
				all.add(t.result(h.said[voice]))
			}
		}
		for _, t := range g.heard {
			all.Duplicate += t.next
		}
		g.mu.Unlock()
	}
	return all
}
