package main

import (
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
)

// option is one row of the table from which flags, environment names, the
// `config` verb, `init` and README's table are made.
type option struct {
	key     string // the path in the file, and the flag
	def     string // the default as it would be written
	dev     string // what `dev` takes instead; "" the same, "-" nothing
	unit    string
	doc     string
	choices []string
	low     int64 // smallest number, duration (ns) or size allowed
	high    int64 // largest; 0: no bound
	live    bool  // SIGHUP changes it all; of others see changes
	field   func(*config) any
}

// env returns the variable's name: bayeux.timeout is GOBELIN_BAYEUX_TIMEOUT.
func (o *option) env() string {
	return "GOBELIN_" + strings.ToUpper(strings.ReplaceAll(o.key, ".", "_"))
}

// defaultText returns the default of the verb.
func (o *option) defaultText(dev bool) string {
	switch {
	case !dev || o.dev == "":
		return o.def
	case o.dev == "-":
		return ""
	}
	return o.dev
}

// letsEncrypt is the CA without another word.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// changes says what of the option SIGHUP changes while a node runs; "" nothing.
func (o *option) changes() string {
	if o.live {
		return "it"
	}
	return map[string]string{
		"tls.cert": "it, not whether there is one", "tls.key": "it, not whether there is one",
		"keys.roots": "which there are and which signs", "accounts": "secrets and api_key",
	}[o.key]
}

const (
	msec = int64(time.Millisecond)
	sec  = int64(time.Second)
	day  = int64(24 * time.Hour)
)

