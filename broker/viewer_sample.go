package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/gobelin-broker/gobelin/catchup"
)

// AddSamples takes counts of viewers that somebody else has made, such as a CDN's, of
// urls of an application (product.md §5.5, S14): at most catchup.MaxSamples. The same
// url and time again is counted once, the last count being the one that stands. Errors:
// *Error with result 4000 for what cannot be taken, and the store's; after the store's
// some may have been taken: send them again.
func (b *Broker) AddSamples(ctx context.Context, app *Application, samples []catchup.ViewerSample) error {
	for _, s := range samples {
		if !plain(s.URL) {
			return &Error{Result: 4000, Text: "url must be UTF-8 without control characters"}
		}
	}
	err := b.stats.AddSamples(ctx, app.ID, samples)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, catchup.ErrSampleAge):
		return &Error{Result: 4000, Text: fmt.Sprintf("time must not be in the future, nor on a day older than %s that was counted before: its minutes are gone, and a repeat could not be told from an addition", wholeUnits(b.opt.StatsKeep.Minutes))}
	case errors.Is(err, catchup.ErrViewerURL):
		return &Error{Result: 4000, Text: fmt.Sprintf("url must be 1 to %d bytes", maxObjectField)}
	}
	return fmt.Errorf("broker: add samples: %w", err)
}
