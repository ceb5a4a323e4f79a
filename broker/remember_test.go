package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// While the store is away a round says so once, and of how many sessions.
func TestRecordsThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, said := observer.New(zap.WarnLevel)
		x := newFleetWith(t, 1, func(o *Options, _ *bayeux.Options) { o.Logger = zap.New(core) })[0]
		for range 20 {
			require.True(t, x.join("").subscribe("/open/a").ok())
		}
		x.options.Store.(*sharedStore).away.Store(true)
		for _, s := range x.b.subscribers {
			s.mu.Lock()
			s.memory.dirty = true
			s.mu.Unlock()
		}
		x.b.rememberSessions(t.Context())
		lines := said.FilterMessageSnippet("records of sessions could not be written").All()
		require.Len(t, lines, 1)
		require.Equal(t, int64(20), lines[0].ContextMap()["sessions"])
		x.options.Store.(*sharedStore).away.Store(false)
	})
}

// TestWritesOfSessions says how often sessions that keep up are written down: far less
// than a store notices (decided.md 18). Time is a bubble's, so ten minutes are short.
func TestWritesOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions, rounds = 100, 14
		x := newBench(t, nil)
		x.options.Store = &sharedStore{Store: x.store}
		x.stop()
		x.run()
		all := make([]*peer, sessions)
		for i := range all {
			all[i] = x.join("")
			all[i].connectAt(x, 1)
			if !all[i].subscribe("/open/a").ok() {
				t.Fatal("subscribe")
			}
		}
		began, wrote := time.Now(), total(x.b.metrics.sessionRecords)
		for range rounds {
			for _, p := range all {
				p.connectAt(x, 1)
				p.connectAt(x, 1) // which says that the one before has arrived
			}
			time.Sleep(45 * time.Second)
			all[0].publish("/open/a", "1", "")
		}
		perSession := float64(total(x.b.metrics.sessionRecords)-wrote) / sessions / time.Since(began).Seconds()
		t.Logf("%.5f writes per session and second", perSession)
		if perSession > 1.0/250 || perSession == 0 {
			t.Fatalf("%.5f writes per session and second, of sessions that keep up", perSession)
		}
	})
}
