// Package storetest is the contract of package store as a test suite: every
// backend runs all of it (store.md §4, architecture.md §5.22). Run is the suite,
// Bench the figures that are compared between backends.
//
// Time is a Clock that the test turns, forward and back. Random tests print their
// seed; STORETEST_SEED repeats one.
package storetest
