package catchup

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func at(n int) store.Position { return store.NewPosition(int64(n), 1, uint64(n)) }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// The rows of store.md §5.3's table.
func TestSeamRows(t *testing.T) {
	t.Run("live alone", func(t *testing.T) {
		var s Seam
		from, again := s.Subscribe(at(5), noon)
		require.Equal(t, at(5), from)
		require.False(t, again)
	})
	t.Run("live again", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(5), noon)
		_, again := s.Subscribe(at(9), noon)
		require.True(t, again)
	})
	t.Run("catch-up first: live goes on where it ended", func(t *testing.T) {
		var s Seam
		require.Equal(t, at(5), s.Catchup(at(5)))
		from, _ := s.Subscribe(at(8), noon)
		require.Equal(t, at(5), from)
	})
	t.Run("live first: the catch-up ends where live began", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(5), noon)
		require.Equal(t, at(5), s.Catchup(at(8)))
	})
	t.Run("a repeated catch-up replays up to the same seam", func(t *testing.T) {
		var s Seam
		s.Catchup(at(5))
		s.Subscribe(at(6), noon)
		require.Equal(t, at(5), s.Catchup(at(9)))
		require.Equal(t, at(5), s.Catchup(at(12)))
	})
	t.Run("a repeated catch-up without live replays up to now", func(t *testing.T) {
		var s Seam
		s.Catchup(at(5))
		require.Equal(t, at(9), s.Catchup(at(9)))
		from, _ := s.Subscribe(at(10), noon)
		require.Equal(t, at(9), from)
	})
	t.Run("live dropped and taken again while the catch-up stands", func(t *testing.T) {
		var s Seam
		s.Catchup(at(5))
		s.Subscribe(at(5), noon)
		s.Unsubscribe(at(7), noon)
		from, again := s.Subscribe(at(11), noon.Add(time.Hour))
		require.False(t, again)
		require.Equal(t, at(7), from)
	})
	t.Run("live dropped and taken again within 30 s", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(5), noon)
		s.Unsubscribe(at(7), noon)
		require.False(t, s.Done(noon.Add(KeepCover)))
		from, _ := s.Subscribe(at(11), noon.Add(KeepCover))
		require.Equal(t, at(7), from)
	})
	t.Run("live dropped and taken again later begins anew", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(5), noon)
		s.Unsubscribe(at(7), noon)
		late := noon.Add(KeepCover + time.Millisecond)
		require.True(t, s.Done(late))
		from, _ := s.Subscribe(at(11), late)
		require.Equal(t, at(11), from)
	})
	t.Run("heard by a wildcard before", func(t *testing.T) {
		var s Seam
		s.Begin(at(3))
		require.Equal(t, at(3), s.Catchup(at(8)))
		_, again := s.Subscribe(at(8), noon)
		require.True(t, again)
	})
}

// A catch-up that is withdrawn leaves a Seam as if it had never been asked for: what was due
// before is, and a cover that had lapsed stays so.
func TestSeamWithdraw(t *testing.T) {
	withdraw := func(s *Seam, last int, now time.Time) {
		was := *s
		upTo := s.Catchup(at(last))
		s.Forget(1, now)
		s.Withdraw(was, upTo)
		require.Equal(t, was, *s)
	}
	t.Run("nothing covered", func(t *testing.T) {
		var s Seam
		withdraw(&s, 5, noon)
		require.True(t, s.Done(noon))
	})
	t.Run("a catch-up stands", func(t *testing.T) {
		var s Seam
		s.Catchup(at(5))
		withdraw(&s, 8, noon)
		from, _ := s.Subscribe(at(9), noon)
		require.Equal(t, at(5), from)
	})
	t.Run("live", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(5), noon)
		withdraw(&s, 8, noon)
	})
	t.Run("live was dropped", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(5), noon)
		s.Unsubscribe(at(7), noon)
		withdraw(&s, 9, noon.Add(KeepCover))
		goesOn, lapsed := s, s
		from, _ := goesOn.Subscribe(at(10), noon.Add(KeepCover))
		require.Equal(t, at(7), from)
		require.Equal(t, at(5), goesOn.Catchup(at(10)), "live began there")
		from, _ = lapsed.Subscribe(at(10), noon.Add(KeepCover+1))
		require.Equal(t, at(10), from)
	})
	t.Run("live of the same request", func(t *testing.T) {
		var s Seam
		s.Subscribe(at(3), noon)
		s.Unsubscribe(at(4), noon)
		was := s
		upTo := s.Catchup(at(5))
		s.Subscribe(at(5), noon)
		s.Unsubscribe(at(5), noon)
		s.Forget(1, noon)
		s.Withdraw(was, upTo)
		require.Equal(t, was, s)
	})
}

// TestSeamExactlyOnce plays random orders of publishing, subscribing, catching up
// and dropping, delivers what each step makes due, and checks that with the first
// catch-up and live together every position of the cover came exactly once.
func TestSeamExactlyOnce(t *testing.T) {
	for seed := range uint64(2000) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var s Seam
			last, cursor, caught := 0, 0, false
			got := map[int]int{}
			deliver := func(after, upTo store.Position) {
				for n := int(after.N()) + 1; n <= int(upTo.N()); n++ {
					got[n]++
				}
			}
			start := -1 // everything after it must have come
			for range 40 {
				switch r.IntN(4) {
				case 0:
					last++
					if s.Live() {
						got[last]++
						cursor = last
					}
				case 1:
					from, again := s.Subscribe(at(last), noon)
					if again {
						break
					}
					deliver(from, at(last))
					if cursor = last; start < 0 {
						start = int(from.N())
					}
				case 2:
					if caught || start >= 0 && !s.Live() {
						break // replays to the end again, on purpose
					}
					caught = true
					deliver(store.Position{}, s.Catchup(at(last)))
					start = 0
				case 3:
					s.Unsubscribe(at(cursor), noon)
				}
			}
			if start < 0 {
				return
			}
			// What is still uncovered comes with the last subscription.
			if from, again := s.Subscribe(at(last), noon); !again {
				deliver(from, at(last))
			}
			for n := start + 1; n <= last; n++ {
				require.Equal(t, 1, got[n], "position %d", n)
			}
		})
	}
}
