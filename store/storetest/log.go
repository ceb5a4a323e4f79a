package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

func (u *suite) roundTrip() {
	log := name("round")
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	var want []store.Entry
	for _, d := range [][]byte{
		{},
		{'x'},
		{0},
		binary, []byte("\xff\xfe\x00ü\U0001F600"),
		bytes.Repeat([]byte("k"), 64<<10), bytes.Repeat(binary, 4<<10),
	} {
		want = append(want, u.add(log, keep, string(d)))
	}
	got := u.page(log, store.Range{Limits: keep})
	require.False(u, got.Trimmed)
	require.False(u, got.Forked)
	require.Len(u, got.Entries, len(want))
	for i := range want {
		require.Equal(u, want[i].Position, got.Entries[i].Position)
		require.True(u, bytes.Equal(want[i].Data, got.Entries[i].Data), "record %d", i)
	}
	require.Equal(u, store.Head{Last: want[len(want)-1].Position, Oldest: want[0].Position}, u.head(log, keep))
	require.Zero(u, u.head(name("none"), keep))
	require.Empty(u, u.page(name("none"), store.Range{Limits: keep}))
	require.NoError(u, u.s.Health(ctx))
}

func (u *suite) positionsRise() {
	log := name("rise")
	const writers, each = 8, 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[store.Position]bool{}
	for range writers {
		wg.Go(func() {
			var last store.Position
			for range each {
				a, err := Append(u.s, log, keep, store.Record{Data: []byte("x")})
				if err != nil || !last.Before(a.Positions[0]) {
					u.Errorf("after %v: %v, %v", last, a.Positions, err)
					return
				}
				last = a.Positions[0]
				mu.Lock()
				seen[last] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(u, seen, writers*each, "no position twice")
	entries := u.page(log, store.Range{Limits: keep}).Entries
	first := entries[0].Position
	require.EqualValues(u, first.MS(), first.N(), "an epoch begins with n = ms")
	for i, e := range entries {
		require.True(u, seen[e.Position])
		require.Equal(u, first.N()+uint64(i), e.Position.N(), "n is dense")
		require.Equal(u, first.Epoch(), e.Position.Epoch())
		if i > 0 {
			require.True(u, entries[i-1].Position.Before(e.Position))
		}
	}
}

func (u *suite) readAfterEach() {
	log := name("after")
	var all []store.Entry
	for i := range 40 {
		all = append(all, u.add(log, keep, fmt.Sprint(i)))
	}
	for i := range all {
		p := u.page(log, store.Range{After: all[i].Position, Limits: keep})
		require.False(u, p.Forked)
		require.Equal(u, len(all)-i-1, len(p.Entries))
		for j, e := range p.Entries {
			require.Equal(u, all[i+1+j], e)
		}
		p = u.page(log, store.Range{UpTo: all[i].Position, Limits: keep})
		require.Len(u, p.Entries, i+1)
		require.Equal(u, all[i], p.Entries[i])
	}
}

func (u *suite) paging() {
	log := name("pages")
	var want []string
	for i := range 57 {
		want = append(want, strings.Repeat("p", i%7)+fmt.Sprint(i))
		u.add(log, keep, want[i])
	}
	f := func(limit, maxBytes int) {
		u.Helper()
		var got []string
		r := store.Range{Limits: keep}
		for {
			p, err := u.s.Read(ctx, log, r, limit, maxBytes)
			require.NoError(u, err)
			require.LessOrEqual(u, len(p.Entries), max(limit, 1))
			for _, e := range p.Entries {
				got = append(got, string(e.Data))
			}
			if !p.More {
				break
			}
			require.NotEmpty(u, p.Entries)
			r.After = p.Entries[len(p.Entries)-1].Position
		}
		require.Equal(u, want, got, "limit %d, bytes %d", limit, maxBytes)
	}
	f(0, 1<<20)
	f(1, 1<<20)
	f(10, 1<<20)
	f(57, 1<<20)
	f(58, 1<<20)
	f(100, 0)
	f(100, 20)
}

func (u *suite) adjacent() {
	log := name("adjacent")
	const writers, each, batch = 6, 20, 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				var records []store.Record
				for range batch {
					records = append(records, store.Record{Data: []byte(fmt.Sprintf("%d-%d", w, i))})
				}
				if _, err := Append(u.s, log, keep, records...); err != nil {
					u.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := u.texts(log, store.Range{Limits: keep})
	require.Len(u, got, writers*each*batch)
	for i := 0; i < len(got); i += batch {
		for j := range batch {
			require.Equal(u, got[i], got[i+j], "records of one submit lie together")
		}
	}
}

func (u *suite) submitOrder() {
	log := name("order")
	const n = 500
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		u.s.Submit(log, keep, []store.Record{{Data: []byte(fmt.Sprint(i))}}, func(_ store.Appended, err error) {
			defer wg.Done()
			if err != nil {
				u.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, i)
		})
	}
	wg.Wait()
	for i, text := range u.texts(log, store.Range{Limits: keep}) {
		require.Equal(u, fmt.Sprint(i), text, "places in the order of the calls")
		require.Equal(u, i, order[i], "done in commit order")
	}
}

func (u *suite) tooLarge() {
	log := name("large")
	_, err := Append(u.s, log, keep, store.Record{Data: []byte("small")}, store.Record{Data: make([]byte, store.MaxRecord+1)})
	require.ErrorIs(u, err, store.ErrTooLarge)
	_, err = Append(u.s, name(strings.Repeat("x", store.MaxName+1)), keep, store.Record{})
	require.ErrorIs(u, err, store.ErrTooLarge)
	_, err = u.s.Put(ctx, "t", strings.Repeat("x", store.MaxName+1), store.Put{})
	require.ErrorIs(u, err, store.ErrTooLarge)
	require.Empty(u, u.page(log, store.Range{Limits: keep}).Entries, "nothing was written")
	require.Zero(u, u.head(log, keep))
}

func (u *suite) lookAlikes() {
	long := strings.Repeat("n", store.MaxName)
	names := []store.LogName{
		{Feed: "a", Path: "b"},
		{Feed: "a", Path: "b/c"},
		{Feed: "a/b", Path: "c"},
		{Feed: "ab", Path: ""},
		{Feed: "", Path: "ab"},
		{Feed: "a", Path: ""},
		{Feed: "{a}", Path: "b"},
		{Feed: "a b", Path: " "},
		{Feed: "a\x00", Path: "b"},
		{Feed: "a", Path: "\x00b"},
		{Feed: "a", Path: "B"},
		{Feed: "a", Path: "b\xff"},
		{Feed: long, Path: long},
		{Feed: long, Path: long[1:]},
		{Feed: long[1:], Path: long},
	}
	for round := range 3 {
		for i, n := range names {
			u.add(n, keep, fmt.Sprint(round, i))
		}
	}
	for i, n := range names {
		require.Equal(u, []string{fmt.Sprint(0, i), fmt.Sprint(1, i), fmt.Sprint(2, i)}, u.texts(n, store.Range{Limits: keep}))
	}
	require.NoError(u, u.s.Delete(ctx, names[0]))
	for i, n := range names {
		require.Equal(u, i != 0, len(u.texts(n, store.Range{Limits: keep})) == 3)
	}
}

func (u *suite) redact() {
	log := name("redact")
	var all []store.Entry
	for i := range 10 {
		all = append(all, u.add(log, keep, fmt.Sprint(i)))
	}
	require.ErrorIs(u, u.s.Redact(ctx, name("none"), all[0].Position), store.ErrNotFound)
	p := all[3].Position
	require.ErrorIs(u, u.s.Redact(ctx, log, store.NewPosition(p.MS(), p.Epoch()+1, p.N())), store.ErrNotFound)
	require.ErrorIs(u, u.s.Redact(ctx, log, store.NewPosition(p.MS(), p.Epoch(), p.N()+100)), store.ErrNotFound)
	for _, i := range []int{0, 3, 4, 9, 3} {
		require.NoError(u, u.s.Redact(ctx, log, all[i].Position))
	}
	require.Equal(u, []string{"1", "2", "5", "6", "7", "8"}, u.texts(log, store.Range{Limits: keep}))
	got := u.page(log, store.Range{After: all[3].Position, Limits: keep})
	require.False(u, got.Forked, "a redacted position still exists")
	require.Len(u, got.Entries, 4)
	require.Equal(u, []string{"1", "2"}, u.texts(log, store.Range{UpTo: all[4].Position, Limits: keep}))
	require.Equal(u, store.Head{Last: all[9].Position, Oldest: all[1].Position}, u.head(log, keep))
	page, err := u.s.Read(ctx, log, store.Range{Limits: keep}, 6, 1<<20)
	require.NoError(u, err)
	require.False(u, page.More, "what is redacted is not more")
	next := u.add(log, keep, "10")
	require.Equal(u, all[9].Position.N()+1, next.Position.N(), "the position stays taken")
}

func (u *suite) delete() {
	log := name("delete")
	var last store.Entry
	for i := range 150 {
		last = u.add(log, keep, fmt.Sprint(i))
	}
	require.NoError(u, u.s.Delete(ctx, log))
	require.NoError(u, u.s.Delete(ctx, log))
	require.Zero(u, u.head(log, keep))
	require.Empty(u, u.texts(log, store.Range{Limits: keep}))
	next := u.add(log, keep, "new")
	require.True(u, last.Position.Before(next.Position))
	require.NotEqual(u, last.Position.Epoch(), next.Position.Epoch())
	require.EqualValues(u, next.Position.MS(), next.Position.N())
	require.Less(u, last.Position.MS(), next.Position.MS())
	require.Equal(u, []string{"new"}, u.texts(log, store.Range{Limits: keep}))
}

func (u *suite) forked() {
	log := name("forked")
	a := u.add(log, keep, "a").Position
	b := u.add(log, keep, "b").Position
	f := func(after store.Position, want bool) {
		u.Helper()
		require.Equal(u, want, u.page(log, store.Range{After: after, Limits: keep}).Forked)
	}
	f(store.Position{}, false)
	f(a, false)
	f(b, false)
	f(store.NewPosition(b.MS(), b.Epoch(), b.N()+1), true)
	f(store.NewPosition(b.MS(), b.Epoch()+1, b.N()), true)
	f(store.NewPosition(b.MS()+1, b.Epoch(), b.N()), true)
	f(store.NewPosition(a.MS()-1, a.Epoch(), a.N()-1), true)
	f(store.NewPosition(1<<48-1, a.Epoch(), 1<<48-1), true)
	f(store.NewPosition(a.MS()-2*keep.Age.Milliseconds(), 7, 7), false) // out of age: it may be unknown
	require.True(u, u.page(name("no"), store.Range{After: b, Limits: keep}).Forked)
}

func (u *suite) nonces() {
	log, nonce := name("nonces"), store.Nonce{1, 2, 3}
	first, err := Append(u.s, log, keep, store.Record{Data: []byte("a"), Nonce: nonce}, store.Record{Data: []byte("a2"), Nonce: nonce})
	require.NoError(u, err)
	require.Equal(u, []bool{false, true}, first.Prior)
	require.Equal(u, first.Positions[0], first.Positions[1])
	again, err := Append(u.s, log, keep, store.Record{Data: []byte("x")}, store.Record{Data: []byte("b"), Nonce: nonce})
	require.NoError(u, err)
	require.Equal(u, []bool{false, true}, again.Prior)
	require.Equal(u, first.Positions[0], again.Positions[1])
	other, err := Append(u.s, name("nonces/other"), keep, store.Record{Data: []byte("c"), Nonce: nonce})
	require.NoError(u, err)
	require.Equal(u, []bool{false}, other.Prior, "within one log only")
	require.Equal(u, []string{"a", "x"}, u.texts(log, store.Range{Limits: keep}))
	require.NoError(u, u.s.Delete(ctx, log))
	fresh, err := Append(u.s, log, keep, store.Record{Data: []byte("d"), Nonce: nonce})
	require.NoError(u, err)
	require.Equal(u, []bool{false}, fresh.Prior, "a deleted log is whole gone")
}

func (u *suite) noncesConcurrently() {
	log := name("at once")
	const writers = 100
	var wg sync.WaitGroup
	got := make([]store.Appended, writers)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = Append(u.s, log, keep, store.Record{Data: []byte("x"), Nonce: store.Nonce{9}}); err != nil {
				u.Error(err)
			}
		})
	}
	wg.Wait()
	fresh := 0
	for _, a := range got {
		require.Equal(u, got[0].Positions, a.Positions)
		if !a.Prior[0] {
			fresh++
		}
	}
	require.Equal(u, 1, fresh)
	require.Len(u, u.texts(log, store.Range{Limits: keep}), 1)
}

// nonceAfterLostReply repeats what was done and not heard of, if the backend has not
// done so itself.
func (u *suite) nonceAfterLostReply() {
	if u.o.LoseReply == nil {
		u.Skip("the backend has no replies to lose")
	}
	log := name("lost reply")
	w, stop := u.watch(log.Feed)
	defer stop()
	u.add(log, keep, "first")
	for i := range 10 {
		u.o.LoseReply(u, u.s)
		nonce, text := store.Nonce{byte(i), 1}, fmt.Sprint(i)
		var first store.Position
		a, err := Append(u.s, log, keep, store.Record{Data: []byte(text), Nonce: nonce})
		if err == nil {
			first = a.Positions[0]
		} else {
			require.ErrorIs(u, err, store.ErrUncertain)
		}
		u.insist(log, text, nonce)
		a, err = Append(u.s, log, keep, store.Record{Data: []byte(text), Nonce: nonce})
		require.NoError(u, err)
		require.Equal(u, []bool{true}, a.Prior)
		if !first.IsZero() {
			require.Equal(u, first, a.Positions[0])
		}
	}
	require.Equal(u, []string{"first", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, u.texts(log, store.Range{Limits: keep}))
	last := u.head(log, keep).Last
	require.Eventually(u, func() bool { return w.has(log, last) || w.readies() > 1 }, patience, time.Millisecond)
}

// overload holds the committer and pushes: what does not fit is refused at once,
// what fitted is settled, and the store goes on.
func (u *suite) overload() {
	hold, held := make(chan struct{}), make(chan struct{})
	u.s.Submit(name("hold"), store.Limits{}, []store.Record{{}}, func(store.Appended, error) {
		close(held)
		<-hold
	})
	<-held
	var mu sync.Mutex
	settled, refused := 0, 0
	pushed := 0
	for ; refused == 0 && pushed < 1<<20; pushed++ {
		u.s.Submit(name("push"), store.Limits{}, []store.Record{{}}, func(_ store.Appended, err error) {
			mu.Lock()
			defer mu.Unlock()
			settled++
			if errors.Is(err, store.ErrUnavailable) {
				refused++
			} else if err != nil {
				u.Error(err)
			}
		})
	}
	require.Equal(u, 1, refused, "a bound")
	require.Equal(u, 1, settled, "at once")
	close(hold)
	require.Eventually(u, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return settled == pushed
	}, time.Minute, time.Millisecond)
	require.Equal(u, 1, refused, "what was taken is settled well")
	u.add(name("push"), store.Limits{}, "after")
}

func (u *suite) closed() {
	u.add(name("x"), keep, "x")
	require.NoError(u, u.s.Close())
	require.NoError(u, u.s.Close())
	_, err := Append(u.s, name("x"), keep, store.Record{})
	require.ErrorIs(u, err, store.ErrClosed)
	_, err = u.s.Read(ctx, name("x"), store.Range{Limits: keep}, 1, 1)
	require.ErrorIs(u, err, store.ErrClosed)
	_, err = u.s.Put(ctx, "t", "k", store.Put{})
	require.ErrorIs(u, err, store.ErrClosed)
	_, err = u.s.Get(ctx, "t", "k")
	require.ErrorIs(u, err, store.ErrClosed)
	_, err = u.s.Heads(ctx, []store.LogName{name("x")})
	require.ErrorIs(u, err, store.ErrClosed)
	_, _, err = u.s.Spoke(ctx, "object", time.Time{}, 1)
	require.ErrorIs(u, err, store.ErrClosed)
	require.ErrorIs(u, u.s.Health(ctx), store.ErrClosed)
	_, err = u.s.Watch("f", &watcher{})
	require.ErrorIs(u, err, store.ErrClosed)
}

func (u *suite) many() {
	const logs = manyLogs
	places := make(chan struct{}, 4000) // fewer than any backend lets wait
	for round := range 3 {
		var wg sync.WaitGroup
		for i := range logs {
			wg.Add(1)
			places <- struct{}{}
			u.s.Submit(name(fmt.Sprint("many/", i)), keep, []store.Record{{Data: []byte(fmt.Sprint(round, i))}},
				func(_ store.Appended, err error) {
					defer wg.Done()
					<-places
					if err != nil {
						u.Error(err)
					}
				})
		}
		wg.Wait()
	}
	if !u.o.OwnClock {
		require.LessOrEqual(u, u.s.Now().Sub(u.clock.Now()), 2*time.Second, "new epochs must not push the clock ahead without bound")
	}
	for i := range logs {
		require.Equal(u, []string{fmt.Sprint(0, i), fmt.Sprint(1, i), fmt.Sprint(2, i)},
			u.texts(name(fmt.Sprint("many/", i)), store.Range{Limits: keep}))
	}
}

func (u *suite) reopen() {
	log := name("reopen")
	nonce := store.Nonce{7}
	first, err := Append(u.s, log, keep, store.Record{Data: []byte("a"), Nonce: nonce})
	require.NoError(u, err)
	b := u.add(log, keep, "b")
	c := u.add(log, keep, "c")
	live := u.add(name("live"), store.Limits{}, "l")
	require.NoError(u, u.s.Redact(ctx, log, b.Position))
	v, err := u.s.Put(ctx, "t", "k", store.Put{Data: []byte("row")})
	require.NoError(u, err)
	u.restart()
	require.Equal(u, []string{"a", "c"}, u.texts(log, store.Range{Limits: keep}))
	require.Equal(u, store.Head{Last: c.Position, Oldest: first.Positions[0]}, u.head(log, keep))
	again, err := Append(u.s, log, keep, store.Record{Data: []byte("x"), Nonce: nonce})
	require.NoError(u, err)
	require.Equal(u, store.Appended{Positions: first.Positions, Prior: []bool{true}}, again)
	d := u.add(log, keep, "d")
	require.Equal(u, c.Position.N()+1, d.Position.N())
	require.Equal(u, c.Position.Epoch(), d.Position.Epoch())
	require.True(u, live.Position.Before(u.add(name("live"), store.Limits{}, "l").Position))
	got, err := u.s.Get(ctx, "t", "k")
	require.NoError(u, err)
	require.Equal(u, store.Value{Data: []byte("row"), Version: v}, got)
	require.False(u, u.page(log, store.Range{After: c.Position, Limits: keep}).Forked)
}
