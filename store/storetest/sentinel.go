package storetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sentinelName is what the sentinels call the primary they watch.
const sentinelName = "gobelin"

const downAfter = 5 * time.Second

// Sentinel is a primary with one replica and the three sentinels that watch them.
// Who is which changes with a failover.
type Sentinel struct {
	// URL names the sentinels and what they watch, as the broker is told it.
	URL string

	t         testing.TB
	sentinels []*Redis

	mu      sync.Mutex
	primary *Redis
	replica *Redis
}

// StartSentinel starts all five and waits until a failover could happen. Without
// the program the test is skipped; see StartRedis. args are appended to the command
// lines of the primary and the replica.
//
// They hold a server to be down after downAfter: a machine that is busy must not make them
// fail over by themselves. Failover does not wait for that.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	args = append([]string{"--repl-diskless-sync-delay", "0"}, args...)
	s := &Sentinel{t: t, primary: StartRedis(t, args...)}
	s.replica = StartRedis(t, append(args, "--replicaof", "127.0.0.1 "+port(s.primary))...)
	require.True(t, until(startTimeout, func() bool {
		return strings.Contains(s.replica.must("INFO", "replication"), "master_link_status:up")
	}), "the replica has no link\n%s", s.replica.tail())
	for range 3 {
		s.sentinels = append(s.sentinels, startSentinel(t, port(s.primary)))
	}
	for _, g := range s.sentinels {
		require.True(t, until(startTimeout, func() bool { return ready(g) }), "the sentinel is not ready\n%s", g.tail())
	}
	var addrs []string
	for _, g := range s.sentinels {
		addrs = append(addrs, g.Addr)
	}
	s.URL = "redis+sentinel://" + strings.Join(addrs, ",") + "/" + sentinelName
	return s
}

func startSentinel(t testing.TB, primary string) *Redis {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf(`sentinel monitor %[1]s 127.0.0.1 %[2]s 2
sentinel down-after-milliseconds %[1]s %[3]d
sentinel failover-timeout %[1]s 3000
sentinel parallel-syncs %[1]s 1
`, sentinelName, primary, downAfter.Milliseconds())
	require.NoError(t, os.WriteFile(conf, []byte(text), 0o600))
	return startServer(t, func(int) []string { return []string{conf} })
}

// ready reports whether a sentinel knows the others and a sound replica.
func ready(g *Redis) bool {
	quorum, err := g.Command("SENTINEL", "CKQUORUM", sentinelName)
	if err != nil || !strings.HasPrefix(quorum, "OK 3 usable") {
		return false
	}
	replicas, err := g.Command("SENTINEL", "REPLICAS", sentinelName)
	return err == nil && strings.Contains(replicas, "\nflags\nslave\n") && strings.Contains(replicas, "\nmaster-link-status\nok\n")
}

// port returns the port of Addr.
func port(r *Redis) string { return r.Addr[strings.LastIndexByte(r.Addr, ':')+1:] }

// Primary returns the server that takes writes, or took them when it was killed.
func (s *Sentinel) Primary() *Redis {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.primary
}

// Replica returns the other one.
func (s *Sentinel) Replica() *Redis {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replica
}

// CutReplica ends the link between replica and primary at once, with all that is in
// it, and keeps it down: what the primary acknowledges from now on is lost when it
// is killed. Do it within ten times downAfter, later the sentinels take the replica to be too old.
func (s *Sentinel) CutReplica() {
	s.t.Helper()
	p := s.Primary()
	// The replica may not ask any more. So the sentinels still find it well, which
	// a frozen one would not be, and nothing of the tail waits in a socket.
	p.must("ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")
	p.must("CLIENT", "KILL", "TYPE", "replica")
}

// MendReplica undoes CutReplica.
func (s *Sentinel) MendReplica() {
	s.t.Helper()
	s.Primary().must("ACL", "SETUSER", "default", "+psync", "+sync", "+replconf")
}

// Failover kills the primary, has a sentinel fail over, and waits until the replica has
// taken its place; the two change their names here. Restart of the old one (Replica then) brings it back
// as a replica.
func (s *Sentinel) Failover() {
	s.t.Helper()
	old, next := s.Primary(), s.Replica()
	old.Kill()
	asked := false
	require.True(s.t, until(2*startTimeout, func() bool {
		if !asked { // one that has just lost its connections may not know the replica for a moment
			_, err := s.sentinels[0].Command("SENTINEL", "FAILOVER", sentinelName)
			asked = err == nil
		}
		role, err := next.Command("ROLE")
		if err != nil || !strings.HasPrefix(role, "master\n") {
			return false
		}
		for _, g := range s.sentinels {
			addr, err := g.Command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinelName)
			if err != nil || addr != "127.0.0.1\n"+port(next) {
				return false
			}
		}
		return true
	}), "no failover\n%s", s.sentinels[0].tail())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.primary, s.replica = next, old
}
