package broker

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestRegistryCreate(t *testing.T) {
	ctx, s := t.Context(), newShelf()
	r := newNode(t, s, 10)
	o, created, err := r.create(ctx, &demoApp, ObjectSpec{ID: "a/b", Type: TypeVideo, Name: "N", OwnerRef: "boss", URL: "u", Private: true})
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, testKeyring(t).OID(7, "a/b", 0), o.OID)
	require.Equal(t, o.OID, o.Topic)

	again, created, err := r.create(ctx, &demoApp, ObjectSpec{ID: "a/b", Type: TypeVideo, Name: "N", OwnerRef: "boss", URL: "u", Private: true})
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, o.OID, again.OID)
	_, _, err = r.create(ctx, &demoApp, ObjectSpec{ID: "a/b", Type: TypeVideo, Name: "other"})
	require.Equal(t, 409, AsError(err).Status())

	// Another node reads the same object from the store, by id and by oid.
	other := newNode(t, s, 10)
	for _, get := range []func() (*Object, error){
		func() (*Object, error) { return other.resolve(ctx, o.OID) },
		func() (*Object, error) { return other.get(ctx, &demoApp, "a/b") },
	} {
		got, err := get()
		require.NoError(t, err)
		require.Equal(t, "N", got.Name)
		require.Equal(t, "boss", got.OwnerRef)
		require.Equal(t, "u", got.URL)
		require.Equal(t, TypeVideo, got.Type)
		require.False(t, got.Public)
		require.Equal(t, "demo", got.App.Name)
	}
	// The same id of another application is another object.
	_, err = r.get(ctx, &otherApp, "a/b")
	require.ErrorIs(t, err, ErrNoObject)
	foreign, _, err := r.create(ctx, &otherApp, ObjectSpec{ID: "a/b"})
	require.NoError(t, err)
	require.NotEqual(t, o.OID, foreign.OID)

	named, _, err := r.create(ctx, &demoApp, ObjectSpec{})
	require.NoError(t, err)
	require.Len(t, named.ID, 26)
}

func TestRegistryRefusesSpecs(t *testing.T) {
	r := newNode(t, newShelf(), 10)
	for _, spec := range []ObjectSpec{
		{ID: strings.Repeat("x", 201)},
		{ID: "a\nb"},
		{ID: "\xff"},
		{ID: ".."},
		{ID: "a", Type: "radio"},
		{ID: "a", Name: strings.Repeat("x", 1025)},
		{ID: "a", URL: "a\x7f"},
		{ID: "a", OwnerRef: "\x00"},
	} {
		_, _, err := r.create(t.Context(), &demoApp, spec)
		require.Equal(t, 4000, AsError(err).Result, "%q", spec)
	}
	_, err := r.get(t.Context(), &demoApp, strings.Repeat("x", 300))
	require.ErrorIs(t, err, ErrNoObject)
	_, err = r.ensure(t.Context(), &demoApp, "a\nb")
	require.Equal(t, 4000, AsError(err).Result)
}

func TestRegistryCollision(t *testing.T) {
	s := newShelf()
	r := newNode(t, s, 10)
	// Somebody else has the oid of n = 0.
	_, err := s.Put(t.Context(), tableOID, testKeyring(t).OID(7, "a", 0).String(), store.Put{Data: []byte("7/else/0")})
	require.NoError(t, err)
	o := mustCreate(t, r.registry, "a")
	require.Equal(t, uint16(1), o.N)
	require.Equal(t, testKeyring(t).OID(7, "a", 1), o.OID)
	// What a crash between the two writes left behind is taken up again.
	_, err = s.Put(t.Context(), tableOID, testKeyring(t).OID(7, "b", 0).String(), store.Put{Data: []byte("7/b/0")})
	require.NoError(t, err)
	require.Equal(t, uint16(0), mustCreate(t, r.registry, "b").N)
}

