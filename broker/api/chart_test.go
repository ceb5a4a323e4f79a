package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/chart"
	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/stretchr/testify/require"
)

// hung is a call whose chart "good" shows an object.
func hung(t *testing.T, o Options) *call {
	c := newCall(t, o)
	c.service.chart = broker.ViewerChart{
		Object: &broker.Object{App: demo, ID: "own", Name: "<Own>"}, From: time.Unix(0, 0), To: time.Unix(6*3600, 0), Step: time.Minute,
		Rows: []catchup.ViewerRow{{URL: "own", Time: time.Unix(60, 0), Min: 1, Max: 9, Sum: 12, N: 3}, {URL: "own", Time: time.Unix(120, 0), N: 5}},
	}
	return c
}

func TestChartPage(t *testing.T) {
	c := hung(t, Options{})
	w := c.do("GET", "/stats/good?graph=2", "", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/html; charset=utf-8", w.Header().Get("Content-Type"))
	require.Equal(t, chart.Policy, w.Header().Get("Content-Security-Policy"))
	require.Empty(t, w.Header().Get("X-Frame-Options"))
	require.Equal(t, "private, max-age=10", w.Header().Get("Cache-Control"))
	require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
	require.Contains(t, w.Body.String(), "Viewers of &lt;Own&gt;, 24 hours")
	require.Contains(t, w.Body.String(), `<a href="?graph=2" aria-current="page">24 hours</a>`)
	require.Contains(t, w.Body.String(), "Most: 9 at 1970-01-01 00:01 UTC. On average: 2. Last: 0 at 1970-01-01 00:02 UTC.")

	w = c.do("GET", "/stats/good/chart.svg", "", "", "Authorization: nonsense")
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "image/svg+xml", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.Regexp(t, "^<svg ", w.Body.String())
	require.Equal(t, http.StatusOK, c.do("HEAD", "/stats/good", "", "").Code)
}

// TestChartRefusals: every root that does not open a chart is answered alike.
func TestChartRefusals(t *testing.T) {
	c := hung(t, Options{})
	first := c.do("GET", "/stats/bad", "", "")
	require.Equal(t, http.StatusNotFound, first.Code)
	require.Equal(t, "no-store", first.Header().Get("Cache-Control"))
	for _, path := range []string{"/stats/0123456789abcdef0123456789abcdef01234567", "/stats/bad/chart.svg", "/stats/bad?graph=3", "/stats/", "/stats/good/other"} {
		w := c.do("GET", path, "", "")
		require.Equal(t, http.StatusNotFound, w.Code, path)
		require.Equal(t, first.Body.String(), w.Body.String(), path)
		require.Equal(t, first.Header(), w.Header(), path)
	}
	for _, graph := range []string{"0", "5", "x", "-1"} {
		require.Equal(t, http.StatusBadRequest, c.do("GET", "/stats/good?graph="+graph, "", "").Code, graph)
	}
	require.Equal(t, http.StatusMethodNotAllowed, c.do("POST", "/stats/good", "", "").Code)
	c.service.fail = store.ErrUnavailable
	w := c.do("GET", "/stats/good", "", "")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))

	c = hung(t, Options{RequestRate: 0.001, Burst: 100})
	for range 100 {
		require.Equal(t, http.StatusOK, c.do("GET", "/stats/good", "", "").Code)
	}
	require.Equal(t, http.StatusTooManyRequests, c.do("GET", "/stats/good", "", "").Code)
}