// options is the table. The order is that of the file `init` writes.
var options = []*option{
	{key: "listen", def: "127.0.0.1:8000", unit: "host:port", doc: "Public listener: Bayeux, /v1, /api, /streams, /replay. Port 0 takes any free one; dev takes the next free one when busy.", field: func(c *config) any { return &c.Listen }},
	{key: "mount", def: "/faye", unit: "path", doc: "The Bayeux endpoint; clients add nothing to it.", field: func(c *config) any { return &c.Mount }},
	{key: "mounts", unit: "list of paths", doc: "Further Bayeux endpoints for the same sessions, such as /cometd.", field: func(c *config) any { return &c.Mounts }},
	{key: "admin.listen", def: "127.0.0.1:8001", dev: "-", unit: "host:port", doc: "Metrics and health; never give it to the public. Empty: none (dev: on the public port).", field: func(c *config) any { return &c.AdminListen }},
	{key: "admin.token", unit: "secret", doc: "Opens the console at /console/ of the admin listener, at least 32 bytes; empty: no console (dev: made at each start).", live: true, field: func(c *config) any { return &c.AdminToken }},
	{key: "tls.cert", unit: "file", doc: "Certificate chain (PEM) of the public listener; empty: plain HTTP, behind a proxy that ends TLS.", field: func(c *config) any { return &c.TLSCert }},
	{key: "tls.key", unit: "file", doc: "Private key (PEM) of tls.cert.", field: func(c *config) any { return &c.TLSKey }},
	{key: "tls.acme.domains", unit: "list", doc: "Domains to have certificates for from Let's Encrypt or another CA (ACME), instead of tls.cert; each must reach the public listener on port 443, or tls.acme.http on port 80. By this you accept the CA's terms.", field: func(c *config) any { return &c.ACME.Domains }},
	{key: "tls.acme.cache", unit: "folder", doc: "Where these certificates and their private keys are kept (mode 0700); empty: acme in the store's folder. Nodes behind one address share it.", field: func(c *config) any { return &c.ACME.Cache }},
	{key: "tls.acme.email", unit: "address", doc: "Whom the CA may write to about them.", field: func(c *config) any { return &c.ACME.Email }},
	{key: "tls.acme.http", unit: "host:port", doc: "One more listener, such as :80, by which the CA can ask too; all else there is sent to https. Empty: none.", field: func(c *config) any { return &c.ACME.HTTP }},
	{key: "tls.acme.directory", def: letsEncrypt, unit: "URL", doc: "The CA. https://acme-staging-v02.api.letsencrypt.org/directory is for trying out: it has no narrow limits, and its certificates are not trusted.", field: func(c *config) any { return &c.ACME.Directory }},
	{key: "store", def: "./data", dev: ".gobelin", unit: "folder or URL", doc: "Where everything is kept: a folder (embedded), memory: (gone at the end), or a Redis that several nodes share: redis://, rediss://, redis+sentinel://a,b,c/name, redis+cluster://a,b,c, with user:password@ before the hosts. As env:NAME or file:/path the password stays out of this file.", field: func(c *config) any { return &c.Store }},
	{key: "durability.ack", unit: "stored, fsync or replica", choices: []string{"stored", "fsync", "replica"}, doc: "What an acknowledged publish has survived: fsync (a folder always; on Redis its appendfsync must be always), stored (Redis: the primary has it), replica (Redis: a replica has it, too). Empty: fsync in a folder, else stored.", field: func(c *config) any { return &c.Ack }},
	{key: "disk.memory", def: "normal", choices: []string{"normal", "small"}, doc: "Memory the embedded store takes: small for machines under 512 MiB.", field: func(c *config) any { return &c.DiskMemory }},
	{key: "disk.floor", def: "512MiB", dev: "64MiB", unit: "size", doc: "With less free space than this no messages are taken (507), and with less than half of it no new sessions, until there is room again; at least 64MiB, or 0: no floor, and a full disk ends the process.", field: func(c *config) any { return &c.DiskFloor }},

	{key: "redis.prefix", def: "g", unit: "text", doc: "What all keys and channels on Redis begin with; two brokers with different ones can share a Redis.", field: func(c *config) any { return &c.Redis.Prefix }},
	{key: "redis.publish_timeout", def: "2s", unit: "duration", low: 100 * msec, high: 60 * sec, doc: "How long a publish waits for Redis, retries included, before it is refused (503) or its outcome unknown (504).", field: func(c *config) any { return &c.Redis.PublishTimeout }},
	{key: "redis.allow_eviction", def: "false", unit: "bool", doc: "Start although Redis may evict keys (a maxmemory-policy other than noeviction): history then goes without notice.", field: func(c *config) any { return &c.Redis.AllowEviction }},
	{key: "redis.insecure", def: "false", unit: "bool", doc: "Start although Redis is on another machine and has neither password nor TLS.", field: func(c *config) any { return &c.Redis.Insecure }},
	{key: "node.id", unit: "text", doc: "The name of this node, in logs and among the nodes on one Redis; empty: host name and port. Two that run at once must differ.", field: func(c *config) any { return &c.Node.ID }},
	{key: "node.advertise", unit: "URL", doc: "Where operators reach this node's admin listener, such as http://10.0.0.5:8001, as it is shown among the nodes; empty: not told.", field: func(c *config) any { return &c.Node.Advertise }},

	{key: "bayeux.timeout", def: "45s", unit: "duration", low: msec, high: day, doc: "How long an idle /meta/connect is held. Longer than a proxy's idle limit breaks clients; short ones cost requests.", field: func(c *config) any { return &c.Bayeux.Timeout }},
	{key: "bayeux.interval", def: "0s", unit: "duration", high: day, doc: "How long a client waits between two connects; 0: not at all.", field: func(c *config) any { return &c.Bayeux.Interval }},
	{key: "bayeux.max_interval", def: "0s", unit: "duration", high: day, doc: "How much longer than bayeux.timeout a session lives after its last connect; 0: as much again.", field: func(c *config) any { return &c.Bayeux.MaxInterval }},
	{key: "bayeux.ping", def: "5s", unit: "duration", low: msec, high: day, doc: "How often at most a WebSocket is asked whether deliveries arrived; what is not known to have arrived is sent again after a broken link.", field: func(c *config) any { return &c.Bayeux.Ping }},
	{key: "bayeux.idle_ping", def: "25s", unit: "duration", low: msec, high: day, doc: "WebSocket ping when nothing else is sent; must be shorter than the idle limit of proxies on the way.", field: func(c *config) any { return &c.Bayeux.IdlePing }},
	{key: "bayeux.pong_wait", def: "8s", unit: "duration", low: msec, high: day, doc: "A WebSocket that does not answer a ping for this long is closed.", field: func(c *config) any { return &c.Bayeux.PongWait }},
	{key: "bayeux.activity", def: "0s", unit: "duration", high: 365 * day, doc: "A session whose client says nothing but connects for this long ends; 0: never. An audience that only listens is silent, too.", field: func(c *config) any { return &c.Bayeux.Activity }},
	{key: "bayeux.transports", def: "long-polling, cross-origin-long-polling, callback-polling, websocket, eventsource", unit: "list", doc: "Connection types offered. Leave callback-polling out where all pages are of one origin.", choices: []string{"long-polling", "cross-origin-long-polling", "callback-polling", "websocket", "eventsource"}, field: func(c *config) any { return &c.Bayeux.Transports }},
	{key: "bayeux.forward_ext", def: "binary", dev: "*", unit: "list", doc: "Keys of a publisher's ext that subscribers see; * is all but our own.", field: func(c *config) any { return &c.Bayeux.ForwardExt }},
	{key: "bayeux.ack", def: "true", unit: "bool", doc: "Grant the ack extension to clients that ask for it; off, nothing is granted and deliveries may come twice after a broken link.", field: func(c *config) any { return &c.Bayeux.Ack }},
	{key: "bayeux.replay", def: "true", unit: "bool", doc: "Subscriptions by replay id (ext.replay), as Salesforce's clients make them; off, it says nothing.", field: func(c *config) any { return &c.Bayeux.Replay }},
	{key: "bayeux.compression", def: "false", unit: "bool", doc: "Compress WebSocket frames for clients that offer it (permessage-deflate, RFC 7692): deliveries of 200 bytes and more, each once for all of them. It costs CPU, up to as much memory again for what is queued or remembered, and a page that mixes secrets with what others choose lets its frames' lengths tell of them.", field: func(c *config) any { return &c.Bayeux.Compression }},
	{key: "bayeux.services", def: strings.Join(broker.Services(), ", "), unit: "list", doc: "Targets of remote calls (/service/<name>) that are answered; empty: none.", choices: broker.Services(), field: func(c *config) any { return &c.Bayeux.Services }},
	{key: "bayeux.client_js", def: "builtin", unit: "builtin or file", doc: "What <mount>/client.js serves: our small client, or a file such as faye-browser-min.js.", field: func(c *config) any { return &c.Bayeux.ClientJS }},
	{key: "bayeux.url", unit: "URL", doc: "The endpoint as clients reach it, told to REST clients, such as https://live.example.com/faye; empty: made from the request's host.", field: func(c *config) any { return &c.Bayeux.URL }},

	{key: "origins", unit: "list", doc: "Origins whose pages may connect, such as https://example.com; empty: any http or https page.", live: true, field: func(c *config) any { return &c.Origins }},
	{key: "trusted_proxies", unit: "list of CIDR", doc: "Proxies whose X-Forwarded-For is believed. A wrong entry lets peers choose their address and escape limits.", live: true, field: func(c *config) any { return &c.TrustedProxies }},

	{key: "channels.open", dev: "[{pattern: /**, publish: anyone, history: 24h}]", unit: "list of {pattern, publish, history}", doc: "Channels that need no signed root; publish is anyone, session or server; history 0 keeps nothing.", field: func(c *config) any { return &c.Channels.Open }},
	{key: "channels.lazy", unit: "list of patterns", doc: "Channels, open or as they are named below a root, whose messages wait for company instead of waking each client, such as /stats/**.", field: func(c *config) any { return &c.Channels.Lazy }},
	{key: "channels.lazy_timeout", def: "5s", unit: "duration", low: msec, high: day, doc: "How long such a message waits at most.", field: func(c *config) any { return &c.Channels.LazyFor }},
	{key: "channels.retention", unit: "map of kind to duration", doc: "How long messages of a channel kind are kept, such as {all_json: 48h}.", field: func(c *config) any { return &c.Channels.Retention }},
	{key: "channels.catchup.max", unit: "map of kind to duration", doc: "Longest catch-up interval of a channel kind, such as {all_json: 12h}.", field: func(c *config) any { return &c.Channels.CatchupMax }},

	{key: "keys.identity_secret", unit: "secret", doc: "Names objects; never changes. Without keys they are made at first start and kept in the store's folder; on Redis serve needs them here, the same on all nodes.", field: func(c *config) any { return &c.Keys.IdentitySecret }},
	{key: "keys.roots", unit: "list of {kid, secret, sign}", doc: "Keys of signed roots: kid 0 to 15, exactly one with sign: true, the others only verify (rotation).", field: func(c *config) any { return &c.Keys.Roots }},
	{key: "keys.classes", unit: "map of name to {number, level, subscribe, publish, catchup_max, period}", doc: "Classes of roots beside view, guest, control, ingest and daily, such as {partner: {number: 6, catchup_max: 1h, period: 24h}}: number 6 to 14 is the second digit of its roots, never to be given to another; level is viewer (as without), moderator or broadcaster; publish none (as without), custom or all; catchup_max 0s: no past; with a period a root works in its own and the next. A built-in class can be named to take rights away from it. Nodes on one store must have the same.", field: func(c *config) any { return &c.Keys.Classes }},
	{key: "accounts", unit: "list of {apps: [{id, name, app_key, token_secret}]}", doc: "Tenants and their applications. An application's id is part of its roots: never give it to another. An account may also have api_key and api_secret, which sign requests (Gobelin-Signature) and, with its number cdn, queries of viewer statistics (POST /stable/); and a stream_token, which opens its event streams: then it needs a cdn, a number of its own that names the log of its records.", field: func(c *config) any { return &c.Accounts }},
	{key: "tokens.issuer", unit: "text", doc: "The iss every token must carry; empty: any.", field: func(c *config) any { return &c.TokenIssuer }},
	{key: "tokens.audience", unit: "text", doc: "The aud every token must carry; empty: any.", field: func(c *config) any { return &c.TokenAudience }},
	{key: "data.user_read", def: "any", choices: []string{"any", "self"}, doc: "Whose data of scope user a client may read: any user's whose user_ref it knows, or only its own.", field: func(c *config) any { return &c.Data.UserRead }},
	{key: "data.session_ttl", def: "168h", unit: "duration", low: msec, high: 365 * day, doc: "How long the data of a session is kept after its end.", field: func(c *config) any { return &c.Data.SessionTTL }},
	{key: "data.max_document", def: "100KiB", unit: "size", low: 1 << 10, high: 1 << 20, doc: "A shared document, or a change of one, as compact JSON; beyond it a change is refused (413). At most limits.message.", field: func(c *config) any { return &c.Data.MaxDocument }},
	{key: "auth.end_on_expiry", def: "false", unit: "bool", doc: "End a session once a token that it has rights from has ended; its client handshakes again. Otherwise a running subscription outlives its token.", field: func(c *config) any { return &c.EndOnExpiry }},
	{key: "presence.public", def: "false", unit: "bool", doc: "Viewers may see who listens to an object, not only its control root and broadcasters.", field: func(c *config) any { return &c.PresencePublic }},
	{key: "objects.auto_create", def: "true", unit: "bool", doc: "An object is made when a trusted party first names it.", field: func(c *config) any { return &c.AutoCreate }},

	{key: "stats.sample", def: "12s", unit: "duration", low: msec, high: 60 * sec, doc: "How often viewers are counted, at whole multiples of it; it divides a minute. Nodes on one store must have the same.", field: func(c *config) any { return &c.Stats.Sample }},
	{key: "stats.public", def: "false", unit: "bool", doc: "Viewers may hear how many they are (/stats/live) and see an object's chart, not only its control root and broadcasters.", field: func(c *config) any { return &c.Stats.Public }},
	{key: "stats.keep.minute", def: "360h", unit: "duration", low: day, high: 366 * day, doc: "How long viewer statistics are kept minute by minute. What is gone by then is not there again with a longer time. Nodes on one store must have the same.", field: func(c *config) any { return &c.Stats.Keep.Minutes }},
	{key: "stats.keep.hour", def: "1080h", unit: "duration", low: day, high: 3660 * day, doc: "The same of hours, at least as long; days are kept for ever.", field: func(c *config) any { return &c.Stats.Keep.Hours }},

	{key: "accumulate.ttl", def: "24h", unit: "duration", low: msec, high: 365 * day, doc: "How long after its last entry an accumulation goes, all of it at once.", field: func(c *config) any { return &c.Accumulate.TTL }},
	{key: "accumulate.page", def: "10000", unit: "entries", low: 1, high: 1 << 20, doc: "Entries in one answer, which is 8 MiB at most in any case; exports have no pages.", field: func(c *config) any { return &c.Accumulate.Page }},
	{key: "accumulate.max", def: "1000000", unit: "entries", low: 1, high: 1 << 31, doc: "Entries of one accumulation. Beyond it nothing is dropped and nothing more is taken (507).", field: func(c *config) any { return &c.Accumulate.Max }},

	{key: "streams.poke", def: "5s", unit: "duration", low: msec, high: 60 * sec, doc: "How often a connection to a stream is told that it lives.", field: func(c *config) any { return &c.Streams.Poke }},
	{key: "streams.redelivery", def: "10s", unit: "duration", low: msec, high: 60 * 60 * sec, doc: "An event counts as delivered when a write this much later has succeeded; until then it comes again after a broken link. A stream has at most a million events out at a time.", field: func(c *config) any { return &c.Streams.Redelivery }},
	{key: "streams.checkpoint_ttl", def: "168h", unit: "duration", low: msec, high: 365 * day, doc: "How long a stream that nobody reads keeps its place; then it begins with the oldest record again.", field: func(c *config) any { return &c.Streams.CheckpointTTL }},
	{key: "streams.retention", def: "720h", unit: "duration", low: msec, high: 10 * 365 * day, doc: "How long records are kept for the streams of an account.", field: func(c *config) any { return &c.Streams.Retention }},
	{key: "streams.records", def: "1000000", unit: "records", low: 1, high: 1 << 31, doc: "Newest records kept for the streams of an account.", field: func(c *config) any { return &c.Streams.Records }},
	{key: "streams.max", def: "5", unit: "streams", low: 1, high: 100, doc: "Streams of one account.", field: func(c *config) any { return &c.Streams.Max }},
	{key: "streams.max_connections", def: "3", unit: "connections", low: 1, high: 100, doc: "Connections that share one stream.", field: func(c *config) any { return &c.Streams.MaxConnections }},

	{key: "limits.message", def: "1MiB", unit: "size", low: 1 << 10, high: 15 << 20, doc: "The data of one message. A frame may be this plus 64 KiB.", live: true, field: func(c *config) any { return &c.Limits.Message }},
	{key: "limits.body", def: "4MiB", unit: "size", low: 1 << 10, high: 256 << 20, doc: "One HTTP body or batch.", live: true, field: func(c *config) any { return &c.Limits.Body }},
	{key: "limits.batch", def: "100", unit: "messages", low: 1, high: 10000, doc: "Messages in one batch.", live: true, field: func(c *config) any { return &c.Limits.Batch }},
	{key: "limits.depth", def: "128", unit: "levels", low: 4, high: 10000, doc: "Nesting of JSON.", live: true, field: func(c *config) any { return &c.Limits.Depth }},
	{key: "limits.channel", def: "255", unit: "bytes", low: 64, high: 4096, doc: "Length of a channel's name.", live: true, field: func(c *config) any { return &c.Limits.Channel }},
	{key: "limits.segments", def: "8", unit: "segments", low: 4, high: 64, doc: "Parts of a channel's name.", live: true, field: func(c *config) any { return &c.Limits.Segments }},
	{key: "limits.subscriptions", def: "512", unit: "subscriptions", low: 1, high: 1 << 20, doc: "Subscriptions of one session.", live: true, field: func(c *config) any { return &c.Limits.Subscriptions }},
	{key: "limits.subscription_list", def: "100", unit: "channels", low: 1, high: 10000, doc: "Channels in one subscribe message.", live: true, field: func(c *config) any { return &c.Limits.SubscriptionList }},
	{key: "limits.queue", def: "4MiB", unit: "size", low: 1 << 10, doc: "What waits for one session, at least twice limits.message; beyond it the session lags behind and is replayed.", live: true, field: func(c *config) any { return &c.Limits.Queue }},
	{key: "limits.response", def: "1MiB", unit: "size", low: 1 << 10, high: 256 << 20, doc: "Messages in one answer to a poll; one goes in any case, the rest with the next. Some clients read no more at once.", live: true, field: func(c *config) any { return &c.Limits.Response }},
	{key: "limits.queue_messages", def: "1024", unit: "messages", low: 1, high: 1 << 20, doc: "Messages that wait for one session.", live: true, field: func(c *config) any { return &c.Limits.QueueMessages }},
	{key: "limits.queue_memory", def: "0", unit: "size", doc: "What waits for all sessions together; above it handshakes are refused (503). 0: a quarter of the memory that the container, or the machine, has.", field: func(c *config) any { return &c.Limits.QueueMemory }},
	{key: "limits.stall", def: "30s", unit: "duration", low: msec, high: day, doc: "A connection that reads nothing for this long is closed.", live: true, field: func(c *config) any { return &c.Limits.Stall }},
	{key: "limits.history", def: "100000", unit: "messages", low: 1, high: 1 << 31, doc: "Newest messages kept per channel.", field: func(c *config) any { return &c.Limits.History }},
	{key: "limits.objects", def: "100000", unit: "objects", low: 16, high: 1 << 31, doc: "Objects remembered in memory; the store holds all.", field: func(c *config) any { return &c.Limits.Objects }},
	{key: "limits.backlog", def: "4MiB", unit: "size", low: 64 << 10, doc: "What waits for fan-out on one topic; beyond it the topic is read again from the store.", field: func(c *config) any { return &c.Limits.Backlog }},
	{key: "limits.pages", def: "16MiB", unit: "size", low: 1 << 20, doc: "Encoded pages of catch-ups that late joiners share; beyond it the least recently used are read again from the store.", field: func(c *config) any { return &c.Limits.Pages }},
	{key: "limits.sessions_per_ip", def: "10000", dev: "0", unit: "sessions", doc: "Sessions of one address; 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.SessionsPerIP }},
	{key: "limits.handshakes_per_ip", def: "200", dev: "0", unit: "per second", doc: "Handshakes of one address; 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.HandshakesPerIP }},
	{key: "limits.handshake_burst", def: "2000", unit: "handshakes", low: 1, doc: "Handshakes of one address at once.", live: true, field: func(c *config) any { return &c.Limits.HandshakeBurst }},
	{key: "limits.handshakes", def: "256", unit: "handshakes", low: 1, high: 1 << 20, doc: "Sessions that are made or taken up at once, over all addresses; more delay what is delivered meanwhile, fewer make a storm longer.", field: func(c *config) any { return &c.Limits.Handshakes }},
	{key: "limits.handshakes_waiting", def: "10000", unit: "handshakes", low: 1, high: 1 << 20, doc: "How many wait for that, for 8 seconds at most, and as many who resume; beyond it they are told to come later (503).", field: func(c *config) any { return &c.Limits.HandshakesWaiting }},
	{key: "limits.requests_per_session", def: "200", dev: "0", unit: "per second", doc: "Messages of one session; beyond it the connection is read slower; 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.RequestsPerSession }},
	{key: "limits.publish_per_session", def: "100", dev: "0", unit: "per second", doc: "Publishes of one session; 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.PublishPerSession }},
	{key: "limits.requests_per_credential", def: "200", dev: "0", unit: "per second", doc: "HTTP API requests of one key or token (429 beyond); 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.RequestsPerCredential }},
	{key: "limits.publish_per_credential", def: "100", dev: "0", unit: "per second", doc: "Messages published over HTTP by one key or token; 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.PublishPerCredential }},
	{key: "limits.read_per_credential", def: "16MiB", dev: "0", unit: "size per second", doc: "What one key, token or address is answered over HTTP, such as history; 16 seconds' worth may come at once, then requests are refused (429) and long answers come slower. 0: no limit.", live: true, field: func(c *config) any { return &c.Limits.ReadPerCredential }},
	{key: "limits.burst", def: "1000", unit: "messages", low: 1, doc: "What the rates per session and credential let through at once.", live: true, field: func(c *config) any { return &c.Limits.Burst }},

	{key: "traces.endpoint", unit: "URL", doc: "Where OpenTelemetry traces are sent: a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318. Spans of requests to the HTTP API and what they ask of the store; no channels, objects or secrets are in them. Empty: none are made.", field: func(c *config) any { return &c.Traces.Endpoint }},
	{key: "traces.percent", def: "100", unit: "requests in a hundred", high: 100, doc: "How many requests are traced of those without a traceparent; with one, its caller has decided.", field: func(c *config) any { return &c.Traces.Percent }},
	{key: "drain.time", def: "30s", dev: "500ms", unit: "duration", high: day, doc: "How long a stopping server takes to hand its clients over.", field: func(c *config) any { return &c.DrainTime }},
	{key: "sandbox", def: "false", dev: "true", unit: "bool", doc: "Short and sample secrets only warn, and POST /v1/e/authtoken gives a token to anybody. Not for the public.", field: func(c *config) any { return &c.Sandbox }},
	{key: "log.level", def: "info", dev: "warn", choices: []string{"debug", "info", "warn", "error"}, doc: "What is logged (to standard error).", field: func(c *config) any { return &c.LogLevel }},
	{key: "log.access", def: "false", unit: "bool", doc: "One line (at level info) for each session that ends: from where, how long, what was delivered, why. It holds addresses of people.", field: func(c *config) any { return &c.LogAccess }},
	{key: "log.format", def: "auto", choices: []string{"auto", "json", "console"}, doc: "auto is console on a terminal, JSON otherwise.", field: func(c *config) any { return &c.LogFormat }},
}

// optionByKey returns the row, or nil.
func optionByKey(key string) *option {
	for _, o := range options {
		if o.key == key {
			return o
		}
	}
	return nil
}

// keysBelow returns the next part of every key below a path: "" gives listen,
// mount, bayeux, …
func keysBelow(path string) []string {
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	var next []string
	seen := map[string]bool{}
	for _, o := range options {
		rest, ok := strings.CutPrefix(o.key, prefix)
		if !ok {
			continue
		}
		part, _, _ := strings.Cut(rest, ".")
		if !seen[part] {
			seen[part] = true
			next = append(next, part)
		}
	}
	return next
}
