package bayeux

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// errMalformed: the text is not JSON, or nested too deep.
var errMalformed = errors.New("bayeux: malformed message")

// hardDepth bounds recursion where no limit is configured.
const hardDepth = 512

// scanner walks over JSON text once, without copying. It takes exactly what
// RFC 8259 allows; that the bytes are UTF-8 is checked for the whole text
// beforehand.
type scanner struct {
	b     []byte
	i     int
	depth int // deepest nesting taken
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is not space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// plainText marks the bytes that need no look inside a string.
var plainText = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

// text reads a string at its opening quote and returns what is between the quotes.
func (s *scanner) text() (inner []byte, escaped bool, err error) {
	b := s.b
	start := s.i + 1
	for i := start; i < len(b); i++ {
		c := b[i]
		if plainText[c] {
			continue
		}
		if c == '"' {
			s.i = i + 1
			return b[start:i], escaped, nil
		}
		if c != '\\' {
			return nil, false, errMalformed // a control character
		}
		escaped = true
		i++
		if i == len(b) {
			return nil, false, errMalformed
		}
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if _, ok := hex4(b[i+1:]); !ok {
				return nil, false, errMalformed
			}
			i += 4
		default:
			return nil, false, errMalformed
		}
	}
	return nil, false, errMalformed
}

// value reads one value of any kind and returns its bytes. depth is how many
// objects and arrays are open around it.
func (s *scanner) value(depth int) ([]byte, error) {
	c := s.peek()
	start := s.i
	var err error
	switch {
	case c == '"':
		_, _, err = s.text()
	case c == '{':
		if depth >= s.depth {
			return nil, errMalformed
		}
		err = s.object(func([]byte, bool) error {
			_, err := s.value(depth + 1)
			return err
		})
	case c == '[':
		if depth >= s.depth {
			return nil, errMalformed
		}
		err = s.array(func() error {
			_, err := s.value(depth + 1)
			return err
		})
	case c == 't':
		err = s.word("true")
	case c == 'f':
		err = s.word("false")
	case c == 'n':
		err = s.word("null")
	case c == '-' || '0' <= c && c <= '9':
		err = s.number()
	default:
		err = errMalformed
	}
	if err != nil {
		return nil, err
	}
	return s.b[start:s.i], nil
}

// object reads an object at its opening brace; member is called for each, with
// its name, and must read the value.
func (s *scanner) object(member func(name []byte, escaped bool) error) error {
	s.space()
	s.i++
	if s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		if s.peek() != '"' {
			return errMalformed
		}
		name, escaped, err := s.text()
		if err != nil {
			return err
		}
		if s.peek() != ':' {
			return errMalformed
		}
		s.i++
		if err := member(name, escaped); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return errMalformed
		}
	}
}

// array reads an array at its opening bracket; element must read one value.
func (s *scanner) array(element func() error) error {
	s.space()
	s.i++
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return errMalformed
		}
	}
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return errMalformed
	}
	s.i += len(w)
	return nil
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return errMalformed
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return errMalformed
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return errMalformed
		}
	}
	return nil
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		r <<= 4
		switch {
		case '0' <= c && c <= '9':
			r |= rune(c - '0')
		case 'a' <= c && c <= 'f':
			r |= rune(c-'a') + 10
		case 'A' <= c && c <= 'F':
			r |= rune(c-'A') + 10
		default:
			return 0, false
		}
	}
	return r, true
}

// unquote returns the text of a scanned string without its quotes. Half a
// surrogate pair becomes U+FFFD, as in encoding/json.
func unquote(inner []byte, escaped bool) (string, bool) {
	if !escaped {
		return string(inner), true
	}
	var b strings.Builder
	b.Grow(len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		i++
		if i == len(inner) {
			return "", false
		}
		switch c = inner[i]; c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			r, ok := hex4(inner[i+1:])
			if !ok {
				return "", false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(inner) > i+6 && inner[i+1] == '\\' && inner[i+2] == 'u' {
					low, _ = hex4(inner[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b.WriteRune(r)
		default:
			return "", false
		}
	}
	return b.String(), true
}
