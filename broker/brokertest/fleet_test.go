package brokertest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFleet: each request goes to the next node; one that refuses, answers 503, is
// not ready or was taken away is passed over; other answers are the client's.
func TestFleet(t *testing.T) {
	f := &fleet{}
	served := make([]int, 3)
	status := []int{http.StatusOK, http.StatusOK, http.StatusOK}
	for n := range 3 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			served[n]++
			w.WriteHeader(status[n])
		}))
		t.Cleanup(s.Close)
		one := &door{address: s.Listener.Addr().String(), node: &Node{}}
		one.node.address.Store(&one.address)
		f.doors = append(f.doors, one)
	}
	p := newPoster(f, 2)
	defer p.close()
	ask := func(want int) {
		t.Helper()
		_, node, err := p.post(t.Context(), "/", "", nil, answerTime)
		require.NoError(t, err)
		require.Equal(t, want, node)
	}
	for n := range 6 {
		ask(n % 3)
	}
	require.Equal(t, []int{2, 2, 2}, served)

	status[0] = http.StatusServiceUnavailable
	ask(1) // whose turn it was not
	ask(1)
	ask(2)
	status[0] = http.StatusOK
	f.doors[0].unready.Store(true)
	f.doors[1].gone.Store(true)
	for range 3 {
		ask(2)
	}
	f.doors[0].unready.Store(false)
	f.doors[1].gone.Store(false)

	// A port at which nobody listens, though the balancer has not noticed.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nowhere := l.Addr().String()
	require.NoError(t, l.Close())
	dead := &door{address: nowhere, node: &Node{}}
	dead.node.address.Store(&nowhere)
	f.doors[1] = dead
	p = newPoster(f, 0)
	defer p.close()
	ask(2)
	ask(2)
	ask(0)

	// An answer that is not 503 may have changed something: nobody else is asked.
	for n := range status {
		status[n] = http.StatusInternalServerError
	}
	_, node, err := p.post(t.Context(), "/", "", nil, answerTime)
	require.ErrorIs(t, err, statusError(http.StatusInternalServerError))
	require.Equal(t, 2, node)

	for n := range status {
		status[n] = http.StatusServiceUnavailable
	}
	_, _, err = p.post(t.Context(), "/", "", nil, answerTime)
	require.Error(t, err, "nobody was left")
}
