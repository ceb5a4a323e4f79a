package bayeux

import (
	"testing"
)

// The answer to a remote call is a message of the same channel and id with data, before
// its reply, for the caller alone (bayeux-cometd.md §2.10).
func TestRemoteCalls(t *testing.T) {
	both(t, Options{}, `
		open a
		`+hello("a")+`
		open b
		`+hello("b")+`
		b> {"channel":"/meta/subscribe","clientId":"${b}","subscription":"/**"}
		b< {"successful":true}
		a> {"channel":"/service/echo","clientId":"${a}","id":7,"data":{"n":12345678901234567890},"ext":{"ack":{"x":1}}}
		a< [{"channel":"/service/echo","id":7,"data":{"n":12345678901234567890},"successful":true,"clientId":"$absent"},{"channel":"/service/echo","id":7,"successful":true,"data":"$absent","ext":{"x":1}}]
		a> {"channel":"/service/echo","clientId":"${a}","data":null}
		a< [{"channel":"/service/echo","id":"$absent","data":null},{"channel":"/service/echo","successful":true}]
		a> {"channel":"/service/refuse","clientId":"${a}","id":"9","data":1}
		a< [{"channel":"/service/refuse","id":"9","successful":false,"error":"404:/service/refuse:No such thing"}]
		a> {"channel":"/service/refuse","clientId":"${a}","id":"9"}
		a< {"error":"402:data:Missing required parameter"}
		a> [{"channel":"/service/echo","clientId":"${a}","id":"1","data":1},{"channel":"/service/echo","clientId":"${a}","id":"2","data":2}]
		a< {"id":"1","data":1}
		a< {"id":"1","successful":true}
		a< {"id":"2","data":2}
		a< {"id":"2","successful":true}
		a> {"channel":"/service/echo","clientId":"nobody","data":1}
		a< {"error":"401:nobody:Unknown client"}
		quiet
	`, nil)
}

// One batch cannot ask for more than a few large answers. (What a socket has written is
// not waiting any more.)
func TestRemoteCallsBounded(t *testing.T) {
	const call = `{"channel":"/service/much","clientId":"${a}","data":1}`
	in(t, Options{}, func(t *testing.T, w *world) {
		w.Run(`
		open a
		` + hello("a") + `
		a> [` + call + `,` + call + `,` + call + `,{"channel":"/service/echo","clientId":"${a}","data":1}]
		a< {"channel":"/service/much","data":"$string"}
		a< {"successful":true}
		a< {"channel":"/service/much","data":"$string"}
		a< {"successful":true}
		a< {"error":"429:/service/much:Too much is asked at once"}
		a< {"error":"429:/service/echo:Too much is asked at once"}
		a> {"channel":"/service/echo","clientId":"${a}","data":1}
		a< {"data":1}
		a< {"successful":true}
		quiet
	`)
	})
}

// What the application offers rides in the reply of every handshake, unasked, beside
// what the protocol grants (bayeux-cometd.md §3).
func TestHandshakeExt(t *testing.T) {
	both(t, Options{HandshakeExt: []byte(`{"replay":true,"payload.format":true}`)}, `
		open a
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"]}
		a< {"successful":true,"ext":{"replay":true,"payload.format":true,"ack":"$absent"}}
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"],"ext":{"ack":true,"replay":true}}
		a< {"successful":true,"ext":{"replay":true,"payload.format":true,"ack":true}}
		a> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["none"]}
		a< {"successful":false,"ext":"$absent"}
		quiet
	`, nil)
}
