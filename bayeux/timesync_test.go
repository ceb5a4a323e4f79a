package bayeux

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bayeux-cometd.md §2.3: the clock is told on every meta message that asks, and how long
// the message was here, so that a held connect is no slow network.
func TestTimesync(t *testing.T) {
	asks := func(l, o int64) string {
		return fmt.Sprintf(`"ext":{"timesync":{"tc":%d,"l":%d,"o":%d}}`, time.Now().UnixMilli()-1000, l, o)
	}
	for _, transport := range []string{"websocket", "long-polling"} {
		in(t, Options{}, func(t *testing.T, w *world) {
			ts := time.Now().UnixMilli()
			w.Run("open a " + transport + fmt.Sprintf(`
				a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"ext":{"ack":true,%s
				a< {"clientId":"$=a","ext":{"ack":true,"timesync":{"tc":%d,"ts":%d,"p":0,"a":-1000}}}
				# who gives no lag is not told how wrong it is
				a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/x","ext":{"timesync":{"tc":%d}}}
				a< {"ext":{"timesync":{"tc":%d,"ts":%d,"p":0,"a":"$absent"}}}
				# who is right enough is not answered, but at first
				a> {"channel":"/meta/unsubscribe","clientId":"${a}","subscription":"/x",%s}
				a< {"channel":"/meta/unsubscribe","ext":"$absent"}
				a> {"channel":"/meta/unsubscribe","clientId":"${a}","subscription":"/x",%s}
				a< {"channel":"/meta/unsubscribe","ext":{"timesync":{"a":0}}}
				# so are refusals, and a connect by when its answer goes
				a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/a b",%s}
				a< {"error":"405:/a b:Invalid channel","ext":{"timesync":{"p":0}}}
				a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"1","ext":{"ack":0,"timesync":{"tc":%d,"l":0,"o":0}}}
				wait 7s
				deliver /x 1
				wait 38s
				a< [{"id":"1","ext":{"ack":1,"timesync":{"ts":%d,"p":45000}}}]
				# no publish, and nothing that is no clock
				a> {"channel":"/x","clientId":"${a}","data":1,%s}
				a< {"channel":"/x","successful":true,"ext":"$absent"}
			`, asks(0, 0)[7:]+"}", ts-1000, ts, ts-1000, ts-1000, ts, asks(10, 1000), asks(0, 1000), asks(0, 0), ts, ts, asks(0, 0)))
			for _, strange := range []string{`{"tc":"1"}`, `{}`, `[]`, `{"tc":1e300}`, `{"tc":1,"l":"x"}`, `{"tc":1,"o":1e99}`, `{"tc":100000000000000000000000000000000000}`, `7`, `null`} {
				w.Run(`
					a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/y","ext":{"timesync":` + strange + `}}
					a< {"channel":"/meta/subscribe","successful":true,"ext":"$absent"}
				`)
			}
		})
	}
}

// bayeux-cometd.md §2.4: who tells the time is told it.
func TestTimestamp(t *testing.T) {
	both(t, Options{}, `
		open a
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"timestamp":"Sat, 21 Nov 2026 09:00:00 GMT"}
		a< {"successful":true,"clientId":"$=a","timestamp":"2000-01-01T00:00:00.00"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/x"}
		a< {"successful":true,"timestamp":"$absent"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/x","timestamp":"a","timestamp":"b"}
		a< {"error":"400:timestamp:Malformed message"}
		a> {"channel":"/x","clientId":"${a}","data":1,"timestamp":7}
		a< {"successful":true,"timestamp":"$absent"}
	`, nil)
}

// bayeux-cometd.md §1.4: the interval that a client asks for is the one it is told, up to
// half of what its session lives on.
func TestIntervalAskedFor(t *testing.T) {
	both(t, Options{MaxInterval: 20 * time.Second}, `
		open a
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"advice":{"interval":3000}}
		a< {"successful":true,"clientId":"$=a","advice":{"reconnect":"retry","interval":3000,"timeout":45000}}
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","advice":{"timeout":0,"interval":2500}}
		a< {"successful":true,"advice":{"reconnect":"retry","interval":2500,"timeout":45000}}
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","advice":{"timeout":2000,"interval":99999999}}
		wait 2s
		a< {"successful":true,"advice":{"reconnect":"retry","interval":10000,"timeout":45000}}
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","advice":{"timeout":0}}
		a< {"successful":true,"advice":{"reconnect":"retry","interval":0,"timeout":45000}}
	`, func(t *testing.T, w *world) { require.Equal(t, 1, w.server.Sessions()) })
}
