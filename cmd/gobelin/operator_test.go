package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/cmd/gobelin/archive"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// timedRecorder notes which deadlines it was given, and whether each write had one.
type timedRecorder struct {
	*httptest.ResponseRecorder
	reading  time.Time // deadline of the body
	deadline time.Time
	writes   int
	untimed  int
}

func (r *timedRecorder) SetWriteDeadline(t time.Time) error {
	r.deadline = t
	return nil
}

func (r *timedRecorder) Write(p []byte) (int, error) {
	r.writes++
	if r.deadline.IsZero() {
		r.untimed++
	}
	return r.ResponseRecorder.Write(p)
}

// A reader that stands still keeps no backup open for ever.
func TestBackupIsTimed(t *testing.T) {
	conf, _, fs := load(source{dev: true})
	require.NoError(t, fs.err())
	s, err := conf.openDisk(t.Context(), t.TempDir(), zap.NewNop())
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	n := &node{config: conf, store: s, log: zap.NewNop()}
	w := &timedRecorder{ResponseRecorder: httptest.NewRecorder()}
	n.serveBackup(w, httptest.NewRequest(http.MethodGet, backupPath, nil))
	require.Equal(t, http.StatusOK, w.Code)
	_, _, err = archive.Read(w.Body, archive.Nowhere, nil)
	require.NoError(t, err)
	require.Positive(t, w.writes)
	require.Zero(t, w.untimed)
	require.True(t, w.deadline.IsZero(), "the connection's next request has no old deadline")
}

// SetReadDeadline makes a recorder one of a connection.
func (r *timedRecorder) SetReadDeadline(t time.Time) error {
	r.reading = t
	return nil
}

// A body that trickles in, or never comes, holds no connection for ever, whoever is asked
// (security.md §4.1, 16).
func TestSlowBodies(t *testing.T) {
	say := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	well := func(context.Context) error { return nil }
	for name, h := range map[string]http.Handler{
		"admin": adminHandler(say, say, say, well), "admin without a token": adminHandler(say, nil, nil, well), "try": tryPage(),
	} {
		for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/console/", "/console/token", "/admin/drain", "/nowhere"} {
			for _, length := range []int64{0, 5, -1} {
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("three"))
				r.ContentLength = length
				w := &timedRecorder{ResponseRecorder: httptest.NewRecorder()}
				h.ServeHTTP(w, r)
				require.Equal(t, length == 0, w.reading.IsZero(), "%s: %s with a body of %d", name, path, length)
			}
		}
	}
}
