// Package console is the operator's page (experience.md §4) and what it asks.
//
//	GET /console/                 the page ──┐ its scripts, style, icon and client: exact
//	GET /console/*.mjs, *.css … ─────────────┘ names, embedded, no token: they hold no secret
//
//	everything else ─► gate (token) ─┬► room (4 at once) ─► route ─► broker.Operator ─► JSON
//	                                 ├► as/<app>/v1/… ─► the API, in the operator's name
//	                                 └► bayeux ─► the Bayeux endpoint
//
// The token comes in the fragment, which no browser sends to anybody; the page takes it
// out of the address bar at once, keeps it for its tab, and sends it with every request.
// Whatever the broker says is put on the page as text, never as markup, and the content
// policy lets nothing inline or foreign run (security.md §4.2 row 36).
//
// # Routes
//
// All are below /console/ and answer JSON; a refusal is {"error": text}. Parameters in
// brackets may be left out. Times are ms since 1970.
//
//	GET   overview[?since=]                 all nodes with figures and rates, the store, the
//	                                        samples of the last hour that came after since=
//	GET   channels[?search=][&limit=]       those that spoke in the last hour, newest first
//	GET   channel?channel=[&app=&object=]   one: what is kept of it, how fast it is
//	GET   density?channel=…&from=&to=[&parts=]  how many messages came in each part of a time
//	GET   sessions[?search=][&everywhere=1][&slowest=1][&after=][&limit=]
//	GET   session?id=                       one, with what it listens to
//	POST  session/end {"id"}                ends it, on whatever node
//	GET   viewers?app=&object=[&graph=]     rows [time, least, average, most]
//	GET   accumulations?app=&object=        the names of an object's
//	GET   streams                           all accounts', with where they stand
//	POST  token {"app","role","seconds",…}  a token, as the application would sign it
//	POST  token/check {"token"[,"app"]}     what it is, or which check it fails
//	POST  root/check {"root"}               what it is, and the object that it leads to
//	POST  drain                             hands the node's clients over and stops it
//
// as/<application>/v1/… is /v1/… of the broker's API, described by its openapi.json, with
// the rights of the application's server key; its audit log calls the caller operator.
// bayeux is the Bayeux endpoint: by long-polling, since a WebSocket cannot carry the
// token in a header. What is subscribed to there needs a root like anywhere else, which
// the page asks the API for and does not show.
//
// What is changed by the routes leaves a line in the audit log, as does a token that is
// made; nothing that was sent is in it.
//
// # Many nodes
//
// Each node on a shared store writes its figures into it every five seconds
// (broker.Node); the console of any node reads them all and asks no other node. Rates and
// quantiles are worked out of two looks at the totals (sample.go); the samples of an hour
// are kept by each console for itself (hour.go), ten seconds apart, so its charts begin
// when its node did. However many pages are open, the nodes are looked at once a second
// at most. Who subscribes to a channel, and what waits for a session, is known on its own
// node alone: there it is shown, elsewhere it is said so.
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
// Run is the caller's goroutine, which takes the samples. hour.turn lets one look at the
// nodes at a time; Gate.mu and hour.mu are held for moments, never while the broker is
// asked.
//
// # Caveats
//
// An address is that of the connection: behind a proxy all clients share one, so
// one guesser can keep all of them out for as long as they go on. The tokens of
// /64 networks of IPv6 share tries. How many bytes a channel has is told by the size of
// its newest messages. The page reads messages as JavaScript does: numbers beyond 2^53 in
// the tail and in a replay are rounded on the page, nowhere else; documents and
// accumulations are shown as they stand.
package console
