package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/gobelin-broker/gobelin/store"
)

// maxPutRows is how many rows of a series are committed together: appends wait behind
// them.
const maxPutRows = 1 << 14

// stretches is how many slots of a grain lie in one bucket: expired rows are deleted
// by the bucket, and reading a series costs a seek for each.
var stretches = map[store.Grain]int64{
	store.Second: 24 * 60 * 60,
	store.Minute: 24 * 60,
	store.Hour:   4 * 24,
	store.Day:    1024,
}

// stretch is a bucket of a grain.
type stretch struct {
	grain  store.Grain
	bucket uint32
}

func stretchOf(g store.Grain, slot int64) stretch {
	return stretch{g, uint32(slot / stretches[g])}
}

// key returns the mark of a stretch, or what its rows begin with.
func (t stretch) key(tab byte) []byte {
	return binary.BigEndian.AppendUint32([]byte{tab, byte(t.grain)}, t.bucket)
}

// rows returns the beginning of the keys of one series.
func (t stretch) rows(series string) []byte {
	return append(append(t.key(tabSeries), byte(len(series))), series...)
}

// parseStretch reads a mark.
func parseStretch(key, value []byte) (t stretch, until int64, err error) {
	if len(key) != 6 || len(value) != 8 || stretches[store.Grain(key[1])] == 0 {
		return stretch{}, 0, errCorrupt
	}
	return stretch{store.Grain(key[1]), binary.BigEndian.Uint32(key[2:])}, int64(binary.BigEndian.Uint64(value)), nil
}

// keptRow is a row on its way to the disk.
type keptRow struct {
	stretch    stretch
	until      int64 // ms
	key, value []byte
}

