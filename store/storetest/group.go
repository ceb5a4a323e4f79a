package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func group(path string) store.GroupName { return store.GroupName{Log: name(path), Name: "stream"} }

// addAll appends records with the texts first to last-1 and returns them.
func (u *suite) addAll(log store.LogName, limits store.Limits, first, last int) []store.Entry {
	u.Helper()
	var records []store.Record
	for i := first; i < last; i++ {
		records = append(records, store.Record{Data: []byte(fmt.Sprint(i))})
	}
	a, err := Append(u.s, log, limits, records...)
	require.NoError(u, err)
	out := make([]store.Entry, len(records))
	for i := range out {
		out[i] = store.Entry{Position: a.Positions[i], Data: records[i].Data}
	}
	return out
}

// take takes and sees to it that what comes again is so many of the first.
func (u *suite) take(g store.GroupName, limits store.Limits, consumer string, limit, again int) []store.Entry {
	u.Helper()
	got, err := u.s.Take(ctx, g, limits, consumer, limit, 1<<20)
	require.NoError(u, err)
	require.Equal(u, again, got.Again, "of %d", len(got.Entries))
	return got.Entries
}

func (u *suite) settle(g store.GroupName, entries ...store.Entry) {
	u.Helper()
	require.NoError(u, u.s.Settle(ctx, g, places(entries)))
}

func places(entries []store.Entry) (at []store.Position) {
	for _, e := range entries {
		at = append(at, e.Position)
	}
	return at
}

func (u *suite) state(g store.GroupName) store.GroupState {
	u.Helper()
	s, err := u.s.State(ctx, g)
	require.NoError(u, err)
	return s
}

// groupShares: each record goes to one consumer, in order; what is settled does not come
// again, what is given back comes first and in order.
func (u *suite) groupShares() {
	g := group("shares")
	require.Zero(u, u.state(g), "never named")
	require.Empty(u, u.take(g, keep, "a", 10, 0), "no log")
	require.NoError(u, u.s.Leave(ctx, g, "nobody"))
	require.NoError(u, u.s.Settle(ctx, g, nil))
	all := u.addAll(g.Log, keep, 0, 20)
	a := u.take(g, keep, "a", 5, 0)
	require.Equal(u, all[:5], a)
	b := u.take(g, keep, "b", 5, 0)
	require.Equal(u, all[5:10], b)
	a2 := u.take(g, keep, "a", 3, 0)
	require.Equal(u, all[10:13], a2)
	s := u.state(g)
	require.Equal(u, map[string]int{"a": 8, "b": 5}, s.Held)
	require.True(u, s.After.Before(all[0].Position))
	require.Equal(u, all[12].Position, s.Next)

	u.settle(g, a[1], a[0], a[3])
	u.settle(g, a[1], a[0], a[3])
	u.settle(g, all[19])
	s = u.state(g)
	require.Equal(u, map[string]int{"a": 5, "b": 5}, s.Held)
	require.False(u, s.After.Before(all[1].Position))
	require.True(u, s.After.Before(all[2].Position))

	require.NoError(u, u.s.Leave(ctx, g, "a"))
	s = u.state(g)
	require.Equal(u, map[string]int{"b": 5}, s.Held)
	require.Equal(u, 5, s.Returned)
	require.Equal(u, []store.Entry{all[2], all[4]}, u.take(g, keep, "b", 2, 2))
	require.Equal(u, append(append([]store.Entry{}, all[10:13]...), all[13:20]...), u.take(g, keep, "c", 100, 3), "in order, before what is new")
	u.settle(g, all...)
	s = u.state(g)
	require.Equal(u, store.GroupState{After: all[19].Position, Next: all[19].Position}, s)
	require.Empty(u, u.take(g, keep, "a", 10, 0))
	require.Equal(u, []store.Entry{u.add(g.Log, keep, "more")}, u.take(g, keep, "a", 10, 0))

	other := store.GroupName{Log: g.Log, Name: "another"}
	require.Len(u, u.take(other, keep, "a", 100, 0), 21, "groups know nothing of each other")
	require.NoError(u, u.s.Drop(ctx, g))
	require.NoError(u, u.s.Drop(ctx, g))
	require.Zero(u, u.state(g))
	require.Equal(u, all, u.take(g, keep, "a", 20, 0), "from the beginning")
}

