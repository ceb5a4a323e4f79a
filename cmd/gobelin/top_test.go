package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/console"
	"github.com/stretchr/testify/require"
)

// Each line of a look fits its columns, and what others named moves no cursor.
func TestTopText(t *testing.T) {
	look := topLook{
		Time: 1e12, Fault: "away\x1b[2J",
		Nodes: []topNode{
			{Node: broker.Node{Name: strings.Repeat("long-", 20), State: "serving", Self: true, Figures: &broker.Figures{Sessions: map[string]int64{"websocket": 3, "long-polling": 4}}}, Rates: &console.Rates{Published: 12, WrittenP50: -1, WrittenP99: 1.25, CPU: 0.5}},
			{Node: broker.Node{ID: "5f", Name: "\x1b[31mred", State: "gone"}},
			{Node: broker.Node{ID: "6a", State: "serving", Figures: &broker.Figures{}}},
		},
		Sessions: []broker.SessionView{{ID: strings.Repeat("a", 40), Transport: "websocket", Address: "2001:db8::1\n", QueuedBytes: 99}},
	}
	text := look.text()
	require.NotContains(t, text, "\x1b")
	require.Contains(t, text, "       7        0         0        12         0        -      1.2     50%")
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, len([]rune(line)), 120, line)
	}
	require.Equal(t, 10, strings.Count(text, "\n"))

	// On a terminal a look replaces the one before.
	var out bytes.Buffer
	require.NoError(t, (&top{out: &out, live: true}).show(&look))
	require.True(t, strings.HasPrefix(out.String(), "\x1b[H") && strings.HasSuffix(out.String(), "\x1b[J"))
	require.Equal(t, 10, strings.Count(out.String(), "\x1b[K\n"))
}
