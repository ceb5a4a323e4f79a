package redis

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// refuses checks that a url is not opened, and says why and what to do.
func refuses(t *testing.T, url string, o Options, want ...string) error {
	t.Helper()
	s, err := Open(ctx, url, o)
	if err == nil {
		require.NoError(t, s.Close())
	}
	require.Error(t, err)
	for _, w := range want {
		require.ErrorContains(t, err, w)
	}
	require.NotContains(t, err.Error(), "secret")
	return err
}

// warned returns the warnings of an Open.
func warned(t *testing.T, url string, o Options) string {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	o.Log = zap.New(core)
	openWith(t, url, o)
	var all []string
	for _, e := range logs.All() {
		all = append(all, e.Message)
	}
	return strings.Join(all, "\n")
}

func TestOpenRefusesOptions(t *testing.T) {
	refuses(t, "redis://127.0.0.1:1", Options{Prefix: "a{b}"}, "prefix")
	refuses(t, "redis://127.0.0.1:1", Options{Prefix: strings.Repeat("p", maxPrefix+1)}, "prefix")
	refuses(t, "redis://127.0.0.1:1", Options{Ack: "perhaps"}, "ack")
	refuses(t, "redis://127.0.0.1:1", Options{PublishTimeout: -1}, "timeout")
	refuses(t, "redis://", Options{}, "host 1")
}

func TestOpenChecks(t *testing.T) {
	r := storetest.StartRedis(t)
	c := direct(t, r)
	set := func(name, value string) {
		t.Helper()
		require.NoError(t, c.ConfigSet(ctx, name, value).Err())
	}
	require.Empty(t, warned(t, r.URL, Options{}))
	require.Contains(t, refuses(t, "redis://127.0.0.1:1", Options{}, "cannot be reached").Error(), "127.0.0.1:1")
	require.ErrorIs(t, refuses(t, "redis://127.0.0.1:1", Options{}), store.ErrUnavailable)
	set("maxmemory-policy", "allkeys-lru")
	refuses(t, r.URL, Options{}, "allkeys-lru", "noeviction", "allow_eviction")
	require.Contains(t, warned(t, r.URL, Options{AllowEviction: true}), "evicted")
	set("maxmemory-policy", "noeviction")
	set("appendfsync", "no")
	require.Contains(t, warned(t, r.URL, Options{}), "appendfsync is no")
	set("appendfsync", "always")
	require.Empty(t, warned(t, r.URL, Options{}))
	set("appendonly", "no")
	require.Contains(t, warned(t, r.URL, Options{}), "appendonly is no")
	// Another key space, or somebody else's.
	require.NoError(t, c.Set(ctx, "other:cfg", "gobelin 1 128", 0).Err())
	refuses(t, r.URL, Options{Prefix: "other"}, "other:cfg", "gobelin 1 128", "redis.prefix")
	require.NoError(t, c.LPush(ctx, "list:cfg", "x").Err())
	refuses(t, r.URL, Options{Prefix: "list"}, "WRONGTYPE")
	refuses(t, "redis+cluster://"+r.Addr, Options{}, "no cluster")
	set("appendonly", "yes")
	set("min-replicas-to-write", "1")
	refuses(t, r.URL, Options{Prefix: "new"}, "too few replicas")
	set("min-replicas-to-write", "0")
	require.NoError(t, c.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
	require.ErrorIs(t, refuses(t, r.URL, Options{}, "a replica"), store.ErrUnavailable)
}

func TestOpenAuthenticates(t *testing.T) {
	r := storetest.StartRedis(t)
	c := direct(t, r)
	require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "poor", "on", ">secret", "~*", "&*", "+@all", "-info").Err())
	require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "managed", "on", ">secret", "~g:*", "&g:*", "+@all", "-config").Err())
	require.NoError(t, c.ConfigSet(ctx, "requirepass", "secret2").Err())
	as := func(user string) string { return strings.Replace(r.URL, "//", "//"+user+"@", 1) }
	refuses(t, r.URL, Options{}, "wants a password")
	refuses(t, as(":secret"), Options{}, "does not know this user or password")
	refuses(t, as("poor:secret"), Options{}, "ACL", "info")
	refuses(t, as("managed:secret"), Options{Prefix: "h"}, "ACL")
	require.Contains(t, warned(t, as("managed:secret"), Options{}), "appendfsync could not be checked")
	s := openWith(t, as("managed:secret"), Options{})
	e, _ := watchReady(t, s, "a")
	all, _ := watchReady(t, s, store.AllFeeds)
	say(t, s, "a", "1")
	e.wait(t, "1", 1)
	all.wait(t, "1", 1)
	require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "managed", "-evalsha", "-eval").Err())
	_, err := storetest.Append(s, anyLog, keep, store.Record{})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, s.Health(ctx), "NOPERM")
	require.NoError(t, c.Do(ctx, "ACL", "SETUSER", "managed", "+evalsha", "+eval").Err())
	require.Eventually(t, func() bool { return s.Health(ctx) == nil }, patience, 10*time.Millisecond)
}

