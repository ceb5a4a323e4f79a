// Package bayeux speaks the protocol of Faye and CometD, as a server library that
// knows no store and no policy: what is not protocol it asks of a Handler.
//
//	WebSocket      long-polling, callback-polling      EventSource
//	(socket)       (request, poll)                     (stream)
//	    │ frame            │ body                          ▲
//	    ▼                  ▼                               │
//	  decode ──► Message ──► dispatch ──► SessionHandler   │
//	                            │            │ Deliver     │
//	                         replies         ▼             │
//	    ▲                       │         Session ──► link (wake)
//	    └────── one array ◄─────┴── take ── outbox ◄── Puller (pages)
//
// A Session is the server's side of one clientId and outlives its connections. A
// connection that serves it is its link: it is woken when there is something, takes
// deliveries from the outbox, and gives them back when it breaks. In every array
// deliveries come first, then replies, then the answer to a connect.
//
// What was handed to a connection is kept until it is known to have arrived: over
// long-polling the next connect tells, over WebSocket the pong to a ping that went
// after the deliveries (decided.md 4). A ping asks only for what was written whole
// before it. An EventSource has no way to tell: what was written counts as arrived.
//
// A publish to /service/** is a remote call: what the application answers is a message of
// the same channel and id, right before the reply, on the connection that it came by. It
// passes no outbox, so a client whose link breaks there asks again.
//
// What a replay has read is queued, and written, in turn (turn.go): of all sessions that
// replay only a few at a time have a writer that is ready to run, so that what is live
// never waits behind a herd of late joiners. Who waits for his peer holds no turn.
//
// # Compression
//
// Off unless asked for (deflate.go, decided.md 11). A delivery is compressed by the first
// writer that needs it so, for all connections: they keep no context between messages. Its
// blocks end at a byte, and so stand in a frame beside those of others as they are, between
// blocks that are not compressed, of which replies are. What a peer sends is bounded as it
// is inflated.
//
// # CometD's extensions
//
// With the ack extension (ack.go) deliveries leave with the answers to connects only, over
// a WebSocket, too: the outbox's sent is what the newest answer brought, it has a number,
// and goes again as it was until a connect names that number. So it does not matter which
// connection, or which server, an answer went by; a BatchHandler writes it down first.
// timesync.go, lazy.go and activity.go are small and stand for themselves.
//
// # Storms
//
// Only so many sessions are made or taken up at once (admission.go); others wait in two
// lines, of which those who resume come first, three to one. Who finds no place is told
// when to come again. What waits for all sessions together is measured when the heap is
// large enough for it to matter (queue_memory.go), and then no session is added.
//
// # Many servers
//
// A session lives on one server at a time. Who knows where is the Resumer:
//
//	connect, stream         ──► Resume ── Release on the other server ──► Close(moved)
//	of a session elsewhere         │                                         │ Left
//	                            TakeUp ◄──────────── wire ◄──────────────────┘
//	subscribe, unsubscribe, ──► Forward ── ParseForwarded, Carry on the other server
//	disconnect
//	publish                 ──► Handler.Publish
//
// Connects are told apart by their ids, which clients count up (Ordinal). One that is
// older than the newest is answered with nothing, wherever it comes: it is a copy that its
// client gave up, and the next connect would tell that what it took has arrived. One that
// is the newest again is answered as that was, with nothing more; the first of the two is
// cut off if it has no answer yet. A client whose ids begin anew is served after a few.
//
// From its end until its Close has returned, a session that moved or was shut down
// stands still: it queues, and hands out nothing. Only then may it come back here.
//
// # Goroutines
//
// A WebSocket has one that reads, and one that pulls pages only while a session of it has
// room for them. What it writes a scribe writes, one for each core and many sockets, which
// waits for no peer; a socket has a writer of its own only while its peer does not take
// what is written, or where the connection is none of the kernel's (TLS). Beneath gorilla
// is a line: it reads what has come into a borrowed buffer, and keeps frames whole. A poll
// and a stream use their request's own. A session has none, and one
// timer, as has a WebSocket. Shutdown waits for all of them; when its time is up it
// cuts whatever reads or writes.
//
// # Locks, in the order in which they are taken
//
//	Session.turn → (the application's) → Session.mu → socket.mu → Server.mu
//	admission.mu, queueMemory.mu (and Session.mu inside it): none of the others around them
//
// Session.mu and socket.mu are held for moments, without callbacks or I/O inside
// (join and leave of a link, which take socket.mu, are called with Session.mu held);
// Session.turn serialises the calls on one SessionHandler. Deliver and Replay take
// Session.mu only and may be called with the application's locks held.
package bayeux
