package broker

import (
	"context"
	"errors"

	"github.com/gobelin-broker/gobelin/store"
)

// Error is a refusal over HTTP: "result" is the status with one more digit, as
// product.md §9 lists them, "error" the text.
type Error struct {
	Result int // 4000 bad request, 4001, 4003, 4004, 4005, 4009, 4012, 4013, 4022, 4029, 5000, 5003, 5004, 5007
	Text   string
	// Version is the one a document has; told with 4012 alone.
	Version uint64
}

// Error returns the text sent to the peer.
func (e *Error) Error() string { return e.Text }

// Status returns the HTTP status: 4012 is 412, 5003 is 503; a bad qualifier (4022)
// is a 400.
func (e *Error) Status() int {
	if e.Result == 4022 {
		return 400
	}
	return e.Result/1000*100 + e.Result%100
}

// ErrNoObject: the object was never made, or was deleted, or the root that led
// to it is withdrawn.
var ErrNoObject = &Error{Result: 4004, Text: "no such object"}

// AsError returns the refusal that a peer is shown for err: an *Error in err's
// chain as it is, the store's errors by decided.md 3, everything else as 5000,
// which the caller logs. nil stays nil.
func AsError(err error) *Error {
	var refusal *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return refusal
	case errors.Is(err, store.ErrUncertain):
		return &Error{Result: 5004, Text: "outcome unknown; retry with the same Idempotency-Key"}
	case errors.Is(err, store.ErrFull):
		return &Error{Result: 5007, Text: "store full"}
	case errors.Is(err, store.ErrTooLarge):
		return &Error{Result: 4013, Text: "message too large"}
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &Error{Result: 5003, Text: "service unavailable; try again"}
	}
	return &Error{Result: 5000, Text: "internal server error"}
}
