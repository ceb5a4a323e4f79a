package brokertest_test

import (
	"errors"
	"os"
	"testing"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/require"
)

// shares says what of live messages a torture loses between Redis and each node.
const shares = 0.03

// onRedis starts one Redis for nodes, each of which reaches it by a way of its own
// that loses a share of live messages.
func onRedis(t *testing.T, nodes int, share float64, args ...string) *brokertest.Backend {
	t.Helper()
	server := storetest.StartRedis(t, args...)
	var ways []*storetest.Dropper
	for n := range nodes {
		d, err := storetest.NewDropper(server.Addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = d.Close() })
		d.Drop(share, uint64(n))
		ways = append(ways, d)
	}
	t.Cleanup(func() {
		var lost int64
		for _, d := range ways {
			lost += d.Dropped()
		}
		t.Logf("%d live messages lost between Redis and the nodes", lost)
	})
	cuts := 0
	return &brokertest.Backend{
		URL:     func(n int) string { return "redis://" + ways[n].Addr },
		Kill:    func() error { server.Kill(); return nil },
		Restart: func() error { server.Restart(); return nil },
		Freeze:  func() error { server.Freeze(); return nil },
		Thaw:    func() error { server.Thaw(); return nil },
		KillFeeds: func() error {
			_, err := server.Command("CLIENT", "KILL", "TYPE", "pubsub")
			return err
		},
		// One time connections break and new ones are silent, the next time all is
		// silent, and what was on its way then arrives late.
		CutOff: func(n int, off bool) error {
			ways[n].Freeze(off)
			if off {
				cuts++
			}
			if cuts%2 == 1 {
				ways[n].Cut()
			}
			return nil
		},
	}
}

// onSentinel starts a primary, a replica and their sentinels.
func onSentinel(t *testing.T) *brokertest.Backend {
	t.Helper()
	s := storetest.StartSentinel(t)
	return &brokertest.Backend{
		URL: func(int) string { return s.URL },
		KillFeeds: func() error {
			_, err := s.Primary().Command("CLIENT", "KILL", "TYPE", "pubsub")
			return err
		},
		CutReplica: func() error { s.CutReplica(); return nil },
		Failover:   func() error { s.Failover(); return nil },
	}
}

// movedSlots is how many slots change their master at a time, one after the other.
const movedSlots = 8

// onCluster starts three masters; one of them is what dies and stands still.
func onCluster(t *testing.T) *brokertest.Backend {
	t.Helper()
	c := storetest.StartCluster(t, "--appendfsync", "always")
	one := c.Nodes[0]
	return &brokertest.Backend{
		URL:     func(int) string { return c.URL },
		Kill:    func() error { one.Kill(); return nil },
		Restart: func() error { one.Restart(); return nil },
		Freeze:  func() error { one.Freeze(); return nil },
		Thaw:    func() error { one.Thaw(); return nil },
		KillFeeds: func() error {
			var faults []error
			for _, n := range c.Nodes {
				_, err := n.Command("CLIENT", "KILL", "TYPE", "pubsub")
				faults = append(faults, err)
			}
			return errors.Join(faults...)
		},
		Move: func() error { c.MoveSlots(movedSlots); return nil },
	}
}

// backend makes the store that STORE names: disk, redis, namespaces, sentinel or cluster.
func backend(t *testing.T, nodes int) *brokertest.Backend {
	t.Helper()
	switch kind := os.Getenv("STORE"); kind {
	case "", "disk":
		require.Equal(t, 1, nodes, "a disk store is one node's: STORE=redis NODES=%d", nodes)
		return nil
	case "redis":
		return onRedis(t, nodes, shares, "--appendfsync", "always")
	case "namespaces":
		return brokertest.OnNamespaces(t, nodes, "--appendfsync", "always")
	case "sentinel":
		return onSentinel(t)
	case "cluster":
		return onCluster(t)
	default:
		t.Fatalf("STORE=%s: not disk, redis, namespaces, sentinel or cluster", kind)
		return nil
	}
}
