package exact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text returns the string a value is. Errors: ErrType for anything else, ErrUTF8
// for half of a surrogate pair, which is no character.
func Text(value []byte) (string, error) {
	if len(value) == 0 || value[0] != '"' {
		return "", fmt.Errorf("%w: not a string", ErrType)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return "", fmt.Errorf("%w: not a string", ErrType)
	}
	// encoding/json puts U+FFFD in the place of a lone surrogate: a text has no
	// more of them than were written.
	if made := strings.Count(s, "\ufffd"); made > 0 {
		written := bytes.Count(value, []byte("\ufffd")) + bytes.Count(bytes.ToLower(value), []byte(`\ufffd`))
		if made > written {
			return "", ErrUTF8
		}
	}
	return s, nil
}

// Bool returns the truth value a value is, or ErrType.
func Bool(value []byte) (bool, error) {
	switch string(value) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%w: not true or false", ErrType)
}

// IsNull reports whether a value is null.
func IsNull(value []byte) bool { return string(value) == "null" }

// Seconds returns a time of a token (RFC 7519 NumericDate) in whole seconds,
// rounded down. Errors: ErrType for anything but a number, and for one beyond
// the year 9999.
func Seconds(value []byte) (int64, error) {
	if len(value) == 0 || (value[0] != '-' && (value[0] < '0' || value[0] > '9')) {
		return 0, fmt.Errorf("%w: not a number", ErrType)
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.Abs(f) > 253402300799 {
		return 0, fmt.Errorf("%w: not a time in seconds", ErrType)
	}
	return int64(math.Floor(f)), nil
}

// Int returns the whole number a value is. Errors: ErrType for anything else, also
// 1.0 and 1e3.
func Int(value []byte) (int64, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || value[0] == '+' {
		return 0, fmt.Errorf("%w: not a whole number", ErrType)
	}
	return n, nil
}

// Folds reports whether two names are the same to a careless reader, such as
// encoding/json: without regard to case, and with the look-alikes K (Kelvin sign)
// and ſ (long s).
func Folds(a, b string) bool {
	return utf8.ValidString(a) && strings.EqualFold(a, b)
}
