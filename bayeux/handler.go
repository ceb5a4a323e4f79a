package bayeux

import (
	"context"

	"github.com/gobelin-broker/gobelin/channels"
)

// Handler is what a Server asks about everything that is not protocol
// (architecture.md §2): it is to Server what http.Handler is to http.Server.
// Its methods are called by many goroutines at once.
type Handler interface {
	// Handshake admits or refuses a new session. m is the handshake message;
	// s has an id and a peer, and may be kept. An *Error refuses in its words;
	// any other error is logged and shown as 500.
	Handshake(ctx context.Context, s *Session, m *Message) (SessionHandler, error)
	// Publish takes a message that comes without a session that is live here: peer
	// says from where; m.ClientID is "", or of a session that lives elsewhere or
	// nowhere: a publish takes none over (decided.md 17). done as in
	// SessionHandler.Publish.
	Publish(ctx context.Context, peer Peer, m *Message, done func(Ack, error))
}

// SessionHandler is the application's side of one session. The Server sees to it
// that calls on one never overlap.
type SessionHandler interface {
	// Subscribe takes all of patterns or none. What it returns rides in the
	// reply's ext (nil: nothing). Deliveries may begin before it returns.
	Subscribe(ctx context.Context, m *Message, patterns []channels.Pattern) (ext []byte, err error)
	// Unsubscribe ends subscriptions; one that is not there is no error.
	Unsubscribe(ctx context.Context, m *Message, patterns []channels.Pattern) error
	// Publish takes its place in the order of the calls and returns; done is
	// called exactly once, when the outcome is known, from any goroutine,
	// perhaps before Publish returns. done does not block.
	Publish(ctx context.Context, m *Message, done func(Ack, error))
	// Connect hears of each /meta/connect before it is held; an *Error ends the
	// connect (and, with advice, tells the client what to do).
	Connect(ctx context.Context, m *Message) error
	// Close is called once, last, when no Puller is being pulled any more: the
	// session is gone from here. reason is one of the Reason constants; after
	// ReasonMoved and ReasonShutdown the client may go on elsewhere, and
	// Session.Left tells what it may not have had.
	Close(reason string)
}

// Ack is the outcome of a publish that was taken.
type Ack struct {
	// Ext rides in the reply's ext; nil: none.
	Ext []byte
	// Data answers a remote call, a publish to /service/**: one JSON value, which goes
	// before the reply, as a message of the same channel and id (bayeux-cometd.md §2.10).
	// nil: there is no answer. Elsewhere it is not looked at.
	Data []byte
}

// Peer is where a request came from.
type Peer struct {
	// Addr is the client's address without port, after trusted proxies.
	Addr string
	// Transport is the connection type in use: "websocket", "long-polling", …
	Transport string
	// Origin is the Origin header as sent.
	Origin string
}

// Puller is a source that a session reads when it has room, instead of being
// written to: a replay, or the rest of a channel that lags (decided.md 13).
// It is pulled by one goroutine at a time and what it returned is queued, in
// order, before it is pulled again.
type Puller interface {
	// Pull returns the next deliveries, at most about limit, or none with
	// io.EOF when it has ended and will not be pulled again. It may block on the
	// store, within ctx. Another error is logged and the Puller is tried again
	// a little later.
	Pull(ctx context.Context, limit int) ([]*Delivery, error)
}

// Reasons for which a session ends.
const (
	ReasonDisconnect = "disconnect" // the client said so
	ReasonExpired    = "expired"    // no connect in time
	ReasonShutdown   = "shutdown"   // the server stops
	ReasonInactive   = "inactive"   // the client said nothing but connects for too long
	ReasonMoved      = "moved"      // another server has it: Close forgets nothing
	ReasonKicked     = "kicked"     // Session.Close by the application
)
