// Package feeds tells the watchers of a store what was committed.
//
//	committer ──Announce──► watch (one feed)   ──► Watcher.Entries
//	                   ├──► watch ("…/")       ──► Watcher.Entries
//	                   └──► watch (AllFeeds)   ──► Watcher.Entries
//
// Announce is called by one goroutine, the committer, in commit order. Each watch
// has a lock that is held while its watcher is called: that makes Ready the first
// call, and lets stop wait for a call under way. So a watcher must not call its own
// stop, and whoever calls stop must hold no lock that the watcher takes. The set of
// watches has a lock of its own, under which nothing is called. Lock order: a
// watch's lock, then the set's.
package feeds
