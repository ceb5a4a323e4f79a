package brokertest

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/store/disk"
	"github.com/stretchr/testify/require"
)

// TestDiskFull: security.md §5.3, R7. When others fill the disk of the embedded store,
// publishes are refused (507) while what is kept is served, below disk.floor also to those
// who come, below half of it to those who ask by HTTP; once there is room they are taken
// again, without a restart. At no time is anything acknowledged that is not kept.
func TestDiskFull(t *testing.T) {
	const floor = 64 << 20
	binary, folder := RealBinary(t), smallDisk(t, "192m")
	node, err := NewNode(binary, folder, "GOBELIN_DISK_FLOOR=64MiB", "GOBELIN_BAYEUX_MAX_INTERVAL=10m")
	require.NoError(t, err)
	t.Cleanup(node.Close)
	require.NoError(t, node.Start(t.Context()))
	r := newRefused(t, node, "/full/a")
	for range 20 {
		require.Empty(t, r.bayeux())
	}
	ballast := filepath.Join(folder, "ballast")
	for _, left := range []uint64{floor * 3 / 4, floor / 4} {
		require.NoError(t, fillUp(folder, ballast, left))
		r.until("a publish is refused", func() bool { return r.bayeux() == "507::Store full" })
		require.Equal(t, http.StatusInsufficientStorage, r.http())
		status, said := r.readiness()
		require.Equal(t, http.StatusServiceUnavailable, status, said)
		require.Contains(t, said, "bytes free")
		require.Equal(t, http.StatusOK, r.past(), "what is kept is served")
		if left > floor/2 {
			kept, err := readBack(t.Context(), node.Address(), r.channel, "1h")
			require.NoError(t, err)
			require.Len(t, kept, len(r.ok))
		}
		require.NoError(t, os.Remove(ballast))
		took := r.until("publishes are taken again", func() bool { return r.bayeux() == "" })
		require.Equal(t, http.StatusOK, r.http())
		t.Logf("back after %v", took.Round(time.Millisecond))
	}
	r.check()
	refused, err := node.Metric(t.Context(), "gobelin_refused_total")
	require.NoError(t, err)
	require.NotZero(t, refused)
}

// past asks for the history by HTTP and returns the status.
func (r *refused) past() int {
	r.t.Helper()
	answer, err := (&http.Client{Timeout: patient, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + r.node.Address() + "/v1/history?channel=" + r.channel)
	require.NoError(r.t, err)
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(r.t, err)
	return answer.StatusCode
}

// fillUp writes a file in a folder so that so much is left of its disk, within 1 MiB.
func fillUp(folder, path string, left uint64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); ; {
		free, _, err := disk.Space(folder)
		if err != nil || free <= left {
			return err
		}
		if _, err := f.Write(chunk); err != nil {
			return err
		}
	}
}
