package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/internal/window"
)

const (
	// firstChunk is how many records are read before it is known how large those of
	// the log are, maxChunk how many at once at most (store.md §3.2).
	firstChunk = 32
	maxChunk   = 1000
	// maxChunkBytes bounds what a chunk can take in memory when more was not asked
	// for, by the greatest record of the log.
	maxChunkBytes = 8 << 20
	// guessWidest is what the greatest record of a log without a meta is taken to be;
	// append.lua has the same figure.
	guessWidest = 64 << 10
	// maxHeads is how many metas one command asks for, and how many of those one
	// pipeline has.
	maxHeads = 500
)

// Head returns where the log begins and ends; see store.Log. When every record
// that could be read is redacted, Last stands and Oldest is zero.
func (s *Store) Head(ctx context.Context, name store.LogName, limits store.Limits) (store.Head, error) {
	v := s.view(ctx, name, store.Range{Limits: limits})
	w := v.window()
	if v.err != nil {
		return store.Head{}, fmt.Errorf("redis: head: %w", readError(v.err))
	}
	if w.Empty {
		return store.Head{}, nil
	}
	page := v.page(w, 1, 1)
	if v.err != nil {
		return store.Head{}, fmt.Errorf("redis: head: %w", readError(v.err))
	}
	h := store.Head{Last: w.Last}
	if len(page) > 0 {
		h.Oldest = page[0].Position
	}
	return h, nil
}

// Read returns a page of the range; see store.Log. It never asks a replica.
func (s *Store) Read(ctx context.Context, name store.LogName, r store.Range, limit, maxBytes int) (store.Page, error) {
	limit = max(limit, 1)
	v := s.view(ctx, name, r)
	v.chunk = min(limit+2, firstChunk)
	w := v.window()
	page := store.Page{Trimmed: w.Trimmed, Forked: w.Forked}
	if v.err == nil && !w.Empty {
		page.Entries = v.page(w, limit, maxBytes)
		page.More = v.more
	}
	if v.err != nil {
		return store.Page{}, fmt.Errorf("redis: read: %w", readError(v.err))
	}
	return page, nil
}

// Heads returns the newest positions of logs; see store.Log.
func (s *Store) Heads(ctx context.Context, logs []store.LogName) ([]store.Position, error) {
	names := make([]string, len(logs))
	for i, name := range logs {
		names[i] = s.keys.meta(partition(name.Feed), logText(name))
	}
	out := make([]store.Position, len(logs))
	for begin := 0; begin < len(names); begin += maxHeads * maxHeads {
		end := min(begin+maxHeads*maxHeads, len(names))
		err := s.look(ctx, func() error { return s.heads(ctx, names[begin:end], out[begin:end]) })
		if err != nil {
			return nil, fmt.Errorf("redis: heads: %w", readError(err))
		}
	}
	return out, nil
}

