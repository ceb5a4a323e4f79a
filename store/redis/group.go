package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

// A group of readers is a consumer group of the log's stream, and goes with it. In it a
// consumer's name stands behind consumed; nobody has what was given back.
const (
	nobody   = "-"
	consumed = "="
)

// maxSettle is how many places one command settles.
const maxSettle = 1000

// Take hands records to a consumer; see store.Groups. A call of which the connection
// broke is sent once more and finds what it took.
func (s *Store) Take(ctx context.Context, g store.GroupName, limits store.Limits, consumer string, limit, maxBytes int) (store.Taken, error) {
	if len(consumer) > store.MaxName {
		return store.Taken{}, fmt.Errorf("redis: take: consumer: %d bytes: %w", len(consumer), store.ErrTooLarge)
	}
	if err := g.Validate(); err != nil {
		return store.Taken{}, fmt.Errorf("redis: take: %w", err)
	}
	for limits.Keeps() {
		out, more, err := s.take(ctx, g, limits, consumer, limit, maxBytes)
		if err != nil {
			return store.Taken{}, fmt.Errorf("redis: take: %w", storeError(err))
		}
		if !more {
			return out, nil
		}
	}
	return store.Taken{}, nil
}

// take is one call of the script, or two. more: it found none, but there may be some.
func (s *Store) take(ctx context.Context, g store.GroupName, limits store.Limits, consumer string, limit, maxBytes int) (out store.Taken, more bool, err error) {
	p, log := partition(g.Log.Feed), logText(g.Log)
	keys := []string{s.keys.meta(p, log), s.keys.stream(p, log), s.keys.redacted(p, log)}
	now := s.clock.Now()
	settings := make([]byte, 0, 48)
	for _, v := range [...]int64{
		now.UnixMilli(), window.Cutoff(limits.Age, now), bound(limits.Idle), int64(max(limits.Length, 0)),
		2 + 2*rand.Int64N(1<<40), // marks what this call takes
	} {
		settings = append48(settings, v)
	}
	retry := len(settings)
	settings = append(settings, 0)
	for _, v := range [...]int{min(max(limit, 1), store.MaxTake), min(max(maxBytes, 1), math.MaxInt32), s.held} {
		settings = binary.BigEndian.AppendUint32(settings, uint32(v))
	}
	got, err := s.run(ctx, takeScript, keys, settings, g.Name, consumed+consumer, nobody)
	if doubtful(err) && cause(err) == "connection" {
		settings[retry] = 1
		got, err = s.run(ctx, takeScript, keys, settings, g.Name, consumed+consumer, nobody)
	}
	if err != nil {
		return store.Taken{}, false, err
	}
	return taken(got)
}

// taken reads the answer of take.lua.
func taken(answer any) (out store.Taken, more bool, err error) {
	list, _ := answer.([]any)
	if len(list) < 2 || len(list)%2 != 0 {
		return out, false, errEntry
	}
	again, _ := list[0].(int64)
	out.Again = int(again)
	for i := 2; i < len(list); i += 2 {
		id, _ := list[i].(string)
		d, _ := list[i+1].(string)
		e, err := decodeEntry(goredis.XMessage{ID: id, Values: map[string]any{"d": d}})
		if err != nil {
			return store.Taken{}, false, err
		}
		out.Entries = append(out.Entries, e)
	}
	return out, len(out.Entries) == 0 && list[1] == int64(1), nil
}

// Settle ends the holding of records; see store.Groups.
func (s *Store) Settle(ctx context.Context, g store.GroupName, at []store.Position) error {
	if err := g.Validate(); err != nil {
		return fmt.Errorf("redis: settle: %w", err)
	}
	key := s.keys.stream(partition(g.Log.Feed), logText(g.Log))
	for len(at) > 0 {
		n := min(len(at), maxSettle)
		ids := make([]string, n)
		for i, p := range at[:n] {
			ids[i] = streamID(p.MS(), p.N())
		}
		at = at[n:]
		if err := s.look(ctx, func() error { return s.client.XAck(ctx, key, g.Name, ids...).Err() }); err != nil {
			return fmt.Errorf("redis: settle: %w", storeError(err))
		}
	}
	return nil
}

// Leave gives back what a consumer holds; see store.Groups.
func (s *Store) Leave(ctx context.Context, g store.GroupName, consumer string) error {
	if err := g.Validate(); err != nil {
		return fmt.Errorf("redis: leave: %w", err)
	}
	key := s.keys.stream(partition(g.Log.Feed), logText(g.Log))
	for {
		got, err := s.twice(ctx, leaveScript, []string{key}, g.Name, consumed+consumer, nobody)
		if err != nil {
			return fmt.Errorf("redis: leave: %w", storeError(err))
		}
		if got == int64(0) {
			return nil
		}
	}
}

