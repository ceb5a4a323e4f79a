package storetest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startTimeout bounds how long a server may take until it answers; it is long
// because machines that run tests are busy.
const startTimeout = 30 * time.Second

// Redis is a redis-server of its own for one test. Its methods may be called by
// any goroutine, but not by many at once; those that can fail end the test, so they
// belong to the test's goroutine.
type Redis struct {
	// Addr is where it listens, "127.0.0.1:23456".
	Addr string
	// URL is Addr as the broker is told it, "redis://127.0.0.1:23456".
	URL string

	t    testing.TB
	dir  string
	args []string
	exit chan struct{} // closed when the process has ended; nil if never started
	cmd  *exec.Cmd
}

// StartRedis starts a redis-server on a free port of 127.0.0.1, in a folder of its
// own, which writes an append-only file and syncs it once a second. args are
// appended to its command line, so they win ("--appendfsync", "always"). It is
// killed at the test's end. Without the program the test is skipped, or fails if CI
// is "true".
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	return startServer(t, func(int) []string {
		return append([]string{"--save", "", "--appendonly", "yes", "--appendfsync", "everysec"}, args...)
	})
}

// startServer starts a server with the arguments that args gives for its port. A
// port that somebody else took meanwhile is changed for another.
func startServer(t testing.TB, args func(port int) []string) *Redis {
	t.Helper()
	needServer(t)
	dir, err := os.MkdirTemp("", "redis-")
	require.NoError(t, err)
	t.Cleanup(func() { // a child that it forked may write on for a moment
		require.True(t, until(startTimeout, func() bool { return os.RemoveAll(dir) == nil }), "%s stays", dir)
	})
	for tries := 0; ; tries++ {
		port := freePort(t)
		r := &Redis{t: t, dir: dir, Addr: fmt.Sprint("127.0.0.1:", port), URL: fmt.Sprint("redis://127.0.0.1:", port)}
		r.args = append(args(port), "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir,
			"--daemonize", "no", "--logfile", filepath.Join(dir, "log"))
		if !strings.HasPrefix(r.args[0], "--") { // a file comes first
			r.args = append(r.args[:1:1], append(r.args[1:], "--sentinel")...)
		}
		err := r.start()
		if err == nil {
			t.Cleanup(r.Kill)
			return r
		}
		r.Kill()
		require.Less(t, tries, 4, "%v\n%s", err, r.tail())
	}
}

// needServer ends the test if there is no redis-server.
func needServer(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const words = "redis-server is not installed (Debian: apt-get install redis-server)"
		if os.Getenv("CI") == "true" {
			t.Fatal(words)
		}
		t.Skip(words)
	}
}

var ports struct {
	mu    sync.Mutex
	given map[int]bool
}

// freePort returns a port that is free, as is that of a cluster's bus, 10000 above.
// Both lie where systems do not take ports for outgoing connections from: a server
// that is started again must find its port.
func freePort(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	for range 1000 {
		p := 11_000 + rand.IntN(10_000)
		if !ports.given[p] && isFree(p) && isFree(p+10_000) {
			ports.given[p] = true
			return p
		}
	}
	t.Fatal("no free port")
	return 0
}

func isFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	return err == nil && l.Close() == nil
}

// start runs the process and waits until it answers.
func (r *Redis) start() error {
	r.cmd = exec.Command("redis-server", r.args...)
	r.cmd.SysProcAttr = dieWithUs()
	if err := r.cmd.Start(); err != nil {
		return fmt.Errorf("storetest: redis: %w", err)
	}
	exit := make(chan struct{})
	r.exit = exit
	go func() {
		_ = r.cmd.Wait()
		close(exit)
	}()
	var err error
	up := until(startTimeout, func() bool {
		select {
		case <-exit:
			return true
		default:
		}
		_, err = r.Command("PING")
		return err == nil
	})
	select {
	case <-exit:
		return fmt.Errorf("storetest: redis: %s ended", r.cmd)
	default:
	}
	if !up {
		return fmt.Errorf("storetest: redis: no answer: %w", err)
	}
	return nil
}

// tail returns the end of the server's log.
func (r *Redis) tail() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "log"))
	return string(b[max(0, len(b)-2000):])
}

// Kill ends the server with SIGKILL, whatever it is doing, and waits until it is
// gone. Doing it again changes nothing.
func (r *Redis) Kill() {
	if r.exit == nil {
		return
	}
	_ = r.cmd.Process.Kill()
	<-r.exit
}

// Restart kills the server if it runs, and starts it on the same port and folder.
func (r *Redis) Restart() {
	r.t.Helper()
	r.Kill()
	require.NoError(r.t, r.start(), "%s", r.tail())
}

// Freeze stops the process where it is: connections stay and nothing answers.
func (r *Redis) Freeze() { r.signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (r *Redis) Thaw() { r.signal(syscall.SIGCONT) }

func (r *Redis) signal(s syscall.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(s))
}

// Command sends one command on a connection of its own and returns its answer as
// text, the items of arrays each on a line. An error of the server is an error; no
// answer within 5 s is one, too.
func (r *Redis) Command(args ...string) (string, error) {
	w, err := dial(r.Addr)
	if err != nil {
		return "", err
	}
	defer w.close()
	return w.ask(args...)
}

// must is Command where an error ends the test.
func (r *Redis) must(args ...string) string {
	r.t.Helper()
	text, err := r.Command(args...)
	require.NoError(r.t, err, "%v", args)
	return text
}

// until calls cond, at once and then each 20 ms, until it is true or d is over, and
// returns whether it became true.
func until(d time.Duration, cond func() bool) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-end.C:
			return false
		case <-tick.C:
		}
	}
	return true
}
