package brokertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store"
	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wanderer is one session whose messages are sent to the node of the test's choice.
type wanderer struct {
	t     *testing.T
	nodes []*Node
	posts []*poster
	id    string
	next  atomic.Int64
	said  atomic.Int64
}

const wandererChannel = "/own/x"

// wander starts three nodes on one Redis, and a session that hears one channel.
func wander(t *testing.T) *wanderer {
	t.Helper()
	binary := RealBinary(t)
	server, dir := storetest.StartRedis(t), t.TempDir()
	config, err := writeKeys(dir)
	require.NoError(t, err)
	w := &wanderer{t: t}
	for n := range 3 {
		place := filepath.Join(dir, strconv.Itoa(n))
		require.NoError(t, os.Mkdir(place, 0o700))
		node, err := NewSharedNode(binary, place, config, server.URL, "GOBELIN_BAYEUX_TIMEOUT="+Hold.String())
		require.NoError(t, err)
		t.Cleanup(func() {
			node.Close()
			said, err := node.Troubles()
			assert.NoError(t, err)
			assert.Empty(t, said)
		})
		require.NoError(t, node.Start(t.Context()))
		post := newPoster(straight(node.Address()), 0)
		t.Cleanup(post.close)
		w.nodes, w.posts = append(w.nodes, node), append(w.posts, post)
	}
	ms, _, err := w.posts[0].exchange(t.Context(), handshakeBody("h"), answerTime)
	require.NoError(t, err)
	w.id, err = handshaken(ms)
	require.NoError(t, err)
	body := fmt.Appendf(nil, `[{"channel":"/meta/subscribe","clientId":%q,"subscription":%q,"id":"s"}]`, w.id, wandererChannel)
	ms, _, err = w.posts[1].exchange(t.Context(), body, answerTime)
	require.NoError(t, err)
	require.Len(t, ms, 1)
	require.False(t, ms[0].failed(), ms[0].Error)
	return w
}

// say publishes the next number over a node.
func (w *wanderer) say(ctx context.Context, node int) {
	k := int(w.said.Add(1) - 1)
	body := fmt.Appendf(nil, `[{"channel":%q,"data":{"p":0,"k":%d},"id":"p%d"}]`, wandererChannel, k, k)
	ms, _, err := w.posts[node].exchange(ctx, body, answerTime)
	if assert.NoError(w.t, err) && assert.Len(w.t, ms, 1) {
		assert.False(w.t, ms[0].failed(), ms[0].Error)
	}
}

