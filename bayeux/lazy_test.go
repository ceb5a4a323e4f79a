package bayeux

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bayeux-cometd.md §2.8: what is lazy waits for company, for the connect's timeout, or
// for its own.
func TestLazyDeliveries(t *testing.T) {
	for _, shake := range []func(string) string{hello, acksHello} {
		n := 0
		both(t, Options{LazyTimeout: 3 * time.Second}, "open a\n"+shake("a")+listen("a", "/lazy/x")+listen("a", "/x")+connects("a", "1")+`
			deliver /lazy/x 1
			wait 1s
			deliver /lazy/x 2
			quiet
			deliver /x 3
			a< {"data":1}
			a< {"data":2}
			a< {"data":3}
			a< *
			`+acksOf("a", "a", "2", 1, "")+`
			wait 1ms
			a< *
			# alone they go when the first has waited enough
			deliver /lazy/x 4
			wait 2s
			deliver /lazy/x 5
			wait 999ms
			quiet
			wait 1ms
			a< {"data":4}
			a< {"data":5}
			a< *
			`+acksOf("a", "a", "3", 2, "")+`
			wait 1ms
			a< *
			# the time begins anew, also for one that comes while nobody listens
			deliver /lazy/x 6
			wait 2999ms
			quiet
			wait 1ms
			a< {"data":6}
			a< *
			`+acksOf("a", "a", "4", 3, `,"advice":{"timeout":1000}`)+`
			wait 999ms
			a< *
			deliver /lazy/x 7
			wait 1ms
			a< *
			`+acksOf("a", "a", "5", 4, `,"advice":{"timeout":0}`)+`
			wait 3s
			a< *
		`, func(t *testing.T, w *world) {
			n++
			require.Zero(t, w.server.Stats().Dropped["queue_full"])
			require.GreaterOrEqual(t, w.server.Stats().Delivered, int64(7))
		})
		require.Equal(t, 4, n)
	}
}

// A poll that died with lazy deliveries gives them back, and they have waited enough; the
// bounds of the queue hold for them as for all.
func TestLazyDeliveriesAreKeptAndBounded(t *testing.T) {
	in(t, Options{Limits: Limits{QueueMessages: 3}}, func(t *testing.T, w *world) {
		w.Run("open a\nopen b\n" + hello("a") + listen("a", "/lazy/x") + connects("a", "1") + `
			wait 1s
			deliver /lazy/x 1
			deliver /lazy/x 2
			deliver /lazy/x 3
			deliver /lazy/x 4
			quiet
			freeze a
			wait 5s
			` + whose("b", "a", "1") + `
			b< [{"data":2},{"data":3},{"data":4},{"id":"1"}]
		`)
		require.Equal(t, int64(1), w.server.Stats().Dropped["queue_full"])
	})
}

// bayeux-cometd.md §2.7: connects are heartbeats and no activity.
func TestActivity(t *testing.T) {
	for _, transport := range []string{"websocket", "long-polling"} {
		in(t, Options{Activity: time.Minute, Timeout: 20 * time.Second}, func(t *testing.T, w *world) {
			w.Begin("open a " + transport + "\nopen b\n" + `
				a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
				a< {"clientId":"$=a"}
				wait 30s
				` + listen("a", "/x"))
			for range 2 {
				w.Begin(connects("a", "c") + "wait 20s\na< [{\"id\":\"c\",\"successful\":true}]")
			}
			w.Begin(connects("a", "last") + `
				wait 19999ms
				quiet
				wait 1ms
				a< {"channel":"/meta/disconnect","clientId":"${a}","successful":true,"advice":{"reconnect":"none","interval":0,"timeout":20000}}
				a< {"channel":"/meta/connect","id":"last","successful":true,"advice":{"reconnect":"none"}}
				b> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling"}
				b< {"error":"401:${a}:Unknown client"}
			`)
			require.Equal(t, []string{ReasonInactive}, w.reasons())
			require.Equal(t, int64(1), w.server.Stats().Ended[ReasonInactive])
		})
	}
}
