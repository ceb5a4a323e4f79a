package bayeux

import "strings"

// Error is a refusal that is sent to the peer word for word, as
// "code:args,comma,separated:text" (bayeux-faye.md §4). Text must keep to Faye's
// error grammar: letters, digits, space and -_!~()$@/*. only.
type Error struct {
	Code int
	Args []string
	Text string
	// Advice, when not nil, is sent with the refusal of a handshake or connect;
	// nil there means the server's usual one.
	Advice *Advice

	reason int // why it is, where the server itself refuses; 0: as the caller counts it
}

// Error returns the wire form. Arguments with characters outside Faye's error
// grammar, or over 255 bytes, are left out (security.md §4, 32).
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(itoa3(e.Code))
	b.WriteByte(':')
	sep := false
	for _, a := range e.Args {
		if !printableArg(a) {
			continue
		}
		if sep {
			b.WriteByte(',')
		}
		b.WriteString(a)
		sep = true
	}
	b.WriteByte(':')
	b.WriteString(e.Text)
	return b.String()
}

func itoa3(n int) string {
	return string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

func printableArg(a string) bool {
	if len(a) > 255 {
		return false
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(" -_!~()$@/*.", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Advice is the server's word on how to go on (Bayeux 1.0; durations in ms).
type Advice struct {
	Reconnect string // "retry", "handshake" or "none"
	Interval  int64
	Timeout   int64

	// heeds is up to what interval the client's own wish counts, in ms; 0: it does not.
	heeds int64
}

// Refusals the protocol itself makes (bayeux-faye.md §4); the application makes
// others in the same form.
func errUnknownClient(id string) *Error {
	return &Error{Code: 401, Args: []string{id}, Text: "Unknown client"}
}

func errMissing(field string) *Error {
	return &Error{Code: 402, Args: []string{field}, Text: "Missing required parameter"}
}

// ErrForbidden is the one refusal for a channel that may not be used, whatever
// the cause (bayeux-faye.md §14).
func ErrForbidden(channel string) *Error {
	return &Error{Code: 403, Args: []string{channel}, Text: "Forbidden channel"}
}

// ErrInvalidChannel refuses a name outside the grammar.
func ErrInvalidChannel(channel string) *Error {
	return &Error{Code: 405, Args: []string{channel}, Text: "Invalid channel"}
}
