package bench

import (
	"bytes"
	"crypto/rand"
	"math"
	"time"
)

// mark is what a message carries to be known again.
type mark struct {
	publisher int
	seq       int64
	sent      time.Duration // intended, since the run began
}

// A mark is written as '#', run, publisher, seq and sent in ns, hexadecimal and of
// fixed width. It is inert in JSON.
const (
	runDigits       = 8
	publisherDigits = 4
	seqDigits       = 10
	sentDigits      = 12 // 78 hours
	anchorSize      = 1 + runDigits
	markSize        = anchorSize + publisherDigits + seqDigits + sentDigits

	maxPublishers = 1 << (4 * publisherDigits)
	maxSeq        = int64(1)<<(4*seqDigits) - 1
)

// newAnchor returns what the marks of one run begin with: the messages of an
// earlier run, replayed or late, are not ours.
func newAnchor() string { return "#" + rand.Text()[:runDigits] }

// appendMark writes a mark. What does not fit its width is cut to the largest.
func appendMark(b []byte, anchor string, m mark) []byte {
	b = append(b, anchor...)
	b = appendHex(b, uint64(m.publisher), publisherDigits)
	b = appendHex(b, uint64(min(m.seq, maxSeq)), seqDigits)
	return appendHex(b, uint64(max(m.sent, 0)), sentDigits)
}

func appendHex(b []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[v>>shift&15])
	}
	return b
}

// parseHex reads lower-case digits.
func parseHex(b []byte) (v int64, ok bool) {
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | int64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | int64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// payload writes the JSON of one message, size bytes, or as few as a mark needs.
func payload(b []byte, anchor string, m mark, size int) []byte {
	start := len(b)
	b = append(b, `{"bench":"`...)
	b = appendMark(b, anchor, m)
	for len(b)-start < size-2 {
		b = append(b, 'x')
	}
	return append(b, '"', '}')
}

// minSize is the smallest payload.
const minSize = len(`{"bench":""}`) + markSize

// seen is what one piece of a frame shows.
type seen struct {
	marks   []mark
	connect bool   // a reply to /meta/connect
	refused bool   // a reply that says no
	why     []byte // what it says, as far as it is in the same piece
}

var (
	connectSign = []byte(`/connect"`)
	refusedSign = []byte(`"successful":false`)
)

// carry is the most of a piece that may be the beginning of something that ends in
// the next.
const carry = max(markSize, len(`"successful":false`)) - 1

// scanner finds marks and signs in a frame that comes in pieces. Its buffer is
// laid out as what was carried, then what is read next.
type scanner struct {
	anchor []byte
	buf    []byte
	kept   int // bytes carried, at the beginning of buf
	seen   seen
}

// pieceSize is how much of a frame is read at once.
const pieceSize = 64 << 10

func newScanner(anchor string) *scanner {
	return &scanner{anchor: []byte(anchor), buf: make([]byte, carry+pieceSize)}
}

// begin forgets the frame before.
func (s *scanner) begin() { s.kept = 0 }

// room is where the next piece is to be read into.
func (s *scanner) room() []byte { return s.buf[s.kept:] }

// scan looks at the n bytes that were read into room. The answer is good until the
// next call. A mark is told once; a sign may be told twice when it ends near the
// end of a piece.
func (s *scanner) scan(n int) *seen {
	b := s.buf[:s.kept+n]
	s.seen.marks = s.seen.marks[:0]
	s.seen.connect = bytes.Contains(b, connectSign)
	s.seen.refused = bytes.Contains(b, refusedSign)
	s.seen.why = nil
	if s.seen.refused {
		s.seen.why = errorText(b)
	}
	at := 0
	for {
		i := bytes.Index(b[at:], s.anchor)
		if i < 0 || at+i+markSize > len(b) {
			if i >= 0 {
				at += i
			}
			break
		}
		at += i
		if m, ok := parseMark(b[at : at+markSize]); ok {
			s.seen.marks = append(s.seen.marks, m)
			at += markSize
			continue
		}
		at++
	}
	from := max(at, len(b)-carry)
	s.kept = copy(s.buf, b[from:])
	return &s.seen
}

// errorText returns the text of the first error.
func errorText(b []byte) []byte {
	_, text, ok := bytes.Cut(b, []byte(`"error":"`))
	end := bytes.IndexByte(text, '"')
	if !ok || end < 0 {
		return nil
	}
	return text[:min(end, 200)]
}

// parseMark reads what stands behind an anchor.
func parseMark(b []byte) (m mark, ok bool) {
	b = b[anchorSize:]
	publisher, ok1 := parseHex(b[:publisherDigits])
	seq, ok2 := parseHex(b[publisherDigits : publisherDigits+seqDigits])
	sent, ok3 := parseHex(b[publisherDigits+seqDigits:])
	if sent > math.MaxInt64/2 {
		return mark{}, false
	}
	return mark{publisher: int(publisher), seq: seq, sent: time.Duration(sent)}, ok1 && ok2 && ok3
}
