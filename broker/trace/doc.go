// Package trace says how long requests took, and what of that the store took, to whoever
// collects traces (OpenTelemetry; experience.md §6).
//
//	request ── Serve ──► span ──┐
//	             │ context      ├─ End ──► queue ──► Run ──► POST <endpoint>/v1/traces
//	store call ─ Start ──► span ┘           │
//	                                        └─ full: dropped, and counted
//
// A nil *Tracer, and a context without a span, make no spans: a nil *Span takes all calls
// and does nothing. So nothing is asked on any way but whether there is one.
//
// Whether a request is traced its caller has decided, if it brings a traceparent (W3C Trace
// Context), else chance. Spans hold the pattern of a route, a method, a status, the kind of
// a store call: never a channel, a root, an object's id or what a message says.
//
// They go out in OTLP's JSON form over HTTP, which every collector takes. The exporter of
// the OpenTelemetry project brings gRPC with it, 8 MiB of a program (experience.md §6 allows
// two), and what it would do here is little.
//
// Run is the one goroutine: it takes spans from the queue, which is bounded, and sends some
// hundred at once. What a collector does not take is dropped, and counted. A Span belongs
// to the goroutine that made it until End, which hands it over; there is no lock.
package trace
