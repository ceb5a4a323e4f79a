package catchup

import (
	"encoding/json"
	"slices"
	"time"
)

// Event is one entry of an object's event log (product.md T10).
type Event struct {
	Event string `json:"event"`
	// State is "start", "stop", or empty for what happens at once.
	State string `json:"state"`
	// Time is when it happened, in seconds since 1970, as its publisher says.
	Time int64 `json:"time"`
}

// The states of an event.
const (
	EventStart = "start"
	EventStop  = "stop"
)

// DecodeEvent reads the data of a stored event; false for what is none.
func DecodeEvent(data []byte) (Event, bool) {
	var e Event
	return e, json.Unmarshal(data, &e) == nil && e.Event != ""
}

// Span is a time that an event lasted, in seconds since 1970.
type Span struct {
	Event      string
	Start, End int64
	// Open: it has not ended yet, and End is 0. Old: it began before what is kept,
	// and Start is that of its end.
	Open, Old bool
}

// Spans folds events, in the order in which they were published, into the times that
// they lasted. One whose name already runs goes on; a stop of what does not run began
// before the first event. It is bounded: beyond most, the oldest are left out.
type Spans struct {
	most    int
	all     []*Span
	running map[string]*Span
	left    bool
}

// NewSpans returns a fold that keeps at most this many spans.
func NewSpans(most int) *Spans { return &Spans{most: most, running: map[string]*Span{}} }

// Add takes the next event.
func (s *Spans) Add(e Event) {
	switch e.State {
	case EventStart:
		if s.running[e.Event] == nil {
			s.running[e.Event] = s.begin(Span{Event: e.Event, Start: e.Time, Open: true})
		}
	case EventStop:
		span := s.running[e.Event]
		if span == nil {
			span = s.begin(Span{Event: e.Event, Start: e.Time, Old: true})
		}
		span.Open, span.End = false, max(e.Time, span.Start)
		delete(s.running, e.Event)
	default:
		s.begin(Span{Event: e.Event, Start: e.Time, End: e.Time})
	}
}

func (s *Spans) begin(span Span) *Span {
	if len(s.all) >= 2*s.most {
		s.trim()
	}
	s.all = append(s.all, &span)
	return &span
}

// trim leaves the oldest out.
func (s *Spans) trim() {
	over := len(s.all) - s.most
	if over <= 0 {
		return
	}
	for _, span := range s.all[:over] {
		if s.running[span.Event] == span {
			delete(s.running, span.Event)
		}
	}
	s.all, s.left = slices.Clone(s.all[over:]), true
}

// Window selects spans.
type Window struct {
	From, Until time.Time // zero: no bound; both ends count
	Events      []string  // names; none: all
	// Join makes one of two spans of a name when the second begins at most this long
	// after the first ended; 0: none are joined.
	Join time.Duration
}

// In returns the spans that overlap a window, by when they began, and whether older
// ones were left out.
func (s *Spans) In(w Window) (spans []Span, truncated bool) {
	s.trim()
	last := map[string]int{}
	sorted := slices.Clone(s.all)
	slices.SortStableFunc(sorted, func(a, b *Span) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	for _, span := range sorted {
		if len(w.Events) > 0 && !slices.Contains(w.Events, span.Event) {
			continue
		}
		if i, there := last[span.Event]; there && w.joins(spans[i], *span) {
			spans[i].Open, spans[i].End = span.Open, max(spans[i].End, span.End)
			if span.Open {
				spans[i].End = 0
			}
			continue
		}
		last[span.Event] = len(spans)
		spans = append(spans, *span)
	}
	return slices.DeleteFunc(spans, func(span Span) bool { return !w.holds(span) }), s.left
}

func (w Window) joins(a, b Span) bool {
	return w.Join > 0 && !a.Open && b.Start-a.End <= int64(w.Join/time.Second)
}

func (w Window) holds(s Span) bool {
	if !w.Until.IsZero() && s.Start > w.Until.Unix() {
		return false
	}
	return w.From.IsZero() || s.Open || s.End >= w.From.Unix()
}
