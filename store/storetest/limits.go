package storetest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func (u *suite) sinceEachMS() {
	log := name("since")
	var all []store.Entry
	start := u.clock.Now()
	for i := range 30 {
		all = append(all, u.add(log, keep, fmt.Sprint(i)))
		if i%3 == 2 {
			u.clock.Turn(time.Duration(1+i%4) * time.Millisecond)
		}
	}
	for ms := -2; ms < 40; ms++ {
		since := start.Add(time.Duration(ms) * time.Millisecond)
		want := []string{}
		for _, e := range all {
			if !e.Position.Time().Before(since) {
				want = append(want, string(e.Data))
			}
		}
		require.Equal(u, want, u.texts(log, store.Range{Since: since, Limits: keep}), "since %d ms", ms)
		require.Equal(u, want, u.texts(log, store.Range{Since: since.Add(999 * time.Microsecond), Limits: keep}), "ms precision")
	}
}

func (u *suite) age() {
	log, limits := name("age"), store.Limits{Age: 50 * time.Minute}
	var all []store.Entry
	for i := range 40 {
		all = append(all, u.add(log, limits, fmt.Sprint(i)))
		u.clock.Turn(10 * time.Minute)
		want := []string{}
		for _, e := range all {
			if u.s.Now().Sub(e.Position.Time()) <= limits.Age {
				want = append(want, string(e.Data))
			}
		}
		p := u.page(log, store.Range{Limits: limits})
		require.False(u, p.Trimmed, "age does not trim")
		require.Equal(u, want, u.texts(log, store.Range{Limits: limits}))
		require.Equal(u, all[len(all)-len(want)].Position, u.head(log, limits).Oldest)
		require.False(u, u.page(log, store.Range{After: all[0].Position, Limits: limits}).Forked)
	}
	u.clock.Turn(20 * time.Minute) // the last is 30 minutes old
	require.Len(u, u.texts(log, store.Range{Limits: limits}), 3)
	u.clock.Turn(20*time.Minute + time.Millisecond)
	require.Zero(u, u.head(log, limits), "all of it is out of age")
	require.Empty(u, u.texts(log, store.Range{Limits: limits}))
	last := all[len(all)-1].Position
	next := u.add(log, limits, "next").Position
	require.True(u, last.Before(next))
	if next.Epoch() == last.Epoch() {
		require.Equal(u, last.N()+1, next.N())
	} else {
		require.EqualValues(u, next.MS(), next.N())
	}
	require.Equal(u, []string{"next"}, u.texts(log, store.Range{Limits: limits}))
}

func (u *suite) length() {
	for _, length := range []int{1, 5, 100, 700} {
		log, limits := name(fmt.Sprint("length/", length)), store.Limits{Age: store.Forever, Length: length}
		var all []store.Entry
		for i := range 3*length + 10 {
			all = append(all, u.add(log, limits, fmt.Sprint(i)))
			if i%(1+length/5) != 0 {
				continue
			}
			p := u.page(log, store.Range{Limits: limits})
			require.Len(u, p.Entries, min(i+1, length))
			require.Equal(u, i+1 > length, p.Trimmed, "record %d of %d", i, length)
			require.Equal(u, all[max(0, i+1-length)].Position, u.head(log, limits).Oldest)
		}
		last := len(all) - 1
		p := u.page(log, store.Range{After: all[last-length].Position, Limits: limits})
		require.False(u, p.Trimmed, "all after it is there")
		require.Len(u, p.Entries, length)
		p = u.page(log, store.Range{After: all[last-length-1].Position, Limits: limits})
		require.True(u, p.Trimmed, "one after it is gone")
		require.False(u, p.Forked)
		require.Len(u, p.Entries, length)
		if length > 1 {
			p = u.page(log, store.Range{After: all[last-1].Position, Limits: limits})
			require.Equal(u, all[last:], p.Entries)
		}
	}
}

// lengthInBuckets has its oldest record to be found far back in time.
func (u *suite) lengthInBuckets() {
	log, limits := name("buckets"), store.Limits{Age: 24 * time.Hour, Length: 150}
	var all []store.Entry
	for i := range 400 {
		all = append(all, u.add(log, limits, fmt.Sprint(i)))
		if i%5 != 0 {
			u.clock.Turn(time.Duration(i%9) * time.Minute)
		}
		if i%20 != 19 {
			continue
		}
		p := u.page(log, store.Range{Limits: limits})
		require.Equal(u, all[max(0, i+1-limits.Length):], p.Entries)
		require.Equal(u, i >= limits.Length, p.Trimmed)
	}
}

func (u *suite) ageAndLength() {
	log, limits := name("both"), store.Limits{Age: time.Hour, Length: 4}
	var all []store.Entry
	for i := range 60 {
		all = append(all, u.add(log, limits, fmt.Sprint(i)))
		u.clock.Turn(time.Duration(i*i%37) * time.Minute)
		want := []string{}
		young := 0
		for j, e := range all {
			if u.s.Now().Sub(e.Position.Time()) <= limits.Age {
				young++
				if j > i-limits.Length {
					want = append(want, string(e.Data))
				}
			}
		}
		require.Equal(u, want, u.texts(log, store.Range{Limits: limits}))
		p := u.page(log, store.Range{Limits: limits})
		require.Equal(u, young > len(want), p.Trimmed, "record %d", i)
	}
}

