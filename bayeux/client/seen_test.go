package client

import (
	"fmt"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func testID(epoch uint32, n uint64) string {
	u := ulid.ULID{6: byte(epoch >> 24), 7: byte(epoch >> 16), 8: byte(epoch >> 8), 9: byte(epoch)}
	for i := range 6 {
		u[15-i] = byte(n >> (8 * i))
	}
	return u.String()
}

func TestParsePosition(t *testing.T) {
	p, ok := parsePosition(testID(0xfedcba98, 1<<47|5))
	require.True(t, ok)
	require.Equal(t, position{0xfedcba98, 1<<47 | 5}, p)
	for _, other := range []string{"", "1", "01ARZ3NDEKTSV4RRFFQ69G5FA!", "01ARZ3NDEKTSV4RRFFQ69G5FAVX"} {
		_, ok := parsePosition(other)
		require.False(t, ok, other)
	}
}

// The ranges are a set: whatever the order, a position is had exactly when it was
// added.
func TestSeenIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s seen
		model := map[string]bool{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			base := rapid.SampledFrom([]string{"/a", "/b"}).Draw(t, "base")
			p := position{rapid.Uint32Range(1, 2).Draw(t, "epoch"), rapid.Uint64Range(0, 40).Draw(t, "n")}
			key := fmt.Sprint(base, p)
			fresh, alone := s.take(base, p)
			require.Equal(t, !model[key], fresh, key)
			has := func(q position) bool { return model[fmt.Sprint(base, q)] }
			require.Equal(t, fresh && !has(position{p.epoch, p.n - 1}) && !has(position{p.epoch, p.n + 1}), alone, key)
			model[key] = true
		}
		for _, r := range s.channels {
			for i := 1; i < len(r); i++ {
				require.True(t, r[i-1].epoch < r[i].epoch || r[i-1].hi+1 < r[i].lo, "apart and sorted: %v", r)
			}
		}
	})
}

func TestSeenIsBounded(t *testing.T) {
	var s seen
	for i := range 3 * maxSeenRanges {
		fresh, alone := s.take("/a", position{1, uint64(2 * i)})
		require.True(t, fresh && alone)
	}
	require.Len(t, s.channels["/a"], maxSeenRanges)
	fresh, _ := s.take("/a", position{1, uint64(2 * (3*maxSeenRanges - 1))})
	require.False(t, fresh, "the newest are kept")
	for i := range maxSeenChannels + 10 {
		s.take(fmt.Sprint("/c", i), position{1, 1})
	}
	require.Len(t, s.channels, maxSeenChannels)
	require.Len(t, s.order, maxSeenChannels)

	var r recent
	for i := range 3 * maxSeenIDs {
		require.False(t, r.add("/a", position{1, uint64(i)}))
	}
	require.Len(t, r.set, maxSeenIDs)
	require.True(t, r.add("/a", position{1, 3*maxSeenIDs - 1}))
	require.False(t, r.add("/b", position{1, 3*maxSeenIDs - 1}), "positions of two logs may be equal")
}
