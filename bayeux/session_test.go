package bayeux

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// both runs a script over WebSocket and over each kind of polling.
func both(t *testing.T, o Options, script string, check func(t *testing.T, w *world)) {
	for _, transport := range []string{"websocket", "long-polling", "cross-origin-long-polling", "callback-polling"} {
		t.Run(transport, func(t *testing.T) {
			in(t, o, func(t *testing.T, w *world) {
				w.Default = transport
				w.Run(script)
				if check != nil {
					check(t, w)
				}
			})
		})
	}
}

func TestHandshakeRefusals(t *testing.T) {
	const types = `"supportedConnectionTypes":["long-polling"]`
	both(t, Options{}, `
		open a
		a> {"channel":"/meta/handshake","id":1}
		a< {"channel":"/meta/handshake","id":1,"successful":false,"error":"402:supportedConnectionTypes:Missing required parameter","clientId":"$absent","version":"1.0","supportedConnectionTypes":["long-polling","cross-origin-long-polling","callback-polling","websocket","eventsource"],"advice":{"reconnect":"handshake","interval":"$time:500..5000","timeout":45000}}
		a> {"channel":"/meta/handshake",`+types+`}
		a< {"id":"$absent","error":"402:version:Missing required parameter","advice":{"reconnect":"handshake","interval":"$time:500..5000"}}
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["iframe","flash"]}
		a< {"error":"301:iframe,flash:Connection types not supported","advice":{"reconnect":"handshake","interval":"$time:500..5000"}}
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":[]}
		a< {"error":"301::Connection types not supported"}
		# by the application: word for word, with a pause; anything else is 500
		a> {"channel":"/meta/handshake","version":"1.0",`+types+`,"ext":{"do":"refuse"}}
		a< {"successful":false,"error":"403:a b:Go away","clientId":"$absent","advice":{"reconnect":"handshake","interval":"$time:500..5000","timeout":45000}}
		a> {"channel":"/meta/handshake","version":"1.0",`+types+`,"ext":{"do":"none"}}
		a< {"successful":false,"error":"403::Go away","advice":{"reconnect":"none","interval":0,"timeout":45000}}
		a> {"channel":"/meta/handshake","version":"1.0",`+types+`,"ext":{"do":"fail"}}
		a< {"successful":false,"error":"500::Internal server error","advice":{"reconnect":"retry","interval":"$time:500..5000"}}
		# an error field is echoed and nothing carried out
		a> {"channel":"/meta/handshake","version":"1.0",`+types+`,"error":"no"}
		a< {"successful":false,"error":"no","clientId":"$absent","advice":{"interval":"$time:500..5000"}}
		# a proposed clientId is ignored
		a> {"channel":"/meta/handshake","version":"0.1","minimumVersion":"9",`+types+`,"clientId":"mine"}
		a< {"successful":true,"clientId":"$=id"}
	`, func(t *testing.T, w *world) {
		require.Len(t, w.Value("id"), 32)
		require.NotEqual(t, "mine", w.Value("id"))
		require.Equal(t, 1, w.server.Sessions())
		require.Equal(t, int64(1), w.server.Stats().HandshakesCompleted)
	})
}

func TestASessionClosedDuringItsHandshake(t *testing.T) {
	in(t, Options{Limits: Limits{SessionsPerAddr: 1}}, func(t *testing.T, w *world) {
		w.Run(`
			open a
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"do":"close"}}
			a< {"clientId":"$=gone"}
			a> {"channel":"/meta/connect","clientId":"${gone}","connectionType":"long-polling"}
			a< {"error":"401:${gone}:Unknown client"}
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"do":"close and fail"}}
			a< {"error":"500::Internal server error"}
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"do":"panic"}}
			a< closed 0
			a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"do":"fail"}}
			a< {"error":"500::Internal server error"}
		` + hello("a")) // the one place of the address is free again
		require.Equal(t, []string{ReasonKicked}, w.reasons())
		require.Equal(t, 1, w.server.Sessions())
		require.Equal(t, int64(1), w.server.Stats().Panics)
		require.Equal(t, int64(1), w.server.Stats().Sessions["long-polling"])
	})
}

