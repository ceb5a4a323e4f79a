package channels

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is what every refusal of Parse and ParsePattern wraps.
var ErrInvalid = errors.New("channels: invalid name")

// The refusals are made beforehand, so that a flood of bad names costs nothing.
var (
	errTooLong  = fmt.Errorf("%w: longer than %d bytes", ErrInvalid, maxName)
	errNoSlash  = fmt.Errorf("%w: does not begin with a slash", ErrInvalid)
	errEmpty    = fmt.Errorf("%w: empty segment", ErrInvalid)
	errLetter   = fmt.Errorf("%w: character outside letters, digits and -_!~()$@", ErrInvalid)
	errWildcard = fmt.Errorf("%w: wildcard in a name", ErrInvalid)
	errPlace    = fmt.Errorf("%w: wildcard is not the whole last segment", ErrInvalid)
)

// maxName is the hard cap in bytes. Without one, a caller that forgot its own
// limit would let a peer build a tree as deep as its frame is long.
const maxName = 4 << 10

// Name is a checked channel: "/" segments of letters, digits and -_!~()$@, no
// wildcards. The zero Name is no channel. Made only by Parse. Names are equal
// when their texts are, and may be the key of a map.
type Name struct{ s string }

// Parse checks s against the grammar of bayeux-faye.md §5. It never allocates;
// the Name shares the memory of s. Every error wraps ErrInvalid and says which
// rule was broken, without repeating s.
func Parse(s string) (Name, error) {
	wild, err := scan(s)
	if err != nil {
		return Name{}, err
	}
	if wild != plain {
		return Name{}, errWildcard
	}
	return Name{s}, nil
}

// String returns the text as parsed, "" for the zero Name.
func (n Name) String() string { return n.s }

// IsZero reports whether n is no channel.
func (n Name) IsZero() bool { return n.s == "" }

// Segments returns how many segments n has, 0 for the zero Name.
func (n Name) Segments() int { return strings.Count(n.s, "/") }

// First returns the first segment without its slash, "" for the zero Name.
func (n Name) First() string { return first(n.s) }

// Tail returns n without its first segment; zero if there was only one.
func (n Name) Tail() Name { return Name{tail(n.s)} }

// Last returns the last segment without its slash, "" for the zero Name.
func (n Name) Last() string { return last(n.s) }

// Parent returns n without its last segment; zero if there was only one.
func (n Name) Parent() Name { return Name{parent(n.s)} }

// HasPrefix reports whether n is p or lies below it, segment by segment: /a/b
// is a prefix of /a/b/c, not of /a/bc. The zero Name is a prefix of nothing, so
// that a rule without a name opens nothing.
func (n Name) HasPrefix(p Name) bool {
	if p.s == "" || !strings.HasPrefix(n.s, p.s) {
		return false
	}
	return len(n.s) == len(p.s) || n.s[len(p.s)] == '/'
}

// Pattern returns the pattern that matches n alone.
func (n Name) Pattern() Pattern { return Pattern{s: n.s} }

// The kinds of a pattern's last segment.
const (
	plain = iota // a plain name
	star         // "*": exactly one segment
	deep         // "**": one segment or more
)

// The alphabet as two sets of 64 bits, for characters below and from 64.
const (
	lettersLow = 1<<'!' | 1<<'$' | 1<<'(' | 1<<')' | 1<<'-' |
		(1<<10-1)<<'0'
	lettersHigh = 1<<('@'-64) | 1<<('_'-64) | 1<<('~'-64) |
		(1<<26-1)<<('A'-64) | (1<<26-1)<<('a'-64)
)

// letter reports whether c may stand in a segment.
func letter(c byte) bool {
	switch c >> 6 {
	case 0:
		return uint64(lettersLow)>>(c&63)&1 != 0
	case 1:
		return uint64(lettersHigh)>>(c&63)&1 != 0
	}
	return false
}

// scan is the grammar, for names and patterns both: it returns the kind of the
// last segment, or which rule s breaks.
func scan(s string) (wild uint8, err error) {
	if len(s) > maxName {
		return plain, errTooLong
	}
	if s == "" || s[0] != '/' {
		return plain, errNoSlash
	}
	start := 1 // where the segment begins
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case letter(c):
		case c == '/':
			if i == start {
				return plain, errEmpty
			}
			start = i + 1
		case c == '*':
			// From here only the end of a whole last segment is right.
			switch s[start:] {
			case "*":
				return star, nil
			case "**":
				return deep, nil
			}
			return plain, errPlace
		default:
			return plain, errLetter
		}
	}
	if start == len(s) {
		return plain, errEmpty
	}
	return plain, nil
}

func first(s string) string {
	if s == "" {
		return ""
	}
	if i := strings.IndexByte(s[1:], '/'); i >= 0 {
		return s[1 : 1+i]
	}
	return s[1:]
}

func tail(s string) string {
	if s == "" {
		return ""
	}
	if i := strings.IndexByte(s[1:], '/'); i >= 0 {
		return s[1+i:]
	}
	return ""
}

func last(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

func parent(s string) string {
	if s == "" {
		return ""
	}
	return s[:strings.LastIndexByte(s, '/')]
}
