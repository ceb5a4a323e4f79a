package bench

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Every kind of fault in a room is told: nothing of a house without faults.
func TestRoomsFaults(t *testing.T) {
	newTalk := func() *house {
		r := &run{o: Options{Conns: 6, Rooms: 4, Each: 2, Batch: 3}, clock: newClock()}
		return newHouse(r)
	}
	// say hands a batch of a voice to all who are in its room, but for what twist does.
	say := func(h *house, g *guest, slot int, twist func(to *guest, marks []mark) []mark) {
		voice := g.index*h.run.o.Each + slot
		first := h.said[voice]
		h.said[voice] += 3
		for _, to := range h.inside[g.rooms[slot]] {
			marks := []mark{{publisher: voice, seq: first}, {publisher: voice, seq: first + 1}, {publisher: voice, seq: first + 2}}
			to.take(&seen{marks: twist(to, marks)})
		}
	}
	as := func(_ *guest, marks []mark) []mark { return marks }
	f := func(want Faults, twist func(h *house, to *guest, marks []mark) []mark) {
		t.Helper()
		h := newTalk()
		speaker := h.guests[3]
		victim := h.inside[speaker.rooms[1]][0]
		say(h, speaker, 0, as)
		say(h, speaker, 1, as)
		say(h, speaker, 1, func(to *guest, marks []mark) []mark {
			if to != victim {
				return marks
			}
			return twist(h, to, marks)
		})
		for _, g := range h.guests {
			say(h, g, 0, as)
		}
		require.Equal(t, want, h.faults())
	}
	f(Faults{}, func(_ *house, _ *guest, m []mark) []mark { return m })
	f(Faults{Lost: 1}, func(_ *house, _ *guest, m []mark) []mark { return m[:2] })
	f(Faults{Lost: 3}, func(*house, *guest, []mark) []mark { return nil })
	f(Faults{Duplicate: 1}, func(_ *house, _ *guest, m []mark) []mark { return append(m, m[1]) })
	f(Faults{Reordered: 1}, func(_ *house, _ *guest, m []mark) []mark { return []mark{m[1], m[0], m[2]} })
	// What is said in a room that it is not in.
	f(Faults{Duplicate: 1}, func(h *house, to *guest, m []mark) []mark {
		for _, g := range h.guests {
			for slot, room := range g.rooms {
				if voice := g.index*h.run.o.Each + slot; room != to.rooms[0] && room != to.rooms[1] {
					return append(m, mark{publisher: voice})
				}
			}
		}
		t.Fatal("everybody is everywhere")
		return nil
	})
}

// The lots are drawn alike in every run, and each client is in different rooms.
func TestRoomsAreTheSame(t *testing.T) {
	o := Options{Conns: 1000, Rooms: 100, Each: 10, Batch: 10}
	a, b := newHouse(&run{o: o}), newHouse(&run{o: o})
	inside := 0
	for i, g := range a.guests {
		require.Equal(t, g.rooms, b.guests[i].rooms)
		seen := map[int]bool{}
		for _, room := range g.rooms {
			seen[room] = true
		}
		require.Len(t, seen, 10)
	}
	for _, all := range a.inside {
		inside += len(all)
		require.InDelta(t, 100, len(all), 40)
	}
	require.Equal(t, 10_000, inside)
}
