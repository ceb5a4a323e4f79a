// Command go publishes to a broker over HTTP, with the standard library alone.
//
//	main ─► publisher.call ─► POST ─► 2xx: done
//	             ▲                    429, 503, 504, no answer: the same bytes again
//	             └────────────────────┘
//
// One goroutine, no locks. Caveat: without an Idempotency-Key a retry after a lost
// answer may store a message twice.
package main
