// Command gobelin runs and operates the broker: it reads the configuration,
// wires the packages together, handles signals, and holds the verbs of the
// command line (experience.md §2).
//
// # Configuration
//
//	options (option.go) ──► flags, environment names, `config`, `init`, README's table
//	        │
//	        ▼
//	defaults ─► file ─► environment ─► flags ─► validate ─► config ─► node
//
// One table says everything about an option. load lets each source overwrite the
// one before, remembers where a value came from, and returns all faults at once,
// each with its place.
//
// # A node
//
//	public listener ──► mounts ──► bayeux.Server ──► broker.Broker ──► store
//	                ├─► /v1, /api ─► broker/api ────────┘
//	                └─► /try (dev)
//	admin listener  ──► /metrics, /healthz, /readyz
//	                └─► gate (admin.token) ──► /console/, /admin/drain, /admin/backup
//
// A stop begins with a signal, or by /admin/drain; the admin listener closes last. SIGHUP
// (reload.go, rotate.go) hands what is live in the table of options on to bayeux.Server,
// broker.Broker, the API's handler and the gate, each of which exchanges it in one step.
//
// # Goroutines
//
// A node owns: one per listener (http.Server.Serve), the broker's Run, in dev
// the ticker, in serve the one that hears SIGHUP and looks at the files of the
// certificate: it alone changes the configuration of a running node. node.run ends them in order: not ready, listeners closed, sessions
// handed over within drain.time, the broker's Run, the store. The whole is bounded;
// a second signal ends the process at once.
//
// # Exit codes
//
// 0 done, 1 failed, 2 wrong usage: every error that is not a failure of a verb's
// work counts as usage.
//
// # Caveats
//
// Keys that the configuration does not name are made at first start and kept in
// the store's folder (keys.yaml, mode 0600); with memory: they are gone at the end,
// and all roots with them. On Redis nodes need the same keys, so serve refuses to
// start without; dev has them in .gobelin, which nodes on one machine share.
//
// A lease in a table (lease.go) is for tasks of which a second runner does no harm for
// a moment: it has no fence.
package main
