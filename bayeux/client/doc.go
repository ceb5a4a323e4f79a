// Package client talks to a Bayeux server: it keeps one session alive over
// WebSocket or long-polling, publishes, and hands what arrives to handlers. It is
// what the command line, the load generator and the tests use, and it works with
// any Bayeux 1.0 server.
//
//	c, err := client.New(client.Options{URL: "http://127.0.0.1:8000/faye"})
//	defer c.Close(ctx)
//	sub, err := c.Subscribe(ctx, "/chat/room", func(m client.Message) { … })
//	ack, err := c.Publish(ctx, "/chat/room", map[string]string{"text": "hello"})
//
// # The way of the data
//
//	Publish, Subscribe ──► pending, outbox ──► writer ──► link ──► server
//	       ▲                    │                          │
//	       └──── reply ◄────────┴──── receive ◄── reader ◄─┘
//	                                     │
//	                                     └──► inbox ──► dispatcher ──► handlers
//
// The client starts by itself: the first Connect, Subscribe or Publish starts it,
// Close ends it and waits. A link is one connection's worth of transport; when it
// breaks the runner waits (exponential backoff with jitter, never less than the
// server's advice.interval) and opens the next. While the server knows the
// session, what had no answer is sent again with the same message id, which the
// server takes once. When the session is gone the client handshakes and
// subscribes everything again, catch-up channels first, so that the past
// comes before the live. What a live channel with a history missed between the
// sessions is asked for as a catch-up of the time away and a minute, and handed
// out under the live name to those who had messages of it before. A subscription by
// replay id (SubscribeFrom) goes on behind the newest message that came.
//
// # Repeats
//
// A server may send a message again after a broken link, and a catch-up channel
// is replayed whole after a new handshake. A message that carries a position
// (ext.history.id, or a ULID as its id) is given to a subscription once; after a
// new handshake also not to one whose channel has the same base (X and
// X/catchup/6h) as another that had it. What was seen is kept as ranges of
// positions for each base channel plus the newest 1,000 that have no neighbour: a
// message is never dropped for being older than another. Messages without a
// position are never dropped, since their ids need not be unique.
//
// # Goroutines
//
// The client: a runner and a dispatcher, both ended by Close. Each link: a
// writer, and a reader (WebSocket). The runner starts and waits for all of them.
// All handlers and OnState run on the dispatcher, one at a time, in the order of
// arrival.
//
// # Locks
//
// Client.mu before inbox.mu; neither is held while calling a handler or the
// network, or while waiting.
//
// # Caveats
//
//   - With Options.Ack a message is acknowledged once it is in the inbox. So a slow
//     handler holds the server up, and what the inbox holds when the process ends is gone.
//   - A handler that is slow fills the inbox; then the client stops reading, and
//     the server holds back or drops by its own policy. A handler may publish and
//     wait: while calls are waiting the inbox grows to four times its bound before
//     reading stops; give such calls a context with a deadline all the same. What
//     was read from a link that broke meanwhile is taken up to eight times the
//     bound.
//   - Close waits for the handler that is running, so a handler must not call it
//     with a context that never ends.
//   - When the session was lost between a publish and its answer, the publish is
//     sent again on the next session, where the server cannot recognise it:
//     at least once. Put an id of your own into the data where that matters.
//   - Over long-polling, a client that resumes its session stays Connecting until
//     its poll is answered, which a quiet server holds for advice.timeout; what is
//     published and delivered goes through meanwhile.
//   - Message.Data and Message.Ext alias the frame they came in; copy a small one
//     that is kept for long out of a big frame.
package client
