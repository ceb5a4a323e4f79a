package bayeux

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// stream is an EventSource connection: the link of one session that only
// delivers; everything else comes by POST (bayeux-faye.md §3).
type stream struct {
	woken chan struct{}
	gone  chan struct{} // closed when the session is served elsewhere, or has ended
	once  sync.Once
}

func (t *stream) wake(*Session) {
	select {
	case t.woken <- struct{}{}:
	default:
	}
}

// release: a stream holds no connect.
func (t *stream) release(*Session, *Message, *Advice) {}

// tell: a stream has no place for it.
func (t *stream) tell([]byte) {}

func (t *stream) join(*Session) {}

func (t *stream) leave(*Session) { t.once.Do(func() { close(t.gone) }) }

// serveStream answers GET <mount>/<clientId>. An unknown session is 404: nothing
// is kept for it (security.md §4, 6).
func (v *Server) serveStream(w http.ResponseWriter, r *http.Request) {
	if !v.originAllowed(r) {
		v.foreign(w)
		return
	}
	s, status := v.streamed(r)
	if status != 0 {
		v.stats.refuse(refuseUnknown)
		plain(w, status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Connection", "close")
	if v.push(w, []byte("retry: 5000\r\n\r\n")) != nil {
		return
	}
	t := &stream{woken: make(chan struct{}, 1), gone: make(chan struct{})}
	if !s.serve(t) {
		return
	}
	defer s.detach(t)
	v.stats.polls.Add(1)
	defer v.stats.polls.Add(-1)
	v.stream(w, r, s, t)
}

// streamed returns the session of a stream's request; status is 0, or what to answer.
// One that lived elsewhere lives here from now on, as after a connect.
func (v *Server) streamed(r *http.Request) (s *Session, status int) {
	if !v.offered("eventsource") {
		return nil, http.StatusNotFound
	}
	id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	s, ok := v.Session(id)
	if ok {
		return s, 0
	}
	peer := v.peer(r, "eventsource")
	m := &Message{ChannelText: "/meta/connect", ClientID: id, ConnectionType: "eventsource", AdviceTimeout: -1, AdviceInterval: -1, kind: kindConnect}
	if !v.throttle(r.Context(), nil, peer, m) {
		return nil, http.StatusServiceUnavailable
	}
	s, err := v.resume(r.Context(), peer, m, false)
	switch {
	case err != nil:
		return nil, http.StatusServiceUnavailable
	case s == nil:
		return nil, http.StatusNotFound
	}
	return s, 0
}

// stream writes what comes until the peer or the session goes.
func (v *Server) stream(w http.ResponseWriter, r *http.Request, s *Session, t *stream) {
	ctx := r.Context()
	comment := time.NewTicker(streamComment)
	defer comment.Stop()
	var ds []*Delivery
	for {
		ds, _, _ = s.take(ds[:0], t, 0, frameJoin)
		if len(ds) > 0 {
			if v.push(w, events(ds)) != nil {
				return // detach puts them back
			}
			s.written(t)
			v.stats.wrote(ds)
			continue
		}
		if s.wanting(t) && s.pull(ctx, t) {
			continue
		}
		select {
		case <-t.woken:
		case <-comment.C:
			if v.push(w, []byte(":\r\n\r\n")) != nil {
				return
			}
		case <-t.gone:
			return
		case <-ctx.Done():
			return
		case <-v.ctx.Done():
			return
		}
	}
}

// events frames deliveries, one event each. Line ends inside the JSON are white
// space between its tokens; each begins a data line of its own.
func events(ds []*Delivery) []byte {
	var b bytes.Buffer
	for _, d := range ds {
		text := d.text()
		if bytes.ContainsAny(text, "\r\n") {
			text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
			text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
			text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\ndata: "))
		}
		b.WriteString("data: ")
		b.Write(text)
		b.WriteString("\r\n\r\n")
	}
	return b.Bytes()
}

// push writes and flushes within the time a peer has.
func (v *Server) push(w http.ResponseWriter, b []byte) error {
	v.stats.deliveredBytes.Add(int64(len(b)))
	return v.hand(w, b)
}

// hand gives b to the network within the time a peer has, or until Shutdown's time
// is up.
func (v *Server) hand(w http.ResponseWriter, b []byte) error {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(v.writeTime(len(b))))
	writing := slow{control, true}
	v.patience.begin(writing)
	defer v.patience.end(writing)
	_, err := w.Write(b)
	if err == nil {
		err = control.Flush()
	}
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	v.stalled(err)
	return err
}

// stalled counts a write that failed because the peer does not read.
func (v *Server) stalled(err error) {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		v.stats.stall.Add(1)
		v.log.Debug("bayeux: connection does not read", zap.Error(err))
	}
}

// written: what was taken has been handed to the network, and a stream has no way
// to learn more.
func (s *Session) written(l link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.sentBy == l {
		s.out.acknowledge()
	}
	s.handedOn()
}

// dismiss ends a stream that serves the session.
func (s *Session) dismiss() {
	s.mu.Lock()
	t, ok := s.link.(*stream)
	s.mu.Unlock()
	if ok {
		t.leave(s)
	}
}
