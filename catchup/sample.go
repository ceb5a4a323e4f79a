package catchup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// MaxSamples bounds what one call of AddSamples takes.
	MaxSamples = 1000
	// sampleAhead is how much a clock elsewhere may be ahead of the store's.
	sampleAhead = time.Minute
)

var (
	// ErrSampleAge: a sample from the future, or from so long ago that what its day is made
	// of is not kept any more.
	ErrSampleAge = errors.New("catchup: a sample is not of the future, nor of a day that was counted before and of which minutes are not kept any more")
	// ErrManySamples: more than MaxSamples.
	ErrManySamples = fmt.Errorf("catchup: more than %d samples at once", MaxSamples)
)

// ViewerSample is how many viewers a URL had elsewhere, such as at the edges of a CDN.
type ViewerSample struct {
	URL   string
	Time  time.Time // in whole seconds
	Count uint32
}

// AddSamples imports samples of an application (product.md §5.5, S14). Each is a total at
// its time; one of the same URL and second takes the place of the one before, so the
// same call again changes nothing. In a minute that our nodes counted, too, both add up.
// A day of which minutes are not kept any more gets hours as long as those are kept, and
// its row, if nothing else was counted on it; it can be added to for 45 days.
// Errors: ErrManySamples, ErrViewerURL, ErrSampleAge; nothing was imported then. After any
// other the same call has to be made again.
func (v *Viewers) AddSamples(ctx context.Context, app uint32, samples []ViewerSample) error {
	if err := v.checkSamples(samples); err != nil {
		return err
	}
	byDay := make(map[int64][]ViewerSample)
	for _, s := range samples {
		byDay[dayOf(s.Time)] = append(byDay[dayOf(s.Time)], s)
	}
	recent, err := v.recent(ctx)
	if err != nil {
		return fmt.Errorf("catchup: add samples: %w", err)
	}
	for d, some := range byDay {
		if d < recent {
			if err := v.checkPast(ctx, app, d, some); err != nil {
				return fmt.Errorf("catchup: add samples: %w", err)
			}
		}
	}
	for d, some := range byDay {
		add := v.addDay
		if d < recent {
			add = v.addPast
		}
		if err := add(ctx, app, d, some); err != nil {
			return fmt.Errorf("catchup: add samples: %w", err)
		}
	}
	return nil
}

func (v *Viewers) checkSamples(samples []ViewerSample) error {
	if len(samples) > MaxSamples {
		return ErrManySamples
	}
	now := v.store.Now()
	for _, s := range samples {
		if err := checkURL(s.URL); err != nil {
			return err
		}
		if s.Time.Unix() < 0 || s.Time.After(now.Add(sampleAhead)) {
			return ErrSampleAge
		}
	}
	return nil
}

// addDay imports samples of one day.
func (v *Viewers) addDay(ctx context.Context, app uint32, d int64, samples []ViewerSample) error {
	if err := v.noteImport(ctx, app); err != nil {
		return err
	}
	points := make([]store.Point, len(samples))
	s := stretch{samples[0].Time, samples[0].Time}
	for i, one := range samples {
		points[i] = one.point(sampleSeries, app)
		s = stretch{earlier(s.from, points[i].Time), later(s.to, points[i].Time)}
	}
	urls, err := v.listSamples(ctx, app, d, samples)
	if err != nil {
		return err
	}
	if err := v.store.PutRows(ctx, store.Second, v.keep.Minutes+keepMargin, points); err != nil {
		return err
	}
	s = stretch{s.from.UTC().Truncate(time.Minute), s.to.UTC().Truncate(time.Minute).Add(time.Minute)}
	return v.foldSamples(ctx, app, urls, s)
}

