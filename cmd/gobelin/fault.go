package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// place is where a value was written: a file's line, an environment variable, a
// flag, or nowhere (a default).
type place struct {
	source string
	line   int // 0: not from a file
}

// String returns "gobelin.yaml:12", "GOBELIN_LISTEN", "--listen" or "default".
func (p place) String() string {
	switch {
	case p.source == "":
		return "default"
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.source, p.line)
	}
	return p.source
}

// fault is one thing wrong with a configuration.
type fault struct {
	at   place
	key  string
	text string
}

// String returns "gobelin.yaml:12: limits.queue: must be …".
func (f fault) String() string {
	parts := make([]string, 0, 3)
	if f.at.source != "" {
		parts = append(parts, f.at.String())
	}
	if f.key != "" {
		parts = append(parts, f.key)
	}
	return strings.Join(append(parts, f.text), ": ")
}

// faults is everything wrong with a configuration, told at once.
type faults []fault

// Error returns one line per fault.
func (fs faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

func (fs *faults) add(at place, key, format string, args ...any) {
	*fs = append(*fs, fault{at: at, key: key, text: fmt.Sprintf(format, args...)})
}

// sorted orders faults of files by line and keeps the others in front as they came.
func (fs faults) sorted() faults {
	slices.SortStableFunc(fs, func(a, b fault) int { return cmp.Compare(a.at.line, b.at.line) })
	return fs
}

// faultRow is a fault in JSON.
type faultRow struct {
	At   string `json:"at"`
	Key  string `json:"key"`
	Text string `json:"text"`
}

// rows returns the faults as JSON shows them, an empty list for none.
func (fs faults) rows() []faultRow {
	rows := make([]faultRow, len(fs))
	for i, f := range fs {
		rows[i] = faultRow{f.at.String(), f.key, f.text}
	}
	return rows
}

// err returns the faults as an error, nil when there are none.
func (fs faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}
