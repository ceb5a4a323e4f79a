package bench

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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// poller is a road over two HTTP connections: one for the connects that are held,
// one for all else. It writes requests itself: a http.Transport costs more than
// the server that is measured.
type poller struct {
	target *target
	pieces *sync.Pool
	head   []byte // of each request, up to the cookies and the length
	begin  string // of each body, before the messages
	end    string // behind them
	ctx    context.Context
	cancel context.CancelFunc

	holding line
	others  line

	// cookies is a header of those that the server has set: CometD knows a client by
	// one. nil: none.
	cookies atomic.Pointer[string]
}

// line is one connection; it is dialled when it is needed.
type line struct {
	mu sync.Mutex
	// guarded by mu, held while a request is under way
	conn net.Conn
	stop func() bool // of closing conn with the poller
	in   *bufio.Reader
	used time.Time // when the last request ended
	body []byte    // the request's, reused
}

func (t *target) openPoller() road { return t.newPoller(t.url, "") }

// newPoller returns a poller to a path on the target's host; a token, if there is one,
// goes into a header.
func (t *target) newPoller(path *url.URL, token string) *poller {
	p := &poller{target: t, pieces: pool(t.anchor), begin: "[", end: "]"}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n", path.RequestURI(), t.url.Host)
	if token != "" {
		p.head = fmt.Appendf(p.head, "Authorization: Bearer %s\r\n", token)
	}
	p.head = append(p.head, "Content-Type: application/json\r\n"...)
	return p
}

func (p *poller) close() { p.cancel() }

// statusError is an answer of HTTP that is none of Bayeux.
type statusError struct {
	status string
	after  time.Duration // what Retry-After says
}

func (e *statusError) Error() string { return "bench: the server refuses: " + e.status }

func newStatusError(answer *http.Response) *statusError {
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // 0 where there is none
	return &statusError{status: answer.Status, after: time.Duration(max(0, min(seconds, 60))) * time.Second}
}

// idleLine is how long a connection may have been idle to be used again: servers
// close them, Node's after 5 s.
const idleLine = 2 * time.Second

// request posts messages and gives the answer to read. With again they are posted
// once more on a new connection when nothing comes back on a used one: not publishes,
// which the server may have had.
func (p *poller) request(l *line, patience time.Duration, again bool, messages [][]byte, read func(io.Reader) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.used) > idleLine {
		l.drop()
	}
	defer func() { l.used = time.Now() }()
	again = again && l.conn != nil
	answer, err := p.post(l, patience, messages)
	if err != nil && again && p.ctx.Err() == nil {
		answer, err = p.post(l, patience, messages)
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		l.drop()
		return newStatusError(answer)
	}
	p.keep(answer)
	err = read(answer.Body)
	if err != nil || answer.Close {
		l.drop()
	}
	return err
}

// keep takes over the cookies of an answer that sets some.
func (p *poller) keep(answer *http.Response) {
	if len(answer.Header["Set-Cookie"]) == 0 {
		return
	}
	var pairs []string
	for _, c := range answer.Cookies() {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	header := "Cookie: " + strings.Join(pairs, "; ") + "\r\n"
	p.cookies.Store(&header)
}

// post writes one request and reads the head of its answer. The caller holds mu.
func (p *poller) post(l *line, patience time.Duration, messages [][]byte) (_ *http.Response, err error) {
	if l.conn == nil {
		ctx, cancel := context.WithTimeout(p.ctx, dialTime)
		defer cancel()
		if l.conn, err = p.target.dial(ctx); err != nil {
			l.conn = nil
			return nil, err
		}
		conn := l.conn
		l.stop = context.AfterFunc(p.ctx, func() { _ = conn.Close() })
		l.in = bufio.NewReaderSize(conn, 1024)
	}
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	size := len(p.begin) + len(messages) - 1 + len(p.end)
	for _, m := range messages {
		size += len(m)
	}
	l.body = append(l.body[:0], p.head...)
	if cookies := p.cookies.Load(); cookies != nil {
		l.body = append(l.body, *cookies...)
	}
	l.body = append(l.body, "Content-Length: "...)
	l.body = strconv.AppendInt(l.body, int64(size), 10)
	l.body = append(append(l.body, "\r\n\r\n"...), p.begin...)
	for i, m := range messages {
		if i > 0 {
			l.body = append(l.body, ',')
		}
		l.body = append(l.body, m...)
	}
	l.body = append(l.body, p.end...)
	var answer *http.Response
	if _, err = l.conn.Write(l.body); err == nil {
		answer, err = http.ReadResponse(l.in, nil)
	}
	if err != nil {
		l.drop()
	}
	return answer, err
}

func (l *line) drop() {
	if l.conn != nil {
		l.stop()
		_ = l.conn.Close()
	}
	l.conn, l.in = nil, nil
}

func (p *poller) exchange(ctx context.Context, id string, message []byte, sink sink) (a *reply, err error) {
	defer context.AfterFunc(ctx, p.close)()
	err = p.request(&p.others, answered, true, [][]byte{message}, func(r io.Reader) error {
		var body bytes.Buffer
		if _, err := body.ReadFrom(io.LimitReader(r, maxSetup)); err != nil {
			return err
		}
		if sink != nil {
			if err := p.scan(bytes.NewReader(body.Bytes()), sink); err != nil {
				return err
			}
		}
		if a, err = answers(body.Bytes(), id); a == nil && err == nil {
			err = fmt.Errorf("bench: the server does not answer: %.80q", body.Bytes())
		}
		return err
	})
	return a, err
}

func (p *poller) listen(next func() []byte, sink sink) error {
	defer p.hangUp(&p.holding)
	for {
		refused := false
		err := p.request(&p.holding, holdTime, true, [][]byte{next()}, func(r io.Reader) error {
			return p.scan(r, func(s *seen) {
				refused = refused || s.refused
				sink(s)
			})
		})
		if err != nil {
			return err
		}
		if refused {
			return errRefused // connecting again at once would be a storm
		}
	}
}

var errRefused = errors.New("bench: the server refuses to connect")

func (p *poller) send(messages [][]byte, sink sink) error {
	return p.request(&p.others, answered, false, messages, func(r io.Reader) error { return p.scan(r, sink) })
}

// hangUp closes a line whose user is done.
func (p *poller) hangUp(l *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
}

// scan reads a body piece by piece.
func (p *poller) scan(r io.Reader, sink sink) error {
	scan := p.pieces.Get().(*scanner)
	defer p.pieces.Put(scan)
	scan.begin()
	for {
		n, err := r.Read(scan.room())
		if n > 0 {
			sink(scan.scan(n))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
