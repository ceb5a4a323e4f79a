package catchup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fold reads events as "name+10" (start), "name-20" (stop), "name=30" (at once), and
// writes spans as "name 10-20", "name 10-" while it runs, "name ?-20" for an old one.
func fold(t *testing.T, s *Spans, w Window, events string) string {
	t.Helper()
	for _, e := range strings.Fields(events) {
		i := strings.IndexAny(e, "+-=")
		var at int64
		_, err := fmt.Sscan(e[i+1:], &at)
		require.NoError(t, err)
		s.Add(Event{Event: e[:i], State: map[byte]string{'+': EventStart, '-': EventStop, '=': ""}[e[i]], Time: at})
	}
	spans, _ := s.In(w)
	var all []string
	for _, s := range spans {
		start, end := fmt.Sprint(s.Start), fmt.Sprint(s.End)
		if s.Old {
			start = "?"
		}
		if s.Open {
			end = ""
		}
		all = append(all, s.Event+" "+start+"-"+end)
	}
	return strings.Join(all, ", ")
}

func TestSpansT12(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	f := func(events string, w Window, want string) {
		t.Helper()
		require.Equal(t, want, fold(t, NewSpans(100), w, events), events)
	}
	all := Window{}
	f("", all, "")
	f("live+10 live-20", all, "live 10-20")
	f("live+10", all, "live 10-")
	f("live+10 live+12 live-20", all, "live 10-20")
	f("live-20 live+30", all, "live ?-20, live 30-")
	f("live+10 live-5", all, "live 10-10")
	f("meta=7 live+10 ad+11 ad-12 live-20 meta=21", all, "meta 7-7, live 10-20, ad 11-12, meta 21-21")
	f("b+20 a+10", all, "a 10-, b 20-")

	events := "live+10 live-20 ad+15 live+22 live-30 live+60 meta=40"
	f(events, Window{Events: []string{"ad", "meta"}}, "ad 15-, meta 40-40")
	f(events, Window{Events: []string{"none"}}, "")
	f(events, Window{From: at(20), Until: at(22)}, "live 10-20, ad 15-, live 22-30")
	f(events, Window{From: at(21), Until: at(21)}, "ad 15-")
	f(events, Window{From: at(31)}, "ad 15-, meta 40-40, live 60-")
	f(events, Window{Until: at(14)}, "live 10-20")
	live := []string{"live"}
	f(events, Window{Events: live, Join: time.Second}, "live 10-20, live 22-30, live 60-")
	f(events, Window{Events: live, Join: 2 * time.Second}, "live 10-30, live 60-")
	f(events, Window{Events: live, Join: 30 * time.Second}, "live 10-")
	f(events, Window{Events: live, Join: 2 * time.Second, From: at(25), Until: at(26)}, "live 10-30")
}

func TestSpansAreBounded(t *testing.T) {
	s := NewSpans(3)
	for i := range 50 {
		s.Add(Event{Event: "live", State: EventStart, Time: int64(10 * i)})
		s.Add(Event{Event: "live", State: EventStop, Time: int64(10*i + 5)})
	}
	require.LessOrEqual(t, len(s.all), 6)
	require.Equal(t, "live 470-475, live 480-485, live 490-495", fold(t, s, Window{}, ""))
	_, truncated := s.In(Window{})
	require.True(t, truncated)
	// One that is left out while it runs has begun before what is known.
	s = NewSpans(1)
	require.Equal(t, "live ?-50", fold(t, s, Window{}, "live+1 a=2 a=3 a=4 live-50"))
}

func TestDecodeEvent(t *testing.T) {
	e, ok := DecodeEvent([]byte(`{"live_id":"1","event":"live","state":"start","time":12,"x":[1]}`))
	require.True(t, ok)
	require.Equal(t, Event{Event: "live", State: "start", Time: 12}, e)
	for _, bad := range []string{``, `1`, `{}`, `{"event":1}`, `{"event":"x","time":"1"}`} {
		_, ok := DecodeEvent([]byte(bad))
		require.False(t, ok, bad)
	}
}
