package store

import (
	"context"
	"fmt"
	"time"
)

// Grain is the width of the rows of a series.
type Grain uint8

// The grains of viewer statistics (product.md §8). Days are days of UTC. Second is for
// samples that were counted elsewhere.
const (
	Minute Grain = 1 + iota
	Hour
	Day
	Second
)

// Width returns how long one row lasts, 0 for what is no grain.
func (g Grain) Width() time.Duration {
	switch g {
	case Second:
		return time.Second
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	case Day:
		return 24 * time.Hour
	}
	return 0
}

// Slot returns which row of this grain holds t, counted from 1970. Times outside of
// what can be kept (1970 to 2106) give the first or the last slot.
func (g Grain) Slot(t time.Time) int64 {
	return min(max(t.Unix(), 0), maxPointTime) / int64(g.Width()/time.Second)
}

// Time returns when the row of a slot begins.
func (g Grain) Time(slot int64) time.Time {
	return time.Unix(slot*int64(g.Width()/time.Second), 0).UTC()
}

// MaxPoint bounds Point.Data in bytes.
const MaxPoint = 512

// maxPointTime is the last second that a row can have.
const maxPointTime = 1<<32 - 1

// Point is one row of a series. The store does not look into Data.
type Point struct {
	// Series is opaque, at most MaxName bytes.
	Series string
	// Time is the row's beginning, a whole multiple of the grain's width, from 1970 to
	// 2106.
	Time time.Time
	Data []byte
}

// Validate refuses a row of a grain that no store could take: ErrTooLarge, or words.
func (p Point) Validate(g Grain) error {
	switch {
	case g.Width() == 0:
		return fmt.Errorf("store: series: %d is no grain", g)
	case len(p.Series) > MaxName || len(p.Data) > MaxPoint:
		return fmt.Errorf("store: series: a name of %d and data of %d bytes: %w", len(p.Series), len(p.Data), ErrTooLarge)
	case !p.Time.Equal(g.Time(g.Slot(p.Time))):
		return fmt.Errorf("store: series: %s is no beginning of a row of %s", p.Time.UTC().Format(time.RFC3339Nano), g.Width())
	}
	return nil
}

// SeriesRange selects rows: from From (inclusive) to To (exclusive), not older than
// Keep before the store's clock (exact; Forever: no bound).
type SeriesRange struct {
	From, To time.Time
	Keep     time.Duration
}

// Slots returns the slots of a grain that r selects at a time of the store's clock, from
// first to before end; none: end is not after first.
func (r SeriesRange) Slots(g Grain, now time.Time) (first, end int64) {
	from := r.From
	if r.Keep != Forever && from.Before(now.Add(-r.Keep)) {
		from = now.Add(-r.Keep)
	}
	up := func(t time.Time) int64 {
		slot := g.Slot(t)
		if g.Time(slot).Before(t) {
			slot++
		}
		return slot
	}
	return up(from), up(r.To)
}

// Series keeps rows of numbers by name and time, such as how many viewers an object
// had in a minute (store.md §4, product.md §8). They are written over, not added to, so
// writing the same again changes nothing. A row is deleted some time after Keep.
type Series interface {
	// PutRows writes rows of one grain, each in place of what was there (the last of
	// several for the same place); one call to the store, however many rows, durable when
	// it returns. keep is how long rows are kept after their Time, at least. It errs
	// with ErrTooLarge when a Series or Data is too long, and on a Time that is no
	// beginning of a row; then nothing was written. After any other error some may
	// have been: write them again.
	PutRows(ctx context.Context, grain Grain, keep time.Duration, rows []Point) error
	// Rows returns, for each of series, the rows of the range in the order of time: a
	// read of that range, whatever else is kept. At most limit rows in all (at least 1);
	// more says that rows are missing at the end of the result, whose last series may then be
	// incomplete and later ones empty.
	Rows(ctx context.Context, grain Grain, series []string, r SeriesRange, limit int) (rows [][]Point, more bool, err error)
}

// Points are rows of one grain in a copy.
type Points struct {
	Grain Grain
	// Keep is how long they are kept after their Time, or longer.
	Keep time.Duration
	Rows []Point
}
