package exact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// What is wrong with a text; a *DuplicateError is the other way it can fail.
var (
	ErrUTF8   = errors.New("exact: not valid UTF-8")
	ErrSyntax = errors.New("exact: not valid JSON")
	ErrDepth  = errors.New("exact: nested too deep")
	ErrType   = errors.New("exact: another type of value")
)

// DuplicateError: a member is there twice, by whatever spelling.
type DuplicateError struct{ Name string }

// Error names the member, cut to 100 bytes.
func (e *DuplicateError) Error() string {
	return "exact: duplicate member " + strconv.Quote(e.Name[:min(len(e.Name), 100)])
}

// Member is one member of an object, in the order it was sent.
type Member struct {
	// Name is unescaped; Escaped says that it was written with a backslash.
	Name    string
	Escaped bool
	// Value is the text of the value, without blanks around it.
	Value []byte
	// Start is where the name's quote opens, End is behind the value, both in the text
	// that was taken apart.
	Start, End int
}

// maxMembers bounds the members of one object: names are compared with each
// other, and a body of 4 MiB could hold 800,000 of them.
const maxMembers = 1000

// fewMembers are compared one by one, and most objects have no more than fewFields.
const (
	fewMembers = 16
	fewFields  = 4
)

// Members takes an object apart. depth bounds how deep arrays and objects may be
// nested, this one included. Errors: ErrUTF8, ErrSyntax, ErrDepth, ErrType for
// JSON that is no object, *DuplicateError; wrapped with where.
func Members(text []byte, depth int) ([]Member, error) {
	if err := Check(text, depth); err != nil {
		return nil, err
	}
	return Inner(make([]Member, 0, fewFields), text)
}

// Inner is Members for a Value, an element, or another text that was checked before; the
// members are put into the room of into, whatever is there.
func Inner(into []Member, text []byte) ([]Member, error) {
	w := walker{text: text}
	w.blanks()
	if w.text[w.at] != '{' {
		return nil, fmt.Errorf("%w: not an object", ErrType)
	}
	w.at++
	members := into[:0]
	var seen map[string]bool // where there are many
	for {
		w.blanks()
		switch w.text[w.at] {
		case '}':
			return members, nil
		case ',':
			w.at++
			continue
		}
		start := w.at
		raw := w.value()
		name, err := Text(raw)
		if err != nil {
			return nil, fmt.Errorf("member name: %w", err)
		}
		if seen[name] || seen == nil && slices.ContainsFunc(members, func(m Member) bool { return m.Name == name }) {
			return nil, &DuplicateError{Name: name}
		}
		if len(members) == maxMembers {
			return nil, fmt.Errorf("%w: more than %d members", ErrSyntax, maxMembers)
		}
		switch {
		case seen != nil:
			seen[name] = true
		case len(members) == fewMembers:
			seen = map[string]bool{name: true}
			for _, m := range members {
				seen[m.Name] = true
			}
		}
		w.blanks()
		w.at++ // the colon
		w.blanks()
		m := Member{Name: name, Escaped: bytes.IndexByte(raw, '\\') >= 0, Value: w.value(), Start: start}
		m.End = w.at
		members = append(members, m)
	}
}

// Elements takes an array apart, at most limit elements. text must have been a
// Value, so that it is known to be JSON. Errors: ErrType for anything but an
// array, and for one that is longer.
func Elements(text []byte, limit int) ([][]byte, error) {
	if len(text) == 0 || text[0] != '[' {
		return nil, fmt.Errorf("%w: not an array", ErrType)
	}
	w := walker{text: text, at: 1}
	var all [][]byte
	for {
		w.blanks()
		switch w.text[w.at] {
		case ']':
			return all, nil
		case ',':
			w.at++
			continue
		}
		if len(all) == limit {
			return nil, fmt.Errorf("%w: more than %d elements", ErrType, limit)
		}
		all = append(all, w.value())
	}
}

// Check reports whether text is one JSON value in valid UTF-8, nested at most
// depth deep. Errors: ErrUTF8, ErrSyntax, ErrDepth.
func Check(text []byte, depth int) error {
	if !utf8.Valid(text) {
		return ErrUTF8
	}
	// Depth first: json.Valid itself recurses no further than 10,000, but says
	// only that the text is invalid.
	if deeper(text, depth) {
		return ErrDepth
	}
	if !json.Valid(text) {
		return ErrSyntax
	}
	return nil
}

// deeper reports whether brackets outside of strings are open more than depth deep.
func deeper(text []byte, depth int) bool {
	open, inside := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{', c == '[':
			if open++; open > depth {
				return true
			}
		case c == '}', c == ']':
			open--
		}
	}
	return false
}

// walker goes through text that is known to be valid JSON.
type walker struct {
	text []byte
	at   int
}

func (w *walker) blanks() {
	for w.at < len(w.text) {
		switch w.text[w.at] {
		case ' ', '\t', '\r', '\n':
			w.at++
		default:
			return
		}
	}
}

// value returns the value that begins at w.at and moves behind it.
func (w *walker) value() []byte {
	start, open := w.at, 0
	for w.at < len(w.text) {
		switch w.text[w.at] {
		case '"':
			w.quoted()
			if open == 0 {
				return w.text[start:w.at]
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			if open == 0 { // the end of what a number or word stands in
				return w.text[start:w.at]
			}
			if open--; open == 0 {
				w.at++
				return w.text[start:w.at]
			}
		case ',', ' ', '\t', '\r', '\n':
			if open == 0 {
				return w.text[start:w.at]
			}
		}
		w.at++
	}
	return w.text[start:w.at]
}

// quoted moves behind the string that begins at w.at.
func (w *walker) quoted() {
	for w.at++; w.text[w.at] != '"'; w.at++ {
		if w.text[w.at] == '\\' {
			w.at++
		}
	}
	w.at++
}