func (u *suite) idle() {
	log, limits := name("idle"), store.Limits{Age: store.Forever, Idle: 24 * time.Hour}
	var last store.Entry
	for i := range 10 {
		last = u.add(log, limits, fmt.Sprint(i))
		u.clock.Turn(23 * time.Hour)
	}
	require.Len(u, u.texts(log, store.Range{Limits: limits}), 10, "each entry renews it")
	u.clock.Turn(time.Hour - time.Millisecond)
	require.Len(u, u.texts(log, store.Range{Limits: limits}), 10)
	u.clock.Turn(time.Millisecond)
	require.Empty(u, u.texts(log, store.Range{Limits: limits}), "all at once")
	require.Zero(u, u.head(log, limits))
	require.False(u, u.page(log, store.Range{After: last.Position, Limits: limits}).Forked)
	next := u.add(log, limits, "next")
	require.True(u, last.Position.Before(next.Position))
	require.NotEqual(u, last.Position.Epoch(), next.Position.Epoch())
	require.EqualValues(u, next.Position.MS(), next.Position.N())
	require.Equal(u, []string{"next"}, u.texts(log, store.Range{Limits: limits}))
}

func (u *suite) clockBack() {
	log := name("back")
	a := u.add(log, keep, "a")
	u.clock.Turn(-40 * time.Minute)
	b := u.add(log, keep, "b")
	c := u.add(name("back/new"), keep, "c")
	require.True(u, a.Position.Before(b.Position))
	require.LessOrEqual(u, a.Position.MS(), b.Position.MS(), "ms never backwards")
	require.Less(u, b.Position.MS(), c.Position.MS(), "a new epoch begins later than all before")
	require.False(u, u.s.Now().Before(c.Position.Time()), "now is not before the newest record")
	require.Equal(u, []string{"a", "b"}, u.texts(log, store.Range{Limits: keep}))
	require.Equal(u, []string{"a", "b"}, u.texts(log, store.Range{Since: u.s.Now().Add(-time.Second), Limits: keep}))
	require.NoError(u, u.s.Delete(ctx, log))
	d := u.add(log, keep, "d")
	require.Less(u, b.Position.MS(), d.Position.MS())
	if u.restart != nil {
		u.clock.Turn(-3 * time.Hour)
		u.restart()
		require.True(u, d.Position.Before(u.add(log, keep, "e").Position), "not after a restart either")
	}
}

func (u *suite) nonceAge() {
	log, limits := name("nonce age"), store.Limits{Age: store.Forever}
	put := func() store.Appended {
		a, err := Append(u.s, log, limits, store.Record{Data: []byte("n"), Nonce: store.Nonce{5}})
		require.NoError(u, err)
		return a
	}
	first := put()
	u.clock.Turn(24 * time.Hour)
	if u.restart != nil {
		u.restart()
	}
	again := put()
	require.Equal(u, store.Appended{Positions: first.Positions, Prior: []bool{true}}, again)
	u.clock.Turn(time.Second * 2)
	require.Equal(u, []bool{false}, put().Prior, "forgotten after a day")
	short := func() store.Appended {
		a, err := Append(u.s, log, limits, store.Record{Data: []byte("s"), Nonce: store.Nonce{6}, Remember: time.Hour})
		require.NoError(u, err)
		return a
	}
	first = short()
	u.clock.Turn(time.Hour)
	require.Equal(u, store.Appended{Positions: first.Positions, Prior: []bool{true}}, short(), "at least as long as asked for")
}

func (u *suite) tableTTL() {
	put := func(ttl time.Duration, if0 bool) (uint64, error) {
		p := store.Put{Data: []byte("v"), TTL: ttl}
		if if0 {
			p.IfVersion = new(uint64)
		}
		return u.s.Put(ctx, "t", "k", p)
	}
	_, err := put(time.Minute, true)
	require.NoError(u, err)
	_, err = put(time.Minute, true)
	require.ErrorIs(u, err, store.ErrConflict)
	u.clock.Turn(time.Minute - time.Millisecond)
	v, err := u.s.Get(ctx, "t", "k")
	require.NoError(u, err)
	require.True(u, v.Expires.Equal(u.clock.Now().Add(time.Millisecond)))
	u.clock.Turn(time.Millisecond)
	_, err = u.s.Get(ctx, "t", "k")
	require.ErrorIs(u, err, store.ErrNotFound)
	items, err := u.s.List(ctx, "t", "", "", 10)
	require.NoError(u, err)
	require.Empty(u, items)
	_, err = put(time.Minute, true)
	require.NoError(u, err, "what expired is not there")
	_, err = put(0, false)
	require.NoError(u, err)
	u.clock.Turn(24 * time.Hour)
	v, err = u.s.Get(ctx, "t", "k")
	require.NoError(u, err, "the last put has no end")
	require.Zero(u, v.Expires)
}
