package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// BenchmarkDeliver hands one message to 1,000 sessions: match, encode once, queue
// a pointer each.
func BenchmarkDeliver(b *testing.B) {
	for _, sessions := range []int{1, 1000} {
		b.Run(fmt.Sprint(sessions, " sessions"), func(b *testing.B) {
			x := newBench(b, nil)
			for range sessions {
				require.True(b, x.join("").subscribe("/mute/a").ok())
			}
			target, err := x.b.openTarget(mustName(b, "/mute/a"))
			require.NoError(b, err)
			t, err := x.b.hub.holdTopic(context.Background(), target)
			require.NoError(b, err)
			data := catchup.Encode([]byte(`{"text":"a message of the usual length, which is about 128 bytes with its envelope"}`), nil, 0)
			n := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				n++
				t.mu.Lock()
				t.deliver(x.b, store.Entry{Position: store.NewPosition(1, 1, n), Data: data}, false)
				t.mu.Unlock()
			}
		})
	}
}

// BenchmarkPull reads a catch-up of 10,000 messages as a transport does.
func BenchmarkPull(b *testing.B) {
	x := newBench(b, nil)
	root := x.root("gala", channels.ClassView)
	for n := range 10_000 {
		x.say("gala", "chat", map[string]any{"text": "a message of the usual length", "n": n})
	}
	p := x.join("")
	sub := x.b.subscribers[sessionKey(p.id)]
	pattern, err := channels.ParsePattern(root + "/chat/catchup/1h")
	require.NoError(b, err)
	target, err := x.b.subscription(context.Background(), pattern, asker{now: x.b.opt.Now()})
	require.NoError(b, err)
	l := sub.listener(&target)
	tp, err := x.b.hub.holdTopic(context.Background(), target)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		replay, extent, err := catchup.NewReplay(context.Background(), x.store, tp.log, tp.limits, time.Now().Add(-time.Hour), tp.last)
		require.NoError(b, err)
		require.EqualValues(b, 10_000, extent.Messages)
		x.b.pages = newPages(1) // so that every walk reads for itself
		f := &flow{listener: l, topic: tp, given: true, replays: []replaying{{channel: pattern.String(), replay: replay, unread: new(unread)}}}
		got := 0
		for {
			page, err := f.Pull(context.Background(), 1000)
			got += len(page)
			if errors.Is(err, io.EOF) {
				break
			}
		}
		require.Equal(b, 10_000, got)
	}
}

// BenchmarkPublish takes a message from its decoded form to the acknowledgement,
// in memory.
func BenchmarkPublish(b *testing.B) {
	x := newBench(b, nil)
	m := &bayeux.Message{
		Channel: mustName(b, "/open/a"), ChannelText: "/open/a",
		Data: []byte(`{"text":"a message of the usual length, which is about 128 bytes with its envelope"}`),
	}
	done := make(chan error, 1)
	b.ReportAllocs()
	for b.Loop() {
		x.b.Publish(context.Background(), bayeux.Peer{}, m, func(_ bayeux.Ack, err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func mustName(t testing.TB, s string) channels.Name {
	t.Helper()
	n, err := channels.Parse(s)
	require.NoError(t, err)
	return n
}

// BenchmarkHoldRoad has a road that others hold held once more, as each subscription
// does, for a connection that lives long.
func BenchmarkHoldRoad(b *testing.B) {
	x := newBench(b, nil)
	require.True(b, x.join("").subscribe("/mute/a").ok())
	target, err := x.b.openTarget(mustName(b, "/mute/a"))
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	for b.Loop() {
		r, err := x.b.hub.hold(ctx, target.log.Feed, nil)
		if err != nil {
			b.Fatal(err)
		}
		x.b.hub.letGo(r, nil)
	}
}
