package brokertest_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/stretchr/testify/require"
)

// through returns both ends of one connection through a proxy.
func through(t *testing.T) (p *brokertest.Proxy, client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	p, err = brokertest.NewProxy()
	require.NoError(t, err)
	t.Cleanup(p.Close)
	p.Aim(l.Addr().String())
	c, err := net.Dial("tcp", p.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	s, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	for _, end := range []net.Conn{c, s} {
		require.NoError(t, end.SetDeadline(time.Now().Add(20*time.Second)))
	}
	return p, c.(*net.TCPConn), s.(*net.TCPConn)
}

// pass sends text from one end and wants it at the other.
func pass(t *testing.T, to, from net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(from, text)
	require.NoError(t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(to, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

func hit(t *testing.T, p *brokertest.Proxy, kind brokertest.FaultKind, d time.Duration) {
	t.Helper()
	require.Equal(t, 1, p.Break(rand.New(rand.NewPCG(1, 1)), kind, 5, d))
	require.EqualValues(t, 1, p.Counts()[kind.String()])
}

// silent reports whether nothing can be read now.
func silent(t *testing.T, c net.Conn) bool {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	defer func() { require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Second))) }()
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func TestProxyPasses(t *testing.T) {
	_, client, server := through(t)
	pass(t, server, client, "up")
	pass(t, client, server, "down")
	large := string(bytes.Repeat([]byte("0123456789"), 20_000))
	go func() { _, _ = io.WriteString(client, large) }()
	got := make([]byte, len(large))
	_, err := io.ReadFull(server, got)
	require.NoError(t, err)
	require.Equal(t, large, string(got))
	require.NoError(t, client.CloseWrite())
	_, err = server.Read(got)
	require.ErrorIs(t, err, io.EOF)
	pass(t, client, server, "still")
}

func TestProxyCuts(t *testing.T) {
	p, client, server := through(t)
	pass(t, server, client, "up")
	hit(t, p, brokertest.Cut, 0)
	for _, end := range []net.Conn{client, server} {
		_, err := end.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

func TestProxyFreezes(t *testing.T) {
	f := func(kind brokertest.FaultKind, up, down bool) {
		t.Helper()
		p, client, server := through(t)
		pass(t, server, client, "before")
		hit(t, p, kind, time.Minute)
		for _, way := range []struct {
			to, from net.Conn
			frozen   bool
		}{{server, client, up}, {client, server, down}} {
			if !way.frozen {
				pass(t, way.to, way.from, "through")
				continue
			}
			_, err := io.WriteString(way.from, "x")
			require.NoError(t, err)
			require.True(t, silent(t, way.to), "%v", kind)
		}
	}
	f(brokertest.FreezeUp, true, false)
	f(brokertest.FreezeDown, false, true)
	f(brokertest.Freeze, true, true)
}

func TestProxyHeals(t *testing.T) {
	p, client, server := through(t)
	pass(t, server, client, "before")
	hit(t, p, brokertest.Freeze, time.Minute)
	p.Heal()
	pass(t, server, client, "after")
}

func TestProxyHalfCloses(t *testing.T) {
	f := func(kind brokertest.FaultKind, up bool) {
		t.Helper()
		p, client, server := through(t)
		pass(t, server, client, "before")
		hit(t, p, kind, 0)
		deaf, other := server, client
		if !up {
			deaf, other = client, server
		}
		_, err := deaf.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		pass(t, other, deaf, "the other way")
	}
	f(brokertest.HalfUp, true)
	f(brokertest.HalfDown, false)
}

func TestProxyWithoutTarget(t *testing.T) {
	p, _, _ := through(t)
	p.Aim("")
	c, err := net.Dial("tcp", p.Address())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}
