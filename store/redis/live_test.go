package redis

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// encodeLive builds what append.lua builds.
func encodeLive(seq uint64, wide bool, tails []store.Tail) []byte {
	b := binary.BigEndian.AppendUint64(nil, seq)
	t := tails[0]
	if wide {
		b = append(append(b, byte(len(t.Log.Feed))), t.Log.Feed...)
	}
	b = append(append(b, byte(len(t.Log.Path))), t.Log.Path...)
	b = append(append(append(b, t.Prev[:]...), t.Position[:]...), bit(t.Kept))
	b = binary.BigEndian.AppendUint16(b, uint16(len(tails)))
	for _, t := range tails {
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.Data)))
	}
	for _, t := range tails {
		b = append(b, t.Data...)
	}
	return b
}

// chain returns tails of one call.
func chain(name store.LogName, kept bool, prev, first store.Position, data ...string) []store.Tail {
	var tails []store.Tail
	for i, d := range data {
		p := step(first, uint64(i))
		tails = append(tails, store.Tail{Log: name, Prev: prev, Kept: kept, Entry: store.Entry{Position: p, Data: []byte(d)}})
		prev = p
	}
	return tails
}

func TestDecodeLive(t *testing.T) {
	name := store.LogName{Feed: strings.Repeat("f", store.MaxName), Path: "p\x00{}"}
	first := store.NewPosition(1<<40, 1<<31, 1<<40+7)
	want := chain(name, true, step(first, 0), step(first, 1), "", "one", strings.Repeat("two", 500))
	for _, wide := range []bool{false, true} {
		b, feed := encodeLive(1<<50, wide, want), name.Feed
		if wide {
			feed = ""
		}
		seq, got, err := decodeLive(b, feed)
		require.NoError(t, err)
		require.EqualValues(t, 1<<50, seq)
		require.Equal(t, want, got)
		for n := range b {
			_, _, err := decodeLive(b[:n], feed)
			require.Error(t, err, "the first %d bytes", n)
		}
		_, _, err = decodeLive(append(b, 0), feed)
		require.Error(t, err, "a byte too much")
	}
}

// FuzzDecodeLive: what can be read comes back from what was read.
func FuzzDecodeLive(f *testing.F) {
	first := store.NewPosition(77, 5, 78)
	name := store.LogName{Feed: "f", Path: "p"}
	f.Add(encodeLive(3, false, chain(name, true, store.Position{}, first, "data")), false)
	f.Add(encodeLive(4, true, chain(name, false, store.Position{}, first, "", "b", "cc")), true)
	f.Add(bytes.Repeat([]byte{0xff}, 300), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, wide bool) {
		feed := "f"
		if wide {
			feed = ""
		}
		seq, tails, err := decodeLive(b, feed)
		if err != nil {
			return
		}
		require.NotEmpty(t, tails)
		require.Equal(t, b, encodeLive(seq, wide, tails))
	})
}

// What the script publishes is what was appended, one message a call, counted, on
// the channel of the feed, and on the wide one while somebody asks for it.
func TestLiveMessages(t *testing.T) {
	r := storetest.StartRedis(t)
	s, own := openStore(t, r.URL), direct(t, r)
	name := store.LogName{Feed: strings.Repeat("é/", 63) + strings.Repeat("\x00", store.MaxName-189), Path: strings.Repeat("p", 200)}
	p := partition(name.Feed)
	listen := own.Subscribe(ctx, s.keys.live(p, name.Feed), s.keys.wide(p))
	defer func() { require.NoError(t, listen.Close()) }()
	for range 2 {
		_, err := listen.Receive(ctx)
		require.NoError(t, err)
	}
	hear := func(channel, feed string, wantSeq uint64) []store.Tail {
		t.Helper()
		m, err := listen.ReceiveMessage(ctx)
		require.NoError(t, err)
		require.Equal(t, channel, m.Channel)
		seq, tails, err := decodeLive([]byte(m.Payload), feed)
		require.NoError(t, err)
		require.Equal(t, wantSeq, seq)
		return tails
	}
	var prev store.Position
	append2 := func(limits store.Limits, seq uint64) []store.Tail {
		t.Helper()
		a, err := storetest.Append(s, name, limits, store.Record{Data: []byte{}}, store.Record{Data: []byte("b\x00\xff")})
		require.NoError(t, err)
		tails := hear(s.keys.live(p, name.Feed), name.Feed, seq)
		require.Equal(t, chain(name, limits.Keeps(), prev, a.Positions[0], "", "b\x00\xff"), tails)
		prev = a.Positions[1]
		return tails
	}
	append2(keep, 1)
	append2(keep, 2)
	require.NoError(t, own.Set(ctx, s.keys.wideFlag(p), "", 0).Err())
	tails := append2(keep, 3)
	require.Equal(t, tails, hear(s.keys.wide(p), "", 1))
	require.NoError(t, own.Del(ctx, s.keys.wideFlag(p)).Err())
	prev = store.Position{}
	append2(store.Limits{}, 4)
	append2(store.Limits{}, 5)
	// Records that were there already are not announced again.
	once := store.Record{Data: []byte("once"), Nonce: store.Nonce{1}}
	first, err := storetest.Append(s, name, keep, once)
	require.NoError(t, err)
	hear(s.keys.live(p, name.Feed), name.Feed, 6)
	_, err = storetest.Append(s, name, keep, once)
	require.NoError(t, err)
	again, err := storetest.Append(s, name, keep, store.Record{Data: []byte("x")}, once, store.Record{Data: []byte("yz")})
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, false}, again.Prior)
	require.Equal(t, chain(name, true, first.Positions[0], again.Positions[0], "x", "yz"), hear(s.keys.live(p, name.Feed), name.Feed, 7))
	require.Equal(t, step(again.Positions[0], 1), again.Positions[2])
	// The counter does not outlive the day for long.
	left, err := own.PTTL(ctx, s.keys.counter(p, name.Feed)).Result()
	require.NoError(t, err)
	require.Positive(t, left)
}

func BenchmarkDecodeLive(b *testing.B) {
	data := strings.Repeat("x", 200)
	name := store.LogName{Feed: "some/object", Path: "some/path"}
	one := encodeLive(1, false, chain(name, true, store.Position{}, store.NewPosition(1, 2, 3), data))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decodeLive(one, name.Feed); err != nil {
			b.Fatal(err)
		}
	}
}
