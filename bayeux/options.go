package bayeux

import (
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// Options configures a Server. The zero value of a field is its default.
type Options struct {
	// Mount is the path served; what lies below it is the same endpoint.
	// Default "/faye".
	Mount string
	// Timeout is how long a connect is held. Default 45 s. Proxies that cut idle
	// requests earlier (many at 60 s) turn every poll into an error; a short one
	// costs a request per client each time.
	Timeout time.Duration
	// Interval is what clients are told to wait between connects. Default 0:
	// anything above delays long-polling clients by as much.
	Interval time.Duration
	// MaxInterval is how much longer than Timeout a session lives after its last
	// connect arrived. Default: as Timeout. Too short, and a client that was
	// without network for a moment begins anew; too long, and the queues of
	// clients that are gone hold memory.
	MaxInterval time.Duration
	// Ping is after how much silence a WebSocket is pinged. Default 25 s; the
	// pong must come within PongWait (default 8 s). Mobile clients pay for short
	// ones with their battery; above a minute proxies cut the connection first.
	Ping     time.Duration
	PongWait time.Duration
	// AckPing is how often at most a ping goes out to learn whether deliveries
	// have arrived (decided.md 4). Default 5 s. What was written since the last
	// pong is sent again when the connection breaks.
	AckPing time.Duration
	// LazyTimeout is how long a lazy delivery may wait for company. Default 5 s.
	LazyTimeout time.Duration
	// Activity ends a session whose client has said nothing but connects for so long.
	// Default 0: none is ended for that.
	Activity time.Duration
	// Transports are those offered and accepted. Default: websocket,
	// long-polling, cross-origin-long-polling, callback-polling, eventsource.
	Transports []string
	// Origins are the web origins that may use the broker, as "https://host".
	// Default empty: every http and https origin, which is safe only because no
	// cookie or other ambient right exists (security.md §4, 8).
	Origins []string
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	// Default none: behind a proxy all clients then share one address, and one
	// bucket of the limits by address.
	TrustedProxies []netip.Prefix
	// Script is the browser client, served as client.js, faye.js, faye-browser.js
	// and faye-browser-min.js below the mount, the latter three also at the root,
	// and as <mount>.js. Scripts are further files by name, below the mount.
	Script  []byte
	Scripts map[string][]byte
	// HandshakeExt is what every handshake that succeeds is answered with in its ext, a
	// JSON object with at least one member; nil: nothing.
	HandshakeExt []byte
	// Limits bounds what a peer can push on.
	Limits Limits
	// Compression lets WebSockets be compressed (permessage-deflate, RFC 7692), without
	// context from one message to the next: deliveries of 200 bytes and more that so get
	// smaller, once for all connections. It saves the network at the cost of CPU, and of up
	// to as much memory again for what is queued and remembered. Default: off.
	Compression bool
	// NoAck refuses the ack extension: nobody is granted it who asks at a handshake.
	NoAck bool
	// Access hears of each session that has ended: from where it came, for how long, what
	// was delivered to it and why it ended. Default: nobody.
	Access *zap.Logger
	// Logger hears of what the operator should know. Default: nobody.
	Logger *zap.Logger
}

// Limits are the numbers of security.md §3 about connections, messages and
// queues. Zero is the default; for the rates and SessionsPerAddr zero is "off".
type Limits struct {
	// Message bounds data of one message, in bytes. Default 1 MiB. A frame may
	// be 64 KiB longer.
	Message int
	// Body bounds an HTTP body, in bytes. Default 4 MiB.
	Body int
	// Batch bounds the messages of a frame or body. Default 100.
	Batch int
	// Depth bounds the nesting of JSON, envelope included. Default 128. It bounds
	// the stack a hostile message can use.
	Depth int
	// Channel and Segments bound a channel's name. Default 255 bytes, 8.
	Channel  int
	Segments int
	// SubscriptionList bounds the names in one subscribe. Default 100.
	SubscriptionList int
	// Queue and QueueMessages bound what waits for one session. Default 4 MiB,
	// 1,024. Queue must be at least twice Message. They bound memory per session;
	// small ones make clients lag at every burst.
	Queue         int
	QueueMessages int
	// Response bounds the deliveries of one answer to a poll, in bytes; one goes in any
	// case, and the rest with the next. Default 1 MiB: some clients read no more at once.
	Response int
	// Stall is how long a connection may accept nothing. Default 30 s; a write
	// has its bytes at 32 KiB/s on top.
	Stall time.Duration
	// SessionsPerAddr bounds the live sessions of one address. 0: off.
	SessionsPerAddr int
	// HandshakesPerAddr is how many handshakes an address may make each second,
	// HandshakeBurst how many at once. 0: off. Beyond it they are refused.
	HandshakesPerAddr float64
	HandshakeBurst    int
	// Handshakes is how many sessions are made or taken up at once, over all addresses,
	// HandshakesWaiting how many more wait for that, and as many who resume; beyond it
	// they are refused. Defaults 256 and 10,000. A storm of clients takes the longer the
	// smaller the first is, and delays all else the more the larger.
	Handshakes        int
	HandshakesWaiting int
	// QueueMemory bounds what waits for all sessions together, in bytes: above it
	// handshakes are refused. 0: off.
	QueueMemory int64
	// RequestsPerSession bounds the messages of a session each second (of an
	// address, where they name no session), PublishPerSession the publishes among
	// them; the bursts say how many at once. 0: off. Beyond it the connection is
	// read slower.
	RequestsPerSession float64
	RequestBurst       int
	PublishPerSession  float64
	PublishBurst       int
}

// Fixed numbers, each with what it is against.
const (
	// frameSlack is what a frame may hold beyond one full message.
	frameSlack = 64 << 10
	// firstMessage closes a WebSocket that never says anything.
	firstMessage = 10 * time.Second
	// lingering is how long a connection that was said goodbye to may take to hear it.
	lingering = time.Second
	// bodyRead bounds slow bodies, plus the announced bytes at slowest.
	bodyRead = 15 * time.Second
	// slowest is the rate below which a peer counts as not reading or writing.
	slowest = 32 << 10
	// Publishes of one socket that are waiting for the store.
	inflightMessages = 256
	// pendingReplies is how many bytes of unread replies stop the reading.
	pendingReplies = 256 << 10
	// mostAnswers is how many bytes of unread replies refuse remote calls: a small batch
	// of them could ask for a hundred large answers.
	mostAnswers = 1 << 20
	// frameJoin is up to how many bytes are joined into one frame.
	frameJoin = 64 << 10
	// socketSessions bounds the sessions that one socket carries.
	socketSessions = 1024
	// pageMessages is what a replay is asked for at a time.
	pageMessages = 1000
	// activeReplays bounds the replays of a session that are read in turn.
	activeReplays = 2
	// waitingReplays bounds those that wait for their turn; it is above the
	// number of subscriptions a session can have.
	waitingReplays = 4096
	// pullsAtOnce bounds the pages that are read at once, over all sessions.
	pullsAtOnce = 64
	// pullAgain is how long a replay rests after an error.
	pullAgain = time.Second
	// mostResends bounds how often a poll answer is repeated to a client whose
	// connects all look alike, or all say that the answer before was lost; not to one
	// that numbers them and sends the same again.
	mostResends = 8
	// streamComment keeps proxies from cutting an EventSource stream.
	streamComment = 10 * time.Second
	// pauseLeast and pauseMost span the jittered interval of refusals, in ms.
	pauseLeast = 500
	pauseMost  = 5000
)

var allTransports = []string{"long-polling", "cross-origin-long-polling", "callback-polling", "websocket", "eventsource"}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) withDefaults() Options {
	set(&o.Mount, "/faye")
	set(&o.Timeout, 45*time.Second)
	set(&o.MaxInterval, o.Timeout)
	set(&o.Ping, 25*time.Second)
	set(&o.PongWait, 8*time.Second)
	set(&o.AckPing, 5*time.Second)
	set(&o.LazyTimeout, 5*time.Second)
	set(&o.Logger, zap.NewNop())
	if len(o.Transports) == 0 {
		o.Transports = allTransports
	}
	l := &o.Limits
	set(&l.Message, 1<<20)
	set(&l.Body, 4<<20)
	set(&l.Batch, 100)
	set(&l.Depth, 128)
	set(&l.Channel, 255)
	set(&l.Segments, 8)
	set(&l.SubscriptionList, 100)
	set(&l.Queue, 4<<20)
	set(&l.QueueMessages, 1024)
	set(&l.Response, 1<<20)
	set(&l.Stall, 30*time.Second)
	set(&l.HandshakeBurst, 2000)
	set(&l.Handshakes, 256)
	set(&l.HandshakesWaiting, 10_000)
	set(&l.RequestBurst, 1000)
	set(&l.PublishBurst, 1000)
	return o
}

// transfer is how long a write of n bytes may take.
func (l *Limits) transfer(n int) time.Duration {
	return l.Stall + time.Duration(n)*time.Second/slowest
}
