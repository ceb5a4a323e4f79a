// Package memory keeps everything in the memory of the process, for tests and for
// a broker that is started with --memory: nothing survives Close.
//
//	Submit ──queue──► committer ──► logs ──► watchers ──► done
//	             └── Copy ─────────► logs: in the same step as its record
//	Read, Head, Count ─────────────► logs
//	Take, Settle, … ──► groups ────► Read
//	Put, Remove, Redact, Delete ───► logs, tables
//	PutRows, Rows ─────────────────► series
//	sweep, each minute ────────────► logs, tables, series, nonces
//
// Goroutines: the committer and the sweep, one each per Store; Close ends and
// awaits both, so a store fits into a testing/synctest bubble. One mutex guards
// all that is kept; it is held for map look-ups and slice arithmetic only, never
// while a watcher or a done is called. A group's locks (store/internal/groups) come
// before it, but for the deletion of a log, which takes that of their set alone.
//
// What is kept is bounded by Options.MaxBytes, an estimate of the heap in use;
// above it appends and puts answer store.ErrFull, after one attempt to sweep.
// Nonces of logs that keep nothing are not remembered, and neither is what was
// kept when the process ends.
package memory
