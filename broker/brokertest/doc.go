// Package brokertest proves that a broker loses nothing and brings nothing twice:
// it tortures the real binary from outside and holds what everybody saw against
// the rules (security.md §5.3).
//
//	publishers ──┐                    ┌── broker (child process, disk store)
//	  HTTP, polls,│                   │        ▲
//	  WebSocket   ├──► Proxy ─────────┤        │ kill -9, start
//	joiners ──────┘   cut, freeze,    │        │
//	  all orders,     half-close,     │     nemesis
//	  both transports slow            │
//	      │                           │
//	      ▼                           ▼
//	  Publications, Sessions      history read back
//	      └──────────► Check ◄────────┘
//
// Everybody keeps a plain record of what was sent and what came, with times; only
// when all is over does Check decide. Its clients are raw on purpose: they drop no
// repeat, and send again what was not answered exactly as Faye (the same connect) or
// CometD (a new one, timeout 0) do.
//
// Check is a set of rules over finished records and knows no broker: each rule is
// tested with planted faults.
//
// # Goroutines
//
// Each publisher and joiner has one, which owns its record; a poll under way has
// one, a socket a reader, a connection through the Proxy two. Torture waits for all.
//
// # Locks
//
// Proxy.mu guards its list of connections, run.mu the troubles, socket.mu a write.
// None is taken inside another.
//
// # Caveats
//
// The seed fixes what is decided, not how the machine schedules: a seed that found
// a fault finds it often, not always. What a socket had received when it broke
// counts as received.
package brokertest
