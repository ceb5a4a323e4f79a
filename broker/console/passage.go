package console

import (
	"net/http"
	"net/url"
	"strings"
)

// Where the operator's requests to the broker's own surfaces come in.
const (
	bayeuxPath = root + "bayeux"
	asPath     = root + "as/"
)

// passage returns who carries requests to a path through to another surface.
func passage(path string) (func(*Console, http.ResponseWriter, *http.Request), bool) {
	switch {
	case path == bayeuxPath:
		return (*Console).serveBayeux, true
	case strings.HasPrefix(path, asPath):
		return (*Console).serveAPI, true
	}
	return nil, false
}

// serveBayeux carries a request through to the Bayeux endpoint: by fetch, which can send
// the token; a WebSocket cannot.
func (c *Console) serveBayeux(w http.ResponseWriter, r *http.Request) {
	in := inner(r, c.opt.Mount)
	// The gate has let it in: from where the page came does not count any more.
	in.Header.Del("Origin")
	c.opt.Bayeux.ServeHTTP(w, in)
}

// serveAPI carries as/<application>/v1/… through to /v1/…, in the name of the operator.
func (c *Console) serveAPI(w http.ResponseWriter, r *http.Request) {
	app, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), asPath), "/")
	name, err := url.PathUnescape(app)
	who := c.opt.Broker.Identity(name)
	if err != nil || who == nil || !strings.HasPrefix(rest, "v1/") {
		refuse(w, http.StatusNotFound, "no such application or page")
		return
	}
	path, err := url.PathUnescape("/" + rest)
	if err != nil {
		refuse(w, http.StatusNotFound, "no such page")
		return
	}
	in := inner(r, path)
	in.URL.RawPath = "/" + rest
	c.opt.API(w, in, who)
}

// inner is a request to another path, without the token.
func inner(r *http.Request, path string) *http.Request {
	in := r.Clone(r.Context())
	in.URL.Path, in.URL.RawPath = path, ""
	in.RequestURI = in.URL.RequestURI()
	in.Header.Del("Authorization")
	return in
}