// heads reads metas in one pipeline. In a cluster each is asked for alone: several
// keys of a slot that moves are refused together.
func (s *Store) heads(ctx context.Context, names []string, out []store.Position) error {
	each := maxHeads
	if s.cluster {
		each = 1
	}
	pipe := s.client.Pipeline()
	var asks []*goredis.SliceCmd
	for begin := 0; begin < len(names); begin += each {
		asks = append(asks, pipe.MGet(ctx, names[begin:min(begin+each, len(names))]...))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	for i, ask := range asks {
		for j, v := range ask.Val() {
			if text, ok := v.(string); ok {
				copy(out[i*each+j][:], text)
			}
		}
	}
	return nil
}

// view is a log while something is read from it. It asks the server what
// window.Of wants to know; the first round trip brings what mostly suffices. Its
// first error ends it.
type view struct {
	s     *Store
	ctx   context.Context
	name  store.LogName
	r     store.Range
	now   time.Time
	keys  viewKeys
	chunk int  // how many records the first round trip brings
	onlyN bool // of the window only n is wanted
	err   error

	log      window.Log
	widest   int // the greatest record of the log, at most
	redacted bool
	// ahead are the first records at or after fromMS, fromN; ended: there are no
	// others.
	ahead  []store.Entry
	fromMS int64
	fromN  uint64
	ended  bool
	// last is the last record at or before r.UpTo, where that was asked for.
	last     store.Position
	lastSure bool
	more     bool // page left something
}

type viewKeys struct{ meta, stream, redacted string }

var _ window.Records = (*view)(nil)

func (s *Store) view(ctx context.Context, name store.LogName, r store.Range) *view {
	p, log := partition(name.Feed), logText(name)
	return &view{
		s: s, ctx: ctx, name: name, r: r, now: s.clock.Now(), chunk: 2,
		keys: viewKeys{s.keys.meta(p, log), s.keys.stream(p, log), s.keys.redacted(p, log)},
	}
}

// window returns what the range shows.
func (v *view) window() window.Window {
	if v.err = v.name.Validate(); v.err != nil {
		return window.Window{Empty: true}
	}
	if v.err = v.s.look(v.ctx, v.begin); v.err != nil {
		return window.Window{Empty: true}
	}
	v.s.clock.saw(v.log.Last.MS())
	return window.Of(v.log, v, v.r, v.now)
}

// begin is the first round trip.
func (v *view) begin() error {
	from, n := window.Cutoff(v.r.Limits.Age, v.now), uint64(0)
	if !v.r.Since.IsZero() {
		from = max(from, v.r.Since.UnixMilli())
	}
	if a := v.r.After; a.MS() >= from {
		from, n = a.MS(), a.N()
	}
	v.fromMS, v.fromN = from, n
	pipe := v.s.client.Pipeline()
	meta := pipe.Get(v.ctx, v.keys.meta)
	ahead := pipe.XRangeN(v.ctx, v.keys.stream, streamID(from, n), "+", int64(v.chunk))
	redacted := pipe.Exists(v.ctx, v.keys.redacted)
	var last *goredis.XMessageSliceCmd
	if u := v.r.UpTo; !u.IsZero() {
		last = pipe.XRevRangeN(v.ctx, v.keys.stream, streamID(u.MS(), u.N()), "-", 1)
	}
	if _, err := pipe.Exec(v.ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return err
	}
	if err := v.meta(meta.Val()); err != nil {
		return err
	}
	var err error
	if v.ahead, err = v.decode(ahead.Val()); err != nil {
		return err
	}
	v.ended = len(v.ahead) < v.chunk
	v.redacted = redacted.Val() > 0
	if last != nil {
		found, err := v.decode(last.Val())
		if err != nil {
			return err
		}
		if v.lastSure = true; len(found) > 0 {
			v.last = found[0].Position
		}
	}
	return nil
}

// meta reads what is known of the log. Where memory was short its meta may be gone
// while the stream is there, as in append.lua.
func (v *view) meta(text string) error {
	m, ok := decodeMeta(text)
	if ok {
		v.log, v.widest = m.log, m.widest
		return nil
	}
	if text != "" {
		return errEntry
	}
	found, err := v.s.client.XRevRangeN(v.ctx, v.keys.stream, "+", "-", 1).Result()
	if err != nil || len(found) == 0 {
		return err
	}
	e, err := decodeEntry(found[0])
	if err != nil {
		return err
	}
	v.log = window.Log{Start: store.NewPosition(0, e.Position.Epoch(), 0), Last: e.Position}
	v.widest = guessWidest
	return nil
}

// decode reads records, up to the first that is not of the epoch: a log that was
// begun anew while it was read.
func (v *view) decode(messages []goredis.XMessage) ([]store.Entry, error) {
	out := make([]store.Entry, 0, len(messages))
	for _, m := range messages {
		e, err := decodeEntry(m)
		if err != nil {
			return nil, err
		}
		if e.Position.Epoch() != v.log.Last.Epoch() {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// From is part of window.Records.
func (v *view) From(ms int64, n uint64) (store.Position, bool) {
	if v.err != nil {
		return store.Position{}, false
	}
	if ms > v.fromMS || ms == v.fromMS && n >= v.fromN {
		for _, e := range v.ahead {
			if p := e.Position; p.MS() > ms || p.MS() == ms && p.N() >= n {
				return p, true
			}
		}
		if v.ended {
			return store.Position{}, false
		}
	}
	return v.one(func() *goredis.XMessageSliceCmd {
		return v.s.client.XRangeN(v.ctx, v.keys.stream, streamID(ms, n), "+", 1)
	})
}

// To is part of window.Records.
func (v *view) To(ms int64, n uint64) (store.Position, bool) {
	if v.err != nil {
		return store.Position{}, false
	}
	if u := v.r.UpTo; v.lastSure && u.MS() == ms && u.N() == n {
		return v.last, !v.last.IsZero()
	}
	return v.one(func() *goredis.XMessageSliceCmd {
		return v.s.client.XRevRangeN(v.ctx, v.keys.stream, streamID(ms, n), "-", 1)
	})
}

// Numbered is part of window.Records.
func (v *view) Numbered(n uint64, lo store.Position) (store.Position, bool) {
	if v.err != nil {
		return store.Position{}, false
	}
	if v.onlyN { // n is dense
		return store.NewPosition(lo.MS(), lo.Epoch(), n), true
	}
	for _, e := range v.ahead {
		if e.Position.N() == n {
			return e.Position, true
		}
	}
	var id string
	v.err = v.s.look(v.ctx, func() (err error) {
		id, err = seekScript.Run(v.ctx, v.s.client, []string{v.keys.stream}, n, lo.MS(), v.log.Last.MS()).Text()
		return err
	})
	if errors.Is(v.err, goredis.Nil) {
		v.err = nil
		return store.Position{}, false
	}
	if v.err != nil {
		return store.Position{}, false
	}
	var p store.Position
	p, v.err = parseStreamID(id, v.log.Last.Epoch())
	return p, v.err == nil
}

// one asks for one record of the epoch.
func (v *view) one(ask func() *goredis.XMessageSliceCmd) (store.Position, bool) {
	var found []store.Entry
	v.err = v.s.look(v.ctx, func() error {
		messages, err := ask().Result()
		if err != nil {
			return err
		}
		found, err = v.decode(messages)
		return err
	})
	if v.err != nil || len(found) == 0 {
		return store.Position{}, false
	}
	return found[0].Position, true
}

// page returns the records of a window, at most limit and about maxBytes, and sets
// v.more if there are others.
func (v *view) page(w window.Window, limit, maxBytes int) []store.Entry {
	batch, ended := v.have(w.First)
	next := streamID(w.First.MS(), w.First.N())
	var out []store.Entry
	bytes := 0
	for v.err == nil {
		hidden := v.hidden(batch)
		for _, e := range batch {
			if w.Last.Before(e.Position) {
				return out
			}
			if hidden[e.Position.N()] {
				continue
			}
			bytes += len(e.Data)
			if len(out) > 0 && (len(out) >= limit || bytes > maxBytes) {
				v.more = true
				return out
			}
			out = append(out, e)
		}
		if n := len(batch); n > 0 {
			last := batch[n-1].Position
			if last == w.Last {
				return out
			}
			next = "(" + streamID(last.MS(), last.N())
		}
		if ended {
			return out
		}
		batch, ended = v.chunkFrom(next, w.Last, limit+1-len(out), maxBytes)
	}
	return nil
}

// have returns the records from first on that are there already, and whether there
// are no others.
func (v *view) have(first store.Position) ([]store.Entry, bool) {
	for i, e := range v.ahead {
		if e.Position == first {
			return v.ahead[i:], v.ended
		}
	}
	return nil, false
}

// chunkFrom reads the next records, and whether there are no others. How many is
// bounded by how large they may be.
func (v *view) chunkFrom(next string, last store.Position, want, maxBytes int) (batch []store.Entry, ended bool) {
	n := max(1, min(want, maxChunk, max(maxBytes, maxChunkBytes)/max(v.widest, 1)))
	v.err = v.s.look(v.ctx, func() error {
		messages, err := v.s.client.XRangeN(v.ctx, v.keys.stream, next, streamID(last.MS(), last.N()), int64(n)).Result()
		if err != nil {
			return err
		}
		batch, err = v.decode(messages)
		return err
	})
	return batch, len(batch) < n
}

// hidden returns n of those records of a batch that are redacted.
func (v *view) hidden(batch []store.Entry) map[uint64]bool {
	if !v.redacted || len(batch) == 0 {
		return nil
	}
	by := &goredis.ZRangeBy{
		Min: strconv.FormatUint(batch[0].Position.N(), 10),
		Max: strconv.FormatUint(batch[len(batch)-1].Position.N(), 10),
	}
	hidden := make(map[uint64]bool)
	v.err = v.s.look(v.ctx, func() error {
		members, err := v.s.client.ZRangeByScore(v.ctx, v.keys.redacted, by).Result()
		for _, m := range members {
			n, err := strconv.ParseUint(m, 10, 64)
			if err != nil {
				return errEntry
			}
			hidden[n] = true
		}
		return err
	})
	return hidden
}
