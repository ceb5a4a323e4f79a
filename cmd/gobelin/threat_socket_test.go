package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire is the client's end of a WebSocket by which any bytes can be sent.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	head http.Header
}

// socket upgrades a connection, with more headers, each ended by CR LF.
func (v *victim) socket(more string) *wire {
	v.t.Helper()
	w := &wire{t: v.t, conn: v.dial()}
	v.t.Cleanup(func() { _ = w.conn.Close() })
	w.r = bufio.NewReader(w.conn)
	_, err := fmt.Fprintf(w.conn, "GET /faye HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", v.address, more)
	require.NoError(v.t, err)
	answer, err := http.ReadResponse(w.r, nil)
	require.NoError(v.t, err)
	require.Equal(v.t, http.StatusSwitchingProtocols, answer.StatusCode)
	w.head = answer.Header
	return w
}

// frame makes one; first is its first byte. The mask is zero.
func frame(first byte, payload string) string {
	switch n := len(payload); {
	case n < 126:
		return string([]byte{first, 0x80 | byte(n), 0, 0, 0, 0}) + payload
	case n < 1<<16:
		return string(binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(n))) + "\x00\x00\x00\x00" + payload
	default:
		return string(binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, uint64(n))) + "\x00\x00\x00\x00" + payload
	}
}

const finalText = 0x81

// send writes bytes; the other side may have closed.
func (w *wire) send(bytes string) { _, _ = io.WriteString(w.conn, bytes) }

// next returns the next frame that is no ping; op 8 is a close, -1 the end without one.
func (w *wire) next() (op int, payload string) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(w.r, head[:2]); err != nil {
			return -1, ""
		}
		op, size := int(head[0]&15), uint64(head[1])
		switch size {
		case 126:
			_, _ = io.ReadFull(w.r, head[:2])
			size = uint64(binary.BigEndian.Uint16(head[:2]))
		case 127:
			_, _ = io.ReadFull(w.r, head[:8])
			size = binary.BigEndian.Uint64(head[:8])
		}
		require.Less(w.t, size, uint64(32<<20))
		text := make([]byte, size)
		if _, err := io.ReadFull(w.r, text); err != nil {
			return -1, ""
		}
		if op != 9 {
			return op, string(text)
		}
	}
}

// closed reads to the end and returns the code of the close frame, 0 without one.
func (w *wire) closed() int {
	w.t.Helper()
	for {
		switch op, text := w.next(); op {
		case -1:
			return 0
		case 8:
			if len(text) < 2 {
				return 0
			}
			return int(binary.BigEndian.Uint16([]byte(text)))
		}
	}
}

// say sends a text and returns the messages of the next frame.
func (w *wire) say(text string) []message {
	w.t.Helper()
	w.send(frame(finalText, text))
	op, answer := w.next()
	require.Equal(w.t, 1, op, "%q to %s", answer, text)
	return messages(w.t, answer)
}

// badFrames are threats 11 to 14: each ends its socket, with the code of RFC 6455 §7.4.
func badFrames(v *victim) {
	check := func(what, bytes string, codes ...int) {
		v.t.Helper()
		w := v.socket("")
		w.send(frame(finalText, "[]"))
		_, _ = w.next()
		w.send(bytes)
		require.Contains(v.t, codes, w.closed(), what)
	}
	masked := func(first, second byte, rest string) string { return string([]byte{first, second}) + rest }
	check("not masked", masked(finalText, 2, "[]"), 1002)
	for _, bit := range []byte{0x40, 0x20, 0x10} {
		check(fmt.Sprintf("reserved bit %x", bit), frame(finalText|bit, "[]"), 1002)
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		check(fmt.Sprintf("opcode %d", op), frame(0x80|op, "x"), 1002)
	}
	check("a ping in pieces", frame(0x09, "x"), 1002)
	check("a long ping", frame(0x89, strings.Repeat("x", 126)), 1002)
	check("a continuation of nothing", frame(0x80, "x"), 1002)
	check("a message in a message", frame(0x01, "[")+frame(finalText, "[]"), 1002)
	check("a close of one byte", frame(0x88, "x"), 0, 1002)
	check("a close with a code of nobody's", frame(0x88, "\x00\x01"), 1002)
	check("a close that is not UTF-8", frame(0x88, "\x03\xe8\xff"), 1002, 1007)
	check("not UTF-8", frame(finalText, "[\"\xff\"]"), 1007)
	check("not UTF-8, over two frames", frame(0x01, "[\"\xe2\x82")+frame(0x80, "\"]"), 1007)
	check("2^63 bytes", masked(finalText, 0xff, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0, 1002, 1009)
	check("2^62 bytes", masked(finalText, 0xff, "\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 1009)
	check("2 MiB, announced", masked(finalText, 0xff, "\x00\x00\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00"), 1009)
	piece := frame(0x00, strings.Repeat(" ", 64<<10))
	check("fragments without end", frame(0x01, "[")+strings.Repeat(piece, 40), 1009)
	w := v.socket("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
	require.Empty(v.t, w.head.Get("Sec-WebSocket-Extensions"), "compression is off unless it is switched on")
	w.send(frame(finalText|0x40, "\x52\x2a\x01\x00"))
	require.Equal(v.t, 1002, w.closed())
}
