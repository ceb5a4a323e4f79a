package bench

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const testAnchor = "#ABCDEFGH"

// found scans frames cut into pieces of the given size.
func found(frame string, piece int) (marks []mark, connect, refused bool) {
	s := newScanner(testAnchor)
	s.begin()
	for len(frame) > 0 {
		n := copy(s.room(), frame[:min(piece, len(frame))])
		frame = frame[n:]
		seen := s.scan(n)
		marks = append(marks, seen.marks...)
		connect = connect || seen.connect
		refused = refused || seen.refused
	}
	return marks, connect, refused
}

func TestPayload(t *testing.T) {
	f := func(size, want int) {
		t.Helper()
		b := payload(nil, testAnchor, mark{publisher: 7, seq: 1 << 33, sent: 77 * time.Hour}, size)
		require.True(t, json.Valid(b))
		require.Len(t, b, want)
		marks, _, _ := found(string(b), len(b))
		require.Equal(t, []mark{{publisher: 7, seq: 1 << 33, sent: 77 * time.Hour}}, marks)
	}
	f(MinSize, MinSize)
	f(128, 128)
	f(MinSize+1, MinSize+1)
	f(0, MinSize)
	f(4096, 4096)
}

// However a frame is cut, each mark is found once and each sign is seen.
func TestScannerOverPieces(t *testing.T) {
	var b strings.Builder
	var want []mark
	b.WriteString("[")
	for i := range 50 {
		m := mark{publisher: i % 3, seq: int64(i), sent: time.Duration(i) * time.Microsecond}
		want = append(want, m)
		b.WriteString(`{"channel":"/x","data":`)
		b.Write(payload(nil, testAnchor, m, MinSize+i))
		b.WriteString("},")
	}
	b.WriteString(`{"channel":"/meta/connect","successful":true},{"successful":false,"error":"403:x:no"}]`)
	for piece := 1; piece < 200; piece++ {
		marks, connect, refused := found(b.String(), piece)
		require.Equal(t, want, marks, piece)
		require.True(t, connect, piece)
		require.True(t, refused, piece)
	}
}

func TestScannerRefuses(t *testing.T) {
	f := func(frame string, want ...mark) {
		t.Helper()
		marks, connect, refused := found(frame, len(frame))
		require.Equal(t, want, marks)
		require.False(t, connect)
		require.False(t, refused)
	}
	one := string(appendMark(nil, testAnchor, mark{seq: 5}))
	f("[]")
	f(one, mark{seq: 5})
	f(one[:len(one)-1])
	f(strings.Replace(one, "ABC", "ABD", 1))
	f(testAnchor+one, mark{seq: 5})
	f(strings.ToUpper(one[:anchorSize])+strings.Repeat("Z", markSize)+one, mark{seq: 5})
	f(testAnchor[:4]+one+one[:6], mark{seq: 5})
	f(`{"channel":"/meta/connected","successful":true}`)
}

func TestScannerForgetsTheFrameBefore(t *testing.T) {
	one := appendMark(nil, testAnchor, mark{seq: 5})
	s := newScanner(testAnchor)
	s.begin()
	require.Empty(t, s.scan(copy(s.room(), one[:20])).marks)
	s.begin()
	require.Empty(t, s.scan(copy(s.room(), one[20:])).marks)
}

func TestRefusalIsTold(t *testing.T) {
	s := newScanner(testAnchor)
	s.begin()
	seen := s.scan(copy(s.room(), `[{"channel":"/a","successful":false,"error":"403:/a:Forbidden"}]`))
	require.True(t, seen.refused)
	require.Equal(t, "403:/a:Forbidden", string(seen.why))
}

// Whatever comes, the scanner finds what a search in the whole finds.
func FuzzScanner(f *testing.F) {
	one := appendMark(nil, testAnchor, mark{publisher: 1, seq: 2, sent: 3})
	f.Add(one, uint64(1))
	f.Add(bytes.Repeat(one, 5), uint64(2))
	f.Add([]byte(testAnchor+testAnchor+`"successful":false,"error":"`), uint64(3))
	f.Fuzz(func(t *testing.T, frame []byte, seed uint64) {
		whole, _, _ := found(string(frame), len(frame)+1)
		random := rand.New(rand.NewPCG(seed, 0))
		s := newScanner(testAnchor)
		s.begin()
		var marks []mark
		for rest := frame; len(rest) > 0; {
			n := copy(s.room(), rest[:1+random.IntN(min(len(rest), 60))])
			marks = append(marks, s.scan(n).marks...)
			rest = rest[n:]
		}
		require.Equal(t, whole, marks)
	})
}

func BenchmarkScan(b *testing.B) {
	var frame []byte
	for i := range 64 {
		frame = append(frame, `{"channel":"/bench/abcdefgh/fanout","id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","data":`...)
		frame = append(payload(frame, testAnchor, mark{seq: int64(i)}, 128), "},"...)
	}
	s := newScanner(testAnchor)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		s.begin()
		if len(s.scan(copy(s.room(), frame)).marks) != 64 {
			b.Fatal("marks are missing")
		}
	}
}
