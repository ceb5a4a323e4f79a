package redis

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
)

//go:embed import.lua
var importText string

var importScript = goredis.NewScript(importText)

var _ store.Copier = (*Store)(nil)

const (
	// scanStep is how many keys a server looks at for one answer of a walk.
	scanStep = 1000
	// maxImport bounds the records of one call, and so how long it holds the server up.
	maxImport = 500
)

// EachLog calls do for every log; see store.Copier. Of the limits only until when the
// stream lives is known: they say so as idle time, by which nothing goes early.
func (s *Store) EachLog(ctx context.Context, do func(store.LogState) error) error {
	return s.walk(ctx, "each log", "s", func(keys []string) error {
		for _, key := range keys {
			name, ok := s.logOf(key)
			if !ok {
				continue
			}
			state, err := s.state(ctx, name)
			if err == nil && !state.Last.IsZero() {
				err = do(state)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// logOf returns the log whose stream has this key.
func (s *Store) logOf(key string) (store.LogName, bool) {
	_, text, ok := strings.Cut(key, "}:s:")
	if !ok {
		return store.LogName{}, false
	}
	name, ok := parseLogText(text)
	return name, ok && s.keys.stream(partition(name.Feed), text) == key
}

// state returns what a copy is told of a log.
func (s *Store) state(ctx context.Context, name store.LogName) (store.LogState, error) {
	limits := store.Limits{Age: store.Forever}
	v := s.view(ctx, name, store.Range{Limits: limits})
	var lives time.Duration
	v.window()
	if v.err == nil {
		v.err = s.look(ctx, func() (err error) {
			lives, err = s.client.PTTL(ctx, v.keys.stream).Result()
			return err
		})
	}
	if v.err != nil {
		return store.LogState{}, fmt.Errorf("redis: each log: %w", readError(v.err))
	}
	if v.log.Last.IsZero() {
		return store.LogState{}, nil
	}
	if lives > 0 {
		limits.Idle = max(v.now.Add(lives).Sub(v.log.Last.Time()), time.Minute).Round(time.Millisecond)
	}
	return store.LogState{Log: name, Limits: limits, Start: v.log.Start, Last: v.log.Last}, nil
}

// Export returns records as they are; see store.Copier.
func (s *Store) Export(ctx context.Context, name store.LogName, after store.Position, limit, maxBytes int) ([]store.Copied, error) {
	v := s.view(ctx, name, store.Range{Limits: store.Limits{Age: store.Forever}})
	v.window()
	if v.err != nil {
		return nil, fmt.Errorf("redis: export: %w", readError(v.err))
	}
	n := min(max(maxBytes/max(v.widest, 1), 1), max(limit, 1), maxChunk)
	var found []goredis.XMessage
	var redacted []string
	err := s.look(ctx, func() error {
		pipe := s.client.Pipeline()
		messages := pipe.XRangeN(ctx, v.keys.stream, "("+streamID(after.MS(), after.N()), "+", int64(n))
		tombs := pipe.ZRangeByScore(ctx, v.keys.redacted, &goredis.ZRangeBy{
			Min: strconv.FormatUint(after.N()+1, 10), Max: strconv.FormatUint(after.N()+uint64(n)+1, 10),
		})
		_, err := pipe.Exec(ctx)
		found, redacted = messages.Val(), tombs.Val()
		return err
	})
	var entries []store.Entry
	if err == nil {
		entries, err = v.decode(found)
	}
	if err == nil && after.IsZero() && len(entries) > 0 && v.redacted {
		// Where the log begins only now is known.
		first := entries[0].Position.N()
		err = s.look(ctx, func() (err error) {
			redacted, err = s.client.ZRangeByScore(ctx, v.keys.redacted, &goredis.ZRangeBy{
				Min: strconv.FormatUint(first, 10), Max: strconv.FormatUint(first+uint64(n), 10),
			}).Result()
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("redis: export: %w", readError(err))
	}
	gone := make(map[string]bool, len(redacted))
	for _, n := range redacted {
		gone[n] = true
	}
	out := make([]store.Copied, len(entries))
	for i, e := range entries {
		out[i] = store.Copied{Entry: e, Redacted: gone[strconv.FormatUint(e.Position.N(), 10)]}
		if out[i].Redacted {
			out[i].Data = nil
		}
	}
	return out, nil
}

// Import puts records behind the end of a log; see store.Copier.
func (s *Store) Import(ctx context.Context, state store.LogState, records []store.Copied) error {
	if err := state.Log.Validate(); err != nil {
		return fmt.Errorf("redis: import: %w", err)
	}
	if _, err := state.Rest(store.Position{}, records); err != nil {
		return fmt.Errorf("redis: import: %w", err)
	}
	for len(records) > 0 {
		n, size := 0, 0
		for n < min(len(records), maxImport) && (n == 0 || size+len(records[n].Data) <= maxChunkBytes) {
			size += len(records[n].Data)
			n++
		}
		if err := s.bring(ctx, state, records[:n]); err != nil {
			return fmt.Errorf("redis: import: %w", storeError(err))
		}
		records = records[n:]
	}
	return nil
}

// bring is one call of the import script.
func (s *Store) bring(ctx context.Context, state store.LogState, records []store.Copied) error {
	p, log := partition(state.Log.Feed), logText(state.Log)
	args := make([]any, 2, 2+4*len(records))
	biggest := 0
	for i := range records {
		r := &records[i]
		mark, data := "0", r.Data
		if r.Redacted {
			mark, data = "1", nil
		}
		biggest = max(biggest, len(data))
		args = append(args, streamID(r.Position.MS(), r.Position.N()), r.Position.N(), mark, data)
	}
	age, idle := bound(state.Limits.Age), bound(state.Limits.Idle)
	hold, keep := age, int64(0)
	if idle > 0 && (hold == 0 || idle < hold) {
		hold = idle
	}
	if last := max(age, idle); last > 0 {
		keep = last + metaLife.Milliseconds()
	}
	settings := binary.BigEndian.AppendUint32(make([]byte, 0, 32), state.Start.Epoch())
	for _, v := range [...]int64{int64(state.Start.N()), hold, keep} {
		settings = append48(settings, v)
	}
	args[0], args[1] = binary.BigEndian.AppendUint32(settings, uint32(biggest)), log
	got, err := s.run(ctx, importScript, []string{s.keys.meta(p, log), s.keys.stream(p, log), s.keys.redacted(p, log), s.keys.index(p)}, args...)
	switch {
	case err != nil:
		return err
	case got == int64(0):
		return store.ErrConflict
	case got != int64(1):
		return errors.New("the records do not follow those that are there")
	}
	return nil
}

// EachRow calls do for every row; see store.Copier.
func (s *Store) EachRow(ctx context.Context, do func(store.Row) error) error {
	return s.walk(ctx, "each row", "d", func(keys []string) error {
		asks := make([]*goredis.StringCmd, len(keys))
		err := s.look(ctx, func() error {
			pipe := s.client.Pipeline()
			for i, key := range keys {
				asks[i] = pipe.Get(ctx, key)
			}
			if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("redis: each row: %w", readError(err))
		}
		for i, a := range asks {
			table, key, ok := s.rowOf(keys[i])
			if errors.Is(a.Err(), goredis.Nil) || !ok {
				continue
			}
			v, err := decodeRow(a.Val())
			if err != nil {
				return fmt.Errorf("redis: each row: %w", err)
			}
			if err := do(store.Row{Table: table, Item: store.Item{Key: key, Value: v}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// rowOf returns the row that has this key.
func (s *Store) rowOf(key string) (table, row string, ok bool) {
	_, text, _ := strings.Cut(key, "}:d:")
	name, ok := parseLogText(text) // a table and its key are written in the same way
	return name.Feed, name.Path, ok && s.keys.row(rowPartition(name.Feed, name.Path), name.Feed, name.Path) == key
}

// ImportRows writes rows as they are; see store.Copier.
func (s *Store) ImportRows(ctx context.Context, rows []store.Row) error {
	for _, r := range rows {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("redis: import rows: %w", err)
		}
	}
	err := s.open()
	if err == nil {
		now := s.clock.Now()
		pipe := s.client.Pipeline()
		for _, r := range rows {
			s.bringRow(ctx, pipe, r, now)
		}
		if pipe.Len() > 0 {
			_, err = pipe.Exec(ctx)
			s.judge(ctx, err)
		}
	}
	if err != nil {
		return fmt.Errorf("redis: import rows: %w", storeError(err))
	}
	return nil
}

// bringRow writes a row as put.lua would, with the version and the end it has.
func (s *Store) bringRow(ctx context.Context, pipe goredis.Pipeliner, r store.Row, now time.Time) {
	var ends int64
	if !r.Expires.IsZero() {
		if ends = r.Expires.UnixMilli(); ends <= now.UnixMilli() {
			return
		}
	}
	p := rowPartition(r.Table, r.Key)
	keys := s.rowKeys(p, r.Table, r.Key)
	text := append(append48(binary.BigEndian.AppendUint64(nil, r.Version), ends), r.Data...)
	if ends > 0 {
		pipe.Set(ctx, keys[0], text, time.Duration(ends-now.UnixMilli())*time.Millisecond)
		pipe.ZAdd(ctx, keys[2], goredis.Z{Score: float64(ends), Member: r.Key})
	} else {
		pipe.Set(ctx, keys[0], text, 0)
		pipe.ZRem(ctx, keys[2], r.Key)
	}
	pipe.ZAdd(ctx, keys[1], goredis.Z{Member: r.Key})
}

// walk calls do with all keys of one kind, some at a time and each once, primary by
// primary.
func (s *Store) walk(ctx context.Context, doing, kind string, do func([]string) error) error {
	primaries, err := s.primaries(ctx)
	if err != nil {
		return fmt.Errorf("redis: %s: %w", doing, readError(err))
	}
	seen := make(map[[16]byte]struct{})
	pattern := globbed(s.keys.prefix) + ":{*}:" + kind + ":*"
	for _, client := range primaries {
		for cursor, begun := uint64(0), false; !begun || cursor != 0; begun = true {
			var keys []string
			err := s.look(ctx, func() (err error) {
				var next uint64
				if keys, next, err = client.Scan(ctx, cursor, pattern, scanStep).Result(); err == nil {
					cursor = next
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("redis: %s: %w", doing, readError(err))
			}
			if fresh := unseen(keys, seen); len(fresh) > 0 {
				if err := do(fresh); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// unseen returns the keys that were not there before, and notes them: a walk may meet
// a key more than once.
func unseen(keys []string, seen map[[16]byte]struct{}) []string {
	fresh := keys[:0]
	for _, key := range keys {
		sum := sha256.Sum256([]byte(key))
		id := [16]byte(sum[:16])
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			fresh = append(fresh, key)
		}
	}
	return fresh
}

// primaries returns a client for each server that holds a part of the keys.
func (s *Store) primaries(ctx context.Context) ([]goredis.Cmdable, error) {
	cluster, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		return []goredis.Cmdable{s.client}, nil
	}
	var mu sync.Mutex // they are called at once
	var all []goredis.Cmdable
	err := cluster.ForEachMaster(ctx, func(_ context.Context, c *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, c)
		return nil
	})
	return all, err
}

// globbed is a text as a pattern that matches only it.
func globbed(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(text)
}
