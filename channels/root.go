package channels

import (
	"encoding/hex"
	"strconv"
)

// Class says what a root is good for: the low half of its first byte. The rights
// of each are the caller's (security.md §1.4).
type Class uint8

// The built-in classes; 6 to 14 are free for configuration, 0 is never valid.
const (
	ClassView    Class = 1 // an object's public name
	ClassGuest   Class = 2 // as view, without the past
	ClassControl Class = 3 // the dashboard's
	ClassIngest  Class = 4 // publishes only
	ClassDaily   Class = 5 // as view, for a day
)

// String returns the class's name, "class 7" for one without.
func (c Class) String() string {
	switch c {
	case ClassView:
		return "view"
	case ClassGuest:
		return "guest"
	case ClassControl:
		return "control"
	case ClassIngest:
		return "ingest"
	case ClassDaily:
		return "daily"
	}
	return "class " + strconv.Itoa(int(c))
}

// OID is the keyed hash under which an object appears in its roots: the same in
// all of them, unreadable without the identity secret (security.md §1.3).
type OID [8]byte

// String returns 16 lower-case hex digits.
func (o OID) String() string { return hex.EncodeToString(o[:]) }

// The layout of a root (security.md §1.3): kid and class in one byte, the oid,
// the tag.
const (
	headSize = 1 + len(OID{})
	tagSize  = 11
	rootSize = headSize + tagSize
)

// IsRoot reports whether a segment, without its slash, has the form of a root:
// exactly 40 of [0-9a-f]. Whether it is one, Keyring.Verify says.
func IsRoot(segment string) bool {
	_, ok := decode(segment)
	return ok
}

// decode reads the 40 digits. It takes one spelling only: package hex would take
// upper case as well, and an object would have many names, each with limits of
// its own (security.md §1.5, 1).
func decode(segment string) (raw [rootSize]byte, ok bool) {
	if len(segment) != 2*rootSize {
		return raw, false
	}
	for i := range raw {
		high, low := digit(segment[2*i]), digit(segment[2*i+1])
		if high|low > 15 {
			return [rootSize]byte{}, false
		}
		raw[i] = high<<4 | low
	}
	return raw, true
}

// digit returns the value of a lower-case hex digit, 255 for anything else.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
