package store

import (
	"errors"
	"time"
)

// Copy is a second place for a record: the account log, in which a stream finds what
// was said in all logs of an account (decided.md 22).
//
// The call that appends the record makes sure of its copy: when Submit reports
// success the copy is as durable as the record, and it enters To exactly once, at
// once or soon after (a store of many machines brings it there by a leased pump; Lag
// tells how far that is behind). The copies of one log enter To in that log's order.
// A record that was there already (Prior) brings no second copy. A copy that To's
// machine refuses, because it is full or away, waits and is not lost. A record that
// keeps nothing has a copy, too, and is refused with ErrFull where that has no room.
type Copy struct {
	// To is the log that gets the copy, Limits those it is appended with. Limits that
	// keep nothing: no copy is made.
	To     LogName
	Limits Limits
	// Data is what follows the place of the record in the copy's Entry.Data (see
	// Origin), at most MaxCopy bytes. nil: the record's own Data.
	Data []byte
}

// MaxCopy bounds what a copy takes over, Copy.Data or the record's: the place of the
// record comes before it.
const MaxCopy = MaxRecord - 16

// validate refuses with ErrTooLarge what no log could hold.
func (c *Copy) validate(data []byte) error {
	if c.Data != nil {
		data = c.Data
	}
	if len(data) > MaxCopy {
		return ErrTooLarge
	}
	return c.To.Validate()
}

// Copied returns the copy of a record that lies at p, as an entry's data, or nil if
// the record has none.
func (r *Record) Copied(p Position) []byte {
	if !r.HasCopy() {
		return nil
	}
	data := r.Copy.Data
	if data == nil {
		data = r.Data
	}
	return append(append(make([]byte, 0, len(p)+len(data)), p[:]...), data...)
}

// HasCopy reports whether a copy is made of the record.
func (r *Record) HasCopy() bool { return r.Copy != nil && r.Copy.Limits.Keeps() }

// Validate refuses a record that is too large, or of which the copy is, with
// ErrTooLarge (wrapped).
func (r *Record) Validate() error {
	if len(r.Data) > MaxRecord {
		return ErrTooLarge
	}
	if r.HasCopy() {
		return r.Copy.validate(r.Data)
	}
	return nil
}

// Origin splits the data of an entry that is a Copy into the place of the record it
// was made for, in that record's log, and Copy.Data. It errs on data that is too short
// to be one.
func Origin(data []byte) (Position, []byte, error) {
	var p Position
	if len(data) < len(p) {
		return p, nil, errors.New("store: origin: not a copy")
	}
	copy(p[:], data)
	return p, data[len(p):], nil
}

// Lag says how far copies are behind.
type Lag struct {
	// Waiting is how many copies have not reached their log, as last counted.
	Waiting int64
	// Since is the store's time at which the oldest of them was made; zero: none waits.
	Since time.Time
}
