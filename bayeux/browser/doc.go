// Package browser serves pages: it holds the scripts a page loads from a Gobelin
// server, as they are sent.
//
//	/faye/client.js   ClientJS   our own client with the Faye client's interface
//	/faye/client.mjs  ClientMJS  the same as an ES module
//	/faye/history.js  HistoryJS  an extension for the original Faye client
//
// They are plain ES2020 without dependencies. The sources are pieces, one noun each
// (error, events, seen, subscription, transport, client; history), which are joined
// without their comments; client.d.ts has the types. The scripts also load in
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
// One transport at a time: a WebSocket; where none can be opened, long-polling by
// fetch; where a page may not fetch from the server (it was opened from disk, or is in
// a sandboxed frame), script elements. When it breaks the client waits (doubling from
// options.retry, 1 s, to 30 s, at random between half and whole, never less than
// advice.interval) and opens the next.
//
// # A lost session
//
// After a new handshake all channels are subscribed again, and nothing that was had is
// replayed. Each subscription knows the newest message it was given, or where it
// began (at; the server says so in the acknowledgement's ext.history.last). A live channel
// with a history is asked for what followed as a catch-up of its own with
// ext.catchup.after, whose messages are handed out under the live name, before the live
// ones. A catch-up channel that had come whole beside its live one is not asked for
// again; one that broke off goes on behind at. Only where that is not known (nothing had
// come, or two listeners share a past that was not complete) it is replayed whole and
// compared with what was seen.
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
//   - What is heard by a pattern only is not asked for what was missed between two
//     sessions.
//   - The options proxy, tls, scheduler and websocketExtensions are not taken.
//   - EventSource is not used: wherever it works long-polling does, which loses nothing
//     when a link dies. Cookies are not sent.
//   - Over callback-polling one message has room for about 12,000 characters.
package browser
