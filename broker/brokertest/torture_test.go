package brokertest_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/stretchr/testify/require"
)

// number reads an environment variable, or says what holds without it.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// TestTorture runs the real broker under publishers, joiners, a broken network and
// kill -9, and checks the history. TORTURE_SECONDS, TORTURE_SEED, TORTURE_KILLS,
// TORTURE_JOINERS and TORTURE_RATE make the long form, TORTURE_RACE=1 has the broker's races found.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seconds := number(t, "TORTURE_SECONDS", 18)
	seed := uint64(number(t, "TORTURE_SEED", int(rand.Uint32())))
	dir := t.TempDir()
	if kept := os.Getenv("TORTURE_DIR"); kept != "" {
		dir = kept
	}
	config := brokertest.Config{
		Binary:       build(t),
		Dir:          dir,
		Seed:         seed,
		Length:       time.Duration(seconds) * time.Second,
		Kills:        number(t, "TORTURE_KILLS", 3),
		Channels:     4,
		Publishers:   6,
		Rate:         number(t, "TORTURE_RATE", 120),
		Joiners:      number(t, "TORTURE_JOINERS", 40),
		Faults:       number(t, "TORTURE_FAULTS", 1) == 1,
		RetryPublish: number(t, "TORTURE_RETRY", 1) == 1,
		Durable:      number(t, "TORTURE_DURABLE", 1) == 1,
	}
	if testing.Verbose() {
		config.Log = t.Logf
	}
	t.Logf("again with TORTURE_SEED=%d TORTURE_SECONDS=%d TORTURE_KILLS=%d", seed, seconds, config.Kills)
	ctx, cancel := context.WithTimeout(t.Context(), config.Length+2*time.Minute)
	defer cancel()
	result, err := brokertest.Torture(ctx, config)
	require.NoError(t, err)
	rules := brokertest.Rules{
		Settle: 15 * time.Second, // a frozen link is connected, for all its client knows
		Lag:    time.Second,
		Clock:  50 * time.Millisecond,
	}
	if config.Kills > 0 {
		rules.Clock += time.Second // how far the disk store's clock goes on ahead after a crash
	}
	report := brokertest.Check(result.History, rules)
	t.Log(report.String())
	t.Log(result.String())
	require.Empty(t, result.Troubles)
	require.True(t, report.Clean(), "rules of the history are broken")
	require.NotZero(t, report.OK)
	require.NotZero(t, report.Drained)
	require.NotZero(t, report.Receipts)
}

// build makes the real binary; GOBELIN names one that is there already.
func build(t *testing.T) string {
	t.Helper()
	if ready := os.Getenv("GOBELIN"); ready != "" {
		return ready
	}
	binary, err := brokertest.Build(t.Context(), t.TempDir(), number(t, "TORTURE_RACE", 0) == 1)
	require.NoError(t, err)
	return binary
}
