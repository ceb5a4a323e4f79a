package bayeux

import (
	"net/http"
	"net/url"
	"strings"
)

// The origin rules of security.md §4, 8: there are no cookies and no other
// ambient rights, so any web origin may be echoed with credentials, which Faye's
// and CometD's clients need; never "null", "file://" or "*". With Options.Origins
// only those are let in.

// web reports whether an origin is of the web, in a form that can be echoed.
func web(origin string) bool {
	host, ok := strings.CutPrefix(origin, "https://")
	if !ok {
		host, ok = strings.CutPrefix(origin, "http://")
	}
	if !ok || host == "" || len(origin) > 255 {
		return false
	}
	for i := 0; i < len(host); i++ {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	return true
}

// lets reports whether pages of an origin may use the broker.
func (r *rules) lets(origin string) bool { return r.origins == nil || r.origins[origin] }

// originAllowed reports whether a request may be served as far as its Origin says;
// one without is not a browser's.
func (v *Server) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || v.rules.Load().lets(origin)
}

// refererAllowed is the same for script elements, which send no Origin.
func (v *Server) refererAllowed(r *http.Request) bool {
	rules := v.rules.Load()
	if rules.origins == nil {
		return true
	}
	if !v.originAllowed(r) {
		return false
	}
	if referer := r.Header.Get("Referer"); referer != "" {
		u, err := url.Parse(referer)
		return err == nil && (rules.origins[u.Scheme+"://"+u.Host] || u.Host == r.Host)
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "" || site == "same-origin" || site == "none"
}

// cors sets the headers that let a page of another origin read the answer.
func (v *Server) cors(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if web(origin) && v.rules.Load().lets(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers what browsers ask before they post (bayeux-faye.md §1).
func (v *Server) preflight(w http.ResponseWriter, r *http.Request) {
	v.cors(w, r)
	h := w.Header()
	h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Pragma, X-Requested-With")
	h.Set("Access-Control-Allow-Methods", "POST, GET")
	h.Set("Access-Control-Max-Age", "86400")
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// foreign refuses a request of an origin that is not let in.
func (v *Server) foreign(w http.ResponseWriter) {
	v.stats.refuse(refuseOrigin)
	plain(w, http.StatusForbidden)
}
