package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

const (
	dialTimeout = 500 * time.Millisecond
	ioTimeout   = time.Second
	keepAlive   = 15 * time.Second
	// poolSize bounds the connections to a server. Publishes share a few, so these
	// are reads at the same time; who finds none waits for poolTimeout.
	poolSize    = 64
	poolTimeout = time.Second
	idleTime    = 5 * time.Minute
	// protocol is RESP2: nothing here needs more, and no client of it is ever sent
	// what it did not ask for.
	protocol = 2
)

// connect returns a client that sends each command once: what may be repeated is
// for its caller to know (store.md §3.7). Nothing is sent yet. The clients of a cluster's
// nodes are added to nodes.
func (a *address) connect(hook goredis.Hook, nodes *members, log *zap.Logger) goredis.UniversalClient {
	goredis.SetLogger(&printer{log: log, some: rate.Sometimes{First: 3, Interval: 10 * time.Second}})
	switch a.kind {
	case kindCluster:
		return goredis.NewClusterClient(a.clusterOptions(hook, nodes))
	case kindSentinel:
		c := goredis.NewFailoverClient(a.failoverOptions())
		c.AddHook(hook)
		return c
	}
	c := goredis.NewClient(a.options())
	c.AddHook(hook)
	return c
}

func (a *address) options() *goredis.Options {
	return &goredis.Options{
		Addr: a.hosts[0], Username: a.user, Password: a.password, DB: a.db,
		Dialer: a.dialer(), DialTimeout: dialTimeout, DialerRetries: 1,
		ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: poolSize, PoolTimeout: poolTimeout, ConnMaxIdleTime: idleTime,
		Protocol: protocol, DisableIdentity: true,
	}
}

func (a *address) failoverOptions() *goredis.FailoverOptions {
	return &goredis.FailoverOptions{
		MasterName: a.primary, SentinelAddrs: a.hosts, SentinelUsername: a.sentinelUser, SentinelPassword: a.sentinelPassword,
		Username: a.user, Password: a.password, DB: a.db,
		Dialer: a.dialer(), DialTimeout: dialTimeout, DialerRetries: 1,
		ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: poolSize, PoolTimeout: poolTimeout, ConnMaxIdleTime: idleTime,
		Protocol: protocol, DisableIdentity: true,
	}
}

func (a *address) clusterOptions(hook goredis.Hook, nodes *members) *goredis.ClusterOptions {
	return &goredis.ClusterOptions{
		Addrs: a.hosts, Username: a.user, Password: a.password,
		// A hook of the cluster's client does not hear the clients of its nodes.
		NewClient: func(o *goredis.Options) *goredis.Client {
			c := goredis.NewClient(o)
			c.AddHook(hook)
			return nodes.add(c)
		},
		Dialer: a.dialer(), DialTimeout: dialTimeout, DialerRetries: 1,
		ReadTimeout: ioTimeout, WriteTimeout: ioTimeout, ContextTimeoutEnabled: true,
		MaxRetries: -1, PoolSize: poolSize, PoolTimeout: poolTimeout, ConnMaxIdleTime: idleTime,
		Protocol: protocol, DisableIdentity: true,
	}
}

// dialer makes connections; those for a line are watched by it.
func (a *address) dialer() func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	dial := plain.DialContext
	if a.tls {
		dial = (&tls.Dialer{NetDialer: plain, Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if once, ok := ctx.Value(onceKey{}).(*once); ok {
			return once.use(conn), nil
		}
		return conn, nil
	}
}

// once makes a PubSub one connection: when that breaks, the context it was dialled
// with ends. Otherwise go-redis would connect again by itself and subscribe to all
// channels in a single command, for which a server with 100,000 of them stands still.
type once struct {
	end context.CancelFunc

	mu   sync.Mutex
	last *onceConn // guarded by mu; sentinels may be asked before
}

type onceKey struct{}

// newOnce returns a context for all that is done with one PubSub.
func newOnce(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	return context.WithValue(ctx, onceKey{}, &once{end: cancel}), cancel
}

func (o *once) use(conn net.Conn) net.Conn {
	c := &onceConn{Conn: conn, once: o}
	o.mu.Lock()
	o.last = c
	o.mu.Unlock()
	return c
}

type onceConn struct {
	net.Conn
	once *once
}

// Read ends the context when it fails.
func (c *onceConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.once.mu.Lock()
		last := c.once.last == c
		c.once.mu.Unlock()
		if last {
			c.once.end()
		}
	}
	return n, err
}

// printer takes go-redis' own lines. A dead server makes many, all alike.
type printer struct {
	log  *zap.Logger
	some rate.Sometimes
}

// Printf is of go-redis' logger.
func (p *printer) Printf(_ context.Context, format string, v ...any) {
	p.some.Do(func() { p.log.Info("redis: the client says", zap.String("text", fmt.Sprintf(format, v...))) })
}
