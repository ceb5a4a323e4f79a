package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestFlightsShareOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var calls int
		block := make(chan struct{})
		want := &Object{ID: "a"}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				o, err := f.do(t.Context(), "k", func(context.Context) (*Object, error) {
					calls++
					<-block
					return want, nil
				})
				require.NoError(t, err)
				require.Same(t, want, o)
			})
		}
		synctest.Wait()
		// One who gives up does not end the others' wait.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := f.do(ctx, "k", nil)
		require.ErrorIs(t, err, context.Canceled)
		close(block)
		wg.Wait()
		require.Equal(t, 1, calls)
		require.Empty(t, f.runs)
	})
}

func TestRegistryCacheIsBounded(t *testing.T) {
	r := newNode(t, newShelf(), 3)
	for i := range 10 {
		o := mustCreate(t, r.registry, fmt.Sprint(i))
		_, err := r.resolve(t.Context(), channels.OID{1, byte(i)})
		require.ErrorIs(t, err, ErrNoObject)
		_, err = r.resolve(t.Context(), o.OID)
		require.NoError(t, err)
	}
	require.LessOrEqual(t, r.cache.order.Len(), 3)
	require.LessOrEqual(t, len(r.cache.byOID), 3)
	require.LessOrEqual(t, len(r.cache.byKey), 3)
}

func TestRegistryKnowsOnlyItsApplications(t *testing.T) {
	s := newShelf()
	oid := channels.OID{9}
	for _, row := range []string{"99/a/0", "x/a/0", "7", "7/a", ""} {
		_, err := s.Put(t.Context(), tableOID, oid.String(), store.Put{Data: []byte(row)})
		require.NoError(t, err)
		_, err = newNode(t, s, 10).resolve(t.Context(), oid)
		require.ErrorIs(t, err, ErrNoObject, row)
	}
}

// TestTopicStaysTaken: after a reset no other object may get the first oid, for
// the history is still under it.
func TestTopicStaysTaken(t *testing.T) {
	ctx, s := t.Context(), newShelf()
	r := newNode(t, s, 10)
	o := mustCreate(t, r.registry, "a")
	n, err := r.reset(ctx, &demoApp, "a", 0)
	require.NoError(t, err)
	n2, err := r.reset(ctx, &demoApp, "a", 0)
	require.NoError(t, err)
	row := func(oid channels.OID) bool {
		_, err := s.Get(ctx, tableOID, oid.String())
		return err == nil
	}
	require.True(t, row(o.Topic))
	require.False(t, row(n.OID), "one that was only a root is free")
	require.True(t, row(n2.OID))
	require.NoError(t, r.delete(ctx, &demoApp, "a"))
	require.False(t, row(o.Topic))
	require.False(t, row(n2.OID))
}

// TestCacheKeepsTheNewer: a read that was overtaken by a change does not bring the
// old state back.
func TestCacheKeepsTheNewer(t *testing.T) {
	c := newObjectCache(10)
	old := &Object{App: &demoApp, ID: "a", OID: channels.OID{1}, version: 1}
	newer := &Object{App: &demoApp, ID: "a", OID: channels.OID{2}, version: 2}
	now := time.Now()
	require.Nil(t, c.put(newer, now, now))
	require.Same(t, newer, c.put(old, now, now))
	require.Same(t, newer, c.findKey(objectKey(7, "a")).object)
	require.Nil(t, c.find(channels.OID{1}))
	require.Same(t, newer, c.find(channels.OID{2}).object)
}

func TestRegistryRootsRunOut(t *testing.T) {
	ctx, s := t.Context(), newShelf()
	r := newNode(t, s, 10)
	_, err := s.Put(ctx, tableObject, objectKey(7, "a"), store.Put{Data: []byte(`{"n":65535,"deleted":true}`)})
	require.NoError(t, err)
	_, _, err = r.create(ctx, &demoApp, ObjectSpec{ID: "a"})
	require.Equal(t, 4000, AsError(err).Result)
}

func TestRegistryReportsBrokenRecords(t *testing.T) {
	for _, record := range []string{
		``, `{`, `[]`, `{"n":1}`, `{"topic":"xx","oid":"00"}`, `{"topic":"0011223344556677","oid":"0011223344556z77"}`,
		`{"topic":"0011223344556677","oid":"0011223344556677","aliases":[{"oid":"1"}]}`,
	} {
		s := newShelf()
		_, err := s.Put(t.Context(), tableObject, objectKey(7, "a"), store.Put{Data: []byte(record)})
		require.NoError(t, err)
		r := newNode(t, s, 10)
		_, err = r.get(t.Context(), &demoApp, "a")
		require.Equal(t, 5000, AsError(err).Result, record)
		_, err = r.list(t.Context(), &demoApp, ObjectQuery{Limit: 1})
		require.Error(t, err)
	}
}

func TestRegistryGivesUpOnContention(t *testing.T) {
	s := newShelf()
	r := newNode(t, s, 10)
	mustCreate(t, r.registry, "a")
	s.onPut = func(table, key string) { // somebody is always faster
		if table == tableObject {
			s.mu.Lock()
			defer s.mu.Unlock()
			v := s.rows[table+"\x00"+key]
			v.Version++
			s.rows[table+"\x00"+key] = v
		}
	}
	name := "x"
	_, _, err := r.patch(t.Context(), &demoApp, "a", ObjectPatch{Name: &name})
	require.Equal(t, 5003, AsError(err).Result)
}

func TestRegistryHearsMoreThanItCanHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		here, there := newNode(t, s, 10), newNode(t, s, 10)
		ctx := t.Context()
		o := mustCreate(t, here.registry, "a")
		_, err := there.resolve(ctx, o.OID)
		require.NoError(t, err)
		// Announcements come while nobody takes them: the last is lost.
		for range cap(there.heard) {
			there.announced(announcement{App: 99, ID: "x"})
		}
		require.Empty(t, there.missed)
		_, err = here.reset(ctx, &demoApp, "a", 0)
		require.NoError(t, err)
		there.announced(announcement{App: 7, ID: "a"})
		require.Len(t, there.missed, 1)
		there.run(t)
		require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, there.withdrawals())
	})
}

func TestGracesAreBounded(t *testing.T) {
	r := newNode(t, newShelf(), 2)
	for _, id := range []string{"a", "b", "c", "d"} {
		mustCreate(t, r.registry, id)
		_, err := r.reset(t.Context(), &demoApp, id, time.Hour)
		require.NoError(t, err)
	}
	require.Len(t, r.graces, 2)
}

func BenchmarkResolve(b *testing.B) {
	r := newNode(b, newShelf(), 1000)
	o := mustCreate(b, r.registry, "a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.resolve(b.Context(), o.OID); err != nil {
			b.Fatal(err)
		}
	}
}
