package bayeux

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// tcp returns the two ends of a connection, the first with a line.
func tcp(t testing.TB) (*line, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	conn, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = peer.Close(), conn.Close() })
	return newLine(conn), peer
}

func TestLineReadsAll(t *testing.T) {
	l, peer := tcp(t)
	sent := make([]byte, 5*lineRoom)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(1+rand.IntN(2*lineRoom), len(rest))
			_, _ = peer.Write(rest[:n])
			rest = rest[n:]
		}
		_ = peer.Close()
	}()
	var got []byte
	p := make([]byte, lineRoom+1)
	for {
		n, err := l.Read(p[:1+rand.IntN(len(p))])
		if got = append(got, p[:n]...); err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.True(t, bytes.Equal(sent, got))
	require.Nil(t, l.lent)
}

// Who waits for a byte, or has read all, holds no buffer.
func TestLineHoldsNothingIdle(t *testing.T) {
	l, peer := tcp(t)
	if l.raw == nil {
		t.Skip("lines read by themselves on Unix only")
	}
	_, err := peer.Write([]byte("abc"))
	require.NoError(t, err)
	var p [2]byte
	_, err = io.ReadFull(l, p[:])
	require.NoError(t, err)
	require.NotNil(t, l.lent)
	_, err = l.Read(p[:])
	require.NoError(t, err)
	require.Nil(t, l.lent)

	require.NoError(t, l.SetReadDeadline(time.Now().Add(time.Millisecond)))
	_, err = l.Read(p[:])
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Nil(t, l.lent)
	require.NoError(t, l.SetReadDeadline(time.Time{}))

	_, err = peer.Write([]byte("d"))
	require.NoError(t, err)
	n, err := l.Read(p[:])
	require.NoError(t, err)
	require.Equal(t, "d", string(p[:n]))
	require.NoError(t, l.Close())
	_, err = l.Read(p[:])
	require.ErrorIs(t, err, net.ErrClosed)
}

// A peer's 32 publishes that came together, read frame by frame: with a line, and as
// the kernel gives them to gorilla's small buffer.
func BenchmarkSocketRead(b *testing.B) {
	for _, lined := range []bool{true, false} {
		b.Run(map[bool]string{true: "line", false: "plain"}[lined], func(b *testing.B) {
			l, peer := tcp(b)
			conn := net.Conn(l)
			if !lined {
				conn = l.Conn
			}
			ws := gorilla(b, conn)
			var burst bytes.Buffer
			frame := append([]byte{0x81, 0x80 | 126, 0, 230, 0, 0, 0, 0}, bytes.Repeat([]byte("x"), 230)...)
			for range 32 {
				burst.Write(frame)
			}
			go func() { _, _ = io.Copy(io.Discard, peer) }()
			var body bytes.Buffer
			b.SetBytes(int64(burst.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := peer.Write(burst.Bytes()); err != nil {
					b.Fatal(err)
				}
				for range 32 {
					kind, r, err := ws.NextReader()
					if err != nil || kind != websocket.TextMessage {
						b.Fatal(err)
					}
					body.Reset()
					if _, err := body.ReadFrom(r); err != nil || body.Len() != 230 {
						b.Fatal(err, body.Len())
					}
				}
			}
		})
	}
}
