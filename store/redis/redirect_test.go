package redis

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// scripted is a node of a cluster that answers by its lines: each is what it says to one
// command of ours, "" cuts the connection. It notes what it was asked.
type scripted struct {
	addr string

	mu    sync.Mutex
	says  []string
	asked []string
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	// Not by its address: the client replaces one that is local.
	n := &scripted{addr: fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)}
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { _ = l.Close() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { n.serve(c) })
		}
	})
	return n
}

func (n *scripted) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		name, err := commandName(r)
		if err != nil {
			return
		}
		answer := "-ERR unknown command\r\n"
		switch name {
		case "ping":
			answer = "+PONG\r\n"
		case "incr", "asking":
			answer = n.hear(name)
		}
		if answer == "" {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func (n *scripted) hear(name string) (answer string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, name)
	if name == "asking" {
		return "+OK\r\n"
	}
	if len(n.says) == 0 {
		return "-ERR nothing more to say\r\n"
	}
	answer, n.says = n.says[0], n.says[1:]
	return answer
}

// commandName reads one command, and returns its first word.
func commandName(r *bufio.Reader) (string, error) {
	var words []string
	count := func() (n int, err error) {
		line, err := r.ReadString('\n')
		if err != nil || len(line) < 4 {
			return 0, fmt.Errorf("%q: %w", line, err)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := count()
	for ; err == nil && n > 0; n-- {
		var size int
		if size, err = count(); err == nil {
			word := make([]byte, size+2)
			_, err = io.ReadFull(r, word)
			words = append(words, string(word[:size]))
		}
	}
	if err != nil {
		return "", err
	}
	return strings.ToLower(words[0]), nil
}

// A write goes to each node once on its way to where its key lies: what was sent and not
// answered is in doubt, whatever others say of it.
func TestFollow(t *testing.T) {
	f := func(name string, want any, doubt bool, askedB []string, says func(a, b *scripted)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			a, b := newScripted(t), newScripted(t)
			says(a, b)
			var nodes members
			at := &address{kind: kindCluster, hosts: []string{a.addr, b.addr}}
			options := at.clusterOptions(newBreaker(), &nodes)
			half := func(n *scripted, from, to int) goredis.ClusterSlot {
				return goredis.ClusterSlot{Start: from, End: to, Nodes: []goredis.ClusterNode{{Addr: n.addr}}}
			}
			options.ClusterSlots = func(context.Context) ([]goredis.ClusterSlot, error) {
				return []goredis.ClusterSlot{half(a, 0, 16000), half(b, 16001, 16383)}, nil
			}
			c := goredis.NewClusterClient(options)
			t.Cleanup(func() { _ = c.Close() })
			// As the store has met them.
			require.NoError(t, c.ForEachMaster(ctx, func(ctx context.Context, one *goredis.Client) error { return one.Ping(ctx).Err() }))
			node, err := c.MasterForKey(ctx, "key") // slot 12539
			require.NoError(t, err)
			queue := func(p goredis.Pipeliner) *goredis.Cmd { return p.Do(ctx, "incr", "key") }
			err = node.Do(ctx, "incr", "key").Err()
			require.True(t, moved(err))
			got, err := nodes.follow(ctx, c, err, queue)
			require.Equal(t, doubt, doubtful(err), "%v", err)
			if want != nil {
				require.NoError(t, err)
				require.Equal(t, want, got)
			} else {
				require.Error(t, err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			require.Equal(t, askedB, b.asked)
		})
	}
	to := func(word string, n *scripted) string { return fmt.Sprintf("-%s 12539 %s\r\n", word, n.addr) }
	f("moved", int64(7), false, []string{"incr"}, func(a, b *scripted) {
		a.says, b.says = []string{to("MOVED", b)}, []string{":7\r\n"}
	})
	f("half moved", int64(7), false, []string{"asking", "incr"}, func(a, b *scripted) {
		a.says, b.says = []string{to("ASK", b)}, []string{":7\r\n"}
	})
	f("not answered", nil, true, []string{"incr"}, func(a, b *scripted) {
		a.says, b.says = []string{to("MOVED", b), ":8\r\n", ":9\r\n"}, []string{"", "-CLUSTERDOWN The cluster is down\r\n"}
	})
	f("refused there", nil, false, []string{"incr"}, func(a, b *scripted) {
		a.says, b.says = []string{to("MOVED", b)}, []string{"-CLUSTERDOWN The cluster is down\r\n"}
	})
	f("in a circle", nil, false, []string{"incr", "incr"}, func(a, b *scripted) {
		a.says, b.says = []string{to("MOVED", b), to("MOVED", b)}, []string{to("MOVED", a), to("MOVED", a)}
	})
	f("to one that does not say its host", int64(7), false, []string{"incr"}, func(a, b *scripted) {
		_, port, _ := strings.Cut(b.addr, ":")
		a.says, b.says = []string{"-MOVED 12539 :" + port + "\r\n"}, []string{":7\r\n"}
	})
	f("to a node that nobody knows", nil, false, nil, func(a, _ *scripted) {
		a.says = []string{"-MOVED 12539 127.0.0.1:1\r\n"}
	})
}
