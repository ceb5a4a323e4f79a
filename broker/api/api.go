package api

import (
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gobelin-broker/gobelin/broker"
	"github.com/gobelin-broker/gobelin/broker/trace"
	"go.uber.org/zap"
)

// Options says how the HTTP surfaces behave.
type Options struct {
	// Logger is required.
	Logger *zap.Logger
	// Audit hears of every administrative call: who, what, object, outcome. nil:
	// Logger, named "audit".
	Audit *zap.Logger
	// MaxBody bounds a request body in bytes. Default 4 MiB. Larger ones let a
	// peer hold that much memory with one request.
	MaxBody int
	// Depth bounds the nesting of JSON. Default 128.
	Depth int
	// Batch bounds the messages of one publish request. Default 100.
	Batch int
	// Origins are the pages that browsers may call from, such as
	// "https://shop.example"; empty: all, which is safe because no cookie counts.
	Origins []string
	// RealtimeURL is the Bayeux endpoint told to clients; empty: made from the
	// request's host and Mount.
	RealtimeURL string
	// Mount is the Bayeux endpoint's path. Default "/faye".
	Mount string
	// RequestRate and PublishRate bound requests and published messages per second
	// of one credential, or of one address for callers without a good one; 0: no
	// bound. security.md §3 ships 200 and 100.
	RequestRate, PublishRate float64
	// ReadRate bounds the bytes per second that one of them is answered, of which 16
	// seconds' worth may come at once; 0: no bound. Too low starves exports, too high
	// lets one caller take the store's and the network's time.
	ReadRate int
	// Burst is how many may come at once. Default 1,000; never below Batch.
	Burst int
	// BodyTimeout bounds how long a body may take to arrive. Default 15 s.
	BodyTimeout time.Duration
	// ClientAddr tells a caller's address, after trusted proxies; nil: the
	// connection's.
	ClientAddr func(*http.Request) string
	// Observe, when not nil, hears of each request answered: the route's pattern,
	// the HTTP status (0: none was sent), how long it took until the answer began. It
	// must not block.
	Observe func(route string, status int, took time.Duration)
	// Panicked, when not nil, hears of each request that ended in a panic.
	Panicked func()
	// Trace makes spans of requests; nil: there are none.
	Trace *trace.Tracer
}

func (o Options) withDefaults() Options {
	set := func(p *int, d int) {
		if *p == 0 {
			*p = d
		}
	}
	set(&o.MaxBody, 4<<20)
	set(&o.Depth, 128)
	set(&o.Batch, 100)
	set(&o.Burst, 1000)
	o.Burst = max(o.Burst, o.Batch)
	if o.Mount == "" {
		o.Mount = "/faye"
	}
	if o.BodyTimeout == 0 {
		o.BodyTimeout = 15 * time.Second
	}
	if o.ClientAddr == nil {
		o.ClientAddr = connectionAddr
	}
	return o
}

// api is the handler of all surfaces. It is immutable but for its limiter.
type api struct {
	Options
	service Service
	limiter *limiter
	scans   chan struct{} // a token for each listing of everything under way
	queries *turns        // of viewer.log, by account
}

// handler answers one request of a surface. who is nil for a caller without a
// credential.
type handler func(a *api, r *http.Request, who *broker.Identity) (reply, error)

// route is a path with a handler for each method.
type route struct {
	path    string
	methods map[string]handler
	form    form
	// audit says what of it goes into the audit log.
	audit audited
	// signed: what changes something may be signed by header, too; see caller.go.
	signed bool
	// consumer: who calls is who has a stream_token.
	consumer bool
	// suspended: it answers also for an application that is suspended.
	suspended bool
	// open: no header is a credential here, the handler finds out who calls.
	open bool
	// plain: the clients look into the body only, so a refusal has status 200, too; but
	// not for a method or path that is not there (product.md §5.5, S1).
	plain bool
}

// routes are all that is served here; openapi.json describes each.
var routes = slices.Concat(
	objectRoutes, publishRoutes, commentRoutes, historyRoutes, presenceRoutes, connectionRoutes,
	accumulateRoutes, extensionRoutes, dataRoutes, sessionRoutes, applicationRoutes,
	listRoutes, liveRoutes, recordRoutes, streamRoutes, sampleRoutes, stableRoutes, chartRoutes, documentRoutes,
)