func TestOpenKinds(t *testing.T) {
	cluster := storetest.StartCluster(t)
	refuses(t, cluster.Nodes[0].URL, Options{}, "redis+cluster://")
	s := openStore(t, cluster.URL)
	facts, err := s.Facts(ctx)
	require.NoError(t, err)
	require.Equal(t, 3, facts.Primaries)
	require.Equal(t, kindCluster, facts.Kind)
	require.Equal(t, "aof everysec", facts.Persistence)
	sentinel := storetest.StartSentinel(t)
	s = openStore(t, sentinel.URL)
	facts, err = s.Facts(ctx)
	require.NoError(t, err)
	require.Equal(t, kindSentinel, facts.Kind)
	require.Equal(t, 1, facts.Replicas)
	require.Equal(t, noEviction, facts.Policy)
	require.Positive(t, facts.UsedMemory)
	require.Zero(t, facts.MaxMemory)
	require.Less(t, facts.Skew.Abs(), time.Second)
	require.False(t, older(facts.Version, oldest))
	name := strings.LastIndexByte(sentinel.URL, '/')
	hosts := strings.TrimPrefix(sentinel.URL[:name], "redis+sentinel://")
	refuses(t, "redis://"+strings.Split(hosts, ",")[0], Options{}, "sentinel")
	refuses(t, sentinel.URL[:name]+"/unknown", Options{}, "cannot be reached")
	refuses(t, "redis://"+sentinel.Replica().Addr, Options{}, "a replica")
}

// A server that is still loading is waited for, one that does not tell is believed.
func TestOpenWaits(t *testing.T) {
	r := miniredis.RunT(t)
	r.SetError("LOADING Redis is loading the dataset in memory")
	short, cancel := context.WithTimeout(ctx, 3*loadingEach)
	defer cancel()
	_, err := Open(short, "redis://"+r.Addr(), Options{})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "loading")
	loaded := time.AfterFunc(3*loadingEach, func() { r.SetError("") })
	defer loaded.Stop()
	text := warned(t, "redis://"+r.Addr(), Options{})
	for _, want := range []string{"version could not", "maxmemory-policy could not", "persistence could not"} {
		require.Contains(t, text, want)
	}
}

func TestReadInfo(t *testing.T) {
	one := readInfo("# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\nused_memory:12\r\nmaxmemory:100\r\n" +
		"maxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\nconnected_slaves:2\r\nnonsense\r\n")
	require.Equal(t, server{
		Facts: Facts{Version: "7.2.4", Policy: "noeviction", Persistence: "aof", Replicas: 2, UsedMemory: 12, MaxMemory: 100},
		mode:  "standalone", role: "master",
	}, one)
	var all Facts
	all.add(one)
	one.Version, one.Policy, one.Persistence, one.Replicas, one.Skew = "7.0.15", "allkeys-lru", "none", 0, -time.Minute
	all.add(one)
	one.Version, one.Policy, one.Persistence, one.Replicas, one.Skew = "7.10.0", "noeviction", "aof always", 3, time.Second
	all.add(one)
	require.Equal(t, Facts{
		Version: "7.0.15", Policy: "allkeys-lru", Persistence: "none", Skew: -time.Minute, Primaries: 3, UsedMemory: 36, MaxMemory: 300,
	}, all)
}

func TestJudgeFacts(t *testing.T) {
	good := Facts{Version: "7.0.0", Policy: noEviction, Persistence: "aof always"}
	f := func(change func(*Facts), refused, warned string) {
		t.Helper()
		core, logs := observer.New(zap.WarnLevel)
		s := &Store{log: zap.New(core)}
		facts := good
		change(&facts)
		err := s.judgeFacts(facts)
		if refused != "" {
			require.ErrorContains(t, err, refused)
			return
		}
		require.NoError(t, err)
		if warned == "" {
			require.Zero(t, logs.Len())
			return
		}
		require.Equal(t, 1, logs.Len())
		require.Contains(t, logs.All()[0].Message, warned)
	}
	f(func(*Facts) {}, "", "")
	f(func(f *Facts) { f.Version = "6.2.14" }, "too old", "")
	f(func(f *Facts) { f.Version = "10.0" }, "", "")
	f(func(f *Facts) { f.Version = "8" }, "", "")
	f(func(f *Facts) { f.Version = unknown }, "", "version")
	f(func(f *Facts) { f.Policy = "volatile-ttl" }, "volatile-ttl", "")
	f(func(f *Facts) { f.Skew = -61 * time.Second }, "differ by", "")
	f(func(f *Facts) { f.Skew = 3 * time.Second }, "", "clock")
	f(func(f *Facts) { f.Persistence = "none" }, "", "appendonly")
	f(func(f *Facts) { f.Persistence = "snapshots" }, "", "appendonly")
	f(func(f *Facts) { f.Persistence = "aof everysec" }, "", "")
}
