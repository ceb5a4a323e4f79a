package bayeux

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
)

// Server speaks Bayeux at one mount: an http.Handler that owns all sessions and
// asks a Handler about everything that is not protocol.
type Server struct {
	handler   Handler
	resumer   Resumer               // the same, if it is one
	options   Options               // but Limits, Origins and TrustedProxies, which are in rules
	rules     atomic.Pointer[rules] // Reload changes them
	log       *zap.Logger
	scripts   map[string]script
	upgrader  websocket.Upgrader
	addresses *addresses
	retry     *Advice // of a connect that went well
	admission admission
	queues    queueMemory
	pulls     chan struct{}   // one element for each page being read
	scribes   []*scribe       // one for each core
	turns     turns           // and for each that is being written
	ctx       context.Context // ends when all sessions have, in Shutdown
	cancel    context.CancelFunc
	patience  patience // ends when Shutdown's time is up
	stats     counters
	serials   atomic.Uint64 // of sockets
	draining  atomic.Bool

	mu       sync.RWMutex
	sessions map[string]*Session
	resumes  map[string]*resuming
	closing  map[string]*Session // moved, and the application is not done with them
	sockets  map[*socket]struct{}
	parked   map[*parked]struct{}
	ramps    map[*http.Server]*ramp
	stopped  bool // nothing is spawned any more
	running  sync.WaitGroup
}

// NewServer returns a server that is ready to serve. Zero fields of o have their
// defaults; o.Script and o.Scripts are shared and must not be changed.
func NewServer(h Handler, o Options) *Server {
	o = o.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	v := &Server{
		handler:  h,
		options:  o,
		log:      o.Logger,
		scripts:  scriptTable(o),
		pulls:    make(chan struct{}, pullsAtOnce),
		turns:    newTurns(),
		ctx:      ctx,
		cancel:   cancel,
		patience: patience{busy: make(map[slow]struct{})},
		sessions: make(map[string]*Session),
		resumes:  make(map[string]*resuming),
		closing:  make(map[string]*Session),
		sockets:  make(map[*socket]struct{}),
		parked:   make(map[*parked]struct{}),
		ramps:    make(map[*http.Server]*ramp),
	}
	v.retry = v.options.usualAdvice()
	for range runtime.GOMAXPROCS(0) {
		v.scribes = append(v.scribes, newScribe())
	}
	v.resumer, _ = h.(Resumer)
	v.rules.Store(newRules(&v.options))
	v.addresses = newAddresses(v.limits())
	v.admission.renew(&o.Limits)
	v.upgrader = websocket.Upgrader{
		ReadBufferSize:  256, // held by each socket as long as it lives
		WriteBufferSize: 4 << 10,
		WriteBufferPool: &sync.Pool{},

		EnableCompression: o.Compression,
		CheckOrigin:       func(r *http.Request) bool { return v.originAllowed(r) },
		Error: func(w http.ResponseWriter, _ *http.Request, status int, _ error) {
			v.stats.refuse(refuseMalformed)
			plain(w, status)
		},
	}
	return v
}

// ServeHTTP serves the mount and all below it, the scripts, and WebSocket
// upgrades (bayeux-faye.md §1).
func (v *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !v.enter() {
		v.stats.refuse(refuseStopping)
		w.Header().Set("Retry-After", "1")
		plain(w, http.StatusServiceUnavailable)
		return
	}
	defer v.running.Done()
	defer v.guard("request", func() { panic(http.ErrAbortHandler) })
	h := w.Header()
	h["X-Content-Type-Options"] = noSniff
	if r.ContentLength != 0 && !websocket.IsWebSocketUpgrade(r) {
		// Of a refused request net/http reads the body before it answers, and would
		// wait for it as long as the peer likes. readBody gives a longer time.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyRead))
	}
	path := r.URL.Path
	if sc, is := v.script(path); is {
		v.serveScript(w, r, sc)
		return
	}
	if !v.mounted(path) {
		v.stats.refuse(refusePath)
		plain(w, http.StatusNotFound)
		return
	}
	switch {
	case websocket.IsWebSocketUpgrade(r):
		v.serveSocket(w, r)
	case r.Method == http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == http.MethodPost:
		v.preflight(w, r)
	case r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		v.serveStream(w, r)
	case r.Method == http.MethodGet:
		v.serveCallback(w, r)
	case r.Method == http.MethodPost:
		v.servePost(w, r)
	default:
		v.stats.refuse(refuseMethod)
		h.Set("Allow", "GET, POST, OPTIONS")
		plain(w, http.StatusMethodNotAllowed)
	}
}

// mounted reports whether path is the endpoint: the mount, what lies below it,
// or the mount with an extension. /fayex is not.
func (v *Server) mounted(path string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(v.options.Mount, "/"))
	if !ok {
		return false
	}
	return rest == "" || rest[0] == '/' || rest[0] == '.' && !strings.Contains(rest, "/")
}

// plain answers in text, as Bayeux errors never are.
func plain(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	text := http.StatusText(status)
	if status == http.StatusBadRequest {
		text = "Bad request"
	}
	_, _ = w.Write([]byte(text))
}

// guard recovers a panic of the goroutine that defers it: it is counted and
// logged, and then closes what it happened on.
func (v *Server) guard(where string, then func()) {
	p := recover()
	if p == nil {
		return
	}
	v.panicked(where, p)
	then()
}

// panicked counts and logs a panic that was recovered; net/http's own way to end a
// request is none.
func (v *Server) panicked(where string, p any) {
	if p == http.ErrAbortHandler {
		return
	}
	v.stats.panics.Add(1)
	v.log.Error("bayeux: panic", zap.String("where", where), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
}

// enter counts a goroutine in, unless the server has stopped.
func (v *Server) enter() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.stopped {
		return false
	}
	v.running.Add(1)
	return true
}

