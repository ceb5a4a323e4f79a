// Package console shows what the broker does now: one embedded page and the
// figures it draws (experience.md §4, the overview of it).
//
//	GET /console/          the page ──┐ its scripts, style and icon: exact names,
//	GET /console/console.css, *.mjs ──┘ embedded, no token: they hold no secret
//	GET /console/overview  gate (token) ─► room (4 at once) ─► Options.Overview ─► JSON
//
//	#token=… ─► sessionStorage ─► Authorization: Bearer … ─► once a second while the
//	page is visible ─► history of 5 minutes ─► figures, rates, charts
//
// The token comes in the fragment, which no browser sends to anybody; the page
// takes it out of the address bar at once. Whatever the broker says is put on the
// page as text, never as markup, and the content policy lets nothing inline or
// foreign run (security.md §4.2 row 36).
//
// # The gate
//
// A token is compared by hash, in constant time. A wrong one costs its address a
// try; with no tries left every request of the address is answered 429, the right
// token too, for otherwise guessing would not be slowed. A request without any
// token is 401 and costs nothing: it is no guess, and a hostile page in the
// operator's own browser can send no other, so it cannot lock the operator out. The node uses the
// same gate for what else is the operator's alone on the admin listener.
//
// # Goroutines and locks
//
// The package starts no goroutine. Gate.mu is held for a look into a map, never
// while Options.Overview is called.
//
// # Caveats
//
// An address is that of the connection: behind a proxy all clients share one, so
// one guesser can keep all of them out for as long as they go on. The tokens of
// /64 networks of IPv6 share tries. The history is the page's own: a reload
// begins a new one.
package console