// groupAfterLostReply: what a Take took is with its consumer, although the first answer
// was lost.
func (u *suite) groupAfterLostReply() {
	if u.o.LoseReply == nil {
		u.Skip("the backend has no replies to lose")
	}
	g := group("lost")
	all := u.addAll(g.Log, keep, 0, 30)
	u.o.LoseReply(u, u.s)
	require.Equal(u, all[:10], u.take(g, keep, "a", 10, 0))
	require.Equal(u, map[string]int{"a": 10}, u.state(g).Held)
	require.Equal(u, all[10:15], u.take(g, keep, "b", 5, 0))
	u.o.LoseReply(u, u.s)
	require.NoError(u, u.s.Leave(ctx, g, "a"))
	require.Equal(u, map[string]int{"b": 5}, u.state(g).Held)
	require.Equal(u, all[:1], u.take(g, keep, "b", 1, 1))
	u.o.LoseReply(u, u.s)
	require.Equal(u, append(append([]store.Entry{}, all[1:10]...), all[15:20]...), u.take(g, keep, "b", 14, 9))
	u.settle(g, all[:20]...)
	require.Equal(u, all[20:], u.take(g, keep, "a", 100, 0))
}

// groupSettlesReturned: what was given back can still be settled by who had it.
func (u *suite) groupSettlesReturned() {
	g := group("late")
	all := u.addAll(g.Log, keep, 0, 4)
	a := u.take(g, keep, "a", 3, 0)
	require.NoError(u, u.s.Leave(ctx, g, "a"))
	u.settle(g, a[1])
	require.Equal(u, []store.Entry{all[0], all[2], all[3]}, u.take(g, keep, "b", 10, 2))
}

// groupSeeks: back, forward, to a place that is no record's, and what was out is forgotten.
func (u *suite) groupSeeks() {
	g := group("seeks")
	require.NoError(u, u.s.Seek(ctx, g, store.NewPosition(1, 0, 0)))
	all := u.addAll(g.Log, keep, 0, 10)
	require.Equal(u, all[:6], u.take(g, keep, "a", 6, 0))
	require.NoError(u, u.s.Seek(ctx, g, all[2].Position))
	require.Empty(u, u.state(g).Held)
	require.Equal(u, all[3:5], u.take(g, keep, "b", 2, 0))
	u.settle(g, all[3])
	require.NoError(u, u.s.Seek(ctx, g, all[7].Position))
	require.Equal(u, store.GroupState{After: all[7].Position, Next: all[7].Position}, u.state(g))
	require.Equal(u, all[8:], u.take(g, keep, "b", 10, 0))
	require.NoError(u, u.s.Seek(ctx, g, store.Position{}))
	require.Equal(u, all, u.take(g, keep, "b", 10, 0))
	require.NoError(u, u.s.Seek(ctx, g, store.NewPosition(all[0].Position.MS(), 0, 0)))
	require.Equal(u, all, u.take(g, keep, "b", 10, 0))
	require.NoError(u, u.s.Seek(ctx, g, store.NewPosition(all[9].Position.MS()+1, 0, 0)))
	require.Empty(u, u.take(g, keep, "b", 10, 0))
	ahead := group("ahead")
	require.NoError(u, u.s.Seek(ctx, ahead, store.NewPosition(all[9].Position.MS()+1_000_000, 0, 0)))
	u.addAll(ahead.Log, keep, 0, 3)
	require.Empty(u, u.take(ahead, keep, "a", 10, 0), "a place ahead of a log that was not there")
	require.NoError(u, u.s.Seek(ctx, ahead, store.Position{}))
	require.Len(u, u.take(ahead, keep, "a", 10, 0), 3)
}

// groupBounds: sizes and names.
func (u *suite) groupBounds() {
	g := group("bounds")
	var all []store.Entry
	for i := range 30 {
		all = append(all, u.add(g.Log, keep, fmt.Sprintf("%0100d", i)))
	}
	got, err := u.s.Take(ctx, g, keep, "a", 10, 350)
	require.NoError(u, err)
	require.Equal(u, all[:3], got.Entries, "about so many bytes")
	got, err = u.s.Take(ctx, g, keep, "a", 0, 0)
	require.NoError(u, err)
	require.Equal(u, all[3:4], got.Entries, "at least one")
	require.NoError(u, u.s.Leave(ctx, g, "a"))
	got, err = u.s.Take(ctx, g, keep, "b", 10, 250)
	require.NoError(u, err)
	require.Equal(u, all[:2], got.Entries)
	require.Equal(u, 2, got.Again)
	require.Equal(u, all[2:9], u.take(g, keep, "c", 7, 2))
	big := u.add(g.Log, keep, string(make([]byte, 300_000)))
	var rest []store.Entry
	for {
		got, err := u.s.Take(ctx, g, keep, "d", 1000, 1000)
		require.NoError(u, err)
		if len(got.Entries) == 0 {
			break
		}
		rest = append(rest, got.Entries...)
	}
	require.Equal(u, append(all[9:30:30], big), rest)

	long := string(make([]byte, store.MaxName+1))
	for _, bad := range []store.GroupName{{Log: g.Log, Name: long}, {Log: name(long)}} {
		_, err = u.s.Take(ctx, bad, keep, "a", 1, 1)
		require.ErrorIs(u, err, store.ErrTooLarge)
		require.ErrorIs(u, u.s.Settle(ctx, bad, nil), store.ErrTooLarge)
		require.ErrorIs(u, u.s.Leave(ctx, bad, "a"), store.ErrTooLarge)
		require.ErrorIs(u, u.s.Seek(ctx, bad, store.Position{}), store.ErrTooLarge)
		require.ErrorIs(u, u.s.Drop(ctx, bad), store.ErrTooLarge)
		_, err = u.s.State(ctx, bad)
		require.ErrorIs(u, err, store.ErrTooLarge)
	}
	_, err = u.s.Take(ctx, g, keep, long, 1, 1)
	require.ErrorIs(u, err, store.ErrTooLarge)
	strange := store.GroupName{Log: store.LogName{Feed: "a\x00b", Path: "\xff{}"}, Name: "\x00:\xff"}
	one := u.add(strange.Log, keep, "x")
	require.Equal(u, []store.Entry{one}, u.take(strange, keep, "\xfe\x00", 1, 0))
	require.Equal(u, map[string]int{"\xfe\x00": 1}, u.state(strange).Held)
	require.NoError(u, u.s.Leave(ctx, strange, "\xfe\x00"))
	require.Equal(u, []store.Entry{one}, u.take(strange, keep, "-", 1, 1))
	require.Empty(u, u.take(strange, store.Limits{}, "x", 1, 0), "limits that keep nothing")
}

