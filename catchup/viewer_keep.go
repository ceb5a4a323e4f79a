package catchup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// ViewerKeep is how long rows of viewer statistics are kept and shown (product.md §8);
// days are kept for ever. All nodes of a store have the same.
type ViewerKeep struct {
	// Minutes is the time of minutes, a day at least. Default 15 days.
	Minutes time.Duration
	// Hours is that of hours, no shorter. Default 45 days.
	Hours time.Duration
}

// WithDefaults returns k with every zero field set.
func (k ViewerKeep) WithDefaults() ViewerKeep {
	if k.Minutes == 0 {
		k.Minutes = 15 * day
	}
	if k.Hours == 0 {
		k.Hours = max(45*day, k.Minutes)
	}
	return k
}

// Validate refuses times that days could not be made with: they are folded from hours,
// and these from minutes.
func (k ViewerKeep) Validate() error {
	if k.Minutes < day || k.Hours < k.Minutes {
		return fmt.Errorf("catchup: viewers: minutes kept for %v and hours for %v: a day at least, and hours no shorter", k.Minutes, k.Hours)
	}
	return nil
}

// of returns how long rows of a grain are kept, with a margin where they end.
func (k ViewerKeep) of(g store.Grain, margin time.Duration) time.Duration {
	switch g {
	case store.Day:
		return store.Forever
	case store.Hour:
		return k.Hours + margin
	}
	return k.Minutes + margin
}

// keptKey → seconds that minutes are kept(8), unix time from which none are missing(8).
const keptKey = "kept"

// recent returns the first day of which no minute is missing. It notes how long minutes
// are kept: where that was less before, those of then are gone, and an hour folded
// without them would take the place of a whole one.
func (v *Viewers) recent(ctx context.Context) (int64, error) {
	for {
		now := v.store.Now()
		before, since, version, err := v.keptBefore(ctx)
		if err != nil {
			return 0, err
		}
		if before < v.keep.Minutes {
			since = later(since, now.Add(-before))
		}
		if before != v.keep.Minutes || version == 0 {
			data := binary.BigEndian.AppendUint64(nil, uint64(v.keep.Minutes/time.Second))
			data = binary.BigEndian.AppendUint64(data, uint64(since.Unix()))
			_, err = v.store.Put(ctx, tableViewers, keptKey, store.Put{Data: data, IfVersion: &version})
		}
		switch from := now.Add(-v.keep.Minutes); {
		case errors.Is(err, store.ErrConflict):
		case err != nil:
			return 0, err
		case from.Before(since):
			return dayOf(since.Add(day - time.Second)), nil // its own day lacks a part
		default:
			return dayOf(from), nil
		}
	}
}

// keptBefore returns what keptKey says. Where there is none, minutes were kept for as
// long as is usual, or there never were any.
func (v *Viewers) keptBefore(ctx context.Context) (kept time.Duration, since time.Time, version uint64, err error) {
	row, err := v.store.Get(ctx, tableViewers, keptKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		if _, closed, err := v.closed(ctx); err != nil || closed == 0 {
			return v.keep.Minutes, time.Unix(0, 0), 0, err
		}
		return ViewerKeep{}.WithDefaults().Minutes, time.Unix(0, 0), 0, nil
	case err != nil:
		return 0, time.Time{}, 0, err
	case len(row.Data) != 16:
		return 0, time.Time{}, 0, errViewerRow
	}
	kept = time.Duration(binary.BigEndian.Uint64(row.Data)) * time.Second
	return kept, time.Unix(int64(binary.BigEndian.Uint64(row.Data[8:])), 0), row.Version, nil
}
