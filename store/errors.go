package store

import "errors"

// What callers branch on; a backend wraps them with what it was doing.
var (
	// ErrUnavailable: the store cannot be reached or is overloaded; nothing was
	// written, the same call may succeed later.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrFull: no room; nothing was written, reads go on.
	ErrFull = errors.New("store: full")
	// ErrTooLarge: a record is above MaxRecord; nothing was written.
	ErrTooLarge = errors.New("store: record too large")
	// ErrUncertain: the outcome is unknown; the same records with the same
	// nonces may be submitted again.
	ErrUncertain = errors.New("store: outcome unknown")
	// ErrClosed: the store was closed; nothing was written.
	ErrClosed = errors.New("store: closed")
	// ErrNotFound: no such record.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict: the record has another version.
	ErrConflict = errors.New("store: version conflict")
	// ErrLocked: another process has the folder open.
	ErrLocked = errors.New("store: in use by another process")
)
