package trace

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const (
	caller  = "0af7651916cd43dd8448eb211c80319c"
	callers = "b7ad6b7169203331"
)

func TestTraceparent(t *testing.T) {
	f := func(text string, want, sampled bool) {
		t.Helper()
		p, ok := parseParent(text)
		require.Equal(t, want, ok)
		require.Equal(t, sampled, p.sampled)
	}
	good := "00-" + caller + "-" + callers
	f(good+"-01", true, true)
	f(good+"-00", true, false)
	f(good+"-03", true, true)
	f("cc-"+caller+"-"+callers+"-01-more", true, true) // of a later version
	f(good+"-01-more", false, false)
	f("cc-"+caller+"-"+callers+"-01more", false, false)
	f("ff-"+caller+"-"+callers+"-01", false, false)
	f("00-"+strings.Repeat("0", 32)+"-"+callers+"-01", false, false)
	f("00-"+caller+"-"+strings.Repeat("0", 16)+"-01", false, false)
	f("00-"+strings.ToUpper(caller)+"-"+callers+"-01", false, false)
	f(good+"-0g", false, false)
	f(good, false, false)
	f("", false, false)
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-" + caller + "-" + callers + "-01")
	f.Add("01-" + caller + "-" + callers + "-00-x")
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := parseParent(text)
		if ok && (p.trace == [16]byte{} || p.span == [8]byte{} || len(text) < 55) {
			t.Fatalf("%q is taken", text)
		}
	})
}

// collector is the other end: it keeps what it is sent.
type collector struct {
	status atomic.Int32

	mu    sync.Mutex
	spans []wireSpan
}

func (c *collector) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var all struct {
		ResourceSpans []struct {
			ScopeSpans []struct{ Spans []wireSpan }
		}
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := httptest.NewRecorder()
	if status := int(c.status.Load()); status != 0 {
		out.WriteHeader(status)
		return out.Result(), nil
	}
	c.spans = append(c.spans, all.ResourceSpans[0].ScopeSpans[0].Spans...)
	return out.Result(), nil
}

// taken is what it was sent.
func (c *collector) taken() []wireSpan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans
}

// in runs a tracer with a collector in a bubble.
func in(t *testing.T, percent int, f func(t *testing.T, v *Tracer, c *collector)) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		v := New(Options{Endpoint: "http://collector/", Percent: percent, Node: "one", Version: "1", Logger: zap.NewNop()})
		v.client.Transport = c
		require.Equal(t, "http://collector/v1/traces", v.options.Endpoint)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			v.Run(ctx)
		}()
		f(t, v, c)
		end()
		<-done
	})
}

func TestSpans(t *testing.T) {
	in(t, 0, func(t *testing.T, v *Tracer, c *collector) {
		ctx, s := v.Serve(t.Context(), "00-"+caller+"-"+callers+"-01", "/v1/publish")
		time.Sleep(time.Millisecond)
		append1 := Start(ctx, "store append")
		append1.Number("gobelin.records", 3)
		time.Sleep(time.Millisecond)
		append1.End(true)
		s.Text("http.request.method", "POST")
		s.End(false)
		time.Sleep(2 * sendEvery)
		spans := c.taken()
		require.Len(t, spans, 2)
		below, above := spans[0], spans[1]
		require.Equal(t, caller, above.Trace)
		require.Equal(t, callers, above.Parent)
		require.Equal(t, caller, below.Trace)
		require.Equal(t, above.ID, below.Parent)
		require.Equal(t, []any{"store append", kindClient, statusError}, []any{below.Name, below.Kind, below.Status.Code})
		require.Equal(t, "3", *below.Facts[0].Value.Number)
		require.Equal(t, []any{"/v1/publish", kindServer, 0}, []any{above.Name, above.Kind, above.Status.Code})
		require.Equal(t, "POST", *above.Facts[0].Value.Text)
		require.Less(t, above.Began, below.Began)
		require.Less(t, below.Ended, above.Ended+"0")
	})
}

// Who is traced: the caller says, or chance.
func TestSampling(t *testing.T) {
	f := func(percent int, header string, least, most int) {
		t.Helper()
		v := New(Options{Endpoint: "http://collector", Percent: percent, Logger: zap.NewNop()})
		n := 0
		for range 1000 {
			if _, s := v.Serve(t.Context(), header, "x"); s != nil {
				n++
			}
		}
		require.GreaterOrEqual(t, n, least)
		require.LessOrEqual(t, n, most)
	}
	f(100, "", 1000, 1000)
	f(0, "", 0, 0)
	f(50, "", 250, 750)
	f(0, "00-"+caller+"-"+callers+"-01", 1000, 1000)
	f(100, "00-"+caller+"-"+callers+"-00", 0, 0)
	f(0, "nonsense", 0, 0)

	var none *Tracer
	ctx, s := none.Serve(t.Context(), "00-"+caller+"-"+callers+"-01", "x")
	require.Nil(t, s)
	require.Nil(t, Start(ctx, "y"))
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, s := none.Serve(ctx, "", "x")
		s.Text("a", "b")
		Start(ctx, "y").End(false)
		s.End(false)
	}), "nothing is made where nobody wants traces")
}

// What a collector does not take is dropped and counted, and holds nobody up; the end
// sends what is left.
func TestCollectorAway(t *testing.T) {
	many := func(t *testing.T, v *Tracer, n int) {
		for range n {
			_, s := v.Serve(t.Context(), "", "x")
			s.End(false)
		}
	}
	in(t, 100, func(t *testing.T, v *Tracer, c *collector) {
		c.status.Store(http.StatusServiceUnavailable)
		many(t, v, 10)
		time.Sleep(2 * sendEvery)
		sent, dropped := v.Counts()
		require.Equal(t, []int64{0, 10}, []int64{sent, dropped})
		c.status.Store(0)
		many(t, v, 10)
		time.Sleep(2 * sendEvery)
		sent, dropped = v.Counts()
		require.Equal(t, []int64{10, 10}, []int64{sent, dropped})
	})
	v := New(Options{Endpoint: "http://collector", Percent: 100, Logger: zap.NewNop()})
	c := &collector{}
	v.client.Transport = c
	many(t, v, mostQueued+5)
	_, dropped := v.Counts()
	require.EqualValues(t, 5, dropped, "the queue is bounded")
	ended, end := context.WithCancel(t.Context())
	end()
	v.Run(ended)
	sent, _ := v.Counts()
	require.EqualValues(t, mostQueued, sent)
	require.Len(t, c.taken(), mostQueued)
}
