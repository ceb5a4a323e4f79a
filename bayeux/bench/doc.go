// Package bench measures a Bayeux server from outside: it loads one of any make
// with many clients and counts what arrives, when, and whether it is all there
// once and in order (performance.md §1, §4).
//
//	scenario ──► session ──► road: socket (WebSocket), poller (long-polling), poster (API)
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
// do when an acknowledgement comes, or, in rooms, a few who share the clients. In a
// storm each client has one to come back. One looks at the server's process. Run waits
// for all of them.
//
// # Locks
//
// One for each socket's writing, one for each shard of the clock. None is held
// while another is taken. A tally belongs to the goroutine that reads for it.
//
// # Which servers
//
// Catchup and herd need channels of the past (<channel>/catchup/<interval>), publish
// over the API needs /v1/publish. All else is plain Bayeux: a storm resumes a session by
// a connect with its clientId on a new connection, as Faye's and CometD's clients do,
// and shakes hands anew where the server says so.
//
// # Caveats
//
// An audience (herd, storm) is heard by the same process as the herd: near the
// generator's limit its latency is the generator's.
//
// The reader believes that a mark is written as it was sent: a server that escapes
// or re-encodes strings of letters and digits cannot be measured. Servers with rate
// limits measure their limits. Figures of two machines cannot be compared; ratios
// of two servers on one machine can.
package bench
