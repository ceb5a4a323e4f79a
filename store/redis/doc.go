// Package redis keeps logs and tables in a Redis, 7.0 or newer, that many nodes use
// at the same time: standalone, behind Sentinel, or a Cluster (store.md §3).
//
//	Submit ─► gather (lanes: queue ─► committer) ─► EVALSHA append.lua, one for each
//	             │    ▲                              log, in one pipeline
//	         expiring └── retry, marked by a tag       │ position, record, trims,
//	             ▼                                     │ expiries, index, PUBLISH
//	            done ◄──────── answers ◄───────────────┘        │
//	Read, Count, Head ─► view ─► window.Of             │        ▼
//	Get, Put, Remove, List ─► rows                     │  ears ─► Watcher
//	Take, Leave, Seek ─► scripts; Settle ─► XACK       ▼
//	                     pump, on one node ◄──────── outbox, if the record has a Copy
//	                       └─► EVALSHA move.lua + append.lua, on the log of the copies
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
// A record's Copy is written by the call that writes the record, into the outbox of its
// partition: a stream of all copies of the partition that have not reached their log. The
// pump of the node that has the lease (one key, 3 s) moves them on, in order, and deletes
// them when they have arrived. That it may stop anywhere, that two may believe to have
// the lease, and that an outbox may lose its end in a failover is met by a mark for each
// partition beside the log of the copies, which is written in the same step as they are:
// the newest copy that arrived, and the fence of the pump. A fence is raised before what is
// moved under it is read; who comes with a smaller one is refused. So time plays no part.
// The pump is woken by a message when an outbox is not empty any more, and looks into all
// of them every two seconds besides.
//
// A group is a consumer group of the log's stream. take.lua reads the stream itself and
// enters what it hands out by XCLAIM, with a mark of its call as the count of deliveries:
// so it skips what limits and redactions hide, and a call of which the reply was lost
// finds what it took. What is given back is a consumer's that nobody is.
//
// Goroutines: one committer for each lane (one lane, or 16 in a cluster), and while a
// flight is out a timer that settles those who have waited for PublishTimeout. The
// clock, the breaker, the ears and the pump have theirs. Close ends them all.
//
// Lock order: pump.mu stands alone; lane.mu is held for queueing only; nothing is called with it. The mutex
// of a flight's timer comes before it.
//
// Caveats. Ages on reading are judged by this node's idea of the primary's clock, on
// appending by the primary's. Where keys may be evicted, a log may lose its records
// (a fork) or its meta (it goes on). While a slot of a cluster moves, calls whose keys
// are on both sides are refused by Redis; they are tried again until PublishTimeout.
// A Put whose reply was lost is store.ErrUncertain: it is not sent again. Ack
// "replica" is for appends only. Redacted records are hidden, and leave the memory
// with the stretch of the log they lie in. A copy that its log refuses holds up those
// behind it in its outbox when a thousand of them wait. In a cluster, where Ack is
// "stored", a failover of the primary that has the account's log may lose copies that had
// arrived, as it may lose records; a group that was made, moved or settled in what a failover lost is where it
// was before.
package redis
