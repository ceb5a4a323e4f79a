package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
)

// link is one connection's worth of transport. send and poll may be called at the
// same time by one goroutine each.
type link interface {
	// send hands a batch to the server; answers come to receive, before or after
	// it returns. An error ends the link.
	send(ctx context.Context, frame []byte) error
	// poll is send for a /meta/connect, which the server holds up to hold.
	poll(ctx context.Context, frame []byte, hold time.Duration) error
	// serve reads and keeps the link alive until it breaks or ctx ends.
	serve(ctx context.Context) error
	// close frees what the link holds; serve and send return soon after.
	close()
}

// receive takes a frame from the server; an error ends the link.
type receive func(ctx context.Context, frame []byte) error

// open makes a link of the transport that was asked for.
func open(ctx context.Context, o *Options, h *http.Client, to receive) (link, error) {
	if o.Transport == LongPolling {
		return &pollLink{o: o, http: h, to: to}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	d := websocket.Dialer{Proxy: http.ProxyFromEnvironment, NetDialContext: o.Dial, HandshakeTimeout: o.Timeout, WriteBufferSize: 4096}
	conn, response, err := d.DialContext(ctx, o.URL, o.Header)
	if err != nil {
		if response != nil {
			return nil, fmt.Errorf("client: websocket: upgrade: http status %d", response.StatusCode)
		}
		return nil, fmt.Errorf("client: websocket: dial: %w", err)
	}
	conn.SetReadLimit(o.MaxFrame)
	l := &socketLink{o: o, conn: conn, to: to, turn: make(chan struct{}, 1)}
	conn.SetPongHandler(func(string) error { return l.extend() })
	conn.SetPingHandler(func(data string) error {
		if err := l.extend(); err != nil {
			return err
		}
		return l.control(websocket.PongMessage, []byte(data))
	})
	return l, nil
}

// socketLink is a WebSocket.
type socketLink struct {
	o    *Options
	conn *websocket.Conn
	to   receive
	turn chan struct{} // held by the one who writes a frame
}

func (l *socketLink) send(ctx context.Context, frame []byte) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	if err := l.conn.SetWriteDeadline(time.Now().Add(l.o.Timeout)); err != nil {
		return fmt.Errorf("client: websocket: write: %w", err)
	}
	if err := l.conn.WriteMessage(websocket.TextMessage, frame); err != nil {
		return fmt.Errorf("client: websocket: write: %w", err)
	}
	return nil
}

func (l *socketLink) poll(ctx context.Context, frame []byte, _ time.Duration) error {
	return l.send(ctx, frame)
}

// serve reads until the socket breaks; pings go out beside it, since a reader
// that waits for the inbox must not look dead to the server.
func (l *socketLink) serve(ctx context.Context) error {
	pinging := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(pinging)
		l.ping(stop)
	}()
	defer func() { close(stop); <-pinging }()
	for {
		if err := l.extend(); err != nil {
			return err
		}
		_, frame, err := l.conn.ReadMessage()
		if err != nil {
			return fmt.Errorf("client: websocket: read: %w", err)
		}
		if err := l.to(ctx, frame); err != nil {
			return err
		}
	}
}

func (l *socketLink) ping(stop <-chan struct{}) {
	t := time.NewTicker(l.o.Ping)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			// A failure shows in the reader, whose deadline is not extended.
			_ = l.control(websocket.PingMessage, nil)
		}
	}
}

func (l *socketLink) extend() error {
	return l.conn.SetReadDeadline(time.Now().Add(2 * l.o.Ping))
}

// control writes a ping or pong; one that does not get its turn in time is left
// out, as whatever holds the socket up breaks it by its own deadline.
func (l *socketLink) control(kind int, data []byte) error {
	err := l.conn.WriteControl(kind, data, time.Now().Add(l.o.Timeout))
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() || errors.Is(err, websocket.ErrCloseSent) {
		return nil
	}
	return err
}

func (l *socketLink) close() { _ = l.conn.Close() }

// pollLink is long-polling: each send is a POST.
type pollLink struct {
	o    *Options
	http *http.Client
	to   receive
}

func (l *pollLink) send(ctx context.Context, frame []byte) error {
	return l.poll(ctx, frame, 0)
}

func (l *pollLink) poll(ctx context.Context, frame []byte, hold time.Duration) error {
	body, err := l.post(ctx, frame, hold)
	if err != nil {
		return err
	}
	return l.to(ctx, body)
}

func (l *pollLink) post(ctx context.Context, frame []byte, hold time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout+hold)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.o.URL, bytes.NewReader(frame))
	if err != nil {
		return nil, fmt.Errorf("client: long-polling: request: %w", err)
	}
	for k, v := range l.o.Header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := l.http.Do(req)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the URL, which may hold a secret
		}
		return nil, fmt.Errorf("client: long-polling: post: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("client: long-polling: post: http status %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, l.o.MaxFrame+1))
	if err != nil {
		return nil, fmt.Errorf("client: long-polling: body: %w", err)
	}
	if int64(len(body)) > l.o.MaxFrame {
		return nil, fmt.Errorf("client: long-polling: body: above %d bytes", l.o.MaxFrame)
	}
	return body, nil
}

func (l *pollLink) serve(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (l *pollLink) close() {}

// httpClient returns the client for long-polling and what frees it in the end.
func httpClient(o *Options) (*http.Client, func()) {
	if o.HTTPClient != nil {
		return o.HTTPClient, func() {}
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: o.Dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true}
	// A redirect would hand the session to another server.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: stay}, t.CloseIdleConnections
}
