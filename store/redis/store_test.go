package redis

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

var ctx = context.Background()

// prefixes tells the stores of one server apart.
var prefixes atomic.Int64

// openStore opens an empty store on a server.
func openStore(t testing.TB, url string) *Store {
	t.Helper()
	return openPrefix(t, url, "t"+strconv.FormatInt(prefixes.Add(1), 10))
}

func openPrefix(t testing.TB, url, prefix string) *Store {
	t.Helper()
	return openWith(t, url, Options{Prefix: prefix})
}

func openWith(t testing.TB, url string, o Options) *Store {
	t.Helper()
	s, err := Open(ctx, url, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// port of an address.
func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// direct is a connection of the test's own to a server.
func direct(t testing.TB, r *storetest.Redis) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: r.Addr})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestContract(t *testing.T) {
	r := storetest.StartRedis(t)
	storetest.Run(t, func(t *testing.T, _ func() time.Time) store.Store {
		return openStore(t, r.URL)
	}, storetest.Options{
		OwnClock: true,
		Reopen: func(t testing.TB, s store.Store, _ func() time.Time) store.Store {
			prefix := s.(*Store).options.Prefix
			require.NoError(t, s.Close())
			return openPrefix(t, r.URL, prefix)
		},
	})
}

// The contract is kept by calls that carry much as by calls that carry little.
func TestManyPublishersOfOneLog(t *testing.T) {
	r := storetest.StartRedis(t)
	s := openStore(t, r.URL)
	const publishers, each = 64, 50
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				if _, err := storetest.Append(s, anyLog, keep, text(p, i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	publishing.Wait()
	got := readAll(t, s, anyLog)
	require.Len(t, got, publishers*each)
	next := make(map[string]int)
	for i, e := range got {
		require.Equal(t, got[0].Position.N()+uint64(i), e.Position.N())
		p, n := split(t, e.Data)
		require.Equal(t, next[p], n, "a publisher's records in its order")
		next[p]++
	}
}
