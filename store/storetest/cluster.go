package storetest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const clusterSlots = 16384

// Cluster is three masters of a Redis Cluster, without replicas. Its methods belong
// to the test's goroutine.
type Cluster struct {
	// URL names the masters, as the broker is told it.
	URL string
	// Nodes are the masters; each begins with a third of the slots, in order.
	Nodes []*Redis

	t   testing.TB
	ids []string // of Nodes
}

// StartCluster starts the masters and waits until each says that the cluster is
// well. Without the program the test is skipped; see StartRedis. args are appended
// to each command line.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	const nodes = 3
	var addrs []string
	for i := range nodes {
		n := startServer(t, func(port int) []string {
			return append([]string{
				"--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
				"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", fmt.Sprint(port + 10_000),
			}, args...)
		})
		n.must("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		from, to := i*clusterSlots/nodes, (i+1)*clusterSlots/nodes-1
		n.must("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from), fmt.Sprint(to))
		c.Nodes = append(c.Nodes, n)
		c.ids = append(c.ids, n.must("CLUSTER", "MYID"))
		addrs = append(addrs, n.Addr)
	}
	for _, n := range c.Nodes[1:] {
		n.must("CLUSTER", "MEET", "127.0.0.1", port(c.Nodes[0]))
	}
	for _, n := range c.Nodes {
		require.True(t, until(startTimeout, func() bool {
			info := n.must("CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprint("cluster_known_nodes:", nodes))
		}), "the cluster is not well\n%s", n.tail())
	}
	c.URL = "redis+cluster://" + strings.Join(addrs, ",")
	return c
}

// Owner returns the index in Nodes of the master that has a slot.
func (c *Cluster) Owner(slot int) int {
	c.t.Helper()
	for i, n := range c.Nodes {
		if c.owns(n, c.ids[i], slot) {
			return i
		}
	}
	require.FailNow(c.t, "nobody has the slot", "%d", slot)
	return -1
}

// owns reports whether a node says of itself that it has a slot.
func (c *Cluster) owns(n *Redis, id string, slot int) bool {
	c.t.Helper()
	for line := range strings.Lines(n.must("CLUSTER", "NODES")) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] != id {
			continue
		}
		for _, r := range fields[8:] {
			from, to, ranged := strings.Cut(r, "-")
			low, err := strconv.Atoi(from)
			if err != nil {
				continue // "[slot->-id]": on its way
			}
			high := low
			if ranged {
				high, err = strconv.Atoi(to)
				require.NoError(c.t, err)
			}
			if low <= slot && slot <= high {
				return true
			}
		}
	}
	return false
}

// Migrate moves a slot with its keys from the master that has it to the next, key by
// key while clients go on, as an operator's rebalancing does. It returns when all
// masters agree: were the next slot moved before, an older word about this one could
// arrive with an epoch that is as new, and leave it to nobody.
func (c *Cluster) Migrate(slot int) {
	c.t.Helper()
	i := c.Owner(slot)
	j := (i + 1) % len(c.Nodes)
	from, to, s := c.Nodes[i], c.Nodes[j], fmt.Sprint(slot)
	to.must("CLUSTER", "SETSLOT", s, "IMPORTING", c.ids[i])
	from.must("CLUSTER", "SETSLOT", s, "MIGRATING", c.ids[j])
	w, err := dial(from.Addr)
	require.NoError(c.t, err)
	defer w.close()
	for {
		keys, err := w.list("CLUSTER", "GETKEYSINSLOT", s, "50")
		require.NoError(c.t, err)
		if len(keys) == 0 {
			break
		}
		require.True(c.t, until(startTimeout, func() bool {
			_, err = w.list(append([]string{"MIGRATE", "127.0.0.1", port(to), "", "0", "5000", "KEYS"}, keys...)...)
			return err == nil || !strings.Contains(err.Error(), "CLUSTERDOWN") // a master may be missed for a moment
		}), "slot %d: %v", slot, err)
		require.NoError(c.t, err)
	}
	to.must("CLUSTER", "SETSLOT", s, "NODE", c.ids[j])
	from.must("CLUSTER", "SETSLOT", s, "NODE", c.ids[j])
	for k, n := range c.Nodes {
		if k != i && k != j {
			n.must("CLUSTER", "SETSLOT", s, "NODE", c.ids[j])
		}
	}
	require.True(c.t, until(startTimeout, func() bool { return c.agree(slot, j) }), "the masters do not agree on slot %d", slot)
}

// agree reports whether all masters know the same epochs, and each that a slot is of
// the same one, which says so of itself.
func (c *Cluster) agree(slot, owner int) bool {
	c.t.Helper()
	first := c.epochs(c.Nodes[0])
	for _, n := range c.Nodes {
		if !c.owns(n, c.ids[owner], slot) || !slices.Equal(c.epochs(n), first) {
			return false
		}
	}
	return true
}

// epochs returns the masters with their epochs, in order, as one of them knows them.
func (c *Cluster) epochs(n *Redis) []string {
	c.t.Helper()
	var all []string
	for line := range strings.Lines(n.must("CLUSTER", "NODES")) {
		if f := strings.Fields(line); len(f) > 6 {
			all = append(all, f[0]+" "+f[6])
		}
	}
	slices.Sort(all)
	return all
}

// MoveSlots moves n of the slots that hold keys, each to the next master, and
// returns which; fewer if there are fewer.
func (c *Cluster) MoveSlots(n int) []int {
	c.t.Helper()
	var moved []int
	for _, slot := range c.busy(n) {
		c.Migrate(slot)
		moved = append(moved, slot)
	}
	return moved
}

// busy returns at most n slots that hold keys, from all masters in turn.
func (c *Cluster) busy(n int) []int {
	c.t.Helper()
	var lists [][]int
	for _, node := range c.Nodes {
		lists = append(lists, c.busyOf(node, n))
	}
	var slots []int
	for k := range n {
		for _, list := range lists {
			if k < len(list) && len(slots) < n {
				slots = append(slots, list[k])
			}
		}
	}
	return slots
}

// busyOf returns at most n slots of which a node holds keys.
func (c *Cluster) busyOf(node *Redis, n int) []int {
	c.t.Helper()
	w, err := dial(node.Addr)
	require.NoError(c.t, err)
	defer w.close()
	var list []int
	for cursor := ""; cursor != "0"; {
		if cursor == "" {
			cursor = "0"
		}
		texts, err := w.list("SCAN", cursor, "COUNT", "1000")
		require.NoError(c.t, err)
		cursor = texts[0]
		for _, key := range texts[1:] {
			text, err := w.ask("CLUSTER", "KEYSLOT", key)
			require.NoError(c.t, err)
			slot, err := strconv.Atoi(text)
			require.NoError(c.t, err)
			if len(list) < n && !slices.Contains(list, slot) {
				list = append(list, slot)
			}
		}
		if len(list) == n {
			break
		}
	}
	return list
}
