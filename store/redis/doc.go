// Package redis keeps logs and tables in a Redis, 7.0 or newer, that many nodes use
// at the same time: standalone, behind Sentinel, or a Cluster (store.md §3).
//
//	Submit ─► gather (lanes: queue ─► committer) ─► EVALSHA append.lua, one for each
//	             │    ▲                              log, in one pipeline
//	         expiring └── retry, marked by a tag       │ position, record, trims,
//	             ▼                                     │ expiries, index, PUBLISH
//	            done ◄──────── answers ◄───────────────┘        │
//	Read, Count, Head ─► view ─► window.Of                      ▼
//	Get, Put, Remove, List ─► rows                    ears ─► Watcher
//
// A log is a stream of its own and a meta of 60 bytes: last position, where its epoch
// began, what else appending needs (append.lua). Everything of a feed lies in one of
// 64 partitions, one slot of a cluster, and each script call stays in one. A log is
// readable in one epoch only; a new one begins when it was idle or deleted, or when
// nothing of it is left.
//
// The rows of a series lie in hashes, one for an hour, a day or a month; what expires is
// a hash. PutRows is plain commands in a pipeline: writing again changes nothing.
//
// A call of append.lua writes all of its records or none: its first write is the one
// that a full memory refuses. It carries a tag, which its entries keep. When it was
// not answered, it is sent again with the time of its first attempt, and looks for
// its tag from there on; so a retry writes nothing twice. What keeps nothing is not
// sent again. One flight at a time is out in a lane, with one call for each log, so
// the order of a log survives retries.
//
// Goroutines: one committer for each lane (one lane, or 16 in a cluster), and while a
// flight is out a timer that settles those who have waited for PublishTimeout. The
// clock, the breaker and the ears have theirs. Close ends them all.
//
// Lock order: lane.mu is held for queueing only; nothing is called with it. The mutex
// of a flight's timer comes before it.
//
// Caveats. Ages on reading are judged by this node's idea of the primary's clock, on
// appending by the primary's. Where keys may be evicted, a log may lose its records
// (a fork) or its meta (it goes on). While a slot of a cluster moves, calls whose keys
// are on both sides are refused by Redis; they are tried again until PublishTimeout.
// A Put whose reply was lost is store.ErrUncertain: it is not sent again. Ack
// "replica" is for appends only. Redacted records are hidden, and leave the memory
// with the stretch of the log they lie in.
package redis
