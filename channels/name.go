package channels

import "errors"

// ErrInvalid is returned for every text outside the grammar.
var ErrInvalid = errors.New("channels: invalid name")

// Name is a checked channel: "/" segments of letters, digits and -_!~()$@, no
// wildcards. The zero Name is no channel. Made only by Parse.
type Name struct{ s string }

// Pattern is a checked subscription: a Name, or one whose last segment is "*"
// (one segment) or "**" (one or more). Made only by ParsePattern and Name.Pattern.
type Pattern struct {
	s    string
	wild uint8 // 0 a plain name, 1 "*", 2 "**"
}
