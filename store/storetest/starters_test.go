package storetest

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStartRedis(t *testing.T) {
	r := StartRedis(t, "--maxmemory-policy", "noeviction", "--appendfsync", "always")
	require.Equal(t, "redis://"+r.Addr, r.URL)
	require.Equal(t, "OK", r.must("SET", "k", "a\r\nb"))
	require.Equal(t, "a\r\nb", r.must("GET", "k"))
	require.Equal(t, "appendfsync\nalways", r.must("CONFIG", "GET", "appendfsync"), "arguments win")
	require.Equal(t, "save\n", r.must("CONFIG", "GET", "save"))
	_, err := r.Command("NONSENSE")
	require.ErrorContains(t, err, "ERR unknown command")
	addr := r.Addr
	r.Kill()
	r.Kill()
	_, err = r.Command("PING")
	require.Error(t, err)
	r.Restart()
	require.Equal(t, addr, r.Addr)
	require.Equal(t, "a\r\nb", r.must("GET", "k"), "the folder stays")
	r.Restart()

	w, err := dial(r.Addr)
	require.NoError(t, err)
	defer w.close()
	r.Freeze()
	answered := make(chan string, 1)
	go func() {
		text, err := w.ask("PING")
		answered <- fmt.Sprint(text, err)
	}()
	select {
	case text := <-answered:
		t.Fatal("answered while frozen: ", text)
	case <-time.After(200 * time.Millisecond):
	}
	r.Thaw()
	require.Equal(t, "PONG<nil>", <-answered)
}

func TestMissingServer(t *testing.T) {
	t.Setenv("PATH", "")
	t.Setenv("CI", "")
	skipped := false
	t.Run("skip", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		StartRedis(t)
	})
	require.True(t, skipped)
}

// subscribe returns a connection that has subscribed, and a count of its frames.
func subscribe(t *testing.T, addr, hello string) *wire {
	w, err := dial(addr)
	require.NoError(t, err)
	t.Cleanup(w.close)
	if hello != "" {
		_, err = w.ask("HELLO", hello)
		require.NoError(t, err)
	}
	text, err := w.ask("SUBSCRIBE", "news")
	require.NoError(t, err)
	require.Equal(t, "subscribe\nnews\n1", text)
	return w
}

func TestDropper(t *testing.T) {
	r := StartRedis(t)
	d, err := NewDropper(r.Addr)
	require.NoError(t, err)
	for _, hello := range []string{"", "2", "3"} {
		w := subscribe(t, d.Addr, hello)
		before := d.Dropped()
		d.Drop(0.5, 7)
		for range 200 {
			require.Equal(t, "1", r.must("PUBLISH", "news", "x"))
		}
		_, err = w.ask("SUBSCRIBE", "end") // its answer may be a message
		require.NoError(t, err)
		got := 1
		for {
			f, err := readFrame(w.r)
			require.NoError(t, err)
			if f.texts[0] == "subscribe" {
				break
			}
			got++
		}
		lost := d.Dropped() - before
		require.EqualValues(t, 200, int64(got)+lost)
		require.Greater(t, lost, int64(50))
		require.Less(t, lost, int64(150))
		w.close()
		require.Eventually(t, func() bool { return r.must("PUBSUB", "NUMSUB", "news") == "news\n0" }, startTimeout, time.Millisecond)
	}
	d.Drop(0, 0)

	w, err := dial(d.Addr)
	require.NoError(t, err)
	defer w.close()
	d.LoseReply("incr")
	_, err = w.ask("PING")
	require.NoError(t, err)
	_, err = w.ask("INCR", "n")
	require.Error(t, err, "the reply is lost")
	require.Equal(t, "1", r.must("GET", "n"), "and the server has done it")

	w2, err := dial(d.Addr)
	require.NoError(t, err)
	defer w2.close()
	text, err := w2.ask("INCR", "n")
	require.NoError(t, err, "one is lost for each call")
	require.Equal(t, "2", text)
	d.Cut()
	_, err = w2.ask("PING")
	require.Error(t, err)

	d.Freeze(true)
	w3, err := dial(d.Addr)
	require.NoError(t, err)
	defer w3.close()
	answered := make(chan error, 1)
	go func() {
		_, err := w3.ask("INCR", "n")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatal("answered while frozen: ", err)
	case <-time.After(100 * time.Millisecond):
	}
	require.Equal(t, "2", r.must("GET", "n"))
	d.Freeze(false)
	require.NoError(t, <-answered)
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	_, err = w3.ask("PING")
	require.Error(t, err)
}

func TestFrames(t *testing.T) {
	f := func(raw string, want ...string) {
		t.Helper()
		f, err := readFrame(bufio.NewReaderSize(strings.NewReader(raw+"+next\r\n"), 16))
		require.NoError(t, err, "%q", raw)
		require.Equal(t, raw, string(f.raw))
		require.Equal(t, want, f.texts)
	}
	f("+OK\r\n", "OK")
	f("-ERR no\r\n", "ERR no")
	f(":-7\r\n", "-7")
	f("$0\r\n\r\n", "")
	f("$-1\r\n", "")
	f("*-1\r\n", "")
	f("_\r\n", "")
	f("*0\r\n")
	f("*2\r\n$4\r\na\r\nb\r\n*1\r\n:1\r\n", "a\r\nb", "1")
	f("%1\r\n+a\r\n,1.5\r\n", "a", "1.5")
	f(">2\r\n+message\r\n=5\r\ntxt:x\r\n", "message", "txt:x")
	f("|1\r\n+a\r\n+b\r\n#t\r\n", "a", "b", "t")
	f("+"+strings.Repeat("long", 100)+"\r\n", strings.Repeat("long", 100))
	g := func(raw string) {
		t.Helper()
		_, err := readFrame(bufio.NewReader(strings.NewReader(raw)))
		require.Error(t, err, "%q", raw)
	}
	g("")
	g("x\r\n")
	g("\r\n")
	g("+x\n")
	g("$2\r\nabc\r\n")
	g("$-2\r\n")
	g("$99999999999\r\n")
	g("*2\r\n:1\r\n")
	g("*99999999\r\n")
	g(strings.Repeat("*1\r\n", 100))
	g("+" + strings.Repeat("x", 2*maxLine))
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\nx\r\n%1\r\n:1\r\n_\r\n"))
	f.Add([]byte(">1\r\n|1\r\n+a\r\n+b\r\n=5\r\ntxt:x\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err == nil && !bytes.HasPrefix(b, fr.raw) {
			t.Fatalf("%q was read as %q", b, fr.raw)
		}
	})
}
