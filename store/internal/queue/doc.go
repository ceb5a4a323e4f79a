// Package queue holds what was submitted to a store until its committer takes
// it. Many goroutines Push, one Takes all there is: the longer a commit lasts,
// the more the next one carries (group commit, store.md §2.2).
//
// It is bounded in count and bytes, since publishers push on it: what does not
// fit is refused with store.ErrUnavailable, at once, and counted.
package queue