// poll connects over a node and returns what came with the answer, in order. Where
// others contend for the session so that the node cannot get hold of it (503), the same
// connect is sent again, as a client does.
func (w *wanderer) poll(ctx context.Context, node int) []Kept {
	id := w.next.Add(1)
	body := fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"long-polling","id":"%d"}]`, w.id, id)
	ms, _, err := w.posts[node].exchange(ctx, body, Hold+4*answerTime)
	for busy := statusError(503); errors.As(err, &busy) && busy == 503 && rest(ctx, retryPause); {
		ms, _, err = w.posts[node].exchange(ctx, body, Hold+4*answerTime)
	}
	if !assert.NoError(w.t, err) {
		return nil
	}
	var got []Kept
	answered := false
	for i := range ms {
		switch m := &ms[i]; {
		case m.Data != nil:
			one, err := m.kept()
			assert.NoError(w.t, err)
			got = append(got, one)
		case m.ID == strconv.FormatInt(id, 10):
			answered = true
			assert.False(w.t, m.failed(), "connect %d over node %d: %s", id, node, m.Error)
		}
	}
	assert.True(w.t, answered, "connect %d over node %d was not answered", id, node)
	return got
}

// ordered checks that ids rise.
func (w *wanderer) ordered(all []Kept) {
	w.t.Helper()
	for i := 1; i < len(all); i++ {
		assert.True(w.t, all[i-1].ID.Before(all[i].ID), "%v came after %v", all[i], all[i-1])
	}
}

// once checks that everything that was said came, and came once.
func (w *wanderer) once(parts ...[]Kept) {
	w.t.Helper()
	times, ids := map[int]int{}, map[store.Position]int{}
	for _, part := range parts {
		for _, one := range part {
			times[one.K]++
			ids[one.ID]++
		}
	}
	var lost, again []int
	for k := range int(w.said.Load()) {
		switch times[k] {
		case 0:
			lost = append(lost, k)
		case 1:
		default:
			again = append(again, k)
		}
	}
	assert.Empty(w.t, lost, "lost, of %d", w.said.Load())
	assert.Empty(w.t, again, "came twice, of %d", w.said.Load())
	assert.Len(w.t, ids, len(times), "one message, two ids")
}

// talking publishes over all nodes in turn until the test says stop, which waits.
func (w *wanderer) talking(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		for n := 0; rest(ctx, every); n++ {
			w.say(w.t.Context(), n%len(w.nodes))
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// TestOldOwnerStops: while one node holds a poll, another is asked for the same
// session. The two never give by turns: the one stops before the other begins.
// Nothing is lost, and nothing comes twice.
func TestOldOwnerStops(t *testing.T) {
	w := wander(t)
	stop := w.talking(3 * time.Millisecond)
	var all []Kept
	poll := func(node int) chan []Kept {
		c := make(chan []Kept, 1)
		go func() { c <- w.poll(t.Context(), node) }()
		return c
	}
	for round := range 60 {
		old := poll(round % len(w.nodes))
		if round%4 == 0 {
			rest(t.Context(), 5*time.Millisecond) // it is the owner by then, mostly
		}
		next := poll((round + 1) % len(w.nodes))
		first, then := <-old, <-next
		w.ordered(first)
		w.ordered(then)
		if len(first) > 0 && len(then) > 0 && then[0].ID.Before(first[0].ID) {
			first, then = then, first // the older connect arrived later
		}
		if len(first) > 0 && len(then) > 0 {
			require.True(t, first[len(first)-1].ID.Before(then[0].ID), "round %d: the old owner gave %v when the new one had given %v", round, first[len(first)-1], then[0])
		}
		all = append(append(all, first...), then...)
	}
	stop()
	for got := w.poll(t.Context(), 2); len(got) > 0; got = w.poll(t.Context(), 2) {
		all = append(all, got...)
	}
	w.ordered(all)
	w.once(all)
}

// TestHeldPollMoves: a poll that is held with nothing to give is answered when
// another node takes the session, and gives nothing of what is said then.
func TestHeldPollMoves(t *testing.T) {
	w := wander(t)
	require.Empty(t, w.poll(t.Context(), 0))
	for round := range 3 {
		old, next := make(chan []Kept, 1), make(chan []Kept, 1)
		go func() { old <- w.poll(t.Context(), round) }()
		w.holder(round)
		go func() { next <- w.poll(t.Context(), (round+1)%3) }()
		w.holder((round + 1) % 3)
		for range 5 {
			w.say(t.Context(), (round+2)%3)
		}
		require.Empty(t, <-old)
		got := <-next
		for len(got) < 5 {
			more := w.poll(t.Context(), (round+1)%3)
			require.NotEmpty(t, more, "what was said does not come")
			got = append(got, more...)
		}
		w.ordered(got)
		require.Len(t, got, 5)
	}
}

// TestTwoPollers: a client that has gone mad polls two nodes at once for a while,
// each takes the session from the other. Nothing is lost.
func TestTwoPollers(t *testing.T) {
	w := wander(t)
	stop := w.talking(5 * time.Millisecond)
	mad, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	parts := make([][]Kept, 3)
	var pollers sync.WaitGroup
	for n := range 2 {
		pollers.Go(func() {
			for rest(mad, 2*time.Millisecond) {
				parts[n] = append(parts[n], w.poll(t.Context(), n)...)
			}
		})
	}
	pollers.Wait()
	stop()
	for {
		got := w.poll(t.Context(), 2)
		if len(got) == 0 {
			break
		}
		parts[2] = append(parts[2], got...)
	}
	for _, part := range parts {
		w.ordered(part)
	}
	w.once(parts...)
}

// TestTakeoverRace: many connects for one session reach three nodes at once. One
// node has it in the end, and what is said then comes once.
func TestTakeoverRace(t *testing.T) {
	w := wander(t)
	const each = 3
	var all []Kept
	for round := range 3 {
		answers := make([][]Kept, each*len(w.nodes))
		var polls sync.WaitGroup
		for i := range answers {
			polls.Go(func() { answers[i] = w.poll(t.Context(), i%len(w.nodes)) })
		}
		for range 5 {
			w.say(t.Context(), round%len(w.nodes))
		}
		polls.Wait()
		for _, part := range answers {
			w.ordered(part)
			all = append(all, part...)
		}
		w.alone()
	}
	for got := w.poll(t.Context(), 0); len(got) > 0; got = w.poll(t.Context(), 0) {
		w.ordered(got)
		all = append(all, got...)
	}
	slices.SortFunc(all, func(a, b Kept) int { return a.ID.Compare(b.ID) })
	w.once(all)
}

// alone waits until exactly one node has the session, and returns which.
func (w *wanderer) alone() int {
	w.t.Helper()
	have := make([]float64, len(w.nodes))
	for end := time.Now().Add(2 * answerTime); time.Now().Before(end); rest(w.t.Context(), 20*time.Millisecond) {
		sum := 0.0
		for n, node := range w.nodes {
			var err error
			have[n], err = node.Metric(w.t.Context(), "gobelin_sessions")
			require.NoError(w.t, err)
			sum += have[n]
		}
		if sum == 1 {
			return slices.Index(have, 1)
		}
	}
	require.Fail(w.t, "not one node has the session", "sessions by node: %v", have)
	return -1
}

// holder waits until node alone has the session.
func (w *wanderer) holder(node int) {
	w.t.Helper()
	for end := time.Now().Add(2 * answerTime); w.alone() != node; rest(w.t.Context(), 20*time.Millisecond) {
		require.True(w.t, time.Now().Before(end), "node %d does not take the session", node)
	}
}
