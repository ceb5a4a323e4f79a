// Command release packs: it builds gobelin for each platform and writes archives, a bill
// of materials for each binary and their checksums into a folder (experience.md §7).
// `make release` runs it.
//
//	go build ─► binary ─┬─► its build info ─┬─► bill of materials (CycloneDX) ─┐
//	                    │                   └─► licences of the modules ───────┤
//	README, LICENSE … ──┴──────────────────────────────► archive ◄─────────────┘
//	                                                        └─► SHA256SUMS
//
// The same commit gives the same bytes, wherever and whenever it is built with the same
// Go: paths are trimmed, what git would say is given by flags instead of found by the go
// command, entries of archives are sorted and have the time of the commit, and nobody's
// user. A bill of materials is made from what the linker wrote into the binary, so it
// names what is in there and not what go.mod might have. Each of these modules has to have
// a licence that asks for nothing but to be named (licence.go), or nothing is packed; their
// texts go along as THIRD-PARTY.txt, as most of them want.
//
// One goroutine, no state. Caveats: another version of Go gives other bytes; binaries are
// not signed (the checksums are what to sign).
package main
