package bench

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"time"
)

// The transports.
const (
	WebSocket   = "websocket"
	LongPolling = "long-polling"
)

// road is one client's way to the server. exchange comes first and from one
// goroutine; then listen from one and send from any.
type road interface {
	// exchange sends one message and returns the answer with its id; sink, if not nil,
	// is told what comes until then.
	exchange(ctx context.Context, id string, message []byte, sink sink) (*reply, error)
	// listen keeps the session connected, by the connects that next returns, and tells
	// sink what comes, until the road is closed or breaks.
	listen(next func() []byte, sink sink) error
	// send sends messages, each a JSON object. Their answers come to sink, over
	// long-polling before it returns.
	send(messages [][]byte, sink sink) error
	// close ends all of them. It may be called twice.
	close()
}

// sink takes what was found in one piece; it must not keep it. It is called by one
// goroutine at a time where only one of listen and send is used.
type sink func(*seen)

// reply is an answer while a session is set up.
type reply struct {
	ID         json.RawMessage `json:"id"`
	Channel    string          `json:"channel"`
	Successful bool            `json:"successful"`
	ClientID   string          `json:"clientId"`
	Error      string          `json:"error"`
	Advice     struct {
		Reconnect string  `json:"reconnect"`
		Interval  float64 `json:"interval"` // ms
	} `json:"advice"`
	Ext struct {
		CatchUp *struct {
			Messages int64 `json:"messages"`
		} `json:"catchup"`
	} `json:"ext"`
}

// answers reads an array of messages, or one, and returns that with the id.
func answers(frame []byte, id string) (*reply, error) {
	var all []reply
	if err := json.Unmarshal(frame, &all); err != nil {
		var one reply
		if json.Unmarshal(frame, &one) != nil {
			return nil, fmt.Errorf("bench: the server answers what is not Bayeux: %.80q", frame)
		}
		all = []reply{one}
	}
	for i := range all {
		if string(all[i].ID) == `"`+id+`"` {
			return &all[i], nil
		}
	}
	return nil, nil
}

// Time bounds of the roads.
const (
	dialTime  = 10 * time.Second
	answered  = 30 * time.Second // a message that is not held
	writeTime = 30 * time.Second
	holdTime  = 5 * time.Minute // a connect; servers hold it for less
)

// maxSetup bounds one frame or body while a session is set up.
const maxSetup = 1 << 20

// target is the server's address, taken apart once.
type target struct {
	url       *url.URL
	secure    bool
	address   string // host:port
	transport string
	anchor    string
}

func newTarget(text, transport, anchor string) (*target, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	t := &target{url: u, transport: transport, anchor: anchor}
	port := "80"
	switch u.Scheme {
	case "http", "ws":
	case "https", "wss":
		t.secure, port = true, "443"
	default:
		return nil, fmt.Errorf("url: %q is not http, https, ws or wss", text)
	}
	if u.Hostname() == "" {
		return nil, fmt.Errorf("url: %q has no host", text)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	t.address = net.JoinHostPort(u.Hostname(), port)
	if u.Path == "" {
		u.Path = "/"
	}
	return t, nil
}

// open makes a road of the transport asked for.
func (t *target) open(ctx context.Context) (road, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if t.transport == LongPolling {
		return t.openPoller(), nil
	}
	return t.openSocket(ctx)
}

// dial connects, with TLS where the URL says so.
func (t *target) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", t.address)
	if err != nil || !t.secure {
		return conn, err
	}
	secured := tls.Client(conn, &tls.Config{ServerName: t.url.Hostname()})
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}
