package channels

import "strings"

// Pattern is a checked subscription: a Name, or one whose last segment is "*"
// (one segment) or "**" (one or more). Made only by ParsePattern and
// Name.Pattern. The zero Pattern matches nothing. Patterns are equal when their
// texts are, and may be the key of a map.
type Pattern struct {
	s    string
	wild uint8 // plain, star or deep
}

// ParsePattern checks s against the grammar of bayeux-faye.md §5: a name, or one
// with "*" or "**" as its whole last segment. It never allocates; the Pattern
// shares the memory of s. Every error wraps ErrInvalid.
func ParsePattern(s string) (Pattern, error) {
	wild, err := scan(s)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{s: s, wild: wild}, nil
}

// String returns the text as parsed, "" for the zero Pattern.
func (p Pattern) String() string { return p.s }

// IsZero reports whether p is the zero Pattern.
func (p Pattern) IsZero() bool { return p.s == "" }

// Wild reports whether p ends in "*" or "**".
func (p Pattern) Wild() bool { return p.wild != plain }

// Deep reports whether p ends in "**".
func (p Pattern) Deep() bool { return p.wild == deep }

// Name returns the one name that p matches, or false for a wildcard or the zero
// Pattern.
func (p Pattern) Name() (Name, bool) {
	if p.wild != plain || p.s == "" {
		return Name{}, false
	}
	return Name{p.s}, true
}

// Segments returns how many segments p has, a wildcard counting as one.
func (p Pattern) Segments() int { return strings.Count(p.s, "/") }

// First returns the first segment without its slash; it may be a wildcard.
func (p Pattern) First() string { return first(p.s) }

// Tail returns p without its first segment; zero if there was only one. Where p
// matches a name of the same first segment, its tail matches the name's tail.
func (p Pattern) Tail() Pattern {
	s := tail(p.s)
	if s == "" {
		return Pattern{}
	}
	return Pattern{s: s, wild: p.wild}
}

// Last returns the last segment without its slash; it may be a wildcard.
func (p Pattern) Last() string { return last(p.s) }

// Parent returns p without its last segment, which is a plain name since only
// the last can be a wildcard; zero if there was only one.
func (p Pattern) Parent() Name { return Name{parent(p.s)} }

// Matches reports whether a message on n reaches a subscription to p: /a/* takes
// /a/b, /a/** also /a/b/c, and neither takes /a (bayeux-faye.md §5).
func (p Pattern) Matches(n Name) bool {
	switch p.wild {
	case star:
		above := p.s[:len(p.s)-len("*")]
		return strings.HasPrefix(n.s, above) && strings.IndexByte(n.s[len(above):], '/') < 0
	case deep:
		return strings.HasPrefix(n.s, p.s[:len(p.s)-len("**")])
	}
	return p.s != "" && p.s == n.s
}
