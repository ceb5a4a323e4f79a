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
	between, err := storetest.NewDropper(r.Addr)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, between.Close()) })
	url := "redis://" + between.Addr
	o := storetest.Hooks(r, between)
	o.Reopen = func(t testing.TB, s store.Store, _ func() time.Time) store.Store {
		prefix := s.(*Store).options.Prefix
		require.NoError(t, s.Close())
		return openPrefix(t, url, prefix)
	}
	storetest.Run(t, func(t *testing.T, _ func() time.Time) store.Store { return openStore(t, url) }, o)
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

func TestContractOnCluster(t *testing.T) {
	c := storetest.StartCluster(t)
	storetest.Run(t, func(t *testing.T, _ func() time.Time) store.Store {
		return openStore(t, c.URL)
	}, storetest.Options{OwnClock: true})
}

// Slots move while publishers publish: what was acknowledged is there once, in
// order, and what was refused is not.
func TestSlotsMove(t *testing.T) {
	c := storetest.StartCluster(t)
	s := openStore(t, c.URL)
	const publishers, each = 6, 150
	acked := make([][]string, publishers)
	var publishing sync.WaitGroup
	for p := range publishers {
		publishing.Go(func() {
			for i := range each {
				_, err := storetest.Append(s, store.LogName{Feed: strconv.Itoa(p), Path: "x"}, keep, text(p, i))
				if err == nil {
					acked[p] = append(acked[p], string(text(p, i).Data))
				}
			}
		})
	}
	moved := c.MoveSlots(6)
	publishing.Wait()
	require.NotEmpty(t, moved)
	require.Eventually(t, func() bool {
		for p := range publishers {
			if _, err := storetest.Append(s, store.LogName{Feed: strconv.Itoa(p), Path: "after"}, keep, text(p, 0)); err != nil {
				return false
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond)
	for p := range publishers {
		require.NotEmpty(t, acked[p])
		there := []string{}
		seen := make(map[string]bool)
		for _, e := range readAll(t, s, store.LogName{Feed: strconv.Itoa(p), Path: "x"}) {
			require.False(t, seen[string(e.Data)], "once")
			seen[string(e.Data)] = true
			there = append(there, string(e.Data))
		}
		require.Subset(t, there, acked[p])
		require.Equal(t, acked[p], among(there, acked[p]), "in order")
	}
}

// among returns those of all that are among wanted.
func among(all, wanted []string) (kept []string) {
	is := make(map[string]bool)
	for _, w := range wanted {
		is[w] = true
	}
	for _, a := range all {
		if is[a] {
			kept = append(kept, a)
		}
	}
	return kept
}
