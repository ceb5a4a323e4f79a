// Package signed signs JSON objects inside of themselves, and checks such signatures
// (security.md §2.1): the member "signature" is base64 of HMAC-SHA256 over the rest of
// the text.
//
//	received bytes ── Parse ──► Body ── Verify(secret) ──► Members (the command)
//	                   │ cut "signature" out, byte for byte
//	                   └ one parse for both: what was verified is what is obeyed
//
// Never over JSON that was written anew: each language writes it in its own way (PHP
// escapes slashes and all that is not ASCII), so the bytes that came are what was
// signed. The member may stand anywhere; with it goes the comma before it or, where it
// is first, the comma and the blanks after it.
//
// Nothing is kept between calls; a Body points into the text that was parsed.
package signed
