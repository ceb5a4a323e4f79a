package catchup

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ErrBookmark: a text that is no bookmark, or one of another query.
var ErrBookmark = errors.New("catchup: not a bookmark of this query")

// Overlap is how far the clocks that stamp the records of different logs may be apart:
// what appears that much late is still read by who goes on at a Bookmark.
const Overlap = 2 * time.Second

// A log costs 24 bytes of a bookmark. Overlap shrinks so that no more than bookmarked
// are in it, but for those with a record in the very ms where it was made.
const (
	bookmarked   = 256
	bookmarkText = 12 << 10 // bytes of the text that is looked at
)

// Bookmark is where a Braid stood: of the logs that are named, everything up to a
// position was read; of all others everything before a time. The zero Bookmark stands
// before everything.
type Bookmark struct {
	floor int64 // ms
	marks map[Mark]store.Position
}

// Mark names a log in a Bookmark.
type Mark [8]byte

// MarkOf returns the mark of a log.
func MarkOf(log store.LogName) (m Mark) {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(log.Feed))))
	h.Write([]byte(log.Feed))
	h.Write([]byte(log.Path))
	copy(m[:], h.Sum(nil))
	return m
}

// BookmarkAt stands before all records that are not older than since.
func BookmarkAt(since time.Time) Bookmark { return Bookmark{floor: max(since.UnixMilli(), 0)} }

// note names a log, and moves the floor up to Overlap behind it.
func (b *Bookmark) note(m Mark, p store.Position) {
	if b.marks == nil {
		b.marks = map[Mark]store.Position{}
	}
	b.marks[m] = p
	b.floor = max(b.floor, p.MS()-Overlap.Milliseconds())
}

// tidy drops names that the floor makes needless, and raises it where there are too
// many. Everything before newest was read of all logs.
func (b *Bookmark) tidy(newest int64) {
	if len(b.marks) > bookmarked {
		times := make([]int64, 0, len(b.marks))
		for _, p := range b.marks {
			times = append(times, p.MS())
		}
		slices.Sort(times)
		b.floor = max(b.floor, min(newest, times[len(times)-bookmarked]))
	}
	for m, p := range b.marks {
		if p.MS() < b.floor {
			delete(b.marks, m)
		}
	}
}

// Text returns the bookmark for a query, which ParseBookmark takes for the same one
// only.
func (b Bookmark) Text(query [4]byte) string {
	marks := make([]Mark, 0, len(b.marks))
	for m := range b.marks {
		marks = append(marks, m)
	}
	slices.SortFunc(marks, func(a, b Mark) int { return slices.Compare(a[:], b[:]) })
	raw := append(make([]byte, 0, 12+24*len(marks)), query[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(b.floor))
	for _, m := range marks {
		p := b.marks[m]
		raw = append(append(raw, m[:]...), p[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ParseBookmark reads what Text has written for a query, or returns ErrBookmark.
func ParseBookmark(text string, query [4]byte) (Bookmark, error) {
	if len(text) > bookmarkText {
		return Bookmark{}, ErrBookmark
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 12 || (len(raw)-12)%24 != 0 || [4]byte(raw[:4]) != query {
		return Bookmark{}, ErrBookmark
	}
	b := Bookmark{floor: int64(binary.BigEndian.Uint64(raw[4:])), marks: map[Mark]store.Position{}}
	if b.floor < 0 || b.floor >= 1<<48 {
		return Bookmark{}, ErrBookmark
	}
	var last Mark
	for i, rest := 0, raw[12:]; len(rest) > 0; i, rest = i+1, rest[24:] {
		m := Mark(rest[:8])
		if i > 0 && cmp.Compare(string(last[:]), string(m[:])) >= 0 {
			return Bookmark{}, ErrBookmark
		}
		last, b.marks[m] = m, store.Position(rest[8:24])
	}
	// One spelling only: the decoder skips line breaks.
	if b.Text(query) != text {
		return Bookmark{}, ErrBookmark
	}
	return b, nil
}
