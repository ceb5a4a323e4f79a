package store

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPosition(t *testing.T) {
	p := NewPosition(1763683200123, 0x5f3a91c2, 42)
	require.EqualValues(t, 1763683200123, p.MS())
	require.EqualValues(t, 0x5f3a91c2, p.Epoch())
	require.EqualValues(t, 42, p.N())
	require.Equal(t, time.UnixMilli(1763683200123), p.Time())
	require.Equal(t, "01KAHVBV3VBWX93GG00000001A", p.String(), "the vector of store.md D5")
	require.False(t, p.IsZero())
	require.True(t, Position{}.IsZero())
	b, err := p.AppendText([]byte("id="))
	require.NoError(t, err)
	require.Equal(t, "id="+p.String(), string(b))
	q, err := ParsePosition(p.String())
	require.NoError(t, err)
	require.Equal(t, p, q)
}

func TestPositionOrder(t *testing.T) {
	rising := []Position{
		{},
		NewPosition(0, 0, 1), NewPosition(1, 0, 0), NewPosition(1, 2, 1<<48-1),
		NewPosition(1, 3, 0), NewPosition(2, 0, 0), NewPosition(1<<48-1, 1<<32-1, 1<<48-1),
	}
	for i, p := range rising {
		for j, q := range rising {
			require.Equal(t, i < j, p.Before(q))
			require.Equal(t, i < j, p.String() < q.String(), "text order is log order")
			require.Equal(t, i == j, p.Compare(q) == 0)
		}
	}
}

func TestParsePositionRefuses(t *testing.T) {
	good := NewPosition(1763683200123, 1, 2).String()
	f := func(s string) {
		t.Helper()
		_, err := ParsePosition(s)
		require.Error(t, err, "%q", s)
	}
	f("")
	f(good[1:])
	f(good + "0")
	f(strings.ToLower(good))
	f("8" + good[1:]) // more than 128 bits
	f(good[:25] + "U")
	f(good[:25] + "\x00")
}

func FuzzParsePosition(f *testing.F) {
	f.Add("01KAHVBV3VBWX93GG00000001A")
	f.Add("01kahvbv3vbwx93gg00000001a")
	f.Add("ZZZZZZZZZZZZZZZZZZZZZZZZZZ")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			return
		}
		if p.String() != s {
			t.Fatalf("%q is also written %q", s, p)
		}
		if NewPosition(p.MS(), p.Epoch(), p.N()) != p {
			t.Fatalf("%q does not come back from its parts", s)
		}
	})
}

func BenchmarkPositionAppendText(b *testing.B) {
	p, buf := NewPosition(1763683200123, 7, 42), make([]byte, 0, 32)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = p.AppendText(buf[:0])
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", MaxName)
	require.NoError(t, LogName{long, long}.Validate())
	require.NoError(t, LogName{}.Validate())
	require.ErrorIs(t, LogName{long + "x", ""}.Validate(), ErrTooLarge)
	require.ErrorIs(t, LogName{"", long + "x"}.Validate(), ErrTooLarge)
}

func TestKeeps(t *testing.T) {
	require.False(t, Limits{}.Keeps())
	require.False(t, Limits{Length: 5, Idle: time.Hour}.Keeps())
	require.True(t, Limits{Age: time.Nanosecond}.Keeps())
	require.True(t, Limits{Age: Forever}.Keeps())
}
