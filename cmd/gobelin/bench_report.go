package main

import (
	"fmt"
	"io"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux/bench"
)

// printReport writes what was measured, for people or for programs.
func printReport(w io.Writer, r *bench.Report, asJSON bool) error {
	if asJSON {
		return printJSON(w, r)
	}
	t := &reportTable{w: w}
	t.row("scenario", "%s over %s: %s", r.Scenario, r.Transport, r.Setting)
	t.row("server", "%s", r.URL)
	if r.Interrupted {
		t.row("", "interrupted: what follows is of the time until then")
	}
	t.row("connected", "%.0f sessions/s", r.Connects)
	switch r.Scenario {
	case bench.Idle:
		t.row("sessions", "%d", r.Count)
	case bench.CatchUp, bench.Herd:
		t.row(r.Unit, "%d in %.2f s: %.0f/s", r.Count, r.Seconds, r.PerSecond)
		t.latency("all after", r.Latency)
	case bench.Storm:
		t.back(r)
	default:
		t.row(r.Unit, "%d in %.2f s: %.0f/s", r.Count, r.Seconds, r.PerSecond)
		t.latency("latency", r.Latency)
	}
	if r.Live != nil {
		t.latency("live before", r.Live.Before)
		t.latency("live during", r.Live.During)
	}
	t.row("wrong", "%d lost, %d duplicate, %d reordered, %d refused, %d broken", r.Lost, r.Duplicate, r.Reordered, r.Refused, r.Broken)
	t.server(r)
	t.row("generator", "%.2f s CPU, %.0f %% of %s", r.Generator.CPUSeconds, 100*r.Generator.Share, count(r.Generator.Cores, "core"))
	for _, note := range r.Notes {
		t.row("note", "%s", note)
	}
	return t.err
}

// reportTable writes rows and remembers the first error.
type reportTable struct {
	w   io.Writer
	err error
}

func (t *reportTable) row(name, format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
}

func (t *reportTable) latency(name string, l *bench.Latency) {
	if l == nil {
		return
	}
	t.row(name, "p50 %s   p90 %s   p99 %s   p99.9 %s   max %s",
		showMicros(l.P50), showMicros(l.P90), showMicros(l.P99), showMicros(l.P999), showMicros(l.Max))
}

// back says how those who were cut off came back.
func (t *reportTable) back(r *bench.Report) {
	b := r.Back
	t.row("back", "%d of them within %.2f s: %d resumed, %d with a new session", r.Count, b.Seconds, b.Resumed, b.Handshaken)
	t.latency("back after", r.Latency)
	t.row("tries", "%d, of which %d were told to come later", b.Tries, b.Deferred)
	t.row("messages", "%d came again after the cut, %d were missed by new sessions", b.Resent, b.Missed)
}

func (t *reportTable) server(r *bench.Report) {
	s := r.Server
	if s == nil {
		return
	}
	switch {
	case r.Scenario == bench.Idle || r.Scenario == bench.Storm:
		t.row("server CPU", "%.2f s in %.2f s", s.CPUSeconds, r.Seconds)
	case r.Count > 0:
		t.row("server CPU", "%.2f s, %.2f s per million %s", s.CPUSeconds, s.PerMillion, r.Unit)
	}
	t.row("server RSS", "%s before, %s after, %s at most", showBytes(s.RSSBefore), showBytes(s.RSSAfter), showBytes(s.RSSPeak))
	if r.Scenario == bench.Idle {
		t.row("", "%.1f KiB per session", float64(s.PerConnection)/1024)
	}
}

func showBytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// showMicros writes a time with three digits that count.
func showMicros(us int64) string {
	d := time.Duration(us) * time.Microsecond
	switch {
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.String()
}
