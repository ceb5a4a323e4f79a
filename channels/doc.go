// Package channels names: checked channel names and patterns, the tree from
// patterns to subscribers, and the signed roots that make a name a capability.
//
//	text from a peer ──Parse──────────► Name ────┐
//	                 ──ParsePattern──► Pattern ──┼──► Tree.Match ──► values, each once
//	                                             │
//	first segment ──IsRoot──► Keyring.Verify ────┴──► key, class, oid
//
// A [Name] or [Pattern] can only be made from text that keeps to the grammar
// (bayeux-faye.md §5), so whoever holds one need not check again. How long a
// name may be and how many segments it may have is the caller's policy; a hard
// cap of 4 KiB bounds what any caller can let through.
//
// A [Tree] holds values (sessions, say) under patterns and yields for a name
// each value once. A [Keyring] makes and checks roots (security.md §1); it never
// changes, rotation puts another in its place.
//
// # Goroutines and locks
//
// The package starts no goroutine. Names, patterns and keyrings are immutable
// and safe for any number of goroutines. A Tree has one lock of its own, held
// for reading while Match calls its visitor: a visitor may take locks that come
// after Tree.mu in the order of the broker (subscriber, session), must not
// block, and must not call Add or Remove of the same tree.
//
// # Caveats
//
// A Name keeps the text it was parsed from alive. One that was cut out of a
// large frame and is kept for long should be parsed from a clone; a Tree clones
// what it keeps by itself.
//
// The map of a node's children does not shrink while one child is left, as Go
// maps do not; a tree remembers the largest crowd it has seen below one node.
//
// The alphabet of roots is a part of that of names, so a root is told from an
// ordinary segment by [IsRoot] alone, and such a segment is always meant as one.
package channels
