package main

import (
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/catchup"
)

// config is everything an operator can set. Its fields, defaults, units and
// bounds are described row by row in the table of option.go and nowhere else.
type config struct {
	Listen         string
	Mount          string
	Mounts         []string
	AdminListen    string
	AdminToken     broker.Secret
	TLSCert        string
	TLSKey         string
	ACME           acmeConfig
	Store          location
	Ack            string
	DiskMemory     string
	DiskFloor      size
	Redis          redisConfig
	Node           nodeConfig
	Bayeux         bayeuxConfig
	Origins        []string
	TrustedProxies []string
	Channels       channelsConfig
	Keys           keysConfig
	Accounts       []accountConfig
	Accumulate     accumulateConfig
	Data           dataConfig
	Streams        streamsConfig
	Stats          statsConfig
	Traces         tracesConfig
	AutoCreate     bool
	EndOnExpiry    bool
	PresencePublic bool
	TokenIssuer    string
	TokenAudience  string
	Limits         limitsConfig
	DrainTime      time.Duration
	Sandbox        bool
	LogLevel       string
	LogFormat      string
	LogAccess      bool

	// secrets is the folder of dev's keys and account where the store has none.
	secrets string
	// origins says where each key that is not a default was written.
	origins map[string]place
}

// redisConfig is how a Redis is used.
type redisConfig struct {
	Prefix         string
	PublishTimeout time.Duration
	AllowEviction  bool
	Insecure       bool
}

// acmeConfig is how certificates are had from a CA (RFC 8555).
type acmeConfig struct {
	Domains                       []string
	Cache, Email, HTTP, Directory string
}

// statsConfig is how viewers are counted.
type statsConfig struct {
	Sample time.Duration
	Public bool
	Keep   catchup.ViewerKeep
}

// tracesConfig says who is told how long requests took.
type tracesConfig struct {
	Endpoint string
	Percent  int
}

// nodeConfig names the node among those on one store.
type nodeConfig struct {
	ID        string
	Advertise string
}

// bayeuxConfig is what the Bayeux endpoint does.
type bayeuxConfig struct {
	Timeout     time.Duration
	Interval    time.Duration
	MaxInterval time.Duration
	Ping        time.Duration
	IdlePing    time.Duration
	PongWait    time.Duration
	Activity    time.Duration
	Transports  []string
	ForwardExt  []string
	Ack         bool
	Replay      bool
	Compression bool
	Services    []string
	ClientJS    string
	URL         string
}

// channelsConfig is what is open, kept and caught up.
type channelsConfig struct {
	Open       []openRule
	Lazy       []string
	LazyFor    time.Duration
	Retention  map[string]kindAge
	CatchupMax map[string]kindAge
}

// dataConfig is about shared documents (product.md §7).
type dataConfig struct {
	UserRead    string
	SessionTTL  time.Duration
	MaxDocument size
}

// openRule opens channels to clients without a root (product.md §15).
type openRule struct {
	Pattern string
	Publish string
	History time.Duration
	at      place
}

// accumulateConfig bounds accumulations (product.md §6).
type accumulateConfig struct {
	TTL  time.Duration
	Page int
	Max  int
}

// streamsConfig is about event streams (product.md §11).
type streamsConfig struct {
	Poke, Redelivery, CheckpointTTL, Retention time.Duration
	Records, Max, MaxConnections               int
}

// kindAge is a duration for one channel kind.
type kindAge struct {
	Age time.Duration
	at  place
}

// keysConfig is what roots are signed with (security.md §1.3).
type keysConfig struct {
	IdentitySecret broker.Secret
	Roots          []rootKey
	Classes        []classConfig
}

// rootKey is one key of the ring.
type rootKey struct {
	KID    int
	Secret broker.Secret
	Sign   bool
	at     place
}

// accountConfig is a tenant (product.md §3).
type accountConfig struct {
	CDN         int
	APIKey      string
	APISecret   broker.Secret
	StreamToken broker.Secret

	Apps []appConfig
	at   place
}

// appConfig is an application of a tenant.
type appConfig struct {
	ID          int
	Name        string
	AppKey      broker.Secret
	TokenSecret broker.Secret
	at          place
}

// limitsConfig bounds what peers can ask for (security.md §3).
type limitsConfig struct {
	Message, Body, Queue, Response, Backlog     size
	Pages                                       size
	Batch, Depth, Channel, Segments             int
	Subscriptions, SubscriptionList             int
	QueueMessages, History, Objects             int
	Stall                                       time.Duration
	SessionsPerIP, HandshakesPerIP              int
	HandshakeBurst, RequestsPerSession          int
	Handshakes, HandshakesWaiting               int
	QueueMemory                                 size
	PublishPerSession, Burst                    int
	RequestsPerCredential, PublishPerCredential int
	ReadPerCredential                           size
}

// at returns where the key was written.
func (c *config) at(key string) place { return c.origins[key] }

// apps returns every application of every account.
func (c *config) apps() []appConfig {
	var all []appConfig
	for _, a := range c.Accounts {
		all = append(all, a.Apps...)
	}
	return all
}