// listSamples puts the URLs of samples into the index of their day, and returns them.
func (v *Viewers) listSamples(ctx context.Context, app uint32, d int64, samples []ViewerSample) ([]string, error) {
	urls := sampleURLs(samples)
	listed := make([]viewedURL, len(urls))
	for i, url := range urls {
		listed[i] = viewedURL{app: app, url: url}
	}
	unlisted, err := v.list(ctx, d, listed)
	if err == nil && unlisted > 0 {
		err = fmt.Errorf("the day has too many urls: %w", store.ErrFull)
	}
	return urls, err
}

// sampleURLs returns each URL once.
func sampleURLs(samples []ViewerSample) (urls []string) {
	for _, s := range samples {
		urls = append(urls, s.URL)
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

// point returns the stored form of a sample: its count, big-endian.
func (s ViewerSample) point(kind byte, app uint32) store.Point {
	return store.Point{
		Series: seriesOf(kind, app, s.URL), Time: s.Time.UTC().Truncate(time.Second),
		Data: binary.BigEndian.AppendUint32(nil, s.Count),
	}
}

// samples returns the samples of URLs in a stretch, each as a row of its own.
func (v *Viewers) samples(ctx context.Context, kind byte, app uint32, urls []string, s stretch, keep time.Duration) ([][]ViewerRow, error) {
	names := make([]string, len(urls))
	for i, url := range urls {
		names[i] = seriesOf(kind, app, url)
	}
	points, _, err := v.store.Rows(ctx, store.Second, names, store.SeriesRange{From: s.from, To: s.to, Keep: keep}, s.slots(store.Second)*len(urls))
	if err != nil {
		return nil, err
	}
	out := make([][]ViewerRow, len(urls))
	for i := range points {
		for _, p := range points[i] {
			if len(p.Data) != 4 {
				return nil, fmt.Errorf("%w: a sample of %d bytes", errViewerRow, len(p.Data))
			}
			n := binary.BigEndian.Uint32(p.Data)
			out[i] = append(out[i], ViewerRow{App: app, URL: urls[i], Time: p.Time, Min: n, Max: n, Sum: uint64(n), N: 1})
		}
	}
	return out, nil
}

// foldSamples makes minutes of the samples in a stretch of one day, and folds its hours that
// are over.
func (v *Viewers) foldSamples(ctx context.Context, app uint32, urls []string, s stretch) error {
	hours := stretch{s.from.Truncate(time.Hour), s.to.Add(time.Hour - 1).Truncate(time.Hour)}
	return v.settled(ctx, app, fmt.Sprintf("%06d", dayOf(s.from)), func() error {
		for some := range slices.Chunk(urls, max(readRows/s.slots(store.Second), 1)) {
			rows, err := v.samples(ctx, sampleSeries, app, some, s, v.keep.Minutes+keepMargin)
			if err != nil {
				return err
			}
			if err := v.put(ctx, importedSeries, store.Minute, minutesOf(rows)); err != nil {
				return err
			}
		}
		over := stretch{hours.from, earlier(hours.to, v.store.Now().UTC().Truncate(time.Hour))}
		if !over.from.Before(over.to) {
			return nil
		}
		for some := range slices.Chunk(urls, max(readRows/(over.slots(store.Minute)+24), 1)) {
			if _, _, err := v.foldSome(ctx, countedSeries, app, some, over); err != nil {
				return err
			}
		}
		return nil
	})
}

// minutesOf makes minutes of samples. Nobody knows for how long each stands: together
// for all of the minute.
func minutesOf(samples [][]ViewerRow) (out []ViewerRow) {
	for _, rows := range samples {
		for _, m := range foldRows(rows, store.Minute) {
			m.Seconds = (2*m.Sum*60 + uint64(m.N)) / (2 * uint64(m.N))
			out = append(out, m)
		}
	}
	return out
}

// noteImport notes that an application has imported samples, so that readers look for them.
func (v *Viewers) noteImport(ctx context.Context, app uint32) error {
	there, err := v.imported(ctx, app)
	if err != nil || there {
		return err
	}
	_, err = v.store.Put(ctx, tableViewers, importsKey(app), store.Put{IfVersion: new(uint64)})
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
