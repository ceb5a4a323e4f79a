package broker

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Figures are totals since the start, where nothing else is said, for a console.
type Figures struct {
	Published int64 // messages appended and acknowledged
	Replays   int64 // catch-ups begun
	Replayed  int64 // messages they delivered
	Viewers   int64 // those of now, on this node
	Lagging   int64 // times a session's queue was full and a kept channel began to lag
}

// Figures returns the broker's totals of now.
func (b *Broker) Figures() Figures {
	m := b.metrics
	return Figures{Published: total(m.published), Replays: total(m.replays), Replayed: total(m.replayed), Viewers: int64(b.views.total()), Lagging: total(m.lagged)}
}

func total(c prometheus.Counter) int64 {
	var m dto.Metric
	if c.Write(&m) != nil {
		return 0
	}
	return int64(m.GetCounter().GetValue())
}

// OpenInWords says what needs no signed root, a text for each prefix, such as
// "anyone may publish to /**, kept 24h".
func (b *Broker) OpenInWords() []string {
	words := make([]string, 0, len(b.open))
	for _, o := range b.open {
		kept := "not kept"
		if o.History > 0 {
			kept = "kept " + shortDuration(o.History)
		}
		words = append(words, fmt.Sprintf("%s may publish to %s, %s", publishers[o.Publish], o.Pattern, kept))
	}
	return words
}

var publishers = map[string]string{
	publishAnyone: "anyone", publishSession: "every session", publishServer: "only the server key",
}

// shortDuration writes whole hours as 24h, not as 24h0m0s.
func shortDuration(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	}
	return strings.TrimSuffix(d.String(), "0s")
}
