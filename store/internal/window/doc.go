// Package window says which stretch of a log a range shows under its limits, in
// the same words for every embedded backend: age and length exact, what was
// trimmed, what was forked (store.md §4). It is arithmetic on positions; the
// backend lends it the few look-ups it needs.
//
// A backend may delete from the old end of a log what no limit shows any more,
// with one rule: below the length limit it keeps at least one record more than
// the limit, and that one is how Of tells "trimmed" from "never there".
package window
