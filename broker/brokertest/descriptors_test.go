package brokertest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// descriptors is how many the broker of TestDescriptorsExhausted may have.
const descriptors = 128

// TestDescriptorsExhausted: security.md §5.3, R9. Strangers take every descriptor: who is
// there goes on, the broker neither spins nor fills its log, and once they have left it
// takes connections again.
func TestDescriptorsExhausted(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	binary, dir := RealBinary(t), t.TempDir()
	narrow := filepath.Join(dir, "narrow")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d && exec %q \"$@\"\n", descriptors, binary)
	require.NoError(t, os.WriteFile(narrow, []byte(script), 0o700))
	node, err := NewNode(narrow, dir, "GOBELIN_BAYEUX_TIMEOUT=1h")
	require.NoError(t, err)
	t.Cleanup(node.Close)
	require.NoError(t, node.Start(t.Context()))

	there := listenThere(t, node)
	there.say(t)
	open := func() int {
		all, err := os.ReadDir("/proc/" + strconv.Itoa(node.cmd.Process.Pid) + "/fd")
		require.NoError(t, err)
		return len(all)
	}
	var strangers []net.Conn
	leave := func() {
		for _, c := range strangers {
			_ = c.Close()
		}
		strangers = nil
	}
	defer leave()
	for round := range 2 {
		before, lines, cpu := open(), acceptLines(t, node), spent(t, node)
		// More than there are: the rest waits to be accepted.
		for range descriptors + 20 {
			c, err := net.DialTimeout("tcp", node.Address(), patient)
			require.NoError(t, err)
			strangers = append(strangers, c)
		}
		begun := time.Now()
		require.Eventually(t, func() bool { return open() >= descriptors }, patient, 10*time.Millisecond, "all are taken")
		require.Eventually(t, func() bool { return acceptLines(t, node) > lines }, patient, 10*time.Millisecond, "the log tells")
		for range 50 { // for a while
			there.say(t)
			require.True(t, rest(t.Context(), 30*time.Millisecond))
		}
		took := time.Since(begun)
		said, used := acceptLines(t, node)-lines, spent(t, node)-cpu
		t.Logf("round %d: %d lines and %v of CPU in %v", round, said, used, took.Round(time.Millisecond))
		require.LessOrEqual(t, said, 10+int(took/time.Second), "the log is not filled")
		require.Less(t, used, took*3/4, "it does not spin")
		leave()
		left := time.Now()
		require.Eventually(t, func() bool {
			p := newPoster(straight(node.Address()), 0)
			defer p.close()
			ms, _, err := p.exchange(t.Context(), handshakeBody("h"), time.Second)
			return err == nil && successful(ms) == nil
		}, patient, 10*time.Millisecond)
		t.Logf("back after %v", time.Since(left).Round(time.Millisecond))
		require.Eventually(t, func() bool { return open() <= before+2 }, patient, 10*time.Millisecond, "none is kept")
		there.say(t)
	}
}

// acceptLines counts what the log says of connections that could not be accepted.
func acceptLines(t *testing.T, n *Node) int {
	t.Helper()
	b, err := os.ReadFile(n.log.Name())
	require.NoError(t, err)
	return strings.Count(string(b), "too many open files")
}

// spent is the processor time that the broker has used.
func spent(t *testing.T, n *Node) time.Duration {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n.cmd.Process.Pid) + "/stat")
	require.NoError(t, err)
	// After the name in brackets the state is the first, utime and stime the 12th and 13th.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	require.NoError(t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(t, err)
	return time.Duration(user+system) * 10 * time.Millisecond // a tick of /proc, wherever Go runs
}

// present is a session on a WebSocket that hears what it says itself.
type present struct {
	socket *socket
	id     string
	n      int
}

func listenThere(t *testing.T, n *Node) *present {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	p := newPoster(straight(n.Address()), 0)
	defer p.close()
	s, _, err := p.socket(ctx)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.close()
		for range s.frames {
		}
		s.wait()
	})
	there := &present{socket: s}
	require.NoError(t, s.send(handshakeBody("h")))
	there.id, err = handshaken(there.take(t))
	require.NoError(t, err)
	require.NoError(t, s.send(fmt.Appendf(nil, `[{"channel":"/meta/subscribe","clientId":%q,"subscription":"/there/a","id":"s"}]`, there.id)))
	require.NoError(t, successful(there.take(t)))
	require.NoError(t, s.send(fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"websocket","id":"c"}]`, there.id)))
	return there
}

// take returns the messages of the next frame.
func (p *present) take(t *testing.T) []message {
	t.Helper()
	late := time.NewTimer(patient)
	defer late.Stop()
	select {
	case b, more := <-p.socket.frames:
		require.True(t, more, "the broker has closed the connection")
		ms, err := parseMessages(b)
		require.NoError(t, err)
		return ms
	case <-late.C:
		require.Fail(t, "no answer")
		return nil
	}
}

// say publishes, and returns when that was acknowledged and heard.
func (p *present) say(t *testing.T) {
	t.Helper()
	p.n++
	id := fmt.Sprint("p", p.n)
	require.NoError(t, p.socket.send(fmt.Appendf(nil, `[{"channel":"/there/a","clientId":%q,"data":{"k":%d},"id":%q}]`, p.id, p.n, id)))
	for answered, heard := false, false; !answered || !heard; {
		for _, m := range p.take(t) {
			require.False(t, m.failed(), m.Error)
			switch {
			case m.Data != nil:
				require.JSONEq(t, fmt.Sprintf(`{"k":%d}`, p.n), string(m.Data))
				heard = true
			case m.ID == id:
				answered = true
			}
		}
	}
}
