package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
)

// Bounds of one query: an account must not make the broker hold more.
const (
	// MaxViewerRows are the rows of an answer: a day of minutes of 100 objects, and more.
	MaxViewerRows = 200_000
	// maxViewerURLs are the urls of an application that a pattern is held against.
	maxViewerURLs = 50_000
)

// A ViewerGraph is one of the four pictures of viewer.log (product.md §5.5, S8): how
// long the window is, and how wide a row.
type ViewerGraph struct {
	Span  time.Duration
	Grain store.Grain
}

// ViewerGraphs are the graphs by their number, 1 to 4.
var ViewerGraphs = map[int64]ViewerGraph{
	1: {6 * time.Hour, store.Minute},
	2: {day, store.Minute},
	3: {7 * day, store.Hour},
	4: {30 * day, store.Day},
}

// ViewerQuery asks how many viewers there were (product.md §5.5).
type ViewerQuery struct {
	Apps  []*Application // each once
	URLs  URLPattern
	Graph ViewerGraph
	// Start is where the window begins; zero: it ends now.
	Start time.Time
	// Extended also looks up which rows are partial.
	Extended bool
	// Fill adds rows for times at which viewers were counted and there were none.
	Fill bool
}

// errTooManyRows refuses a query whose answer would be too large; nothing is left out
// silently.
var errTooManyRows = &Error{Result: 4013, Text: fmt.Sprintf("more than %d rows: name fewer objects by url, or ask for a coarser graph", MaxViewerRows)}

// ViewerLog returns the rows of a query, one for each application, url and time, sorted
// by these: time first. Errors: *Error with result 4013 for more than MaxViewerRows,
// and the store's.
func (b *Broker) ViewerLog(ctx context.Context, q ViewerQuery) ([]ViewerLogRow, error) {
	rows, err := b.viewerLog(ctx, q)
	var refusal *Error
	if errors.As(err, &refusal) {
		b.metrics.refused("viewer log").Inc()
	}
	return rows, err
}

func (b *Broker) viewerLog(ctx context.Context, q ViewerQuery) ([]ViewerLogRow, error) {
	now := b.opt.Store.Now()
	w := windowOf(q, b.opt.StatsKeep, now)
	measured, err := b.measured(ctx, q, w)
	if err != nil {
		return nil, err
	}
	var all []ViewerLogRow
	for _, app := range q.Apps {
		urls, err := b.viewedURLs(ctx, app, q.URLs, w)
		if err != nil {
			return nil, err
		}
		rows, more, err := b.stats.Rows(ctx, app.ID, urls, w.grain, w.from, w.to, MaxViewerRows-len(all)+1)
		if err != nil {
			return nil, fmt.Errorf("broker: viewer log: %w", err)
		}
		if q.Fill && len(urls)*len(measured) > MaxViewerRows {
			return nil, errTooManyRows
		}
		if q.Fill {
			rows = fillRows(rows, app.ID, urls, measured)
		}
		if more || len(all)+len(rows) > MaxViewerRows {
			return nil, errTooManyRows
		}
		all = slices.Grow(all, len(rows))
		for _, row := range rows {
			all = append(all, ViewerLogRow{App: app, ViewerRow: row, Partial: q.Extended && w.partial(row.Time, measured, now)})
		}
	}
	slices.SortFunc(all, func(a, b ViewerLogRow) int {
		return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.App.Name, b.App.Name), strings.Compare(a.URL, b.URL))
	})
	return all, nil
}

// viewerWindow is the rows that a query asks for: those with from <= time < to.
type viewerWindow struct {
	grain    store.Grain
	from, to time.Time
}

// windowOf works out the window of a query (S8, S9) in rows as fine as they are still
// kept for its beginning (S10).
func windowOf(q ViewerQuery, keep catchup.ViewerKeep, now time.Time) viewerWindow {
	w := viewerWindow{grain: q.Graph.Grain, from: q.Start, to: q.Start.Add(q.Graph.Span)}
	if q.Start.IsZero() {
		w.from, w.to = now.Add(-q.Graph.Span), now
	}
	age := now.Sub(w.from)
	for _, g := range []struct {
		grain store.Grain
		kept  time.Duration
	}{{store.Minute, keep.Minutes}, {store.Hour, keep.Hours}} {
		if w.grain == g.grain && age > g.kept {
			w.grain++
			w.from = w.from.Truncate(w.grain.Width())
		}
	}
	return w
}

// partial reports whether the row at a time is of less than its whole time. What was
// only reported from outside, such as samples of a CDN, is whole once it is over.
func (w viewerWindow) partial(at time.Time, measured []catchup.Measured, now time.Time) bool {
	width := w.grain.Width()
	i, there := slices.BinarySearchFunc(measured, at, func(m catchup.Measured, at time.Time) int { return m.Time.Compare(at) })
	return now.Before(at.Add(width)) || there && measured[i].Ticks > 0 && time.Duration(measured[i].Seconds)*time.Second < width
}

// measured returns when viewers were counted, in the order of time, where the query has
// to know.
func (b *Broker) measured(ctx context.Context, q ViewerQuery, w viewerWindow) ([]catchup.Measured, error) {
	if !q.Extended && !q.Fill {
		return nil, nil
	}
	list, err := b.stats.Measured(ctx, w.grain, w.from, w.to)
	if err != nil {
		return nil, fmt.Errorf("broker: viewer log: measured: %w", err)
	}
	return list, nil
}

// viewedURLs returns the urls of an application that a pattern selects, each once: those
// it names, whether they have rows or not, and those that have some in the window.
func (b *Broker) viewedURLs(ctx context.Context, app *Application, p URLPattern, w viewerWindow) ([]string, error) {
	urls, others := p.named()
	if !others {
		return urls, nil
	}
	there, more, err := b.stats.URLs(ctx, app.ID, w.from, w.to, maxViewerURLs)
	if err != nil {
		return nil, fmt.Errorf("broker: viewer log: urls: %w", err)
	}
	if more {
		return nil, &Error{Result: 4013, Text: fmt.Sprintf("%s has more than %d urls in this time: name those you want, without *", app.Name, maxViewerURLs)}
	}
	selected := slices.Clone(urls)
	for _, url := range there {
		if p.Match(url) {
			selected = append(selected, url)
		}
	}
	slices.Sort(selected)
	return slices.Compact(selected), nil
}

// fillRows adds a row of zeros for each url and each time at which viewers were counted
// and it has no row (S13). Where nobody counted, there is none: nobody knows.
func fillRows(rows []catchup.ViewerRow, app uint32, urls []string, measured []catchup.Measured) []catchup.ViewerRow {
	type place struct {
		url string
		at  int64
	}
	there := make(map[place]bool, len(rows))
	for _, row := range rows {
		there[place{row.URL, row.Time.Unix()}] = true
	}
	for _, url := range urls {
		for _, m := range measured {
			if m.Ticks > 0 && !there[place{url, m.Time.Unix()}] {
				rows = append(rows, catchup.ViewerRow{App: app, URL: url, Time: m.Time, N: m.Ticks})
			}
		}
	}
	return rows
}
