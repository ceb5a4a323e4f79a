// Package api answers HTTP: the broker's own /v1 endpoints (product.md §9) and
// those of the systems whose clients it serves, one file per surface.
//
//	request ── origin.go ── rate.go ── route by path and method ── surface
//	            (CORS)     (429, 401)      (404, 405)                │
//	                                                                 ▼
//	reply.go ◄── *broker.Error or a value ◄── Service (the broker) ◄── body.go
//
// A surface takes a request apart, checks that the caller may act on the object
// at all, calls the Service and returns what to answer; it never writes to the
// connection itself. An answer may be lines that are read while they are written, at
// the peer's speed (lines.go): what is long is never in memory whole, and one that
// could not be finished is cut off, not ended. Bodies are read exactly: names are case-sensitive,
// duplicates and unknown fields are refused, data stays the bytes that were sent.
//
// Accumulations (accumulate.go) are answered as the kits that fill them expect: the
// body of a post is JSON whatever its type, the answers have their own shapes, and what
// a kit asks before (extension.go) is there, tokens for trying out in a sandbox only.
//
// openapi.json describes every route; a test compares it with the table of routes and
// with what they answer to its examples.
//
// Rights: what belongs to an object needs a level on it (broker.Identity.LevelFor);
// roles up to broadcaster have one on their token's object only, and get 403 for
// any other before anybody looks whether it exists. Ids in bodies never widen a
// token (security.md §4.3, 38). The control root is shown from admin up.
//
// Who calls (caller.go) is a token, the server key, or a signature over the request,
// which is taken for reading and publishing: its nonce is an Idempotency-Key. What
// administrators do leaves one line in the audit log (audit.go).
//
// Viewer statistics are asked for with a command that its account signs inside
// (stable.go, viewer_log.go): headers are no credentials there, a refusal has status 200,
// as the source's clients look into the body only, and rows are written while they are
// encoded. A chart of them (chart.go, drawn by package chart) is a page or an image whose
// root in the path is all the credential there is, and the only thing here that other
// pages may frame.
//
// Goroutines: none of its own; each request runs in the server's. Locks: the rate
// limiter's, held for a map look-up and never while something is called.
//
// Data (data.go) is the exception: a document's body is not taken apart here, since it
// is the caller's own JSON, and the broker says who may (product.md §7). An application
// that is suspended is refused before its route is looked at, but for taking it back.
//
// Streams (stream.go) are for holders of an account's stream_token alone, which is in
// the query, for so their known clients send it. Refusals have the form those know
// (broker.StreamError). The answer of a connection is server-sent events that go on until
// the peer leaves (events.go): each write has a deadline of a quarter of an hour, since
// who reads slowly is waited for.
//
// Nothing here logs a header, a query or a body.
package api
