package bayeuxtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// peer is one named connection of a script.
type peer interface {
	send(text []byte) error
	mail() *inbox
	sever()  // cuts it
	freeze() // lets it go silent
	deafen() // reads no more
	end()    // lets go of it and waits for its goroutines
}

// socket is a WebSocket.
type socket struct {
	inbox
	conn    *websocket.Conn
	raw     *Conn
	readers sync.WaitGroup

	hearing sync.Mutex
	deaf    *sync.Cond
	isDeaf  bool
	over    bool
}

func openSocket(n *Network, url string, header http.Header, mute bool) (peer, error) {
	s := &socket{}
	s.deaf = sync.NewCond(&s.hearing)
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var err error
			s.raw, err = n.Dial(ctx)
			return s.raw, err
		},
	}
	conn, answer, err := dialer.Dial("ws"+strings.TrimPrefix(url, "http"), header)
	if answer != nil && err != nil {
		s.happened(fmt.Sprintf("status %d", answer.StatusCode))
		return &refusedSocket{socket: s}, s.raw.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("bayeuxtest: open: %w", err)
	}
	s.conn = conn
	if mute {
		conn.SetPingHandler(func(string) error { return nil })
	}
	s.readers.Go(s.read)
	return s, nil
}

func (s *socket) read() {
	for {
		_, text, err := s.conn.ReadMessage()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
			s.happened(fmt.Sprintf("closed %d", closed.Code))
		case err != nil:
			s.happened("closed 0")
		default:
			s.got(text)
			if s.listening() {
				continue
			}
		}
		_ = s.conn.Close()
		return
	}
}

// listening waits while the script wants the peer deaf; false when it is over.
func (s *socket) listening() bool {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	for s.isDeaf && !s.over {
		s.deaf.Wait()
	}
	return !s.over
}

func (s *socket) send(text []byte) error {
	return s.conn.WriteMessage(websocket.TextMessage, text)
}

func (s *socket) mail() *inbox { return &s.inbox }
func (s *socket) sever()       { _ = s.raw.Close() }
func (s *socket) freeze()      { s.raw.Freeze() }

func (s *socket) deafen() {
	s.hearing.Lock()
	defer s.hearing.Unlock()
	s.isDeaf = true
}

func (s *socket) end() {
	s.hearing.Lock()
	s.over = true
	s.deaf.Broadcast()
	s.hearing.Unlock()
	_ = s.raw.Close()
	s.readers.Wait()
}

// refusedSocket is one whose upgrade was refused.
type refusedSocket struct{ *socket }

func (*refusedSocket) send([]byte) error { return errors.New("bayeuxtest: the upgrade was refused") }

// poller sends each message in a request of its own.
type poller struct {
	inbox
	url       string
	transport string
	header    http.Header
	client    *http.Client
	idle      *http.Transport
	ctx       context.Context
	cancel    context.CancelFunc
	requests  sync.WaitGroup

	mu    sync.Mutex
	conns []*Conn
}

func openPoller(n *Network, url, transport string, header http.Header) peer {
	p := &poller{url: url, transport: transport, header: header}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.idle = &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := n.Dial(ctx)
			if err == nil {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.conns = append(p.conns, c)
			}
			return c, err
		},
	}
	p.client = &http.Client{Transport: p.idle}
	return p
}

func (p *poller) request(text []byte) (*http.Request, error) {
	switch p.transport {
	case "long-polling":
		r, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.url, bytes.NewReader(text))
		if err == nil {
			r.Header.Set("Content-Type", "application/json")
		}
		return r, err
	case "cross-origin-long-polling":
		form := url.Values{"message": {string(text)}}.Encode()
		r, err := http.NewRequestWithContext(p.ctx, http.MethodPost, p.url, strings.NewReader(form))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r, err
	case "callback-polling":
		query := url.Values{"message": {string(text)}, "jsonp": {"__jsonp1__"}}.Encode()
		return http.NewRequestWithContext(p.ctx, http.MethodGet, p.url+"?"+query, nil)
	}
	return nil, fmt.Errorf("bayeuxtest: no transport %s", p.transport)
}

func (p *poller) send(text []byte) error {
	r, err := p.request(text)
	if err != nil {
		return err
	}
	for name, values := range p.header {
		r.Header[name] = values
	}
	p.requests.Go(func() { p.carryOut(r) })
	return nil
}

func (p *poller) carryOut(r *http.Request) {
	answer, err := p.client.Do(r)
	if err != nil {
		if p.ctx.Err() == nil {
			p.happened("closed 0")
		}
		return
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		p.happened("closed 0")
	case answer.StatusCode != http.StatusOK:
		p.happened(fmt.Sprintf("status %d", answer.StatusCode))
	case p.transport == "callback-polling":
		text, begins := bytes.CutPrefix(body, []byte("/**/__jsonp1__("))
		text, ends := bytes.CutSuffix(text, []byte(");"))
		if !begins || !ends {
			p.happened("not a script: " + string(body))
			return
		}
		p.got(text)
	default:
		p.got(body)
	}
}

func (p *poller) each(f func(*Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		f(c)
	}
	p.conns = nil
}

func (p *poller) mail() *inbox { return &p.inbox }

// sever gives up all requests under way; later ones are on new connections.
func (p *poller) sever() {
	p.cancel()
	p.requests.Wait()
	p.each(func(c *Conn) { _ = c.Close() })
	p.ctx, p.cancel = context.WithCancel(context.Background())
}

// freeze lets all requests under way go silent; later ones are on new connections.
func (p *poller) freeze() {
	p.idle.CloseIdleConnections()
	p.each(func(c *Conn) { c.Freeze() })
}

// deafen has no meaning for one who reads only what it asked for.
func (p *poller) deafen() {}

func (p *poller) end() {
	p.cancel()
	p.requests.Wait()
	p.each(func(c *Conn) { _ = c.Close() })
	p.idle.CloseIdleConnections()
}

// stream is an EventSource.
type stream struct {
	inbox
	raw     *Conn
	readers sync.WaitGroup
}

func openStream(n *Network, url string, header http.Header) (peer, error) {
	raw, err := n.Dial(context.Background())
	if err != nil {
		return nil, fmt.Errorf("bayeuxtest: open: %w", err)
	}
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("bayeuxtest: open: %w", err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Accept", "text/event-stream")
	s := &stream{raw: raw}
	s.readers.Go(func() { s.read(r) })
	return s, nil
}

func (s *stream) read(r *http.Request) {
	defer func() { _ = s.raw.Close() }()
	if err := r.Write(s.raw); err != nil {
		s.happened("closed 0")
		return
	}
	answer, err := http.ReadResponse(bufio.NewReader(s.raw), r)
	if err != nil {
		s.happened("closed 0")
		return
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		s.happened(fmt.Sprintf("status %d", answer.StatusCode))
		return
	}
	var data []string
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		switch text, is := strings.CutPrefix(lines.Text(), "data: "); {
		case is:
			data = append(data, text)
		case lines.Text() == "" && data != nil:
			s.got([]byte(strings.Join(data, "\n")))
			data = nil
		}
	}
	s.happened("closed 0")
}

func (s *stream) send([]byte) error { return errors.New("bayeuxtest: a stream only listens") }
func (s *stream) mail() *inbox      { return &s.inbox }
func (s *stream) sever()            { _ = s.raw.Close() }
func (s *stream) freeze()           { s.raw.Freeze() }
func (s *stream) deafen()           {}

func (s *stream) end() {
	_ = s.raw.Close()
	s.readers.Wait()
}
