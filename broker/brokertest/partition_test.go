package brokertest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPartition: security.md §5.3, R4. One of two nodes loses its Redis without a word: it
// says that it is not ready and acknowledges nothing, the other goes on and takes its
// sessions up; when the way is back, so is the node, and the history is whole.
func TestPartition(t *testing.T) {
	binary, dir := RealBinary(t), t.TempDir()
	backend := OnNamespaces(t, 2)
	config, err := writeKeys(dir)
	require.NoError(t, err)
	var nodes []*Node
	for n := range 2 {
		place := filepath.Join(dir, strconv.Itoa(n))
		require.NoError(t, os.Mkdir(place, 0o700))
		node, err := NewSharedNode(binary, place, config, backend.URL(n), "GOBELIN_BAYEUX_MAX_INTERVAL=10m", "GOBELIN_BAYEUX_TIMEOUT=1s")
		require.NoError(t, err)
		t.Cleanup(node.Close)
		if err := node.Start(t.Context()); err != nil {
			said, _ := os.ReadFile(node.log.Name())
			require.NoError(t, err, "%s", said)
		}
		nodes = append(nodes, node)
	}
	cut, whole := newRefused(t, nodes[0], "/apart/a"), newRefused(t, nodes[1], "/apart/b")
	whole.until("publishes are taken", func() bool { return cut.bayeux() == "" && whole.bayeux() == "" })
	moving := newPoster(straight(nodes[1].Address()), 0)
	defer moving.close()

	begun := time.Now()
	require.NoError(t, backend.CutOff(0, true))
	// What was refused is not there, what nobody knows may be.
	for range 3 {
		said := cut.bayeux()
		require.True(t, strings.HasPrefix(said, "503") || strings.HasPrefix(said, "504"), "%q", said)
		require.Empty(t, whole.bayeux(), "the other goes on")
	}
	cut.until("the node says that it is not ready", func() bool {
		status, _ := cut.readiness()
		return status == http.StatusServiceUnavailable
	})
	t.Logf("not ready after %v", time.Since(begun).Round(time.Millisecond))
	cut.until("its session is taken up by the other", func() bool {
		body := fmt.Appendf(nil, `[{"channel":"/meta/connect","clientId":%q,"connectionType":"long-polling","id":"m"}]`, cut.id)
		ms, _, err := moving.exchange(t.Context(), body, patient)
		return err == nil && successful(ms) == nil
	})
	require.Empty(t, whole.bayeux())

	require.NoError(t, backend.CutOff(0, false))
	took := cut.until("the node is ready again", func() bool {
		status, _ := cut.readiness()
		return status == http.StatusOK
	})
	t.Logf("back after %v", took.Round(time.Millisecond))
	cut.until("publishes are taken again", func() bool { return cut.http() == http.StatusOK })
	require.Empty(t, whole.bayeux())
	cut.check()
	whole.check()
	for _, node := range nodes {
		said, err := node.Troubles()
		require.NoError(t, err)
		require.Empty(t, said)
	}
}
