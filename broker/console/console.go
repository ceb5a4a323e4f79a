package console

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// policy lets the page load its own files and ask its own server, nothing else
// (security.md §4.2 row 36).
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// root is where the console lives, and overviewPath its figures.
const (
	root         = "/console/"
	overviewPath = root + "overview"
)

// maxAsked bounds the overviews computed at once: looking at a store that hangs
// takes time, and every open page asks each second. Beyond it 503.
const maxAsked = 4

// Options is what a console is made of.
type Options struct {
	// Gate lets whoever has the token see the figures. Required.
	Gate *Gate
	// Version is shown as it is.
	Version string
	// Started is when the process began.
	Started time.Time
	// Overview returns the figures of now. It may be called by several goroutines at
	// once and should return within a second or two. Required.
	Overview func() Overview
	// Logger is required.
	Logger *zap.Logger
}

// console serves the page and its figures.
type console struct {
	opt   Options
	files map[string]file // by path as it stands in the request, never changed
	room  chan struct{}   // a place for each overview that is computed now

	busy atomic.Int64
}

// file is one embedded file, ready to be sent.
type file struct {
	kind string
	body []byte
}

//go:embed page/index.html page/*.mjs page/console.css page/icon.svg
var pages embed.FS

// served are all files there are: path below root, name in the embedded folder,
// media type (security.md §4.3 row 47: exact names).
var served = [...][3]string{
	{"", "index.html", "text/html; charset=utf-8"},
	{"console.css", "console.css", "text/css; charset=utf-8"},
	{"icon.svg", "icon.svg", "image/svg+xml"},
	{"console.mjs", "console.mjs", "text/javascript; charset=utf-8"},
	{"chart.mjs", "chart.mjs", "text/javascript; charset=utf-8"},
	{"figure.mjs", "figure.mjs", "text/javascript; charset=utf-8"},
	{"history.mjs", "history.mjs", "text/javascript; charset=utf-8"},
	{"sheet.mjs", "sheet.mjs", "text/javascript; charset=utf-8"},
	{"token.mjs", "token.mjs", "text/javascript; charset=utf-8"},
}

// New returns the handler of /console and everything below it (experience.md §4):
// the page for anybody, its figures for whoever has the token. It panics without
// Gate, Overview or Logger, which is a fault of the wiring.
func New(o Options) http.Handler {
	if o.Gate == nil || o.Overview == nil || o.Logger == nil {
		panic("console: new: Gate, Overview and Logger are required")
	}
	c := &console{opt: o, files: make(map[string]file, len(served)), room: make(chan struct{}, maxAsked)}
	for _, s := range served {
		body, err := pages.ReadFile("page/" + s[1])
		if err != nil {
			panic(fmt.Sprintf("console: new: %v", err))
		}
		c.files[root+s[0]] = file{kind: s[2], body: body}
	}
	return c
}

// ServeHTTP answers by exact path; it cleans none.
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	path := r.URL.EscapedPath()
	f, known := c.files[path]
	switch {
	case !known && path != overviewPath && path+"/" != root:
		refuse(w, http.StatusNotFound, "no such page")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "only GET and HEAD")
	case known:
		send(w, http.StatusOK, f.kind, f.body)
	case path == overviewPath:
		c.overview(w, r)
	default: // browsers keep the fragment, and with it the token
		http.Redirect(w, r, root, http.StatusFound)
	}
}

// overview answers with the figures if the request has the token.
func (c *console) overview(w http.ResponseWriter, r *http.Request) {
	if !c.opt.Gate.Admit(w, r) {
		return
	}
	select {
	case c.room <- struct{}{}:
	default:
		c.busy.Add(1)
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "too many overviews asked for at once")
		return
	}
	o := c.ask()
	c.answer(w, c.report(o, time.Now()))
}

// ask calls Overview and leaves the room, whatever happens there.
func (c *console) ask() Overview {
	defer func() { <-c.room }()
	return c.opt.Overview()
}

func (c *console) tally() tally {
	return tally{WrongTokens: c.opt.Gate.wrongTokens.Load(), Throttled: c.opt.Gate.throttled.Load(), Busy: c.busy.Load()}
}

// answer sends a report.
func (c *console) answer(w http.ResponseWriter, v report) {
	body, err := json.Marshal(v)
	if err != nil {
		c.opt.Logger.Error("console: encode", zap.Error(err))
		refuse(w, http.StatusInternalServerError, "internal server error")
		return
	}
	send(w, http.StatusOK, "application/json", body)
}

// refuse answers with a constant text, which is never made of the request.
func refuse(w http.ResponseWriter, status int, text string) {
	send(w, status, "application/json", []byte(`{"error":"`+text+`"}`))
}

// send writes a whole answer; net/http leaves the body out for HEAD. That a peer
// is gone is no fault to tell of.
func send(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
