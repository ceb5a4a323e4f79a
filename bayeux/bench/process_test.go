package bench

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	const line = "17 (a) b (c)) S 4 17 17 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 9 0 555 1000000 250 1844 1 1\n"
	s, err := parseStat([]byte(line), 4096)
	require.NoError(t, err)
	require.Equal(t, stat{parent: 4, usage: usage{cpu: 1270 * time.Millisecond, rss: 250 * 4096}}, s)
	for _, bad := range []string{"", "17 (x", "17 (x) S 4 5", "17 (x) S a 17 17 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 9 0 555 1000000 250"} {
		_, err := parseStat([]byte(bad), 4096)
		require.ErrorIs(t, err, errStat, bad)
	}
}

func TestProcessLooks(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc here")
	}
	p, err := newProcess(os.Getpid())
	require.NoError(t, err)
	require.Contains(t, p.tree(), os.Getpid())
	require.Positive(t, p.look().rss)
	require.Positive(t, p.peak.Load())
	_, err = newProcess(1 << 30)
	require.ErrorIs(t, err, os.ErrNotExist)

	none, err := newProcess(0)
	require.NoError(t, err)
	require.Zero(t, none.look())
	var wg sync.WaitGroup
	none.watch(context.Background(), &wg)
	wg.Wait()
}
