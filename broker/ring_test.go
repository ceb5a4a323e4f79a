package broker

import (
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func ringAt(n int) store.Position { return store.NewPosition(int64(1000+n), 7, uint64(n)) }

func TestRing(t *testing.T) {
	var r ring
	now := time.Unix(1000, 0)
	sum := 0
	for n := range 3 * ringMost {
		sum += r.push(ringAt(n), now, false)
		require.LessOrEqual(t, len(r.live()), ringMost)
		require.Less(t, len(r.list), 2*ringMost+2)
	}
	require.Equal(t, ringMost, sum)
	require.Equal(t, ringAt(3*ringMost-1), r.live()[ringMost-1].position)
	require.False(t, r.lacks(ringAt(2*ringMost+5)))
	require.False(t, r.lacks(ringAt(2*ringMost-5)), "older than what is known")
	require.True(t, r.lacks(store.NewPosition(int64(1000+3*ringMost-2), 7, 1<<40)))
	sum += r.turn(ringAt(3*ringMost - 11))
	require.Equal(t, ringMost-10, sum)
	require.Equal(t, ringAt(3*ringMost-11), r.live()[sum-1].position)
	sum += r.push(ringAt(4*ringMost), now.Add(ringAge+time.Second), false)
	require.Equal(t, 2, sum, "the newest of the old ones stays beside a new one")
	grown := r.push(ringAt(4*ringMost+1), now.Add(ringAge+time.Second), true)
	require.LessOrEqual(t, grown, 0, "one for one where the node is full")
	sum += grown
	sum += r.expire(now.Add(3 * ringAge))
	require.Zero(t, sum)
	require.Zero(t, cap(r.list))
}

func TestForksBack(t *testing.T) {
	f := forks{forked: 2, noted: []fork{{ringAt(5), ringAt(9)}, {ringAt(3), ringAt(7)}}}
	require.Equal(t, ringAt(3), f.back(ringAt(8), 0), "one after the other")
	require.Equal(t, ringAt(2), f.back(ringAt(2), 0))
	require.Equal(t, ringAt(8), f.back(ringAt(8), 1), "it was there after the first")
	require.Equal(t, ringAt(6), f.back(ringAt(6), 2))
	require.Equal(t, ringAt(10), f.back(ringAt(10), 0))
}

func BenchmarkRingPush(b *testing.B) {
	var r ring
	now := time.Now()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		r.push(store.NewPosition(int64(n), 1, uint64(n)), now, false)
	}
}
