package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

// An outbox is a stream of one field c. append.lua writes, in the step that writes the
// record, and the pump reads:
//
//	place(16)          of the record in its log
//	len(1) feed        the log that gets the copy
//	len(1) path
//	age(8) length(8) idle(8)   its limits
//	data
//
// Numbers are big-endian, the times in ns.

// outboxed is a copy as append.lua takes it: what lies behind the place, without the
// data where that is the record's own.
func outboxed(i int, r *store.Record) []byte {
	c := r.Copy
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 32+len(c.To.Feed)+len(c.To.Path)+len(c.Data)), uint16(i))
	b = append(b, '0'+bit(c.Data == nil))
	b = append(append(b, short(c.To.Feed)...), short(c.To.Path)...)
	for _, v := range [...]int64{int64(c.Limits.Age), int64(c.Limits.Length), int64(c.Limits.Idle)} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return append(b, c.Data...)
}

// waiting is a copy in an outbox.
type waiting struct {
	id     string
	place  string // 16 bytes
	to     store.LogName
	limits store.Limits
	data   string
}

// decodeWaiting reads a copy that waits.
func decodeWaiting(id, text string) (waiting, error) {
	c := cutter{rest: []byte(text)}
	w := waiting{id: id, place: string(c.cut(16))}
	w.to.Feed = string(c.cut(int(c.cut(1)[0])))
	w.to.Path = string(c.cut(int(c.cut(1)[0])))
	var numbers [3]int64
	for i := range numbers {
		numbers[i] = int64(binary.BigEndian.Uint64(c.cut(8)))
	}
	if c.short {
		return waiting{}, errEntry
	}
	w.limits = store.Limits{Age: time.Duration(numbers[0]), Length: int(numbers[1]), Idle: time.Duration(numbers[2])}
	w.data = string(c.rest)
	return w, nil
}

// Lag tells how many copies wait, and since when; see store.Store.
func (s *Store) Lag(ctx context.Context) (store.Lag, error) {
	var lag store.Lag
	err := s.look(ctx, func() error {
		lag = store.Lag{}
		counts, err := s.outboxes(ctx)
		if err != nil {
			return err
		}
		for p, n := range counts {
			if n == 0 {
				continue
			}
			oldest, err := s.client.XRangeN(ctx, s.keys.outbox(p), "-", "+", 1).Result()
			if err != nil {
				return err
			}
			if len(oldest) == 0 {
				continue // moved meanwhile
			}
			at, err := parseStreamID(oldest[0].ID, 0)
			if err != nil {
				return err
			}
			lag.Waiting += n
			if lag.Since.IsZero() || at.Time().Before(lag.Since) {
				lag.Since = at.Time()
			}
		}
		return nil
	})
	if err != nil {
		return store.Lag{}, fmt.Errorf("redis: lag: %w", readError(err))
	}
	return lag, nil
}

// outboxes returns how many copies wait in each.
func (s *Store) outboxes(ctx context.Context) ([]int64, error) {
	asks := make([]*goredis.IntCmd, partitions)
	_, err := s.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for i := range asks {
			asks[i] = p.XLen(ctx, s.keys.outbox(i))
		}
		return nil
	})
	counts := make([]int64, partitions)
	for i, a := range asks {
		counts[i] = a.Val()
	}
	return counts, err
}

// waitingIn reads the copies that wait in some outboxes, from their beginning or after an
// id, as the script says them. What one of them answers does not hold up the others.
func (s *Store) waitingIn(ctx context.Context, parts []int, after string, limit, maxBytes int) ([][]any, error) {
	asks := make([]*goredis.Cmd, len(parts))
	ask := func(text bool) error {
		pipe := s.client.Pipeline()
		for i, p := range parts {
			args := []any{"evalsha", waitingScript.Hash(), 1, s.keys.outbox(p), after, limit, maxBytes}
			if text {
				args[0], args[1] = "eval", waitingText
			}
			asks[i] = goredis.NewCmd(ctx, args...)
			_ = pipe.Process(ctx, asks[i])
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		var errs error
		for _, a := range asks {
			errs = errors.Join(errs, a.Err())
		}
		return errs
	}
	err := ask(false)
	if refusal(err) == "NOSCRIPT" {
		err = ask(true)
	}
	s.judge(ctx, err)
	found := make([][]any, len(parts))
	for i, a := range asks {
		if a.Err() == nil {
			found[i], _ = a.Val().([]any)
		}
	}
	return found, err
}

// EachWaiting calls do for every copy that has not reached its log; see store.Copier. The
// store was opened with Options.Still, and nobody else pumps.
func (s *Store) EachWaiting(ctx context.Context, do func(store.Waiting) error) error {
	for part := range partitions {
		for after := "0"; ; {
			var found [][]any
			err := s.open()
			if err == nil {
				found, err = s.waitingIn(ctx, []int{part}, after, maxWaiting, maxWaitingBytes)
			}
			if err == nil && len(found[0]) == 0 {
				break
			}
			if err == nil {
				after, err = s.eachOf(ctx, part, found[0], do)
			}
			if err != nil {
				return fmt.Errorf("redis: each waiting: %w", readError(err))
			}
		}
	}
	return nil
}

// eachOf calls do for those of the copies found in an outbox that are not in their log
// already, because a pump died over them. It returns the last id.
func (s *Store) eachOf(ctx context.Context, part int, found []any, do func(store.Waiting) error) (last string, err error) {
	newest := make(map[store.LogName]store.Position)
	for i := 0; i+1 < len(found); i += 2 {
		id, _ := found[i].(string)
		text, _ := found[i+1].(string)
		w, err := decodeWaiting(id, text)
		if err != nil {
			return "", err
		}
		last = id
		moved, known := newest[w.to]
		if !known {
			if moved, err = s.newestMoved(ctx, part, w.to); err != nil {
				return "", err
			}
			newest[w.to] = moved
		}
		at, err := parseStreamID(id, 0)
		if err != nil {
			return "", err
		}
		if moved.Before(at) {
			if err := do(store.NewWaiting(w.to, w.limits, store.Position([]byte(w.place)), []byte(w.data))); err != nil {
				return "", err
			}
		}
	}
	return last, nil
}

// newestMoved returns the id, as a position, of the newest copy of a partition that is in
// a log, by the mark that move.lua leaves.
func (s *Store) newestMoved(ctx context.Context, part int, to store.LogName) (store.Position, error) {
	key := s.keys.moved(partition(to.Feed), logText(to))
	var mark string
	err := s.look(ctx, func() (err error) {
		mark, err = s.client.HGet(ctx, key, strconv.Itoa(part)).Result()
		return err
	})
	if errors.Is(err, goredis.Nil) {
		return store.Position{}, nil
	}
	if err != nil || len(mark) < 18 {
		return store.Position{}, errors.Join(err, errEntry)
	}
	ms := binary.BigEndian.Uint64([]byte("\x00\x00" + mark[6:12]))
	n := binary.BigEndian.Uint64([]byte("\x00\x00" + mark[12:18]))
	return store.NewPosition(int64(ms), 0, n), nil
}
