package browser

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	f(ClientJS(), 8<<10)
	f(ClientMJS(), 8<<10)
	f(HistoryJS(), 1<<10)
}

// Lines are taken for code or comment by how they begin, so no text may go over a
// line's end, and no comment of several lines is there.
func TestPieces(t *testing.T) {
	for _, piece := range []string{errorJS, eventsJS, seenJS, subscriptionJS, transportJS, clientJS, historyJS} {
		for line := range strings.Lines(piece) {
			require.False(t, strings.HasPrefix(strings.TrimSpace(line), "/*"), line)
			require.Zero(t, strings.Count(line, "`")%2, line)
		}
	}
}

// TestScripts runs client.test.mjs in Node, on what is served.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("node is not installed")
		}
		t.Skip("node is not installed")
	}
	dir := t.TempDir()
	for name, script := range map[string][]byte{"client.js": ClientJS(), "client.mjs": ClientMJS(), "history.js": HistoryJS()} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), script, 0o600))
	}
	cmd := exec.CommandContext(t.Context(), node, "--experimental-websocket", "--no-warnings", "--test", "client.test.mjs")
	cmd.Env = append(os.Environ(), "SCRIPTS="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