func TestRegistryEnsure(t *testing.T) {
	ctx := t.Context()
	r := newNode(t, newShelf(), 10)
	o, err := r.ensure(ctx, &demoApp, "a")
	require.NoError(t, err)
	again, err := r.ensure(ctx, &demoApp, "a")
	require.NoError(t, err)
	require.Equal(t, o.OID, again.OID)
	// The first description is taken; the second must be the same.
	d, created, err := r.create(ctx, &demoApp, ObjectSpec{ID: "a", Type: TypeVideo, Name: "A"})
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, o.OID, d.OID)
	require.Equal(t, TypeVideo, d.Type)
	_, _, err = r.create(ctx, &demoApp, ObjectSpec{ID: "a", Name: "B"})
	require.Equal(t, 4009, AsError(err).Result)
	// What was deleted is not made again by being mentioned.
	require.NoError(t, r.delete(ctx, &demoApp, "a"))
	_, err = r.ensure(ctx, &demoApp, "a")
	require.ErrorIs(t, err, ErrNoObject)
}

func TestRegistryDelete(t *testing.T) {
	ctx := t.Context()
	s := newShelf()
	r := newNode(t, s, 10)
	o := mustCreate(t, r.registry, "a")
	require.NoError(t, r.delete(ctx, &demoApp, "a"))
	require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, r.withdrawals())
	for _, n := range []*node{r, newNode(t, s, 10)} {
		_, err := n.resolve(ctx, o.OID)
		require.ErrorIs(t, err, ErrNoObject)
		_, err = n.get(ctx, &demoApp, "a")
		require.ErrorIs(t, err, ErrNoObject)
		require.ErrorIs(t, n.delete(ctx, &demoApp, "a"), ErrNoObject)
		_, _, err = n.patch(ctx, &demoApp, "a", ObjectPatch{})
		require.ErrorIs(t, err, ErrNoObject)
	}
	// The next of that id has other roots and another history.
	next := mustCreate(t, r.registry, "a")
	require.NotEqual(t, o.OID, next.OID)
	require.NotEqual(t, o.Topic, next.Topic)
	require.Equal(t, next.OID, next.Topic)
	_, err := r.resolve(ctx, o.OID)
	require.ErrorIs(t, err, ErrNoObject)
}

func TestRegistryResetWithoutGrace(t *testing.T) {
	ctx := t.Context()
	s := newShelf()
	r := newNode(t, s, 10)
	o := mustCreate(t, r.registry, "a")
	n, err := r.reset(ctx, &demoApp, "a", 0)
	require.NoError(t, err)
	require.NotEqual(t, o.OID, n.OID)
	require.Equal(t, o.Topic, n.Topic)
	require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, r.withdrawals())
	for _, node := range []*node{r, newNode(t, s, 10)} {
		_, err = node.resolve(ctx, o.OID)
		require.ErrorIs(t, err, ErrNoObject)
		got, err := node.resolve(ctx, n.OID)
		require.NoError(t, err)
		require.Equal(t, "a", got.ID)
	}
	_, err = r.reset(ctx, &demoApp, "b", 0)
	require.ErrorIs(t, err, ErrNoObject)
	_, err = r.reset(ctx, &demoApp, "a", -1)
	require.Equal(t, 4000, AsError(err).Result)
}

func TestRegistryGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		here, there := newNode(t, s, 10), newNode(t, s, 10)
		here.run(t)
		there.run(t)
		ctx := t.Context()
		o := mustCreate(t, here.registry, "a")
		_, err := there.resolve(ctx, o.OID)
		require.NoError(t, err)
		n, err := here.reset(ctx, &demoApp, "a", time.Minute)
		require.NoError(t, err)
		synctest.Wait()
		time.Sleep(59 * time.Second)
		for _, node := range []*node{here, there} {
			for _, oid := range []channels.OID{o.OID, n.OID} {
				got, err := node.resolve(ctx, oid)
				require.NoError(t, err)
				require.Equal(t, n.OID, got.OID)
			}
			require.Empty(t, node.withdrawals())
		}
		time.Sleep(time.Second)
		_, err = there.resolve(ctx, o.OID)
		require.ErrorIs(t, err, ErrNoObject, "to the second")
		time.Sleep(sweepEvery)
		synctest.Wait()
		for _, node := range []*node{here, there} {
			require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, node.withdrawals())
			_, err = node.resolve(ctx, n.OID)
			require.NoError(t, err)
		}
	})
}

