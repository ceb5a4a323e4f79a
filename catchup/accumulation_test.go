package catchup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

func TestEntryRoundTrip(t *testing.T) {
	p := store.NewPosition(1763683200123, 0x5f3a91c2, 42)
	f := func(g Giver, data string) {
		t.Helper()
		b, err := EncodeEntry(g, []byte(data), 7)
		require.NoError(t, err)
		e, err := DecodeEntry(store.Entry{Position: p, Data: b})
		require.NoError(t, err)
		require.Equal(t, data, string(e.Data))
		require.EqualValues(t, 1763683200123, e.Observed())
		got, err := e.Giver()
		require.NoError(t, err)
		require.Equal(t, g, got)
		text := e.AppendJSON(nil)
		require.LessOrEqual(t, len(text), e.Size())
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(text, &members))
		require.Len(t, members, 5, "M9: exactly five keys")
		require.Equal(t, "1763683200123", string(members["observed"]))
		// As a message it is the same text.
		m, err := Decode(store.Entry{Position: p, Data: b})
		require.NoError(t, err)
		require.Equal(t, string(text), string(m.Data))
		require.EqualValues(t, 7, m.Tag)
		require.Nil(t, m.Ext)
	}
	f(Giver{"23161357", "A1954218", ""}, `{"n":1.0,"big":12345678901234567890}`)
	f(Giver{`a"b\c<d>`, "é😀", "9"}, `{}`)
	f(Giver{}, `{"a":[]}`)
}

func TestDecodeEntryRefuses(t *testing.T) {
	tag := strings.Repeat("\x00", 8)
	for _, b := range []string{"", "\x03", "\x01\x00{}", "\x03" + tag, "\x03" + tag + "\x00{}", "\x03" + tag + "\x02{}", "\x03" + tag + "\x05{}", "\x03" + tag + strings.Repeat("\xff", 10) + "\x01{}"} {
		_, err := DecodeEntry(store.Entry{Data: []byte(b)})
		require.ErrorIs(t, err, errEntry, "%q", b)
		if strings.HasPrefix(b, "\x03") {
			_, err = Decode(store.Entry{Data: []byte(b)})
			require.ErrorIs(t, err, errEntry, "%q", b)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	good, err := EncodeEntry(Giver{"c", "o", "u"}, []byte(`{"n":1}`), 9)
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01x{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(store.Entry{Data: b})
		if err != nil {
			return
		}
		if len(e.Data) == 0 || len(e.AppendJSON(nil)) > e.Size() {
			t.Fatalf("%q", b)
		}
		g, err := e.Giver()
		if err != nil {
			return
		}
		again, err := EncodeEntry(g, e.Data, 0)
		require.NoError(t, err)
		back, err := DecodeEntry(store.Entry{Data: again})
		require.NoError(t, err)
		require.Equal(t, e.Data, back.Data)
	})
}

func TestBookmarkText(t *testing.T) {
	query := [4]byte{1, 2, 3, 4}
	b := BookmarkAt(time.UnixMilli(1763683200123))
	for n := range 5 {
		b.note(MarkOf(store.LogName{Feed: fmt.Sprint(n), Path: "p"}), store.NewPosition(1763683201000+int64(n), 5, uint64(n)))
	}
	text := b.Text(query)
	back, err := ParseBookmark(text, query)
	require.NoError(t, err)
	require.Equal(t, b, back)
	f := func(text string, query [4]byte) {
		t.Helper()
		_, err := ParseBookmark(text, query)
		require.ErrorIs(t, err, ErrBookmark)
	}
	f(text, [4]byte{1, 2, 3, 5})
	f("", query)
	f(text[:len(text)-4], query)
	f(text+"\n", query)
	f(text[:8]+"\n"+text[8:], query)
	f(strings.Repeat("A", bookmarkText+1), query)
	require.NotEqual(t, MarkOf(store.LogName{Feed: "a", Path: "bc"}), MarkOf(store.LogName{Feed: "ab", Path: "c"}))
}

func FuzzParseBookmark(f *testing.F) {
	b := BookmarkAt(time.UnixMilli(1763683200123))
	b.note(MarkOf(store.LogName{Feed: "f"}), store.NewPosition(1763683200123, 5, 1))
	f.Add(b.Text([4]byte{}))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBookmark(text, [4]byte{})
		if err == nil && b.Text([4]byte{}) != text {
			t.Fatalf("%q has two spellings", text)
		}
	})
}