// groupLimits: what limits and redactions hide is passed over, new or given back.
func (u *suite) groupLimits() {
	g, limits := group("limits"), store.Limits{Age: time.Hour, Length: 10}
	all := u.addAll(g.Log, limits, 0, 8)
	require.Equal(u, all[:4], u.take(g, limits, "a", 4, 0))
	all = append(all, u.addAll(g.Log, limits, 8, 16)...)
	require.NoError(u, u.s.Redact(ctx, g.Log, all[7].Position))
	require.NoError(u, u.s.Leave(ctx, g, "a"))
	require.Equal(u, []store.Entry{all[6], all[8]}, u.take(g, limits, "b", 2, 0), "0 to 5 are too many, 7 is redacted")
	require.Equal(u, all[9:12], u.take(g, limits, "b", 3, 0))
	require.NoError(u, u.s.Redact(ctx, g.Log, all[10].Position))
	require.NoError(u, u.s.Leave(ctx, g, "b"))
	got := u.take(g, limits, "c", 100, 4)
	require.Equal(u, []store.Entry{all[6], all[8], all[9], all[11], all[12], all[13], all[14], all[15]}, got)
	u.settle(g, got...)
	require.Empty(u, u.state(g).Held)
	require.Zero(u, u.state(g).Returned)
	require.Equal(u, all[15].Position, u.state(g).After)
	// Many more than are kept, some of them out.
	all = u.addAll(g.Log, limits, 100, 105)
	require.Equal(u, all, u.take(g, limits, "c", 5, 0))
	for i := range 30 {
		u.addAll(g.Log, limits, 200+100*i, 300+100*i)
	}
	require.NoError(u, u.s.Leave(ctx, g, "c"))
	got = u.take(g, limits, "d", 100, 0)
	require.Len(u, got, 10)
	require.Equal(u, "3190", string(got[0].Data))
	u.settle(g, all...)
	require.Equal(u, map[string]int{"d": 10}, u.state(g).Held)
}

// groupHidden: a consumer that takes a few at a time gets all it asked for, though more lies
// before it that the length hides than so few rounds pass.
func (u *suite) groupHidden() {
	g, limits := group("hidden"), store.Limits{Age: time.Hour, Length: 50}
	all := u.addAll(g.Log, limits, 0, 108)
	require.Equal(u, all[58:61], u.take(g, limits, "a", 3, 0))
	require.Equal(u, all[61:64], u.take(g, limits, "b", 3, 0))
}

// groupEpochs: a log that is deleted begins anew, and so does the group.
func (u *suite) groupEpochs() {
	g := group("epochs")
	old := u.addAll(g.Log, keep, 0, 6)
	require.Equal(u, old[:4], u.take(g, keep, "a", 4, 0))
	require.NoError(u, u.s.Delete(ctx, g.Log))
	require.Empty(u, u.take(g, keep, "a", 4, 0))
	fresh := u.addAll(g.Log, keep, 10, 16)
	u.settle(g, old...)
	require.NoError(u, u.s.Leave(ctx, g, "a"))
	require.Equal(u, fresh[:3], u.take(g, keep, "b", 3, 0))
	u.settle(g, fresh[1])
	require.NoError(u, u.s.Leave(ctx, g, "b"))
	require.Equal(u, []store.Entry{fresh[0], fresh[2], fresh[3], fresh[4], fresh[5]}, u.take(g, keep, "c", 9, 2))
}

