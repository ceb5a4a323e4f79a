package feeds

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

type ear struct {
	heard []string
	stop  func()
}

func (e *ear) Ready() { e.heard = append(e.heard, "ready") }
func (e *ear) Entries(tails []store.Tail) {
	s := ""
	for _, t := range tails {
		s += t.Log.Feed + t.Log.Path + " "
	}
	e.heard = append(e.heard, s)
}
func (e *ear) Broken(err error) { e.heard = append(e.heard, fmt.Sprint(err)) }

func TestAnnounce(t *testing.T) {
	f := New()
	watch := func(feed string) *ear {
		e := &ear{}
		stop, err := f.Watch(feed, e)
		require.NoError(t, err)
		e.stop = stop
		return e
	}
	say := func(names ...string) {
		var tails []store.Tail
		for _, n := range names {
			tails = append(tails, store.Tail{Log: store.LogName{Feed: n[:1], Path: n[1:]}})
		}
		f.Announce(tails)
	}
	say("a1")
	a, a2, all, b := watch("a"), watch("a"), watch(store.AllFeeds), watch("b")
	say("a1", "a2", "b1", "a3", "c1")
	a2.stop()
	a2.stop()
	say("a4")
	say()
	f.Announce([]store.Tail{{}}) // a log of the empty feed
	f.Close()
	f.Close()
	say("a5")
	require.Equal(t, []string{"ready", "a1 a2 ", "a3 ", "a4 ", "store: closed"}, a.heard)
	require.Equal(t, []string{"ready", "a1 a2 ", "a3 "}, a2.heard)
	require.Equal(t, []string{"ready", "b1 ", "store: closed"}, b.heard)
	require.Equal(t, []string{"ready", "a1 a2 b1 a3 c1 ", "a4 ", " ", "store: closed"}, all.heard)
	_, err := f.Watch("a", a)
	require.ErrorIs(t, err, store.ErrClosed)
	a.stop()
}

func TestPrefixes(t *testing.T) {
	f := New()
	watch := func(feed string) *ear {
		e := &ear{}
		stop, err := f.Watch(feed, e)
		require.NoError(t, err)
		e.stop = stop
		return e
	}
	ab, ab2, b, a := watch("a/b/"), watch("a/b/"), watch("b/c/"), watch("a/")
	exact := watch("a/b/c")
	require.Equal(t, []length{{2, 1}, {4, 2}}, f.lengths)
	f.Announce([]store.Tail{
		{Log: store.LogName{Feed: "a/b/c"}},
		{Log: store.LogName{Feed: "a/b/"}},
		{Log: store.LogName{Feed: "a/b"}},
		{Log: store.LogName{Feed: "b/c"}},
		{Log: store.LogName{Feed: "b/c/d/e"}},
	})
	require.Equal(t, []string{"ready", "a/b/c ", "a/b/ "}, ab.heard)
	require.Equal(t, ab.heard, ab2.heard)
	require.Equal(t, []string{"ready", "a/b/c ", "a/b/ ", "a/b "}, a.heard)
	require.Equal(t, []string{"ready", "b/c/d/e "}, b.heard)
	require.Equal(t, []string{"ready", "a/b/c "}, exact.heard)
	ab.stop()
	ab.stop()
	require.Equal(t, []length{{2, 1}, {4, 2}}, f.lengths)
	a.stop()
	ab2.stop()
	require.Equal(t, []length{{4, 1}}, f.lengths)
	f.Announce([]store.Tail{{Log: store.LogName{Feed: "a/b/c"}}, {Log: store.LogName{Feed: "b/c/"}}})
	require.Len(t, ab2.heard, 3)
	require.Len(t, a.heard, 4)
	require.Equal(t, "b/c/ ", b.heard[2])
	b.stop()
	exact.stop()
	require.Empty(t, f.lengths)
	for _, c := range f.calls[:cap(f.calls)] {
		require.Nil(t, c.a, "a watch that ended is let go of")
	}
	last := watch("x/")
	f.Close()
	require.Equal(t, []string{"ready", "store: closed"}, last.heard)
	last.stop()
}
