package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func (u *suite) tableRoundTrip() {
	_, err := u.s.Get(ctx, "t", "k")
	require.ErrorIs(u, err, store.ErrNotFound)
	if0, if1, if9 := uint64(0), uint64(1), uint64(9)
	f := func(data string, ifVersion *uint64, want uint64) {
		u.Helper()
		v, err := u.s.Put(ctx, "t", "k", store.Put{Data: []byte(data), IfVersion: ifVersion})
		if want == 0 {
			require.ErrorIs(u, err, store.ErrConflict)
			return
		}
		require.NoError(u, err)
		require.Equal(u, want, v)
		got, err := u.s.Get(ctx, "t", "k")
		require.NoError(u, err)
		require.Equal(u, store.Value{Data: []byte(data), Version: want}, got)
	}
	f("x", &if1, 0)
	f("a", &if0, 1)
	f("x", &if0, 0)
	f("x", &if9, 0)
	f("b\x00\xff", &if1, 2)
	f("", nil, 3)
	require.ErrorIs(u, u.s.Remove(ctx, "t", "k", &if1), store.ErrConflict)
	require.NoError(u, u.s.Remove(ctx, "t", "k", nil))
	require.NoError(u, u.s.Remove(ctx, "t", "k", nil))
	require.ErrorIs(u, u.s.Remove(ctx, "t", "k", &if1), store.ErrConflict)
	_, err = u.s.Get(ctx, "t", "k")
	require.ErrorIs(u, err, store.ErrNotFound)
	v, err := u.s.Put(ctx, "t", "k", store.Put{IfVersion: &if0})
	require.NoError(u, err)
	require.NotZero(u, v)
	_, err = u.s.Get(ctx, "tk", "")
	require.ErrorIs(u, err, store.ErrNotFound, "tables are apart")
}

func (u *suite) tableRace() {
	const writers, each = 8, 200
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := u.increment(); err != nil {
					u.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	v, err := u.s.Get(ctx, "race", "n")
	require.NoError(u, err)
	require.Equal(u, strconv.Itoa(writers*each), string(v.Data), "no increment lost")
	require.EqualValues(u, writers*each, v.Version)
}

// increment adds one to a counter by compare-and-set.
func (u *suite) increment() error {
	for {
		v, err := u.s.Get(ctx, "race", "n")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		n, _ := strconv.Atoi(string(v.Data))
		_, err = u.s.Put(ctx, "race", "n", store.Put{Data: []byte(strconv.Itoa(n + 1)), IfVersion: &v.Version})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (u *suite) tableList() {
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("p/%02d", i))
	}
	keys = append(keys, "p0", "q", "q\xff", "q\xff\xff")
	for _, k := range keys {
		for _, table := range []string{"list", "lis", "list2"} {
			_, err := u.s.Put(ctx, table, k, store.Put{Data: []byte(table + k)})
			require.NoError(u, err)
		}
	}
	f := func(prefix, after string, limit int, want []string) {
		u.Helper()
		items, err := u.s.List(ctx, "list", prefix, after, limit)
		require.NoError(u, err)
		require.Len(u, items, len(want))
		for i, it := range items {
			require.Equal(u, want[i], it.Key)
			require.Equal(u, "list"+want[i], string(it.Data))
			require.EqualValues(u, 1, it.Version)
		}
	}
	f("", "", 100, keys)
	f("p/", "", 100, keys[:25])
	f("p/", "", 10, keys[:10])
	f("p/", keys[9], 10, keys[10:20])
	f("p/", keys[24], 10, nil)
	f("p/", "q", 10, nil)
	f("q", "a", 10, keys[26:])
	f("q\xff", "", 10, keys[27:])
	f("", "p/24", 10, keys[25:])
	f("x", "", 10, nil)
	f("", "", 0, nil)
	require.NoError(u, u.s.Remove(ctx, "list", keys[3], nil))
	f("p/", keys[2], 1, keys[4:5])
}

// tableOnce: of a hundred that put what must not be there, one does.
func (u *suite) tableOnce() {
	const writers = 100
	var wg sync.WaitGroup
	var first, others atomic.Int64
	for i := range writers {
		wg.Go(func() {
			_, err := u.s.Put(ctx, "once", "nonce", store.Put{Data: []byte(strconv.Itoa(i)), TTL: time.Hour, IfVersion: new(uint64)})
			switch {
			case err == nil:
				first.Add(1)
			case errors.Is(err, store.ErrConflict):
				others.Add(1)
			default:
				u.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(u, 1, first.Load())
	require.EqualValues(u, writers-1, others.Load())
}

// revocations: what is put in a table and told on a log reaches who listens, who
// was away, and who comes later.
func (u *suite) revocations() {
	log := store.LogName{Feed: "revoked", Path: "log"}
	put := func(from, to int) {
		for i := from; i < to; i++ {
			id := fmt.Sprintf("%03d", i)
			_, err := u.s.Put(ctx, "revoked", id, store.Put{TTL: time.Hour})
			require.NoError(u, err)
			u.add(log, keep, id)
		}
	}
	f := u.follower(log.Feed)
	put(0, 20)
	if u.o.Disturb != nil {
		u.o.Disturb(u, u.s)
	} else {
		f.stop()
		f.watch()
	}
	put(20, 40)
	u.followed(f)
	require.Len(u, f.entries(log), 40)
	items, err := u.s.List(ctx, "revoked", "", "", 1000)
	require.NoError(u, err)
	require.Len(u, items, 40)
	for i, it := range items {
		require.Equal(u, fmt.Sprintf("%03d", i), it.Key)
	}
}
