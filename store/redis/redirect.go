package redis

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// mostHops is how often a write is sent on from one node to another.
const mostHops = 3

// members are the clients of a cluster's nodes. A node says of a key that does not lie
// there where it does (MOVED), or where it is being moved to (ASK). The cluster's own
// client follows, but on the way it also sends again what was not answered: a write that
// was done would then be told as one that was refused. So writes follow here, and each is
// sent once to each node.
type members struct {
	mu     sync.Mutex
	byAddr map[string]*goredis.Client // guarded by mu
}

// add notes the client of a node.
func (m *members) add(c *goredis.Client) *goredis.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byAddr == nil {
		m.byAddr = map[string]*goredis.Client{}
	}
	m.byAddr[c.Options().Addr] = c
	return c
}

// at returns the client of a node, nil where there is none. A node may leave out its host,
// or call itself local: then it is the only one with its port.
func (m *members) at(addr string) *goredis.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.byAddr[addr]; c != nil {
		return c
	}
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsLoopback()) {
		return nil
	}
	var only *goredis.Client
	for known, c := range m.byAddr {
		if _, its, err := net.SplitHostPort(known); err != nil || its != port {
			continue
		}
		if only != nil {
			return nil
		}
		only = c
	}
	return only
}

// follow sends a command, which queue puts into a pipeline, to where err says that its key
// lies, and on from there. It returns the last answer. That of a node that is not known
// yet is err, and it will be.
func (m *members) follow(ctx context.Context, c *goredis.ClusterClient, err error, queue func(goredis.Pipeliner) *goredis.Cmd) (got any, _ error) {
	for hop := 0; hop < mostHops && moved(err); hop++ {
		addr := err.Error()[strings.LastIndexByte(err.Error(), ' ')+1:]
		asks := refusal(err) == "ASK"
		if !asks {
			c.ReloadState(ctx)
		}
		node := m.at(addr)
		if node == nil {
			c.ReloadState(ctx)
			return nil, err
		}
		pipe := node.Pipeline()
		if asks {
			pipe.Do(ctx, "asking")
		}
		command := queue(pipe)
		_, _ = pipe.Exec(ctx) // the command has its own error
		answer, failed := command.Result()
		if errors.Is(failed, goredis.ErrClosed) {
			return nil, err // that node has left, and nothing was sent
		}
		got, err = answer, failed
	}
	return got, err
}
