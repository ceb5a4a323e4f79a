package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

// sharedStore lets several brokers use one store in memory, each by a link of its own
// that can be cut.
type sharedStore struct {
	*memory.Store
	away atomic.Bool
	// hook, if there is one, says how the next calls go wrong.
	hook atomic.Pointer[fault]
}

// fault is how a link goes wrong; nil fields do not.
type fault struct {
	head func(log store.LogName) error
	// put is called before a row is written.
	put func(table, key string)
	// refused: the row is not written.
	refused func(table, key string) bool
	// lost: the row is written and the answer is lost.
	lost func(table, key string) bool
	// mute: what is appended to a log is lost, and it is not known whether.
	mute func(log store.LogName) bool
	// drop: it is lost, as if nobody read it.
	drop func(log store.LogName) bool
	// deaf: a log cannot be read.
	deaf func(log store.LogName) bool
}

func (s *sharedStore) faults() *fault {
	if f := s.hook.Load(); f != nil {
		return f
	}
	return &fault{}
}

func (s *sharedStore) Head(ctx context.Context, log store.LogName, limits store.Limits) (store.Head, error) {
	if f := s.faults(); f.head != nil {
		if err := f.head(log); err != nil {
			return store.Head{}, err
		}
	}
	return s.Store.Head(ctx, log, limits)
}

func (*sharedStore) Shared() bool { return true }

func (s *sharedStore) fault() error {
	if s.away.Load() {
		return store.ErrUnavailable
	}
	return nil
}

func (s *sharedStore) Get(ctx context.Context, table, key string) (store.Value, error) {
	if err := s.fault(); err != nil {
		return store.Value{}, err
	}
	return s.Store.Get(ctx, table, key)
}

func (s *sharedStore) Put(ctx context.Context, table, key string, put store.Put) (uint64, error) {
	if err := s.fault(); err != nil {
		return 0, err
	}
	if f := s.faults(); f.put != nil {
		f.put(table, key)
	}
	if f := s.faults(); f.refused != nil && f.refused(table, key) {
		return 0, store.ErrUnavailable
	}
	version, err := s.Store.Put(ctx, table, key, put)
	if f := s.faults(); err == nil && f.lost != nil && f.lost(table, key) {
		return 0, store.ErrUncertain
	}
	return version, err
}

func (s *sharedStore) Read(ctx context.Context, log store.LogName, r store.Range, limit, most int) (store.Page, error) {
	if err := s.fault(); err != nil {
		return store.Page{}, err
	}
	if f := s.faults(); f.deaf != nil && f.deaf(log) {
		return store.Page{}, store.ErrUnavailable
	}
	return s.Store.Read(ctx, log, r, limit, most)
}

func (s *sharedStore) Submit(log store.LogName, limits store.Limits, records []store.Record, done func(store.Appended, error)) {
	if err := s.fault(); err != nil {
		done(store.Appended{}, err)
		return
	}
	if f := s.faults(); f.mute != nil && f.mute(log) {
		done(store.Appended{}, store.ErrUncertain)
		return
	}
	if f := s.faults(); f.drop != nil && f.drop(log) {
		done(store.Appended{}, nil)
		return
	}
	s.Store.Submit(log, limits, records, done)
}

func (s *sharedStore) Health(ctx context.Context) error {
	return errors.Join(s.fault(), s.Store.Health(ctx))
}

// newFleet starts nodes over one store.
func newFleet(t testing.TB, n int) []*bench {
	t.Helper()
	return newFleetWith(t, n, func(*Options, *bayeux.Options) {})
}

func newFleetWith(t testing.TB, n int, change func(*Options, *bayeux.Options)) []*bench {
	t.Helper()
	first := newBench(t, func(o *Options, bo *bayeux.Options) {
		o.Store = &sharedStore{Store: o.Store.(*memory.Store)}
		change(o, bo)
	})
	all := []*bench{first}
	for len(all) < n {
		x := &bench{t: t, store: first.store, ring: first.ring, options: first.options, wire: first.wire}
		x.options.Store = &sharedStore{Store: first.store}
		x.run()
		t.Cleanup(x.stop)
		all = append(all, x)
	}
	for _, x := range all {
		require.NoError(t, x.b.Observe("/faye", x.server))
	}
	synctest.Wait()
	return all
}

// die ends a node as kill -9 would: what an orderly stop writes of it and of its sessions is
// taken back.
func (x *bench) die() {
	x.t.Helper()
	ctx := context.Background()
	kept := map[string][]store.Item{}
	for _, table := range []string{tableSession, tableNode} {
		items, err := x.store.List(ctx, table, "", "", 1000)
		require.NoError(x.t, err)
		for _, item := range items {
			var r sessionRecord
			if table == tableSession {
				require.NoError(x.t, json.Unmarshal(item.Data, &r))
			}
			if r.Owner == x.b.nodes.id || item.Key == x.b.nodes.id {
				kept[table] = append(kept[table], item)
			}
		}
	}
	x.stop()
	for table, items := range kept {
		for _, item := range items {
			_, err := x.store.Put(ctx, table, item.Key, store.Put{Data: item.Data, TTL: time.Hour})
			require.NoError(x.t, err)
		}
	}
}

// at sends one message to a node.
func (p *peer) at(x *bench, message string) reply {
	p.x.t.Helper()
	return x.post(p, message)[0]
}

func (p *peer) connectAt(x *bench, hold int) reply {
	p.x.t.Helper()
	return p.at(x, p.message("/meta/connect", fmt.Sprintf(`,"connectionType":"long-polling","advice":{"timeout":%d}`, hold)))
}

// pollAround connects to one node after the other until a whole round brings nothing.
func (p *peer) pollAround(nodes []*bench) []string {
	p.x.t.Helper()
	for quiet := 0; quiet < len(nodes); {
		had := len(p.inbox)
		r := p.connectAt(nodes[p.n%len(nodes)], 100)
		require.True(p.x.t, r.ok(), r.Error)
		if quiet++; len(p.inbox) > had {
			quiet = 0
		}
	}
	var got []string
	for _, d := range p.inbox {
		got = append(got, d.Channel+" "+string(d.Data))
	}
	p.inbox = nil
	return got
}
