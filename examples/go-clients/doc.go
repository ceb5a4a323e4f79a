// Package goclients runs Bayeux clients of other people, unmodified, against the broker
// binary that GOBELIN names. It is a module of its own, so that nothing of theirs is in
// the broker's go.mod:
//
//	GOBELIN=/path/to/gobelin go test ./...
package goclients
