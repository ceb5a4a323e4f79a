package brokertest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTakenForDead: what nodes say of themselves and of others is a loss, once for what
// belongs together, and not where the nemesis has brought it about.
func TestTakenForDead(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	log := `{"level":"info","ts":"2026-01-02T03:00:05Z","msg":"ready","node":"node1"}
{"level":"warn","ts":"2026-01-02T03:00:20Z","msg":"this node cannot say that it lives: it is not ready","node":"node1"}
{"level":"info","ts":"2026-01-02T03:00:23Z","msg":"this node is heard again","node":"node1"}
{"level":"warn","ts":"2026-01-02T03:00:40Z","msg":"another node does not answer: sessions","node":"node1","other":"node2"}
{"level":"warn","ts":"2026-01-02T03:00:50Z","msg":"another node does not answer: sessions","node":"node1","other":"a stranger"}
{"level":"warn","ts":"2026-01-02T03:01:00Z","msg":"another node does not an`
	told, err := lossesTold(strings.NewReader(log), 1, 3, start)
	require.NoError(t, err)
	require.Equal(t, []Loss{
		{Node: 1, From: 16 * time.Second, To: 20 * time.Second},
		{Node: 1, From: 19 * time.Second, To: 23 * time.Second},
		{Node: 2, From: 40 * time.Second, To: 42 * time.Second},
	}, told)
	own, other := Loss{Node: 1, From: 16 * time.Second, To: 23 * time.Second}, told[2]
	require.Equal(t, []Loss{own, other}, unexplained(told, nil))
	require.Equal(t, []Loss{own}, unexplained(told, []Loss{{Node: 2, From: 41 * time.Second, To: 50 * time.Second}}))
	require.Empty(t, unexplained(told, []Loss{{Node: everyNode, From: 23 * time.Second, To: 40 * time.Second}}))
	require.Equal(t, []Loss{own, other}, unexplained(told, []Loss{{Node: 0, From: 0, To: time.Minute}}))
}
