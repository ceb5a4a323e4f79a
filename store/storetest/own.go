package storetest

import (
	"errors"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// clockSlack is how far a backend's idea of its own clock may be off.
const clockSlack = 250 * time.Millisecond

// expires asks there again and again: it must be there while the store's clock is
// before at, and not after. What the clock said before asking and after is what
// counts, so a slow machine makes no difference.
func (u *suite) expires(at time.Time, there func() bool) {
	u.Helper()
	gone := false
	require.Eventually(u, func() bool {
		before := u.s.Now()
		if there() {
			require.False(u, gone, "it comes back")
			require.True(u, before.Before(at.Add(clockSlack)), "there at %v, should have gone at %v", before, at)
			return false
		}
		gone = true
		require.False(u, u.s.Now().Before(at.Add(-clockSlack)), "gone at %v, should go at %v", u.s.Now(), at)
		return true
	}, patience, 10*time.Millisecond)
}

// ageOfOwnClock waits until records are out of age, and logs idle.
func (u *suite) ageOfOwnClock() {
	log, limits := name("age"), store.Limits{Age: time.Second}
	p := u.add(log, limits, "x").Position
	u.expires(p.Time().Add(time.Second), func() bool {
		page := u.page(log, store.Range{Limits: limits})
		require.False(u, page.Trimmed, "age does not trim")
		require.False(u, page.Forked)
		return len(page.Entries) == 1
	})
	require.Zero(u, u.head(log, limits))
	require.True(u, p.Before(u.add(log, limits, "y").Position))

	log, limits = name("idle"), store.Limits{Age: store.Forever, Idle: time.Second}
	u.add(log, limits, "x")
	p = u.add(log, limits, "y").Position
	u.expires(p.Time().Add(time.Second), func() bool {
		n := len(u.page(log, store.Range{Limits: limits}).Entries)
		require.Contains(u, []int{0, 2}, n, "all at once")
		return n == 2
	})
	next := u.add(log, limits, "z").Position
	require.True(u, p.Before(next))
	require.NotEqual(u, p.Epoch(), next.Epoch())
	require.EqualValues(u, next.MS(), next.N())
	require.Equal(u, []string{"z"}, u.texts(log, store.Range{Limits: limits}))
}

// ttlOfOwnClock waits until a row is gone.
func (u *suite) ttlOfOwnClock() {
	if0 := new(uint64)
	_, err := u.s.Put(ctx, "t", "checkpoint", store.Put{Data: []byte("x"), TTL: time.Second, IfVersion: if0})
	require.NoError(u, err)
	_, err = u.s.Put(ctx, "t", "stays", store.Put{TTL: time.Second})
	require.NoError(u, err)
	_, err = u.s.Put(ctx, "t", "stays", store.Put{})
	require.NoError(u, err)
	v, err := u.s.Get(ctx, "t", "checkpoint")
	require.NoError(u, err)
	require.False(u, v.Expires.IsZero())
	u.expires(v.Expires, func() bool {
		_, err := u.s.Get(ctx, "t", "checkpoint")
		if !errors.Is(err, store.ErrNotFound) {
			require.NoError(u, err)
		}
		return err == nil
	})
	items, err := u.s.List(ctx, "t", "", "", 10)
	require.NoError(u, err)
	require.Len(u, items, 1)
	require.Equal(u, "stays", items[0].Key)
	require.Zero(u, items[0].Expires)
	_, err = u.s.Put(ctx, "t", "checkpoint", store.Put{IfVersion: if0})
	require.NoError(u, err, "what expired is not there")
}
