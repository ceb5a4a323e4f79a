// Package broker decides: who may do what, where a message takes its place, and
// who hears of it. It speaks no protocol and opens no file.
//
//	bayeux.Server ─ Handler ─► Broker ──────► publishMessage ─► store.Submit
//	      ▲                      │ Handshake        (rights)        │ committed
//	      │ SessionHandler       ▼                                  ▼
//	      └──────────────── subscriber                       road.Entries (queues only)
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
// # What outlives the process
//
// A session's record (record.go) is written before the client hears that its
// subscriptions changed, and removed when it ends; a restarted broker makes the
// session of it again when the client names it (resume.go). Positions are not
// written per message: each second the node writes how far it has handed everything
// on, and a session is resumed as of a little before that, unless it is further
// behind, which its record then says (remember.go). What comes twice has the same id.
//
// # Roads
//
// Only feeds with listeners are watched: a road (road.go) is one of them, held by
// topics and wildcards, and passable from its first Ready on. When it is Ready again
// after a break, its topics compare their last position with the log's head and read
// what they missed, and channels that only its wildcards want are asked of the store
// (mend.go). A shared store may lose its newest records and go on: a topic that is
// beyond what is left goes back to the newest position that it handed out and that
// is still there, and so do the flows (ring.go; store.md §5.4).
//
// # Goroutines
//
// Run owns the shards (one a core, at least one), the mender, the sweep of roads, and the registry's sweep. A session
// costs none here.
//
// # Locks, in the order in which they are taken
//
//	flow.mu → store → shard.mu → topic.mu → hub.mu → space.mu → Tree.mu (read) → subscriber.mu → bayeux's own
//
// Nobody holding topic.mu or a later one calls the store, the network or a callback.
// flow.mu is held while its page is read; nothing live waits for it. The store calls
// a road from its committer, which takes shard.mu and hub.mu for a moment only.
// roads.mu is taken under shard.mu or alone, and nothing under it; watches are begun
// and stopped under no lock.
//
// # Caveats
//
// A wildcard subscription hears from the moment it is made. Where that was on each
// topic is known from the topic's marks (mark.go), so a catch-up brings what was
// before and no more. Marks and idle topics are bounded for each topic and for the
// node; where one is gone, a catch-up may repeat, under its own name, what came by
// the wildcard (gobelin_forgotten_seams_total).
package broker