func TestRegistryResetEndsGraces(t *testing.T) {
	ctx := t.Context()
	r := newNode(t, newShelf(), 10)
	oids := []channels.OID{mustCreate(t, r.registry, "a").OID}
	for range maxAliases {
		o, err := r.reset(ctx, &demoApp, "a", time.Hour)
		require.NoError(t, err)
		oids = append(oids, o.OID)
	}
	_, err := r.reset(ctx, &demoApp, "a", time.Hour)
	require.Equal(t, 4000, AsError(err).Result)
	for _, oid := range oids {
		_, err := r.resolve(ctx, oid)
		require.NoError(t, err)
	}
	o, err := r.reset(ctx, &demoApp, "a", 0)
	require.NoError(t, err)
	for _, oid := range oids {
		_, err := r.resolve(ctx, oid)
		require.ErrorIs(t, err, ErrNoObject)
	}
	require.Len(t, r.withdrawals(), len(oids))
	_, err = r.resolve(ctx, o.OID)
	require.NoError(t, err)
}

func TestRegistryHearsOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		here, there := newNode(t, s, 10), newNode(t, s, 1)
		here.run(t)
		there.run(t)
		ctx := t.Context()
		o := mustCreate(t, here.registry, "a")
		_, err := there.resolve(ctx, o.OID)
		require.NoError(t, err)
		name := "new"
		_, _, err = here.patch(ctx, &demoApp, "a", ObjectPatch{Name: &name})
		require.NoError(t, err)
		synctest.Wait()
		got, err := there.get(ctx, &demoApp, "a")
		require.NoError(t, err)
		require.Equal(t, "new", got.Name)

		// Also what its cache has let go of.
		mustCreate(t, here.registry, "b")
		synctest.Wait()
		require.NoError(t, here.delete(ctx, &demoApp, "a"))
		synctest.Wait()
		require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, there.withdrawals())
		_, err = there.resolve(ctx, o.OID)
		require.ErrorIs(t, err, ErrNoObject)
	})
}

func TestRegistryRefreshesAfterGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		here, there := newNode(t, s, 10), newNode(t, s, 10)
		there.run(t)
		ctx := t.Context()
		o := mustCreate(t, here.registry, "a")
		_, err := there.resolve(ctx, o.OID)
		require.NoError(t, err)
		synctest.Wait()
		there.air.mu.Lock()
		there.air.lost = true
		there.air.mu.Unlock()
		there.heed(false)
		_, err = here.reset(ctx, &demoApp, "a", 0)
		require.NoError(t, err)
		synctest.Wait()
		require.Empty(t, there.withdrawals())
		there.heed(true)
		synctest.Wait()
		require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, there.withdrawals())
	})
}

func TestRegistryWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		r := newNode(t, s, 10)
		ctx := t.Context()
		o := mustCreate(t, r.registry, "a")
		unknown := mustCreate(t, newNode(t, s, 10).registry, "b")
		_, err := r.resolve(ctx, channels.OID{1})
		require.ErrorIs(t, err, ErrNoObject)

		s.fail(store.ErrUnavailable)
		reads := s.reads()
		for range 100 { // ten hours: known objects go on working, asked for seldom
			time.Sleep(6 * time.Minute)
			for range 5 {
				got, err := r.resolve(ctx, o.OID)
				require.NoError(t, err)
				require.Equal(t, "a", got.ID)
				_, err = r.get(ctx, &demoApp, "a")
				require.NoError(t, err)
				_, err = r.resolve(ctx, channels.OID{1})
				require.ErrorIs(t, err, ErrNoObject)
			}
		}
		require.LessOrEqual(t, s.reads()-reads, 200)
		_, err = r.resolve(ctx, unknown.OID)
		require.ErrorIs(t, err, store.ErrUnavailable)
		_, err = r.get(ctx, &demoApp, "b")
		require.ErrorIs(t, err, store.ErrUnavailable)
		_, _, err = r.create(ctx, &demoApp, ObjectSpec{ID: "c"})
		require.Equal(t, 503, AsError(err).Status())
		_, err = r.list(ctx, &demoApp, ObjectQuery{Limit: 1})
		require.ErrorIs(t, err, store.ErrUnavailable)

		s.fail(nil)
		got, err := r.resolve(ctx, unknown.OID)
		require.NoError(t, err)
		require.Equal(t, "b", got.ID)
	})
}

