// Package catchup remembers: what was said on a channel, and how a late joiner
// hears of it.
//
//	publish ──► Encode ──► store.Log ──────────────► tail (live, in package broker)
//	                          │                        │
//	 X/catchup/6h ──► Split ──┴─► Replay (pages) ──►  Seam: each message by one of the two
//
// A channel's history is one log of the store; a record is the publisher's data,
// byte for byte, with the ext that is passed on (Encode, Decode). A catch-up is a
// name, <channel>/catchup/<interval> (Split). A Replay walks a stretch of a log
// page by page and holds neither a goroutine nor entries, so that 100,000
// messages cost one page of memory and a slow reader costs nothing.
//
// A history asked for over HTTP is the same walk (Replay), or its newest end (Newest);
// a message id is its cursor, and CheckCursor says what it is worth.
//
// The event log of an object is not kept as such: Spans folds its events, in order,
// into what lasted from when to when, in bounded memory.
//
// A Seam decides, for one session and one channel, which positions come by replay
// and which live: one position divides them, so nothing is lost or comes twice
// whatever the order of the subscriptions (store.md §5.3). It is pure bookkeeping:
// the caller holds the lock under which the channel's newest position stands still.
//
// Caveat: a replay reads only what the store still keeps. The interval is checked
// against the channel's retention before, and the store keeps a little longer than
// is promised (Grace), so what a reply counted does not expire under the replay.
package catchup