// A bookmark of very many logs keeps those it must name, and no more than it may.
func TestBookmarkTidy(t *testing.T) {
	var b Bookmark
	for n := range 1000 {
		b.note(MarkOf(store.LogName{Feed: fmt.Sprint(n)}), store.NewPosition(10_000+int64(n), 1, 1))
	}
	b.tidy(10_999)
	require.Len(t, b.marks, bookmarked)
	require.EqualValues(t, 10_999-bookmarked+1, b.floor)
	for _, p := range b.marks {
		require.GreaterOrEqual(t, p.MS(), b.floor)
	}
	// A great many in one ms are named all the same: nothing is missed or repeated.
	b = Bookmark{}
	for n := range 300 {
		b.note(MarkOf(store.LogName{Feed: fmt.Sprint(n)}), store.NewPosition(10_000, 1, 1))
	}
	b.tidy(10_000)
	require.Len(t, b.marks, 300)
	require.EqualValues(t, 10_000, b.floor)
}

var braidLimits = store.Limits{Age: store.Forever, Idle: 24 * time.Hour}

// accumulateIn appends an entry.
func accumulateIn(t testing.TB, s store.Store, log store.LogName, data string) store.Position {
	t.Helper()
	b, err := EncodeEntry(Giver{ChannelID: log.Feed}, []byte(data), 0)
	require.NoError(t, err)
	type outcome struct {
		at  store.Appended
		err error
	}
	done := make(chan outcome, 1)
	s.Submit(log, braidLimits, []store.Record{{Data: b}}, func(at store.Appended, err error) { done <- outcome{at, err} })
	o := <-done
	require.NoError(t, o.err)
	return o.at.Positions[0]
}

// TestBraidIsTheUnion: whatever the logs hold and however it is paged, with entries that
// come between the pages, a braid gives each entry once, in order of time.
func TestBraidIsTheUnion(t *testing.T) {
	seed := rand.Uint64()
	for round := range 30 {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, uint64(round)))
			s := memory.New(memory.Options{})
			defer func() { require.NoError(t, s.Close()) }()
			names := make([]store.LogName, 1+rnd.IntN(12))
			for i := range names {
				names[i] = store.LogName{Feed: fmt.Sprint("f", i), Path: "/accumulate/x"}
			}
			given := 0
			give := func(n int) {
				for range n {
					pad := strings.Repeat("x", rnd.IntN(200<<rnd.IntN(10)))
					accumulateIn(t, s, names[rnd.IntN(len(names))], fmt.Sprintf(`{"n":%d,"pad":%q}`, given, pad))
					given++
					if rnd.IntN(3) == 0 {
						time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
					}
				}
			}
			give(rnd.IntN(300))
			var from Bookmark
			seen := map[int]bool{}
			more := true
			for more || rnd.IntN(4) > 0 {
				b, err := NewBraid(context.Background(), s, names, braidLimits, from, s.Now())
				require.NoError(t, err)
				last := int64(0)
				for range rnd.IntN(4) {
					entries, err := b.Next(context.Background(), 1+rnd.IntN(100), 1+rnd.IntN(1<<18))
					if err == io.EOF {
						break
					}
					require.NoError(t, err, "seed %d round %d", seed, round)
					for _, e := range entries {
						var v struct{ N int }
						require.NoError(t, json.Unmarshal(e.Data, &v))
						require.False(t, seen[v.N], "%d twice, seed %d round %d", v.N, seed, round)
						require.GreaterOrEqual(t, e.Observed(), last)
						last, seen[v.N] = e.Observed(), true
					}
				}
				more = b.More()
				if from, err = ParseBookmark(b.Bookmark().Text([4]byte{}), [4]byte{}); err != nil {
					t.Fatal(err)
				}
				if rnd.IntN(2) == 0 {
					give(rnd.IntN(5))
					more = true
				}
			}
			b, err := NewBraid(context.Background(), s, names, braidLimits, from, s.Now())
			require.NoError(t, err)
			for {
				entries, err := b.Next(context.Background(), 1000, PageBytes)
				if err == io.EOF {
					break
				}
				for _, e := range entries {
					var v struct{ N int }
					require.NoError(t, json.Unmarshal(e.Data, &v))
					require.False(t, seen[v.N])
					seen[v.N] = true
				}
			}
			require.Len(t, seen, given, "seed %d round %d", seed, round)
		})
	}
}

