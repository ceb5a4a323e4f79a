// Package browser serves pages: it holds the scripts a page loads from a Gobelin
// server, as they are sent.
//
//	/faye/client.js   ClientJS   our own client with the Faye client's interface
//	/faye/history.js  HistoryJS  an extension for the original Faye client
//
// Both are plain ES2020 without dependencies or a build step (client.d.ts has the
// types of the first, for who writes TypeScript); they also load in
// Node as CommonJS modules, which is how their tests run (client.test.mjs, started
// by browser_test.go; fake.mjs is the server they talk to).
//
// # The way of the data, in client.js
//
//	subscribe, publish ─► extensions ─► queue ─► transport ─► server
//	                                     ▲ sent again after a broken link
//	pending ◄── replies ── extensions ◄── transport ◄── server
//	seen    ◄── messages ─────┘
//	   └─► subscriptions whose channel or pattern matches
//
// One transport at a time: a WebSocket, or, where none can be opened,
// long-polling by fetch. When it breaks the client waits (doubling from
// options.retry, 1 s, to 30 s, at random between half and whole, never less than
// advice.interval) and opens the next. After a new handshake all channels are
// subscribed again, catch-up channels first; what a live channel with a history
// missed meanwhile is asked for as a catch-up of the time away and a minute, and
// handed out under the live name (best effort: a client that lagged by more than
// that minute may miss the difference).
//
// # Repeats (decided.md 10)
//
// Both scripts remember, for each base channel (X for X/catchup/6h), ranges of the
// positions that message ids stand for, and the newest 1,000 ids that came without
// a neighbour. client.js knows its subscriptions, so a new listener on a catch-up channel is shown the whole
// past, and only what is subscribed again after a new handshake is compared with
// what the base channel had. history.js sees messages alone: two listeners on one
// catch-up channel share one showing, until the channel is unsubscribed.
//
// # Caveats
//
//   - A refusal with advice.reconnect "none" ends the client and rejects all that
//     waits; Faye leaves promises open.
//   - The options proxy, tls, scheduler and websocketExtensions are not taken.
//   - EventSource, JSONP and cookies are not used.
package browser
