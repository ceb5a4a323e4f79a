package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
)

// said is an error that a server sent.
type said string

func (a said) Error() string { return string(a) }
func (said) RedisError()     {}

var _ goredis.Error = said("")

func TestStoreError(t *testing.T) {
	f := func(err, want error, word string) {
		t.Helper()
		got := storeError(fmt.Errorf("somewhere: %w", err))
		require.ErrorIs(t, got, want)
		require.ErrorContains(t, got, err.Error(), "the cause's text stays")
		require.Equal(t, word, cause(err))
		if errors.Is(got, store.ErrUncertain) {
			require.ErrorIs(t, readError(err), store.ErrUnavailable, "a read changes nothing")
			require.True(t, doubtful(err))
		} else {
			require.False(t, doubtful(err) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded))
		}
	}
	f(said("OOM command not allowed when used memory > 'maxmemory'."), store.ErrFull, "oom")
	for _, word := range []string{"READONLY", "MISCONF", "LOADING", "NOAUTH", "WRONGPASS", "NOPERM", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOSCRIPT"} {
		f(said(word+" some words"), store.ErrUnavailable, map[string]string{
			"READONLY": "readonly", "MISCONF": "misconf", "LOADING": "loading", "NOAUTH": "noauth", "WRONGPASS": "wrongpass", "NOPERM": "noperm",
			"NOREPLICAS": "noreplicas", "MASTERDOWN": "masterdown", "CLUSTERDOWN": "clusterdown", "TRYAGAIN": "tryagain", "NOSCRIPT": "noscript",
		}[word])
	}
	f(said("ERR whatever a server thinks of"), store.ErrUnavailable, "refused")
	f(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, store.ErrUnavailable, "dial")
	f(goredis.ErrPoolTimeout, store.ErrUnavailable, "pool")
	f(goredis.ErrClosed, store.ErrClosed, "closed")
	f(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, store.ErrUncertain, "timeout")
	f(&net.OpError{Op: "write", Err: syscall.EPIPE}, store.ErrUncertain, "connection")
	f(io.EOF, store.ErrUncertain, "connection")
	f(context.Canceled, context.Canceled, "canceled")
	f(context.DeadlineExceeded, context.DeadlineExceeded, "timeout")
	require.NoError(t, storeError(nil))
	require.Equal(t, "none", cause(nil))
}
