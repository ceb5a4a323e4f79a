package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/gobelin-broker/gobelin/bayeux"
	"github.com/gobelin-broker/gobelin/bayeux/browser"
	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/api"
	"github.com/gobelin-broker/gobelin/broker/trace"
	"github.com/gobelin-broker/gobelin/channels"
	"github.com/gobelin-broker/gobelin/store"
	"go.uber.org/zap"
)

// brokerOptions fills in the broker's options from a valid configuration.
func brokerOptions(c *config, s store.Store, metrics *broker.Exposition, log *zap.Logger) (broker.Options, error) {
	ring, err := c.keyring()
	if err != nil {
		return broker.Options{}, err
	}
	o := broker.Options{
		Store: s, Keyring: ring, Accounts: c.accounts(), Kinds: c.kinds(), Classes: c.rootClasses(),
		EndOnExpiry: c.EndOnExpiry, PresencePublic: c.PresencePublic, StatsSample: c.Stats.Sample, StatsPublic: c.Stats.Public, StatsKeep: c.Stats.Keep,
		NoReplay: !c.Bayeux.Replay, Services: c.Bayeux.Services,
		AutoCreate: c.AutoCreate, Sandbox: c.Sandbox, ForwardExt: c.Bayeux.ForwardExt, RealtimeURL: c.Bayeux.URL, Mount: c.Mount,
		Accumulate: broker.AccumulateOptions{TTL: c.Accumulate.TTL, Page: c.Accumulate.Page, Max: c.Accumulate.Max},
		Streams: broker.StreamOptions{
			Poke: c.Streams.Poke, Redelivery: c.Streams.Redelivery, CheckpointTTL: c.Streams.CheckpointTTL,
			Retention: c.Streams.Retention, Records: c.Streams.Records, Max: c.Streams.Max, MaxConnections: c.Streams.MaxConnections,
		},
		TokenRules: broker.TokenRules{Issuer: c.TokenIssuer, Audience: c.TokenAudience, Exact: c.Sandbox},
		Registerer: metrics.Registerer(), Logger: log.Named("broker"),
		SessionLife: c.sessionLife(), SessionTTL: c.Data.SessionTTL, OwnDataOnly: c.Data.UserRead == "self", MaxDocument: int(c.Data.MaxDocument),
		Version: version, NodeName: c.nodeName(), Advertise: c.Node.Advertise,
		Limits: brokerLimits(c),
	}
	for _, rule := range c.Channels.Open {
		pattern, err := channels.ParsePattern(rule.Pattern)
		if err != nil {
			return broker.Options{}, fmt.Errorf("channels.open: %s: %w", rule.Pattern, err)
		}
		o.Open = append(o.Open, broker.OpenPrefix{Pattern: pattern, Publish: rule.Publish, History: rule.History})
	}
	for _, text := range c.Channels.Lazy {
		pattern, err := channels.ParsePattern(text)
		if err != nil {
			return broker.Options{}, fmt.Errorf("channels.lazy: %s: %w", text, err)
		}
		o.Lazy = append(o.Lazy, pattern)
	}
	return o, nil
}

// brokerLimits are the numbers of the options limits.* that are the broker's.
func brokerLimits(c *config) broker.Limits {
	l := &c.Limits
	return broker.Limits{
		Message: int(l.Message), Body: int(l.Body), Batch: l.Batch, Depth: l.Depth,
		Subscriptions: l.Subscriptions, Channel: l.Channel, Segments: l.Segments,
		History: l.History, Objects: l.Objects, Backlog: int(l.Backlog), Pages: int(l.Pages),
	}
}

