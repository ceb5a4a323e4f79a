package catchup

import (
	"encoding/json"
	"testing"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestMessageRoundTrip(t *testing.T) {
	f := func(data, ext string) {
		t.Helper()
		var e []byte
		if ext != "" {
			e = []byte(ext)
		}
		p := store.NewPosition(1763683200123, 0x5f3a91c2, 42)
		m, err := Decode(store.Entry{Position: p, Data: Encode([]byte(data), e, 7)})
		require.NoError(t, err)
		require.Equal(t, data, string(m.Data))
		require.Equal(t, ext, string(m.Ext))
		require.Equal(t, p, m.Position)
	}
	f(`12345678901234567890`, "")
	f(`{"a":[1,2,{"b":null}]}`, `{"trace":"abc"}`)
	f(`""`, `{"x":1}`)
}

func TestDecodeRefuses(t *testing.T) {
	for _, b := range []string{"", "\x01", "\x02\x00{}", "\x01\x05{}", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01{}", "\x01\x02{}"} {
		_, err := Decode(store.Entry{Data: []byte(b)})
		require.Error(t, err, "%q", b)
	}
}

func TestAppendExt(t *testing.T) {
	p := store.NewPosition(1763683200123, 0x5f3a91c2, 42)
	f := func(ext string, replay bool, want string) {
		t.Helper()
		m := Message{Position: p, Ext: []byte(ext)}
		got := string(m.AppendExt(nil, replay))
		require.Equal(t, want, got)
		require.True(t, json.Valid([]byte(got)))
	}
	const id = "01KAHVBV3VBWX93GG00000001A" // the vector of store.md D5
	f("", false, `{"history":{"id":"`+id+`","ts":1763683200123}}`)
	f("", true, `{"history":{"id":"`+id+`","ts":1763683200123,"replay":true}}`)
	f(`{"trace":"abc"}`, false, `{"trace":"abc","history":{"id":"`+id+`","ts":1763683200123}}`)
	f(`{}`, false, `{"history":{"id":"`+id+`","ts":1763683200123}}`)
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode([]byte(`{"n":1}`), []byte(`{"a":2}`), 0))
	f.Add([]byte("\x01\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(store.Entry{Data: b})
		if err != nil {
			return
		}
		again, err := Decode(store.Entry{Data: Encode(m.Data, m.Ext, m.Tag)})
		require.NoError(t, err)
		require.Equal(t, m.Data, again.Data)
		require.Equal(t, string(m.Ext), string(again.Ext))
	})
}

func BenchmarkAppendExt(b *testing.B) {
	m := Message{Position: store.NewPosition(1763683200123, 1, 42)}
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = m.AppendExt(buf[:0], true)
	}
}
