package catchup

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// What is wrong with a text that should be a document or a change of one.
var (
	// ErrJSON: not one JSON value in valid UTF-8.
	ErrJSON = errors.New("catchup: not valid JSON")
	// ErrDepth: arrays and objects are nested deeper than MaxDepth.
	ErrDepth = errors.New("catchup: nested too deep")
	// ErrObject: valid JSON, but no object.
	ErrObject = errors.New("catchup: not a JSON object")
)

// MaxDepth bounds the nesting of a document, itself included (product.md E23).
const MaxDepth = 32

// member is one member of an object in canonical form.
type member struct {
	name  string // unescaped
	raw   []byte // the name as it was written, with its quotes
	value []byte
}

// Canonical returns a JSON object in the form in which documents are kept: without
// blanks, each member once. Of two members of one name the last one counts, in the
// place of the first (product.md §2). Everything else stays as it was written: order,
// numbers, escapes. Errors: ErrJSON, ErrDepth, ErrObject.
func Canonical(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, ErrJSON
	}
	// Depth first: a text nested a million deep is not worth a parser's stack.
	if tooDeep(text) {
		return nil, ErrDepth
	}
	var compact bytes.Buffer
	compact.Grow(len(text))
	if json.Compact(&compact, text) != nil {
		return nil, ErrJSON
	}
	if compact.Len() == 0 || compact.Bytes()[0] != '{' {
		return nil, ErrObject
	}
	return appendCanonical(make([]byte, 0, compact.Len()), compact.Bytes())
}

// tooDeep reports whether brackets outside of strings are open more than MaxDepth
// deep.
func tooDeep(text []byte) bool {
	open, inside := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '{', c == '[':
			if open++; open > MaxDepth {
				return true
			}
		case c == '}', c == ']':
			open--
		}
	}
	return false
}

// appendCanonical appends a value of compact JSON, each member of its objects once.
func appendCanonical(b, value []byte) ([]byte, error) {
	var err error
	switch value[0] {
	case '{':
		all, err := readMembers(value)
		if err != nil {
			return nil, err
		}
		b = append(b, '{')
		for i, m := range all {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, m.raw...), ':')
			if b, err = appendCanonical(b, m.value); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case '[':
		b = append(b, '[')
		for at := 1; value[at] != ']'; {
			if value[at] == ',' {
				b = append(b, ',')
				at++
			}
			end := valueEnd(value, at)
			if b, err = appendCanonical(b, value[at:end]); err != nil {
				return nil, err
			}
			at = end
		}
		return append(b, ']'), nil
	}
	return append(b, value...), nil
}

// readMembers takes an object of compact JSON apart, each name once.
func readMembers(object []byte) ([]member, error) {
	var all []member
	seen := map[string]int{}
	for at := 1; object[at] != '}'; {
		if object[at] == ',' {
			at++
		}
		end := valueEnd(object, at)
		raw := object[at:end]
		name, err := unquote(raw)
		if err != nil {
			return nil, err
		}
		at, end = end+1, valueEnd(object, end+1)
		if i, twice := seen[name]; twice {
			all[i].value = object[at:end]
		} else {
			seen[name] = len(all)
			all = append(all, member{name: name, raw: raw, value: object[at:end]})
		}
		at = end
	}
	return all, nil
}

// members takes an object in canonical form apart; anything else has none.
func members(canonical []byte) []member {
	if len(canonical) == 0 || canonical[0] != '{' {
		return nil
	}
	all, err := readMembers(canonical)
	if err != nil {
		return nil // canonical text has none of its faults
	}
	return all
}

// valueEnd returns where the value that begins at text[at] ends, in compact JSON.
func valueEnd(text []byte, at int) int {
	for open := 0; at < len(text); at++ {
		switch text[at] {
		case '"':
			for at++; text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
			if open == 0 {
				return at + 1
			}
		case '{', '[':
			open++
		case '}', ']':
			if open == 0 {
				return at
			}
			if open--; open == 0 {
				return at + 1
			}
		case ',', ':':
			if open == 0 {
				return at
			}
		}
	}
	return at
}

// unquote returns the text of a JSON string. Half a surrogate pair is refused: two
// names that differ must not become one.
func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", ErrJSON
	}
	made := strings.Count(s, "\ufffd")
	if made > bytes.Count(raw, []byte("\ufffd"))+bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`)) {
		return "", ErrJSON
	}
	return s, nil
}

// appendObject appends members as an object.
func appendObject(b []byte, all []member) []byte {
	b = append(b, '{')
	for i, m := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, m.raw...), ':')
		b = append(b, m.value...)
	}
	return append(b, '}')
}

// appendString appends a text as a JSON string; < and & stay as they are.
func appendString(b []byte, s string) []byte {
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

// nameIndex finds members by name.
func nameIndex(all []member) map[string]int {
	index := make(map[string]int, len(all))
	for i, m := range all {
		index[m.name] = i
	}
	return index
}

// without returns the members that are not gone, in order.
func without(all []member, gone map[int]bool) []member {
	if len(gone) == 0 {
		return all
	}
	kept := slices.Clone(all)[:0]
	for i, m := range all {
		if !gone[i] {
			kept = append(kept, m)
		}
	}
	return kept
}
