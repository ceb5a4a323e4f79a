package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
)

// ViewerChart is the statistics of one object as they are drawn.
type ViewerChart struct {
	Object *Object
	// From and To are the chart's ends: From <= time < To. Step is how long a row lasts.
	From, To time.Time
	Step     time.Duration
	// Rows are the object's rows in the order of time, with zeros for times at which
	// viewers were counted and there were none; a time without a row is not known.
	Rows []catchup.ViewerRow
}

// Title is what the chart is called: the object's name or, without one, its url.
func (c ViewerChart) Title() string { return cmp.Or(c.Object.Name, c.Object.countedAs()) }

// ViewerChart returns the statistics of the object that a root leads to, for the graph's
// span until now: by a control root, and by a view root where Options.StatsPublic is set
// (security.md §1.4). Every root that may not see them gets ErrNoObject, whatever the
// reason; the store's errors are passed on.
func (b *Broker) ViewerChart(ctx context.Context, root string, g ViewerGraph) (ViewerChart, error) {
	t, err := b.underRoot(ctx, root, root, asker{now: b.opt.Now()})
	var refusal *bayeux.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == 503:
		return ViewerChart{}, &Error{Result: 5003, Text: "service unavailable; try again"}
	case err != nil, !t.seesStatistics(b.opt.StatsPublic):
		return ViewerChart{}, ErrNoObject
	}
	return b.chartOf(ctx, t.object, g)
}

// chartOf is ViewerChart for an object.
func (b *Broker) chartOf(ctx context.Context, o *Object, g ViewerGraph) (ViewerChart, error) {
	w := windowOf(ViewerQuery{Graph: g}, b.opt.StatsKeep, b.opt.Store.Now())
	measured, err := b.stats.Measured(ctx, w.grain, w.from, w.to)
	if err != nil {
		return ViewerChart{}, fmt.Errorf("broker: viewer chart: measured: %w", err)
	}
	urls := []string{o.countedAs()}
	rows, _, err := b.stats.Rows(ctx, o.App.ID, urls, w.grain, w.from, w.to, MaxViewerRows)
	if err != nil {
		return ViewerChart{}, fmt.Errorf("broker: viewer chart: %w", err)
	}
	rows = fillRows(rows, o.App.ID, urls, measured)
	slices.SortFunc(rows, func(a, b catchup.ViewerRow) int { return a.Time.Compare(b.Time) })
	return ViewerChart{Object: o, From: w.from, To: w.to, Step: w.grain.Width(), Rows: rows}, nil
}

// seesStatistics reports whether a target's root opens its object's statistics.
func (t target) seesStatistics(public bool) bool {
	level := RoleBroadcaster
	if public && t.class.Catchup > 0 { // a guest root sees no past
		level = RoleViewer
	}
	return t.hears() >= level
}
