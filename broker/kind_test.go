package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestKinds(t *testing.T) {
	k, err := newKinds(map[string]KindOptions{
		"all_json": {Catchup: time.Hour},
		"events":   {Catchup: 90 * 24 * time.Hour, Retention: 48 * time.Hour},
		"custom":   {Retention: time.Minute, Length: 5},
	}, 1000, time.Hour, catchup.ViewerKeep{}.WithDefaults())
	require.NoError(t, err)
	f := func(sub, name string, catch, keep time.Duration, length int) {
		t.Helper()
		row := k.of(mustName(t, sub))
		require.NotNil(t, row, sub)
		require.Equal(t, name, row.name)
		require.Equal(t, catch, row.catchup, sub)
		require.Equal(t, keep+catchup.Grace, row.limits.Age, sub)
		require.Equal(t, length, row.limits.Length, sub)
	}
	f("/all_json", "all_json", time.Hour, 24*time.Hour, 1000)
	f("/promoted_html", "promoted_html", 24*time.Hour, 24*time.Hour, 1000)
	f("/events", "events", 48*time.Hour, 48*time.Hour, 1000) // never longer than what is kept
	f("/chat", "custom", time.Minute, time.Minute, 5)
	f("/a/b/c", "custom", time.Minute, time.Minute, 5)
	for _, sub := range []string{"/a/b/c/d", "/all_json/x", "/events/a", "/accumulate", "/accumulate/x/y", "/accumulate/" + strings.Repeat("x", 65)} {
		require.Nil(t, k.of(mustName(t, sub)), sub)
	}
	row := k.of(mustName(t, "/accumulate/"+strings.Repeat("x", 64)))
	require.True(t, row.entries)
	require.Equal(t, store.Limits{Age: store.Forever, Idle: time.Hour}, row.limits)
	require.Equal(t, 24*time.Hour, row.catchup)
	f("/stats/live", "stats/live", 24*time.Hour, 24*time.Hour, 1000)
	f("/stats/minute", "stats/minute", 360*time.Hour, 360*time.Hour, 1000)
	longer, err := newKinds(nil, 1000, time.Hour, catchup.ViewerKeep{Minutes: 480 * time.Hour}.WithDefaults())
	require.NoError(t, err)
	require.Equal(t, 480*time.Hour, longer.stats[statsMinute].catchup, "the messages as long as the rows")
	f("/stats/hour", "stats/hour", 1080*time.Hour, 1080*time.Hour, 1000)
	ever := k.of(mustName(t, "/stats/day"))
	require.Equal(t, 8760*time.Hour, ever.catchup)
	require.Equal(t, store.Limits{Age: store.Forever, Length: 1000}, ever.limits)
	for _, sub := range []string{"/stats", "/stats/week", "/stats/live/x"} {
		require.Nil(t, k.of(mustName(t, sub)), sub)
	}

	_, err = newKinds(map[string]KindOptions{"nope": {Length: 1}}, 1000, time.Hour, catchup.ViewerKeep{}.WithDefaults())
	require.ErrorContains(t, err, `"nope" is not a kind of channel that can be set`)
	for _, name := range []string{"stats", "stats/week", "presence"} {
		_, err = newKinds(map[string]KindOptions{name: {Length: 1}}, 1000, time.Hour, catchup.ViewerKeep{}.WithDefaults())
		require.Error(t, err, name)
	}
	set, err := newKinds(map[string]KindOptions{"stats/live": {Retention: time.Hour}}, 1000, time.Hour, catchup.ViewerKeep{}.WithDefaults())
	require.NoError(t, err)
	require.Equal(t, time.Hour, set.of(mustName(t, "/stats/live")).catchup)
	_, err = newKinds(map[string]KindOptions{"accumulate": {Retention: time.Hour}}, 1000, time.Hour, catchup.ViewerKeep{}.WithDefaults())
	require.ErrorContains(t, err, "goes whole")
	k, err = newKinds(map[string]KindOptions{"accumulate": {Catchup: time.Minute}}, 1000, time.Hour, catchup.ViewerKeep{}.WithDefaults())
	require.NoError(t, err)
	require.Equal(t, time.Minute, k.of(mustName(t, "/accumulate/x")).catchup)
}

func TestCovers(t *testing.T) {
	f := func(p, q string, want bool) {
		t.Helper()
		a, err := channels.ParsePattern(p)
		require.NoError(t, err)
		b, err := channels.ParsePattern(q)
		require.NoError(t, err)
		require.Equal(t, want, covers(a, b), "%s covers %s", p, q)
	}
	f("/**", "/*", true)
	f("/**", "/**", true)
	f("/**", "/a/b/**", true)
	f("/*", "/**", false)
	f("/*", "/*", true)
	f("/a/**", "/a/*", true)
	f("/a/**", "/a/**", true)
	f("/a/**", "/a/b/*", true)
	f("/a/**", "/*", false)
	f("/a/**", "/ab/*", false)
	f("/a/*", "/a/**", false)
	f("/a/*", "/a/b/*", false)
	f("/a", "/a/*", false)
}
