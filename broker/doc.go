// Package broker decides: who may do what, where a message takes its place, and
// who hears of it. It speaks no protocol and opens no file.
//
//	bayeux.Server ─ Handler ─► Broker ──────► publishMessage ─► store.Submit
//	      ▲                      │ Handshake        (rights)        │ committed
//	      │ SessionHandler       ▼                                  ▼
//	      └──────────────── subscriber                       hub.Entries (queues only)
//	                          │  listeners                          │
//	                          │    seams   ◄──── offer ◄── topic ◄─ shard
//	                          ▼                                (encode once per root)
//	                        flow ── Pull ──► bayeux.Session
//
// A name is resolved to a target (access.go): an open channel, or a channel below a
// verified root, with its kind (kind.go) and what the asker may do there. From there
// on only the topic counts, never the root: all roots of an object share one
// history and one fan-out.
//
// There is one road for a message: into the log, and from the log's tail to those
// who listen. A shard's goroutine takes it to the topic, which finds listeners in
// the tree of its space (an object, or all open channels) and hands each a pointer
// to the same bytes.
//
// A catch-up never blocks that road. A subscriber that asks for one, or whose queue
// is full, gets a flow: a puller that the transport reads at the client's speed,
// first the past that was asked for, then what was live meanwhile, until it is level
// with the topic. While a flow of a topic exists, the topic queues nothing for that
// listener; which positions come which way is kept by catchup.Seam.
//
// A herd of late joiners reads and encodes each page of history once (pages.go): a page is
// known by its log, the name it was asked for under and where it begins, and is forgotten
// when records of the log are taken away, on this node or another (rewrote).
//
// A subscription by replay id (replay.go) is a live one whose flow begins in the past, at
// the place of the id: it lags from there, and so comes to the present without a seam. A
// repeat sets the flow back. The topic knows which listeners want ids in their data
// (topic.numbered) and encodes a message for them once more per root. Until what was
// said before the subscribe has arrived, the record has where it began (unreadRecord), so
// that a crash begins there again.
//
// # Remote calls
//
// A publish to /service/<target> is a call (call.go): its answer goes back with the reply,
// on the connection it came by, whichever node that is, so nothing of it is ever queued,
// kept, or heard by others. How many bytes of answers may wait is bayeux's bound.
//
// # Accumulations
//
// A channel of kind accumulate is written by who has a token of the object and read from
// level broadcaster up (accumulate.go, accumulated.go). Both roads, HTTP and Bayeux, end in keepEntry:
// the blob is kept with who gave it, and when it was observed is its position's ms, so it
// is an entry only where it is read. The log goes whole, a time after its last entry. A
// row in a table says that an object has an accumulation of a name; it is written before
// the first entry, so an admin's query over all objects finds every log, and braids them
// by time (catchup.Braid). How full each is, a node asks once a second (fill.go).
//
// # Data
//
// A channel /R/data/<scope> has the changes of a document (scope.go): room and session
// in the object's own feed, app, owner and user in feeds of their own, so that a change
// reaches all rooms with one entry. A subscription to such a channel is one in that
// feed's space under the root's prefix, and a wildcard below a root joins the spaces of
// its application and owner, too. A publish there is a merge by the same way as over
// HTTP (data.go) and no message of its own. A subscription begins with a prelude: the
// snapshot as of its seam, read by the flow before anything live. attendance keeps the
// conferences of objects open that have subscribers here; suspensions are the
// applications that nobody may use.
//
// # Statistics
//
// How many viewers there were is kept by catchup.Viewers. A query (viewer_log.go) is a
// window of time in rows as fine as they are still kept, and the urls that a pattern
// selects (url_pattern.go): those it names, and, where it has stars, those that have rows
// in the window. It is bounded in urls and rows, and refused beyond, never cut short. Who
// asks has signed the query's own JSON with the account's secret (signature_body.go, package
// signed), over the bytes as they came.
//
// # What outlives the process
//
// A session's record (record.go) is written before the client hears that its
// subscriptions changed, and removed when it ends; a restarted broker makes the
// session of it again when the client names it (resume.go). Positions are not
// written per message: each second the node writes how far it has handed everything
// on, and a session is resumed as of a little before that, unless it is further
// behind, which its record then says (remember.go). What comes twice has the same id.
//
// A client with the ack extension says by number what it has. Its session's record is
// written before each answer that brings kept messages (ack.go), and what it says of where
// the session stands holds until the next one, whoever has the session.
//
// # Many nodes on one store
//
//	connect of s ──► node B ── claim ──► record of s: owner A, version 7
//	                   │ "release s"  ┌─► A's mailbox ─► Session.Release
//	                   └──────────────┘                   │ Close: where s stands
//	                   ◄── "done" ── B's mailbox ◄── record: nobody, version 8
//	                 record: owner B, version 9 ─► subscriptions, from where they stood
//
// A session lives on one node, the owner in its record; the record's version is the
// fence. Only a connect moves it (takeover.go), and the owner decides: of a connect that
// a newer one has overtaken nobody takes notice (bayeux.Ordinal), since the answer to a
// copy that its client gave up long ago would seem to have arrived. The owner that is
// asked writes down where the session stands on each channel (place.go), so nothing is
// lost and nothing comes twice (landing.go says how a node that is behind or ahead of
// that goes on); one that is dead is not waited for, and the session resumes as after a
// crash, nor is one that beats but leaves three letters unanswered. A node that finds
// another version than it wrote drops the session. Subscribes and disconnects are carried
// out where the session lives (Forward), once, also when the answer is lost (errand.go);
// if nobody answers, the subscribe takes the session over and what is under way is taken
// along undecided (underway.go), as a subscribe does not tell whether it has arrived; where
// a connect is faster, it follows the session and takes nothing away. A
// publish goes ahead where it came in (absent.go), and the store knows it again when it
// comes twice.
//
// A store that fails over may go back to what it was seconds ago. A node finds that out
// by its own row, whose version falls, by a record or by a log (nodes.wentBack), and takes
// no session up for a second. Meanwhile who has a session writes its record again, and
// who let go of one lately does, too (departed.go): a record's Seq rises over what is
// lost, so the newest of all wins. As not all find out at once, and one that wrote nothing
// in the time that is lost not at all, who looks for a session after the store was away
// first has all others look (recall.go).
//
// Nodes hear of each other by logs that are followed exactly (follow.go): each has a
// mailbox (mail.go; a letter is carried out once, though it be read twice), and one log
// has the notices for all, such as changed objects, revoked tokens and retired keys
// (notice.go). Each writes once a second that it lives (nodes.go); one that cannot is not
// ready within three seconds, and then lets its clients go (lease.go).
//
// # What the broker says and decides itself
//
// Comments go out in four channels; to promote or withdraw one (moderation.go) is a row
// that only gains and messages with nonces, so that it happens once, whoever asks on
// whatever node, and a withdrawal wins over a promotion that it crosses. Events and
// analytics have a shape (event.go); the log of what lasted when is folded from the
// events on each question, by package catchup. Who is there (presence.go) is known from
// a row of each node for each object; nothing of it is kept or comes by a road, each
// node tells its own listeners. A connection (connection.go) is a session's record; to
// end it is to remove that, and a notice. A tap (tap.go) hears all objects of an
// application past the topics, without their promises.
//
// # Viewers
//
//	subscriptions change ─► viewers ─── each sample ───► sampler ─► one row of this node
//	                     (who views what)                                  │ of all nodes
//	 /stats/live ◄─ sum ─────────────────────── tally ◄───────────────────┘
//	 /stats/minute, hour, day ◄─ rows closed ─────┘ one node at a time
//
// A viewer is a session with a live subscription by a root of level 1 and none above
// (viewers.go). Each node writes at each sample how many it has, by object, in one call
// (sampler.go); one node, named in a row, adds up what all have written and closes minutes
// (tally.go). Nothing depends on there being only one: rows are written over, and each
// message is known again by its channel, time and content (saying.go). What is kept, and
// how minutes become hours and days, is in package catchup. That a session is new at an
// object is in its record, so it is counted as new once, wherever it goes. Of a node that
// dies the arrivals since its last sample are not counted; its viewers are missing until
// they are back elsewhere. While the store is away nothing is counted, and no row says so
// but that of the minutes that were measured.
//
// # Streams
//
//	publish, comment, entry, change ─ Record.Copy ─┐
//	POST /v1/records, visits, viewers ─────────────┴► the account's log
//	                                                    │ Take (a group for each stream)
//	   row of the account ◄── join, leave ── reader ◄───┘
//	   (streams, connections)                  │ Records, Poke ─► HTTP
//	                                           └─ Settle, when a later write succeeded
//
// What is said in the objects of an account with a stream_token is copied to one log by
// the store call that keeps it (account.go), as an envelope round the publisher's bytes:
// what a stream shows is made of it when it is read. A connection to a stream is a reader
// (reader.go): it takes a page from the stream's group, writes it, and takes the next; so
// a slow peer is paced by its own writes, and nothing waits for it but one page; one that
// rests holds none, and costs about what any request costs that waits. What is written is
// settled when a write has succeeded a time later; what is not comes again.
// All readers of an account on a node share one watch, at its desk (desk.go). Who reads
// what is in one row for each account (catchup.Streams), changed by compare-and-set: a
// connection whose node is dead (nodes.go) goes from it when somebody looks, and gives
// back what it held. A peer that comes again with the last event that it had ends the
// connection that wrote it (member.go), wherever that is. visit.go tells streams who
// joins and leaves objects, by rows, so that they hear it once.
//
// # Goroutines
//
// Run owns the shards (one a core, at least one), the mender of roads, the registry's
// sweep, the rounds of remembering and of presence, the taps' queue, the two followers,
// keepAlive, attendance, the sampler, the tally, the look after streams and that for
// suspended data; connections to streams are served by their requests' own, and Run waits
// for them; letters being answered have one
// each, bounded. A session costs none here.
//
// # Locks, in the order in which they are taken
//
//	taps.mu → store; taps.mu, presence.mu → space.mu; viewers.mu → registry.mu
//	flow.mu → store → shard.mu → topic.mu → hub.mu → space.mu → Tree.mu (read) → subscriber.mu → bayeux's own
//
//	reader.taking → store; desk.watching → store → desk.mu; reader.mu alone
//
// Nobody holding topic.mu or a later one calls the store, the network or a callback.
// flow.mu is held while its page is read; nothing live waits for it. The store calls
// Entries from its committer, which takes shard.mu and hub.mu for a moment only.
//
// # Caveats
//
// A wildcard subscription hears from the moment it is made. Where that was on each
// topic is known from the topic's marks (mark.go), so a catch-up brings what was
// before and no more. Marks and idle topics are bounded for each topic and for the
// node; where one is gone, a catch-up may repeat, under its own name, what came by
// the wildcard (gobelin_forgotten_seams_total).
package broker
