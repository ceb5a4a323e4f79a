package brokertest_test

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
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
// kill -9, and checks the history. NODES and STORE (redis, sentinel, cluster) make it
// many nodes on one store, with all that can happen to that. TORTURE_SECONDS,
// TORTURE_SEED, TORTURE_KILLS, TORTURE_JOINERS and TORTURE_RATE make the long form,
// TORTURE_RACE=1 has the broker's races found; TORTURE_STORE_KILLS, TORTURE_FREEZES,
// TORTURE_CUTS, TORTURE_ROLLS and TORTURE_FEEDS=0 choose among the troubles.
// TORTURE_DIR names a folder in which the logs and a trace of all joiners stay, TORTURE_LOG
// the level of the logs.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seconds := number(t, "TORTURE_SECONDS", 12)
	nodes := number(t, "NODES", 1)
	config := brokertest.Config{
		Length:       time.Duration(seconds) * time.Second,
		Nodes:        nodes,
		Backend:      backend(t, nodes),
		Kills:        number(t, "TORTURE_KILLS", 3),
		Channels:     4,
		Publishers:   6,
		Rate:         number(t, "TORTURE_RATE", 120),
		Joiners:      number(t, "TORTURE_JOINERS", 40),
		Faults:       number(t, "TORTURE_FAULTS", 1) == 1,
		RetryPublish: number(t, "TORTURE_RETRY", 1) == 1,
		Durable:      number(t, "TORTURE_DURABLE", 1) == 1,
		FreezeTime:   15 * time.Second,
		CutTime:      10 * time.Second,
	}
	if b := config.Backend; b != nil {
		config.FeedKills = number(t, "TORTURE_FEEDS", 1) == 1
		often := max(1, seconds/100)
		if b.Kill != nil {
			config.StoreKills = number(t, "TORTURE_STORE_KILLS", often)
		}
		if b.Freeze != nil {
			config.Freezes = number(t, "TORTURE_FREEZES", often)
		}
		if b.CutOff != nil {
			config.CutOffs = number(t, "TORTURE_CUTS", often)
		}
		if b.Failover != nil {
			config.Failovers = 1
		}
		if b.Move != nil {
			config.Moves = often
		}
		config.Rolls = number(t, "TORTURE_ROLLS", often)
	}
	torture(t, config)
}

// TestTortureMany is the short form on three nodes.
func TestTortureMany(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	result, _ := torture(t, brokertest.Config{
		Length:  16 * time.Second,
		Nodes:   3,
		Backend: onRedis(t, 3, shares, "--appendfsync", "always"), // else a disk that stalls has it lose what it answered
		Kills:   2, StoreKills: 1, CutOffs: 1, CutTime: 4 * time.Second,
		FeedKills: true,
		Channels:  3, Publishers: 6, Rate: 60, Joiners: 24,
		Faults: true, RetryPublish: true, Durable: true,
	})
	require.Len(t, result.Unready, 1)
}

// torture runs c, and ends the test if a rule of the history was broken.
func torture(t *testing.T, c brokertest.Config) (*brokertest.Result, *brokertest.Report) {
	t.Helper()
	c.Seed = uint64(number(t, "TORTURE_SEED", int(rand.Uint32())))
	c.Binary, c.Dir = brokertest.RealBinary(t), t.TempDir()
	if kept := os.Getenv("TORTURE_DIR"); kept != "" {
		c.Dir = kept
		trace, err := os.Create(filepath.Join(kept, "trace.log"))
		require.NoError(t, err)
		defer trace.Close()
		buffer := bufio.NewWriter(trace)
		defer buffer.Flush()
		c.Trace = buffer
	}
	if testing.Verbose() {
		c.Log = t.Logf
	}
	t.Logf("again with TORTURE_SEED=%d TORTURE_SECONDS=%d TORTURE_KILLS=%d", c.Seed, int(c.Length.Seconds()), c.Kills)
	ctx, cancel := context.WithTimeout(t.Context(), c.Length+3*time.Minute)
	defer cancel()
	result, err := brokertest.Torture(ctx, c)
	require.NoError(t, err)
	report := brokertest.Check(result.History, rules(c))
	t.Log(report.String())
	t.Log(result.String())
	require.Empty(t, result.Troubles)
	require.True(t, report.Clean(), "rules of the history are broken")
	require.NotZero(t, report.OK)
	require.NotZero(t, report.Drained)
	require.NotZero(t, report.Receipts)
	if c.Kills+c.StoreKills+c.Freezes+c.Failovers == 0 && !c.Faults {
		require.Zero(t, result.Lost, "sessions that had to be made again")
	}
	for _, d := range result.Unready {
		require.Less(t, d, leaseTime, "a node without its store must say so")
	}
	return result, report
}

// leaseTime is how long a node without its store may call itself ready
// (decided.md 34).
const leaseTime = 3 * time.Second

// rules are what is expected of a run.
func rules(c brokertest.Config) brokertest.Rules {
	r := brokertest.Rules{
		Settle: 15 * time.Second, // a frozen link is connected, for all its client knows
		Lag:    time.Second,
		Clock:  50 * time.Millisecond,
	}
	if c.Kills > 0 && c.Backend == nil {
		r.Clock += time.Second // how far the disk store's clock goes on ahead after a crash
	}
	if c.Freezes > 0 {
		r.Settle += c.FreezeTime
	}
	if c.FeedKills {
		r.Lag += time.Second // what was missed is read, and comes when it has been
	}
	return r
}
