package memory

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/gobelin-broker/gobelin/store"
)

// seriesName is a series in one grain.
type seriesName struct {
	grain store.Grain
	name  string
}

// point is one row of a series.
type point struct {
	slot int64
	ends int64 // ms at which it may go
	data []byte
}

// pointOverhead is an estimate of what a point takes on the heap beside its data,
// seriesOverhead of what a series does beside its name.
const pointOverhead, seriesOverhead = 56, 160

// PutRows writes rows; see store.Series. All are written or none.
func (s *Store) PutRows(ctx context.Context, grain store.Grain, keep time.Duration, rows []store.Point) error {
	need := int64(0)
	for _, p := range rows {
		if err := p.Validate(grain); err != nil {
			return fmt.Errorf("memory: put rows: %w", err)
		}
		need += pointOverhead + int64(len(p.Data))
	}
	if err := s.lock(ctx, "put rows"); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if !s.room(need) {
		return fmt.Errorf("memory: put rows: %w", store.ErrFull)
	}
	for _, p := range rows {
		ends := int64(math.MaxInt64)
		if keep != store.Forever {
			ends = p.Time.Add(keep).UnixMilli()
		}
		s.putPoint(seriesName{grain, p.Series}, point{grain.Slot(p.Time), ends, slices.Clone(p.Data)})
	}
	return nil
}

// putPoint writes one row; mu is held.
func (s *Store) putPoint(name seriesName, p point) {
	points, there := s.series[name]
	if !there {
		s.bytes += seriesOverhead + int64(len(name.name))
	}
	i := searchPoints(points, p.slot)
	if i < len(points) && points[i].slot == p.slot {
		s.bytes -= pointOverhead + int64(len(points[i].data))
		points[i] = p
	} else {
		points = slices.Insert(points, i, p)
	}
	s.bytes += pointOverhead + int64(len(p.data))
	s.series[name] = points
}

// searchPoints returns the index of the first point at or after slot.
func searchPoints(points []point, slot int64) int {
	return sort.Search(len(points), func(i int) bool { return points[i].slot >= slot })
}

// Rows returns the rows of a range; see store.Series.
func (s *Store) Rows(ctx context.Context, grain store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	if grain.Width() == 0 {
		return nil, false, fmt.Errorf("memory: rows: %d is no grain", grain)
	}
	if err := s.lock(ctx, "rows"); err != nil {
		return nil, false, err
	}
	defer s.mu.Unlock()
	first, end := r.Slots(grain, s.clock.Now())
	rows := make([][]store.Point, len(series))
	limit = max(limit, 1)
	for i, name := range series {
		points := s.series[seriesName{grain, name}]
		for _, p := range points[searchPoints(points, first):] {
			if p.slot >= end {
				break
			}
			if limit == 0 {
				return rows, true, nil
			}
			limit--
			rows[i] = append(rows[i], store.Point{Series: name, Time: grain.Time(p.slot), Data: p.data})
		}
	}
	return rows, false, nil
}

// EachPoints calls do with all rows of each series; see store.Copier.
func (s *Store) EachPoints(ctx context.Context, do func(store.Points) error) error {
	if err := s.lock(ctx, "each points"); err != nil {
		return err
	}
	all := make([]store.Points, 0, len(s.series))
	for name, points := range s.series {
		p := store.Points{Grain: name.grain}
		for _, at := range points {
			begins := name.grain.Time(at.slot)
			if at.ends == math.MaxInt64 {
				p.Keep = store.Forever
			} else {
				p.Keep = max(p.Keep, time.UnixMilli(at.ends).Sub(begins))
			}
			p.Rows = append(p.Rows, store.Point{Series: name.name, Time: begins, Data: at.data})
		}
		all = append(all, p)
	}
	s.mu.Unlock()
	for _, p := range all {
		if err := do(p); err != nil {
			return err
		}
	}
	return nil
}

// sweepSeries drops rows that nobody keeps any more; mu is held.
func (s *Store) sweepSeries() {
	now := s.clock.Now().UnixMilli()
	for name, points := range s.series {
		if !slices.ContainsFunc(points, func(p point) bool { return p.ends <= now }) {
			continue
		}
		// A new array: who reads has rows of the old one.
		left := make([]point, 0, len(points))
		for _, p := range points {
			if p.ends > now {
				left = append(left, p)
			} else {
				s.bytes -= pointOverhead + int64(len(p.data))
			}
		}
		if s.series[name] = left; len(left) == 0 {
			delete(s.series, name)
			s.bytes -= seriesOverhead + int64(len(name.name))
		}
	}
}
