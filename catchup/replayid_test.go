package catchup

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

func TestAfterNumber(t *testing.T) {
	ctx := context.Background()
	now := noon
	s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zaptest.NewLogger(t)})
	defer func() { require.NoError(t, s.Close()) }()
	limits := store.Limits{Age: 24 * time.Hour, Length: 10}
	tick := func() { now = now.Add(time.Minute) }
	since := now
	find := func(n uint64) (store.Position, error) { return AfterNumber(ctx, s, chat, limits, since, n) }
	bad := func(n uint64) {
		t.Helper()
		_, err := find(n)
		require.ErrorIs(t, err, ErrReplayID)
	}
	good := func(n uint64, want store.Position) {
		t.Helper()
		got, err := find(n)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}

	bad(0)
	bad(7)
	ps := appendN(t, s, limits, 1, 13, tick)
	n := func(i int) uint64 { return ps[i].N() }
	for i := 3; i < 13; i++ {
		good(n(i), ps[i])
	}
	bad(n(2)) // below what the length limit shows
	bad(n(0) - 1)
	bad(n(12) + 1)
	bad(1<<48 - 1)

	// Of one that was redacted the last before it.
	for _, i := range []int{6, 7, 8, 12} {
		require.NoError(t, s.Redact(ctx, chat, ps[i]))
	}
	good(n(8), ps[5])
	good(n(6), ps[5])
	good(n(9), ps[9])
	good(n(11), ps[11])

	// What followed it must not be older than what the asker may read.
	since = ps[5].Time()
	good(n(4), ps[4])
	bad(n(3))

	// All has expired: who had the last missed nothing.
	now = now.Add(25 * time.Hour)
	good(n(12), ps[12])
	bad(n(11))

	// A new epoch begins above every number of the old one.
	require.NoError(t, s.Delete(ctx, chat))
	again := appendN(t, s, limits, 1, 2, tick)
	since = noon
	bad(n(12))
	bad(again[0].N() - 1)
	good(again[0].N(), again[0])
}

// The place of a number is found while others publish.
func TestAfterNumberMeanwhile(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 4))
		now := noon
		s := memory.New(memory.Options{Now: func() time.Time { return now }, Log: zaptest.NewLogger(t)})
		limits := store.Limits{Age: 24 * time.Hour, Length: 1000}
		tick := func() { now = now.Add(time.Millisecond) }
		ps := appendN(t, s, limits, 0, 50, tick)
		for _, p := range ps[10:40] {
			if r.IntN(2) == 0 {
				require.NoError(t, s.Redact(ctx, chat, p))
			}
		}
		i := r.IntN(50)
		want := i
		for {
			page, err := s.Read(ctx, chat, store.Range{After: predecessor(ps[want]), UpTo: ps[want], Limits: limits}, 1, 1)
			require.NoError(t, err)
			if len(page.Entries) == 1 {
				break
			}
			want--
		}
		c := &counted{Store: s, meddle: func() { appendN(t, s, limits, 0, r.IntN(4), tick) }}
		got, err := AfterNumber(ctx, c, chat, limits, noon, ps[i].N())
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, ps[want], got, "seed %d", seed)
		require.NoError(t, s.Close())
	}
}

func TestAppendEvent(t *testing.T) {
	at := time.Date(2016, 3, 29, 19, 5, 28, 334e6, time.UTC)
	p := store.NewPosition(at.UnixMilli(), 7, 55)
	event := `"event":{"replayId":55,"createdDate":"2016-03-29T19:05:28.334Z"}`
	f := func(data, want string) {
		t.Helper()
		require.Equal(t, want, string(AppendEvent(nil, []byte(data), p)))
	}
	f(`{}`, `{`+event+`}`)
	f("{ \n}", `{`+event+" \n}")
	f(`{"payload":{"a":1e400,"n":12345678901234567890}}`, `{`+event+`,"payload":{"a":1e400,"n":12345678901234567890}}`)
	f("{\t\"a\" : 1 }", "{"+event+",\t\"a\" : 1 }")
	f(`{"a":{"event":1},"b":["event",{"event":2}],"c":"\"event\":3"}`, `{`+event+`,"a":{"event":1},"b":["event",{"event":2}],"c":"\"event\":3"}`)
	for _, as := range []string{
		`{"event":1}`, `{"a":1 , "event" : {"x":[1,{}]} }`, `{"\u0065vent":null}`, `{"a":"}","event":0}`, `{"a":[{"b":"]"}] ,"event":true}`,
		`[]`, `[{"a":1}]`, `"text"`, `12345678901234567890`, `null`, `true`,
	} {
		f(as, as)
	}
}

// FuzzAppendEvent compares with encoding/json.
func FuzzAppendEvent(f *testing.F) {
	for _, s := range []string{`{}`, `{"event":1}`, `{"a":[1,"x\\",{"event":2}] , "b":{}}`, ` [1]`, `{"\u0065vent":"\"}"}`, `{"a":-1.5e3 }`} {
		f.Add(s)
	}
	p := store.NewPosition(1_700_000_000_000, 7, 42)
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.Trim(s, " \t\r\n")
		if !json.Valid([]byte(s)) {
			return
		}
		got := AppendEvent(nil, []byte(s), p)
		if !json.Valid(got) {
			t.Fatalf("%s became %s", s, got)
		}
		var members map[string]json.RawMessage
		if s[0] != '{' || json.Unmarshal([]byte(s), &members) != nil || members["event"] != nil {
			if string(got) != s {
				t.Fatalf("%s became %s", s, got)
			}
			return
		}
		var shown struct {
			Event *struct{ ReplayID uint64 }
		}
		if err := json.Unmarshal(got, &shown); err != nil || shown.Event == nil || shown.Event.ReplayID != 42 || !strings.HasSuffix(string(got), s[1:]) {
			t.Fatalf("%s became %s", s, got)
		}
	})
}

func BenchmarkAppendEvent(b *testing.B) {
	data := []byte(`{"payload":{"text":"` + strings.Repeat("x", 200) + `","list":[1,2,3]},"schema":"dffQ2QLzDNHqwB8_sHMxdA"}`)
	p := store.NewPosition(1_700_000_000_000, 7, 42)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvent(buf[:0], data, p)
	}
}
