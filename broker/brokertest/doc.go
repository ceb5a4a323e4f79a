// Package brokertest proves that a broker loses nothing and brings nothing twice:
// it tortures the real binary from outside and holds what everybody saw against
// the rules (security.md §5.3).
//
//	publishers ──┐            ┌─ Proxy ─► node 0 (child process) ─┐
//	  HTTP, polls,│   fleet    │                                   │    Backend:
//	  WebSocket   ├──► next ───┼─ Proxy ─► node 1 ─────────────────┼──► disk, or one
//	joiners ──────┘   door     │                                   │    Redis for all
//	  all orders,              └─ Proxy ─► node 2 ─────────────────┘      ▲
//	  both transports             ▲            ▲                          │
//	      │                  cut, freeze,   kill -9,                kill, freeze, cut off,
//	      │                  half-close,    SIGTERM                 fail over, lose live
//	      ▼                  slow                                   messages
//	  Publications, Sessions      history read back
//	      └──────────► Check ◄────────┘
//
// With many nodes each request of a client goes to the next one, as does each
// WebSocket; a node that refuses, answers 503 or says at /readyz that it is not ready
// is passed over, as a load balancer does. With one, clients feel its death.
//
// Everybody keeps a plain record of what was sent and what came, with times; only
// when all is over does Check decide. Its clients are raw on purpose: they drop no
// repeat, and send again what was not answered exactly as Faye (the same connect) or
// CometD (a new one, timeout 0) do.
//
// On a machine that is too slow for what it has to do nodes take each other for dead, and
// what one had handed out may come again from another. The nodes' logs say so, and it
// counts as the loss of a node does (taken.go).
//
// Check is a set of rules over finished records and knows no broker: each rule is
// tested with planted faults.
//
// # Goroutines
//
// Each publisher and joiner has one, which owns its record; a poll under way has
// one, a socket a reader, a connection through a Proxy two, a door one that asks
// whether its node is ready. Of the nemesis, one breaks links, one cuts feeds, and
// the caller's own does the rest, one thing at a time. Torture waits for all.
//
// # Locks
//
// Proxy.mu guards its list of connections, run.mu the troubles and the trace, socket.mu a write.
// None is taken inside another.
//
// # Caveats
//
// A node that was killed, cut off, or whose store was away may have lost what it knew
// of its sessions: what came before may come again (Loss). An orderly stop and a
// move from node to node are no such excuse.
//
// The seed fixes what is decided, not how the machine schedules: a seed that found
// a fault finds it often, not always. What a socket had received when it broke
// counts as received.
package brokertest
