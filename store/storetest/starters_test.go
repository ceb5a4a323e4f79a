package storetest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
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

	deaf := subscribe(t, d.Addr, "3")
	d.Mute(true)
	require.Equal(t, "1", r.must("PUBLISH", "news", "unheard"))
	require.NoError(t, deaf.c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = readFrame(deaf.r)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	d.Mute(false)
	require.NoError(t, deaf.c.SetReadDeadline(time.Time{}))
	require.Equal(t, "1", r.must("PUBLISH", "news", "heard"))
	got, err := readFrame(deaf.r)
	require.NoError(t, err)
	require.Equal(t, []string{"message", "news", "heard"}, got.texts)

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

func TestStartSentinel(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	s := StartSentinel(t)
	p, r := s.Primary(), s.Replica()
	require.True(t, strings.HasPrefix(s.URL, "redis+sentinel://127.0.0.1:") && strings.HasSuffix(s.URL, "/gobelin"), s.URL)
	require.Equal(t, 2, strings.Count(s.URL, ","))
	p.must("SET", "kept", "1")
	require.Equal(t, "1", p.must("WAIT", "1", "1000"))
	s.CutReplica()
	p.must("SET", "lost", "1")
	require.Equal(t, "0", p.must("WAIT", "1", "100"))
	s.MendReplica()
	require.Eventually(t, func() bool { return r.must("GET", "lost") == "1" }, startTimeout, 10*time.Millisecond)
	s.CutReplica()
	p.must("SET", "tail", "1")
	s.Failover()
	require.Same(t, r, s.Primary())
	require.Same(t, p, s.Replica())
	require.Equal(t, "1", r.must("GET", "lost"))
	require.Empty(t, r.must("GET", "tail"), "the tail is lost")
	require.Equal(t, "OK", r.must("SET", "after", "1"))
	p.Restart()
	require.Eventually(t, func() bool { return p.must("GET", "after") == "1" }, 2*startTimeout, 10*time.Millisecond, "comes back as a replica")
	require.Empty(t, p.must("GET", "tail"))
}

func TestStartCluster(t *testing.T) {
	c := StartCluster(t)
	require.Equal(t, 2, strings.Count(c.URL, ","))
	node := func(slot int) *Redis { return c.Nodes[c.Owner(slot)] }
	const slot = 12739 // of "123456789", from the cluster's specification
	require.Equal(t, 2, c.Owner(slot))
	for i := range 120 {
		node(slot).must("SET", fmt.Sprintf("{123456789}%d", i), fmt.Sprint(i))
	}
	_, err := c.Nodes[0].Command("GET", "{123456789}7")
	require.ErrorContains(t, err, "MOVED")
	c.Migrate(slot)
	require.Equal(t, 0, c.Owner(slot))
	require.Equal(t, "7", c.Nodes[0].must("GET", "{123456789}7"))
	require.Equal(t, "120", c.Nodes[0].must("CLUSTER", "COUNTKEYSINSLOT", fmt.Sprint(slot)))
	_, err = c.Nodes[2].Command("GET", "{123456789}7")
	require.ErrorContains(t, err, "MOVED")
	for i, slot := range []int{0, 16383, 8000} {
		require.Equal(t, []int{0, 2, 1}[i], c.Owner(slot))
	}
	c.Nodes[2].must("SET", "foo\n", "x")
	foo, err := strconv.Atoi(c.Nodes[0].must("CLUSTER", "KEYSLOT", "foo\n"))
	require.NoError(t, err)
	before := c.Owner(foo)
	require.Equal(t, []int{slot, foo}, c.MoveSlots(9))
	require.Equal(t, 1, c.Owner(slot))
	require.Equal(t, (before+1)%3, c.Owner(foo))
	require.Equal(t, "x", node(foo).must("GET", "foo\n"))
	require.Len(t, c.MoveSlots(1), 1)
}
