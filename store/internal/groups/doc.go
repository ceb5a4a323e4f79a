// Package groups is what an embedded store knows of the groups that share its logs
// (store.Groups): who holds what, what was given back, and, to be kept, what is settled.
//
//	Take ──► what was given back ──► read ──► held, again
//	    └──► after next ───────────► read ──► held ──► Settle ──► gone, Encode
//	                                           └─────► Leave ───► given back
//
// n is dense within an epoch, so records that lie together and have one holder are one
// run. What is settled is what lies between the runs; Encode writes it as the place up
// to which all is settled and the ranges above it, and Parse begins there again: all
// that is not settled comes again, in order.
//
// Locks: a Group's taking is held while records are read, by Take alone; its mu for
// what is in memory, after taking. The set's mu is held for look-ups.
package groups
