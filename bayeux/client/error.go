package client

import (
	"errors"
	"strconv"
	"strings"
)

// ErrClosed is returned by calls on a client that was closed.
var ErrClosed = errors.New("client: closed")

// ErrStopped is returned, wrapped, once the server has advised not to come back
// (advice.reconnect "none"); Client.Err tells its words.
var ErrStopped = errors.New("client: stopped by the server")

// Error is a refusal in the server's words, "code:args,comma,separated:text"
// (bayeux-faye.md §4).
type Error struct {
	// Code is 0 where the server's text did not follow the grammar.
	Code int
	// Args are what the refusal is about, mostly the channel; nil where empty.
	Args []string
	// Text is the rest in words, or all of it where Code is 0.
	Text string
}

// Error returns the refusal for a log or a person.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("client: refused: ")
	if e.Code != 0 {
		b.WriteString(strconv.Itoa(e.Code))
		b.WriteByte(' ')
	}
	b.WriteString(e.Text)
	if len(e.Args) > 0 {
		b.WriteString(" (" + strings.Join(e.Args, ",") + ")")
	}
	return b.String()
}

// parseError reads the grammar; every text gives an Error.
func parseError(s string) *Error {
	code, rest, ok := strings.Cut(s, ":")
	args, text, ok2 := strings.Cut(rest, ":")
	n, err := strconv.ParseUint(code, 10, 16)
	if !ok || !ok2 || len(code) != 3 || err != nil || n == 0 {
		return &Error{Text: s}
	}
	e := &Error{Code: int(n), Text: text}
	if args != "" {
		e.Args = strings.Split(args, ",")
	}
	return e
}

// unknownSession reports whether the refusal says that the session is gone, in
// the words of any of the servers (bayeux-cometd.md §1.5).
func (e *Error) unknownSession() bool {
	switch e.Code {
	case 401, 402, 403:
		return e.Text == "Unknown client" || e.Text == "session_unknown" || e.Text == "unknown_session"
	}
	return false
}

// temporary reports whether the same request may succeed later.
func (e *Error) temporary() bool { return e.Code >= 500 }