// New returns a handler for the paths below /v1/, /api/, /streams and /stats/, for
// /replay, /stable/ and /openapi.json.
func New(b Service, o Options) http.Handler {
	a := &api{Options: o.withDefaults(), service: b, scans: make(chan struct{}, maxScans), queries: newTurns(maxQueries)}
	if a.Audit == nil {
		a.Audit = a.Logger.Named("audit")
	}
	a.limiter = newLimiter(a.RequestRate, a.PublishRate, float64(a.ReadRate), a.Burst)
	mux := http.NewServeMux()
	for _, rt := range routes {
		mux.Handle(rt.path, a.serve(rt))
	}
	// What is not there is said in the surface's own form.
	mux.Handle("/v1/", a.serve(route{path: "/v1/", form: v1Form}))
	mux.Handle("/stats/", a.serve(route{path: "/stats/", form: chartForm}))
	mux.Handle("/api/", a.serve(route{path: "/api/", form: listForm}))
	mux.Handle("/streams/", a.serve(route{path: "/streams/", form: streamForm, consumer: true}))
	return mux
}

// serve answers the requests of one route.
func (a *api) serve(rt route) http.Handler {
	allow := allowed(rt.methods)
	if rt.methods == nil {
		// A page is to see the 404, and not a failure of its browser's (M13).
		allow = "DELETE, GET, HEAD, PATCH, POST, PUT, OPTIONS"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := &writer{ResponseWriter: w, form: rt.form, log: a.Logger, route: rt.path, plain: rt.plain, start: time.Now()}
		ctx, span := a.Trace.Serve(r.Context(), r.Header.Get("Traceparent"), rt.path)
		if span != nil {
			r = r.WithContext(ctx)
			defer func() { tell(span, rt, r.Method, out.status) }()
		}
		defer a.finish(out, rt.path)
		a.allowOrigin(w.Header(), r)
		if r.Method == http.MethodOptions && (rt.methods != nil || rt.path == "/v1/") {
			preflight(out, allow)
			return
		}
		// The body is bounded also for those who are refused: net/http reads some
		// of the rest before it uses the connection again.
		r.Body = http.MaxBytesReader(w, r.Body, int64(a.MaxBody))
		timed(w, r, a.BodyTimeout)
		who, answer, err := a.answer(rt, r, allow)
		if err != nil {
			out.refuse(err)
		} else {
			out.bill = a.bill(rt, r, who)
			out.send(answer)
		}
		a.record(rt, r, who, out.status)
	})
}

// tell ends the span of a request. A method that the route does not have is a peer's word.
func tell(span *trace.Span, rt route, method string, status int) {
	if !strings.Contains(allowed(rt.methods), method) {
		method = "_OTHER"
	}
	span.Text("http.request.method", method)
	span.Text("http.route", rt.path)
	span.Number("http.response.status_code", int64(status))
	span.End(status >= http.StatusInternalServerError)
}

// answer finds out who calls and calls the method's handler.
func (a *api) answer(rt route, r *http.Request, allow string) (who *broker.Identity, answer reply, err error) {
	if who, err = a.identify(rt, r); err != nil {
		return nil, reply{}, err
	}
	if who != nil && !rt.suspended && a.service.Suspended(who.App) {
		return who, reply{}, broker.ErrSuspended
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := rt.methods[method]
	switch {
	case rt.methods == nil:
		return who, reply{}, &broker.Error{Result: 4004, Text: "no such endpoint"}
	case h == nil:
		return who, reply{}, &methodError{allow: allow}
	}
	answer, err = h(a, r, who)
	return who, answer, err
}

// finish ends a request: a panic is logged and answered as far as that is still
// possible, and touches no other request.
func (a *api) finish(out *writer, path string) {
	if p := recover(); p != nil {
		if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares so
			panic(p)
		}
		a.Logger.Error("panic in a request", zap.String("route", path), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		out.refuse(&broker.Error{Result: 5000, Text: "internal server error"})
		if a.Panicked != nil {
			a.Panicked()
		}
	}
	if a.Observe != nil {
		a.Observe(path, out.status, out.began)
	}
}

// allowed returns the methods of a route as the header Allow has them.
func allowed(methods map[string]handler) string {
	var all []string
	for m := range methods {
		all = append(all, m)
		if m == http.MethodGet {
			all = append(all, http.MethodHead)
		}
	}
	slices.Sort(all)
	return strings.Join(append(all, http.MethodOptions), ", ")
}

// atLeast refuses callers below a level on an object; objectID "" is what belongs
// to the application as a whole, so to admins and the server.
func atLeast(level broker.Role, who *broker.Identity, objectID string) error {
	if who == nil {
		return &broker.Error{Result: 4001, Text: "unauthorized: a token or the server key is required"}
	}
	if who.LevelFor(who.App.ID, objectID) < level {
		return &broker.Error{Result: 4003, Text: "forbidden: the credential does not allow this here"}
	}
	return nil
}
