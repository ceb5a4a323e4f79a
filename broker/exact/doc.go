// Package exact reads JSON that decides about rights: names are case-sensitive,
// duplicates are refused, values stay the bytes that were sent.
//
// encoding/json matches field names without regard to case and with look-alikes,
// takes the last of two members of one name, passes invalid UTF-8 on in
// RawMessage, and makes numbers into float64 (security.md §6). Tokens and request
// bodies are therefore taken apart here:
//
//	text ── Members ──► []Member{Name, Value} ── Text, Elements, Int … ──► Go values
//
// Only the object that is read is checked for duplicates; what is inside of a
// value (a publisher's data) is checked to be JSON of bounded depth and is
// otherwise the publisher's own. Nothing is kept between calls; all slices point
// into the text given.
package exact
