package main

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/gobelin-broker/gobelin/examples"
)

// routes is the public listener. It does not clean paths, as http.ServeMux
// does: a path that is not exactly ours is answered 404 by the endpoint.
type routes struct {
	bayeux http.Handler
	api    http.Handler
	mount  string
	mounts []string     // lead to the same endpoint
	try    http.Handler // nil: none
	admin  http.Handler // nil: on a listener of its own
}

// exchange is a handler that can be another one from the next request on.
type exchange struct{ current atomic.Pointer[http.Handler] }

func (e *exchange) put(h http.Handler) { e.current.Store(&h) }

// ServeHTTP hands a request to the handler of now.
func (e *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*e.current.Load()).ServeHTTP(w, r)
}

// ServeHTTP hands a request to its surface.
func (t *routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/v1/"), strings.HasPrefix(path, "/api/"), path == "/openapi.json",
		path == "/streams", strings.HasPrefix(path, "/streams/"), path == "/replay",
		path == "/stable/", strings.HasPrefix(path, "/stats/"):
		t.api.ServeHTTP(w, r)
	case t.try != nil && (path == "/" || path == "/try" || strings.HasPrefix(path, "/try/")):
		t.try.ServeHTTP(w, r)
	case t.admin != nil && adminPath(path):
		t.admin.ServeHTTP(w, r)
	default:
		t.bayeux.ServeHTTP(w, t.atMount(r))
	}
}

// atMount makes a request to a further mount one to the first.
func (t *routes) atMount(r *http.Request) *http.Request {
	for _, m := range t.mounts {
		rest, ok := strings.CutPrefix(r.URL.Path, m)
		if !ok || rest != "" && rest[0] != '/' && rest[0] != '.' {
			continue
		}
		moved := new(http.Request)
		*moved = *r
		moved.URL = new(url.URL)
		*moved.URL = *r.URL
		moved.URL.Path, moved.URL.RawPath = t.mount+rest, ""
		return moved
	}
	return r
}

// tryPage serves the pages of /try (experience.md §1.2), and leads there from /.
func tryPage() http.Handler {
	files := http.FileServerFS(examples.Pages)
	return inTime(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", examples.TryPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		case r.URL.Path == "/" || r.URL.Path == "/try":
			http.Redirect(w, r, "/try/", http.StatusFound)
		default:
			files.ServeHTTP(w, r)
		}
	}))
}
