package brokertest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
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
	for range nodes {
		ways = append(ways, newWay(t, server.Addr))
	}
	return &Backend{
		URL:     func(n int) string { return "redis://" + ways[n].address },
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

// waysMade counts the ways of this process: what was of one may linger for a moment.
var waysMade atomic.Uint32

// wayNet returns the two addresses of the k-th way of this process, which others do not
// have: they are for measuring between networks (RFC 2544).
func wayNet(k uint32) (ours, theirs string) {
	n := (uint32(os.Getpid())<<4 + k) & 0x7fff << 2
	at := func(host uint32) string {
		m := n | host
		return fmt.Sprintf("198.%d.%d.%d", 18+m>>16, m>>8&255, m&255)
	}
	return at(1), at(2)
}

// setns is the number of the system call, where it is known.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}[runtime.GOARCH]

// way is one node's way to Redis.
type way struct {
	end     string // the name of our end
	address string // where the node finds Redis
	target  string // where it is

	mu    sync.Mutex
	links map[net.Conn]bool // guarded by mu; those that came from the node
}

// newWay makes a namespace with an interface to it, in which a port leads to target.
func newWay(t *testing.T, target string) *way {
	t.Helper()
	k := waysMade.Add(1)
	near, far := wayNet(k)
	name := fmt.Sprint(os.Getpid(), "-", k) // an interface's has 15 bytes at most
	space, ours, theirs := "gobelin"+name, "go"+name, "gi"+name
	if err := ip("netns", "add", space); err != nil {
		t.Skipf("network namespaces cannot be made (it takes root, and ip of iproute2): %v", err)
	}
	t.Cleanup(func() {
		_ = ip("link", "del", ours)
		_ = ip("netns", "del", space)
	})
	for _, words := range [][]string{
		{"link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", space},
		{"addr", "add", near + "/30", "dev", ours},
		{"link", "set", ours, "up"},
		{"-n", space, "addr", "add", far + "/30", "dev", theirs},
		{"-n", space, "link", "set", theirs, "up"},
	} {
		if err := ip(words...); err != nil {
			t.Skipf("network interfaces cannot be made: %v", err)
		}
	}
	address := far + ":6379"
	l, err := listenIn(space, address)
	require.NoError(t, err)
	w := &way{end: ours, address: address, target: target, links: map[net.Conn]bool{}}
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
		c, err := net.DialTimeout("tcp", address, time.Second)
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
// made. The thread comes back: with its end Redis would end, if it had started that.
func listenIn(space, address string) (net.Listener, error) {
	there, err := os.Open("/run/netns/" + space)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer here.Close()
	enter := func(f *os.File) error {
		if _, _, no := syscall.RawSyscall(setns, f.Fd(), syscall.CLONE_NEWNET, 0); no != 0 {
			return fmt.Errorf("setns: %w", no)
		}
		return nil
	}
	if err := enter(there); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if back := enter(here); back != nil {
		return nil, back // the thread stays locked: it is of no use to anybody else
	}
	runtime.UnlockOSThread()
	return l, err
}

func ip(words ...string) error {
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", words, err, out)
	}
	return nil
}
