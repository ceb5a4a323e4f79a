package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/cmd/gobelin/archive"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// timedRecorder notes which deadlines it was given, and whether each write had one.
type timedRecorder struct {
	*httptest.ResponseRecorder
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
