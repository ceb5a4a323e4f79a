package exact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
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
	// encoding/json puts U+FFFD in the place of half a pair.
	if strings.Contains(s, "\ufffd") && halved(value) {
		return "", ErrUTF8
	}
	return s, nil
}

// halved reports whether a string, which is valid JSON, has half of a surrogate pair.
func halved(value []byte) bool {
	// unit returns the code unit that is written as an escape at i.
	unit := func(i int) (rune, bool) {
		if !bytes.HasPrefix(value[i:], []byte(`\u`)) {
			return 0, false
		}
		n, err := strconv.ParseUint(string(value[i+2:i+6]), 16, 16)
		return rune(n), err == nil
	}
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			continue
		}
		first, escape := unit(i)
		switch {
		case !escape:
			i++ // what was escaped may be a backslash
		case !utf16.IsSurrogate(first):
			i += 5
		default:
			second, _ := unit(i + 6)
			if utf16.DecodeRune(first, second) == utf8.RuneError {
				return true
			}
			i += 11
		}
	}
	return false
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
