package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

const (
	// maxPutRows is how many rows are written in one pipeline, and maxSlots how many can
	// come back in one: more would hold up the server and what waits behind them.
	maxPutRows = 20_000
	maxSlots   = 60_000
	// walkedPoints is how many hashes are read at once for a copy.
	walkedPoints = 64
	// fewSlots is up to how many rows of a bucket are asked for one by one.
	fewSlots = 8
	// pointSlack is how much longer a bucket lives than its last row is kept: clocks of
	// nodes and servers differ.
	pointSlack = time.Hour
)

// bucketSlots is how many rows of a series lie in one hash: few enough for the compact
// form of a hash (store.md §3.3), but for seconds if every one has a sample.
var bucketSlots = map[store.Grain]int64{
	store.Second: 60 * 60,
	store.Minute: 60,
	store.Hour:   24,
	store.Day:    32,
}

// bucket is the hash in which some rows of a series lie.
type bucket struct {
	grain  store.Grain
	number int64
	series string
}

// points returns the name of a hash.
func (k *keys) points(t bucket) string {
	return k.of(partition(t.series), "v", strconv.Itoa(int(t.grain))+"."+strconv.FormatInt(t.number, 10)+":"+t.series)
}

// parsePoints reads the name of a hash.
func (k *keys) parsePoints(key string) (t bucket, ok bool) {
	_, text, _ := strings.Cut(key, "}:v:")
	head, series, _ := strings.Cut(text, ":")
	grain, number, _ := strings.Cut(head, ".")
	g, err := strconv.ParseUint(grain, 10, 8)
	b, err2 := strconv.ParseUint(number, 10, 32)
	t = bucket{store.Grain(g), int64(b), series}
	return t, err == nil && err2 == nil && bucketSlots[t.grain] > 0 && k.points(t) == key
}

// end returns when the last row of t has passed.
func (t bucket) end() time.Time { return t.grain.Time((t.number + 1) * bucketSlots[t.grain]) }

// field names a row in its hash.
func (t bucket) field(slot int64) string {
	return strconv.FormatInt(slot-t.number*bucketSlots[t.grain], 10)
}

// point makes a row of a field.
func (t bucket) point(field, data string) (store.Point, int64, error) {
	n, err := strconv.ParseUint(field, 10, 32)
	if err != nil || int64(n) >= bucketSlots[t.grain] {
		return store.Point{}, 0, errEntry
	}
	slot := t.number*bucketSlots[t.grain] + int64(n)
	return store.Point{Series: t.series, Time: t.grain.Time(slot), Data: []byte(data)}, slot, nil
}

// PutRows writes rows in one pipeline, or a few if they are very many; see store.Series.
// Writing them again changes nothing, so it is done when a connection breaks.
func (s *Store) PutRows(ctx context.Context, grain store.Grain, keep time.Duration, rows []store.Point) error {
	for _, p := range rows {
		if err := p.Validate(grain); err != nil {
			return fmt.Errorf("redis: put rows: %w", err)
		}
	}
	for some := range slices.Chunk(rows, maxPutRows) {
		fields := gatherPoints(grain, some)
		err := s.look(ctx, func() error {
			pipe := s.client.Pipeline()
			for t, values := range fields {
				key := s.keys.points(t)
				pipe.HSet(ctx, key, values...)
				if keep == store.Forever {
					pipe.Persist(ctx, key)
				} else {
					pipe.PExpireAt(ctx, key, t.end().Add(keep+pointSlack))
				}
			}
			_, err := pipe.Exec(ctx)
			return err
		})
		if err != nil {
			return fmt.Errorf("redis: put rows: %w", storeError(err))
		}
	}
	return nil
}

// gatherPoints puts rows together that lie in one hash.
func gatherPoints(grain store.Grain, rows []store.Point) map[bucket][]any {
	fields := make(map[bucket][]any, len(rows))
	for _, p := range rows {
		slot := grain.Slot(p.Time)
		t := bucket{grain, slot / bucketSlots[grain], p.Series}
		fields[t] = append(fields[t], t.field(slot), p.Data)
	}
	return fields
}

// Rows returns the rows of a range; see store.Series. It asks for the hashes of the
// range, some hundred at a time.
func (s *Store) Rows(ctx context.Context, grain store.Grain, series []string, r store.SeriesRange, limit int) ([][]store.Point, bool, error) {
	if grain.Width() == 0 {
		return nil, false, fmt.Errorf("redis: rows: %d is no grain", grain)
	}
	out := make([][]store.Point, len(series))
	first, end := r.Slots(grain, s.clock.Now())
	if end <= first {
		return out, false, nil
	}
	limit = max(limit, 1)
	var asks []pointsAsk
	slots, found := int64(0), 0
	for i, name := range series {
		if len(name) > store.MaxName {
			continue
		}
		for b := first / bucketSlots[grain]; b*bucketSlots[grain] < end; b++ {
			t := bucket{grain, b, name}
			a := pointsAsk{bucket: t, at: i, first: max(first, b*bucketSlots[grain]), end: min(end, (b+1)*bucketSlots[grain])}
			asks = append(asks, a)
			if slots += a.end - a.first; slots < maxSlots && len(asks) < maxChunk {
				continue
			}
			n, err := s.points(ctx, asks, out)
			if err != nil {
				return nil, false, fmt.Errorf("redis: rows: %w", readError(err))
			}
			asks, slots = asks[:0], 0
			if found += n; found > limit {
				return cutPoints(out, limit), true, nil
			}
		}
	}
	n, err := s.points(ctx, asks, out)
	if err != nil {
		return nil, false, fmt.Errorf("redis: rows: %w", readError(err))
	}
	if found += n; found > limit {
		return cutPoints(out, limit), true, nil
	}
	return out, false, nil
}

