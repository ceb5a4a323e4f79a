package broker

import (
	"crypto/sha256"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/store/memory"
	"github.com/stretchr/testify/require"
)

// TestRegistryOnMemory runs two nodes on a real store: what one changes the other
// hears by the store's feed.
func TestRegistryOnMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		// Before the nodes' own clean-ups are registered, so after them.
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		here, there := newNode(t, s, 10), newNode(t, s, 10)
		here.run(t)
		there.run(t)
		ctx := t.Context()

		o := mustCreate(t, here.registry, "a")
		_, err := there.resolve(ctx, o.OID)
		require.NoError(t, err)
		name := "new"
		_, _, err = there.patch(ctx, &demoApp, "a", ObjectPatch{Name: &name})
		require.NoError(t, err)
		time.Sleep(time.Second)
		synctest.Wait()
		got, err := here.resolve(ctx, o.OID)
		require.NoError(t, err)
		require.Equal(t, "new", got.Name)

		n, err := here.reset(ctx, &demoApp, "a", time.Minute)
		require.NoError(t, err)
		time.Sleep(58 * time.Second)
		_, err = there.resolve(ctx, o.OID)
		require.NoError(t, err)
		require.Empty(t, there.withdrawals())
		time.Sleep(2*time.Second + sweepEvery)
		synctest.Wait()
		for _, node := range []*node{here, there} {
			require.Equal(t, []string{o.Topic.String() + " " + o.OID.String()}, node.withdrawals())
			_, err = node.resolve(ctx, o.OID)
			require.ErrorIs(t, err, ErrNoObject)
			_, err = node.resolve(ctx, n.OID)
			require.NoError(t, err)
		}

		require.NoError(t, there.delete(ctx, &demoApp, "a"))
		time.Sleep(time.Second)
		synctest.Wait()
		_, err = here.resolve(ctx, n.OID)
		require.ErrorIs(t, err, ErrNoObject)
		again := mustCreate(t, here.registry, "a")
		require.NotEqual(t, n.OID, again.OID)
		page, err := there.list(ctx, &demoApp, ObjectQuery{Limit: 10})
		require.NoError(t, err)
		require.Len(t, page.Objects, 1)
	})
}

func TestAttemptsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { require.NoError(t, s.Close()) }()
		a := attempts{table: s}
		ctx := t.Context()
		one, two := sha256.Sum256([]byte("1")), sha256.Sum256([]byte("2"))
		require.NoError(t, a.remember(ctx, 1, "k", one))
		time.Sleep(idempotencyAge - time.Second)
		require.Equal(t, errOtherBody, a.remember(ctx, 1, "k", two))
		time.Sleep(2 * time.Second)
		require.NoError(t, a.remember(ctx, 1, "k", two), "24 hours later the key is free")
	})
}
