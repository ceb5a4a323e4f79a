// Package clock gives the records of an embedded store their ms: never backwards
// in the whole store, and for a new epoch later than all before it (store.md D4).
//
// One goroutine at a time draws times (the store's committer, or under the store's
// lock); any may read Now. The clock
// does no I/O: the owner keeps a mark on stable storage that is at least as
// great as every ms drawn, and hands it to New after a restart.
package clock
