package brokertest

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadFrame: the three forms of a length, and what is too large.
func TestReadFrame(t *testing.T) {
	f := func(head []byte, size int) {
		t.Helper()
		body := bytes.Repeat([]byte("x"), size)
		final, op, payload, err := readFrame(bufio.NewReader(bytes.NewReader(append(head, body...))))
		require.NoError(t, err)
		require.True(t, final)
		require.EqualValues(t, opText, op)
		require.Equal(t, body, payload)
	}
	f([]byte{0x81, 0}, 0)
	f([]byte{0x81, 125}, 125)
	f([]byte{0x81, 126, 1, 0}, 256)
	f([]byte{0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}, 1<<16)
	for _, bad := range [][]byte{{0x81}, {0x81, 5, 'a'}, {0x81, 126, 1}, {0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0}} {
		_, _, _, err := readFrame(bufio.NewReader(bytes.NewReader(bad)))
		require.Error(t, err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0x81, 3, 'a', 'b', 'c'})
	f.Add([]byte{0x81, 126, 0, 1, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, payload, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && !bytes.Contains(b, payload) {
			t.Fatalf("%q is not in %q", payload, b)
		}
	})
}
