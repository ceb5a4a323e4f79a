package catchup

import (
	"context"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// keepPast is how long the samples of a day without minutes are kept after an import, so
// that it can be done again or gone on with.
const keepPast = 45 * day

// past is what a day without minutes has of one URL.
type past struct {
	url     string
	samples []ViewerRow
}

// checkPast refuses samples that cannot be imported.
func (v *Viewers) checkPast(ctx context.Context, app uint32, d int64, samples []ViewerSample) error {
	closed, _, err := v.closed(ctx)
	if err != nil {
		return err
	}
	if d >= dayOf(closed) {
		// Nobody was there to fold what is kept of it: whoever closes a minute does.
		return fmt.Errorf("the day has not been closed yet: %w", store.ErrUnavailable)
	}
	_, err = v.pastOf(ctx, app, samples)
	return err
}

// pastOf returns the samples that are kept of a past day, of the URLs of samples. It
// refuses a day with a row that is made of others, too: those would be lost when it is
// folded again.
func (v *Viewers) pastOf(ctx context.Context, app uint32, samples []ViewerSample) ([]past, error) {
	from := samples[0].Time.UTC().Truncate(day)
	today := stretch{from, from.Add(day)}
	var all []past
	for _, url := range sampleURLs(samples) {
		// The row first: what it is made of was written before it.
		rows, err := v.read(ctx, countedSeries, app, []string{url}, store.Day, today, store.Forever)
		if err != nil {
			return nil, err
		}
		kept, err := v.samples(ctx, pastSeries, app, []string{url}, today, store.Forever)
		if err != nil {
			return nil, err
		}
		if len(rows[0]) > 0 && int(rows[0][0].N) > len(kept[0]) {
			return nil, fmt.Errorf("%w: %q on %s", ErrSampleAge, url, from.Format(time.DateOnly))
		}
		all = append(all, past{url, kept[0]})
	}
	return all, nil
}

// addPast imports samples of a day of which minutes are not kept any more.
func (v *Viewers) addPast(ctx context.Context, app uint32, d int64, samples []ViewerSample) error {
	if _, err := v.listSamples(ctx, app, d, samples); err != nil {
		return err
	}
	return v.settled(ctx, app, fmt.Sprintf("%06d", d), func() error {
		all, err := v.pastOf(ctx, app, samples)
		if err != nil {
			return err
		}
		var points []store.Point
		for _, p := range all { // again, so that all of a day is kept as long
			for _, s := range p.samples {
				points = append(points, ViewerSample{p.url, s.Time, s.Max}.point(pastSeries, app))
			}
		}
		for _, s := range samples {
			points = append(points, s.point(pastSeries, app))
		}
		age := v.store.Now().Sub(points[0].Time.Truncate(day))
		if err := v.store.PutRows(ctx, store.Second, age+keepPast, points); err != nil {
			return err
		}
		return v.foldPast(ctx, app, samples, age)
	})
}

// foldPast makes hours and the day of all samples of a past day.
func (v *Viewers) foldPast(ctx context.Context, app uint32, samples []ViewerSample, age time.Duration) error {
	all, err := v.pastOf(ctx, app, samples)
	if err != nil {
		return err
	}
	var hours, days []ViewerRow
	for _, p := range all {
		some := foldRows(minutesOf([][]ViewerRow{p.samples}), store.Hour)
		hours = append(hours, some...)
		days = append(days, foldRows(some, store.Day)...)
	}
	if age < v.keep.Hours+keepMargin {
		if err := v.put(ctx, countedSeries, store.Hour, hours); err != nil {
			return err
		}
	}
	return v.put(ctx, countedSeries, store.Day, days)
}