func TestRegistryRaces(t *testing.T) {
	ctx := t.Context()
	s := newShelf()
	a, b := newNode(t, s, 10), newNode(t, s, 10)
	o := mustCreate(t, a.registry, "a")
	// Between a's read and its write, b resets the object: a's patch goes on top.
	once := sync.Once{}
	s.onPut = func(table, _ string) {
		if table == tableObject {
			once.Do(func() {
				s.onPut = nil
				_, err := b.reset(ctx, &demoApp, "a", 0)
				require.NoError(t, err)
			})
		}
	}
	name := "new"
	_, got, err := a.patch(ctx, &demoApp, "a", ObjectPatch{Name: &name})
	require.NoError(t, err)
	require.Equal(t, "new", got.Name)
	require.NotEqual(t, o.OID, got.OID)
	require.Equal(t, uint16(1), got.N)

	// Many at once: each reset counts.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := []*node{a, b}[i%2].reset(ctx, &demoApp, "a", 0)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	got, err = newNode(t, s, 10).get(ctx, &demoApp, "a")
	require.NoError(t, err)
	require.Equal(t, uint16(9), got.N)
}

func TestRegistryUncertainWrite(t *testing.T) {
	ctx := t.Context()
	s := newShelf()
	r := newNode(t, s, 10)
	mustCreate(t, r.registry, "a")
	s.onPut = func(table, _ string) {
		if table == tableObject {
			s.fail(store.ErrUncertain)
		}
	}
	_, err := r.reset(ctx, &demoApp, "a", 0)
	require.Equal(t, 504, AsError(err).Status())
	s.onPut = nil
	s.fail(nil)
	reads := s.reads()
	_, err = r.get(ctx, &demoApp, "a")
	require.NoError(t, err)
	require.Greater(t, s.reads(), reads, "the store is asked what became of it")
}

func TestRegistryPatch(t *testing.T) {
	ctx := t.Context()
	r := newNode(t, newShelf(), 10)
	mustCreate(t, r.registry, "a")
	text, no := "x", false
	_, o, err := r.patch(ctx, &demoApp, "a", ObjectPatch{Name: &text, OwnerRef: &text, URL: &text, Public: &no})
	require.NoError(t, err)
	require.Equal(t, []any{"x", "x", "x", false}, []any{o.Name, o.OwnerRef, o.URL, o.Public})
	_, same, err := r.patch(ctx, &demoApp, "a", ObjectPatch{Name: &text})
	require.NoError(t, err)
	require.Equal(t, o.version, same.version, "nothing is written for nothing")
	long := strings.Repeat("x", 1025)
	_, _, err = r.patch(ctx, &demoApp, "a", ObjectPatch{Name: &long})
	require.Equal(t, 4000, AsError(err).Result)
}

func TestRegistryList(t *testing.T) {
	ctx := t.Context()
	r := newNode(t, newShelf(), 10)
	for i := range 7 {
		mustCreate(t, r.registry, fmt.Sprint("live", i))
	}
	_, _, err := r.create(ctx, &demoApp, ObjectSpec{ID: "film", Type: TypeVideo})
	require.NoError(t, err)
	_, _, err = r.create(ctx, &otherApp, ObjectSpec{ID: "foreign"})
	require.NoError(t, err)
	require.NoError(t, r.delete(ctx, &demoApp, "live3"))
	walk := func(q ObjectQuery) (ids []string) {
		for range 20 {
			page, err := r.list(ctx, &demoApp, q)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Objects), max(q.Limit, 1))
			for _, o := range page.Objects {
				ids = append(ids, o.ID)
			}
			if q.After = page.Next; q.After == "" {
				return ids
			}
		}
		t.Fatal("no end")
		return nil
	}
	all := []string{"film", "live0", "live1", "live2", "live4", "live5", "live6"}
	for _, limit := range []int{0, 1, 2, 3, 7, 1000} {
		require.Equal(t, all, walk(ObjectQuery{Limit: limit}))
	}
	require.Equal(t, all[1:], walk(ObjectQuery{Limit: 4, Type: TypeLive}))
	require.Equal(t, all[:1], walk(ObjectQuery{Limit: 4, Type: TypeVideo}))
	require.Equal(t, all[:1], walk(ObjectQuery{ID: "film"}))
	require.Equal(t, all[:1], walk(ObjectQuery{ID: "film", Type: TypeVideo}))
	require.Empty(t, walk(ObjectQuery{ID: "film", Type: TypeLive}))
	require.Empty(t, walk(ObjectQuery{ID: "live3"}))
}
