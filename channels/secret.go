package channels

import (
	"fmt"
	"io"
)

// hidden stands for what must not be shown.
const hidden = "***"

// Secret is a text that must never be printed: every formatting, JSON, YAML and the
// log show "***" (security.md §4, 44). One caveat of package fmt: it does not ask the
// unexported fields of a struct how they want to be shown, so fields of this type are
// exported.
type Secret string

// String returns "***", or "" when there is none.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format writes String whatever the verb: fmt shows a text raw where a verb is none of
// texts', such as %d.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the text from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the text, for computing with it only.
func (s Secret) Reveal() string { return string(s) }