// Seek sets the place of a group; see store.Groups.
func (s *Store) Seek(ctx context.Context, g store.GroupName, after store.Position) error {
	n := strconv.FormatUint(after.N(), 10)
	return s.place(ctx, "seek", g, "1", strconv.FormatInt(after.MS(), 10), after[6:10], n)
}

// Drop forgets a group; see store.Groups.
func (s *Store) Drop(ctx context.Context, g store.GroupName) error {
	return s.place(ctx, "drop", g, "0")
}

func (s *Store) place(ctx context.Context, doing string, g store.GroupName, args ...any) error {
	if err := g.Validate(); err != nil {
		return fmt.Errorf("redis: %s: %w", doing, err)
	}
	p, log := partition(g.Log.Feed), logText(g.Log)
	keys := []string{s.keys.meta(p, log), s.keys.stream(p, log)}
	if _, err := s.twice(ctx, placeScript, keys, append([]any{g.Name}, args...)...); err != nil {
		return fmt.Errorf("redis: %s: %w", doing, storeError(err))
	}
	return nil
}

// twice runs a script that may be run again, once more if a connection broke over it.
func (s *Store) twice(ctx context.Context, script *goredis.Script, keys []string, args ...any) (any, error) {
	got, err := s.run(ctx, script, keys, args...)
	if doubtful(err) && cause(err) == "connection" {
		got, err = s.run(ctx, script, keys, args...)
	}
	return got, err
}

// State returns where a group stands; see store.Groups.
func (s *Store) State(ctx context.Context, g store.GroupName) (store.GroupState, error) {
	if err := g.Validate(); err != nil {
		return store.GroupState{}, fmt.Errorf("redis: state: %w", err)
	}
	p, log := partition(g.Log.Feed), logText(g.Log)
	got, err := s.twice(ctx, stateScript, []string{s.keys.meta(p, log), s.keys.stream(p, log)}, g.Name)
	var state store.GroupState
	if err == nil {
		state, err = groupState(got)
	}
	if err != nil {
		return store.GroupState{}, fmt.Errorf("redis: state: %w", readError(err))
	}
	return state, nil
}

// groupState reads the answer of state.lua.
func groupState(answer any) (store.GroupState, error) {
	list, _ := answer.([]any)
	if len(list) == 0 {
		return store.GroupState{}, nil
	}
	if len(list) < 3 || len(list)%2 != 1 {
		return store.GroupState{}, errEntry
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i], _ = v.(string)
	}
	var epoch uint32
	if len(texts[0]) == 4 {
		epoch = binary.BigEndian.Uint32([]byte(texts[0]))
	}
	next, err := parseStreamID(texts[1], epoch)
	if err != nil {
		return store.GroupState{}, err
	}
	if next.MS() == 0 {
		next = store.Position{}
	}
	state := store.GroupState{After: next, Next: next}
	if texts[2] != "" {
		least, err := parseStreamID(texts[2], epoch)
		if err != nil {
			return store.GroupState{}, err
		}
		state.After = store.NewPosition(least.MS(), epoch, least.N()-1)
	}
	for i := 3; i < len(texts); i += 2 {
		n, err := strconv.Atoi(texts[i+1])
		if err != nil {
			return store.GroupState{}, errEntry
		}
		if name, ok := strings.CutPrefix(texts[i], consumed); !ok {
			state.Returned += n
		} else if state.Held == nil {
			state.Held = map[string]int{name: n}
		} else {
			state.Held[name] = n
		}
	}
	return state, nil
}

// EachGroup calls do for every group; see store.Copier.
func (s *Store) EachGroup(ctx context.Context, do func(store.GroupName) error) error {
	return s.walk(ctx, "each group", "s", func(keys []string) error {
		asks := make([]*goredis.XInfoGroupsCmd, len(keys))
		err := s.look(ctx, func() error {
			pipe := s.client.Pipeline()
			for i, key := range keys {
				asks[i] = pipe.XInfoGroups(ctx, key)
			}
			_, _ = pipe.Exec(ctx) // each command has its own error
			for _, a := range asks {
				if err := a.Err(); err != nil && refusal(err) != "ERR" { // the key is gone
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("redis: each group: %w", readError(err))
		}
		for i, a := range asks {
			log, ok := s.logOf(keys[i])
			for _, g := range a.Val() {
				if !ok {
					continue
				}
				if err := do(store.GroupName{Log: log, Name: g.Name}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
