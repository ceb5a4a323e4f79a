package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gobelin-broker/gobelin/channels"
	"go.uber.org/zap"
)

// Transports of Options.Transport.
const (
	WebSocket   = "websocket"
	LongPolling = "long-polling"
)

// Options says how a Client connects. Only URL is needed; a zero field takes its
// default.
type Options struct {
	// URL is the server's mount, as http, https, ws or wss.
	URL string
	// Transport is WebSocket (default) or LongPolling.
	Transport string
	// Token is sent as ext.token with every handshake; empty: none.
	Token channels.Secret
	// Ack asks for CometD's ack extension: the server keeps each message until this
	// client says that it has it. Where it is not granted, nothing changes.
	Ack bool
	// Header is sent with every request and upgrade.
	Header http.Header
	// Logger hears of links made and lost; nil: nothing is logged.
	Logger *zap.Logger

	// MinRetry is the wait after the first failure, default 250 ms. It doubles
	// with each further one up to MaxRetry, default 30 s; both are cut by up to
	// a half at random. Very small values storm a server that comes back.
	MinRetry, MaxRetry time.Duration
	// Timeout bounds dialing, the handshake and each request that is not held,
	// and is what a held connect may take beyond the server's advice.timeout.
	// Default 10 s; too low breaks slow links again and again.
	Timeout time.Duration
	// Ping is the time between WebSocket pings; a link that was silent for two
	// of them is broken. Default 15 s.
	Ping time.Duration

	// MaxFrame bounds a frame or body from the server, in bytes; a larger one
	// breaks the link. Default 16 MiB.
	MaxFrame int64
	// MaxCalls bounds the calls (publishes, subscribes) that wait for their
	// answers; a further one waits for room. Default 1,024.
	MaxCalls int
	// MaxInbox bounds the messages that wait for handlers, default 16,384, and
	// MaxInboxBytes their data in bytes, default 64 MiB; beyond, the client
	// stops reading (see the package's caveats).
	MaxInbox      int
	MaxInboxBytes int

	// OnState, when not nil, is called on each change of state, with its cause
	// where there is one, from the goroutine that calls the handlers.
	OnState func(State, error)

	// HTTPClient makes the requests of long-polling; nil: one of our own, which
	// uses Dial and lives as long as the Client.
	HTTPClient *http.Client
	// Dial opens connections; nil: a net.Dialer. With https and wss, TLS is
	// spoken over what it returns.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// withDefaults checks o and fills its zero fields; it reports all faults at once.
func (o Options) withDefaults() (Options, error) {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("client: options: "+format, args...))
		}
	}
	u, err := url.Parse(o.URL)
	fault(err != nil || u.Host == "" || schemes[u.Scheme] == [2]string{}, "url %q: want http, https, ws or wss and a host", o.URL)
	o.Transport = orDefault(o.Transport, WebSocket)
	fault(o.Transport != WebSocket && o.Transport != LongPolling, "transport %q: want %s or %s", o.Transport, WebSocket, LongPolling)
	fault(o.MinRetry < 0 || o.MaxRetry < 0 || o.Timeout < 0 || o.Ping < 0, "durations: below zero")
	fault(o.MaxFrame < 0 || o.MaxCalls < 0 || o.MaxInbox < 0 || o.MaxInboxBytes < 0, "bounds: below zero")
	if err := errors.Join(faults...); err != nil {
		return o, err
	}
	s := schemes[u.Scheme]
	u.Scheme = s[0]
	if o.Transport == WebSocket {
		u.Scheme = s[1]
	}
	o.URL = u.String()
	o.MinRetry = orDefault(o.MinRetry, 250*time.Millisecond)
	o.MaxRetry = max(orDefault(o.MaxRetry, 30*time.Second), o.MinRetry)
	o.Timeout = orDefault(o.Timeout, 10*time.Second)
	o.Ping = orDefault(o.Ping, 15*time.Second)
	o.MaxFrame = orDefault(o.MaxFrame, 16<<20)
	o.MaxCalls = orDefault(o.MaxCalls, 1024)
	o.MaxInbox = orDefault(o.MaxInbox, 16384)
	o.MaxInboxBytes = orDefault(o.MaxInboxBytes, 64<<20)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	o.Header = o.Header.Clone()
	return o, nil
}

// schemes gives for each scheme taken the one of long-polling and of WebSocket.
var schemes = map[string][2]string{
	"http": {"http", "ws"}, "ws": {"http", "ws"},
	"https": {"https", "wss"}, "wss": {"https", "wss"},
}

func orDefault[T comparable](v, byDefault T) T {
	var zero T
	if v == zero {
		return byDefault
	}
	return v
}
