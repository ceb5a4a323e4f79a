package console

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gobelin-broker/gobelin/broker"
	"go.uber.org/zap"
)

// policy lets the page load its own files and ask its own server, nothing else
// (security.md §4.2 row 36).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// root is where the console lives.
const root = "/console/"

// maxAsked bounds the answers made at once: looking at a store that hangs takes time, and
// every open page asks again and again. Beyond it 503.
const maxAsked = 4

// Options is what a console is made of. All but Version and Audit are required.
type Options struct {
	// Gate lets whoever has the operator's token see and do everything here.
	Gate *Gate
	// Version is shown as it is.
	Version string
	// Broker is what is shown.
	Broker broker.Operator
	// Store says what the store is and how it is, within the time of its context. It is
	// asked every half minute at most while all is well.
	Store func(context.Context) Store
	// API serves a request to /v1 of the operator, who is an application's server.
	API func(http.ResponseWriter, *http.Request, *broker.Identity)
	// Bayeux is the endpoint, which gets requests as if they had come to Mount.
	Bayeux http.Handler
	Mount  string
	// Client is the browser client that the page speaks Bayeux with.
	Client []byte
	// ExplainRoot says in words what a root is, and whether it is genuine.
	ExplainRoot func(text string) (words string, good bool)
	// Drain begins to hand the node's clients over and to stop it; it does not wait.
	Drain func()
	// Audit hears of every change that is made here; nil: Logger, named "audit".
	Audit  *zap.Logger
	Logger *zap.Logger
}

// Console serves the page, its figures, and what the operator does with it. It is an
// http.Handler for /console and everything below; Run must be called for it to remember
// the last hour.
type Console struct {
	opt   Options
	files map[string]file // by path as it stands in the request, never changed
	room  chan struct{}   // a place for each answer that is made now
	hour  *hour

	busy atomic.Int64
}

// file is one embedded file, ready to be sent.
type file struct {
	kind string
	body []byte
}

//go:embed page/index.html page/*.mjs page/console.css page/icon.svg
var pages embed.FS

// kinds are the media types of what is served, by the end of its name.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".svg": "image/svg+xml", ".mjs": "text/javascript; charset=utf-8",
}

// New returns a console (experience.md §4): the page for anybody, everything else for
// whoever has the token. It panics where something of Options is missing, which is a
// fault of the wiring.
func New(o Options) *Console {
	if o.Gate == nil || o.Store == nil || o.API == nil || o.Bayeux == nil || o.ExplainRoot == nil || o.Drain == nil || o.Logger == nil {
		panic("console: new: something of Options is missing")
	}
	if o.Audit == nil {
		o.Audit = o.Logger.Named("audit")
	}
	c := &Console{
		opt: o, files: map[string]file{}, room: make(chan struct{}, maxAsked),
		hour: newHour(o.Broker.Nodes, o.Store, o.Logger),
	}
	entries, err := pages.ReadDir("page")
	if err != nil {
		panic(fmt.Sprintf("console: new: %v", err))
	}
	for _, e := range entries {
		body, err := pages.ReadFile("page/" + e.Name())
		if err != nil {
			panic(fmt.Sprintf("console: new: %v", err))
		}
		name := e.Name()
		kind := kinds[name[strings.LastIndexByte(name, '.'):]]
		if name == "index.html" {
			name = ""
		}
		c.files[root+name] = file{kind: kind, body: body}
	}
	c.files[root+"client.js"] = file{kind: kinds[".mjs"], body: o.Client}
	return c
}

// Run remembers what the nodes do until ctx ends.
func (c *Console) Run(ctx context.Context) { c.hour.run(ctx) }

// ServeHTTP answers by exact path; it cleans none.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	path := r.URL.EscapedPath()
	if f, known := c.files[path]; known || path+"/" == root {
		c.serveFile(w, r, f, known)
		return
	}
	rt, known := routes[strings.TrimPrefix(path, root)]
	inner, through := passage(path)
	switch {
	case !known && !through || !strings.HasPrefix(path, root):
		refuse(w, http.StatusNotFound, "no such page")
	case known && r.Method != rt.method && (r.Method != http.MethodHead || rt.method != http.MethodGet):
		h.Set("Allow", rt.allow())
		refuse(w, http.StatusMethodNotAllowed, "only "+rt.allow())
	case !c.opt.Gate.Admit(w, r):
	case known:
		c.serveRoute(w, r, rt)
	default:
		inner(c, w, r)
	}
}

// serveFile sends a file of the page, or leads to it.
func (c *Console) serveFile(w http.ResponseWriter, r *http.Request, f file, known bool) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "only GET, HEAD")
	case known:
		send(w, http.StatusOK, f.kind, f.body)
	default: // browsers keep the fragment, and with it the token
		http.Redirect(w, r, root, http.StatusFound)
	}
}

// serveRoute makes an answer while there is room for one more.
func (c *Console) serveRoute(w http.ResponseWriter, r *http.Request, rt route) {
	select {
	case c.room <- struct{}{}:
	default:
		c.busy.Add(1)
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "too many answers asked for at once")
		return
	}
	v, err := c.ask(r, rt)
	if rt.method != http.MethodGet {
		c.audit(r, rt, err)
	}
	if err != nil {
		c.refuseWith(w, r, err)
		return
	}
	body, err := json.Marshal(v)
	if err != nil {
		c.opt.Logger.Error("console: encode", zap.Error(err))
		refuse(w, http.StatusInternalServerError, "internal server error")
		return
	}
	send(w, http.StatusOK, "application/json", body)
}

// ask calls a route's handler and leaves the room, whatever happens there.
func (c *Console) ask(r *http.Request, rt route) (any, error) {
	defer func() { <-c.room }()
	a, err := rt.asked(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askedFor)
	defer cancel()
	return rt.serve(ctx, c, a)
}

// audit writes down what was done here, never with what.
func (c *Console) audit(r *http.Request, rt route, err error) {
	if rt.action == "" {
		return
	}
	fields := []zap.Field{zap.String("action", rt.action), zap.String("role", broker.OperatorRole), zap.String("address", r.RemoteAddr)}
	if err != nil {
		c.opt.Audit.Warn("refused", append(fields, zap.Int("status", broker.AsError(err).Status()))...)
		return
	}
	c.opt.Audit.Info("done", append(fields, zap.Int("status", http.StatusOK))...)
}

// refuseWith answers with an error; what no peer may see is logged and shown as 500.
func (c *Console) refuseWith(w http.ResponseWriter, r *http.Request, err error) {
	refusal := broker.AsError(err)
	if refusal.Result == 5000 && r.Context().Err() == nil {
		c.opt.Logger.Error("console: request failed", zap.Error(err))
	}
	if refusal.Result == 5003 {
		w.Header().Set("Retry-After", "1")
	}
	refuse(w, refusal.Status(), refusal.Text)
}

// refuse answers with a text.
func refuse(w http.ResponseWriter, status int, text string) {
	body, _ := json.Marshal(map[string]string{"error": text}) // texts always can
	send(w, status, "application/json", body)
}

// send writes a whole answer; net/http leaves the body out for HEAD. That a peer
// is gone is no fault to tell of.
func send(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
