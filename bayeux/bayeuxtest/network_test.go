package bayeuxtest

import (
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var _ net.Conn = (*Conn)(nil)

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		n, err := a.Write([]byte("hello"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
		p := make([]byte, 3)
		n, err = b.Read(p)
		require.NoError(t, err)
		require.Equal(t, "hel", string(p[:n]))

		// A deadline ends a read that waits, and one set later begins anew.
		require.NoError(t, a.SetReadDeadline(time.Now().Add(time.Second)))
		start := time.Now()
		_, err = a.Read(p)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		require.NoError(t, a.SetReadDeadline(time.Time{}))

		// Writes wait for the window.
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err = a.Write(make([]byte, 2*window))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, window-2, n)

		// What was written before the close arrives.
		require.NoError(t, a.Close())
		text, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Len(t, text, window)
		_, err = b.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
		_, err = a.Read(p)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestAFrozenPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		_, err := a.Write([]byte("x"))
		require.NoError(t, err)
		a.Freeze()
		_, err = b.Write(make([]byte, 2*window))
		require.NoError(t, err, "what is written goes nowhere")
		require.NoError(t, a.Close())
		require.NoError(t, b.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "not even the close")
	})
}

func TestMatch(t *testing.T) {
	kept := map[string]string{}
	check := func(want, got, wrong string) {
		t.Helper()
		w, err := parse([]byte(want))
		require.NoError(t, err)
		g, err := parse([]byte(got))
		require.NoError(t, err)
		require.Equal(t, wrong, matcher{kept}.match("it", w, g))
	}
	check(`{"a":1,"b":"x"}`, `{"a":1,"b":"x","c":2}`, "")
	check(`{"a":1}`, `{"a":1.0}`, "it.a is 1.0, not 1")
	check(`{"a":"1"}`, `{"a":1}`, "it.a is 1, not 1")
	check(`{"a":1}`, `{}`, "it.a is missing")
	check(`{"a":"$absent"}`, `{"a":null}`, "it.a is there")
	check(`{"a":{"b":"$any"}}`, `{"a":[]}`, "it.a is no object")
	check(`[1,"$string","$number"]`, `[1,"x",2]`, "")
	check(`[1]`, `[1,2]`, "it is not a list of 1")
	check(`["$string"]`, `[1]`, "it[0] is 1, not $string")
	check(`["$number"]`, `["1"]`, "it[0] is 1, not $number")
	check(`"$time:5..10"`, `10`, "")
	check(`"$time:5..10"`, `11`, "it is 11, not $time:5..10")
	check(`"$=id"`, `"abc"`, "")
	require.Equal(t, "abc", kept["id"])
}
