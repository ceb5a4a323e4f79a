package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// polled answers posts with what a test says, by their number.
func polled(t *testing.T, answer func(w http.ResponseWriter, n int, id string)) *target {
	t.Helper()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []faultyMessage
		if json.NewDecoder(r.Body).Decode(&all) != nil || len(all) == 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer(w, int(n.Add(1)), all[0].ID)
	}))
	t.Cleanup(server.Close)
	to, err := newTarget(server.URL, LongPolling, testAnchor)
	require.NoError(t, err)
	return to
}

func yes(w http.ResponseWriter, id string) {
	fmt.Fprintf(w, `[{"channel":"/meta/handshake","id":%q,"successful":true,"clientId":"c"}]`, id)
}

// A server that closes after each answer, or before the next request, is no fault.
func TestPollerDialsAgain(t *testing.T) {
	f := func(answer func(w http.ResponseWriter, n int, id string)) {
		t.Helper()
		s, err := polled(t, answer).join(t.Context(), "")
		require.NoError(t, err)
		defer s.road.close()
		for range 3 {
			_, err = s.subscribe(t.Context(), "/a")
			require.NoError(t, err)
		}
	}
	f(func(w http.ResponseWriter, _ int, id string) {
		w.Header().Set("Connection", "close")
		yes(w, id)
	})
	f(func(w http.ResponseWriter, n int, id string) {
		if n == 2 {
			panic(http.ErrAbortHandler)
		}
		yes(w, id)
	})
}

// A publish that the server may have had is not sent again.
func TestPollerPublishesOnce(t *testing.T) {
	var requests atomic.Int64
	to := polled(t, func(w http.ResponseWriter, n int, id string) {
		if requests.Store(int64(n)); n == 3 {
			panic(http.ErrAbortHandler)
		}
		yes(w, id)
	})
	s, err := to.join(t.Context(), "")
	require.NoError(t, err)
	defer s.road.close()
	publish := func() error {
		return s.road.send([][]byte{s.publication("/a", "1", []byte("1"))}, func(*seen) {})
	}
	require.NoError(t, publish())
	require.Error(t, publish())
	require.Equal(t, int64(3), requests.Load())
	require.NoError(t, publish(), "the next goes on a new connection")
}

func TestPollerTellsRefusals(t *testing.T) {
	f := func(want string, answer func(w http.ResponseWriter, n int, id string)) {
		t.Helper()
		_, err := polled(t, answer).join(t.Context(), "")
		require.ErrorContains(t, err, want)
	}
	f("503", func(w http.ResponseWriter, _ int, _ string) { w.WriteHeader(http.StatusServiceUnavailable) })
	f("not Bayeux", func(w http.ResponseWriter, _ int, _ string) { fmt.Fprint(w, "hello") })
	f("does not answer", func(w http.ResponseWriter, _ int, _ string) { fmt.Fprint(w, "[]") })
	f("403::no", func(w http.ResponseWriter, _ int, id string) {
		fmt.Fprintf(w, `[{"id":%q,"successful":false,"error":"403::no"}]`, id)
	})
}

// A refused connect ends the session: asking again at once would be a storm.
func TestPollerEndsWhenRefused(t *testing.T) {
	to := polled(t, func(w http.ResponseWriter, n int, id string) {
		if n == 1 {
			yes(w, id)
			return
		}
		fmt.Fprintf(w, `[{"channel":"/meta/connect","id":%q,"successful":false,"error":"401:c:Unknown client"}]`, id)
	})
	s, err := to.join(t.Context(), "")
	require.NoError(t, err)
	defer s.road.close()
	told := ""
	require.ErrorIs(t, s.road.listen(s.next, func(found *seen) { told = string(found.why) }), errRefused)
	require.Equal(t, "401:c:Unknown client", told)
}

// A held connect ends with the road.
func TestPollerCloses(t *testing.T) {
	held := make(chan struct{})
	free := make(chan struct{})
	to := polled(t, func(w http.ResponseWriter, n int, id string) {
		if n == 1 {
			yes(w, id)
			return
		}
		close(held)
		<-free
	})
	defer close(free)
	s, err := to.join(t.Context(), "")
	require.NoError(t, err)
	ended := make(chan error)
	go func() { ended <- s.road.listen(s.next, func(*seen) {}) }()
	<-held
	s.road.close()
	require.Error(t, <-ended)
	_, err = s.road.exchange(context.Background(), "x", []byte("{}"), nil)
	require.Error(t, err)
}

func TestTarget(t *testing.T) {
	f := func(url, address string, secure bool) {
		t.Helper()
		to, err := newTarget(url, WebSocket, testAnchor)
		require.NoError(t, err)
		require.Equal(t, address, to.address)
		require.Equal(t, secure, to.secure)
	}
	f("http://a/x", "a:80", false)
	f("https://a/x", "a:443", true)
	f("wss://a:444", "a:444", true)
	f("ws://[::1]/x", "[::1]:80", false)
}

// Cookies come back, as CometD asks.
func TestPollerKeepsCookies(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []faultyMessage
		_ = json.NewDecoder(r.Body).Decode(&all)
		got = append(got, r.Header.Get("Cookie"))
		if len(got) == 1 {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", HttpOnly: true})
			http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
		}
		yes(w, all[0].ID)
	}))
	defer server.Close()
	to, err := newTarget(server.URL, LongPolling, testAnchor)
	require.NoError(t, err)
	s, err := to.join(t.Context(), "")
	require.NoError(t, err)
	defer s.road.close()
	_, err = s.subscribe(t.Context(), "/a")
	require.NoError(t, err)
	require.Equal(t, []string{"", "a=1; b=2"}, got)
}