// Of many logs with large entries a braid holds a few megabytes, and gives all of them.
func TestBraidIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { require.NoError(t, s.Close()) }()
		pad := strings.Repeat("x", 60<<10)
		names := make([]store.LogName, 200)
		for range 3 {
			for i := range names {
				names[i] = store.LogName{Feed: fmt.Sprint("f", i), Path: "/accumulate/x"}
				accumulateIn(t, s, names[i], `{"pad":"`+pad+`"}`)
			}
			time.Sleep(time.Millisecond)
		}
		b, err := NewBraid(context.Background(), s, names, braidLimits, Bookmark{}, s.Now())
		require.NoError(t, err)
		n, last := 0, int64(0)
		for {
			entries, err := b.Next(context.Background(), 1000, PageBytes)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			require.LessOrEqual(t, b.held, braidHeld+braidBytes)
			for _, e := range entries {
				require.GreaterOrEqual(t, e.Observed(), last)
				last = e.Observed()
			}
			n += len(entries)
		}
		require.Equal(t, 600, n)
		require.Zero(t, b.held)
	})
}

// forkedLog has lost the position it is asked for once.
type forkedLog struct {
	store.Store
	forked bool
}

func (l *forkedLog) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	p, err := l.Store.Read(ctx, name, r, limit, maxBytes)
	if !r.After.IsZero() && !l.forked {
		l.forked, p.Forked, p.Entries = true, true, nil
	}
	return p, err
}

// Where the store has lost what a bookmark names, something comes twice rather than not.
func TestBraidAfterAFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { require.NoError(t, s.Close()) }()
		log := store.LogName{Feed: "f", Path: "/accumulate/x"}
		accumulateIn(t, s, log, `{"n":0}`)
		time.Sleep(time.Minute)
		p := accumulateIn(t, s, log, `{"n":1}`)
		accumulateIn(t, s, log, `{"n":2}`)
		var from Bookmark
		from.note(MarkOf(log), p)
		b, err := NewBraid(context.Background(), &forkedLog{Store: s}, []store.LogName{log}, braidLimits, from, s.Now())
		require.NoError(t, err)
		entries, err := b.Next(context.Background(), 10, PageBytes)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		require.Equal(t, `{"n":1}`, string(entries[0].Data))
	})
}

// Records that are no entries are left out and counted.
func TestBraidLeavesBadRecordsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { require.NoError(t, s.Close()) }()
		log := store.LogName{Feed: "f", Path: "/accumulate/x"}
		done := make(chan error, 1)
		s.Submit(log, braidLimits, []store.Record{{Data: []byte("what?")}}, func(_ store.Appended, err error) { done <- err })
		require.NoError(t, <-done)
		accumulateIn(t, s, log, `{}`)
		b, err := NewBraid(context.Background(), s, []store.LogName{log, {Feed: "none"}}, braidLimits, Bookmark{}, s.Now())
		require.NoError(t, err)
		entries, err := b.Next(context.Background(), 10, PageBytes)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.Equal(t, 1, b.Bad())
	})
}

func BenchmarkEntry(b *testing.B) {
	data := []byte(`{"awesomeness_level":{"great":10,"good":2.5,"poor":"dank"}}`)
	text, err := EncodeEntry(Giver{"23161357", "A1954218", ""}, data, 0)
	require.NoError(b, err)
	e := store.Entry{Position: store.NewPosition(1763683200123, 1, 1), Data: text}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBraid(b *testing.B) {
	s := memory.New(memory.Options{})
	defer func() { require.NoError(b, s.Close()) }()
	names := make([]store.LogName, 20)
	for i := range 2000 {
		names[i%20] = store.LogName{Feed: fmt.Sprint("f", i%20), Path: "/accumulate/x"}
		accumulateIn(b, s, names[i%20], `{"vote":"a"}`)
	}
	b.ReportAllocs()
	for b.Loop() {
		braid, err := NewBraid(context.Background(), s, names, braidLimits, Bookmark{}, s.Now())
		if err != nil {
			b.Fatal(err)
		}
		for braid.More() {
			if _, err := braid.Next(context.Background(), 1000, PageBytes); err != nil && err != io.EOF {
				b.Fatal(err)
			}
		}
	}
}
