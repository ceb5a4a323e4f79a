package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// account is a log that gets copies.
var account = store.LogName{Feed: "@account/a", Path: "records"}

// copying returns a record with a copy that says as, or the same where that is empty.
func copying(data, as string) store.Record {
	r := store.Record{Data: []byte(data), Copy: &store.Copy{To: account, Limits: keep}}
	if as != "" {
		r.Copy.Data = []byte(as)
	}
	return r
}

// arrived waits until a log has so many copies and none waits, and returns the places of
// their records, and what they say.
func (u *suite) arrived(log store.LogName, n int) (places []store.Position, texts []string) {
	u.Helper()
	require.Eventually(u, func() bool {
		lag, err := u.s.Lag(ctx)
		return err == nil && lag.Waiting == 0 && lag.Since.IsZero()
	}, patience, 2*time.Millisecond)
	for _, e := range u.page(log, store.Range{Limits: keep}).Entries {
		p, data, err := store.Origin(e.Data)
		require.NoError(u, err)
		places, texts = append(places, p), append(texts, string(data))
	}
	require.Len(u, texts, n)
	return places, texts
}

// copies: each record that is new brings one, of what keeps nothing as well, and the log
// that gets them is one like others.
func (u *suite) copies() {
	w, stop := u.watch(account.Feed)
	defer stop()
	log, live := name("copies"), store.LogName{Feed: "another", Path: "live"}
	var places []store.Position
	submit := func(log store.LogName, limits store.Limits, prior []bool, records ...store.Record) {
		u.Helper()
		a, err := Append(u.s, log, limits, records...)
		require.NoError(u, err)
		require.Equal(u, prior, a.Prior)
		for i, p := range a.Positions {
			if records[i].Copy != nil && records[i].Copy.Limits.Keeps() && !prior[i] {
				places = append(places, p)
			}
		}
	}
	marked := copying("b", "")
	marked.Nonce = store.Nonce{1}
	none := copying("none", "x")
	none.Copy.Limits = store.Limits{}
	submit(log, keep, []bool{false}, copying("a", "A"))
	submit(log, keep, []bool{false, false, false, true, false}, store.Record{Data: []byte("plain")}, marked, none, marked, copying("c", "C"))
	u.arrived(account, 3)
	submit(live, store.Limits{}, []bool{false, false}, copying("l", "L"), copying("m", ""))
	u.arrived(account, 5)
	submit(log, keep, []bool{true, false}, marked, copying("", "empty"))
	u.arrived(account, 6)
	submit(log, keep, []bool{true}, marked)
	other := copying("o", "O")
	other.Copy.To.Path = "other"
	empty := copying("full", "")
	empty.Copy.Data = []byte{}
	submit(log, keep, []bool{false, false, false}, other, empty, copying("z", "Z"))
	got, texts := u.arrived(account, 8)
	require.Equal(u, []string{"A", "b", "C", "L", "m", "empty", "", "Z"}, texts)
	at, texts := u.arrived(other.Copy.To, 1)
	require.Equal(u, []string{"O"}, texts)
	require.Equal(u, places, append(append(append([]store.Position{}, got[:6]...), at...), got[6:]...))
	u.waitFor(w, 9)

	_, err := Append(u.s, log, keep, copying(string(make([]byte, store.MaxRecord)), ""))
	require.ErrorIs(u, err, store.ErrTooLarge)
	large := copying("x", "")
	large.Copy.Data = make([]byte, store.MaxCopy+1)
	_, err = Append(u.s, log, keep, copying("fine", ""), large)
	require.ErrorIs(u, err, store.ErrTooLarge)
	large.Copy.Data, large.Copy.To.Path = nil, string(make([]byte, store.MaxName+1))
	_, err = Append(u.s, live, store.Limits{}, large)
	require.ErrorIs(u, err, store.ErrTooLarge)
	u.arrived(account, 8)
}

