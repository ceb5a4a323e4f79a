package catchup

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// unsummed are the members of a record that its checksum leaves out (product.md V9).
var unsummed = [...]string{`"id"`, `"checksum"`, `"created_at"`}

// Checksum returns 32 hex digits that two JSON objects share if they say the same: MD5
// of the canonical form without the members id, checksum and created_at (product.md
// V9). Order of members, blanks and escapes do not count; numbers are compared as they
// are written, and of two members of one name the last one counts. It is a mark of
// change and no protection.
func Checksum(object []byte) string {
	var s summer
	return s.checksum(object)
}

// summer computes checksums and keeps its memory between them.
type summer struct {
	text    []byte
	out     []byte
	spare   []byte
	members []span
	deep    int
}

// span is a member in out: name with its quotes, colon, value.
type span struct{ name, colon, end int }

func (s *summer) checksum(object []byte) string {
	sum := md5.Sum(s.canonical(object))
	return hex.EncodeToString(sum[:])
}

// canonical returns the sorted form of a text that is valid JSON; of any other it
// returns something. It is good until the next call.
func (s *summer) canonical(text []byte) []byte {
	s.text, s.out, s.members, s.deep = text, s.out[:0], s.members[:0], 0
	s.value(0)
	return s.out
}

// at returns the byte at i, 0 behind the end.
func (s *summer) at(i int) byte {
	if i < len(s.text) {
		return s.text[i]
	}
	return 0
}

func (s *summer) blanks(i int) int {
	for c := s.at(i); c == ' ' || c == '\n' || c == '\r' || c == '\t'; c = s.at(i) {
		i++
	}
	return i
}

// value appends the value that begins at i and returns where it ends.
func (s *summer) value(i int) int {
	i = s.blanks(i)
	switch s.at(i) {
	case '{':
		return s.object(i + 1)
	case '[':
		return s.array(i + 1)
	case '"':
		return s.quoted(i)
	}
	i = min(i, len(s.text))
	end := i
	for end < len(s.text) && !ends[s.text[end]] {
		end++
	}
	s.out = append(s.out, s.text[i:end]...)
	if end == i {
		end++ // it was no JSON; go on
	}
	return end
}

// ends are the bytes that end a number or a word.
var ends = [256]bool{' ': true, '\n': true, '\r': true, '\t': true, ',': true, ':': true, ']': true, '}': true, '[': true, '{': true, '"': true}

func (s *summer) array(i int) int {
	s.deep++
	s.out = append(s.out, '[')
	for i = s.blanks(i); i < len(s.text) && s.text[i] != ']'; i = s.blanks(i) {
		if s.text[i] == ',' {
			s.out = append(s.out, ',')
			i++
		}
		i = s.value(i)
	}
	s.out = append(s.out, ']')
	s.deep--
	return i + 1
}

func (s *summer) object(i int) int {
	s.deep++
	s.out = append(s.out, '{')
	start, first := len(s.out), len(s.members)
	for i = s.blanks(i); i < len(s.text) && s.text[i] != '}'; i = s.blanks(i) {
		if s.text[i] == ',' {
			i = s.blanks(i + 1)
		}
		m := span{name: len(s.out)}
		i = s.blanks(s.quoted(i))
		m.colon = len(s.out)
		s.out = append(s.out, ':')
		i = s.value(i + 1)
		m.end = len(s.out)
		if s.deep == 1 && s.skips(s.out[m.name:m.colon]) {
			s.out = s.out[:m.name]
			continue
		}
		s.members = append(s.members, m)
	}
	s.arrange(start, s.members[first:])
	s.members = s.members[:first]
	s.out = append(s.out, '}')
	s.deep--
	return i + 1
}

// insert sorts the few members that an object usually has.
func (s *summer) insert(all []span) {
	for i := 1; i < len(all); i++ {
		for j := i; j > 0; j-- {
			a, b := all[j-1], all[j]
			if string(s.out[a.name:a.colon]) <= string(s.out[b.name:b.colon]) {
				break
			}
			all[j-1], all[j] = b, a
		}
	}
}

func (s *summer) skips(name []byte) bool {
	for _, n := range unsummed {
		if string(name) == n {
			return true
		}
	}
	return false
}

// arrange puts the members that begin at start in order, each name once, with commas.
func (s *summer) arrange(start int, all []span) {
	byName := func(a, b span) int { return bytes.Compare(s.out[a.name:a.colon], s.out[b.name:b.colon]) }
	if len(all) > 12 {
		slices.SortStableFunc(all, byName)
	} else {
		s.insert(all)
	}
	s.spare = s.spare[:0]
	for i, m := range all {
		if i+1 < len(all) && byName(m, all[i+1]) == 0 {
			continue // the last one counts
		}
		if len(s.spare) > 0 {
			s.spare = append(s.spare, ',')
		}
		s.spare = append(s.spare, s.out[m.name:m.end]...)
	}
	s.out = append(s.out[:start], s.spare...)
}

// quoted appends the string that begins at i, each character in its one spelling.
func (s *summer) quoted(i int) int {
	s.out = append(s.out, '"')
	for i++; i < len(s.text) && s.text[i] != '"'; {
		// What needs no thought is copied whole.
		plain := i
		for plain < len(s.text) && s.text[plain] != '"' && s.text[plain] != '\\' {
			plain++
		}
		s.out = append(s.out, s.text[i:plain]...)
		if i = plain; s.at(i) == '\\' {
			i = s.escape(i + 1)
		}
	}
	s.out = append(s.out, '"')
	return i + 1
}

// escape appends the character whose escape has its second character at i.
func (s *summer) escape(i int) int {
	switch c := s.at(i); c {
	case 'u':
		r, next := s.unit(i+1), i+5
		if utf16.IsSurrogate(r) && s.at(next) == '\\' && s.at(next+1) == 'u' {
			if both := utf16.DecodeRune(r, s.unit(next+2)); both != utf8.RuneError {
				r, next = both, next+6
			}
		}
		s.rune(r)
		return next
	case 'b':
		s.rune('\b')
	case 'f':
		s.rune('\f')
	case 'n':
		s.rune('\n')
	case 'r':
		s.rune('\r')
	case 't':
		s.rune('\t')
	default: // " \ /
		s.rune(rune(c))
	}
	return i + 1
}

// unit reads four hex digits.
func (s *summer) unit(i int) rune {
	r := rune(0)
	for range 4 {
		c := s.at(i)
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		}
		r, i = r<<4|rune(c&15), i+1
	}
	return r
}

const hexDigits = "0123456789abcdef"

func (s *summer) rune(r rune) {
	switch {
	case r == '"', r == '\\':
		s.out = append(s.out, '\\', byte(r))
	case r < 0x20, utf16.IsSurrogate(r): // half a pair has no other form
		s.out = append(s.out, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
	default:
		s.out = utf8.AppendRune(s.out, r)
	}
}
