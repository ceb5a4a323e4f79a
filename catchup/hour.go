package catchup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// foldAttempts is how often an application's day is folded when what it is made of
	// was changed meanwhile; between two a node waits up to foldPause, doubled each time.
	foldAttempts = 8
	foldPause    = 5 * time.Millisecond
	// foldLife is how long it is remembered that somebody folds.
	foldLife = 10 * time.Minute
)

// closeHours folds the hours that are over when the minute of c is: for the first time,
// or again because minutes of them, those of urls, have been written late.
func (v *Viewers) closeHours(ctx context.Context, c *Closed, urls []viewedURL) error {
	over := c.Minute.Add(time.Minute).Truncate(time.Hour)
	closed, _, err := v.closed(ctx)
	if err != nil {
		return err
	}
	hour := stretch{c.Minute.Truncate(time.Hour), c.Minute.Truncate(time.Hour).Add(time.Hour)}
	switch {
	case closed.Before(over):
		return v.closeSpan(ctx, stretch{closed, over}, c)
	case hour.to.Equal(over): // once more
		return v.closeSpan(ctx, hour, c)
	case len(urls) > 0 && !v.store.Now().Before(hour.to):
		if err := v.foldMeasured(ctx, hour); err != nil {
			return err
		}
		return v.foldURLs(ctx, hour, urls, c)
	}
	return nil
}

// closeSpan folds the hours of a stretch, then notes that they have closed.
func (v *Viewers) closeSpan(ctx context.Context, s stretch, c *Closed) error {
	if err := v.foldMeasured(ctx, s); err != nil {
		return err
	}
	for d := range s.days {
		urls, err := v.listed(ctx, fmt.Sprintf("%06d/", dayOf(d.from)))
		if err != nil {
			return err
		}
		if err := v.foldURLs(ctx, d, urls, c); err != nil {
			return err
		}
	}
	if _, err := v.recent(ctx); err != nil { // it notes how long minutes are kept now
		return err
	}
	return v.close(ctx, s.to)
}

// days cuts a stretch where days begin.
func (s stretch) days(yield func(stretch) bool) {
	for from := s.from; from.Before(s.to); {
		to := earlier(s.to, from.Truncate(day).Add(day))
		if !yield(stretch{from, to}) {
			return
		}
		from = to
	}
}

// foldMeasured folds what is known beside the rows.
func (v *Viewers) foldMeasured(ctx context.Context, s stretch) error {
	return v.settled(ctx, 0, "measured", func() error {
		for d := range s.days {
			if _, _, err := v.foldSome(ctx, measuredSeries, 0, []string{""}, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// foldURLs folds hours of a day and the day, application by application. urls are in the
// order of applications.
func (v *Viewers) foldURLs(ctx context.Context, s stretch, urls []viewedURL, c *Closed) error {
	slices.SortStableFunc(urls, func(a, b viewedURL) int { return cmp.Compare(a.app, b.app) })
	for from := 0; from < len(urls); {
		to := from
		for to < len(urls) && urls[to].app == urls[from].app {
			to++
		}
		some := urls[from:to]
		names := make([]string, len(some))
		for i, u := range some {
			names[i] = u.url
		}
		hours, days, err := v.foldApp(ctx, some[0].app, names, s)
		if err != nil {
			return err
		}
		for i, u := range some {
			for _, r := range hours[i] {
				c.Hours = append(c.Hours, ClosedRow{r, u.objects})
			}
			for _, r := range days[i] {
				c.Days = append(c.Days, ClosedRow{r, u.objects})
			}
		}
		from = to
	}
	return nil
}

// foldApp folds hours of one day, and the day, for URLs of an application, and returns the
// rows of each URL. What they are made of is in the store by now. When it returns without error,
// the rows are made of everything that was written before.
func (v *Viewers) foldApp(ctx context.Context, app uint32, urls []string, s stretch) (hours, days [][]ViewerRow, err error) {
	err = v.settled(ctx, app, fmt.Sprintf("%06d", dayOf(s.from)), func() error {
		hours, days = nil, nil
		for some := range slices.Chunk(urls, max(readRows/(s.slots(store.Minute)+24), 1)) {
			h, d, err := v.foldSome(ctx, countedSeries, app, some, s)
			if err != nil {
				return err
			}
			hours, days = append(hours, h...), append(days, d...)
		}
		return nil
	})
	return hours, days, err
}

// foldSome folds minutes into hours, and the hours of the day into the day, of URLs that
// have such hours, or of all when the day is over.
func (v *Viewers) foldSome(ctx context.Context, kind byte, app uint32, urls []string, s stretch) (hours, days [][]ViewerRow, err error) {
	hours, err = v.minutes(ctx, kind, app, urls, s, v.keep.Minutes+keepMargin)
	if err != nil {
		return nil, nil, err
	}
	from := s.from.Truncate(day)
	over := s.to.Equal(from.Add(day)) // then the day of each URL is wanted
	var changed []string
	var rows []ViewerRow
	at := make([]int, 0, len(urls))
	for i := range hours {
		if hours[i] = foldRows(hours[i], store.Hour); len(hours[i]) > 0 || over {
			rows, changed, at = append(rows, hours[i]...), append(changed, urls[i]), append(at, i)
		}
	}
	if err := v.put(ctx, kind, store.Hour, rows); err != nil {
		return nil, nil, err
	}
	all, err := v.read(ctx, kind, app, changed, store.Hour, stretch{from, from.Add(day)}, v.keep.Hours+keepMargin)
	if err != nil {
		return nil, nil, err
	}
	days, rows = make([][]ViewerRow, len(urls)), nil
	for i := range all {
		days[at[i]] = foldRows(all[i], store.Day)
		rows = append(rows, days[at[i]]...)
	}
	return hours, days, v.put(ctx, kind, store.Day, rows)
}

func foldKey(app uint32, what string) string { return fmt.Sprintf("fold/%08x/%s", app, what) }

// settled calls do, which writes rows that are made of others, until nobody else did the
// same meanwhile. So who is last to begin has seen all others end, and finds what
// they have read, and what was written since: its rows are the right ones. Who changes what
// the rows are made of does so first, and then calls settled.
func (v *Viewers) settled(ctx context.Context, app uint32, what string, do func() error) error {
	turn := v.turn[app%foldTurns]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	key, mark := foldKey(app, what), make([]byte, 16)
	for attempt := range foldAttempts {
		_, _ = rand.Read(mark)
		if _, err := v.store.Put(ctx, tableViewers, key, store.Put{Data: mark, TTL: foldLife}); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		row, err := v.store.Get(ctx, tableViewers, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if bytes.Equal(row.Data, mark) {
			return nil
		}
		select {
		case <-time.After(mathrand.N(foldPause << attempt)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("others fold the same all the time: %w", store.ErrUnavailable)
}
