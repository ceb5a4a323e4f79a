package store

import (
	"context"
	"time"
)

// Grain is the width of the rows of a series.
type Grain uint8

// The grains of viewer statistics (product.md §8). Days are days of UTC.
const (
	Minute Grain = 1 + iota
	Hour
	Day
)

// Width returns how long one row lasts.
func (g Grain) Width() time.Duration {
	switch g {
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	default:
		return 24 * time.Hour
	}
}

// MaxPoint bounds Point.Data in bytes.
const MaxPoint = 512

// Point is one row of a series. The store does not look into Data.
type Point struct {
	// Series is opaque, at most MaxName bytes.
	Series string
	// Time is the row's beginning, a whole multiple of the grain's width.
	Time time.Time
	Data []byte
}

// SeriesRange selects rows: from From (inclusive) to To (exclusive), not older than
// Keep before the store's clock (exact; Forever: no bound).
type SeriesRange struct {
	From, To time.Time
	Keep     time.Duration
}

// Series keeps rows of numbers by name and time, such as how many viewers an object
// had in a minute (store.md §4, product.md §8). They are written over, not added to, so
// writing the same again changes nothing. A row is deleted some time after Keep.
type Series interface {
	// PutRows writes rows of one grain, each in place of what was there; one call to
	// the store, however many rows, durable when it returns. keep is how long rows of
	// this grain are kept after their Time. It errs with ErrTooLarge when a Series or
	// Data is too long; then nothing was written. After any other error some may
	// have been: write them again.
	PutRows(ctx context.Context, grain Grain, keep time.Duration, rows []Point) error
	// Rows returns, for each of series, the rows of the range in the order of time: a
	// read of that range, whatever else is kept. At most limit rows in all (at least 1);
	// more says that rows are missing at the end of the result, whose last series may then be
	// incomplete and later ones empty.
	Rows(ctx context.Context, grain Grain, series []string, r SeriesRange, limit int) (rows [][]Point, more bool, err error)
}
