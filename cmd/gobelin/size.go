package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// size is a number of bytes, written as 512, 64KiB, 1MiB or 2GiB.
type size int64

var sizeUnits = []struct {
	suffix string
	factor int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseSize reads a size. Units of a thousand (KB, MB) are refused, because half
// of all people mean 1024 by them.
func parseSize(text string) (size, error) {
	number, factor := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("is not a size: write it as 512, 64KiB, 1MiB or 2GiB")
	}
	if n > math.MaxInt64/factor {
		return 0, errors.New("is too large a size")
	}
	return size(n * factor), nil
}

// String returns the shortest exact spelling.
func (s size) String() string {
	for _, u := range sizeUnits[:3] {
		if s != 0 && int64(s)%u.factor == 0 {
			return fmt.Sprintf("%d%s", int64(s)/u.factor, u.suffix)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
