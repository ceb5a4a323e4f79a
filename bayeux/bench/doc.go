// Package bench measures a Bayeux server from outside: it loads one of any make
// with many clients and counts what arrives, when, and whether it is all there
// once and in order (performance.md §1, §4).
//
//	scenario ──► session ──► road: socket (WebSocket) or poller (long-polling)
//	   │            │                     │ bytes
//	   │ sends marks│                     ▼
//	   │            │                  scanner ──► marks ──► tally    (lost, twice, out of order)
//	   │            └────────────────────────────────────► clock    (latency)
//	   └──► process (CPU, RSS of the server) ──► Report
//
// Each message carries a mark: run, publisher, sequence number and intended time of
// sending, of fixed width. Receivers find marks by scanning bytes, so that the
// generator costs less than the server; JSON is only parsed while a session is set
// up, and again when an answer says that something failed.
//
// Latency is from when a message was to be sent, not from when there was room to
// send it, so that a server that stands still is charged for all that waited
// (coordinated omission). In a closed loop the two are the same.
//
// # Goroutines
//
// One reads for each session; a scenario's own goroutine publishes, or the readers
// do when an acknowledgement comes, or, in rooms, a few who share the clients. One looks at the server's process. Run waits for
// all of them.
//
// # Locks
//
// One for each socket's writing, one for each shard of the clock. None is held
// while another is taken. A tally belongs to the goroutine that reads for it.
//
// # Caveats
//
// The reader believes that a mark is written as it was sent: a server that escapes
// or re-encodes strings of letters and digits cannot be measured. Servers with rate
// limits measure their limits. Figures of two machines cannot be compared; ratios
// of two servers on one machine can.
package bench
