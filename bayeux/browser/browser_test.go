package browser

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSizes(t *testing.T) {
	f := func(script []byte, limit int) {
		t.Helper()
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		require.NoError(t, err)
		_, err = w.Write(script)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.Less(t, b.Len(), limit)
	}
	f(ClientJS, 8<<10)
	f(HistoryJS, 1<<10)
	require.Contains(t, string(ClientJS), "Faye")
	require.Contains(t, string(HistoryJS), "GobelinHistory")
}

// TestScripts runs client.test.mjs in Node.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node is not installed")
		}
		t.Skip("node is not installed")
	}
	cmd := exec.CommandContext(t.Context(), node, "--experimental-websocket", "--no-warnings", "--test", "client.test.mjs")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