// PutRows writes rows and returns when they are on the disk; see store.Series.
func (s *Store) PutRows(ctx context.Context, grain store.Grain, keep time.Duration, rows []store.Point) error {
	kept := make([]keptRow, len(rows))
	for i, p := range rows {
		if err := p.Validate(grain); err != nil {
			return fmt.Errorf("disk: put rows: %w", err)
		}
		slot, until := grain.Slot(p.Time), int64(math.MaxInt64)
		if keep != store.Forever {
			until = p.Time.Add(keep).UnixMilli()
		}
		t := stretchOf(grain, slot)
		kept[i] = keptRow{t, until, binary.BigEndian.AppendUint32(t.rows(p.Series), uint32(slot)), p.Data}
	}
	for len(kept) > 0 {
		some := kept[:min(len(kept), maxPutRows)]
		kept = kept[len(some):]
		size := 0
		for i := range some {
			size += len(some[i].key) + len(some[i].value)
		}
		err := s.through(ctx, "put rows", size, false, func(w *work) error {
			if err := s.ready(allRoom); err != nil {
				return err
			}
			for i := range some {
				if err := w.hold(some[i].stretch, some[i].until); err != nil {
					return err
				}
				w.set(some[i].key, some[i].value)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hold notes until when a stretch is needed.
func (w *work) hold(t stretch, until int64) error {
	held, known := w.s.stretches[t]
	if !known {
		v, err := w.s.value(t.key(tabStretch))
		if err != nil {
			return err
		}
		held = -1
		if len(v) == 8 {
			held = int64(binary.BigEndian.Uint64(v))
		}
	}
	if until > held {
		held = until
		w.set(t.key(tabStretch), binary.BigEndian.AppendUint64(nil, uint64(held)))
	}
	w.s.stretches[t] = held
	return nil
}

// Rows returns the rows of a range; see store.Series. It costs a seek for each series
// and bucket of the range.
func (s *Store) Rows(ctx context.Context, grain store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	if err := s.enter(ctx, "rows"); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if grain.Width() == 0 {
		return nil, false, fmt.Errorf("disk: rows: %d is no grain", grain)
	}
	out := make([][]store.Point, len(series))
	first, end := r.Slots(grain, s.clock.Now())
	if end <= first {
		return out, false, nil
	}
	marks, err := s.marked(stretchOf(grain, first), stretchOf(grain, end-1))
	if err != nil {
		return nil, false, unreadable("rows", err)
	}
	if len(marks) == 0 {
		return out, false, nil
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: marks[0].key(tabSeries), UpperBound: prefixEnd(marks[len(marks)-1].key(tabSeries))})
	if err != nil {
		return nil, false, unreadable("rows", err)
	}
	p := points{it: it, grain: grain, first: first, end: end, limit: max(limit, 1)}
	for i := 0; i < len(series) && !p.more && err == nil; i++ {
		if i%256 == 0 {
			err = ctx.Err()
		}
		for _, t := range marks {
			if err == nil && !p.more {
				out[i], err = p.read(t, series[i], out[i])
			}
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, false, unreadable("rows", err)
	}
	return out, p.more, nil
}

// marked returns the stretches from one to another that hold something, in order.
func (s *Store) marked(from, to stretch) (all []stretch, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from.key(tabStretch), UpperBound: prefixEnd(to.key(tabStretch))})
	if err != nil {
		return nil, err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			var t stretch
			t, _, err = parseStretch(it.Key(), v)
			all = append(all, t)
		}
	}
	return all, errors.Join(err, it.Close())
}

// points reads rows of one grain.
type points struct {
	it         *pebble.Iterator
	grain      store.Grain
	first, end int64
	limit      int // how many more
	more       bool
	data       []byte // what is left of a piece for the data of rows
}

// dataPiece is how much is allocated at once, at most, for the data of rows, which are
// small and read by the thousand.
const dataPiece = 32 << 10

// keep returns a copy of the data of a row.
func (p *points) keep(v []byte) []byte {
	if len(v) > len(p.data) {
		p.data = make([]byte, len(v)*min(p.limit+1, max(dataPiece/len(v), 1)))
	}
	n := copy(p.data, v)
	kept := p.data[:n:n]
	p.data = p.data[n:]
	return kept
}

// read appends the rows of a series in one stretch.
func (p *points) read(t stretch, series string, out []store.Point) ([]store.Point, error) {
	prefix := t.rows(series)
	key := binary.BigEndian.AppendUint32(prefix, uint32(p.first))
	for ok := p.it.SeekGE(key); ok; ok = p.it.Next() {
		key := p.it.Key()
		if len(key) != len(prefix)+4 || !bytes.HasPrefix(key, prefix) {
			return out, nil
		}
		slot := int64(binary.BigEndian.Uint32(key[len(prefix):]))
		if slot >= p.end {
			return out, nil
		}
		if p.limit == 0 {
			p.more = true
			return out, nil
		}
		p.limit--
		v, err := p.it.ValueAndErr()
		if err != nil {
			return out, err
		}
		out = append(out, store.Point{Series: series, Time: p.grain.Time(slot), Data: p.keep(v)})
	}
	return out, p.it.Error()
}

// sweepSeries deletes the stretches of which nobody keeps anything any more.
func (s *Store) sweepSeries(ctx context.Context) error {
	return s.each(ctx, "sweep", tabStretch, func(key, value []byte) error {
		t, until, err := parseStretch(key, value)
		if err != nil || until > s.clock.Now().UnixMilli() {
			return err
		}
		return s.through(ctx, "sweep", 0, true, func(w *work) error {
			// It may have been written to meanwhile.
			if w.s.stretches[t] > w.s.clock.Now().UnixMilli() {
				return nil
			}
			w.deleteRange(t.key(tabSeries), prefixEnd(t.key(tabSeries)))
			w.delete(t.key(tabStretch))
			delete(w.s.stretches, t)
			return nil
		})
	})
}

// EachPoints calls do with the rows of every series; see store.Copier.
func (s *Store) EachPoints(ctx context.Context, do func(store.Points) error) error {
	keeps := make(map[stretch]int64)
	err := s.each(ctx, "each points", tabStretch, func(key, value []byte) error {
		t, until, err := parseStretch(key, value)
		if err != nil {
			return unreadable("each points", err)
		}
		keeps[t] = until
		return nil
	})
	if err != nil {
		return err
	}
	var last stretch
	var some store.Points
	flush := func() error {
		if len(some.Rows) == 0 {
			return nil
		}
		rows := some
		some.Rows = nil
		return do(rows)
	}
	err = s.each(ctx, "each points", tabSeries, func(key, value []byte) error {
		t, p, err := parsePoint(key, value)
		if err != nil {
			return unreadable("each points", err)
		}
		if t != last || len(some.Rows) >= walkStep {
			if err := flush(); err != nil {
				return err
			}
			last, some = t, store.Points{Grain: t.grain, Keep: t.keep(keeps[t])}
		}
		some.Rows = append(some.Rows, p)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// keep returns how long the rows of a stretch that is needed until then are kept.
func (t stretch) keep(until int64) time.Duration {
	if until == math.MaxInt64 {
		return store.Forever
	}
	return time.UnixMilli(until).Sub(t.grain.Time(int64(t.bucket) * stretches[t.grain]))
}

// parsePoint reads a row with its key.
func parsePoint(key, value []byte) (stretch, store.Point, error) {
	if len(key) < 7 || len(key) != 7+int(key[6])+4 || stretches[store.Grain(key[1])] == 0 {
		return stretch{}, store.Point{}, errCorrupt
	}
	t := stretch{store.Grain(key[1]), binary.BigEndian.Uint32(key[2:])}
	name, slot := key[7:7+int(key[6])], binary.BigEndian.Uint32(key[len(key)-4:])
	p := store.Point{Series: string(name), Time: t.grain.Time(int64(slot)), Data: value}
	if t.grain.Slot(p.Time) != int64(slot) {
		return stretch{}, store.Point{}, errCorrupt // no row has that time
	}
	return t, p, nil
}