func TestReplies(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+`
		a> {"channel":"/meta/connect","clientId":"nobody","connectionType":"x","id":"1"}
		a< {"error":"301:x:Connection types not supported","id":"1","clientId":"$absent","advice":{"reconnect":"handshake","interval":"$time:500..5000","timeout":45000}}
		a> {"channel":"/meta/connect","clientId":"nobody"}
		a< {"error":"402:connectionType:Missing required parameter"}
		a> {"channel":"/meta/connect","connectionType":"long-polling"}
		a< {"error":"402:clientId:Missing required parameter"}
		a> {"channel":"/meta/connect","clientId":"nobody","connectionType":"long-polling"}
		a< {"error":"401:nobody:Unknown client","advice":{"reconnect":"handshake","interval":"$time:500..5000"}}
		a> {"channel":"/meta/connect","clientId":"<b>","connectionType":"long-polling"}
		a< {"error":"401::Unknown client"}
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"long-polling","ext":{"do":"refuse"}}
		a< {"error":"403::Token expired","advice":{"reconnect":"handshake","interval":7,"timeout":45000}}
		# subscribe
		a> {"channel":"/meta/subscribe","clientId":"${a}","id":2}
		a< {"error":"402:subscription:Missing required parameter","id":2,"clientId":"${a}","subscription":[],"advice":"$absent"}
		a> {"channel":"/meta/subscribe","subscription":"/x"}
		a< {"error":"402:clientId:Missing required parameter","subscription":"/x"}
		a> {"channel":"/meta/subscribe","clientId":"nobody","subscription":"/x"}
		a< {"error":"401:nobody:Unknown client","clientId":"nobody"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":["/ok","/a b","/also ok"]}
		a< {"error":"405:/a b:Invalid channel","subscription":["/ok","/a b","/also ok"]}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/a<b"}
		a< {"error":"405::Invalid channel"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/meta/**"}
		a< {"error":"403:/meta/**:Forbidden channel"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":["/x","/service/*"]}
		a< {"error":"403:/service/*:Forbidden channel"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/forbidden"}
		a< {"error":"403:/forbidden:Forbidden channel"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/fail"}
		a< {"error":"500::Internal server error"}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":["/x","/y"],"ext":{"echo":12345678901234567890}}
		a< {"successful":true,"subscription":["/x","/y"],"ext":{"echo":12345678901234567890}}
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":[]}
		a< {"successful":true,"subscription":[]}
		a> {"channel":"/meta/unsubscribe","clientId":"${a}","subscription":["/x","/never"]}
		a< {"successful":true,"subscription":["/x","/never"]}
		# publish
		a> {"channel":"/p","clientId":"${a}","id":"3"}
		a< {"error":"402:data:Missing required parameter","id":"3","channel":"/p"}
		a> {"channel":"/p/*","clientId":"${a}","data":1}
		a< {"error":"405:/p/*:Invalid channel"}
		a> {"clientId":"${a}","data":1}
		a< {"error":"405::Invalid channel","channel":"$absent"}
		a> {"channel":"/meta/subscribe/x","clientId":"${a}","data":1,"subscription":"/z"}
		a< {"error":"403:/meta/subscribe/x:Forbidden channel"}
		a> {"channel":"/metadata","clientId":"${a}","data":null}
		a< {"successful":true,"channel":"/metadata"}
		a> {"channel":"/service/x","clientId":"${a}","data":{}}
		a< {"successful":true,"channel":"/service/x"}
		a> {"channel":"/p","data":1}
		a< {"error":"402:clientId:Missing required parameter"}
		a> {"channel":"/p","clientId":"nobody","data":1}
		a< {"error":"401:nobody:Unknown client"}
		a> {"channel":"/open","data":1}
		a< {"successful":true,"clientId":"$absent"}
		a> {"channel":"/fail","clientId":"${a}","data":1}
		a< {"error":"500::Internal server error"}
		a> {"channel":"/p","clientId":"${a}","data":1,"ext":{"ack":{"at":7}},"id":"4"}
		a< {"successful":true,"id":"4","clientId":"${a}","ext":{"at":7}}
		a> {"channel":"/p","clientId":"${a}","data":1,"id":0}
		a< {"successful":true,"id":"$absent"}
		a> {}
		a< {"error":"402:data:Missing required parameter"}
		# one odd message spoils no other
		a> [7,{"channel":["/p"],"data":1},null,{"channel":"/p","clientId":"${a}","data":1}]
		a< {"successful":false,"error":"400::Malformed message"}
		a< {"error":"405::Invalid channel"}
		a< {"successful":true}
		a> []
		a< []
		a> {"channel":"/meta/disconnect"}
		a< {"error":"402:clientId:Missing required parameter"}
		a> {"channel":"/meta/disconnect","clientId":"${a}"}
		a< {"channel":"/meta/disconnect","successful":true,"clientId":"${a}"}
		a> {"channel":"/meta/disconnect","clientId":"${a}"}
		a< {"error":"401:${a}:Unknown client"}
	`, func(t *testing.T, w *world) {
		require.Equal(t, []string{ReasonDisconnect}, w.reasons())
		require.Equal(t, int64(5), w.server.Stats().Published)
	})
}

