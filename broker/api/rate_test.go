package api

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/stretchr/testify/require"
)

// TestThreat35ReadingIsCharged: who reads much waits, others do not; a long answer
// comes at the rate.
func TestThreat35ReadingIsCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCall(t, Options{ReadRate: 1000, ClientAddr: func(r *http.Request) string { return r.Header.Get("From") }})
		page := broker.HistoryPage{Messages: []broker.HistoryMessage{{Data: append(append([]byte(`"`), bytes.Repeat([]byte("x"), 1000)...), '"')}}}
		c.service.pages = []broker.HistoryPage{page}
		const target, lines = "/v1/objects/own/history?channel=chat&limit=10", "/v1/objects/own/history?channel=chat&format=ndjson"
		read := 0
		for c.do("GET", target, "viewer", "").Code == http.StatusOK {
			read++
		}
		require.InDelta(t, readAtOnce, read, 2, "16 seconds' worth, and one that makes the debt")
		w := c.do("GET", target, "viewer", "")
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
		c.want("GET", target, "moderator", "", 200) // others have their own
		c.want("POST", "/v1/objects/own/publish", "viewer", `{"channel":"chat","data":1}`, 429)
		time.Sleep(2 * time.Second)
		c.want("GET", target, "viewer", "", 200)

		// Addresses without a credential are charged, too.
		for c.do("GET", "/openapi.json", "", "", "From: 192.0.2.1").Code == http.StatusOK {
		}
		require.Equal(t, http.StatusTooManyRequests, c.do("GET", "/openapi.json", "", "", "From: 192.0.2.1").Code)
		require.Equal(t, http.StatusOK, c.do("GET", "/openapi.json", "", "", "From: 192.0.2.2").Code)
		time.Sleep((2*readAtOnce + 1) * time.Second) // no debt is larger
		require.Equal(t, http.StatusOK, c.do("GET", "/openapi.json", "", "", "From: 192.0.2.1").Code)

		c.service.pages = nil
		for range 100 {
			c.service.pages = append(c.service.pages, page)
		}
		start := time.Now()
		w = c.do("GET", lines, "broadcaster", "")
		require.Len(t, bytes.Split(bytes.TrimSpace(w.Body.Bytes()), []byte("\n")), 100, "all of it comes")
		require.InDelta(t, 100-readAtOnce, time.Since(start).Seconds(), 10)

		// Who goes meanwhile is not waited for.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", lines, nil)
		r.Header.Set("Authorization", "admin")
		start = time.Now()
		require.PanicsWithValue(t, http.ErrAbortHandler, func() { c.handler.ServeHTTP(httptest.NewRecorder(), r) })
		require.Equal(t, time.Second, time.Since(start))
	})
}
