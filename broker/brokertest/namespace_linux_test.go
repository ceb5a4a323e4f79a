package brokertest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store/storetest"
	"github.com/stretchr/testify/require"
)

// OnNamespaces starts one Redis that each of the nodes reaches over a network interface of
// its own, which can be taken away: then packets go nowhere, without a word. It takes root
// and ip of iproute2; the test is skipped without, and proxies have to do.
func OnNamespaces(t *testing.T, nodes int, args ...string) *Backend {
	t.Helper()
	if setns == 0 {
		t.Skip("network namespaces cannot be entered on ", runtime.GOARCH)
	}
	server := storetest.StartRedis(t, args...)
	// That Redis has no password and does not seem to be on this machine.
	t.Setenv("GOBELIN_REDIS_INSECURE", "true")
	var ways []*way
	for n := range nodes {
		ways = append(ways, newWay(t, n, server.Addr))
	}
	return &Backend{
		URL:     func(n int) string { return "redis://" + wayAddress(n) },
		Kill:    func() error { server.Kill(); return nil },
		Restart: func() error { server.Restart(); return nil },
		KillFeeds: func() error {
			_, err := server.Command("CLIENT", "KILL", "TYPE", "pubsub")
			return err
		},
		CutOff: func(n int, off bool) error {
			if off {
				return ip("link", "set", ways[n].end, "down")
			}
			// What was on its way does not arrive as late as TCP would have it: up to the
			// length of the cut later, when the history has been read.
			ways[n].reset()
			return ip("link", "set", ways[n].end, "up")
		},
	}
}

// wayAddress is where node n finds Redis. The addresses are for measuring between networks
// (RFC 2544): nobody's.
func wayAddress(n int) string { return wayNet(n) + "2:6379" }

// wayNet begins the addresses of a way; others may run the same.
func wayNet(n int) string { return fmt.Sprintf("198.18.%d.", os.Getpid()%60*4+n) }

// setns is the number of the system call, where it is known.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// way is one node's way to Redis.
type way struct {
	end    string // the name of our end
	target string // where Redis is

	mu    sync.Mutex
	links map[net.Conn]bool // guarded by mu; those that came from the node
}

// newWay makes a namespace with an interface to it, in which a port leads to target.
func newWay(t *testing.T, n int, target string) *way {
	t.Helper()
	// Names have 15 bytes at most, and others may run the same.
	space, ours, theirs := fmt.Sprintf("gob%d-%d", os.Getpid(), n), fmt.Sprintf("go%d-%d", os.Getpid(), n), fmt.Sprintf("gi%d-%d", os.Getpid(), n)
	if err := ip("netns", "add", space); err != nil {
		t.Skipf("network namespaces cannot be made (it takes root, and ip of iproute2): %v", err)
	}
	t.Cleanup(func() { _ = ip("netns", "del", space) }) // its interfaces go with it
	for _, words := range [][]string{
		{"link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", space},
		{"addr", "add", wayNet(n) + "1/24", "dev", ours},
		{"link", "set", ours, "up"},
		{"-n", space, "addr", "add", wayNet(n) + "2/24", "dev", theirs},
		{"-n", space, "link", "set", theirs, "up"},
	} {
		if err := ip(words...); err != nil {
			t.Skipf("network interfaces cannot be made: %v", err)
		}
	}
	l, err := listenIn(space, wayAddress(n))
	require.NoError(t, err)
	w := &way{end: ours, target: target, links: map[net.Conn]bool{}}
	var links sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		w.reset()
		links.Wait()
	})
	links.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			links.Go(func() { w.carry(from) })
		}
	})
	// Interfaces take a moment to carry anything.
	require.Eventually(t, func() bool {
		c, err := net.DialTimeout("tcp", wayAddress(n), time.Second)
		return err == nil && c.Close() == nil
	}, patient, 20*time.Millisecond)
	return w
}

// reset breaks all connections.
func (w *way) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.links {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// carry joins a connection with Redis until one of them ends.
func (w *way) carry(from net.Conn) {
	w.mu.Lock()
	w.links[from] = true
	w.mu.Unlock()
	defer func() {
		_ = from.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.links, from)
	}()
	to, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	})
	_, _ = io.Copy(to, from)
	_ = to.Close()
	back.Wait()
}

// listenIn listens at an address of a namespace: a socket stays in the one in which it was
// made.
func listenIn(space, address string) (net.Listener, error) {
	var l net.Listener
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		f, e := os.Open("/run/netns/" + space)
		if err = e; err != nil {
			return
		}
		defer f.Close()
		if _, _, no := syscall.RawSyscall(setns, f.Fd(), syscall.CLONE_NEWNET, 0); no != 0 {
			err = fmt.Errorf("setns: %w", no)
			return
		}
		l, err = net.Listen("tcp", address)
	}()
	<-done
	return l, err
}

func ip(words ...string) error {
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", words, err, out)
	}
	return nil
}