// spawn runs f on a goroutine that Shutdown waits for; after that, at once.
func (v *Server) spawn(f func()) {
	if !v.enter() {
		f()
		return
	}
	go func() {
		defer v.running.Done()
		defer v.guard("handler", func() {})
		f()
	}()
}

func (v *Server) newSession(peer Peer, a *address) *Session {
	l := v.limits()
	return &Session{
		id:        newID(),
		server:    v,
		address:   a,
		began:     time.Now().UnixMilli(),
		peer:      peer,
		requests:  limiter(l.RequestsPerSession, l.RequestBurst),
		publishes: limiter(l.PublishPerSession, l.PublishBurst),
	}
}

// remember makes an admitted session known. One that was closed meanwhile, by the
// application or by Shutdown, is told so.
func (v *Server) remember(s *Session) {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	v.mu.Lock()
	stopped := v.stopped
	if !ended && !stopped {
		v.sessions[s.id] = s
		v.stats.transport(s.peer.Transport).Add(1)
	}
	v.mu.Unlock()
	switch {
	case ended:
		s.settle()
	case stopped:
		s.end(ReasonShutdown, v.again("retry"))
		s.settle()
	case !s.begin():
		// Closed after the first look: forget came before the table.
		v.remove(s, s.Peer().Transport)
		s.settle()
	}
}

// remove takes a session out of the table, if it is there.
func (v *Server) remove(s *Session, transport string) {
	v.mu.Lock()
	known := v.sessions[s.id] == s
	if known {
		delete(v.sessions, s.id)
	}
	v.mu.Unlock()
	if known {
		v.stats.transport(transport).Add(-1)
	}
}

// forget counts out a session that ended.
func (v *Server) forget(s *Session, transport, reason string) {
	if reason == ReasonMoved {
		// It may come back before the application has closed it.
		v.mu.Lock()
		v.closing[s.id] = s
		v.mu.Unlock()
	}
	v.remove(s, transport)
	v.stats.end(reason)
	s.address.leave()
}

// settled: the application has closed a session that moved.
func (v *Server) settled(s *Session) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closing[s.id] == s {
		delete(v.closing, s.id)
		close(s.gone)
	}
}

// lifetime is how long a session lives after a connect arrived.
func (v *Server) lifetime() time.Duration { return v.options.Timeout + v.options.MaxInterval }

// Session returns a live session by its clientId.
func (v *Server) Session(id string) (*Session, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s, ok := v.sessions[id]
	return s, ok
}

// Sessions returns how many sessions live.
func (v *Server) Sessions() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.sessions)
}

// Shutdown ends the server: handshakes are refused, held polls answered with the
// advice to come back after a jittered pause, sockets closed one after the other
// over three quarters of the time that ctx leaves. Then all sessions end with
// ReasonShutdown, and all goroutines are waited for. The error is ctx's, if it
// ended first; connections are cut in any case.
func (v *Server) Shutdown(ctx context.Context) error {
	v.draining.Store(true)
	for _, s := range v.allSessions() {
		if !s.onSocket() {
			s.releaseHeld(v.again("retry"))
			s.dismiss()
		}
	}
	v.closeSockets(ctx, (*socket).goodbye)

	v.mu.Lock()
	v.stopped = true
	sockets := make([]*socket, 0, len(v.sockets))
	for c := range v.sockets {
		sockets = append(sockets, c)
	}
	v.mu.Unlock()
	for _, c := range sockets {
		c.goodbye() // also those that came since
	}
	v.endSessions()
	for _, r := range v.allRamps() {
		v.dismissParked(r)
	}
	v.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.running.Wait()
	}()
	select {
	case <-done:
		v.patience.lose()
		return nil
	case <-ctx.Done():
	}
	v.patience.lose()
	for _, c := range sockets {
		c.abort()
	}
	<-done // what is cut ends at once; handlers were cancelled
	return fmt.Errorf("bayeux: shutdown: %w", ctx.Err())
}

func (v *Server) allSessions() []*Session {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]*Session, 0, len(v.sessions))
	for _, s := range v.sessions {
		all = append(all, s)
	}
	return all
}

// closeSockets calls each for the sockets, spread over the time there is, so that
// their clients do not come to the next node all at once.
func (v *Server) closeSockets(ctx context.Context, each func(*socket)) {
	v.mu.RLock()
	all := make([]*socket, 0, len(v.sockets))
	for c := range v.sockets {
		all = append(all, c)
	}
	v.mu.RUnlock()
	var span time.Duration
	if by, ok := ctx.Deadline(); ok && len(all) > 1 {
		span = max(0, time.Until(by)*3/4)
	}
	start := time.Now()
	for i, c := range all {
		due := start.Add(span * time.Duration(i) / time.Duration(max(1, len(all))))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				span = 0
			}
		}
		each(c)
	}
}

// endSessions ends all that are left.
func (v *Server) endSessions() {
	next, done := v.crew(0, func(s *Session) {
		s.end(ReasonShutdown, v.again("retry"))
		s.settle()
	})
	for _, s := range v.allSessions() {
		next <- s
	}
	done()
}

// crew calls f for each session given to next, of which waiting may wait, several at
// a time because the application may write each to a store. done ends it and waits.
func (v *Server) crew(waiting int, f func(*Session)) (next chan<- *Session, done func()) {
	given := make(chan *Session, waiting)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for s := range given {
				func() {
					defer v.guard("handler", func() {})
					f(s)
				}()
			}
		})
	}
	return given, func() {
		close(given)
		workers.Wait()
	}
}
