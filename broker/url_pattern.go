package broker

import (
	"fmt"
	"slices"
	"strings"
)

// maxURLPatterns bounds the alternatives of one query: each is held against each url.
const maxURLPatterns = 100

// URLPattern selects urls of objects (product.md §5.5, S7). The zero value selects all.
type URLPattern struct {
	exact []string   // sorted, each once
	wild  [][]string // what stands between the stars, at least two parts each
	some  bool       // not the zero value
}

// ParseURLPattern reads texts of which any may select: in each, | divides alternatives,
// * is any run of characters, none and slashes included, and every other character is
// itself. Whole urls are compared, case and all. Errors say what is too many or too long.
func ParseURLPattern(texts []string) (URLPattern, error) {
	p := URLPattern{some: true}
	for _, text := range texts {
		for one := range strings.SplitSeq(text, "|") {
			if len(p.exact)+len(p.wild) == maxURLPatterns {
				return URLPattern{}, fmt.Errorf("broker: url pattern: more than %d alternatives", maxURLPatterns)
			}
			if len(one) > maxObjectField {
				return URLPattern{}, fmt.Errorf("broker: url pattern: an alternative of more than %d bytes", maxObjectField)
			}
			if !strings.Contains(one, "*") {
				p.exact = append(p.exact, one)
				continue
			}
			p.wild = append(p.wild, strings.Split(one, "*"))
		}
	}
	slices.Sort(p.exact)
	p.exact = slices.Compact(p.exact)
	return p, nil
}

// Match reports whether a url is selected.
func (p URLPattern) Match(url string) bool {
	if !p.some {
		return true
	}
	if _, found := slices.BinarySearch(p.exact, url); found {
		return true
	}
	return slices.ContainsFunc(p.wild, func(parts []string) bool { return matchParts(parts, url) })
}

// named returns the urls that are selected by name, and whether others may be, too.
func (p URLPattern) named() (urls []string, others bool) {
	return p.exact, !p.some || len(p.wild) > 0
}

// matchParts matches a url with what stands between stars: the first part begins it,
// the last ends it, and each of the others is found as early as it can be, which
// leaves the most to those that follow. So a url is gone through once, however many
// stars there are.
func matchParts(parts []string, url string) bool {
	url, begins := strings.CutPrefix(url, parts[0])
	if !begins {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, rest, found := strings.Cut(url, part)
		if !found {
			return false
		}
		url = rest
	}
	return strings.HasSuffix(url, parts[last])
}
