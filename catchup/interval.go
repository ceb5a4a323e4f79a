package catchup

import (
	"errors"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
)

// Word is the segment before an interval; it is reserved in every other place.
const Word = "catchup"

// Errors of Split, each with its refusal in product.md §4.
var (
	// ErrInterval: the interval is outside the grammar (400).
	ErrInterval = errors.New("catchup: malformed interval")
	// ErrPlace: the reserved word stands where it may not (405).
	ErrPlace = errors.New("catchup: reserved word")
)

// Interval is how far back a catch-up goes: so long, or so many messages. One of the
// two is set; the zero Interval is none.
type Interval struct {
	Age   time.Duration
	Count int
}

// IsZero reports whether there is no interval.
func (i Interval) IsZero() bool { return i == Interval{} }

// Since returns the time before which nothing is asked for at now, where longest is the
// longest interval that a channel has.
func (i Interval) Since(now time.Time, longest time.Duration) time.Time {
	if i.Age > 0 {
		longest = i.Age
	}
	return now.Add(-longest)
}

// ParseInterval reads [1-9][0-9]{0,6}[hmsn], case-sensitive, no other form
// (product.md §4; n counts messages, decided.md 9). The largest is 9999999h, which no
// class allows but every type here holds.
func ParseInterval(s string) (Interval, error) {
	if len(s) < 2 || len(s) > 8 || s[0] < '1' || s[0] > '9' {
		return Interval{}, ErrInterval
	}
	var n int64
	for i := 0; i < len(s)-1; i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return Interval{}, ErrInterval
		}
		n = n*10 + int64(c-'0')
	}
	unit := int64(1)
	switch s[len(s)-1] {
	case 'n':
		return Interval{Count: int(n)}, nil
	case 'h':
		unit = 3600
	case 'm':
		unit = 60
	case 's':
	default:
		return Interval{}, ErrInterval
	}
	// In seconds first: 9999999 h overflows an int64 of nanoseconds.
	seconds := n * unit
	if seconds > int64(maxInterval/time.Second) {
		return Interval{Age: maxInterval}, nil
	}
	return Interval{Age: time.Duration(seconds) * time.Second}, nil
}

// maxInterval caps an interval before it can overflow a Duration; it is longer
// than any retention.
const maxInterval = 200 * 365 * 24 * time.Hour

// Split takes a catch-up channel apart into its base and interval. ok is false,
// without error, for a channel that is no catch-up. ErrPlace: the reserved word
// is anywhere but last but one, or nothing stands before it. ErrInterval: what
// stands after it is no interval.
func Split(n channels.Name) (base channels.Name, interval Interval, ok bool, err error) {
	parent := n.Parent()
	if !parent.IsZero() && parent.Last() == Word {
		base = parent.Parent()
		if base.IsZero() || Reserved(base) {
			return channels.Name{}, Interval{}, false, ErrPlace
		}
		interval, err = ParseInterval(n.Last())
		return base, interval, err == nil, err
	}
	if Reserved(n) {
		return channels.Name{}, Interval{}, false, ErrPlace
	}
	return channels.Name{}, Interval{}, false, nil
}

// Reserved reports whether any segment of n is the reserved word.
func Reserved(n channels.Name) bool {
	for ; !n.IsZero(); n = n.Parent() {
		if n.Last() == Word {
			return true
		}
	}
	return false
}
