package bench

import (
	"fmt"
	"time"
)

// Report is what was measured. Times are in the unit that the names say.
//
// Its JSON is stable: members may be added, none changes its name or meaning.
type Report struct {
	Version   int    `json:"version"` // of this form: 1
	Scenario  string `json:"scenario"`
	URL       string `json:"url"`
	Transport string `json:"transport"`
	Setting   string `json:"setting"` // in words
	// Interrupted says that ctx ended before it was meant to.
	Interrupted bool `json:"interrupted,omitempty"`

	Seconds float64 `json:"seconds"` // measured
	// Unit is what Count counts: deliveries, publishes, messages, connections, sessions.
	Unit      string  `json:"unit"`
	Count     int64   `json:"count"`
	PerSecond float64 `json:"per_second"`
	// Latency is of deliveries, of acknowledgements, in catchup and herd of clients
	// from asking to having all, in storm from being cut off to being back.
	Latency *Latency `json:"latency,omitempty"`

	// Published is how many messages were sent in the whole run.
	Published int64 `json:"published"`
	Faults
	// Refused counts answers that say no, Broken connections that the server ended.
	Refused int64 `json:"refused"`
	Broken  int64 `json:"broken"`

	// Live is of those who listened beside (herd, storm).
	Live *Live `json:"live,omitempty"`
	// Back is how they came back (storm).
	Back *Back `json:"back,omitempty"`

	// Connects is sessions per second while all were set up.
	Connects float64 `json:"connects_per_second"`

	Server    *Server   `json:"server,omitempty"`
	Generator Generator `json:"generator"`
	// Notes are what a reader must know to judge the figures.
	Notes []string `json:"notes,omitempty"`
}

// Live is how late an audience heard what went on: before what is measured, and during
// it.
type Live struct {
	Before *Latency `json:"before,omitempty"`
	During *Latency `json:"during,omitempty"`
}

// Back is how those who were cut off came back.
type Back struct {
	Seconds    float64 `json:"seconds"`    // until the last one was
	Resumed    int64   `json:"resumed"`    // with the session that they had
	Handshaken int64   `json:"handshaken"` // with a new one
	Tries      int64   `json:"tries"`      // connections that they made for it
	Deferred   int64   `json:"deferred"`   // of them, those that were told to come again later
	// Resent counts messages that they had before and were sent once more, since
	// nobody had said that they had arrived; Missed those that a new session was not
	// sent. Neither is a fault.
	Resent int64 `json:"resent"`
	Missed int64 `json:"missed"`
}

// Server is what the process tree of the server used. Bytes are resident: before
// the first session (in catchup and herd: before the first asks for the past), at the end,
// and at most while it was measured.
type Server struct {
	CPUSeconds    float64 `json:"cpu_seconds"`
	PerMillion    float64 `json:"cpu_seconds_per_million"`
	RSSBefore     int64   `json:"rss_before"`
	RSSAfter      int64   `json:"rss_after"`
	RSSPeak       int64   `json:"rss_peak"`
	PerConnection int64   `json:"rss_per_connection"` // (after - before) / sessions
}

// Generator is what the measuring itself used.
type Generator struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	Share      float64 `json:"share"` // of the cores it may use, 0 to 1
	Cores      int     `json:"cores"`
}

// Progress is how far a run is.
type Progress struct {
	Phase     string // connecting, publishing, measuring, draining, …
	Elapsed   time.Duration
	Sessions  int
	Count     int64   // messages that arrived so far
	PerSecond float64 // since the last Progress
}

// Err says what keeps the figures from counting; nil when nothing does
// (performance.md §1).
func (r *Report) Err() error {
	if r.Faults.Total() == 0 && r.Refused == 0 && r.Broken == 0 {
		return nil
	}
	return fmt.Errorf("bench: the figures do not count: %d lost, %d duplicate, %d reordered, %d refused, %d connections broken",
		r.Lost, r.Duplicate, r.Reordered, r.Refused, r.Broken)
}