// copiesInOrder: of many publishers in many logs every copy arrives once, those of a log
// in its order, under their limits.
func (u *suite) copiesInOrder() {
	const publishers, each = 8, 60
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			log, limits := store.LogName{Feed: fmt.Sprint("object/", p%5), Path: "chat"}, keep
			if p%3 == 2 {
				limits = store.Limits{}
			}
			log.Path += fmt.Sprint(p % 3)
			for i := range each {
				r := copying("x", fmt.Sprintf("%s/%s %d %d", log.Feed, log.Path, p, i))
				if _, err := Append(u.s, log, limits, r, r); err != nil {
					u.Error(err)
				}
			}
		})
	}
	publishing.Wait()
	places, texts := u.arrived(account, 2*publishers*each)
	last, next := map[string]store.Position{}, map[string]int{}
	for i, text := range texts {
		var log string
		var p, n int
		_, err := fmt.Sscan(text, &log, &p, &n)
		require.NoError(u, err)
		require.True(u, last[log].Before(places[i]), "the order of the log %s", log)
		last[log] = places[i]
		key := fmt.Sprint(log, p)
		require.Equal(u, next[key]/2, n, "twice each, in order")
		next[key]++
	}
}

// copiesFollow: groups share what is copied.
func (u *suite) copiesFollow() {
	g := store.GroupName{Log: account, Name: "stream"}
	for i := range 5 {
		_, err := Append(u.s, name(fmt.Sprint(i)), keep, copying("x", fmt.Sprint(i)))
		require.NoError(u, err)
		u.arrived(account, i+1)
	}
	got := u.take(g, keep, "a", 10, 0)
	require.Len(u, got, 5)
	for i, e := range got {
		_, data, err := store.Origin(e.Data)
		require.NoError(u, err)
		require.Equal(u, fmt.Sprint(i), string(data))
	}
}

// copiesAfterLostReply: a submit that is sent again copies once.
func (u *suite) copiesAfterLostReply() {
	if u.o.LoseReply == nil {
		u.Skip("the backend has no replies to lose")
	}
	var want []string
	for i := range 10 {
		u.o.LoseReply(u, u.s)
		r := copying("x", fmt.Sprint(i))
		r.Nonce = store.Nonce{byte(i + 1)}
		_, err := Append(u.s, name("lost"), keep, r)
		require.NoError(u, err)
		_, err = Append(u.s, name("lost"), keep, r)
		require.NoError(u, err)
		want = append(want, fmt.Sprint(i))
		_, texts := u.arrived(account, i+1)
		require.Equal(u, want, texts)
	}
}

// copiesWhenFull: a record of which the copy has no room is refused with it.
func (u *suite) copiesWhenFull() {
	if u.o.FillUp == nil {
		u.Skip("the backend cannot be made full")
	}
	log, talk := name("full"), store.LogName{Feed: "live"}
	_, err := Append(u.s, log, keep, copying("a", ""))
	require.NoError(u, err)
	_, err = Append(u.s, talk, store.Limits{}, copying("b", ""))
	require.NoError(u, err)
	u.arrived(account, 2)
	free := u.o.FillUp(u, u.s)
	_, err = Append(u.s, log, keep, copying("x", ""))
	require.ErrorIs(u, err, store.ErrFull)
	_, err = Append(u.s, talk, store.Limits{}, copying("x", string(make([]byte, 10_000))))
	require.ErrorIs(u, err, store.ErrFull)
	_, err = Append(u.s, talk, store.Limits{}, store.Record{Data: []byte("live")})
	require.NoError(u, err, "without a copy it goes on")
	free()
	_, err = Append(u.s, log, keep, copying("c", ""))
	require.NoError(u, err)
	_, texts := u.arrived(account, 3)
	require.Len(u, texts, 3)
	require.ElementsMatch(u, []string{"a", "b", "c"}, texts)
}

// copiesReopen: both are durable.
func (u *suite) copiesReopen() {
	var want []string
	for i := range 20 {
		_, err := Append(u.s, name("reopen"), keep, copying("x", fmt.Sprint(i)))
		require.NoError(u, err)
		want = append(want, fmt.Sprint(i))
		if i%7 == 3 {
			u.restart()
		}
	}
	_, texts := u.arrived(account, 20)
	require.Equal(u, want, texts)
	require.Len(u, u.texts(name("reopen"), store.Range{Limits: keep}), 20)
}
