// Package storetest is the contract of package store as a test suite: every
// backend runs all of it (store.md §4, architecture.md §5.22). Run is the suite,
// Bench the figures that are compared between backends.
//
//	Run ──► Open ──► backend          hooks of Options ──► StartRedis, StartSentinel,
//	         └─ follower per feed                           StartCluster, Dropper
//
// The starters give a test servers of its own; Dropper stands between them and their
// clients and loses what networks lose. Both are used by tests of other packages, too.
//
// Time is a Clock that the test turns, forward and back; a backend with a clock of
// its own (Options.OwnClock) is tested by what its clock says, never by how long
// something took. Random tests print their seed: STORETEST_SEED
// repeats one, STORETEST_SEEDS says how many, STORETEST_STEPS how long they are.
//
// Goroutines: each server has one that waits for its end; a Dropper has two for each
// connection, which its Close awaits; the suite's end with the test that began them.
package storetest
