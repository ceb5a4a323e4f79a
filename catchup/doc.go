// Package catchup remembers: what was said on a channel, and how a late joiner
// hears of it.
//
//	publish ──► Encode ──► store.Log ──────────────► tail (live, in package broker)
//	                          │                        │
//	 X/catchup/6h ──► Split ──┴─► Replay (pages) ──►  Seam: each message by one of the two
//
// A channel's history is one log of the store; a record is the publisher's data,
// byte for byte, with the ext that is passed on (Encode, Decode). A catch-up is a
// name, <channel>/catchup/<interval> (Split), where the interval is a time or a count of
// messages: 6h, 50n (NewReplayNewest finds where the last fifty begin). A Replay walks a stretch of a log
// page by page and holds neither a goroutine nor entries, so that 100,000
// messages cost one page of memory and a slow reader costs nothing.
//
// A history asked for over HTTP is the same walk (Replay), or its newest end (Newest);
// a message id is its cursor, and CheckCursor says what it is worth.
//
// A client of Salesforce's kind names its place by a number, the n of a position
// (AfterNumber), and finds that number in the data it gets (AppendEvent).
//
// An accumulation (product.md §6) is a log of entries: what a viewer gave, and who the
// token said that is (EncodeEntry). Its observed time is that of the position, so an
// entry is whole only when it is read: Decode makes a message of it for subscribers,
// DecodeEntry an Entry for who pages through them. Accumulations of several objects are
// read as one by a Braid, in order of time, and a Bookmark is where such a walk goes on:
// how far each log was read lately, and a time before which all of them were.
//
// The event log of an object is not kept as such: Spans folds its events, in order,
// into what lasted from when to when, in bounded memory.
//
// A Seam decides, for one session and one channel, which positions come by replay
// and which live: one position divides them, so nothing is lost or comes twice
// whatever the order of the subscriptions (store.md §5.3). It is pure bookkeeping:
// the caller holds the lock under which the channel's newest position stands still.
//
// # Shared documents
//
//	change ──► Documents ──► row (compare-and-set) ──► store.Log ──► tail (live)
//	           Canonical, Merge       │                    │
//	           version +1             └── Read             └── Snapshot at a seam, Replay
//
// A document (product.md §7) is a row that holds its data, its version, who wrote each
// top-level member last, and the message of its last change; each change is a message
// of a log, too. The row comes first. Nobody makes version v+1 before change v is in
// the log, so the log has every version once and in order, on however many nodes; a
// change whose node died between the two is put there by whoever meets the row next.
// JSON is kept as it was written: what a merge patch does not name keeps its place and
// its text. A Snapshot is the document at a position of its log, so that a subscriber
// gets it first and then only greater versions.
//
// Conferences are the sessions of an object, in one row for each: which is open, until
// when, and which have ended. Whether one is open is worked out at each look, so nobody
// has to end those that lapse; nodes with subscribers note that they have some (Watch).
//
// # Viewer statistics
//
//	node ──PutTick──► ticks ──CloseMinute──► minutes ──► hours ──► days ──► Rows
//	CDN ──AddSamples──► seconds ──► minutes of theirs ─────┘ (joined)
//	each URL, once a day ──► index ──► URLs, and what an hour is folded of
//
// Each node writes what it counted at a sample as one row that lives two minutes, which
// is its heartbeat, too. Some node, any, adds the ticks of a minute up and writes over
// what was there (product.md §8): the same ticks give the same rows, so it may be done
// twice, by two, or again after half of it. A row that says how often was measured is
// written last; where it is missing nobody counted, where it is there and a URL has no
// row, nobody viewed that. What was counted elsewhere is kept by the second, and its
// minutes beside ours: readers join them, so neither needs the other to be there first.
//
// Hours are folded when they are over; until then readers fold them of the minutes, so
// closing a minute does not touch them (closedKey says which have closed). Rows that are
// made of others are written under settled: who was last to begin has seen everybody
// else end. So late minutes and late samples never get lost in an hour or a day, and
// nobody has to hold a lock.
//
// # Streams
//
// The log of an account has records (record.go): copies of what was kept in other logs,
// with their place there, and those that backends post. They are kept as they came and
// made into what a stream shows when they are read: id, checksum (Checksum, over the
// canonical form), created_at and version are put beside the members that are there. The
// streams of an account and their connections are one row (Streams); where each stands is
// the store's (store.Groups).
//
// Caveat: a document changes one version at a time, over all nodes; many writers of one
// document wait for each other, and beyond eight lost races are told to try again.
//
// Caveat: a replay reads only what the store still keeps. The interval is checked
// against the channel's retention before, and the store keeps a little longer than
// is promised (Grace), so what a reply counted does not expire under the replay.
package catchup