func TestExpiryIsExact(t *testing.T) {
	both(t, Options{MaxInterval: 10 * time.Second}, `
		open a
		`+hello("a")+`
		wait 20s
		`+connects("a", "1")+`
		quiet
		wait 45s
		a< [{"id":"1","successful":true,"advice":{"reconnect":"retry","interval":0,"timeout":45000}}]
		# neither publishes nor subscriptions prolong it
		wait 9s
		`+listen("a", "/x")+`
		wait 999999999ns
		a> {"channel":"/p","clientId":"${a}","data":1}
		a< {"successful":true}
		wait 1ns
		a> {"channel":"/p","clientId":"${a}","data":1}
		a< {"error":"401:${a}:Unknown client"}
	`, func(t *testing.T, w *world) {
		require.Equal(t, []string{ReasonExpired}, w.reasons())
		require.Equal(t, int64(1), w.server.Stats().Ended[ReasonExpired])
	})
}

func TestExpiryWithoutAnyConnect(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run("open a long-polling\n" + hello("a") + "wait 89999ms")
		require.Equal(t, 1, w.server.Sessions())
		w.Run("wait 1ms")
		require.Zero(t, w.server.Sessions())
	})
}

func TestASupersededConnectIsAnswered(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+connects("a", "1")+`
		wait 5s
		`+connects("a", "2")+`
		a< [{"id":"1","successful":true,"advice":{"reconnect":"retry","interval":0,"timeout":45000}}]
		quiet
		wait 44999ms
		quiet
		wait 1ms
		a< [{"id":"2","successful":true}]
	`, nil)
}

func TestAdviceTimeoutOfAConnect(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+`
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"1","advice":{"timeout":0}}
		a< {"id":"1","successful":true}
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"2","advice":{"timeout":3000}}
		wait 2999ms
		quiet
		wait 1ms
		a< {"id":"2","successful":true}
		# never longer than the server's own
		a> {"channel":"/meta/connect","clientId":"${a}","connectionType":"websocket","id":"3","advice":{"timeout":1e300}}
		wait 44999ms
		quiet
		wait 1ms
		a< {"id":"3","successful":true}
	`, nil)
}

func TestDisconnectAnswersAHeldConnect(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+connects("a", "1")+`
		open b
		b> {"channel":"/meta/disconnect","clientId":"${a}","id":"d"}
		b< [{"channel":"/meta/disconnect","successful":true,"id":"d"}]
		a< [{"channel":"/meta/connect","id":"1","successful":true,"advice":{"reconnect":"none","interval":0,"timeout":45000}}]
	`, func(t *testing.T, w *world) {
		require.Zero(t, w.server.Sessions())
	})
}

func TestAKickedSession(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+connects("a", "1")+`
		kick ${a}
		a< [{"id":"1","successful":true,"advice":{"reconnect":"handshake","interval":"$time:500..5000","timeout":45000}}]
		`+connects("a", "2")+`
		a< {"error":"401:${a}:Unknown client"}
	`, func(t *testing.T, w *world) { require.Equal(t, []string{ReasonKicked}, w.reasons()) })
}

// Closed inside a call of its handler, Close comes after the call.
func TestKickedInsideACall(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+`
		a> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/kick"}
		a< {"successful":true}
	`, func(t *testing.T, w *world) { require.Equal(t, []string{ReasonKicked}, w.reasons()) })
}

func TestPublishRepliesComeInOrderOfCompletion(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			` + hello("a") + `
			a> {"channel":"/late","clientId":"${a}","data":1,"id":"1"}
			a> {"channel":"/late","clientId":"${a}","data":1,"id":"2"}
			a> {"channel":"/p","clientId":"${a}","data":1,"id":"3"}
			a< [{"id":"3","successful":true}]
			late last
			a< [{"id":"2","successful":true}]
			late first
			a< [{"id":"1","successful":true}]
			open b long-polling
			b> [{"channel":"/late","clientId":"${a}","data":1,"id":"4"},{"channel":"/late","clientId":"${a}","data":1,"id":"5"}]
			quiet
			late last
			quiet
			late first
			b< [{"id":"5"},{"id":"4"}]
		`)
	})
}

func TestPanicsAreRecoveredAndCounted(t *testing.T) {
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
			open a websocket
			` + hello("a") + `
			a> {"channel":"/panic","clientId":"${a}","data":1}
			a< closed 0
			open b long-polling
			b> {"channel":"/meta/subscribe","clientId":"${a}","subscription":"/panic"}
			b< closed 0
			# the session goes on
			b> {"channel":"/p","clientId":"${a}","data":1}
			b< {"successful":true}
		`)
		require.Equal(t, int64(2), w.server.Stats().Panics)
	})
}
