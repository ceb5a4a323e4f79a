// Package store is the contract of what is kept: logs of records, tables of rows,
// series of numbers, and the feed that tells what was appended. It keeps nothing itself.
//
//	catchup, broker ──► store.Store
//	                      ├─ Log    Submit ► place ► durable ► announce ► done
//	                      │         Head, Read, Count: where a log ends, what a range shows
//	                      │         a record's Copy goes to a second log with it
//	                      ├─ Groups Take, Settle, Leave: consumers that share a log
//	                      ├─ Table  Get, Put with version and TTL, Remove, List
//	                      ├─ Series PutRows, Rows: numbers by name and time, written over
//	                      └─ Feed   Watch: every append of an object, or of all
//	                      ▲
//	      store/memory · store/disk · store/redis, each passing store/storetest
//
// The way of a record: Submit takes a place in the order of the calls; one
// committer gives it its Position and makes it durable; then reads see it, then
// watchers hear of it, then done is called, all in the order of the log. So who
// was told that something is there finds it, and live and history meet without a
// gap: an entry is the successor of the one its Prev names (store.md §5).
//
// Callbacks (done, Watcher) are called without locks by the backend's committer
// and must not block: every append waits behind them. stop of a Watch waits for a
// call under way: do not call it from the Watcher, nor while holding what the
// Watcher takes.
//
// Caveats. A position says nothing about another log. Limits are given with each
// call and are not stored with the log's meaning: read with those you append with.
// The store's clock (Now) is never before its newest record, whatever the wall
// clock does; new epochs that come faster than one a ms may run it up to a second
// ahead. A log that keeps nothing has places, but remembers neither records nor
// nonces.
package store
