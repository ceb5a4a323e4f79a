package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
)

// guideACL returns the words of the ACL in the guide to nodes, behind ACL SETUSER.
func guideACL(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../examples/nodes/README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "ACL SETUSER ")
	require.True(t, ok, "the guide has no ACL")
	acl, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	return strings.Fields(strings.ReplaceAll(acl, "\\\n", " "))
}

// A node starts and works as a user of Redis that may do just what the guide says; the
// server has refused it nothing.
func TestACL(t *testing.T) {
	server := storetest.StartRedis(t)
	_, err := server.Command(append([]string{"ACL", "SETUSER"}, guideACL(t)...)...)
	require.NoError(t, err)
	_, err = server.Command("ACL", "LOG", "RESET")
	require.NoError(t, err)
	c := testConfig(t)
	c.secrets, c.Node.ID = t.TempDir(), "one"
	c.Store = location("redis://gobelin:choose-a-long-one@" + server.Addr)
	n, err := openNode(t.Context(), c, zap.NewNop(), true)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	serving, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- n.run(ctx, func() { close(serving) }, newTicker(n.broker, n.store, zap.NewNop()).beat)
	}()
	<-serving
	require.NoError(t, n.ready(t.Context()))
	works(t, n)
	_, err = c.aboutRedis(t.Context(), zap.NewNop())
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-ended)

	folder := location(t.TempDir())
	require.NoError(t, copyStore(t.Context(), c, c.Store, folder, false, false, &strings.Builder{}, &strings.Builder{}))
	require.NoError(t, copyStore(t.Context(), c, folder, c.Store, true, false, &strings.Builder{}, &strings.Builder{}))
	refused, err := server.Command("ACL", "LOG")
	require.NoError(t, err)
	require.Empty(t, strings.Trim(refused, "[]*0\r\n"), "what the user was refused")
}

// works does what a node does to its store.
func works(t *testing.T, n *node) {
	t.Helper()
	watch := &counting{entries: make(chan int, 100)}
	for _, feed := range []string{"object", store.AllFeeds} {
		stop, err := n.store.Watch(feed, watch)
		require.NoError(t, err)
		t.Cleanup(stop)
	}
	log, limits := store.LogName{Feed: "object", Path: "x"}, store.Limits{Age: time.Hour, Length: 10, Idle: time.Hour}
	for range 200 {
		_, err := storetest.Append(n.store, log, limits, store.Record{Data: []byte("x"), Nonce: store.Nonce{1}}, store.Record{})
		require.NoError(t, err)
	}
	_, err := storetest.Append(n.store, log, store.Limits{}, store.Record{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(watch.entries) > 0 }, patience, 10*time.Millisecond)
	ctx := t.Context()
	head, err := n.store.Head(ctx, log, limits)
	require.NoError(t, err)
	require.NoError(t, n.store.Redact(ctx, log, head.Oldest))
	_, err = n.store.Count(ctx, log, store.Range{Limits: limits, UpTo: head.Last})
	require.NoError(t, err)
	_, err = n.store.Heads(ctx, []store.LogName{log})
	require.NoError(t, err)
	_, _, err = n.store.Spoke(ctx, store.AllFeeds, time.Now().Add(-time.Minute), 10)
	require.NoError(t, err)
	_, err = n.store.Put(ctx, "table", "key", store.Put{TTL: time.Hour})
	require.NoError(t, err)
	_, err = n.store.List(ctx, "table", "k", "", 10)
	require.NoError(t, err)
	require.NoError(t, n.store.Remove(ctx, "table", "key", nil))
	streams(t, n.store, log, limits)
	require.NoError(t, n.store.Delete(ctx, log))
	for _, channel := range []string{"/demo/a", "/demo/b"} {
		require.NoError(t, n.broker.PublishAll(ctx, nil, []broker.Publication{{Channel: channel, Data: []byte("1")}})[0].Err)
	}
}

// streams does what streams do: copies arrive, and groups share them.
func streams(t *testing.T, s store.Store, log store.LogName, limits store.Limits) {
	t.Helper()
	ctx := t.Context()
	g := store.GroupName{Log: store.LogName{Feed: "@account", Path: "x"}, Name: "stream"}
	for range 6 {
		_, err := storetest.Append(s, log, limits, store.Record{Copy: &store.Copy{To: g.Log, Limits: limits}})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		lag, err := s.Lag(ctx)
		require.NoError(t, err)
		return lag.Waiting == 0
	}, patience, 10*time.Millisecond)
	got, err := s.Take(ctx, g, limits, "a", 3, 1<<20)
	require.NoError(t, err)
	require.Len(t, got.Entries, 3)
	require.NoError(t, s.Settle(ctx, g, []store.Position{got.Entries[0].Position}))
	require.NoError(t, s.Redact(ctx, g.Log, got.Entries[1].Position))
	require.NoError(t, s.Leave(ctx, g, "a"))
	got, err = s.Take(ctx, g, limits, "b", 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, got.Entries, 4)
	require.NoError(t, s.Redact(ctx, g.Log, got.Entries[3].Position))
	require.NoError(t, s.Seek(ctx, g, got.Entries[2].Position))
	got, err = s.Take(ctx, g, limits, "b", 10, 1<<20)
	require.NoError(t, err)
	require.Empty(t, got.Entries)
	_, err = s.State(ctx, g)
	require.NoError(t, err)
	require.NoError(t, s.Drop(ctx, g))
}

// counting hears what is announced.
type counting struct{ entries chan int }

func (*counting) Ready()       {}
func (*counting) Broken(error) {}

func (c *counting) Entries(tails []store.Tail) {
	select {
	case c.entries <- len(tails):
	default:
	}
}
