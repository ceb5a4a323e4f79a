package bayeux

import "sync/atomic"

// Why a delivery was dropped.
const (
	dropQueue  = iota // the queue was full and the channel keeps nothing
	dropReplay        // too many replays were waiting
	dropReasons
)

var dropNames = [dropReasons]string{"queue_full", "replays_full"}

// Why something of a peer's was refused.
const (
	refusePath      = iota // 404
	refuseMethod           // 405
	refuseType             // 415
	refuseLarge            // 413, 1009
	refuseInflated         // 1009
	refuseMalformed        // 400
	refuseUTF8             // 400, 1007
	refuseBatch            // 413
	refuseOrigin           // 403
	refuseCallback         // 400
	refuseUnknown          // 401
	refuseRate             // a handshake beyond the address's rate
	refuseSessions         // a handshake beyond the address's sessions
	refuseStopping         // 503
	refuseMessage          // any other refusal of the protocol's own
	refuseHandler          // by the application
	refuseSocket           // too many sessions on one socket
	refuseBusy             // too many handshakes and resumes at once
	refuseQueues           // a handshake while the queues take too much memory
	refuseReasons
)

var refuseNames = [refuseReasons]string{
	"path", "method", "content_type", "too_large", "inflated", "malformed", "utf8", "batch", "origin", "callback",
	"unknown_client", "handshake_rate", "sessions_per_address", "stopping", "message", "handler", "sessions_per_socket",
	"handshakes_at_once", "queue_memory",
}

// Why a session ended; anything else is counted as kicked.
var endNames = [...]string{ReasonDisconnect, ReasonExpired, ReasonShutdown, ReasonMoved, ReasonInactive, ReasonKicked}

// Stats is a snapshot of a Server's counters. All but the first four rise only.
type Stats struct {
	Sessions            map[string]int64 // now, by transport
	Sockets             int64            // WebSockets now
	Held                int64            // polls and streams now
	Waiting             int64            // handshakes and resumes that wait for a place
	Parked              int64            // of the polls those that hold no request any more
	Received            int64            // messages
	ReceivedBytes       int64            // of frames and bodies
	Published           int64            // publishes taken by the application
	Delivered           int64            // deliveries written
	DeliveredBytes      int64            // of deliveries
	Deflated            int64            // deliveries compressed, once each
	Resent              int64            // deliveries put back because a link broke
	Taken               int64            // sessions that went on over another connection while their WebSocket was open
	Late                int64            // polls that came after newer ones and were answered with nothing
	Lagged              int64            // Deliver returned false
	Throttled           int64            // messages that waited for a rate
	Panics              int64            // recovered
	Stalled             int64            // connections closed because they did not read
	HandshakesCompleted int64
	Resumed             int64            // sessions taken up that lived elsewhere, or before a restart
	Forwarded           int64            // messages given to Resumer.Forward
	Carried             int64            // messages that came by Session.Carry
	Dropped             map[string]int64 // deliveries, by reason
	Refused             map[string]int64 // by reason
	Ended               map[string]int64 // sessions, by reason; "moved" went to other servers
	Waits               Waits            // from publish to write
}

type counters struct {
	sessions                                       [transportCount + 1]atomic.Int64
	sockets, polls, parked                         atomic.Int64
	received, receivedBytes                        atomic.Int64
	published, delivered, deliveredBytes           atomic.Int64
	deflated                                       atomic.Int64
	resent, late, lagged, throttled, panics, stall atomic.Int64
	taken                                          atomic.Int64
	handshakes, resumed, forwarded, carried        atomic.Int64
	dropped                                        [dropReasons]atomic.Int64
	refused                                        [refuseReasons]atomic.Int64
	ended                                          [len(endNames)]atomic.Int64
	waits                                          waits
}

// transportCount is the number of transports; one more gauge is for none.
const transportCount = 5

// transport returns the gauge of a transport's sessions.
func (c *counters) transport(name string) *atomic.Int64 {
	for i, t := range allTransports {
		if t == name {
			return &c.sessions[i]
		}
	}
	return &c.sessions[transportCount]
}

func (c *counters) refuse(reason int) { c.refused[reason].Add(1) }

func (c *counters) end(reason string) {
	at := len(endNames) - 1
	for i, n := range endNames {
		if n == reason {
			at = i
		}
	}
	c.ended[at].Add(1)
}

// Stats returns the counters as they are now.
func (v *Server) Stats() Stats {
	c := &v.stats
	s := Stats{
		Sessions:            make(map[string]int64, transportCount),
		Sockets:             c.sockets.Load(),
		Held:                c.polls.Load(),
		Waiting:             v.admission.waiting(),
		Parked:              c.parked.Load(),
		Received:            c.received.Load(),
		ReceivedBytes:       c.receivedBytes.Load(),
		Published:           c.published.Load(),
		Delivered:           c.delivered.Load(),
		DeliveredBytes:      c.deliveredBytes.Load(),
		Deflated:            c.deflated.Load(),
		Resent:              c.resent.Load(),
		Taken:               c.taken.Load(),
		Late:                c.late.Load(),
		Lagged:              c.lagged.Load(),
		Throttled:           c.throttled.Load(),
		Panics:              c.panics.Load(),
		Stalled:             c.stall.Load(),
		HandshakesCompleted: c.handshakes.Load(),
		Resumed:             c.resumed.Load(),
		Forwarded:           c.forwarded.Load(),
		Carried:             c.carried.Load(),
		Dropped:             make(map[string]int64, dropReasons),
		Refused:             make(map[string]int64, refuseReasons),
		Ended:               make(map[string]int64, len(endNames)),
		Waits:               c.waits.load(),
	}
	for i, t := range allTransports {
		s.Sessions[t] = c.sessions[i].Load()
	}
	for i, n := range dropNames {
		s.Dropped[n] = c.dropped[i].Load()
	}
	for i, n := range refuseNames {
		s.Refused[n] = c.refused[i].Load()
	}
	for i, n := range endNames {
		s.Ended[n] = c.ended[i].Load()
	}
	return s
}
