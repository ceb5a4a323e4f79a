package bayeux

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Of those who wait each is let in in the order of its line, and one who shakes hands
// after three who resume.
func TestAdmissionIsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{most: 1, line: 100}
		require.False(t, a.enter(t.Context(), resumes))
		var in []string
		var all sync.WaitGroup
		come := func(how coming, name string) {
			all.Go(func() {
				if a.enter(t.Context(), how) {
					in = append(in, "-"+name)
					return
				}
				in = append(in, name)
				a.leave()
			})
			synctest.Wait()
		}
		for i := range 5 {
			come(handshakes, fmt.Sprintf("h%d", i))
		}
		for i := range 7 {
			come(resumes, fmt.Sprintf("r%d", i))
		}
		require.EqualValues(t, 12, a.waiting())
		a.leave()
		all.Wait()
		require.Equal(t, "r0 r1 r2 h0 r3 r4 r5 h1 r6 h2 h3 h4", strings.Join(in, " "))
		require.Zero(t, a.waiting())
		require.Zero(t, a.inside)
	})
}

// Who finds the line full, waits too long, or goes, is refused and leaves no trace.
func TestAdmissionRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{most: 1, line: 2}
		require.False(t, a.enter(t.Context(), handshakes))
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var refused [2]bool
		var after [2]time.Duration
		var all sync.WaitGroup
		for i, ctx := range []context.Context{ctx, t.Context()} {
			all.Go(func() { refused[i], after[i] = a.enter(ctx, handshakes), time.Since(began) })
			synctest.Wait()
		}
		require.True(t, a.enter(t.Context(), handshakes), "the line is full")
		time.Sleep(time.Second)
		require.LessOrEqual(t, a.pause(handshakes), int64(pauseMost))
		cancel()
		synctest.Wait()
		require.EqualValues(t, 1, a.waiting())
		time.Sleep(6 * time.Second)
		most := int64(0)
		for range 1000 {
			most = max(most, a.pause(handshakes))
		}
		require.Greater(t, most, int64(pauseMost), "the pause grows with the line")
		require.LessOrEqual(t, most, int64(pauseLeast+14_000))
		all.Wait()
		require.Equal(t, [2]bool{true, true}, refused)
		require.Equal(t, [2]time.Duration{time.Second, admissionWait}, after)
		require.Zero(t, a.waiting())
		a.leave()
		require.False(t, a.enter(t.Context(), resumes), "the place is free again")
		require.Equal(t, 1, a.inside)
	})
}

// Limits that change hold at once for those who wait, and never for those who are in.
func TestAdmissionRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{most: 1, line: 100}
		var in atomic.Int64
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if !a.enter(t.Context(), resumes) {
					in.Add(1)
				}
			})
			synctest.Wait()
		}
		a.renew(&Limits{Handshakes: 4, HandshakesWaiting: 6})
		synctest.Wait()
		require.EqualValues(t, 4, in.Load())
		require.True(t, a.enter(t.Context(), resumes))
		a.renew(&Limits{Handshakes: 2, HandshakesWaiting: 6})
		for range 2 {
			a.leave()
		}
		synctest.Wait()
		require.EqualValues(t, 4, in.Load(), "two are in still")
		for range 8 {
			a.leave()
			synctest.Wait()
		}
		all.Wait()
		require.EqualValues(t, 10, in.Load())
		require.Zero(t, a.inside)
	})
}

// distantStore is an application that takes a while for each session, and counts how
// many it is asked for at once.
type distantStore struct {
	absentStore
	mu           sync.Mutex
	inside, most int
}

func (a *distantStore) wait() {
	a.mu.Lock()
	a.inside++
	a.most = max(a.most, a.inside)
	a.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
	a.mu.Lock()
	a.inside--
	a.mu.Unlock()
}

func (a *distantStore) Handshake(context.Context, *Session, *Message) (SessionHandler, error) {
	a.wait()
	return &user{app: newApp()}, nil
}

func (a *distantStore) Resume(context.Context, *Session, *Message) (SessionHandler, error) {
	a.wait()
	return &user{app: newApp()}, nil
}