// nodeName is what the node is called: as configured, else by its host and port.
func (c *config) nodeName() string {
	if c.Node.ID != "" {
		return c.Node.ID
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	_, port, _ := net.SplitHostPort(c.Listen)
	return net.JoinHostPort(host, port)
}

// sessionLife is how long a session lives without a connect (bayeux-faye.md §14).
func (c *config) sessionLife() time.Duration {
	if c.Bayeux.MaxInterval > 0 {
		return c.Bayeux.Timeout + c.Bayeux.MaxInterval
	}
	return 2 * c.Bayeux.Timeout
}

// kinds returns the channel kinds whose times are set.
func (c *config) kinds() map[string]broker.KindOptions {
	set := map[string]broker.KindOptions{}
	for kind, age := range c.Channels.Retention {
		o := set[kind]
		o.Retention = age.Age
		set[kind] = o
	}
	for kind, age := range c.Channels.CatchupMax {
		o := set[kind]
		o.Catchup = age.Age
		set[kind] = o
	}
	return set
}

// bayeuxOptions fills in the endpoint's options from a valid configuration.
func bayeuxOptions(c *config, script []byte, log *zap.Logger) bayeux.Options {
	l := &c.Limits
	o := bayeux.Options{
		Mount: c.Mount, Timeout: c.Bayeux.Timeout, Interval: c.Bayeux.Interval, MaxInterval: c.Bayeux.MaxInterval,
		Ping: c.Bayeux.IdlePing, PongWait: c.Bayeux.PongWait, AckPing: c.Bayeux.Ping,
		LazyTimeout: c.Channels.LazyFor, Activity: c.Bayeux.Activity,
		Transports: c.Bayeux.Transports, Origins: c.Origins, Script: script,
		Scripts: map[string][]byte{"history.js": browser.HistoryJS(), "client.mjs": browser.ClientMJS()},
		Logger:  log.Named("bayeux"),
		Limits: bayeux.Limits{
			Message: int(l.Message), Body: int(l.Body), Batch: l.Batch, Depth: l.Depth, Channel: l.Channel, Segments: l.Segments,
			SubscriptionList: l.SubscriptionList, Queue: int(l.Queue), QueueMessages: l.QueueMessages, Response: int(l.Response), Stall: l.Stall,
			SessionsPerAddr: l.SessionsPerIP, HandshakesPerAddr: float64(l.HandshakesPerIP), HandshakeBurst: l.HandshakeBurst,
			Handshakes: l.Handshakes, HandshakesWaiting: l.HandshakesWaiting, QueueMemory: int64(l.QueueMemory),
			RequestsPerSession: float64(l.RequestsPerSession), RequestBurst: l.Burst,
			PublishPerSession: float64(l.PublishPerSession), PublishBurst: l.Burst,
		},
	}
	if o.Limits.QueueMemory == 0 {
		o.Limits.QueueMemory = memoryLimit() / 4
	}
	o.NoAck, o.Compression = !c.Bayeux.Ack, c.Bayeux.Compression
	if c.LogAccess {
		o.Access = log.Named("access")
	}
	if c.Bayeux.Replay {
		o.HandshakeExt = []byte(broker.HandshakeExt)
	}
	o.TrustedProxies = c.proxies()
	return o
}

// proxies returns the networks whose word on a peer's address is believed.
func (c *config) proxies() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range c.TrustedProxies {
		if p, err := parsePrefix(text); err == nil { // validate has refused others
			all = append(all, p)
		}
	}
	return all
}

// clientScript returns what <mount>/client.js serves.
func clientScript(c *config) ([]byte, error) {
	if c.Bayeux.ClientJS == "builtin" {
		return browser.ClientJS(), nil
	}
	script, err := os.ReadFile(c.Bayeux.ClientJS)
	if err != nil {
		return nil, fmt.Errorf("bayeux.client_js: %w", err)
	}
	return script, nil
}

// newTracer returns what makes spans; nil where nobody wants any.
func newTracer(c *config, log *zap.Logger) *trace.Tracer {
	if c.Traces.Endpoint == "" {
		return nil
	}
	return trace.New(trace.Options{
		Endpoint: c.Traces.Endpoint, Percent: c.Traces.Percent, Node: c.nodeName(), Version: version, Logger: log.Named("trace"),
	})
}

// apiHandler returns the HTTP surfaces /v1 and /api.
func apiHandler(c *config, b *broker.Broker, metrics *broker.Exposition, tracer *trace.Tracer, log *zap.Logger) http.Handler {
	l := &c.Limits
	return api.New(b.Service(), api.Options{
		Logger: log.Named("api"), Audit: log.Named("audit"), MaxBody: int(l.Body), Depth: l.Depth, Batch: l.Batch,
		Origins: c.Origins, RealtimeURL: c.Bayeux.URL, Mount: c.Mount,
		RequestRate: float64(l.RequestsPerCredential), PublishRate: float64(l.PublishPerCredential), ReadRate: int(l.ReadPerCredential), Burst: l.Burst,
		ClientAddr: clientAddress(c.proxies()), Observe: metrics.CountAnswer, Panicked: metrics.CountPanic, Trace: tracer,
	})
}
