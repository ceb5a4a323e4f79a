package console

import (
	"runtime/metrics"
	"time"
)

// Overview is what the broker does now, as whoever wires the console fills it.
// Totals count from the start of the process and only rise; the page makes rates
// of them. Nil maps and lists are shown as empty.
type Overview struct {
	// Sessions are those of now, by transport.
	Sessions map[string]int64 `json:"sessions"`
	// Sockets are the WebSockets of now, Held the polls and streams held now.
	Sockets int64 `json:"sockets"`
	Held    int64 `json:"held"`
	// Viewers are those of now: sessions that view an object, by each object.
	Viewers int64 `json:"viewers"`

	// Received is a total of Bayeux messages, ReceivedBytes of frames and bodies.
	Received      int64 `json:"received"`
	ReceivedBytes int64 `json:"received_bytes"`
	// Published is a total of publishes stored and acknowledged.
	Published int64 `json:"published"`
	// Delivered is a total of deliveries written, DeliveredBytes of their bytes.
	Delivered      int64 `json:"delivered"`
	DeliveredBytes int64 `json:"delivered_bytes"`
	// Resent is a total of deliveries put back because their link broke.
	Resent int64 `json:"resent"`
	// Replays is a total of catch-ups begun, Replayed of the messages they delivered.
	Replays  int64 `json:"replays"`
	Replayed int64 `json:"replayed"`
	// Lagging is a total of sessions that could not keep up with a kept channel and
	// read on from the store.
	Lagging int64 `json:"lagging"`
	// Handshakes is a total of sessions made.
	Handshakes int64 `json:"handshakes"`
	// Throttled is a total of messages that waited for their session's rate.
	Throttled int64 `json:"throttled"`
	// Stalled is a total of connections closed because they did not read.
	Stalled int64 `json:"stalled"`
	// Panics is a total of panics recovered; anything but 0 is a fault of ours.
	Panics int64 `json:"panics"`

	// Dropped are totals of deliveries, Refused of requests and messages, Ended of
	// sessions, each by reason.
	Dropped map[string]int64 `json:"dropped"`
	Refused map[string]int64 `json:"refused"`
	Ended   map[string]int64 `json:"ended"`

	Store Store `json:"store"`
	// Open says in words what needs no signed root, a text for each prefix, such as
	// "anyone may publish to /**, kept 24h". Empty: nothing.
	Open []string `json:"open"`
}

// Store says where the broker keeps things and whether that works.
type Store struct {
	// Kind is "disk", "memory" or "redis".
	Kind string `json:"kind"`
	// Fault is what is wrong, in words for an operator; empty when nothing is.
	Fault string `json:"fault"`
}

// report is the answer of GET /console/overview: the overview and what the
// console knows by itself.
type report struct {
	// Time is the server's clock in ms since 1970; rates are made of its differences.
	Time int64 `json:"time"`
	// Started is when the process began, in ms since 1970; another value is another
	// process, with totals from zero.
	Started int64   `json:"started"`
	Uptime  int64   `json:"uptime"` // seconds
	Version string  `json:"version"`
	Process process `json:"process"`
	Console tally   `json:"console"`
	Overview
}

// process is what the Go runtime says of itself.
type process struct {
	Goroutines int64 `json:"goroutines"`
	HeapBytes  int64 `json:"heap_bytes"` // of live and not yet swept objects
}

// tally counts what the console refused.
type tally struct {
	WrongTokens int64 `json:"wrong_tokens"`
	Throttled   int64 `json:"throttled"` // requests while an address had no tries left
	Busy        int64 `json:"busy"`      // requests while too many were asked at once
}

// readProcess asks the runtime, without stopping the world.
func readProcess() process {
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	return process{Goroutines: int64(samples[0].Value.Uint64()), HeapBytes: int64(samples[1].Value.Uint64())}
}

// report completes an overview; every map and list of it is there afterwards, so
// that the page meets no null.
func (c *console) report(o Overview, now time.Time) report {
	for _, m := range []*map[string]int64{&o.Sessions, &o.Dropped, &o.Refused, &o.Ended} {
		if *m == nil {
			*m = map[string]int64{}
		}
	}
	if o.Open == nil {
		o.Open = []string{}
	}
	return report{
		Time: now.UnixMilli(), Started: c.opt.Started.UnixMilli(), Uptime: int64(now.Sub(c.opt.Started) / time.Second),
		Version: c.opt.Version, Process: readProcess(), Console: c.tally(), Overview: o,
	}
}