// Of a storm of 10,000, half of which resume, all are back within half a minute (security.md
// §5.3, R13), no more than so many are served at once, and those who resume come first.
func TestStormOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 10_000
		a := &distantStore{}
		v := NewServer(a, Options{Limits: Limits{Handshakes: 16, HandshakesWaiting: 1500}})
		began := time.Now()
		var mu sync.Mutex
		var refused int
		var back [comings][]time.Duration
		var all sync.WaitGroup
		var try func(i int)
		try = func(i int) {
			how, body := handshakes, `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]`
			if i%2 == 0 {
				how = resumes
				body = fmt.Sprintf(`[{"channel":"/meta/connect","clientId":"%032d","connectionType":"long-polling","id":"1","advice":{"timeout":0}}]`, i)
			}
			rec := post(v, body)
			mu.Lock()
			defer mu.Unlock()
			if rec.Code == http.StatusOK {
				back[how] = append(back[how], time.Since(began))
				all.Done()
				return
			}
			refused++
			seconds, err := strconv.Atoi(rec.Header().Get("Retry-After"))
			if rec.Code != http.StatusServiceUnavailable || err != nil || seconds < 1 || !strings.Contains(rec.Body.String(), `"error":"503::Too many clients at once"`) {
				t.Errorf("%d %q %s", rec.Code, rec.Header(), rec.Body)
				all.Done()
				return
			}
			time.AfterFunc(time.Duration(seconds)*time.Second, func() { try(i) })
		}
		all.Add(clients)
		for i := range clients {
			// Timers, as there may not be so many goroutines with -race.
			time.AfterFunc(time.Duration(i)*10*time.Microsecond, func() { try(i) })
		}
		all.Wait()
		require.Len(t, back[resumes], clients/2)
		require.Len(t, back[handshakes], clients/2)
		require.Positive(t, refused)
		require.EqualValues(t, refused, v.Stats().Refused["handshakes_at_once"])
		require.Equal(t, 16, a.most)
		require.Less(t, slices.Max(append(back[resumes], back[handshakes]...)), 30*time.Second)
		require.Less(t, back[resumes][clients/4], back[handshakes][clients/4])
		require.NoError(t, v.Shutdown(context.Background()))
	})
}

// post gives the server one request.
func post(v *Server, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "/faye", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	v.ServeHTTP(rec, req)
	return rec
}

// While the queues of all sessions together are above their bound no session is added;
// what waits for many counts once.
func TestQueueMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newApp()
		v := NewServer(a, Options{Limits: Limits{QueueMemory: 1 << 20}})
		handshake := func(want int) {
			t.Helper()
			time.Sleep(time.Second) // it is not measured all the time
			rec := post(v, `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]`)
			require.Equal(t, want, rec.Code)
			if want != http.StatusOK {
				require.Contains(t, rec.Body.String(), `"error":"503::Too much waits for others"`)
				require.Contains(t, rec.Body.String(), `"reconnect":"retry"`)
				require.NotEmpty(t, rec.Header().Get("Retry-After"))
			}
		}
		deliver := func(from, to int) {
			data := []byte(`"` + strings.Repeat("x", 500<<10) + `"`)
			d := NewDelivery(DeliveryFields{Channel: "/a", Data: data})
			n := 0
			for _, s := range v.allSessions() {
				if n >= from && n < to {
					s.Deliver(d)
				}
				n++
			}
		}
		for range 3 {
			handshake(http.StatusOK)
		}
		deliver(0, 3)
		handshake(http.StatusOK)
		require.InDelta(t, 500<<10, v.queuedMemory(), 20<<10)
		deliver(0, 1)
		handshake(http.StatusOK)
		deliver(0, 1)
		handshake(http.StatusServiceUnavailable)
		require.EqualValues(t, 1, v.Stats().Refused["queue_memory"])
		require.Equal(t, 5, v.Sessions(), "who is there stays")
		for _, s := range v.allSessions() {
			s.Close(ReasonKicked)
		}
		handshake(http.StatusOK)
		require.NoError(t, v.Shutdown(context.Background()))
	})
}

// What a storm costs those who find a place at once.
func BenchmarkAdmission(b *testing.B) {
	a := &admission{most: 1000, line: 1000}
	b.ReportAllocs()
	for b.Loop() {
		if a.enter(b.Context(), handshakes) {
			b.Fatal("refused")
		}
		a.leave()
	}
}
