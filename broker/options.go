package broker

import (
	"time"

	"github.com/gobelin-broker/gobelin/catchup"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Options is what a Broker is made of. The command line checks a configuration
// and fills it; New checks only what it could not work without.
type Options struct {
	// Store keeps everything. Required; the caller closes it after Run has ended.
	Store store.Store
	// Keyring signs and verifies roots. Required.
	Keyring *channels.Keyring
	// Accounts are the tenants with their applications; without any, only open
	// channels can be used.
	Accounts []Account
	// Open lists the channels that need no root (product.md §15), none by default.
	Open []OpenPrefix
	// Lazy are patterns of open channels, and of channels as they are named below a root,
	// whose messages may wait for company on their way (bayeux-cometd.md §2.8).
	Lazy []channels.Pattern
	// Kinds overrides the built-in channel kinds (product.md §4) by name.
	Kinds map[string]KindOptions
	// Classes are classes of roots beside the built-in ones, or rows that take rights away
	// from one of those (security.md §1.4); their periods are the Keyring's.
	Classes []RootClass
	// AutoCreate makes an object on its first mention by a trusted party.
	AutoCreate bool
	// Sandbox allows short and sample secrets, and gives tokens to anybody who asks
	// (POST /v1/e/authtoken).
	Sandbox bool
	// ForwardExt names the publisher's ext keys that are passed on; "*" is all
	// but the broker's own (bayeux-faye.md §14).
	ForwardExt []string
	// RealtimeURL is the Bayeux endpoint told to REST clients, such as
	// "https://live.example/faye"; empty: made from the request's host.
	RealtimeURL string
	// Mount is the Bayeux endpoint's path, used where RealtimeURL is empty.
	Mount string
	// Accumulate bounds accumulations (product.md §6).
	Accumulate AccumulateOptions
	// TokenRules are checks on every JWT besides its signature and times.
	TokenRules TokenRules
	// PresencePublic lets viewers see who listens to an object, not only its control
	// root and broadcasters.
	PresencePublic bool
	// StatsSample is how often viewers are counted, at whole multiples of it; it must
	// divide a minute (product.md §8). Default 12 s. A shorter one costs a write of each
	// node, and a message for each object with viewers, more often.
	StatsSample time.Duration
	// StatsKeep is how long rows of viewer statistics are kept, and the messages of
	// /stats/minute and /stats/hour unless Kinds says otherwise.
	StatsKeep catchup.ViewerKeep
	// StatsPublic lets viewers hear how many they are (/stats/live), and see the chart of
	// that.
	StatsPublic bool
	// Services are the targets of remote calls that are answered, of those that Services
	// names (bayeux-cometd.md §2.10); none by default.
	Services []string
	// NoReplay: ext.replay in a subscribe says nothing (bayeux-cometd.md §3).
	NoReplay bool
	// EndOnExpiry ends a session once a token that it has rights from has ended; its
	// client handshakes again. Otherwise a running subscription outlives its token.
	EndOnExpiry bool
	// SessionLife is how long a Bayeux session lives without a connect; records
	// that resume sessions after a restart outlive it by ten minutes. Default 90 s.
	SessionLife time.Duration
	// Version is the program's, only shown.
	Version string
	// NodeName is this node's name for people, Advertise where it can be reached;
	// both only shown.
	NodeName, Advertise string
	// SessionTTL is how long the data of a conference (a session of product.md §5.2)
	// is kept after its end. Default 7 days.
	SessionTTL time.Duration
	// MaxDocument bounds a shared document, and a change of one, in bytes of compact JSON.
	// Default 102,400. What is said of a change may be twice as long, and goes to all who
	// listen: larger ones fill queues.
	MaxDocument int
	// OwnDataOnly lets clients read no user's data but their own (product.md E24);
	// else the data of any user of the application whose user_ref they know.
	OwnDataOnly bool
	// Streams are the times and bounds of streams; only accounts with a StreamToken
	// have some.
	Streams StreamOptions
	// Limits bounds what peers can make the broker hold.
	Limits Limits
	// Registerer takes the metrics; nil: none are kept.
	Registerer prometheus.Registerer
	// Logger is required.
	Logger *zap.Logger
	// Now judges tokens; nil: time.Now. Ages are measured by the store's clock.
	Now func() time.Time
}

func (o Options) sessionTTL() time.Duration {
	if o.SessionTTL > 0 {
		return o.SessionTTL
	}
	return dataKept
}

// Account is a tenant (product.md §3).
type Account struct {
	CDN         int    // number shown to analysts
	APIKey      string // of signed queries
	APISecret   Secret
	StreamToken Secret
	Apps        []Application
}

// Application is what objects belong to (product.md §3).
type Application struct {
	ID          uint32 // part of every root: never reuse a number
	Name        string // the user of HTTP Basic and the app claim
	AppKey      Secret // the server key
	TokenSecret Secret // signs the application's JWTs (HS256)
}

// TokenRules are optional exact checks of a JWT (security.md §2.3).
type TokenRules struct {
	Issuer   string // "": any
	Audience string // "": any
	// Exact: a token ends at its exp and not tokenLeeway later. It is for a sandbox,
	// where issuer and broker have one clock.
	Exact bool
}

// OpenPrefix declares channels that need no root (product.md §15).
type OpenPrefix struct {
	// Pattern covers the channels, such as /demo/** or one plain name.
	Pattern channels.Pattern
	// Publish says who may publish: "anyone", "session" or "server".
	Publish string
	// History is how long messages are kept; 0: not at all, no catch-up.
	History time.Duration
}

// KindOptions overrides a channel kind; zero fields leave the built-in value.
type KindOptions struct {
	Retention time.Duration // how long messages are kept
	Catchup   time.Duration // longest interval of a catch-up; negative: refused
	Length    int           // newest messages kept per channel
}

// Limits bounds what peers can make the broker hold (security.md §3). Zero means
// the default.
type Limits struct {
	// Message bounds the data of one message in bytes. Default 1 MiB. Larger
	// values let one publisher fill queues faster; smaller ones break Faye users.
	Message int
	// Body bounds a /v1 request body in bytes. Default 4 MiB.
	Body int
	// Batch bounds the messages of one publish request. Default 100.
	Batch int
	// Depth bounds the nesting of JSON. Default 128.
	Depth int
	// Subscriptions bounds those of one session, so that one peer cannot grow
	// the routing tree without end. Default 512.
	Subscriptions int
	// Channel bounds a channel's length in bytes, Segments its parts.
	// Defaults 255 and 8.
	Channel, Segments int
	// History is the newest messages kept per channel. Default 100,000.
	History int
	// Objects bounds the registry cache. Default 100,000.
	Objects int
	// Backlog bounds, for one topic, the bytes that wait for fan-out; beyond it
	// a kept topic is read again from the store, another drops. Default 4 MiB.
	Backlog int
	// Pages bounds the bytes of encoded pages of catch-ups that late joiners share, so
	// that each page is read once for all of them. Default 16 MiB. With less a herd reads
	// the history of large channels again and again; more is only held while one is on.
	Pages int
}

// AccumulateOptions bounds accumulations (product.md §6). Zero means the default.
type AccumulateOptions struct {
	// TTL is how long after its last entry an accumulation goes, whole. Default 24 h.
	// A longer one keeps every poll ever made; one below a show's breaks loses votes.
	TTL time.Duration
	// Page bounds the entries of one answer. Default 10,000.
	Page int
	// Max bounds the entries of one accumulation; beyond it nothing more is taken.
	// Default 1,000,000.
	Max int
}

func (o AccumulateOptions) withDefaults() AccumulateOptions {
	if o.TTL <= 0 {
		o.TTL = day
	}
	if o.Page <= 0 {
		o.Page = 10_000
	}
	if o.Max <= 0 {
		o.Max = 1_000_000
	}
	return o
}

// withDefaults returns l with every zero field set.
func (l Limits) withDefaults() Limits {
	set := func(p *int, d int) {
		if *p == 0 {
			*p = d
		}
	}
	set(&l.Message, 1<<20)
	set(&l.Body, 4<<20)
	set(&l.Batch, 100)
	set(&l.Depth, 128)
	set(&l.Subscriptions, 512)
	set(&l.Channel, 255)
	set(&l.Segments, 8)
	set(&l.History, 100_000)
	set(&l.Objects, 100_000)
	set(&l.Backlog, 4<<20)
	set(&l.Pages, 16<<20)
	return l
}

// Secret is a text that must never be printed.
type Secret = channels.Secret
