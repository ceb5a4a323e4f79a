package broker

import (
	"testing"
	"testing/synctest"
	"time"
)

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
