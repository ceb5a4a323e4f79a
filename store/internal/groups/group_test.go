package groups

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

var ctx = context.Background()

// at is the place of record n of a log that has one in each ms, or five.
func at(n int) store.Position { return store.NewPosition(int64(1000+n/5), 7, uint64(1000+n)) }

// log reads a log of so many records of 10 bytes.
func log(records *int) Read {
	return func(_ context.Context, r store.Range, limit, maxBytes int) (page store.Page, err error) {
		first := 0
		if r.After.Epoch() == 7 {
			first = max(0, int(r.After.N())-999)
		}
		end := *records
		if !r.UpTo.IsZero() {
			end = min(end, int(r.UpTo.N())-999)
		}
		for n := first; n < end; n++ {
			if len(page.Entries) == limit || len(page.Entries) > 0 && 10*(len(page.Entries)+1) > maxBytes {
				page.More = true
				break
			}
			page.Entries = append(page.Entries, store.Entry{Position: at(n), Data: []byte("0123456789")})
		}
		return page, nil
	}
}

var keep = store.Limits{Age: time.Hour}

func numbers(entries []store.Entry) (out []int) {
	for _, e := range entries {
		out = append(out, int(e.Position.N())-1000)
	}
	return out
}

// A group gives out no more than it may hold, and costs little for it.
func TestMaxHeld(t *testing.T) {
	var g Group
	records := store.MaxHeld + 5000
	take := func() int {
		out, err := g.Take(ctx, log(&records), keep, "a", 1_000_000, 1<<30)
		require.NoError(t, err)
		require.LessOrEqual(t, len(out.Entries), store.MaxTake)
		return len(out.Entries)
	}
	n := 0
	for got := take(); got > 0; got = take() {
		n += got
	}
	require.Equal(t, store.MaxHeld, n)
	require.Len(t, g.runs.list, 1, "what lies together is one")
	g.Settle([]store.Position{at(17), at(18), at(500)})
	require.Equal(t, 3, take())
	require.Zero(t, take())
	g.Leave("a")
	require.Equal(t, store.MaxTake, take(), "what was given back goes out all the same")
}

// Whatever is done, a group that is parsed from what was encoded gives exactly what was
// not settled, in order.
func TestEncode(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		g, records := &Group{}, 0
		settled, taken := map[int]bool{}, map[int]bool{}
		for range 60 {
			records += r.IntN(30)
			out, err := g.Take(ctx, log(&records), keep, fmt.Sprint(r.IntN(3)), 1+r.IntN(50), 1<<20)
			require.NoError(t, err)
			for _, n := range numbers(out.Entries) {
				require.False(t, settled[n])
				taken[n] = true
			}
			var some []store.Position
			for n := range taken {
				if r.IntN(4) == 0 && !settled[n] {
					settled[n] = true
					some = append(some, at(n))
				}
			}
			g.Settle(some)
			if r.IntN(6) == 0 {
				g.Leave(fmt.Sprint(r.IntN(3)))
			}
			if r.IntN(10) == 0 {
				next := g.State().Next
				if g, err = Parse(g.Encode()); err != nil {
					t.Fatal(err)
				}
				require.Equal(t, next, g.State().Next)
				clear(taken)
			}
		}
		g, err := Parse(g.Encode())
		require.NoError(t, err)
		var want, got []int
		for n := range records {
			if !settled[n] {
				want = append(want, n)
			}
		}
		for {
			out, err := g.Take(ctx, log(&records), keep, "x", 1000, 1<<20)
			require.NoError(t, err)
			if len(out.Entries) == 0 {
				break
			}
			got = append(got, numbers(out.Entries)...)
		}
		require.Equal(t, want, got)
	}
}

// Epochs that end while records of them are out.
func TestEncodeOfEpochs(t *testing.T) {
	var g Group
	old, fresh := store.NewPosition(1, 1, 1), store.NewPosition(9, 2, 9)
	read := func(entries ...store.Position) Read {
		return func(_ context.Context, r store.Range, _, _ int) (page store.Page, _ error) {
			for _, p := range entries {
				if r.After.Before(p) && (r.UpTo.IsZero() || !r.UpTo.Before(p)) {
					page.Entries = append(page.Entries, store.Entry{Position: p})
				}
			}
			return page, nil
		}
	}
	_, err := g.Take(ctx, read(old), keep, "a", 9, 9)
	require.NoError(t, err)
	second := store.NewPosition(9, 2, 10)
	out, err := g.Take(ctx, read(fresh, second), keep, "b", 9, 9)
	require.NoError(t, err)
	require.Len(t, out.Entries, 2)
	g.Settle([]store.Position{fresh})
	again, err := Parse(g.Encode())
	require.NoError(t, err)
	out, err = again.Take(ctx, read(fresh, second), keep, "b", 9, 9)
	require.NoError(t, err)
	require.Equal(t, []store.Entry{{Position: second}}, out.Entries)
	g.Leave("a")
	out, err = g.Take(ctx, read(fresh, second), keep, "b", 9, 9)
	require.NoError(t, err)
	require.Empty(t, out.Entries, "the old one is gone")
	require.Zero(t, g.State().Returned)
}

