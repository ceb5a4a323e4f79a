package broker

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// shelf is a table in memory that can be made to fail, and that lets a
// test act between a read and a write.
type shelf struct {
	mu    sync.Mutex
	rows  map[string]store.Value  // guarded by mu
	down  error                   // guarded by mu; what every call returns
	gets  int                     // guarded by mu
	onPut func(table, key string) // called before each Put, without the lock
}

func newShelf() *shelf {
	return &shelf{rows: map[string]store.Value{}}
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

func (s *shelf) reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

func (s *shelf) Get(_ context.Context, table, key string) (store.Value, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if s.down != nil {
		return store.Value{}, s.down
	}
	v, there := s.rows[table+"\x00"+key]
	if !there {
		return v, store.ErrNotFound
	}
	return v, nil
}

func (s *shelf) Put(_ context.Context, table, key string, put store.Put) (uint64, error) {
	if s.onPut != nil {
		s.onPut(table, key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return 0, s.down
	}
	old := s.rows[table+"\x00"+key]
	if put.IfVersion != nil && *put.IfVersion != old.Version {
		return 0, store.ErrConflict
	}
	s.rows[table+"\x00"+key] = store.Value{Data: put.Data, Version: old.Version + 1}
	return old.Version + 1, nil
}

func (s *shelf) Remove(_ context.Context, table, key string, _ *uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, table+"\x00"+key)
	return s.down
}

func (s *shelf) List(_ context.Context, table, prefix, after string, limit int) ([]store.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return nil, s.down
	}
	var items []store.Item
	for name, v := range s.rows {
		tab, key, _ := strings.Cut(name, "\x00")
		if tab == table && strings.HasPrefix(key, prefix) && key > after {
			items = append(items, store.Item{Key: key, Value: v})
		}
	}
	slices.SortFunc(items, func(a, b store.Item) int { return strings.Compare(a.Key, b.Key) })
	return items[:min(len(items), limit)], nil
}

// airs carries announcements between the nodes that share a table.
var airs sync.Map // store.Table → *air

type air struct {
	mu    sync.Mutex
	nodes []*node // guarded by mu; those that run
	lost  bool    // guarded by mu; nothing arrives
}

func airOf(s store.Table) *air {
	a, _ := airs.LoadOrStore(s, &air{})
	return a.(*air)
}

func (a *air) post(n announcement) {
	a.mu.Lock()
	nodes := slices.Clone(a.nodes)
	if a.lost {
		nodes = nil
	}
	a.mu.Unlock()
	for _, to := range nodes {
		to.announced(n)
	}
}

func testKeyring(t testing.TB) *channels.Keyring {
	k, err := channels.NewKeyring(make([]byte, 32), []channels.RootKey{{Secret: []byte("root secret 0123456789abcdef0123"), Sign: true}}, nil)
	require.NoError(t, err)
	return k
}

// node is a registry with what it said was withdrawn.
type node struct {
	*registry
	air  *air
	mu   sync.Mutex
	gone []string // guarded by mu; "topic oid"
}

func newNode(t testing.TB, s store.Table, capacity int) *node {
	n := &node{air: airOf(s)}
	n.registry = newRegistry(registryOptions{
		store: s, keyring: testKeyring(t), accounts: []Account{{Apps: []Application{demoApp, otherApp}}}, capacity: capacity,
		now: time.Now, logger: zap.NewNop(), post: n.air.post,
		withdrawn: func(topic, oid channels.OID) {
			n.mu.Lock()
			defer n.mu.Unlock()
			if text := topic.String() + " " + oid.String(); !slices.Contains(n.gone, text) {
				n.gone = append(n.gone, text)
			}
		},
	})
	return n
}

func (n *node) withdrawals() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.gone)
}

// run starts the node's Run for the length of a bubble's test.
func (n *node) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	n.air.mu.Lock()
	n.air.nodes = append(n.air.nodes, n)
	n.air.mu.Unlock()
	n.heed(true)
	t.Cleanup(func() {
		cancel()
		<-done
		airs.Clear()
	})
	synctest.Wait()
}

func mustCreate(t testing.TB, r *registry, id string) *Object {
	o, created, err := r.create(context.Background(), &demoApp, ObjectSpec{ID: id, Name: id})
	require.NoError(t, err)
	require.True(t, created)
	return o
}
