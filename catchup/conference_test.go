package catchup

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// E11, E13: one is open at a time, whoever asks, and ends when it is told to or by
// itself.
func TestConferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(t)
		a, b := NewConferences(s, 7*24*time.Hour), NewConferences(s, 7*24*time.Hour)
		const key = "12/aa"
		_, err := a.End(t.Context(), key)
		require.ErrorIs(t, err, ErrNoConference)
		one, opened, err := a.Use(t.Context(), key)
		require.NoError(t, err)
		require.True(t, opened)
		require.Len(t, one.ConfNum, 26)
		again, opened, err := b.Use(t.Context(), key)
		require.NoError(t, err)
		require.False(t, opened)
		require.Equal(t, one, again)
		time.Sleep(time.Hour)
		ended, err := b.End(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, one.ConfNum, ended.ConfNum)
		require.Equal(t, time.Hour, ended.Ended.Sub(ended.Started))
		two, opened, err := a.Use(t.Context(), key)
		require.NoError(t, err)
		require.True(t, opened)
		require.NotEqual(t, one.ConfNum, two.ConfNum)
		all, err := b.List(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, []Conference{two, ended}, all, "newest first")

		// What belongs to one goes after its time (E19).
		time.Sleep(7*24*time.Hour - time.Millisecond)
		all, err = b.List(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, ended, all[1])
		time.Sleep(time.Millisecond)
		all, err = b.List(t.Context(), key)
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, two.ConfNum, all[0].ConfNum)
	})
}

func TestConferenceEndsByItself(t *testing.T) {
	f := func(name string, live func(t *testing.T, c *Conferences), ends time.Duration) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := NewConferences(newMemory(t), 7*24*time.Hour)
				_, _, err := c.Use(t.Context(), "k")
				require.NoError(t, err)
				live(t, c)
				open := func() bool {
					all, err := c.List(t.Context(), "k")
					require.NoError(t, err)
					return all[0].Open()
				}
				time.Sleep(ends - time.Millisecond)
				require.True(t, open())
				time.Sleep(time.Millisecond)
				require.False(t, open())
				all, err := c.List(t.Context(), "k")
				require.NoError(t, err)
				require.WithinDuration(t, time.Now(), all[0].Ended, time.Millisecond)
			})
		})
	}
	watch := func(t *testing.T, c *Conferences, leaving bool) {
		t.Helper()
		_, open, err := c.Watch(t.Context(), "k", leaving)
		require.NoError(t, err)
		require.True(t, open)
	}
	f("a day after its last use", func(t *testing.T, c *Conferences) {
		time.Sleep(20 * time.Hour)
		_, opened, err := c.Use(t.Context(), "k")
		require.NoError(t, err)
		require.False(t, opened)
	}, 24*time.Hour+time.Minute)
	f("a minute after the last subscriber", func(t *testing.T, c *Conferences) {
		for range 30 * 24 * 60 { // a month
			watch(t, c, false)
			time.Sleep(time.Minute / 2)
		}
		watch(t, c, true)
	}, time.Minute)
	f("also if it is used then", func(t *testing.T, c *Conferences) {
		watch(t, c, true)
		time.Sleep(30 * time.Second)
		_, _, err := c.Use(t.Context(), "k")
		require.NoError(t, err)
	}, 30*time.Second)
	f("of two nodes the last one counts", func(t *testing.T, c *Conferences) {
		watch(t, c, false)
		time.Sleep(10 * time.Second)
		watch(t, c, true)
		time.Sleep(time.Second)
		watch(t, NewConferences(c.store, c.kept), true)
	}, time.Minute)
}

// Whoever opens at the same time opens one.
func TestConferenceOpenedOnce(t *testing.T) {
	s := newMemory(t)
	var wg sync.WaitGroup
	names := make([]string, 8)
	opened := make([]bool, 8)
	for i := range names {
		wg.Go(func() {
			conf, fresh, err := NewConferences(s, time.Hour).Use(t.Context(), "k")
			require.NoError(t, err)
			names[i], opened[i] = conf.ConfNum, fresh
		})
	}
	wg.Wait()
	count := 0
	for i := range names {
		require.Equal(t, names[0], names[i])
		if opened[i] {
			count++
		}
	}
	require.Equal(t, 1, count)
}

// Nobody can make the row of an object grow without end.
func TestConferencesBounded(t *testing.T) {
	c := NewConferences(newMemory(t), time.Hour)
	for range maxEnded + 20 {
		_, _, err := c.Use(t.Context(), "k")
		require.NoError(t, err)
		_, err = c.End(t.Context(), "k")
		require.NoError(t, err)
	}
	all, err := c.List(t.Context(), "k")
	require.NoError(t, err)
	require.Len(t, all, maxEnded)
}