// pointsAsk is a question for rows of one hash.
type pointsAsk struct {
	bucket
	at         int // of the series
	first, end int64
}

// points appends the rows that were asked for to out, and returns how many there are.
func (s *Store) points(ctx context.Context, asks []pointsAsk, out [][]store.Point) (n int, err error) {
	if len(asks) == 0 {
		return 0, nil
	}
	answers := make([]func([]store.Point) ([]store.Point, error), len(asks))
	err = s.look(ctx, func() error {
		pipe := s.client.Pipeline()
		for i, a := range asks {
			if a.end-a.first <= fewSlots {
				answers[i] = a.some(ctx, pipe, s.keys.points(a.bucket))
			} else {
				answers[i] = a.all(ctx, pipe, s.keys.points(a.bucket))
			}
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	for i, a := range asks {
		had := len(out[a.at])
		if out[a.at], err = answers[i](out[a.at]); err != nil {
			return n, err
		}
		n += len(out[a.at]) - had
	}
	return n, nil
}

// some asks for rows one by one.
func (a pointsAsk) some(ctx context.Context, pipe goredis.Pipeliner, key string) func([]store.Point) ([]store.Point, error) {
	fields := make([]string, 0, a.end-a.first)
	for slot := a.first; slot < a.end; slot++ {
		fields = append(fields, a.field(slot))
	}
	got := pipe.HMGet(ctx, key, fields...)
	return func(out []store.Point) ([]store.Point, error) {
		for i, v := range got.Val() {
			data, there := v.(string)
			if !there {
				continue
			}
			p, _, err := a.point(fields[i], data)
			if err != nil {
				return out, err
			}
			out = append(out, p)
		}
		return out, nil
	}
}

// all asks for everything in the hash.
func (a pointsAsk) all(ctx context.Context, pipe goredis.Pipeliner, key string) func([]store.Point) ([]store.Point, error) {
	got := pipe.HGetAll(ctx, key)
	return func(out []store.Point) ([]store.Point, error) {
		had := len(out)
		for field, data := range got.Val() {
			p, slot, err := a.point(field, data)
			if err != nil {
				return out, err
			}
			if slot >= a.first && slot < a.end {
				out = append(out, p)
			}
		}
		slices.SortFunc(out[had:], byTime)
		return out, nil
	}
}

func byTime(a, b store.Point) int { return cmp.Compare(a.Time.Unix(), b.Time.Unix()) }

// cutPoints leaves the first limit rows.
func cutPoints(rows [][]store.Point, limit int) [][]store.Point {
	for i := range rows {
		rows[i] = rows[i][:min(len(rows[i]), limit)]
		limit -= len(rows[i])
	}
	return rows
}

// EachPoints calls do with the rows of each hash; see store.Copier.
func (s *Store) EachPoints(ctx context.Context, do func(store.Points) error) error {
	return s.walk(ctx, "each points", "v", func(keys []string) error {
		for some := range slices.Chunk(keys, walkedPoints) {
			all, err := s.exportPoints(ctx, some)
			if err != nil {
				return fmt.Errorf("redis: each points: %w", err)
			}
			for _, p := range all {
				if err := do(p); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// exportPoints reads hashes whole.
func (s *Store) exportPoints(ctx context.Context, keys []string) (all []store.Points, err error) {
	fields := make([]*goredis.MapStringStringCmd, len(keys))
	lives := make([]*goredis.DurationCmd, len(keys))
	err = s.look(ctx, func() error {
		pipe := s.client.Pipeline()
		for i, key := range keys {
			fields[i], lives[i] = pipe.HGetAll(ctx, key), pipe.PTTL(ctx, key)
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return nil, readError(err)
	}
	for i, key := range keys {
		t, ok := s.keys.parsePoints(key)
		if !ok || len(fields[i].Val()) == 0 {
			continue
		}
		p := store.Points{Grain: t.grain, Keep: t.keep(s.clock.Now(), lives[i].Val())}
		for field, data := range fields[i].Val() {
			row, _, err := t.point(field, data)
			if err != nil {
				return nil, err
			}
			p.Rows = append(p.Rows, row)
		}
		slices.SortFunc(p.Rows, byTime)
		all = append(all, p)
	}
	return all, nil
}

// keep returns how long the rows of t are kept, in whole hours, if it lives so long.
func (t bucket) keep(now time.Time, lives time.Duration) time.Duration {
	if lives < 0 {
		return store.Forever
	}
	return max(now.Add(lives-pointSlack).Sub(t.end())+time.Hour-time.Minute, 0).Truncate(time.Hour)
}