// groupReopens: what is settled stays settled, and the rest comes, in order.
func (u *suite) groupReopens() {
	g := group("reopens")
	var all []store.Entry
	for i := range 10 {
		all = append(all, u.addAll(g.Log, keep, 10*i, 10*i+10)...)
	}
	require.Equal(u, all[:30], u.take(g, keep, "a", 30, 0))
	require.Equal(u, all[30:50], u.take(g, keep, "b", 20, 0))
	u.settle(g, all[:5]...)
	u.settle(g, all[10], all[12], all[40], all[41])
	want := append(append([]store.Entry{}, all[5:10]...), all[11])
	want = append(append(append(want, all[13:40]...), all[42:]...), store.Entry{})[:len(all)-9]
	u.restart()
	for _, c := range []string{"a", "b"} { // where a store remembers them
		require.NoError(u, u.s.Leave(ctx, g, c))
	}
	got, err := u.s.Take(ctx, g, keep, "c", 7, 1<<20)
	require.NoError(u, err)
	require.Equal(u, want[:7], got.Entries)
	require.Equal(u, 7, got.Again)
	u.settle(g, got.Entries[0], got.Entries[6])
	want = append(append([]store.Entry{}, want[1:6]...), want[7:]...)
	u.restart()
	require.NoError(u, u.s.Leave(ctx, g, "c"))
	got, err = u.s.Take(ctx, g, keep, "d", 1000, 1<<20)
	require.NoError(u, err)
	require.Equal(u, want, got.Entries)
	u.settle(g, got.Entries...)
	u.restart()
	require.Equal(u, all[99].Position, u.state(g).After)
	require.Empty(u, u.take(g, keep, "e", 10, 0))
	require.NoError(u, u.s.Seek(ctx, g, all[90].Position))
	u.restart()
	require.Equal(u, all[91:], u.take(g, keep, "e", 100, 0))
	require.NoError(u, u.s.Drop(ctx, g))
	u.restart()
	require.Equal(u, all, u.take(g, keep, "f", 1000, 0))
}

// groupAge: what is too old is passed over, by the exact age.
func (u *suite) groupAge() {
	g, limits := group("age"), store.Limits{Age: time.Hour}
	old := u.addAll(g.Log, limits, 0, 5)
	u.clock.Turn(30 * time.Minute)
	young := u.addAll(g.Log, limits, 5, 10)
	require.Equal(u, old[:3], u.take(g, limits, "a", 3, 0))
	require.NoError(u, u.s.Leave(ctx, g, "a"))
	require.Equal(u, old[:1], u.take(g, limits, "b", 1, 1))
	u.clock.Turn(30*time.Minute + time.Millisecond)
	require.Equal(u, young, u.take(g, limits, "a", 10, 0))
	u.settle(g, old[0])
	require.Equal(u, map[string]int{"a": 5}, u.state(g).Held)
}

// groupAtOnce: many consumers at once, some of which leave: no record is lost, none is
// with two at a time, and none comes after it is settled.
func (u *suite) groupAtOnce() {
	const consumers, total = 8, 3000
	g := group("at once")
	var mu sync.Mutex
	held, settled := map[store.Position]string{}, map[store.Position]bool{}
	var working sync.WaitGroup
	working.Go(func() {
		for i := range total / 50 {
			u.addAll(g.Log, keep, 50*i, 50*i+50)
		}
	})
	done := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(settled) == total
	}
	for c := range consumers {
		working.Go(func() {
			me := fmt.Sprint("consumer ", c)
			for turn := 0; !done() && !u.Failed(); turn++ {
				got, err := u.s.Take(ctx, g, keep, me, 1+turn%37, 1<<20)
				if err != nil {
					u.Error(err)
					return
				}
				mu.Lock()
				for _, e := range got.Entries {
					if held[e.Position] != "" || settled[e.Position] {
						u.Errorf("%s is with %q, settled %t", e.Data, held[e.Position], settled[e.Position])
					}
					held[e.Position] = me
				}
				mu.Unlock()
				if turn%5 == 3 {
					mu.Lock()
					for _, e := range got.Entries {
						delete(held, e.Position)
					}
					mu.Unlock()
					err = u.s.Leave(ctx, g, me)
				} else {
					mu.Lock()
					for _, e := range got.Entries {
						settled[e.Position] = true
					}
					mu.Unlock()
					err = u.s.Settle(ctx, g, places(got.Entries))
				}
				if err != nil {
					u.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	require.Len(u, settled, total)
	s := u.state(g)
	require.Empty(u, s.Held)
	require.Zero(u, s.Returned)
	require.Equal(u, s.Next, s.After)
}