// After an error nothing is held by the Take, and a Seek under way is obeyed.
func TestTakeFails(t *testing.T) {
	var g Group
	records := 10
	good, broken := log(&records), errors.New("broken")
	bad := func(context.Context, store.Range, int, int) (store.Page, error) { return store.Page{}, broken }
	_, err := g.Take(ctx, bad, keep, "a", 5, 100)
	require.ErrorIs(t, err, broken)
	out, err := g.Take(ctx, good, keep, "a", 4, 100)
	require.NoError(t, err)
	require.Equal(t, []int{0, 1, 2, 3}, numbers(out.Entries))
	g.Leave("a")
	_, err = g.Take(ctx, bad, keep, "b", 5, 100)
	require.ErrorIs(t, err, broken)
	require.Equal(t, store.GroupState{Next: at(3), Returned: 4}, g.State())
	// What was given back is not lost when what is new cannot be read.
	calls := 0
	half := func(ctx context.Context, r store.Range, limit, maxBytes int) (store.Page, error) {
		if calls++; calls > 1 {
			return store.Page{}, broken
		}
		return good(ctx, r, limit, maxBytes)
	}
	_, err = g.Take(ctx, half, keep, "b", 9, 100)
	require.ErrorIs(t, err, broken)
	require.Equal(t, 4, g.State().Returned)
	seeking := func(ctx context.Context, r store.Range, limit, maxBytes int) (store.Page, error) {
		if calls++; calls < 5 {
			g.Seek(at(6))
		}
		return good(ctx, r, limit, maxBytes)
	}
	out, err = g.Take(ctx, seeking, keep, "b", 9, 100)
	require.NoError(t, err)
	require.Equal(t, []int{7, 8, 9}, numbers(out.Entries))
	require.Equal(t, map[string]int{"b": 3}, g.State().Held)
}

// A set lets go of groups that can be loaded, and of none that is in use.
func TestSet(t *testing.T) {
	kept := map[string][]byte{}
	loads := 0
	s := NewSet(func(name store.GroupName) ([]byte, error) {
		loads++
		return kept[name.Name], nil
	}, 2)
	records := 10
	do := func(name string, f func(*Group)) {
		t.Helper()
		g, done, err := s.Use(store.GroupName{Name: name})
		require.NoError(t, err)
		f(g)
		kept[name] = g.Encode()
		done()
	}
	take := func(want ...int) func(*Group) {
		return func(g *Group) {
			out, err := g.Take(ctx, log(&records), keep, "a", 2, 100)
			require.NoError(t, err)
			require.Equal(t, want, numbers(out.Entries))
		}
	}
	do("a", take(0, 1))
	for i := range 5 {
		do(fmt.Sprint(i), func(*Group) {})
	}
	require.Len(t, s.Names(), 2, "one has something out, one more stays")
	before := loads
	do("a", take(2, 3))
	require.Equal(t, before, loads, "what has something out is not loaded again")
	do("3", func(g *Group) { g.Seek(at(4)) })
	do("3", take(5, 6))
	require.Equal(t, before+2, loads, "it was let go of, twice")
	do("3", take(7, 8))
	require.Equal(t, before+2, loads)
	s.DropLog(store.LogName{})
	require.Empty(t, s.Names())
	require.Zero(t, s.count)
	kept["bad"] = []byte{1, 2}
	_, _, err := s.Use(store.GroupName{Name: "bad"})
	require.ErrorIs(t, err, errCorrupt)
}

func FuzzParse(f *testing.F) {
	g, records := &Group{}, 100
	_, err := g.Take(ctx, log(&records), keep, "a", 100, 1<<20)
	require.NoError(f, err)
	g.Settle([]store.Position{at(5), at(6), at(50), at(99)})
	f.Add(g.Encode())
	f.Add((&Group{}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(g.Encode())
		require.NoError(t, err)
		require.Equal(t, g.State(), again.State())
		for i := range g.done {
			require.LessOrEqual(t, g.done[i].first, g.done[i].last)
			require.True(t, i == 0 || g.done[i-1].last <= g.done[i].first)
		}
	})
}

// BenchmarkSettle settles every second record of a million, as a filter would, and then
// the rest, in pages.
func BenchmarkSettle(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var g Group
		records := 200_000
		for {
			out, err := g.Take(ctx, log(&records), keep, "a", 1000, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			if len(out.Entries) == 0 {
				break
			}
			var some []store.Position
			for i, e := range out.Entries {
				if i%2 == 0 {
					some = append(some, e.Position)
				}
			}
			g.Settle(some)
		}
		for n := 0; n < records; n += 1000 {
			var some []store.Position
			for i := n; i < n+1000; i++ {
				some = append(some, at(i))
			}
			g.Settle(some)
			_ = g.Encode()
		}
	}
	b.ReportMetric(float64(200_000*b.N)/b.Elapsed().Seconds(), "records/s")
}
