package main

import (
	"slices"
	"strings"
)

// suggestion returns "; did you mean X?" for the known name nearest to what was
// written, or "" when none is near.
func suggestion(written string, known []string) string {
	best, least := "", max(2, len(written)/3)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := editDistance(strings.ToLower(written), k); d < least {
			best, least = k, d
		}
	}
	if best == "" || least >= len(written) {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance counts the insertions, deletions, changes and swaps of neighbours
// that lead from a to b.
func editDistance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	this := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		this[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			this[j] = min(last[j]+1, this[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				this[j] = min(this[j], before[j-2]+1)
			}
		}
		before, last, this = last, this, before
	}
	return last[len(b)]
}
