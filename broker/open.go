package broker

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
