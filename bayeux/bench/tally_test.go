package bench

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Planted faults are counted for what they are.
func TestTally(t *testing.T) {
	f := func(sent int64, want Faults, seqs ...int64) {
		t.Helper()
		var c tally
		for _, seq := range seqs {
			c.saw(seq)
		}
		require.Equal(t, want, c.result(sent))
	}
	f(0, Faults{})
	f(4, Faults{}, 0, 1, 2, 3)
	f(4, Faults{Lost: 4})
	f(4, Faults{Lost: 1}, 0, 1, 3)
	f(4, Faults{Lost: 1}, 1, 2, 3)
	f(4, Faults{Lost: 2}, 0, 1)
	f(4, Faults{Duplicate: 1}, 0, 1, 1, 2, 3)
	f(4, Faults{Duplicate: 4}, 0, 1, 2, 3, 0, 1, 2, 3)
	f(4, Faults{Reordered: 1}, 0, 2, 1, 3)
	f(4, Faults{Reordered: 3}, 3, 2, 1, 0)
	f(4, Faults{Reordered: 1, Duplicate: 1}, 0, 2, 1, 1, 3)
	f(6, Faults{Reordered: 2, Lost: 2}, 0, 5, 2, 3)
	f(8, Faults{Reordered: 1, Lost: 5}, 0, 6, 3)
	f(8, Faults{Reordered: 3, Lost: 3, Duplicate: 1}, 0, 6, 3, 1, 5, 3)
}

// Against a model: any stream, any faults.
func TestTallyAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		var c tally
		var want Faults
		had, top := map[int64]bool{}, int64(-1)
		for range 200 {
			seq := random.Int64N(60)
			switch {
			case had[seq]:
				want.Duplicate++
			case seq < top:
				want.Reordered++
			}
			require.Equal(t, !had[seq], c.saw(seq), "seed %d", seed)
			had[seq], top = true, max(top, seq)
		}
		want.Lost = 70 - int64(len(had))
		require.Equal(t, want, c.result(70), "seed %d", seed)
	}
}

// A server that drops every second message does not cost the generator its memory.
func TestTallyIsBounded(t *testing.T) {
	var c tally
	const n = 4 * maxGaps
	for seq := int64(1); seq < n; seq += 2 {
		c.saw(seq)
	}
	require.LessOrEqual(t, len(c.missing), maxGaps)
	require.Equal(t, Faults{Lost: n / 2}, c.result(n))
}
