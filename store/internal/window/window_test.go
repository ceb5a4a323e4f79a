package window

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// list is the slowest Records there is.
type list []store.Position

func (l list) From(ms int64, n uint64) (store.Position, bool) {
	for _, p := range l {
		if p.MS() > ms || p.MS() == ms && p.N() >= n {
			return p, true
		}
	}
	return store.Position{}, false
}

func (l list) To(ms int64, n uint64) (store.Position, bool) {
	var last store.Position
	for _, p := range l {
		if p.MS() < ms || p.MS() == ms && p.N() <= n {
			last = p
		}
	}
	return last, !last.IsZero()
}

func (l list) Numbered(n uint64, lo store.Position) (store.Position, bool) {
	for _, p := range l {
		if p.N() == n && !p.Before(lo) {
			return p, true
		}
	}
	return store.Position{}, false
}

func TestCutoff(t *testing.T) {
	now := time.UnixMilli(10_000).Add(300 * time.Microsecond)
	f := func(age time.Duration, want int64) {
		t.Helper()
		require.Equal(t, want, Cutoff(age, now))
		if want > 0 {
			require.LessOrEqual(t, now.Sub(time.UnixMilli(want)), age)
			require.Greater(t, now.Sub(time.UnixMilli(want-1)), age)
		}
	}
	f(store.Forever, 0)
	f(time.Second, 9001)
	f(time.Second+300*time.Microsecond, 9000)
	f(time.Nanosecond, 10_001)
	f(time.Hour, 0)
}

// FuzzOf compares the window with what looking at every record says, for any
// range a peer may name.
func FuzzOf(f *testing.F) {
	f.Add(uint8(20), uint8(3), uint16(30), int16(5), int16(9), int16(3), uint8(0), uint8(4))
	f.Add(uint8(9), uint8(0), uint16(3), int16(-5), int16(50), int16(-3), uint8(7), uint8(1))
	f.Add(uint8(40), uint8(1), uint16(300), int16(39), int16(0), int16(0), uint8(39), uint8(200))
	f.Fuzz(func(t *testing.T, count, length uint8, age uint16, after, upTo, since int16, lost, epoch uint8) {
		const start = 1000
		var all list
		for i := range int64(count) {
			all = append(all, store.NewPosition(start+i/3, 5, uint64(start+i)))
		}
		at := func(i int16) store.Position {
			if i < 0 {
				return store.NewPosition(start+int64(i), uint32(epoch), uint64(start+int64(i)))
			}
			return store.NewPosition(start+int64(i)/3, 5, uint64(start+int64(i)))
		}
		r := store.Range{Limits: store.Limits{Age: time.Duration(age) * time.Millisecond, Length: int(length)}}
		if after != 0 {
			r.After = at(after)
		}
		if upTo != 0 {
			r.UpTo = at(upTo)
		}
		if since > 0 {
			r.Since = time.UnixMilli(start + int64(since))
		}
		now := time.UnixMilli(start + 50)
		l := Log{}
		there := all
		if count > 0 {
			l = Log{Start: all[0], Last: all[len(all)-1]}
			if length > 0 { // what a backend may have deleted
				there = all[min(int(lost), max(0, len(all)-int(length)-1)):]
			}
		}
		var want []store.Position
		trimmed := false
		for i, p := range all {
			young := now.Sub(p.Time()) <= r.Limits.Age
			in := r.After.Before(p) && !p.Time().Before(r.Since) && (r.UpTo.IsZero() || !r.UpTo.Before(p))
			switch {
			case !in || !young || !r.Limits.Keeps():
			case length > 0 && i < len(all)-int(length):
				trimmed = true
			default:
				want = append(want, p)
			}
		}
		w := Of(l, there, r, now)
		if len(want) == 0 {
			require.True(t, w.Empty)
		} else {
			require.False(t, w.Empty)
			require.Equal(t, want[0], w.First)
			require.Equal(t, want[len(want)-1], w.Last)
		}
		if upTo >= 0 { // a forged UpTo among what was deleted may be told either way
			require.Equal(t, trimmed, w.Trimmed)
		}
		if after >= 0 && int(after) < int(count) {
			require.False(t, w.Forked, "a position that was issued")
		}
	})
}
