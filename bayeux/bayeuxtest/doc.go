// Package bayeuxtest runs conversations, kept as text, between Bayeux clients and an
// http.Handler, over a network in memory and in the time of a testing/synctest
// bubble.
//
//	synctest.Test(t, func(t *testing.T) {
//		c := bayeuxtest.New(t, handler)
//		c.Run(`
//			open alice websocket
//			alice> {"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}
//			alice< {"successful":true,"clientId":"$=alice"}
//			alice> {"channel":"/meta/connect","clientId":"${alice}","connectionType":"websocket","id":"1"}
//			quiet
//			wait 45s
//			alice< [{"id":"1","successful":true,"advice":{"interval":0}}]
//		`)
//	})
//
// A connection is a name and what it speaks; it is no session, which a script keeps
// in a variable. One statement a line; empty lines and those beginning with # are
// skipped.
//
//	open NAME [TRANSPORT]   a new connection: websocket, long-polling (the default, or
//	                        what Default says), cross-origin-long-polling or
//	                        callback-polling
//	open NAME eventsource CLIENTID
//	NAME> JSON              sends an object or an array: one frame, or one request,
//	                        whose answer is not waited for
//	NAME>> TEXT             sends any text as it is, after Go's unquoting if it is quoted
//	NAME< {…}               the next message that NAME got
//	NAME< […]               the next whole frame or body, message by message
//	NAME< status 400        the next answer that was not 200
//	NAME< closed 1009       the close of the socket (0: without a close frame) or stream
//	NAME< *                 whatever NAME has got
//	quiet                   nobody has got anything more
//	wait 45s                time passes
//	break NAME              NAME's connections are cut; both sides see it
//	freeze NAME             nothing comes through any more, and no side sees it
//	mute NAME               NAME's socket answers no pings (before its open)
//	deaf NAME               NAME reads no more from its socket
//	VERB …                  what Do registered
//
// An object in an expectation matches a message that has at least its members. The
// texts "$any", "$absent", "$number", "$string", "$time:500..5000" (a number within)
// and "$=name" (kept as ${name}) stand for values. Nothing may be left unheard when
// Run ends.
//
// The network takes no time, so "the next" means now: before each statement all
// goroutines of the bubble have come to rest. What is to come later is preceded by a
// wait, and is exact to the nanosecond.
//
// # Goroutines
//
// Each connection has readers, and the server its own; all end with the test, before
// its bubble does. A script runs on the test's goroutine.
package bayeuxtest
