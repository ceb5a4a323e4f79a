// Package disk keeps everything in one folder, in one database of the embedded
// engine (pebble). What is acknowledged, and what a watcher hears of, is on the
// disk (store.md D1).
//
//	Submit, Put, … ──queue──► committer ──► batch ──fsync──► heads ──► watchers ──► done
//	                                          └ a record's Copy is in the batch of its record
//	Take ──► groups ──► Read;  Settle, Seek, Drop ──► groups ──queue──► committer
//	Read, Head, Count ──► heads (where the log ends) ──► database
//	Get, List, Rows ───────────────────────────────────► database
//	sweep ──queue──► committer (expired buckets, idle logs, nonces, rows)
//	watchdog ──► left: below the floor appends answer ErrFull, below half of it puts, too
//
// A snapshot links the engine's files into the folder snapshot, for a backup of a store
// that goes on; Count reads such a folder.
//
// Goroutines: the committer, the sweep and the watchdog, one each per Store, and
// the engine's own. Close settles what was submitted, then ends and awaits them.
// Only the committer writes, so a compare-and-set needs no lock; callbacks (done,
// watchers) are called by it, without locks, and must not block: all appends wait
// behind them.
//
// Locks: life (held for reading by every read, for writing by Close) before
// heads.mu. Neither is held while a callback runs. A group's locks
// (store/internal/groups) come before life; the committer takes its mu and that of the
// set, which nobody holds while reading.
//
// Layout (keys.go): records lie in time buckets by retention class, so that what
// expires goes with one range delete for each bucket; reads clip to the exact age
// and length. A record's class follows from the age limit it was appended with; a
// log whose limits change class has several spans. A mark names each log once per
// bucket: so the sweep finds the channels whose last bucket went without a scan. In
// the same way an index names each log once per minute in which it was appended to,
// for the last hour: it is what Spoke reads. Rows of series lie in time buckets by
// grain, each with a mark that says until when it is kept.
//
// Caveats. Logs that keep nothing touch the disk once a second at most, for the
// mark; their nonces are not remembered, and after a restart, or when their head
// has fallen out of memory, they begin a new epoch. Get shows a row a moment
// before Put has returned. Limits given on reading that are longer than those
// given on appending show what happens to be there still. When the engine cannot
// write its log (disk broken or full in spite of the watchdog) the process ends
// with exit code 74: what it would acknowledge from then on could be lost.
package disk
