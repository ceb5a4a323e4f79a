package brokertest_test

import (
	"testing"
	"time"

	"github.com/gobelin-broker/gobelin/broker/brokertest"
	"github.com/stretchr/testify/require"
)

// TestRoundRobin: polling clients whose every request reaches another of three nodes
// get everything once and in order, live, by catch-up and by pattern. Nothing breaks
// here, so nothing may come again.
func TestRoundRobin(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	result, report := torture(t, brokertest.Config{
		Length: 8 * time.Second, Nodes: 3, Backend: onRedis(t, 3, 0), Patience: 40 * time.Second,
		Channels: 3, Publishers: 6, Rate: 60, Joiners: 30, Polling: true, RetryPublish: true, Durable: true,
	})
	require.Zero(t, report.Repeats, "came twice")
	require.Zero(t, report.Unknown)
	require.Zero(t, report.Refused)
	require.Zero(t, report.Breaks, "links broke, though nobody broke them")
	require.Zero(t, result.Lost)
}

// TestRollingRestart: all nodes are stopped in order and started again, one by one,
// under load. No session has to be made again, and none waits for long.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	result, _ := torture(t, brokertest.Config{
		Length: 10 * time.Second, Nodes: 3, Backend: onRedis(t, 3, 0), Rolls: 1,
		Channels: 3, Publishers: 6, Rate: 60, Joiners: 24, RetryPublish: true, Durable: true,
	})
	require.Zero(t, result.Lost, "sessions that had to be made again")
	require.Less(t, result.Gap, 10*time.Second)
}

// TestFailover: the store fails over to a replica that had been cut off. What it
// lost may be missing, and is counted; all else holds.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	result, report := torture(t, brokertest.Config{
		Length: 10 * time.Second, Nodes: 3, Backend: onSentinel(t), Failovers: 1,
		Channels: 3, Publishers: 6, Rate: 60, Joiners: 24, RetryPublish: true, Durable: true,
	})
	require.NotZero(t, report.Lost, "the replica was not cut off")
	require.NotZero(t, report.LostReceipts, "what was lost had been live")
	require.NotZero(t, result.Forks, "a fork that nobody noticed")
}

// TestMovingSlots: parts of a Redis Cluster move from master to master under load.
func TestMovingSlots(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	torture(t, brokertest.Config{
		Length: 8 * time.Second, Nodes: 3, Backend: onCluster(t), Moves: 3,
		Channels: 3, Publishers: 6, Rate: 60, Joiners: 24, RetryPublish: true, Durable: true,
	})
}
