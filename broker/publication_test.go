package broker

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

func TestPublicationNonce(t *testing.T) {
	seen := map[store.Nonce]string{}
	for _, c := range []struct {
		app   uint32
		key   string
		index int
	}{{1, "k", 0}, {1, "k", 1}, {2, "k", 0}, {1, "k1", 0}, {1, "", 0}, {11, "k", 0}} {
		n := PublicationNonce(c.app, c.key, c.index)
		require.Equal(t, n, PublicationNonce(c.app, c.key, c.index))
		require.NotZero(t, n)
		require.Empty(t, seen[n])
		seen[n] = fmt.Sprint(c)
	}
}

func TestAttemptsRemember(t *testing.T) {
	ctx, s := t.Context(), newShelf()
	a := attempts{table: s}
	one, two := sha256.Sum256([]byte("1")), sha256.Sum256([]byte("2"))
	require.NoError(t, a.remember(ctx, 1, "k", one))
	require.NoError(t, a.remember(ctx, 1, "k", one))
	require.Equal(t, errOtherBody, a.remember(ctx, 1, "k", two))
	require.NoError(t, a.remember(ctx, 2, "k", two), "another application's key")
	require.NoError(t, a.remember(ctx, 1, "k2", two))
	s.fail(store.ErrUnavailable)
	require.ErrorIs(t, a.remember(ctx, 1, "k", one), store.ErrUnavailable)
}

func TestAsError(t *testing.T) {
	check := func(err error, result, status int) {
		t.Helper()
		got := AsError(fmt.Errorf("broker: doing: %w", err))
		require.Equal(t, result, got.Result)
		require.Equal(t, status, got.Status())
	}
	check(store.ErrUnavailable, 5003, 503)
	check(store.ErrClosed, 5003, 503)
	check(store.ErrUncertain, 5004, 504)
	check(store.ErrFull, 5007, 507)
	check(store.ErrTooLarge, 4013, 413)
	check(ErrNoObject, 4004, 404)
	check(&Error{Result: 4022, Text: "x"}, 4022, 400)
	check(errors.New("secret detail"), 5000, 500)
	require.NotContains(t, AsError(errors.New("secret detail")).Text, "secret")
	require.Nil(t, AsError(nil))
}
