package storetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// full: what needs room is refused whole, the rest goes on, and it ends with the cause.
func (u *suite) full() {
	if u.o.FillUp == nil {
		u.Skip("the backend cannot be made full")
	}
	log := name("full")
	w, stop := u.watch(log.Feed)
	defer stop()
	a := u.add(log, keep, "a")
	b := u.add(log, keep, "b")
	v, err := u.s.Put(ctx, "t", "k", store.Put{Data: []byte("row")})
	require.NoError(u, err)
	u.waitFor(w, 2)
	talk := store.LogName{Feed: "live"}
	before := u.add(talk, store.Limits{}, "l").Position
	free := u.o.FillUp(u, u.s)

	_, err = Append(u.s, log, keep, store.Record{Data: []byte("c")}, store.Record{Data: make([]byte, 10_000)})
	require.ErrorIs(u, err, store.ErrFull)
	_, err = Append(u.s, name("full/new"), keep, store.Record{Data: []byte("c")})
	require.ErrorIs(u, err, store.ErrFull)
	_, err = u.s.Put(ctx, "t", "new", store.Put{Data: make([]byte, 10_000)})
	require.ErrorIs(u, err, store.ErrFull)
	require.Equal(u, []string{"a", "b"}, u.texts(log, store.Range{Limits: keep}), "reads go on")
	require.Equal(u, store.Head{Last: b.Position, Oldest: a.Position}, u.head(log, keep))
	require.Zero(u, u.head(name("full/new"), keep))
	row, err := u.s.Get(ctx, "t", "k")
	require.NoError(u, err)
	require.Equal(u, store.Value{Data: []byte("row"), Version: v}, row)
	_, err = u.s.Get(ctx, "t", "new")
	require.ErrorIs(u, err, store.ErrNotFound)
	require.Error(u, u.s.Health(ctx), "an operator hears of it")
	require.NoError(u, u.s.Remove(ctx, "t", "k", nil), "what frees goes on")
	live, err := Append(u.s, talk, store.Limits{}, store.Record{Data: []byte("l")})
	require.NoError(u, err, "what is not kept goes on")
	require.True(u, before.Before(live.Positions[0]))
	require.Len(u, w.heard(), 2, "nothing is heard of what was refused")

	free()
	c := u.add(log, keep, "c")
	require.Equal(u, b.Position.N()+1, c.Position.N())
	require.Equal(u, []string{"a", "b", "c"}, u.texts(log, store.Range{Limits: keep}))
	_, err = u.s.Put(ctx, "t", "new", store.Put{})
	require.NoError(u, err)
	require.Eventually(u, func() bool { return u.s.Health(ctx) == nil }, patience, time.Millisecond)
}
